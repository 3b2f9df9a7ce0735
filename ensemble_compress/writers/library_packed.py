"""The packed walk in the tables of the shared library: the arrays of `engines.packed_layout`, of all runs, in C's order.

A block of keys is laid out anew: the first columns of all pairs lie side by side, the one that leaves read behind them, and the
second columns begin at a power of two. Where no value is missing, the bit of this power is cut off each node's
column, and a block of keys takes half the room.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import packed_layout
from ensemble_compress.engines.packed_layout import BLOCK, Packed
from ensemble_compress.writers.library_columns import Table, joined, starts

MOST_COLUMNS = 2048
"""The keys of a block of rows lie on the stack: 256 kB of it."""

RECORD = np.dtype([("key", "u4"), ("next", "u4")])
UPPER = np.dtype([("at", "u4"), ("key", "u4"), ("mask", "u4")])


@dataclass(frozen=True, eq=False)
class PackedRun:
    """A run of trees for the packed walk.

    Parameters
    ----------
    packed : Packed
        Its layout.
    """

    packed: Packed

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
        run = None if packed is None else cls(packed)
        return run if run is not None and run.n_columns <= MOST_COLUMNS else None

    @property
    def n_pairs(self) -> int:
        return len(self.packed.columns.feature)

    @property
    def second(self) -> int:
        """The first of the second columns; 0 where none is ever read."""
        return 1 << self.n_pairs.bit_length() if self.packed.columns.has_below.any() else 0

    @property
    def n_columns(self) -> int:
        """Columns of a block of keys."""
        return self.n_pairs + (self.second or 1)

    @property
    def column_bits(self) -> int:
        """Bits of a node that say where a column begins in a block of keys."""
        return int(BLOCK * self.n_columns - 1).bit_length()

    @property
    def columns(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The number of each pair's first column, and of its second one; 0 where it has none."""
        above = np.arange(self.n_pairs)
        return above, (above + self.second) * self.packed.columns.has_below

    def fits(self, column_bits: int) -> bool:
        """Whether a node has room for so many bits of a column, and the place of a child above them."""
        return column_bits + int(np.diff(self.packed.tree_start).max(initial=1)).bit_length() <= 32

    def places(self, at: NDArray[Any]) -> NDArray[np.uint32]:
        """Where columns begin in a block of keys, that began elsewhere in the engine's."""
        pair, is_second = np.divmod(at // BLOCK, 2)
        places: NDArray[np.uint32] = (BLOCK * (pair + is_second * self.second)).astype(np.uint32)
        return places

    def records(self, column_bits: int) -> NDArray[Any]:
        """The nodes."""
        packed = self.packed
        upper = packed.record.view(np.uint64) >> np.uint64(32)
        column, child = upper & np.uint64(packed.column_mask), upper >> np.uint64(packed.child_shift)
        records = np.empty(len(upper), RECORD)
        records["key"] = packed.record & 0xFFFFFFFF
        records["next"] = self.places(column.astype(np.int64)) | child.astype(np.uint32) << np.uint32(
            column_bits
        )
        return records

    def complete(self, nodes: NDArray[np.int64]) -> NDArray[Any]:
        """The nodes of complete trees; what a leaf has for a column is never read."""
        records = np.empty(len(nodes), RECORD)
        records["key"], records["next"] = (
            nodes & 0xFFFFFFFF,
            self.places(nodes.view(np.uint64) >> np.uint64(32)),
        )
        return records


def tables(runs: Sequence[PackedRun | None], n_trees: Sequence[int], column_bits: int) -> dict[str, Table]:
    """The arrays that the packed walk reads, by their C macro with the C type of an element.

    Parameters
    ----------
    runs : sequence of PackedRun or None
        The layout of each run; None where it is not walked so.
    n_trees : sequence of int
        The number of trees of each run.
    column_bits : int
        Bits of every node that say where its column begins.
    """
    found = [run for run in runs if run is not None]
    of_trees = [_of_trees(run, n) for run, n in zip(runs, n_trees, strict=True)]
    n_tests, depth, complete_size, entry = (
        np.concatenate(parts) for parts in zip(_of_trees(None, 0), *of_trees, strict=True)
    )
    arrays = {
        "RECORDS": ("record_t", joined(RECORD, [run.records(column_bits) for run in found])),
        "UPPER": ("upper_t", joined(UPPER, [_upper(run) for run in found])),
        "UPPER_START": ("uint32_t", np.append(0, np.cumsum(n_tests)).astype(np.uint32)),
        "ENTRIES": ("uint32_t", entry.astype(np.uint32)),
        "N_LEVELS": ("uint32_t", depth.astype(np.uint32)),
        "COMPLETE_START": ("uint32_t", starts(complete_size).astype(np.uint32)),
        "COMPLETE_WHOLE": ("record_t", joined(RECORD, [run.complete(run.packed.complete_whole) for run in found])),
    }  # fmt: skip
    if any(run.second for run in found):
        arrays["COMPLETE"] = "record_t", joined(RECORD, [run.complete(run.packed.complete) for run in found])
    return arrays


def _of_trees(run: PackedRun | None, n_trees: int) -> tuple[NDArray[Any], ...]:
    """(tests of the uppermost part, levels and size as a complete tree, entries) of the trees of a run."""
    if run is None:
        zeros = np.zeros(n_trees, np.int64)
        return zeros, zeros, zeros, np.zeros((n_trees, packed_layout.ENTRIES), np.int32)
    packed = run.packed
    depth = packed.depth.astype(np.int64)
    return np.diff(packed.test_start), depth, np.where(depth > 0, 2 << depth, 0), packed.entry


def _upper(run: PackedRun) -> NDArray[Any]:
    upper = np.empty(len(run.packed.test_at), UPPER)
    upper["at"] = run.places(run.packed.test_at)
    upper["key"], upper["mask"] = run.packed.test_key, run.packed.test_mask.view(np.uint32)
    return upper
