"""Which engine runs which trees: laid out when they are first wanted, chosen by what a call would cost.

Sums have to be in tree order, so the trees are cut into runs of neighbours that suit the same engine, and the runs are
added up one after the other.
"""

from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import (
    bit_layout,
    bitvector,
    oblivious,
    one_row,
    packed_layout,
    packed_walk,
    walk,
)

# Nanoseconds, measured on an AVX2 processor at 3.4 GHz; only their ratios matter.
PLAIN_STEP = 4.5
"""A row one level down a tree by the plain walk."""

PACKED_STEP = 0.8
"""The same by the packed walk, whose eight lanes wait for the slowest."""

PACKED_LEAF = 2.0
"""A row's way into a tree and its leaf's value, by the packed walk."""

TEST = 0.035
"""A row's share of a test by bit vectors."""

BITS_LEAF = 0.3
"""A row's leaf's value by bit vectors."""

KEY = 1.0
"""A value's key, or one step on in the search for its rank."""

CALL = 1500.0
"""The scratch of an engine that has some."""

FEWEST_TREES = 8
"""Shorter runs of small trees among large ones are walked with their neighbours."""

MOST_RUNS = 8
"""Every run finds the keys of all rows anew: where there would be more runs, all trees are walked."""

ONE_STEP = 2.0
"""A row one level down a tree on the latency path, eight trees at a time."""

ONE_LEAF = 3.0
"""A row's way into a tree and its leaf's value, likewise."""

FEW_ROWS = 33
"""From so many rows on the latency path is not thought of."""

BITS_ROWS = 8
"""For fewer rows the trees are not even laid out for bit vectors."""


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

    def _engine(self, n_rows: int) -> tuple[Any, Any]:
        """The engine that is likely to find the leaves of `n_rows` rows first, and its layout of the trees."""
        return self._laid_out(min(self._costs(n_rows).items(), key=itemgetter(1))[0])

    def _adder(self, n_rows: int) -> tuple[Any, Any]:
        """The engine that is likely to add up `n_rows` rows first, and its layout of the trees."""
        known = self._adders.get(n_rows)
        if known is not None:
            return known
        costs = self._costs(n_rows)
        if n_rows < FEW_ROWS and self.one_row is not None:
            costs["one_row"] = n_rows * self._one_row_cost
        found = self._laid_out(min(costs.items(), key=itemgetter(1))[0])
        if n_rows < FEW_ROWS:
            self._adders[n_rows] = found
        return found

    def _laid_out(self, name: str) -> tuple[Any, Any]:
        """An engine and what it runs."""
        engines = {"walk": walk, "packed": packed_walk, "bits": bitvector, "one_row": one_row}
        return engines[name], getattr(self, name)

    def _costs(self, n_rows: int) -> dict[str, float]:
        """Nanoseconds that each engine is likely to take for `n_rows` rows."""
        costs = {"walk": n_rows * PLAIN_STEP * (self._n_steps + self.n_trees)}
        if n_rows >= packed_walk.LANES // 2 and self.packed is not None:
            row = PACKED_STEP * self._n_steps + PACKED_LEAF * self.n_trees
            row += _key_cost(self.packed.columns)
            costs["packed"] = CALL + _whole(n_rows, packed_layout.BLOCK) * row
        if n_rows >= BITS_ROWS and self.bits is not None:
            row = TEST * len(self.bits.column) + BITS_LEAF * self.n_trees
            row += _key_cost(self.bits.columns)
            group = bitvector.FEW if n_rows <= bitvector.FEW else bit_layout.BLOCK
            costs["bits"] = CALL + _whole(n_rows, group) * row
        return costs

    @cached_property
    def _one_row_cost(self) -> float:
        """Nanoseconds a row on the latency path."""
        keys = _key_cost(self.packed.columns) if self.packed is not None else 0.0
        return ONE_STEP * self._n_steps + ONE_LEAF * self.n_trees + keys

    def prepare(self, n_rows: int) -> None:
        """Lay out what a call for `n_rows` rows will need."""
        self._adder(n_rows)

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add the trees' leaves to `out`, for the rows from `start` to `stop`."""
        engine, trees = self._adder(stop - start)
        engine.add_margins(trees, X, start, stop, out)

    def find_leaves(self, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
        """Write the nodes where rows end to `out`, shape (n_rows, n_trees), numbered in the run."""
        engine, trees = self._engine(stop - start)
        engine.find_leaves(trees, X, start, stop, out)


def _whole(n_rows: int, group: int) -> int:
    """`n_rows` made up to whole groups."""
    return -(-n_rows // group) * group


def _key_cost(columns: Any) -> float:
    """Nanoseconds for the keys of a row."""
    if len(columns.cuts):
        return float(KEY * np.log2(np.diff(columns.cut_start)).clip(1).sum())
    return KEY * len(columns.feature)


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

    def prepare(self, n_rows: int) -> None:
        """Lay out what a call for `n_rows` rows will need, before several threads want it at once."""
        for run in self.runs:
            run.prepare(n_rows)

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add all trees' leaves to `out` in tree order, for the rows from `start` to `stop`."""
        for run in self.runs:
            run.add_margins(X, start, stop, out)

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
        return [0, *cuts.tolist(), self.n_trees]

    @cached_property
    def _first_nodes(self) -> list[int]:
        return [int(self._arrays[2][tree]) for tree in self._bounds[:-1]]

    @cached_property
    def runs(self) -> list[Run]:
        """The trees in runs that suit one engine each."""
        nodes, sets, tree_start, tree_output, values = self._arrays
        if len(self._bounds) == 2:
            return [Run(*self._arrays, self._x_dtype, is_small=bool(self._is_small.all()))]
        runs = []
        for first, last in pairwise(self._bounds):
            start, stop = tree_start[first], tree_start[last]
            part = type(nodes)(*(_read_only(field[start:stop]) for field in nodes))
            part = part._replace(
                right=_read_only(np.where(part.right >= 0, part.right - start, -1).astype(np.int32))
            )
            starts = _read_only(tree_start[first : last + 1] - start)
            output = _read_only(tree_output[first:last])
            runs.append(
                Run(part, sets, starts, output, values, self._x_dtype, is_small=bool(self._is_small[first]))
            )
        return runs


def _are_small(nodes: Any, tree_start: NDArray[np.int32]) -> NDArray[np.bool_]:
    """For each tree whether bit vectors may run it; runs that are too short to pay are said to be large."""
    n_leaves = (np.diff(tree_start) + 1) // 2
    is_small = (n_leaves <= bit_layout.MOST_LEAVES) | (oblivious.find_levels(nodes, tree_start) > 0)
    if is_small.all():
        return np.asarray(is_small)
    cuts = np.flatnonzero(np.diff(is_small)) + 1
    for part in np.split(np.arange(len(is_small)), cuts):
        is_small[part] &= len(part) >= FEWEST_TREES
    if np.count_nonzero(np.diff(is_small)) >= MOST_RUNS:
        is_small[:] = False
    return np.asarray(is_small)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Read-only arrays are another type to Numba, and those of a Forest are."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
