"""The tables of the shared library: what its traversals read, and the numbers that its C code is compiled for.

The trees are cut into runs of neighbours. A run of deep trees is there for the heap walk where that pays (`library_heaps`, laid out
by `engines.heap_layout`), any other one for the packed walk (`library_packed`, `engines.packed_layout`), and a run of trees that
bit vectors can have a second time for those (`library_bits`, `engines.bit_layout`); `library_columns` writes what the keys of
all are made of. Only trees that neither walk can have, for they test too many features, are there as plain nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bit_layout, packed_layout
from ensemble_compress.engines.runs import FEWEST_TREES, find_small, take_trees
from ensemble_compress.forest import Forest
from ensemble_compress.writers import library_bits, library_columns, library_heaps, library_packed
from ensemble_compress.writers.library_heaps import HeapRun
from ensemble_compress.writers.library_packed import PackedRun

RUN = np.dtype(
    [(name, "u4") for name in ("first_tree", "last_tree", "fewest_rows", "first_pair", "n_pairs")]
    + [(name, "u4") for name in ("is_heaps", "is_packed", "first_walked_pair", "n_walked_pairs", "second")]
)
NODE = np.dtype([("threshold", "f8"), *((name, "u4") for name in ("item", "offset", "feature", "flags"))])


@dataclass(frozen=True, eq=False)
class LibraryTables:
    """What the C code of a forest is compiled with.

    Parameters
    ----------
    numbers : dict of str to str
        C macros: types, counts and kinds.
    arrays : dict of str to (str, ndarray)
        The tables: C macro, C type of an element, content.
    """

    numbers: dict[str, str]
    arrays: dict[str, tuple[str, NDArray[Any]]]

    @classmethod
    def of(cls, forest: Forest) -> "LibraryTables":
        """The tables of a forest.

        Parameters
        ----------
        forest : Forest
            Any forest.
        """
        number, sum_type = (
            {"float32": "float", "float64": "double"}[t] for t in (forest.x_dtype, str(forest.values.dtype))
        )
        parts, column_bits = _alike(list(_parts(forest)))
        runs, bits = (
            _runs(forest, parts),
            library_bits.tables(forest, [(part.n_trees, part.bits) for part in parts]),
        )
        nodes, tree_start = _nodes(forest, parts)
        numbers = {"VALUE": number, "SUM": sum_type, **_shape(forest), **_engines(parts, runs)}
        numbers["COLUMN_BITS"] = str(column_bits)
        n_trees = [part.n_trees for part in parts]
        packed = library_packed.tables([part.packed for part in parts], n_trees, column_bits)
        heaps = library_heaps.tables([part.heaps for part in parts], n_trees, forest.values, sum_type)
        # Heaps have the rows of values of their own trees.
        values = forest.values if any(part.heaps is None for part in parts) else forest.values[:0]
        arrays = {
            "RUNS": ("run_t", runs),
            "NODES": ("node_t", nodes),
            "TREE_START": ("uint32_t", tree_start),
            "TREE_OUTPUT": ("int32_t", forest.tree_output),
            "SET_START": ("int32_t", forest.category_sets.start),
            "SET_WORDS": ("uint32_t", forest.category_sets.words),
            "BIAS": (sum_type, forest.bias),
            "VALUES": (sum_type, values),
        }
        return cls(numbers, arrays | library_columns.tables(list(_columns(parts))) | packed | heaps | bits)


# -- runs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Part:
    """Neighbouring trees, and how they may be run.

    Parameters
    ----------
    first, last : int
        The first tree, and one past the last.
    bits : BitVectors or None
        For bit vectors.
    packed : PackedRun or None
        For the packed walk.
    heaps : HeapRun or None
        For the heap walk, in place of the packed one.
    """

    first: int
    last: int
    bits: bit_layout.BitVectors | None
    packed: PackedRun | None
    heaps: HeapRun | None

    @property
    def walked(self) -> PackedRun | HeapRun | None:
        """What is walked on keys."""
        return self.packed if self.heaps is None else self.heaps

    @property
    def n_trees(self) -> int:
        return self.last - self.first


def _parts(forest: Forest) -> Iterator[Part]:
    """The runs, in tree order."""
    is_small = find_small(forest.nodes, forest.tree_start)
    bounds = [0, *(np.flatnonzero(np.diff(is_small)) + 1).tolist(), forest.n_trees]
    for first, last in pairwise(bounds):
        if first < last:
            yield from _fitting(forest, first, last, bool(is_small[first]))


def _fitting(forest: Forest, first: int, last: int, is_small: bool) -> Iterator[Part]:
    """A run of trees, cut in halves where it needs too many columns."""
    whole = forest.nodes, forest.category_sets, forest.tree_start, forest.tree_output, forest.values
    arrays = take_trees(whole, first, last)
    wants_bits = is_small and (last - first >= FEWEST_TREES or last - first == forest.n_trees)
    bits = library_bits.lay_out(arrays) if wants_bits else None
    heaps = None if wants_bits else HeapRun.of(arrays, forest.x_dtype)
    packed = PackedRun.of(arrays, forest.x_dtype) if heaps is None else None
    fits = heaps is not None or (packed is not None and (bits is not None or not wants_bits))
    if fits or last - first < (2 * FEWEST_TREES if wants_bits else 2):
        yield Part(first, last, bits, packed, heaps)
        return
    middle = (first + last) // 2
    yield from _fitting(forest, first, middle, is_small)
    yield from _fitting(forest, middle, last, is_small)


def _alike(parts: list[Part]) -> tuple[list[Part], int]:
    """(the runs, bits of a column in every packed node): a run that has no room for as many as the others need is not packed."""
    column_bits = max((part.packed.column_bits for part in parts if part.packed is not None), default=1)
    fit = [part.packed is None or part.packed.fits(column_bits) for part in parts]
    return [p if ok else replace(p, packed=None) for p, ok in zip(parts, fit, strict=True)], column_bits


def _runs(forest: Forest, parts: list[Part]) -> NDArray[Any]:
    runs = np.zeros(len(parts), RUN)
    n_pairs = 0
    for run, part in zip(runs, parts, strict=True):
        run["first_tree"], run["last_tree"] = part.first, part.last
        if part.bits is not None:
            n_leaves = (np.diff(forest.tree_start[part.first : part.last + 1]) + 1) // 2
            run["fewest_rows"] = library_bits.fewest_rows(part.bits, n_leaves)
            run["first_pair"], run["n_pairs"] = n_pairs, len(part.bits.columns.feature)
            n_pairs += int(run["n_pairs"])
        run["is_heaps"], run["is_packed"] = part.heaps is not None, part.packed is not None
        if part.walked is not None:
            run["first_walked_pair"], run["n_walked_pairs"] = n_pairs, part.walked.n_pairs
            run["second"] = part.walked.second
            n_pairs += part.walked.n_pairs
    return runs


def _columns(parts: list[Part]) -> Iterator[tuple[Any, Any, Any]]:
    """The columns of all runs, in the order of their pairs in `_runs`."""
    for part in parts:
        if part.bits is not None:
            yield part.bits.columns, *library_bits.columns(part.bits)
        if part.packed is not None:
            yield part.packed.packed.columns, *part.packed.columns
        if part.heaps is not None:
            yield part.heaps.heaps.columns, *part.heaps.columns


# -- nodes, and what is there once -----------------------------------------------------------------------------------


def _nodes(forest: Forest, parts: list[Part]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """(the nodes of trees that cannot be packed, where each tree begins among these or among the packed ones)."""
    sizes = np.diff(forest.tree_start)
    is_plain, is_packed = np.zeros((2, forest.n_trees), bool)
    for part in parts:
        is_plain[part.first : part.last] = part.walked is None
        is_packed[part.first : part.last] = part.packed is not None
    start = np.where(is_plain, np.cumsum(sizes * is_plain), np.cumsum(sizes * is_packed)) - sizes
    kept = np.flatnonzero(np.repeat(is_plain, sizes))
    nodes, is_set = forest.nodes, forest.nodes.category_set[kept] >= 0
    found = np.empty(len(kept), NODE)
    found["threshold"] = nodes.threshold[kept]
    found["item"] = np.where(is_set, nodes.category_set[kept], nodes.leaf[kept])
    found["offset"] = np.where(nodes.right[kept] >= 0, nodes.right[kept] - kept, 0)
    found["feature"] = np.maximum(nodes.feature[kept], 0)
    found["flags"] = nodes.nan_left[kept].astype(np.uint32) | is_set.astype(np.uint32) << np.uint32(1)
    return found, start.astype(np.uint32)


def _shape(forest: Forest) -> dict[str, str]:
    shape = {
        "N_FEATURES": forest.n_features,
        "N_OUTPUTS": forest.n_outputs,
        "N_TREES": forest.n_trees,
        "WIDTH": forest.values.shape[1],
        "DIVISOR": forest.divisor.hex(),
        "BIAS_LAST": int(forest.bias_last),
        "HANDLES_NAN": int(forest.handles_nan),
        "HAS_SETS": int((forest.nodes.category_set >= 0).any()),
    }
    return {name: str(value) for name, value in shape.items()}


def _engines(parts: list[Part], runs: NDArray[Any]) -> dict[str, str]:
    """Which traversals there are, and how much room they need."""
    packed = [part.packed for part in parts if part.packed is not None]
    engines = {
        "N_RUNS": len(runs),
        "HAS_BITS": int((runs["fewest_rows"] > 0).any()),
        "HAS_PACKED": int(bool(packed)),
        "HAS_PLAIN": int(any(part.walked is None for part in parts)),
        "KEYS_ARE_BITS": int(all(len(run.packed.columns.cuts) == 0 for run in packed)),
        "MOST_COLUMNS": max(
            (library_bits.n_columns(part.bits) for part in parts if part.bits is not None), default=1
        ),
        "KEYS_OF_BLOCK": packed_layout.BLOCK * max((run.n_columns for run in packed), default=1),
        "N_ENTRIES": packed_layout.ENTRIES,
        **library_heaps.numbers([part.heaps for part in parts]),
    }
    return {name: str(value) for name, value in engines.items()}
