"""Which engine runs which trees: laid out when they are first wanted, chosen by what a call would cost.

Sums have to be in tree order, so the trees are cut into runs of neighbours that suit the same engine, and the runs are
added up one after the other.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bitvector, walk

STEP_NS = 3.2
"""A row one level down a tree by the walk engine (measured: 31 leaves, 8 rows interleaved, AVX2)."""

TEST_NS = 4.0
"""A test on a block of rows by the bit-vector engine, the look-up of the leaves included."""

RANK_NS = 1.2
"""A value one step on in the search for its rank."""

FEWEST_ROWS = 4
"""For fewer rows the trees are not even laid out for bit vectors."""

FEWEST_TREES = 8
"""Shorter runs of small trees among large ones are walked with their neighbours."""


class Run:
    """Neighbouring trees that the same engine may run: a walk for few rows, bit vectors for many.

    Parameters
    ----------
    nodes, sets, tree_start, tree_output, values
        As in `Forest`, of these trees only.
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
        is_small: bool,
    ) -> None:
        self._arrays = nodes, sets, tree_start, tree_output, values
        self._is_small = is_small and not numba.config.DISABLE_JIT

    @cached_property
    def walk(self) -> walk.Walk:
        """The trees as the walk engine wants them."""
        return walk.lay_out(*self._arrays)

    @cached_property
    def bits(self) -> bitvector.BitVectors | None:
        """The trees as the bit-vector engine wants them; None where it cannot have them."""
        return bitvector.lay_out(*self._arrays) if self._is_small else None

    @cached_property
    def _block_rows(self) -> float:
        """So many rows walked cost as much as a block of them by bit vectors."""
        if self.bits is None:
            return np.inf
        n_leaves = np.diff(self.bits.first_leaf)
        steps = np.log2(np.diff(self.bits.cut_start)).sum()
        block = TEST_NS * len(self.bits.column) + RANK_NS * bitvector.BLOCK * steps
        row = STEP_NS * (1.3 * np.log2(n_leaves) + 1).sum()
        return float(block / row)

    def prepare(self, n_rows: int) -> None:
        """Lay out what `add_margins` will need for `n_rows` rows."""
        _ = self.bits if self._is_for_bits(n_rows) else self.walk

    def _is_for_bits(self, n_rows: int) -> bool:
        return n_rows >= FEWEST_ROWS and n_rows >= self._block_rows * -(-n_rows // bitvector.BLOCK)

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add the trees' leaves to `out`, for the rows from `start` to `stop`."""
        if self._is_for_bits(stop - start):
            bitvector.add_margins(self.bits, X, start, stop, out)
        else:
            walk.add_margins(self.walk, X, start, stop, out)


class Plan:
    """The trees of a forest, ready to be run.

    Parameters
    ----------
    nodes, sets, tree_start, tree_output, values
        As in `Forest`.
    """

    def __init__(
        self,
        nodes: Any,
        sets: Any,
        tree_start: NDArray[np.int32],
        tree_output: NDArray[np.int32],
        values: NDArray[Any],
    ) -> None:
        self._arrays = nodes, sets, tree_start, tree_output, values

    def prepare(self, n_rows: int) -> None:
        """Lay out what `add_margins` will need for `n_rows` rows, before several threads want it at once."""
        for run in self.runs:
            run.prepare(n_rows)

    def add_margins(self, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
        """Add all trees' leaves to `out` in tree order, for the rows from `start` to `stop`."""
        for run in self.runs:
            run.add_margins(X, start, stop, out)

    @cached_property
    def walk(self) -> walk.Walk:
        """All trees as the walk engine wants them."""
        if len(self.runs) == 1:
            return self.runs[0].walk
        return walk.lay_out(*self._arrays)

    @cached_property
    def runs(self) -> list[Run]:
        """The trees in runs that suit one engine each."""
        nodes, sets, tree_start, tree_output, values = self._arrays
        is_small = _are_small(nodes, tree_start)
        cuts = np.flatnonzero(np.diff(is_small)) + 1
        if not len(cuts):
            return [Run(*self._arrays, is_small=bool(is_small.all()))]
        bounds = [0, *cuts.tolist(), len(is_small)]
        runs = []
        for first, last in pairwise(bounds):
            start, stop = tree_start[first], tree_start[last]
            part = type(nodes)(*(_read_only(field[start:stop]) for field in nodes))
            part = part._replace(
                right=_read_only(np.where(part.right >= 0, part.right - start, -1).astype(np.int32))
            )
            starts = _read_only(tree_start[first : last + 1] - start)
            output = _read_only(tree_output[first:last])
            runs.append(Run(part, sets, starts, output, values, is_small=bool(is_small[first])))
        return runs


def _are_small(nodes: Any, tree_start: NDArray[np.int32]) -> NDArray[np.bool_]:
    """For each tree whether bit vectors may run it; runs that are too short to pay are said to be large."""
    n_leaves = (np.diff(tree_start) + 1) // 2
    is_small = n_leaves <= bitvector.MOST_LEAVES
    if is_small.all():
        return np.asarray(is_small)
    cuts = np.flatnonzero(np.diff(is_small)) + 1
    for part in np.split(np.arange(len(is_small)), cuts):
        is_small[part] &= len(part) >= FEWEST_TREES
    return np.asarray(is_small)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Read-only arrays are another type to Numba, and those of a Forest are."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
