"""The tables of the shared library: what its two traversals read, and the numbers that its C code is compiled for.

Every tree is there as nodes in pre-order, for the walk: 8 bytes a node where thresholds, features and trees are small
enough, else 16. A step to the left is the next node, a step to the right adds the node's offset; a leaf's threshold is a
NaN, for which every test fails, and its offset 0, so that a row which has arrived stays. The NaN's low bits name the row of
values. Runs of trees with at most 64 leaves are there a second time, for bit vectors (`engines.bitvector` tells how); the
values of their leaves lie where a hash of the leaf's bit points, which costs a vector less than to count the bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bitvector
from ensemble_compress.engines.columns import float32_below
from ensemble_compress.forest import Forest

FEWEST_TREES = 8
"""Shorter runs of small trees are walked with their neighbours."""

MOST_COLUMNS = 512
"""The ranks of a block of rows lie on the stack: 64 kB of it."""

BLOCK_BYTES = 1 << 18
"""Rows that all go through a tree before the next one stay in the second cache."""

NARROW_ITEM, NARROW_NAN = (1 << 22) - 1, 0x7FC00000
WIDE_NAN = 0x7FF8000000000000
STEP_NS, TEST_NS, RANK_NS = 1.6, 1.3, 0.7
"""A row one node on; a test on a block of rows; a value one step on in the search for its rank (measured with AVX2)."""

MOST_ROWS = 2**31
"""So many rows are never there: a run of which they are asked is always walked."""

RUN = np.dtype(
    [(name, "u4") for name in ("first_tree", "last_tree", "first_column", "n_columns", "fewest_rows")]
)
COLUMN = np.dtype(
    [("first_cut", "u4"), ("n_cuts", "u4"), ("feature", "u4"), ("set", "i4"), ("missing", "i4")]
)
TEST = np.dtype([("column", "u4"), ("above", "i2"), ("mask", "u2")])
NARROW = np.dtype([("key", "u4"), ("test", "u4")])
WIDE = np.dtype([("key", "u8"), ("test", "u4"), ("offset", "u4")])


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
        layout = NodeLayout.of(forest)
        bits = _lay_out_bits(forest)
        numbers = {"VALUE": number, "SUM": sum_type, **layout.numbers(), **_shape(forest)}
        numbers |= {
            "N_RUNS": str(len(bits.runs)),
            "HAS_BITS": str(int(any(run["fewest_rows"] for run in bits.runs))),
            "MOST_COLUMNS": str(max(1, int(bits.runs["n_columns"].max(initial=1)))),
        }
        arrays = {
            "NODES": ("node_t", layout.nodes(forest)),
            "RUNS": ("run_t", bits.runs),
            "COLUMNS": ("column_t", bits.columns),
            "TESTS": ("test_t", bits.tests),
            "CUTS": (number, _rounded(forest, bits.cuts)),
            "WORD_START": ("uint32_t", bits.word_start),
            "TEST_START": ("uint32_t", bits.test_start),
            "TREE_START": ("int32_t", forest.tree_start),
            "TREE_OUTPUT": ("int32_t", forest.tree_output),
            "SET_START": ("int32_t", forest.category_sets.start),
            "SET_WORDS": ("uint32_t", forest.category_sets.words),
            "BIAS": (sum_type, forest.bias),
            "VALUES": (sum_type, forest.values),
        }
        if forest.n_outputs == 1:
            arrays["PLACE_VALUES"] = sum_type, np.ascontiguousarray(forest.values[bits.items, 0])
        else:
            arrays["PLACE_ITEMS"] = "uint32_t", bits.items
        return cls(numbers, arrays)


def _shape(forest: Forest) -> dict[str, str]:
    row_bytes = max(1, forest.n_features) * np.dtype(forest.x_dtype).itemsize
    shape = {
        "N_FEATURES": forest.n_features,
        "N_OUTPUTS": forest.n_outputs,
        "N_TREES": forest.n_trees,
        "WIDTH": forest.values.shape[1],
        "WALK_BLOCK": int(np.clip(BLOCK_BYTES // row_bytes // bitvector.BLOCK, 1, 64)) * bitvector.BLOCK,
        "DIVISOR": forest.divisor.hex(),
        "BIAS_LAST": int(forest.bias_last),
        "HANDLES_NAN": int(forest.handles_nan),
        "HAS_NAN_LEFT": int(forest.nodes.nan_left.any()),
        "HAS_SETS": int((forest.nodes.category_set >= 0).any()),
    }
    return {name: str(value) for name, value in shape.items()}


def _rounded(forest: Forest, thresholds: NDArray[np.float64]) -> NDArray[Any]:
    """Thresholds in the type that they are compared in: rounded down, they decide alike for every float32 value."""
    return thresholds if forest.x_dtype == "float64" else float32_below(thresholds)


# -- nodes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NodeLayout:
    """How a node is packed.

    Parameters
    ----------
    is_narrow : bool
        8 bytes, with a float for a threshold; otherwise 16, with a double.
    feature_bits : int
        Lowest bits of a test, which hold the feature; two flags follow, and in a narrow node the offset.
    """

    is_narrow: bool
    feature_bits: int

    @classmethod
    def of(cls, forest: Forest) -> "NodeLayout":
        """The narrowest layout that can hold a forest.

        Parameters
        ----------
        forest : Forest
            Any forest.
        """
        feature_bits = max(1, int(forest.nodes.feature.max(initial=0)).bit_length())
        items = max(len(forest.values), len(forest.category_sets.start)) - 1
        threshold = forest.nodes.threshold
        with np.errstate(over="ignore"):
            are_floats = forest.x_dtype == "float32" or bool(
                (threshold.astype(np.float32) == threshold).all()
            )
        is_narrow = (
            are_floats
            and items <= NARROW_ITEM
            and int(_offsets(forest).max(initial=0)) >> (30 - feature_bits) == 0
        )
        return cls(is_narrow, feature_bits)

    def numbers(self) -> dict[str, str]:
        """The C macros of this layout."""
        bits = self.feature_bits
        return {
            "NARROW": str(int(self.is_narrow)),
            "FEATURE_MASK": f"{(1 << bits) - 1}u",
            "NAN_LEFT_BIT": str(bits),
            "SET_BIT": str(bits + 1),
            "OFFSET_BIT": str(bits + 2),
        }

    def nodes(self, forest: Forest) -> NDArray[Any]:
        """The nodes of a forest.

        Parameters
        ----------
        forest : Forest
            The forest that the layout was made for.
        """
        nodes, is_leaf, is_set = forest.nodes, forest.is_leaf, forest.nodes.category_set >= 0
        packed = np.empty(forest.n_nodes, NARROW if self.is_narrow else WIDE)
        threshold = float32_below(nodes.threshold) if self.is_narrow else nodes.threshold
        unsigned = packed["key"].dtype
        leaf_key = unsigned.type(NARROW_NAN if self.is_narrow else WIDE_NAN) | nodes.leaf.astype(unsigned)
        set_key = nodes.category_set.astype(unsigned)
        packed["key"] = np.select([is_leaf, is_set], [leaf_key, set_key], threshold.view(unsigned))
        flags = nodes.nan_left.astype(np.uint32) | is_set.astype(np.uint32) << np.uint32(1)
        test = nodes.feature.astype(np.uint32) | flags << np.uint32(self.feature_bits)
        packed["test"] = np.where(is_leaf, 0, test)
        offset = _offsets(forest)
        if self.is_narrow:
            packed["test"] |= offset << np.uint32(self.feature_bits + 2)
        else:
            packed["offset"] = offset
        return packed


def _offsets(forest: Forest) -> NDArray[np.uint32]:
    """How far each node's right child lies behind it; 0 at leaves."""
    right = forest.nodes.right
    return np.where(right >= 0, right - np.arange(forest.n_nodes), 0).astype(np.uint32)


