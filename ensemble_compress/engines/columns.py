"""Columns of keys: what the fast engines compare in place of the values of X.

A key is a whole number that keeps the order of the values it stands for, so a split's test comes out as it did on the
values. The key also settles what is no matter of order. Missing values are below or above all others; a feature whose
splits disagree about it has two columns. A test of categories is a column of its own, of zeros (in the set) and ones.

There are two kinds of keys. A *rank* is the number of the model's own thresholds of the column that lie below the value,
found by a binary search; it is small, and good for values of any type. The *bits* of a float32, with the sign turned
round, have the order of the numbers already and cost no search.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined
from ensemble_compress.engines.walk import is_in_set

BELOW_ALL = 0
"""The key of a missing value that goes left; no split's key is below it."""


class Columns(NamedTuple):
    """What the columns of a run of trees are made of.

    Attributes
    ----------
    feature, category_set : ndarray of shape (n_columns,) int32
        A feature, and a set of categories or -1.
    missing : ndarray of shape (n_columns,)
        The key of a missing value, in the dtype of the keys.
    cuts, cut_start : ndarray
        The thresholds of a column, sorted, in `cuts[cut_start[c] : cut_start[c + 1]]`, filled up with infinities to a
        power of two; no cuts where keys are bits.
    set_start, set_words : ndarray
        The sets of categories.
    """

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    missing: NDArray[Any]
    cuts: NDArray[Any]
    cut_start: NDArray[np.int32]
    set_start: NDArray[np.int32]
    set_words: NDArray[np.uint32]


def find_columns(
    nodes: Any, sets: Any, splits: NDArray[np.intp], dtype: Any, most_columns: int
) -> tuple[Columns, NDArray[np.int32], NDArray[np.int64]] | None:
    """The columns of ranks that `splits` need, and the column and rank of each; None if there are too many.

    Parameters
    ----------
    nodes, sets
        As in `Forest`.
    splits : ndarray of shape (n_splits,)
        The nodes that test something.
    dtype : dtype of integers
        Of the ranks; its largest value is the rank of a missing value that goes right.
    most_columns : int
        More columns than this are too many.
    """
    found = _find_kinds(nodes, splits, most_columns)
    if found is None:
        return None
    feature, category_set, missing_left, column = found
    threshold = np.where(nodes.category_set[splits] >= 0, 0.0, nodes.threshold[splits])
    order = np.lexsort((threshold, column))
    of_column, cut = column[order], threshold[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (of_column[1:] != of_column[:-1]) | (cut[1:] != cut[:-1])
    n_cuts = np.bincount(of_column[is_new], minlength=len(feature))
    above_all = np.iinfo(dtype).max
    if n_cuts.max(initial=0) >= above_all:
        return None
    first = np.append(0, np.cumsum(n_cuts))
    place = np.cumsum(is_new) - 1 - first[of_column]
    rank = np.empty(len(order), np.int64)
    rank[order] = place
    # Room for one more than there are, so that a search that halves ends below the last one's end.
    start = np.append(0, np.cumsum(np.exp2(np.ceil(np.log2(n_cuts + 1))).astype(np.int64)))
    cuts = np.full(start[-1], np.inf)
    cuts[start[of_column] + place] = cut
    missing = np.where(missing_left, BELOW_ALL, above_all).astype(dtype)
    return (
        Columns(feature, category_set, missing, cuts, start.astype(np.int32), sets.start, sets.words),
        column,
        rank,
    )


def find_columns_of_bits(
    nodes: Any, sets: Any, splits: NDArray[np.intp], most_columns: int
) -> tuple[Columns, NDArray[np.int32], NDArray[np.uint32]] | None:
    """The columns of float32 bits that `splits` need, and the column and key of each; None if there are too many."""
    found = _find_kinds(nodes, splits, most_columns)
    if found is None:
        return None
    feature, category_set, missing_left, column = found
    missing = np.where(missing_left, BELOW_ALL, np.iinfo(np.uint32).max).astype(np.uint32)
    no_cuts = np.zeros(0), np.zeros(len(feature) + 1, np.int32)
    key = np.where(nodes.category_set[splits] >= 0, np.uint32(0), _bits_below(nodes.threshold[splits]))
    return (
        Columns(feature, category_set, missing, *no_cuts, sets.start, sets.words),
        column,
        key.astype(np.uint32),
    )


def _find_kinds(
    nodes: Any, splits: NDArray[np.intp], most_columns: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]] | None:
    """One column for each feature, set of categories and side that missing values go to, and the column of each split."""
    kinds = (
        nodes.feature[splits].astype(np.int64) << 32 | (nodes.category_set[splits] + 1).astype(np.int64) << 1
    )
    kind, column = np.unique(kinds | nodes.nan_left[splits], return_inverse=True)
    if len(kind) > most_columns:
        return None
    category_set = ((kind & 0xFFFFFFFF) >> 1) - 1
    return (
        (kind >> 32).astype(np.int32),
        category_set.astype(np.int32),
        (kind & 1).astype(bool),
        column.astype(np.int32),
    )


def _bits_below(threshold: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The key of the largest float32 that is not above each threshold."""
    with np.errstate(over="ignore"):
        nearest = threshold.astype(np.float32)
    nearest = np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    bits = (nearest + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of(typing_context: Any, x: Any) -> Any:
    """The 32 bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@inlined
def find_keys(columns: Any, X: NDArray[Any], first: int, n_rows: int, scratch: Any, keys: Any) -> None:
    """Write to `keys[c, i]` the key of row `first + i` in column c, for `n_rows` rows.

    `scratch` is (values, places): float64 and int32, each as long as a row of `keys`.
    """
    x, low = scratch
    for c in range(len(columns.feature)):
        f, missing, of_column = columns.feature[c], columns.missing[c], keys[c]
        if columns.category_set[c] >= 0:
            for i in range(n_rows):
                value = X[first + i, f]
                is_in = is_in_set(
                    columns.set_start, columns.set_words, np.int64(columns.category_set[c]), value
                )
                of_column[i] = np.int64(not is_in)
                if np.isnan(value):
                    of_column[i] = missing
        elif len(columns.cuts):
            for i in range(n_rows):
                x[i] = X[first + i, f]
            low[:] = columns.cut_start[c]
            half = (columns.cut_start[c + 1] - columns.cut_start[c]) >> 1
            while half > 0:
                # All rows a step at a time: the steps of one row wait for each other, those of many do not.
                for i in range(len(low)):
                    low[i] += np.int32(columns.cuts[low[i] + half - 1] < x[i]) * half
                half >>= 1
            for i in range(n_rows):
                of_column[i] = low[i] - columns.cut_start[c]
                if np.isnan(x[i]):
                    of_column[i] = missing
        else:
            for i in range(n_rows):
                value = np.float32(X[first + i, f])
                bits = _bits_of(value + np.float32(0))
                of_column[i] = bits ^ ((bits >> np.int32(31)) | np.int32(-0x80000000))
                if np.isnan(value):
                    of_column[i] = missing
