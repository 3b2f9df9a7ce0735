"""The heap walk in the tables of the shared library: the arrays of `engines.heap_layout`, of all runs, in C's order.

A run that is here is not there for the packed walk too: calls of few rows go down the same heaps, eight trees at a time. What lies
below a heap takes room only where it is read: the leaves' rows of values of trees that are not deep, the records' places of deep
ones. A block of ranks is laid out as `library_packed` lays out one of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import costs, heap_layout
from ensemble_compress.engines.heap_layout import BLOCK, UPPER, Heaps
from ensemble_compress.engines.packed_layout import BLOCK as BLOCK_OF_KEYS
from ensemble_compress.writers.library_columns import Table, joined, starts

MOST_COLUMNS = 2048
"""A column's place in a block of ranks has 16 bits."""

NODE = np.dtype([("key", "u2"), ("at", "u2")])
TOP = np.dtype([("key", "u4"), ("at", "u4")])
RECORD = np.dtype([("key", "u2"), ("at", "u2"), ("child", "u4")])
FIELDS = ("top", "heap", "end", "record", "value", "depth", "is_deep")
TREE = np.dtype([(name, "u4") for name in FIELDS])
N_TOPS = (1 << UPPER) - 1


@dataclass(frozen=True, eq=False)
class HeapRun:
    """A run of trees for the heap walk.

    Parameters
    ----------
    heaps : Heaps
        Its layout.
    """

    heaps: Heaps

    @classmethod
    def of(cls, arrays: Sequence[Any], x_dtype: str) -> "HeapRun | None":
        """The layout of a run; None where it cannot be, or the search for ranks costs more than is gained.

        Parameters
        ----------
        arrays : sequence
            Nodes, category sets, starts and outputs of trees, and values, as in `Forest`.
        x_dtype : str
            As in `Forest`.
        """
        heaps = heap_layout.lay_out(*arrays)
        if heaps is None:
            return None
        run = cls(heaps)
        return run if gain(heaps, arrays[2], x_dtype) > 0 and run.n_columns <= MOST_COLUMNS else None

    @property
    def n_pairs(self) -> int:
        return len(self.heaps.columns.feature)

    @property
    def second(self) -> int:
        """The first of the second columns; 0 where none is ever read."""
        return 1 << self.n_pairs.bit_length() if self.heaps.columns.has_below.any() else 0

    @property
    def n_columns(self) -> int:
        """Columns of a block of ranks."""
        return self.n_pairs + (self.second or 1)

    @property
    def columns(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The number of each pair's first column, and of its second one; 0 where it has none."""
        above = np.arange(self.n_pairs)
        return above, (above + self.second) * self.heaps.columns.has_below

    def places(self, at: NDArray[Any]) -> NDArray[np.uint16]:
        """Where columns begin in a block of ranks, that began elsewhere in the engine's."""
        pair, is_second = np.divmod(at // BLOCK, 2)
        places: NDArray[np.uint16] = (BLOCK * (pair + is_second * self.second)).astype(np.uint16)
        return places

    def nodes(self, heap: NDArray[np.uint16]) -> NDArray[Any]:
        """The nodes of heaps."""
        nodes = np.empty(len(heap), NODE)
        nodes["key"], nodes["at"] = heap[:, 0], self.places(heap[:, 1])
        return nodes

    def tops(self) -> NDArray[Any]:
        """The tests of every tree's uppermost levels."""
        at = self.heaps.heap_start[:, None] + np.arange(N_TOPS)
        nodes = self.nodes(self.heaps.heap[at.ravel()])
        tops = np.empty(len(nodes), TOP)
        tops["key"], tops["at"] = nodes["key"].astype(np.uint32) * 0x10001, nodes["at"]
        return tops

    def records(self) -> NDArray[Any]:
        """The nodes of deep trees."""
        engine = self.heaps.record.view([("key", "u2"), ("at", "u2"), ("child", "u4")])
        records = np.empty(len(engine), RECORD)
        records["key"], records["at"], records["child"] = (
            engine["key"],
            self.places(engine["at"]),
            engine["child"],
        )
        return records

    def trees(self) -> NDArray[Any]:
        """How much each tree has of everything, and its depth."""
        heaps, size = self.heaps, np.left_shift(1, self.heaps.depth.astype(np.int64))
        trees = np.zeros(len(heaps.depth), [(name, "i8") for name in FIELDS])
        trees["top"], trees["heap"], trees["end"] = N_TOPS, size, size
        trees["record"] = np.diff(heaps.record_start)
        trees["value"] = np.diff(np.append(heaps.value_start, len(heaps.values)))
        trees["depth"], trees["is_deep"] = heaps.depth, heaps.is_deep
        return trees

    def ends(self, array: NDArray[Any], is_deep: int) -> NDArray[Any]:
        """What lies below the heaps of trees that are deep, or are not."""
        kept: NDArray[Any] = array[np.repeat(self.heaps.is_deep == is_deep, self.trees()["heap"])]
        return kept


def tables(
    runs: Sequence[HeapRun | None], n_trees: Sequence[int], values: NDArray[Any], sum_type: str
) -> dict[str, Table]:
    """The arrays that the heap walk reads, by their C macro with the C type of an element.

    Parameters
    ----------
    runs : sequence of HeapRun or None
        The layout of each run; None where it is not walked so.
    n_trees : sequence of int
        The number of trees of each run.
    values : ndarray
        The forest's rows of values.
    sum_type : str
        Their type in C.
    """
    found = [run for run in runs if run is not None]
    if not found:
        return {}
    whole = joined(NODE, [run.nodes(run.heaps.heap_whole) for run in found])
    heap = [run.nodes(run.heaps.heap) for run in found] if any(run.second for run in found) else []
    arrays = {
        "HEAPS": ("heap_t", _trees(runs, n_trees)),
        "TOPS": ("top_t", joined(TOP, [run.tops() for run in found])),
        "HEAP_NODES_WHOLE": ("heap_node_t", whole),
        "END_ROWS": ("uint16_t", joined(np.dtype("u2"), [run.ends(run.heaps.leaf_row, 0) for run in found])),
        "BELOW": ("uint32_t", joined(np.dtype("u4"), [run.ends(run.heaps.below.astype(np.uint32), 1) for run in found])),
        "HEAP_RECORDS": ("below_t", joined(RECORD, [run.records() for run in found])),
        "HEAP_VALUES": (sum_type, np.concatenate([values[:0], *(run.heaps.values for run in found)])),
    }  # fmt: skip
    if heap:
        arrays["HEAP_NODES"] = "heap_node_t", joined(NODE, heap)
    return arrays


def gain(heaps: Heaps, tree_start: NDArray[np.int32], x_dtype: str) -> float:
    """What a row gains by the heap walk over the packed one, as the engines reckon it.

    Parameters
    ----------
    heaps : Heaps
        The layout of a run.
    tree_start, x_dtype
        As in `Forest`, of the run.
    """
    n_leaves = (np.diff(tree_start) + 1) / 2
    n_steps = float((1.3 * np.log2(n_leaves)).sum())
    return costs.gain_of_heaps(heaps, n_steps, len(n_leaves), of_bits=x_dtype == "float32")


def numbers(runs: Sequence[HeapRun | None]) -> dict[str, int]:
    """The numbers that the heap walk is compiled for."""
    found = [run for run in runs if run is not None]
    return {
        "HAS_HEAPS": int(bool(found)),
        "HAS_DEEP": int(any(run.heaps.is_deep.any() for run in found)),
        "RANKS_OF_BLOCK": BLOCK_OF_KEYS * max((run.n_columns for run in found), default=1),
    }


def _trees(runs: Sequence[HeapRun | None], n_trees: Sequence[int]) -> NDArray[Any]:
    """Where each tree's parts begin; behind the last one, where all end."""
    wide = np.dtype([(name, "i8") for name in FIELDS])
    of_runs = [
        np.zeros(n, wide) if run is None else run.trees() for run, n in zip(runs, n_trees, strict=True)
    ]
    sizes = np.concatenate([*of_runs, np.zeros(1, wide)])
    trees = np.empty(len(sizes), TREE)
    for name in ("top", "heap", "record", "value"):
        trees[name] = starts(sizes[name])
    is_deep = sizes["is_deep"] == 1
    trees["end"] = np.where(is_deep, starts(sizes["end"] * is_deep), starts(sizes["end"] * ~is_deep))
    trees["depth"], trees["is_deep"] = sizes["depth"], is_deep
    return trees
