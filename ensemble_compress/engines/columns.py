"""Columns of keys: what the fast engines compare in place of the values of X.

A key is a whole number that keeps the order of the values it stands for, so a split's test comes out as it did on the
values. The key also settles what is no matter of order. A test of categories compares a zero (in the set) or a one. Missing
values are above all others in one column of a feature and below all others in a second one, which is equal to the first
where nothing is missing; a split reads the column that sends missing values to its side.

There are two kinds of keys. A *rank* is the number of the model's own thresholds of the column that lie below the value; it
is small, and good for values of any type. The *bits* of a float32, with the sign turned round, have the order of the
numbers already and cost no search.

Where a rank is searched for, a table says first: the thresholds' span is parted into buckets of one width, and a value's
bucket, which a subtraction and a product give, leaves only the thresholds of the same bucket to compare with.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined
from ensemble_compress.engines.buckets import find_buckets
from ensemble_compress.engines.walk import is_in_set

GROUP = 32
"""Rows whose keys are found together: their values stay in the nearest cache while one column after the other is read."""

SEARCHES = 16
"""Searches for a rank that go on side by side."""

FEWEST = 8
"""Fewer searches go on one after the other."""


class Columns(NamedTuple):
    """What the columns of a run of trees are made of: pair p is column 2 p, missing above, and 2 p + 1, missing below.

    Attributes
    ----------
    feature, category_set : ndarray of shape (n_pairs,) int32
        A feature, and a set of categories or -1.
    has_below : ndarray of shape (n_pairs,) uint8
        Whether any split reads the second column.
    ends : ndarray of shape (2,)
        The key of a missing value in a second column, below all others, and in a first one, above all others; in the dtype of
        the keys.
    cuts, cut_start : ndarray
        The thresholds of a pair, sorted, in `cuts[cut_start[p] : cut_start[p + 1]]`, filled up with infinities to a
        power of two; no cuts where keys are bits.
    origin, scale : ndarray of shape (n_pairs,) float64
        A value's bucket is the whole part of `(value - origin) * scale`, or the nearest that there is.
    bucket_low, bucket_start : ndarray of int32
        The place in `cuts` where the search begins for a bucket of a pair, in `bucket_low[bucket_start[p] : bucket_start[p + 1]]`.
    n_steps : ndarray of shape (n_pairs,) int32
        The steps of a search.
    set_start, set_words : ndarray
        The sets of categories.
    """

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    has_below: NDArray[np.uint8]
    ends: NDArray[Any]
    cuts: NDArray[Any]
    cut_start: NDArray[np.int32]
    origin: NDArray[np.float64]
    scale: NDArray[np.float64]
    bucket_low: NDArray[np.int32]
    bucket_start: NDArray[np.int32]
    n_steps: NDArray[np.int32]
    set_start: NDArray[np.int32]
    set_words: NDArray[np.uint32]


Found = tuple[Columns, NDArray[np.int32], NDArray[Any]]
"""The columns, and the column and the key of each split."""


def find_columns(
    nodes: Any, sets: Any, splits: NDArray[np.intp], dtype: Any, most_pairs: int
) -> Found | None:
    """The columns of ranks that `splits` need; None if there are too many.

    A feature with more thresholds than there are ranks has several pairs of columns, each with some of them.

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
    pairs = _find_pairs(nodes, splits)
    if len(pairs.feature) > most_pairs:
        return None
    threshold = np.where(nodes.category_set[splits] >= 0, 0.0, nodes.threshold[splits])
    order = np.lexsort((threshold, pairs.of_split))
    of_pair, cut = pairs.of_split[order], threshold[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (of_pair[1:] != of_pair[:-1]) | (cut[1:] != cut[:-1])
    n_cuts = np.bincount(of_pair[is_new], minlength=len(pairs.feature))
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(is_new) - 1 - np.append(0, np.cumsum(n_cuts))[of_pair]
    ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    most_cuts = int(ends[1]) - int(ends[0]) - 1
    pairs, n_cuts = _part(pairs, n_cuts, place // most_cuts, nodes.nan_left[splits], most_cuts)
    if len(pairs.feature) > most_pairs:
        return None
    # Room for one more than there are, so that a search that halves ends below the last one's end.
    start = np.append(0, np.cumsum(np.exp2(np.ceil(np.log2(n_cuts + 1))).astype(np.int64)))
    cuts = np.full(start[-1], np.inf)
    cuts[start[pairs.of_split] + place % most_cuts] = threshold
    columns = Columns(
        pairs.feature,
        pairs.category_set,
        pairs.has_below,
        ends,
        cuts,
        start.astype(np.int32),
        *find_buckets(cuts, start, n_cuts),
        sets.start,
        sets.words,
    )
    column = 2 * pairs.of_split + nodes.nan_left[splits].astype(np.int32)
    return columns, column, place % most_cuts + int(ends[0])


def _part(
    pairs: "_Pairs",
    n_cuts: NDArray[np.int64],
    part: NDArray[np.int64],
    nan_left: NDArray[np.bool_],
    most_cuts: int,
) -> tuple["_Pairs", NDArray[np.int64]]:
    """Several pairs in place of each that has more than `most_cuts` cuts, and how many each of them has.

    `part` says which of them each split is for.
    """
    if n_cuts.max(initial=0) <= most_cuts:
        return pairs, n_cuts
    n_parts = -(-n_cuts // most_cuts)
    first = np.append(0, np.cumsum(n_parts))
    of_split = (first[pairs.of_split] + part).astype(np.int32)
    has_below = np.zeros(first[-1], np.uint8)
    has_below[of_split[nan_left]] = 1
    number = np.arange(first[-1]) - np.repeat(first[:-1], n_parts)
    each = np.minimum(np.repeat(n_cuts, n_parts) - number * most_cuts, most_cuts)
    feature, category_set = (np.repeat(field, n_parts) for field in pairs[:2])
    return _Pairs(feature, category_set, has_below, of_split), each


def find_columns_of_bits(nodes: Any, sets: Any, splits: NDArray[np.intp], most_pairs: int) -> Found | None:
    """The columns of float32 bits that `splits` need; None if there are too many."""
    pairs = _find_pairs(nodes, splits)
    n_pairs = len(pairs.feature)
    if n_pairs > most_pairs:
        return None
    columns = Columns(
        pairs.feature,
        pairs.category_set,
        pairs.has_below,
        np.array([0, np.iinfo(np.uint32).max], np.uint32),
        np.zeros(0),
        np.zeros(n_pairs + 1, np.int32),
        np.zeros(n_pairs),
        np.zeros(n_pairs),
        np.zeros(0, np.int32),
        np.zeros(n_pairs + 1, np.int32),
        np.zeros(n_pairs, np.int32),
        sets.start,
        sets.words,
    )
    key = np.where(nodes.category_set[splits] >= 0, np.uint32(0), _bits_below(nodes.threshold[splits]))
    column = 2 * pairs.of_split + nodes.nan_left[splits].astype(np.int32)
    return columns, column, key.astype(np.uint32)


class _Pairs(NamedTuple):
    """The pairs of columns, and the pair of each split."""

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    has_below: NDArray[np.uint8]
    of_split: NDArray[np.int32]


def _find_pairs(nodes: Any, splits: NDArray[np.intp]) -> _Pairs:
    """A pair for each feature and each set of categories that it is looked for in."""
    both = nodes.feature[splits].astype(np.int64) << 32 | (nodes.category_set[splits] + 1).astype(np.int64)
    kind, pair = np.unique(both, return_inverse=True)
    has_below = np.zeros(len(kind), np.uint8)
    has_below[pair[nodes.nan_left[splits]]] = 1
    category_set = (kind & 0xFFFFFFFF) - 1
    return _Pairs(
        (kind >> 32).astype(np.int32), category_set.astype(np.int32), has_below, pair.astype(np.int32)
    )


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


@intrinsic  # type: ignore[untyped-decorator]
def _search(typing_context: Any, cuts: Any, low: Any, x: Any, first: Any, n_steps: Any) -> Any:
    """Move `low[first : first + SEARCHES]` up to the first of the cuts that is not below its `x`."""
    signature = types.void(cuts, low, x, first, n_steps)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = ir.IntType(64)
        cuts, low, x = (
            cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k]).data
            for k in range(3)
        )
        opaque = ir.InlineAsm(ir.FunctionType(place, [place]), "", "=r,0")
        ends = [builder.add(arguments[3], ir.Constant(place, q)) for q in range(SEARCHES)]
        xs = [builder.load(builder.gep(x, [end])) for end in ends]
        lows = [cgutils.alloca_once(builder, place) for _ in ends]  # become registers
        for of_row, end in zip(lows, ends, strict=True):
            builder.store(builder.sext(builder.load(builder.gep(low, [end])), place), of_row)
        one = ir.Constant(place, 1)
        steps = cgutils.for_range_slice(
            builder, arguments[4], ir.Constant(place, 0), ir.Constant(place, -1), inc=False
        )
        with steps as (step, _):
            shift = builder.sub(step, one)
            probe = builder.gep(cuts, [builder.sub(builder.shl(one, shift), one)])
            for value, of_row in zip(xs, lows, strict=True):
                old = builder.load(of_row)
                is_below = builder.fcmp_ordered("<", builder.load(builder.gep(probe, [old])), value)
                # LLVM is not to see that this is 0 or 1: it would make a branch of it, and half of them would be guessed wrong.
                carry = builder.call(opaque, [builder.zext(is_below, place)])
                builder.store(builder.add(old, builder.shl(carry, shift)), of_row)
        for of_row, end in zip(lows, ends, strict=True):
            builder.store(builder.trunc(builder.load(of_row), ir.IntType(32)), builder.gep(low, [end]))
        return context.get_dummy_value()

    return signature, generate


@inlined
def _find_ranks(columns: Any, p: int, scratch: Any, of_pair: Any, at: int) -> None:
    """Write the ranks of the `GROUP` values in the scratch in pair p's first column to `of_pair[at : at + GROUP]`."""
    x, low = scratch
    origin, scale, first = columns.origin[p], columns.scale[p], columns.bucket_start[p]
    last = np.float64(columns.bucket_start[p + 1] - first - 1)
    for i in range(GROUP):
        bucket = (x[i] - origin) * scale
        if not bucket > 0.0:  # nor is what is not a number
            bucket = 0.0
        low[i] = first + np.int32(min(bucket, last))
    for i in range(GROUP):
        low[i] = columns.bucket_low[low[i]]
    for i in range(0, GROUP, SEARCHES):
        _search(columns.cuts, low, x, i, np.int64(columns.n_steps[p]))
    base = columns.cut_start[p] - np.int32(columns.ends[0])
    for i in range(GROUP):
        of_pair[at + i] = low[i] - base


@inlined
def _find_few_ranks(columns: Any, p: int, n: int, scratch: Any, of_pair: Any, at: int) -> None:
    """The same for n values, too few for searches side by side."""
    origin, scale, first = columns.origin[p], columns.scale[p], columns.bucket_start[p]
    last = np.float64(columns.bucket_start[p + 1] - first - 1)
    base = columns.cut_start[p] - np.int32(columns.ends[0])
    for i in range(n):
        x = scratch[0][i]
        bucket = (x - origin) * scale
        if not bucket > 0.0:
            bucket = 0.0
        low = columns.bucket_low[first + np.int32(min(bucket, last))]
        for step in range(columns.n_steps[p] - 1, -1, -1):
            half = np.int32(1) << step
            low += np.int32(columns.cuts[low + half - 1] < x) * half
        of_pair[at + i] = low - base


@inlined
def find_keys(
    columns: Any, pairs: tuple[int, int], X: NDArray[Any], first: int, n_rows: int, scratch: Any, keys: Any
) -> bool:
    """Write to `keys[2 p, i]` the keys of row `first + i` in pair p's first column, for `n_rows` rows and the pairs of a range.

    Returns whether a value is missing: then, and only then, `copy_below` has to make the second columns too.

    `scratch` is (values, places): float64 and int32, each as long as the rows are many, or `GROUP`.
    """
    # One function: what a pair takes in one of its own is twice as slow, for there LLVM cannot tell that nothing overlaps.
    x, above_all, any_missing = scratch[0], columns.ends[1], False
    for begin in range(0, n_rows, GROUP):
        n, row = min(GROUP, n_rows - begin), first + begin
        for p in range(pairs[0], pairs[1]):
            f, of_pair = columns.feature[p], keys[2 * p]
            if columns.category_set[p] >= 0:
                s = np.int64(columns.category_set[p])
                for i in range(n):
                    is_out = not is_in_set(columns.set_start, columns.set_words, s, X[row + i, f])
                    of_pair[begin + i] = columns.ends[0] + np.int64(is_out)
            elif len(columns.cuts):
                is_missing = False
                for i in range(n):
                    x[i] = X[row + i, f]
                    is_missing |= x[i] != x[i]
                if columns.cut_start[p + 1] - columns.cut_start[p] == 2:  # a single one, and room
                    cut, least = columns.cuts[columns.cut_start[p]], columns.ends[0]
                    for i in range(n):
                        of_pair[begin + i] = least + (cut < x[i])
                elif n < FEWEST:
                    _find_few_ranks(columns, p, n, scratch, of_pair, begin)
                else:
                    _find_ranks(columns, p, scratch, of_pair, begin)
                if not is_missing:
                    continue
            else:
                for i in range(n):
                    bits = _bits_of(np.float32(X[row + i, f]) + np.float32(0))
                    of_pair[begin + i] = bits ^ ((bits >> np.int32(31)) | np.int32(-0x80000000))
            for i in range(n):
                if np.isnan(X[row + i, f]):
                    of_pair[begin + i] = above_all
                    any_missing = True
    return any_missing


@inlined
def copy_below(columns: Any, n_rows: int, keys: Any) -> None:
    """Write to `keys[2 p + 1]` the second columns: the first ones, with missing values below all others."""
    below_all, above_all = columns.ends[0], columns.ends[1]
    for p in range(len(columns.feature)):
        if columns.has_below[p]:
            above, below = keys[2 * p], keys[2 * p + 1]
            for i in range(n_rows):
                below[i] = below_all if above[i] == above_all else above[i]
