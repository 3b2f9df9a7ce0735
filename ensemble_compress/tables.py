"""The tables of the C export: planned, counted and filled.

They are one stream of fields, packed without gaps, lowest bit first:

- *tests*: the distinct tests of the forest, each a feature and a threshold (or the number of a category set). They are
  ordered by kind, so that a test's number tells whether it is categorical and where a missing value goes.
- *trees*, one behind the other, grouped by output: the number of leaves; then for each split in pre-order the number of
  leaves to its left and the number of its test; then for each leaf from left to right its value or the number of its
  value. A subtree of n leaves is n - 1 splits and n leaves, wherever it lies, so the left count is the only pointer
  needed; it takes as many bits as the largest tree of its size could need: none at all for stumps.
- *values*: the distinct rows of leaf values, unless it takes fewer bytes to write the values into the leaves.
- *sets*: where each category set begins, then their bits.

A tree whose leaves all say the same costs nothing: sums of integers don't depend on their order, so it goes into the bias.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.distinct import (
    INPUT_LIMITS,
    DistinctTests,
    DistinctValues,
    Input,
    find_distinct_rows,
    find_varying_trees,
    narrow,
    whole_bytes,
    width_of,
)
from ensemble_compress.errors import ParameterError, UnsupportedModelError
from ensemble_compress.fixed_point import FixedPoint, fixed_point, leaf_counts
from ensemble_compress.forest import Forest

Optimize = Literal["size", "speed"]
MAX_FIELD = 25
"""A field of so many bits lies within four bytes wherever it begins, so that one load reads it."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The plan of the tables: what goes into the fields, and how wide each of them is (all widths in bits).

    Parameters
    ----------
    forest : Forest
        The forest to lay out.
    input : {"float", "int16", "int8"}
        The type of a row's values.
    unit : int
        1, or 8 where all fields are whole bytes: the unit of positions in the stream.
    fixed : FixedPoint
        The integers to add up.
    tests : DistinctTests
        The distinct tests.
    values : DistinctValues
        The distinct leaf values.
    varying : ndarray of shape (n_trees,) bool
        The trees that are no constants: those in the stream.
    """

    forest: Forest
    input: Input
    unit: int
    fixed: FixedPoint
    tests: DistinctTests
    values: DistinctValues
    varying: NDArray[np.bool_]

    @staticmethod
    def of(forest: Forest, input: Input = "float", optimize: Optimize = "size") -> "Layout":
        """Plan the tables of a forest.

        Parameters
        ----------
        forest : Forest
            Any forest.
        input : {"float", "int16", "int8"}
            The type of a row's values.
        optimize : {"size", "speed"}
            Fields of as many bits as they need, or of whole bytes.

        Raises
        ------
        ParameterError
            `input` or `optimize` is none of its values.
        UnsupportedModelError
            A threshold doesn't fit an integer input, or the forest is too large for the layout.
        """
        if optimize not in ("size", "speed"):
            raise ParameterError(f"optimize is {optimize!r}; expected 'size' or 'speed'")
        if input not in ("float", *INPUT_LIMITS):
            raise ParameterError(f"input is {input!r}; expected 'float', 'int16' or 'int8'")
        unit, fixed = (1 if optimize == "size" else 8), fixed_point(forest)
        distinct = find_distinct_rows(forest, fixed)
        varying = find_varying_trees(forest, distinct[1])
        tests = DistinctTests.of(forest, varying, input, unit)
        values = DistinctValues.of(forest, varying, distinct, unit)
        layout = Layout(forest, input, unit, fixed, tests, values, varying)
        largest = max(layout.tests.number_width, layout.left_width, layout.values.number_width)
        if largest > MAX_FIELD or sum(layout.parts.values()) >= 2**29:
            raise UnsupportedModelError(
                f"the forest has {forest.n_nodes:,} nodes, too many for the C tables (2**29 bytes, 2**25 tests or"
                " leaves a tree); compress it first, or write a shared library"
            )
        return layout

    # -- trees ------------------------------------------------------------------------------------------------

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """The trees in the stream, grouped by output."""
        order = np.argsort(self.forest.tree_output, kind="stable")
        return np.asarray(order[self.varying[order]])

    @cached_property
    def leaf_counts(self) -> NDArray[np.int64]:
        """Leaves of each tree in the stream."""
        return leaf_counts(self.forest)[self.order]

    @property
    def count_offset(self) -> int:
        """The fewest leaves of a tree; the stream holds the number above it."""
        return int(self.leaf_counts.min(initial=2**31)) if len(self.order) else 0

    @property
    def count_width(self) -> int:
        """Bits of a tree's number of leaves."""
        return width_of(int(self.leaf_counts.max(initial=0)) - self.count_offset, self.unit)

    @cached_property
    def left_widths(self) -> NDArray[np.int64]:
        """Bits of the left counts, by tree: enough for n - 2 in a tree of n leaves; whole bytes for all trees alike."""
        if self.unit == 8:
            largest = int(self.leaf_counts.max(initial=2)) - 2
            return np.full(len(self.order), width_of(largest, 8))
        return np.asarray(np.frexp((self.leaf_counts - 2).astype(np.float64))[1].astype(np.int64))

    @property
    def left_width(self) -> int:
        """Bits of the widest left count."""
        return int(self.left_widths.max(initial=0))

    @property
    def tree_bits(self) -> NDArray[np.int64]:
        """Bits of each tree in the stream."""
        n = self.leaf_counts
        splits = (n - 1) * (self.tests.number_width + self.left_widths)
        return np.asarray(self.count_width + splits + n * self.values.leaf_width)

    @cached_property
    def trees_of_output(self) -> NDArray[Any]:
        """How many trees of the stream add to each output; empty if that is the same number for all."""
        if self.forest.values.shape[1] > 1:
            return np.zeros(0, np.uint8)
        output = np.maximum(self.forest.tree_output[self.order], 0)
        counts = np.bincount(output, minlength=self.forest.n_outputs)
        return narrow(counts) if (counts != counts[0]).any() else np.zeros(0, np.uint8)

    @cached_property
    def bias(self) -> NDArray[Any]:
        """What the sums start from, with the constant trees; empty if all zero."""
        forest = self.forest
        bias = self.fixed.bias.astype(np.int64)
        for t in np.flatnonzero(~self.varying):
            output = forest.tree_output[t]
            where = slice(None) if output < 0 else slice(output, output + 1)
            bias[where] += self.fixed.values[forest.nodes.leaf[forest.tree_start[t + 1] - 1]]
        return narrow(bias, signed=True) if bias.any() else np.zeros(0, np.int8)

    # -- bytes ------------------------------------------------------------------------------------------------

    @cached_property
    def parts(self) -> dict[str, int]:
        """Bytes by part; the first five and the padding are the stream."""
        tree_bits = int(self.tree_bits.sum())
        leaves = int(self.leaf_counts.sum()) * self.values.leaf_width // 8
        parts = {
            "tests": whole_bytes(len(self.tests.feature) * self.tests.width),
            "structure": whole_bytes(tree_bits) - leaves,
            "leaves": leaves,
            "values": self.values.table_bytes,
            "sets": self.tests.set_bytes,
        }
        # A load of four bytes may begin in the last one; an empty field may even begin behind it.
        padding = 3 + (self.tests.number_width == 0) if self.unit == 1 and len(self.order) else 0
        rest = {"bias": self.bias.nbytes, "outputs": self.trees_of_output.nbytes, "padding": padding}
        return parts | rest

    @property
    def n_bytes(self) -> int:
        """Bytes of all tables."""
        return sum(self.parts.values())

    @property
    def n_stream_bytes(self) -> int:
        """Bytes of the stream, with its padding."""
        return self.n_bytes - self.bias.nbytes - self.trees_of_output.nbytes

    def position(self, part: str) -> int:
        """Where a part of the stream begins, in units: "tests", "structure", "values" or "sets"."""
        names = list(self.parts)
        return sum(self.parts[name] for name in names[: names.index(part)]) * 8 // self.unit


