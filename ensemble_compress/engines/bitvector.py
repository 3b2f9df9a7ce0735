"""The bit-vector engine: all splits of a tree at once, for a block of rows, in vectors; for trees of at most 64 leaves.

The leaves of a tree are numbered from left to right and a row starts with one bit set for each. A split that sends the
row to the right clears the bits of its left subtree; when all splits have been tried, in whatever order, the lowest bit
still set is the row's leaf. No step waits for the one before it, so a block of rows goes through a split at the full
width of the processor's vectors.

Everything is 16 bits wide, so that a vector holds many rows and nothing is ever widened. The bits of a tree are words of 16
leaves, and a word tries only the splits that can clear some of its bits: for most splits that is one word. Values are
compared by rank (`engines.columns`).

Source: Lucchese et al., "QuickScorer", SIGIR 2015, section 3 (the bit vectors); Ye et al., "RapidScorer", KDD 2018,
section 4 (a block of rows to a split). The vectors are written out as LLVM's own, which become AVX2, AVX-512 or NEON.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel
from ensemble_compress.engines.columns import Columns, copy_below, find_columns, find_keys
from ensemble_compress.engines.steps import array_data

BLOCK = 128
FEW = 32
"""So many rows or fewer are a block of their own width."""

WORD = 16
DE_BRUIJN = 0x09AF
"""Shifted left by 0 to 15, its highest four bits (of 16) are all different: to hash a bit costs less than to count it."""

CHUNK = 64
"""Trees whose leaves are found before they are added up."""

MOST_LEAVES = 64
MOST_PAIRS = 4096
"""A block's ranks have to stay in the processor's second cache."""


class BitVectors(NamedTuple):
    """A run of trees laid out for this engine.

    Attributes
    ----------
    columns : Columns
        What the rows' keys are made of; the keys are int16 ranks.
    word_start : ndarray of shape (n_trees + 1,) int32
        Where a tree's words begin.
    test_start : ndarray of shape (n_words + 1,) int32
        Where a word's tests begin.
    column, above, mask : ndarray of shape (n_tests,) int32
        A test: rows whose rank in the column is below `above` keep all bits of the word, others those of `mask`. The column is
        its first rank's place in a block; the two others are there twice, in the lower and the upper 16 bits.
    row : ndarray of shape (n_words * WORD,) int32
        The row of `values` of each leaf. The leaf of a word's bit lies at the bit's hash, not at its number.
    leaf_value : ndarray of shape (n_words * WORD,)
        The first value of each leaf.
    node : ndarray of shape (n_words * WORD,) int32
        The node that each leaf is.
    tree_output, values : ndarray
        As in `Forest`.
    """

    columns: Columns
    word_start: NDArray[np.int32]
    test_start: NDArray[np.int32]
    column: NDArray[np.int32]
    above: NDArray[np.int32]
    mask: NDArray[np.int32]
    row: NDArray[np.int32]
    leaf_value: NDArray[Any]
    node: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]


# -- layout ------------------------------------------------------------------------------------------------------


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
) -> BitVectors | None:
    """The arrays of a forest as the kernel below wants them; None where a tree or a column is too large for it."""
    is_leaf = nodes.feature < 0
    leaves_before = np.append(0, np.cumsum(is_leaf, dtype=np.int64))
    first_leaf = leaves_before[tree_start]
    n_leaves = np.diff(first_leaf)
    if n_leaves.max(initial=0) > MOST_LEAVES:
        return None
    splits = np.flatnonzero(~is_leaf)
    found = find_columns(nodes, sets, splits, np.int16, MOST_PAIRS)
    if found is None:
        return None
    columns, column, rank = found
    word_start = np.append(0, np.cumsum(-(-n_leaves // WORD)))
    tree = np.searchsorted(tree_start, splits, side="right") - 1
    # Nodes lie in pre-order: the leaves of a left subtree are those between the split and its right child.
    begin, end = (leaves_before[j] - first_leaf[tree] for j in (splits, nodes.right[splits]))
    split, word, mask = _tests(begin, end, word_start[tree])
    # Tests of one column side by side: its ranks are in the nearest cache then.
    order = np.lexsort((column[split], word))
    split, word, mask = split[order], word[order], mask[order]
    place = _places(n_leaves, word_start)
    row, node = np.zeros(word_start[-1] * WORD, np.int32), np.zeros(word_start[-1] * WORD, np.int32)
    row[place], node[place] = nodes.leaf[is_leaf], np.flatnonzero(is_leaf)
    return BitVectors(
        columns,
        word_start.astype(np.int32),
        np.searchsorted(word, np.arange(word_start[-1] + 1)).astype(np.int32),
        column[split] * np.int32(BLOCK),
        _twice((rank[split] + 1).astype(np.int16)),
        _twice(mask),
        row,
        np.ascontiguousarray(values[row, 0]) if len(values) else np.zeros(len(row), values.dtype),
        node,
        tree_output,
        values,
    )


def _twice(numbers: NDArray[np.int16]) -> NDArray[np.int32]:
    """Each number in both halves of 32 bits."""
    return np.repeat(numbers, 2).view(np.int32)


def _places(n_leaves: NDArray[np.int64], word_start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each leaf lies: 16 places a word, a leaf at the hash of its bit."""
    first = np.repeat(np.append(0, np.cumsum(n_leaves))[:-1], n_leaves)
    leaf = np.arange(n_leaves.sum()) - first
    word = np.repeat(word_start[:-1], n_leaves) + leaf // WORD
    return np.asarray(word * WORD + ((DE_BRUIJN << leaf % WORD & 0xFFFF) >> 12))


