"""Which engine runs which trees: laid out when they are first wanted, chosen by what a call would cost.

Sums have to be in tree order, so the trees are cut into runs of neighbours that suit the same engine, and the runs are
added up one after the other.
"""

import threading
from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import (
    bit_layout,
    bitvector,
    costs,
    heap_layout,
    heap_walk,
    one_row,
    one_row_bits,
    packed_layout,
    packed_walk,
    walk,
)
from ensemble_compress.engines.runs import FEWEST_TREES, find_small, take_trees

MOST_RUNS = 8
"""Every run finds the keys of all rows anew: where there would be more runs, all trees are walked."""

FEW_ROWS = 33
"""From so many rows on the latency path is not thought of."""

ROWS_OF_A_BLOCK, MANY_BLOCKS = 32, 128
"""Engines take rows in blocks, and from so many blocks on the same one is the fastest."""

HEAP_ROWS = 256
"""For fewer rows the trees are not even laid out as heaps."""

BITS_ROWS = 8
"""For fewer rows the trees are not even laid out for bit vectors."""

Adder = Callable[[NDArray[Any], NDArray[Any]], None]


class Run:
    """Neighbouring trees that the same engines may run.

    Parameters
    ----------
    nodes, sets, tree_start, tree_output, values
        As in `Forest`, of these trees only.
    x_dtype : str
        As in `Forest`.
    is_small : bool
        Whether every tree is small enough for bit vectors.
    """

    def __init__(
        self,
        nodes: Any,
        sets: Any,
        tree_start: NDArray[np.int32],
        tree_output: NDArray[np.int32],
        values: NDArray[Any],
        x_dtype: str,
        is_small: bool,
    ) -> None:
        self._arrays = nodes, sets, tree_start, tree_output, values
        self._x_dtype = x_dtype
        self._is_small = is_small
        self._adders: dict[int, tuple[Any, Any]] = {}
        self._finders: dict[int, tuple[Any, Any]] = {}
        # Threads that meet a run for the first time lay its trees out once.
        self._lock = threading.Lock()
        self._walked = 0.0

    @cached_property
    def walk(self) -> walk.Walk:
        """The trees as the plain walk wants them."""
        return walk.lay_out(*self._arrays)

    @cached_property
    def packed(self) -> packed_layout.Packed | None:
        """The trees as the packed walk wants them; None where it cannot have them."""
        if numba.config.DISABLE_JIT:
            return None
        return packed_layout.lay_out(*self._arrays, x_dtype=self._x_dtype)

    @cached_property
    def heaps(self) -> heap_layout.Heaps | None:
        """The trees as the heap walk wants them; None where it cannot have them."""
        if numba.config.DISABLE_JIT:
            return None
        return heap_layout.lay_out(*self._arrays)

    @cached_property
    def bits(self) -> bit_layout.BitVectors | None:
        """The trees as the bit-vector engine wants them; None where it cannot have them."""
        if not self._is_small or numba.config.DISABLE_JIT:
            return None
        return bit_layout.lay_out(*self._arrays)

    @cached_property
    def _n_steps(self) -> float:
        """Splits that a row passes, about."""
        n_leaves = (np.diff(self._arrays[2]) + 1) / 2
        return float((1.3 * np.log2(n_leaves)).sum())

    @property
    def n_trees(self) -> int:
        return len(self._arrays[3])

    @cached_property
    def one_row(self) -> one_row.OneRow | None:
        """The trees as the latency path wants them; None where it cannot have them."""
        return one_row.lay_out(self.packed) if self.packed is not None else None

    @cached_property
    def one_row_bits(self) -> one_row_bits.OneRowBits | None:
        """The trees as the latency path of small trees wants them; None where it cannot have them."""
        if not self._is_small or numba.config.DISABLE_JIT:
            return None
        return one_row_bits.lay_out(*self._arrays)

    def _engine(self, n_rows: int) -> tuple[Any, Any]:
        """The engine that is likely to find the leaves of `n_rows` rows first, and its layout of the trees."""
        blocks = _count_blocks(n_rows)
        known = self._finders.get(blocks)
        if known is not None:
            return known
        with self._lock:
            if n_rows >= FEW_ROWS and self._is_new(n_rows):
                return walk, self.walk
            found = self._cheapest(self._costs(blocks * ROWS_OF_A_BLOCK if n_rows >= FEW_ROWS else n_rows))
            # Of fewer rows there are few kinds of calls, and what they cost differs.
            if n_rows >= FEW_ROWS:
                self._finders[blocks] = found
            return found

    def _is_new(self, n_rows: int) -> bool:
        """Whether the trees have run for so short a time that to lay them out for a faster engine would take longer.

        A forest that is asked once, as most are while a smaller one is looked for, is never laid out; one that is asked
        again and again has lost no more than the layout takes (the rule of ski rental).
        """
        self._walked += costs.of_walk(n_rows, self._n_steps, self.n_trees)
        return self._walked < costs.of_layout(len(self._arrays[0].feature))

    def prepare(self) -> None:
        """Lay the trees out for the fastest engine at the next call already."""
        self._walked = np.inf

    def _adder(self, n_rows: int) -> tuple[Any, Any]:
        """The engine that is likely to add up `n_rows` rows first, and its layout of the trees."""
        if n_rows >= FEW_ROWS:
            return self._engine(n_rows)
        known = self._adders.get(n_rows)
        if known is not None:
            return known
        with self._lock:
            found = self._cheapest(self._costs(n_rows) | self._few_costs(n_rows))
            self._adders[n_rows] = found
            return found

    def _cheapest(self, costs: dict[str, float]) -> tuple[Any, Any]:
        """The engine of the least cost, and what it runs."""
        name = min(costs.items(), key=itemgetter(1))[0]
        engines = {
            "walk": walk,
            "packed": packed_walk,
            "heaps": heap_walk,
            "bits": bitvector,
            "one_row": one_row,
            "one_row_bits": one_row_bits,
        }
        return engines[name], getattr(self, name)

    def _costs(self, n_rows: int) -> dict[str, float]:
        """Nanoseconds that each engine is likely to take for `n_rows` rows."""
        found = {"walk": costs.of_walk(n_rows, self._n_steps, self.n_trees)}
        # Trees are not laid out for an engine that is sure to be slower than one that has them.
        if n_rows >= BITS_ROWS and self.bits is not None:
            found["bits"] = costs.of_bits(self.bits, n_rows)
        elif n_rows >= HEAP_ROWS and self._is_worth_a_search:
            found["heaps"] = costs.of_heaps(self.heaps, n_rows, self._n_steps, self.n_trees)
        elif n_rows >= packed_walk.LANES // 2 and self.packed is not None:
            found["packed"] = costs.of_packed(self.packed, n_rows, self._n_steps, self.n_trees)
        return found

    def _few_costs(self, n_rows: int) -> dict[str, float]:
        """Nanoseconds that the engines of the latency path are likely to take for `n_rows` rows."""
        found = {}
        if self.one_row_bits is not None:
            found["one_row_bits"] = costs.of_lists(self.one_row_bits.groups, n_rows)
        row = costs.of_row(self._n_steps, self.n_trees)
        # Trees are not laid out for both where one is sure to be slower.
        if n_rows * row < found.get("one_row_bits", np.inf) and self.packed is not None:
            found["one_row"] = n_rows * (row + costs.of_keys(self.packed.columns))
        return found

    @cached_property
    def _is_worth_a_search(self) -> bool:
        """Whether a heap walk gains more than its ranks cost; the trees are not laid out for a packed walk to find that out."""
        if self.heaps is None:
            return False
        of_bits = self._x_dtype == "float32"
        is_worth = costs.gain_of_heaps(self.heaps, self._n_steps, self.n_trees, of_bits=of_bits) > 0
        if not is_worth:
            del self.heaps
        return is_worth

    def adder(self, n_rows: int) -> Adder:
        """What adds the trees' leaves to the sums of `n_rows` rows, called with the rows and the sums."""
        engine, trees = self._adder(n_rows)
        if engine in (one_row, one_row_bits):
            return partial(trees.kernel, trees.table)
        return lambda rows, out: engine.add_margins(trees, rows, 0, n_rows, out)

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add the trees' leaves to `out`, for the rows from `start` to `stop`."""
        engine, trees = self._adder(stop - start)
        engine.add_margins(trees, X, start, stop, out)

    def find_leaves(self, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
        """Write the nodes where rows end to `out`, shape (n_rows, n_trees), numbered in the run."""
        engine, trees = self._engine(stop - start)
        engine.find_leaves(trees, X, start, stop, out)


class Plan:
    """The trees of a forest, ready to be run.

    Parameters
    ----------
    nodes, sets, tree_start, tree_output, values, x_dtype
        As in `Forest`.
    """

    def __init__(
        self,
        nodes: Any,
        sets: Any,
        tree_start: NDArray[np.int32],
        tree_output: NDArray[np.int32],
        values: NDArray[Any],
        x_dtype: str,
    ) -> None:
        self._arrays = nodes, sets, tree_start, tree_output, values
        self._x_dtype = x_dtype
        self.n_trees = len(tree_output)
        self._adders: dict[int, list[Adder]] = {}

    def adders(self, n_rows: int) -> list[Adder]:
        """What adds all trees' leaves to the sums of `n_rows` rows, called one after the other."""
        known = self._adders.get(n_rows)
        if known is None:
            known = [run.adder(n_rows) for run in self.runs]
            if n_rows < FEW_ROWS:
                self._adders[n_rows] = known
        return known

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add all trees' leaves to `out` in tree order, for the rows from `start` to `stop`."""
        for run in self.runs:
            run.add_margins(X, start, stop, out)

    def prepare(self) -> None:
        """Lay the trees out for the fastest engines at the next call already."""
        for run in self.runs:
            run.prepare()

    def find_leaves(self, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
        """Write the nodes where rows end to `out`, shape (n_rows, n_trees), numbered through the whole forest."""
        if len(self.runs) == 1:
            self.runs[0].find_leaves(X, start, stop, out)
            return
        tree = 0
        for run, first in zip(self.runs, self._first_nodes, strict=True):
            found = np.empty((stop - start, run.n_trees), np.int32)
            run.find_leaves(X[start:stop], 0, stop - start, found)
            np.add(found, first, out=out[start:stop, tree : tree + run.n_trees])
            tree += run.n_trees

    @cached_property
    def _is_small(self) -> NDArray[np.bool_]:
        return _are_small(self._arrays[0], self._arrays[2])

    @cached_property
    def _bounds(self) -> list[int]:
        """The first tree of every run, and the number of trees."""
        cuts = np.flatnonzero(np.diff(self._is_small)) + 1
        return _cut_by_columns(self._arrays[0], self._arrays[2], [0, *cuts.tolist(), self.n_trees])

    @cached_property
    def _first_nodes(self) -> list[int]:
        return [int(self._arrays[2][tree]) for tree in self._bounds[:-1]]

    @cached_property
    def runs(self) -> list[Run]:
        """The trees in runs that suit one engine each; the same ones for threads that ask at once."""
        runs: list[Run] = self.__dict__.setdefault("runs", self._find_runs())
        return runs

    def _find_runs(self) -> list[Run]:
        if len(self._bounds) == 2:
            return [Run(*self._arrays, self._x_dtype, is_small=bool(self._is_small.all()))]
        return [
            Run(*take_trees(self._arrays, first, last), self._x_dtype, is_small=bool(self._is_small[first]))
            for first, last in pairwise(self._bounds)
        ]


def _count_blocks(n_rows: int) -> int:
    """What a choice of an engine for `n_rows` rows depends on: blocks, and of many no longer how many."""
    return min(-(-n_rows // ROWS_OF_A_BLOCK), MANY_BLOCKS)


def _are_small(nodes: Any, tree_start: NDArray[np.int32]) -> NDArray[np.bool_]:
    """For each tree whether bit vectors may run it; runs that are too short to pay are said to be large."""
    is_small = find_small(nodes, tree_start)
    if is_small.all():
        return is_small
    cuts = np.flatnonzero(np.diff(is_small)) + 1
    for part in np.split(np.arange(len(is_small)), cuts):
        is_small[part] &= len(part) >= FEWEST_TREES
    if np.count_nonzero(np.diff(is_small)) >= MOST_RUNS:
        is_small[:] = False
    return is_small


def _cut_by_columns(nodes: Any, tree_start: NDArray[np.int32], bounds: list[int]) -> list[int]:
    """The bounds of runs, and more of them where the trees of a run read more columns than the fast engines take."""
    most = packed_layout.MOST_PAIRS
    if nodes.feature.max(initial=-1) + 1 + np.count_nonzero(nodes.category_set >= 0) <= most:
        return bounds
    column = nodes.feature.astype(np.int64) << 32 | (nodes.category_set + 1).astype(np.int64)
    found, seen = [0], set[int]()
    for first, last in pairwise(bounds):
        for tree in range(first, last):
            own = {*column[tree_start[tree] : tree_start[tree + 1]].tolist()} - {-1 << 32}
            if len(seen | own) > most and tree > found[-1]:
                found.append(tree)
                seen = set()
            seen |= own
        found.append(last)
        seen = set()
    return found