@dataclass(frozen=True, eq=False)
class CTables:
    """The filled tables: what a C export holds besides code.

    Parameters
    ----------
    layout : Layout
        What lies where, and how wide it is.
    stream : ndarray uint8
        Tests, trees, values and sets.
    bias : ndarray of shape (n_outputs,), int8, int16 or int32
        What the sums start from; empty if all zero.
    trees_of_output : ndarray of shape (n_outputs,), uint8, uint16 or uint32
        How many trees add to each output; empty if that is the same number for all.
    """

    layout: Layout
    stream: NDArray[np.uint8]
    bias: NDArray[Any]
    trees_of_output: NDArray[Any]

    @property
    def n_bytes(self) -> int:
        """Bytes of all tables."""
        return self.stream.nbytes + self.bias.nbytes + self.trees_of_output.nbytes


def c_tables(forest: Forest, input: Input = "float", optimize: Optimize = "size") -> CTables:
    """The tables that the C export prints.

    Parameters
    ----------
    forest : Forest
        Any forest.
    input : {"float", "int16", "int8"}
        The type of a row's values.
    optimize : {"size", "speed"}
        Fields of as many bits as they need, or of whole bytes.
    """
    layout = Layout.of(forest, input, optimize)
    bits = np.zeros(8 * layout.n_stream_bytes, np.uint8)
    tests, values = layout.tests, layout.values
    at = layout.position("tests") * layout.unit + np.arange(len(tests.feature)) * tests.width
    _put(bits, at, tests.feature, tests.feature_width)
    _put(bits, at + tests.feature_width, tests.stored, tests.stored_width)
    _put_trees(bits, layout)
    if not values.is_inline:
        rows = np.arange(len(values.stored)) * values.stored.shape[1] * values.value_width
        _put_rows(bits, layout.position("values") * layout.unit + rows, values)
    if tests.sets:
        _put_sets(bits[layout.position("sets") * layout.unit :], tests)
    return CTables(layout, np.packbits(bits, bitorder="little"), layout.bias, layout.trees_of_output)