def _tests(
    begin: NDArray[np.int64], end: NDArray[np.int64], first_word: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int16]]:
    """(split, word, mask) of every test: a split clears the leaves `begin` to `end`, which lie in one word or more."""
    found = []
    for k in range(MOST_LEAVES // WORD):
        low, high = np.clip(begin - WORD * k, 0, WORD), np.clip(end - WORD * k, 0, WORD)
        split = np.flatnonzero(high > low)
        cleared = (1 << high[split]) - (1 << low[split])
        found.append((split, first_word[split] + k, (0xFFFF & ~cleared).astype(np.uint16).view(np.int16)))
    split, word, mask = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return split, word, mask


# -- kernel ------------------------------------------------------------------------------------------------------


def _tests_on(n_lanes: int) -> Any:
    """The intrinsic that tries tests on the first `n_lanes` rows of a block."""
    short, index = ir.IntType(16), ir.IntType(32)
    vector, pairs = ir.VectorType(short, n_lanes), ir.VectorType(index, n_lanes // 2)

    def splat(builder: Any, pair: Any) -> Any:
        """Twice 16 bits in all lanes: one load, where 16 bits alone take a load and a shuffle."""
        nothing = ir.Constant(pairs, ir.Undefined)
        one = builder.insert_element(nothing, pair, ir.Constant(index, 0))
        all_lanes = ir.Constant(pairs, [0] * (n_lanes // 2))
        return builder.bitcast(builder.shuffle_vector(one, nothing, all_lanes), vector)

    def constant(value: int) -> Any:
        return ir.Constant(vector, [value] * n_lanes)

    @intrinsic  # type: ignore[untyped-decorator]
    def try_tests(
        typing_context: Any,
        ranks: Any,
        column: Any,
        above: Any,
        mask: Any,
        start: Any,
        stop: Any,
        first: Any,
        places: Any,
    ) -> Any:
        """Try the tests from `start` to `stop`, a word's; rows with a bit left get their leaf's place.

        `first` is, twice in 32 bits, the word's first place among those of its tree.
        """
        signature = types.void(ranks, column, above, mask, start, stop, first, places)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            ranks, column, above, mask, places = (
                array_data(context, builder, signature, arguments, k) for k in (0, 1, 2, 3, 7)
            )
            start, stop, first = arguments[4:7]
            places = builder.bitcast(places, vector.as_pointer())
            bits = cgutils.alloca_once(builder, vector)  # becomes registers
            builder.store(constant(-1), bits)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(start.type, 1)) as (j, _):
                at = builder.sext(builder.load(builder.gep(column, [j])), start.type)
                of_column = builder.bitcast(builder.gep(ranks, [at]), vector.as_pointer())
                bound, kept = (splat(builder, builder.load(builder.gep(pair, [j]))) for pair in (above, mask))
                goes_left = builder.icmp_signed(">", bound, builder.load(of_column, align=2))
                kept = builder.or_(builder.sext(goes_left, vector), kept)
                builder.store(builder.and_(builder.load(bits), kept), bits)
            left = builder.load(bits)
            lowest = builder.and_(left, builder.sub(constant(0), left))
            hashed = builder.lshr(builder.mul(lowest, constant(DE_BRUIJN)), constant(12))
            found = builder.add(hashed, splat(builder, first))
            has_bit = builder.icmp_signed("!=", left, constant(0))
            known = builder.load(places, align=2)
            builder.store(builder.select(has_bit, found, known), places, align=2)
            return context.get_dummy_value()

        return signature, generate

    return try_tests


_try_few, _try_block = _tests_on(FEW), _tests_on(BLOCK)


@inlined
def _find_places(
    plan: Any, ranks: NDArray[np.int16], n_lanes: int, first: int, last: int, places: NDArray[np.uint16]
) -> None:
    """Write to `places` where each row's leaf lies among those of its tree, for the trees from `first` to `last`."""
    for t in range(first, last):
        first_word = plan.word_start[t]
        for w in range(plan.word_start[t + 1] - 1, first_word - 1, -1):
            start, stop = np.int64(plan.test_start[w]), np.int64(plan.test_start[w + 1])
            begin, of_tree = np.int32((w - first_word) * WORD * 0x10001), places[t - first]
            if n_lanes == FEW:
                _try_few(ranks, plan.column, plan.above, plan.mask, start, stop, begin, of_tree)
            else:
                _try_block(ranks, plan.column, plan.above, plan.mask, start, stop, begin, of_tree)


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_trees, width, n_outputs = len(plan.tree_output), plan.values.shape[1], out.shape[1]
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    few_scratch = np.zeros(FEW, np.float64), np.zeros(FEW, np.int32)
    ranks = np.zeros((2 * len(plan.columns.feature), BLOCK), np.int16)
    places = np.zeros((CHUNK, BLOCK), np.uint16)
    sums = np.zeros((n_outputs, BLOCK), out.dtype)
    for first in range(start, stop, BLOCK):
        n_rows = min(BLOCK, stop - first)
        n_lanes = FEW if n_rows <= FEW else BLOCK
        if n_lanes == FEW:
            find_keys(plan.columns, X, first, n_rows, few_scratch, ranks)
        else:
            find_keys(plan.columns, X, first, n_rows, scratch, ranks)
        copy_below(plan.columns, n_rows, ranks)
        for i in range(n_rows):
            for k in range(n_outputs):
                sums[k, i] = out[first + i, k]
        for t in range(n_trees):
            if t % CHUNK == 0:
                _find_places(plan, ranks, n_lanes, t, min(t + CHUNK, n_trees), places)
            of_tree, base = places[t % CHUNK], np.uint64(plan.word_start[t] * WORD)
            if plan.tree_output[t] >= 0:
                of_output = sums[plan.tree_output[t]]
                for i in range(n_lanes):
                    of_output[i] += plan.leaf_value[base + np.uint64(of_tree[i])]
            else:
                for i in range(n_rows):
                    v = plan.row[base + np.uint64(of_tree[i])]
                    for k in range(width):
                        sums[k, i] += plan.values[v, k]
        for i in range(n_rows):
            for k in range(n_outputs):
                out[first + i, k] = sums[k, i]


@kernel
def find_leaves(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    n_trees = len(plan.tree_output)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    few_scratch = np.zeros(FEW, np.float64), np.zeros(FEW, np.int32)
    ranks = np.zeros((2 * len(plan.columns.feature), BLOCK), np.int16)
    places = np.zeros((CHUNK, BLOCK), np.uint16)
    for first in range(start, stop, BLOCK):
        n_rows = min(BLOCK, stop - first)
        n_lanes = FEW if n_rows <= FEW else BLOCK
        if n_lanes == FEW:
            find_keys(plan.columns, X, first, n_rows, few_scratch, ranks)
        else:
            find_keys(plan.columns, X, first, n_rows, scratch, ranks)
        copy_below(plan.columns, n_rows, ranks)
        for chunk in range(0, n_trees, CHUNK):
            last = min(chunk + CHUNK, n_trees)
            _find_places(plan, ranks, n_lanes, chunk, last, places)
            for i in range(n_rows):
                for t in range(chunk, last):
                    place = np.uint64(plan.word_start[t] * WORD) + np.uint64(places[t - chunk, i])
                    out[first + i, t] = plan.node[place]
