"""Columns of keys: what the fast engines compare in place of the values of X.

A key is a whole number that keeps the order of the values it stands for, so a split's test comes out as it did on the
values. The key also settles what is no matter of order. A test of categories compares a zero (in the set) or a one. Missing
values are above all others in one column of a feature and below all others in a second one, which is equal to the first
where nothing is missing; a split reads the column that sends missing values to its side.

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
    """What the columns of a run of trees are made of: pair p is column 2 p, missing above, and 2 p + 1, missing below.

    Attributes
    ----------
    feature, category_set : ndarray of shape (n_pairs,) int32
        A feature, and a set of categories or -1.
    has_below : ndarray of shape (n_pairs,) uint8
        Whether any split reads the second column.
    above_all : ndarray of shape (1,)
        The key of a missing value in a first column, in the dtype of the keys.
    cuts, cut_start : ndarray
        The thresholds of a pair, sorted, in `cuts[cut_start[p] : cut_start[p + 1]]`, filled up with infinities to a
        power of two; no cuts where keys are bits.
    set_start, set_words : ndarray
        The sets of categories.
    """

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    has_below: NDArray[np.uint8]
    above_all: NDArray[Any]
    cuts: NDArray[Any]
    cut_start: NDArray[np.int32]
    set_start: NDArray[np.int32]
    set_words: NDArray[np.uint32]


Found = tuple[Columns, NDArray[np.int32], NDArray[Any]]
"""The columns, and the column and the key of each split."""


def find_columns(
    nodes: Any, sets: Any, splits: NDArray[np.intp], dtype: Any, most_pairs: int
) -> Found | None:
    """The columns of ranks that `splits` need; None if there are too many columns or cuts.

    Parameters
    ----------
    nodes, sets
        As in `Forest`.
    splits : ndarray of shape (n_splits,)
        The nodes that test something.
    dtype : dtype of integers
        Of the ranks.
    most_pairs : int
        More pairs of columns than this are too many.
    """
    feature, category_set, has_below, pair = _find_pairs(nodes, splits)
    if len(feature) > most_pairs:
        return None
    threshold = np.where(nodes.category_set[splits] >= 0, 0.0, nodes.threshold[splits])
    order = np.lexsort((threshold, pair))
    of_pair, cut = pair[order], threshold[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (of_pair[1:] != of_pair[:-1]) | (cut[1:] != cut[:-1])
    n_cuts = np.bincount(of_pair[is_new], minlength=len(feature))
    above_all = np.iinfo(dtype).max
    if n_cuts.max(initial=0) >= above_all:
        return None
    first = np.append(0, np.cumsum(n_cuts))
    place = np.cumsum(is_new) - 1 - first[of_pair]
    rank = np.empty(len(order), np.int64)
    rank[order] = place
    # Room for one more than there are, so that a search that halves ends below the last one's end.
    start = np.append(0, np.cumsum(np.exp2(np.ceil(np.log2(n_cuts + 1))).astype(np.int64)))
    cuts = np.full(start[-1], np.inf)
    cuts[start[of_pair] + place] = cut
    columns = Columns(
        feature,
        category_set,
        has_below,
        np.array([above_all], dtype),
        cuts,
        start.astype(np.int32),
        sets.start,
        sets.words,
    )
    return columns, 2 * pair + nodes.nan_left[splits].astype(np.int32), rank


def find_columns_of_bits(nodes: Any, sets: Any, splits: NDArray[np.intp], most_pairs: int) -> Found | None:
    """The columns of float32 bits that `splits` need; None if there are too many."""
    feature, category_set, has_below, pair = _find_pairs(nodes, splits)
    if len(feature) > most_pairs:
        return None
    columns = Columns(
        feature,
        category_set,
        has_below,
        np.array([np.iinfo(np.uint32).max], np.uint32),
        np.zeros(0),
        np.zeros(len(feature) + 1, np.int32),
        sets.start,
        sets.words,
    )
    key = np.where(nodes.category_set[splits] >= 0, np.uint32(0), _bits_below(nodes.threshold[splits]))
    return columns, 2 * pair + nodes.nan_left[splits].astype(np.int32), key.astype(np.uint32)


def _find_pairs(
    nodes: Any, splits: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
    """The feature and the set of each pair, whether missing values go left anywhere, and the pair of each split."""
    both = nodes.feature[splits].astype(np.int64) << 32 | (nodes.category_set[splits] + 1).astype(np.int64)
    kind, pair = np.unique(both, return_inverse=True)
    has_below = np.zeros(len(kind), np.uint8)
    has_below[pair[nodes.nan_left[splits]]] = 1
    category_set = (kind & 0xFFFFFFFF) - 1
    return (kind >> 32).astype(np.int32), category_set.astype(np.int32), has_below, pair.astype(np.int32)


def float32_below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 <= each threshold: it decides alike for every float32 value."""
    with np.errstate(over="ignore"):
        nearest = threshold.astype(np.float32)
        return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _bits_below(threshold: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The key of the largest float32 that is not above each threshold."""
    bits = (float32_below(threshold) + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of(typing_context: Any, x: Any) -> Any:
    """The 32 bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@inlined
def find_keys(columns: Any, X: NDArray[Any], first: int, n_rows: int, scratch: Any, keys: Any) -> bool:
    """Write to `keys[2 p, i]` the keys of row `first + i` in pair p's first column, for `n_rows` rows.

    Returns whether a value is missing: then, and only then, `copy_below` has to make the second columns too.

    `scratch` is (values, places): float64 and int32, each as long as a row of `keys`.
    """
    x, low = scratch
    above_all, any_missing = columns.above_all[0], False
    for p in range(len(columns.feature)):
        f, of_pair = columns.feature[p], keys[2 * p]
        if columns.category_set[p] >= 0:
            s = np.int64(columns.category_set[p])
            for i in range(n_rows):
                of_pair[i] = np.int64(not is_in_set(columns.set_start, columns.set_words, s, X[first + i, f]))
        elif len(columns.cuts):
            for i in range(n_rows):
                x[i] = X[first + i, f]
            low[:] = columns.cut_start[p]
            half = (columns.cut_start[p + 1] - columns.cut_start[p]) >> 1
            while half > 0:
                # All rows a step at a time: the steps of one row wait for each other, those of many do not.
                for i in range(len(low)):
                    low[i] += np.int32(columns.cuts[low[i] + half - 1] < x[i]) * half
                half >>= 1
            for i in range(n_rows):
                of_pair[i] = low[i] - columns.cut_start[p]
        else:
            for i in range(n_rows):
                bits = _bits_of(np.float32(X[first + i, f]) + np.float32(0))
                of_pair[i] = bits ^ ((bits >> np.int32(31)) | np.int32(-0x80000000))
        for i in range(n_rows):
            if np.isnan(X[first + i, f]):
                of_pair[i] = above_all
                any_missing = True
    return any_missing


@inlined
def copy_below(columns: Any, n_rows: int, keys: Any) -> None:
    """Write to `keys[2 p + 1]` the second columns: the first ones, with missing values below all others."""
    above_all = columns.above_all[0]
    for p in range(len(columns.feature)):
        if columns.has_below[p]:
            above, below = keys[2 * p], keys[2 * p + 1]
            for i in range(n_rows):
                below[i] = BELOW_ALL if above[i] == above_all else above[i]