def _put_trees(bits: NDArray[np.uint8], layout: Layout) -> None:
    forest, tests, values = layout.forest, layout.tests, layout.values
    base = layout.position("structure") * layout.unit + np.cumsum(layout.tree_bits) - layout.tree_bits
    _put(bits, base, layout.leaf_counts - layout.count_offset, layout.count_width)
    place = np.zeros(forest.n_trees, np.intp)
    place[layout.order] = np.arange(len(layout.order))
    split_width = layout.left_widths + tests.number_width
    base += layout.count_width
    leaf_start = np.cumsum(leaf_counts(forest)) - leaf_counts(forest)
    split_start = leaf_start - np.arange(forest.n_trees)
    varies = np.repeat(layout.varying, np.diff(forest.tree_start))

    is_leaf, tree_of_node = forest.is_leaf, forest.tree_of_node
    splits = np.flatnonzero(~is_leaf & varies)
    tree = tree_of_node[splits]
    rank = (np.cumsum(~is_leaf) - 1)[splits] - split_start[tree]
    at, left_width = (base[place[tree]] + rank * split_width[place[tree]]), layout.left_widths[place[tree]]
    _put(bits, at, (forest.nodes.right[splits] - splits) // 2 - 1, left_width)
    _put(bits, at + left_width, tests.number, tests.number_width)

    leaves = np.flatnonzero(is_leaf & varies)
    tree = tree_of_node[leaves]
    rank = (np.cumsum(is_leaf) - 1)[leaves] - leaf_start[tree]
    at = (base + (layout.leaf_counts - 1) * split_width)[place[tree]] + rank * values.leaf_width
    if values.is_inline:
        _put_rows(bits, at, values, values.number)
    else:
        _put(bits, at, values.number, values.number_width)


def _put_sets(bits: NDArray[np.uint8], tests: DistinctTests) -> None:
    starts, width = tests.set_starts, tests.set_start_width
    _put(bits, np.arange(len(starts)) * width, starts, width)
    for start, members in zip(starts.tolist(), tests.sets, strict=False):
        bits[len(starts) * width + start * tests.unit :][: len(members)] = members


def _put_rows(
    bits: NDArray[np.uint8], at: NDArray[Any], values: DistinctValues, chosen: Any = slice(None)
) -> None:
    for k in range(values.stored.shape[1]):
        _put(bits, at + k * values.value_width, values.stored[chosen, k], values.value_width)


def _put(bits: NDArray[np.uint8], at: NDArray[Any], numbers: NDArray[Any], width: Any) -> None:
    """Write each number at its position, lowest bit first."""
    for b in range(int(np.max(width, initial=0))):
        chosen = np.broadcast_to(np.asarray(width) > b, at.shape)
        bits[at[chosen] + b] = numbers[chosen] >> b & 1
