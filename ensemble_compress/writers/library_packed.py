"""The packed walk in the tables of the shared library: the arrays of `engines.packed_layout`, of all runs, in C's order.

Where no missing value goes left in a run, its second columns are never read, and its nodes are made to name the first ones
side by side: a block of keys takes half the room then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import packed_layout
from ensemble_compress.engines.packed_layout import BLOCK, Packed

MOST_COLUMNS = 1024
"""The keys of a block of rows lie on the stack: 128 kB of it."""

PAIR = np.dtype(
    [("first_cut", "u4"), ("n_cuts", "u4"), ("feature", "u4"), ("set", "i4"), ("has_below", "u4")]
)
UPPER = np.dtype([("at", "u4"), ("key", "u4"), ("mask", "u4")])
Table = tuple[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PackedRun:
    """A run of trees for the packed walk.

    Parameters
    ----------
    packed : Packed
        Its layout.
    is_doubled : bool
        Whether every pair has two columns.
    """

    packed: Packed
    is_doubled: bool

    @classmethod
    def of(cls, arrays: Sequence[Any], x_dtype: str) -> "PackedRun | None":
        """The layout of a run; None where it cannot be, or its keys need too much room.

        Parameters
        ----------
        arrays : sequence
            Nodes, category sets, starts and outputs of trees, and values, as in `Forest`.
        x_dtype : str
            As in `Forest`.
        """
        nodes, sets, tree_start, tree_output, values = arrays
        packed = packed_layout.lay_out(nodes, sets, tree_start, tree_output, values, x_dtype)
        if packed is None:
            return None
        run = cls(packed, bool(packed.columns.has_below.any()))
        return run if run.n_columns <= MOST_COLUMNS else None

    @property
    def n_pairs(self) -> int:
        return len(self.packed.columns.feature)

    @property
    def n_columns(self) -> int:
        """Columns of a block of keys; the last one is for leaves."""
        return (self.n_pairs << self.is_doubled) + 1

    def places(self, at: NDArray[Any]) -> NDArray[Any]:
        """Where columns begin in a block of keys."""
        return at if self.is_doubled else at >> 1

    def records(self, nodes: NDArray[np.int64], mask: int) -> NDArray[np.uint64]:
        """Nodes as the C code reads them; `mask` says which bits of the upper half name the column."""
        records = nodes.view(np.uint64)
        if self.is_doubled:
            return records
        column = np.uint64(mask << 32)
        return records & ~column | (records & column) >> np.uint64(1) & column


def tables(runs: Sequence[PackedRun | None], n_trees: Sequence[int]) -> dict[str, Table]:
    """The arrays that the packed walk reads, by their C macro with the C type of an element.

    Parameters
    ----------
    runs : sequence of PackedRun or None
        The layout of each run; None where it is not walked so.
    n_trees : sequence of int
        The number of trees of each run.
    """
    found = [run for run in runs if run is not None]
    whole = [run.records(run.packed.complete_whole, 0xFFFFFFFF) for run in found]
    complete = [run.records(run.packed.complete, 0xFFFFFFFF) if run.is_doubled else None for run in found]
    are_one = all(nodes is None for nodes in complete)
    first_cut = _starts([len(run.packed.columns.cuts) for run in found])
    of_trees = [_of_trees(run, n) for run, n in zip(runs, n_trees, strict=True)]
    n_tests, depth, complete_size, entry = (
        np.concatenate(parts) for parts in zip(_of_trees(None, 0), *of_trees, strict=True)
    )
    arrays = {
        "PAIRS": ("pair_t", _joined(PAIR, [_pairs(run, at) for run, at in zip(found, first_cut, strict=True)])),
        "PAIR_CUTS": ("VALUE", _joined(np.dtype("f8"), [run.packed.columns.cuts for run in found])),
        "RECORDS": ("record_t", _joined(np.dtype("u8"), [run.records(run.packed.record, run.packed.column_mask) for run in found])),
        "UPPER": ("upper_t", _joined(UPPER, [_upper(run) for run in found])),
        "UPPER_START": ("uint32_t", np.append(0, np.cumsum(n_tests)).astype(np.uint32)),
        "ENTRIES": ("uint32_t", entry.astype(np.uint32)),
        "N_LEVELS": ("uint32_t", depth.astype(np.uint32)),
        "COMPLETE_START": ("uint32_t", _starts(complete_size).astype(np.uint32)),
        "COMPLETE_WHOLE": ("record_t", _joined(np.dtype("u8"), whole)),
    }  # fmt: skip
    if not are_one:
        both = [one if two is None else two for one, two in zip(whole, complete, strict=True)]
        arrays["COMPLETE"] = "record_t", _joined(np.dtype("u8"), both)
    return arrays


def _of_trees(run: PackedRun | None, n_trees: int) -> tuple[NDArray[Any], ...]:
    """(tests of the uppermost part, levels and size as a complete tree, entries) of the trees of a run."""
    if run is None:
        zeros = np.zeros(n_trees, np.int64)
        return zeros, zeros, zeros, np.zeros((n_trees, packed_layout.ENTRIES), np.int32)
    packed = run.packed
    depth = packed.depth.astype(np.int64)
    return np.diff(packed.test_start), depth, np.where(depth > 0, 2 << depth, 0), packed.entry


def _starts(sizes: Any) -> NDArray[np.int64]:
    """Where each of some parts begins that lie one behind the other."""
    return np.append(0, np.cumsum(sizes, dtype=np.int64))[:-1].astype(np.int64)


def _joined(dtype: np.dtype[Any], parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _pairs(run: PackedRun, first_cut: int) -> NDArray[Any]:
    columns = run.packed.columns
    pairs = np.empty(run.n_pairs, PAIR)
    pairs["first_cut"] = columns.cut_start[:-1] + first_cut
    pairs["n_cuts"] = np.diff(columns.cut_start)
    pairs["feature"], pairs["set"] = columns.feature, columns.category_set
    pairs["has_below"] = columns.has_below
    return pairs


def _upper(run: PackedRun) -> NDArray[Any]:
    upper = np.empty(len(run.packed.test_at), UPPER)
    upper["at"] = run.places(run.packed.test_at)
    upper["key"], upper["mask"] = run.packed.test_key, run.packed.test_mask.view(np.uint32)
    return upper