# -- bit vectors ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bits:
    """The runs, and the tables of those for bit vectors, one run's behind the other's."""

    runs: NDArray[Any]
    columns: NDArray[Any]
    tests: NDArray[Any]
    cuts: NDArray[np.float64]
    word_start: NDArray[np.uint32]
    test_start: NDArray[np.uint32]
    items: NDArray[np.uint32]


def _lay_out_bits(forest: Forest) -> _Bits:
    runs, parts = [], []
    n_words = np.zeros(forest.n_trees, np.int64)
    n_columns = 0
    for first, last, bits in _runs(forest):
        if bits is None:
            runs.append((first, last, 0, 0, 0))
            continue
        n_words[first:last] = np.diff(bits.word_start)
        n_leaves = (np.diff(forest.tree_start[first : last + 1]) + 1) // 2
        runs.append((first, last, n_columns, len(_used(bits)), _fewest_rows(bits, n_leaves)))
        n_columns += len(_used(bits))
        parts.append(bits)
    n_tests = np.concatenate([np.zeros(0, np.int64), *(np.diff(bits.test_start) for bits in parts)])
    first_cuts = np.cumsum([0, *(len(bits.columns.cuts) for bits in parts)])
    return _Bits(
        np.array(runs, RUN),
        _joined(COLUMN, [_columns(bits, at) for bits, at in zip(parts, first_cuts[:-1], strict=True)]),
        _joined(TEST, [_tests(bits) for bits in parts]),
        _joined(np.dtype("f8"), [bits.columns.cuts for bits in parts]),
        np.append(0, np.cumsum(n_words)).astype(np.uint32),
        np.append(0, np.cumsum(n_tests)).astype(np.uint32),
        _joined(np.dtype("u4"), [bits.row.astype(np.uint32) for bits in parts]),
    )


