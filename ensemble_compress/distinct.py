"""What a forest says more than once, said once: its distinct tests, category sets and leaf values, as small integers.

A threshold becomes an unsigned key in the order of the numbers it is compared with, so that a device compares integers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import float32_below
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.fixed_point import FixedPoint, leaf_counts
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import distinct_rows, set_codes

Input = Literal["float", "int16", "int8"]
INPUT_LIMITS = {"int16": (-32768, 32767), "int8": (-128, 127)}


@dataclass(frozen=True, eq=False)
class DistinctTests:
    """The distinct tests of a forest, ordered by kind: numeric, missing to the right; numeric, missing to the left;
    categorical, missing to the left; categorical, missing to the right. Within a kind by feature and threshold.

    Parameters
    ----------
    number : ndarray of shape (n_splits,)
        The test of each split of those trees, in node order.
    feature : ndarray of shape (n_tests,)
        The feature of each test.
    stored : ndarray of shape (n_tests,)
        The threshold's key, less `offset`, shifted down by `shift`; or the number of the category set.
    sets : tuple of ndarray
        The distinct category sets as bits.
    first_set, nan_from, nan_to : int
        DistinctTests from `first_set` are categorical; those in `nan_from:nan_to` send a missing value left.
    offset, shift : int
        A threshold's key is `(stored << shift) + offset`.
    unit : int
        1, or 8 where all fields are whole bytes.
    """

    number: NDArray[np.intp]
    feature: NDArray[np.int64]
    stored: NDArray[np.int64]
    sets: tuple[NDArray[np.uint8], ...]
    first_set: int
    nan_from: int
    nan_to: int
    offset: int
    shift: int
    unit: int

    @staticmethod
    def of(forest: Forest, varying: NDArray[np.bool_], input: Input, unit: int) -> "DistinctTests":
        """Find the distinct tests.

        Parameters
        ----------
        forest : Forest
            Any forest.
        varying : ndarray of shape (n_trees,) bool
            The trees to look at.
        input : {"float", "int16", "int8"}
            The type of a row's values.
        unit : int
            1, or 8 where all fields are whole bytes.
        """
        splits = np.flatnonzero(~forest.is_leaf & np.repeat(varying, np.diff(forest.tree_start)))
        feature, set_of, nan_left = (
            array[splits]
            for array in (forest.nodes.feature, forest.nodes.category_set, forest.nodes.nan_left)
        )
        nan_left = nan_left & forest.handles_nan & (input == "float")
        is_set = set_of >= 0
        set_number, sets = _distinct_sets(forest, np.unique(set_of[is_set]))
        threshold = np.where(is_set, 0.0, forest.nodes.threshold[splits])
        key = _float_keys(threshold) if input == "float" else _integer_keys(forest, splits, threshold, input)
        key = np.where(is_set, np.append(set_number, 0)[set_of], key).astype(np.uint64)
        kind = np.where(is_set, 3 - nan_left.astype(int), nan_left).astype(np.uint64)
        names = kind << np.uint64(62) | feature.astype(np.uint64) << np.uint64(32) | key
        distinct, number = np.unique(names, return_inverse=True)
        nan_from, first_set, nan_to = np.searchsorted(distinct >> np.uint64(62), [1, 2, 3]).tolist()
        stored = (distinct & np.uint64(0xFFFFFFFF)).astype(np.int64)
        offset = int(stored[:first_set].min(initial=2**32)) if first_set else 0
        differences = int(np.bitwise_or.reduce(stored[:first_set] - offset))
        shift = (differences & -differences).bit_length() - 1 if differences else 0
        stored[:first_set] = (stored[:first_set] - offset) >> shift
        features = (distinct >> np.uint64(32) & np.uint64(2**30 - 1)).astype(np.int64)
        return DistinctTests(number, features, stored, sets, first_set, nan_from, nan_to, offset, shift, unit)

    @property
    def feature_width(self) -> int:
        """Bits of a feature."""
        return width_of(int(self.feature.max(initial=0)), self.unit)

    @property
    def stored_width(self) -> int:
        """Bits of a threshold or of a set's number."""
        return width_of(max(int(self.stored.max(initial=0)), 1), self.unit)

    @property
    def width(self) -> int:
        """Bits of a test."""
        return self.feature_width + self.stored_width

    @property
    def number_width(self) -> int:
        """Bits of a test's number."""
        return width_of(len(self.feature) - 1, self.unit) if len(self.feature) else 0

    @property
    def set_starts(self) -> NDArray[np.int64]:
        """Where each set begins behind the table of these numbers, and where the last one ends, in units."""
        return np.concatenate([[0], np.cumsum([-(-len(bits) // self.unit) for bits in self.sets])]).astype(
            np.int64
        )

    @property
    def set_start_width(self) -> int:
        """Bits of a set's beginning."""
        return width_of(max(int(self.set_starts[-1]), 1), self.unit)

    @property
    def set_bytes(self) -> int:
        """Bytes of the category sets and of where they begin."""
        if not self.sets:
            return 0
        return whole_bytes(len(self.set_starts) * self.set_start_width + int(self.set_starts[-1]) * self.unit)


def _distinct_sets(
    forest: Forest, named: NDArray[np.int32]
) -> tuple[NDArray[np.int64], tuple[NDArray[np.uint8], ...]]:
    """(the number of each of the forest's sets among the distinct ones, their bits without trailing zeros)."""
    number = np.zeros(len(forest.category_sets.start) - 1, np.int64)
    distinct: dict[bytes, int] = {}
    for s in named:
        codes = set_codes(forest.category_sets, s)
        bits = np.zeros(max(codes, default=-1) + 1, np.uint8)
        bits[codes] = 1
        number[s] = distinct.setdefault(bits.tobytes(), len(distinct))
    return number, tuple(np.frombuffer(bits, np.uint8) for bits in distinct)


def _float_keys(threshold: NDArray[np.float64]) -> NDArray[np.int64]:
    """Unsigned 32-bit integers in the order of the float32s: 2**31 plus or minus the bits without the sign.

    Both zeros have one key, and what has trailing zero bits as a float has them as a key.
    """
    bits = float32_below(threshold).view(np.int32).astype(np.int64)
    size = bits & 0x7FFFFFFF
    return np.asarray(2**31 + np.where(bits < 0, -size, size))


def _integer_keys(
    forest: Forest, splits: NDArray[np.intp], threshold: NDArray[np.float64], input: Input
) -> NDArray[np.int64]:
    lowest, highest = INPUT_LIMITS[input]
    # Every value of the type is below an infinite threshold; that is what the highest value says.
    floor = np.where(threshold == np.inf, highest, np.floor(threshold))
    outside = (floor < lowest) | (floor > highest)
    if outside.any():
        j = int(splits[outside.argmax()])
        t = int(np.searchsorted(forest.tree_start, j, side="right")) - 1
        raise UnsupportedModelError(
            f"tree {t}, node {j - forest.tree_start[t]}: the threshold {forest.nodes.threshold[j]:.9g} of feature"
            f" {forest.nodes.feature[j]} is outside {input}_t ({lowest} to {highest}); scale the feature before training,"
            " or export with float_input=True"
        )
    return np.asarray((floor - lowest).astype(np.int64))


@dataclass(frozen=True, eq=False)
class DistinctValues:
    """The leaf values that varying trees name, and how leaves name them.

    Parameters
    ----------
    number : ndarray of shape (n_leaves,)
        The distinct row of each leaf of those trees, in node order.
    stored : ndarray of shape (n_distinct, width)
        The distinct rows, less `offset`.
    offset : int
        The smallest value.
    unit : int
        1, or 8 where all fields are whole bytes.
    """

    number: NDArray[np.intp]
    stored: NDArray[np.int64]
    offset: int
    unit: int

    @staticmethod
    def of(
        forest: Forest,
        varying: NDArray[np.bool_],
        distinct: tuple[NDArray[np.int64], NDArray[np.intp]],
        unit: int,
    ) -> "DistinctValues":
        """Find the distinct values.

        Parameters
        ----------
        forest : Forest
            Any forest.
        varying : ndarray of shape (n_trees,) bool
            The trees to look at.
        distinct : tuple of ndarray
            What `find_distinct_rows` gives.
        unit : int
            1, or 8 where all fields are whole bytes.
        """
        rows, row_of_leaf = distinct
        row_of_leaf = row_of_leaf[np.repeat(varying, leaf_counts(forest))]
        if not varying.all():
            used, row_of_leaf = np.unique(row_of_leaf, return_inverse=True)
            rows = rows[used]
        offset = int(rows.min()) if len(rows) else 0
        return DistinctValues(row_of_leaf, rows - offset, offset, unit)

    @property
    def value_width(self) -> int:
        """Bits of one value."""
        return width_of(int(self.stored.max(initial=0)), self.unit)

    @property
    def number_width(self) -> int:
        """Bits of a row's number."""
        return width_of(len(self.stored) - 1, self.unit) if len(self.stored) else 0

    @property
    def is_inline(self) -> bool:
        """Whether leaves hold their values themselves, because that takes fewer bits than a table and numbers."""
        n_leaves, row = len(self.number), self.stored.shape[1] * self.value_width
        table = n_leaves * self.number_width + 8 * whole_bytes(len(self.stored) * row)
        return bool(n_leaves * row <= table)

    @property
    def leaf_width(self) -> int:
        """Bits of a leaf."""
        return self.stored.shape[1] * self.value_width if self.is_inline else self.number_width

    @property
    def table_bytes(self) -> int:
        """Bytes of the table of values."""
        return 0 if self.is_inline else whole_bytes(self.stored.size * self.value_width)


def find_distinct_rows(forest: Forest, fixed: FixedPoint) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """(the distinct rows of integers that leaves name, the row of each leaf in node order).

    Parameters
    ----------
    forest : Forest
        Any forest.
    fixed : FixedPoint
        Its integers.
    """
    used, index = np.unique(forest.nodes.leaf[forest.is_leaf], return_inverse=True)
    rows = fixed.values[used].astype(np.int64)
    first, row_of_used = distinct_rows(rows)
    return rows[first], row_of_used[index]


def find_varying_trees(forest: Forest, row_of_leaf: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which trees have leaves of different rows, shape (n_trees,); the others are constants.

    Parameters
    ----------
    forest : Forest
        Any forest.
    row_of_leaf : ndarray of shape (n_leaves,)
        The row of each leaf, in node order.
    """
    if not forest.n_trees:
        return np.zeros(0, bool)
    start = np.cumsum(leaf_counts(forest)) - leaf_counts(forest)
    return np.asarray(np.maximum.reduceat(row_of_leaf, start) != np.minimum.reduceat(row_of_leaf, start))


def width_of(largest: int, unit: int) -> int:
    """Bits that the numbers from 0 to `largest` need, as a multiple of `unit`."""
    return -(-max(largest, 0).bit_length() // unit) * unit


def whole_bytes(n_bits: int) -> int:
    """The bytes that hold so many bits.

    Parameters
    ----------
    n_bits : int
        How many.
    """
    return -(-n_bits // 8)


def narrow(numbers: NDArray[Any], signed: bool = False) -> NDArray[Any]:
    """The numbers in the narrowest integer type."""
    for dtype in (np.int8, np.int16, np.int32) if signed else (np.uint8, np.uint16, np.uint32):
        if np.iinfo(dtype).min <= numbers.min() and numbers.max() <= np.iinfo(dtype).max:
            break
    return numbers.astype(dtype)