def _joined(dtype: np.dtype[Any], parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _runs(forest: Forest) -> Iterator[tuple[int, int, bitvector.BitVectors | None]]:
    """(first tree, one past the last, tables of bit vectors or None where they are walked), in tree order."""
    is_small = (np.diff(forest.tree_start) + 1) // 2 <= bitvector.MOST_LEAVES
    bounds = [0, *(np.flatnonzero(np.diff(is_small)) + 1).tolist(), forest.n_trees]
    for first, last in pairwise(bounds):
        if first < last:
            yield from _try_bits(forest, first, last) if is_small[first] else [(first, last, None)]


def _try_bits(
    forest: Forest, first: int, last: int
) -> Iterator[tuple[int, int, bitvector.BitVectors | None]]:
    """A run of small trees as bit vectors: cut in halves where it has too many columns, and walked where it is short."""
    if last - first < FEWEST_TREES < forest.n_trees:
        yield first, last, None
        return
    bits = _bits_of(forest, first, last)
    if bits is not None and len(_used(bits)) <= MOST_COLUMNS:
        yield first, last, bits
    elif last - first < 2 * FEWEST_TREES:
        yield first, last, None
    else:
        middle = (first + last) // 2
        yield from _try_bits(forest, first, middle)
        yield from _try_bits(forest, middle, last)


def _bits_of(forest: Forest, first: int, last: int) -> bitvector.BitVectors | None:
    start, stop = forest.tree_start[first], forest.tree_start[last]
    parts: Any = (field[start:stop] for field in forest.nodes)
    nodes = type(forest.nodes)(*parts)
    nodes = nodes._replace(right=np.where(nodes.right >= 0, nodes.right - start, -1))
    tree_start = forest.tree_start[first : last + 1] - start
    return bitvector.lay_out(
        nodes, forest.category_sets, tree_start, forest.tree_output[first:last], forest.values
    )


def _used(bits: bitvector.BitVectors) -> NDArray[np.int32]:
    """The columns that any test reads."""
    return np.unique(bits.column // bitvector.BLOCK)


def _columns(bits: bitvector.BitVectors, first_cut: int) -> NDArray[Any]:
    pair, sends_left = np.divmod(_used(bits), 2)
    of_pair = bits.columns
    columns = np.empty(len(pair), COLUMN)
    columns["first_cut"] = of_pair.cut_start[pair] + first_cut
    columns["set"] = of_pair.category_set[pair]
    columns["n_cuts"] = np.where(columns["set"] >= 0, 1, np.diff(of_pair.cut_start)[pair])
    columns["feature"] = of_pair.feature[pair]
    columns["missing"] = np.where(sends_left, *of_pair.ends)
    return columns


def _tests(bits: bitvector.BitVectors) -> NDArray[Any]:
    tests = np.empty(len(bits.column), TEST)
    tests["column"] = np.searchsorted(_used(bits), bits.column // bitvector.BLOCK)
    tests["above"], tests["mask"] = bits.above & 0xFFFF, bits.mask & 0xFFFF
    return tests


def _fewest_rows(bits: bitvector.BitVectors, n_leaves: NDArray[np.int32]) -> int:
    """So many rows cost as much by bit vectors as walked, one after the other."""
    n_cuts = np.diff(bits.columns.cut_start)[_used(bits) // 2]
    row = STEP_NS * (1.3 * np.log2(n_leaves) + 1).sum() - RANK_NS * np.log2(n_cuts).sum()
    block = TEST_NS * len(bits.column)
    return max(2, int(np.ceil(block / row))) if row > block / MOST_ROWS else MOST_ROWS
