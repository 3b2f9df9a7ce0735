"""The bit-vector engine: all splits of a tree at once, for a block of rows, in vectors; for trees of at most 64 leaves.

The leaves of a tree are numbered from left to right and a row starts with one bit set for each. A split that sends the
row to the right clears the bits of its left subtree; when all splits have been tried, in whatever order, the lowest bit
still set is the row's leaf. No step waits for the one before it, so a block of rows goes through a split at the full
width of the processor's vectors.

Everything is 8 bits wide, so that a vector holds many rows and nothing is ever widened. The bits of a tree are words of 8
leaves, and a word tries only the splits that can clear some of its bits: for most splits that is one word. Values are
compared by rank (`engines.columns`); the few features with more thresholds than there are ranks have several columns.

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
from ensemble_compress.engines.columns import GROUP, Columns, copy_below, find_columns, find_keys
from ensemble_compress.engines.steps import array_data, field_data

BLOCK = 256
FEW = 32
MOST_FEW = 64
"""So many rows or fewer, when nothing more is left, go in blocks of `FEW`."""

WORD = 8

CHUNK = 128
"""Trees whose leaves are found before they are added up."""

TOGETHER = 4
"""Trees of one output whose leaves are added up in one go: the sums are read and written once."""

MOST_LEAVES = 64
MOST_PAIRS = 4096
"""A block's ranks have to stay in the processor's second cache."""


class BitVectors(NamedTuple):
    """A run of trees laid out for this engine.

    Attributes
    ----------
    columns : Columns
        What the rows' keys are made of; the keys are int8 ranks.
    order : ndarray of shape (n_trees,) int32
        In which order trees are added up: within a chunk, those of one output side by side.
    word_start : ndarray of shape (n_trees + 1,) int32
        Where a tree's words begin.
    test_start : ndarray of shape (n_words + 1,) int32
        Where a word's tests begin.
    column, above, mask : ndarray of shape (n_tests,) int32
        A test: rows whose rank in the column is below `above` keep all bits of the word, others those of `mask`. The column is
        its first rank's place in a block; the two others are there four times, in each of the 8 bits.
    row : ndarray of shape (n_words * WORD,) int32
        The row of `values` of each leaf, at the number of its bit.
    leaf_value : ndarray of shape (n_words * WORD,)
        The first value of each leaf.
    node : ndarray of shape (n_words * WORD,) int32
        The node that each leaf is.
    tree_output, values : ndarray
        As in `Forest`.
    """

    columns: Columns
    order: NDArray[np.int32]
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
    found = find_columns(nodes, sets, splits, np.int8, MOST_PAIRS)
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
        _order(tree_output),
        word_start.astype(np.int32),
        np.searchsorted(word, np.arange(word_start[-1] + 1)).astype(np.int32),
        column[split] * np.int32(BLOCK),
        _four_times((rank[split] + 1).astype(np.int8)),
        _four_times(mask),
        row,
        np.ascontiguousarray(values[row, 0]) if len(values) else np.zeros(len(row), values.dtype),
        node,
        tree_output,
        values,
    )


def _order(tree_output: NDArray[np.int32]) -> NDArray[np.int32]:
    """`order` of `BitVectors`. No output's sum sees it; trees that add to all outputs leave the others where they are."""
    tree = np.arange(len(tree_output), dtype=np.int32)
    return (
        tree
        if tree_output.min(initial=0) < 0
        else np.lexsort((tree, tree_output, tree // CHUNK)).astype(np.int32)
    )


def _four_times(numbers: NDArray[np.int8]) -> NDArray[np.int32]:
    """Each number in every 8 bits of 32."""
    return np.repeat(numbers, 4).view(np.int32)


def _places(n_leaves: NDArray[np.int64], word_start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each leaf lies: a tree's leaves side by side, from its first word on."""
    first = np.repeat(np.append(0, np.cumsum(n_leaves))[:-1], n_leaves)
    return np.repeat(word_start[:-1] * WORD, n_leaves) + np.arange(n_leaves.sum()) - first


def _tests(
    begin: NDArray[np.int64], end: NDArray[np.int64], first_word: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int8]]:
    """(split, word, mask) of every test: a split clears the leaves `begin` to `end`, which lie in one word or more."""
    found = []
    for k in range(MOST_LEAVES // WORD):
        low, high = np.clip(begin - WORD * k, 0, WORD), np.clip(end - WORD * k, 0, WORD)
        split = np.flatnonzero(high > low)
        cleared = (1 << high[split]) - (1 << low[split])
        found.append((split, first_word[split] + k, (0xFF & ~cleared).astype(np.uint8).view(np.int8)))
    split, word, mask = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return split, word, mask


# -- kernel ------------------------------------------------------------------------------------------------------


def _finder_for(n_lanes: int) -> Any:
    """The intrinsic that finds the leaves of the first `n_lanes` rows of a block."""
    byte, index, place = ir.IntType(8), ir.IntType(32), ir.IntType(64)
    vector, quads = ir.VectorType(byte, n_lanes), ir.VectorType(index, n_lanes // 4)

    def splat(builder: Any, quad: Any) -> Any:
        """Four times 8 bits in all lanes: one load, where 8 bits alone take a load and a shuffle."""
        nothing = ir.Constant(quads, ir.Undefined)
        one = builder.insert_element(nothing, quad, ir.Constant(index, 0))
        all_lanes = ir.Constant(quads, [0] * (n_lanes // 4))
        return builder.bitcast(builder.shuffle_vector(one, nothing, all_lanes), vector)

    def constant(value: int) -> Any:
        return ir.Constant(vector, [value] * n_lanes)

    def numbers(builder: Any, array: Any, k: Any) -> tuple[Any, Any]:
        """Elements k and k + 1."""
        at = [builder.gep(array, [builder.add(k, ir.Constant(place, q))]) for q in (0, 1)]
        return builder.sext(builder.load(at[0]), place), builder.sext(builder.load(at[1]), place)

    @intrinsic  # type: ignore[untyped-decorator]
    def find_places(typing_context: Any, plan: Any, ranks: Any, t: Any, places: Any) -> Any:
        """Write to `places` where each row's leaf lies among those of tree t."""
        signature = types.void(plan, ranks, t, places)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            ranks, places = (array_data(context, builder, signature, arguments, k) for k in (1, 3))
            fields = field_data(context, builder, signature.args[0], arguments[0])
            column, above, mask = fields("column"), fields("above"), fields("mask")
            first, end = numbers(builder, fields("word_start"), arguments[2])
            bits, kept, word = (cgutils.alloca_once(builder, vector) for _ in range(3))
            one = ir.Constant(place, 1)
            builder.store(constant(0), kept)
            builder.store(constant(0), word)
            words = cgutils.for_range_slice(
                builder, builder.sub(end, one), builder.sub(first, one), ir.Constant(place, -1), inc=False
            )
            with words as (w, _):
                start, stop = numbers(builder, fields("test_start"), w)
                builder.store(constant(-1), bits)
                with cgutils.for_range_slice(builder, start, stop, one) as (j, _):
                    at = builder.sext(builder.load(builder.gep(column, [j])), place)
                    of_column = builder.bitcast(builder.gep(ranks, [at]), vector.as_pointer())
                    bound, stays = (
                        splat(builder, builder.load(builder.gep(quad, [j]))) for quad in (above, mask)
                    )
                    goes_left = builder.icmp_signed(">", bound, builder.load(of_column, align=1))
                    stays = builder.or_(builder.sext(goes_left, vector), stays)
                    builder.store(builder.and_(builder.load(bits), stays), bits)
                left = builder.load(bits)
                has_bit = builder.icmp_signed("!=", left, constant(0))
                number = builder.mul(
                    builder.trunc(builder.sub(w, first), index), ir.Constant(index, 0x01010101 * WORD)
                )
                builder.store(builder.select(has_bit, left, builder.load(kept)), kept)
                builder.store(builder.select(has_bit, splat(builder, number), builder.load(word)), word)
            of_vectors = ir.FunctionType(vector, [vector, ir.IntType(1)])
            count = cgutils.get_or_insert_function(builder.module, of_vectors, f"llvm.cttz.v{n_lanes}i8")
            lowest = builder.call(count, [builder.load(kept), ir.Constant(ir.IntType(1), 1)])
            found = builder.bitcast(places, vector.as_pointer())
            builder.store(builder.add(lowest, builder.load(word)), found, align=1)
            return context.get_dummy_value()

        return signature, generate

    return find_places


_find_few, _find_block = _finder_for(FEW), _finder_for(BLOCK)


def _adder_of(n_trees: int) -> Any:
    """The intrinsic that adds the leaves of `n_trees` trees to the sums of one output."""
    place, at_once = ir.IntType(64), 8

    @intrinsic  # type: ignore[untyped-decorator]
    def add_leaves(
        typing_context: Any, plan: Any, places: Any, first: Any, j: Any, sums: Any, n_lanes: Any
    ) -> Any:
        """Add trees `order[j]` and on, in this order; `places` is of the trees from `first` on."""
        signature = types.void(plan, places, first, j, sums, n_lanes)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            fields = field_data(context, builder, signature.args[0], arguments[0])
            places, sums = (array_data(context, builder, signature, arguments, k) for k in (1, 4))
            of_trees = []
            for q in range(n_trees):
                at = builder.add(arguments[3], ir.Constant(place, q))
                tree = builder.sext(builder.load(builder.gep(fields("order"), [at])), place)
                word = builder.sext(builder.load(builder.gep(fields("word_start"), [tree])), place)
                table = builder.gep(fields("leaf_value"), [builder.mul(word, ir.Constant(place, WORD))])
                row = builder.mul(builder.sub(tree, arguments[2]), ir.Constant(place, BLOCK))
                of_trees.append((table, builder.gep(places, [row])))
            zero, step = ir.Constant(place, 0), ir.Constant(place, at_once)
            with cgutils.for_range_slice(builder, zero, arguments[5], step) as (i, _):
                # Eight places in one load: what limits this loop is how many loads a core does.
                words = [
                    builder.load(builder.bitcast(builder.gep(of_tree, [i]), place.as_pointer()), align=1)
                    for _, of_tree in of_trees
                ]
                for u in range(at_once):
                    slot = builder.gep(sums, [builder.add(i, ir.Constant(place, u))])
                    total = builder.load(slot)
                    for (table, _), eight in zip(of_trees, words, strict=True):
                        leaf = builder.and_(
                            builder.lshr(eight, ir.Constant(place, 8 * u)), ir.Constant(place, 255)
                        )
                        total = builder.fadd(total, builder.load(builder.gep(table, [leaf])))
                    builder.store(total, slot)
            return context.get_dummy_value()

        return signature, generate

    return add_leaves


_add_one, _add_together = _adder_of(1), _adder_of(TOGETHER)


@inlined
def _find_places(
    plan: Any, ranks: NDArray[np.int8], n_lanes: int, first: int, last: int, places: NDArray[np.uint8]
) -> None:
    """Write to `places` where each row's leaf lies among those of its tree, for the trees from `first` to `last`."""
    for t in range(first, last):
        if n_lanes == FEW:
            _find_few(plan, ranks, t, places[t - first])
        else:
            _find_block(plan, ranks, t, places[t - first])


@inlined
def _find_ranks(
    plan: Any, X: NDArray[Any], first: int, stop: int, scratch: Any, ranks: NDArray[np.int8]
) -> tuple[int, int]:
    """Write the ranks of the block of rows that begins at `first`; returns how many rows it has, and its lanes."""
    n_rows = min(BLOCK if stop - first > MOST_FEW else FEW, stop - first)
    n_lanes = FEW if n_rows <= FEW else BLOCK
    find_keys(plan.columns, X, first, n_rows, scratch, ranks)
    copy_below(plan.columns, n_rows, ranks)
    return n_rows, n_lanes


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_trees, width, n_outputs = len(plan.tree_output), plan.values.shape[1], out.shape[1]
    scratch = np.zeros(GROUP, np.float64), np.zeros(GROUP, np.int32)
    ranks = np.zeros((2 * len(plan.columns.feature), BLOCK), np.int8)
    places = np.zeros((CHUNK, BLOCK), np.uint8)
    sums = np.zeros((n_outputs, BLOCK), out.dtype)
    first = start
    while first < stop:
        n_rows, n_lanes = _find_ranks(plan, X, first, stop, scratch, ranks)
        for i in range(n_rows):
            for k in range(n_outputs):
                sums[k, i] = out[first + i, k]
        for chunk in range(0, n_trees, CHUNK):
            last = min(chunk + CHUNK, n_trees)
            _find_places(plan, ranks, n_lanes, chunk, last, places)
            j = chunk
            while j < last:
                output = plan.tree_output[plan.order[j]]
                if output < 0:
                    of_tree, base = (
                        places[plan.order[j] - chunk],
                        np.uint64(plan.word_start[plan.order[j]] * WORD),
                    )
                    for i in range(n_rows):
                        v = plan.row[base + np.uint64(of_tree[i])]
                        for k in range(width):
                            sums[k, i] += plan.values[v, k]
                    j += 1
                elif j + TOGETHER <= last and plan.tree_output[plan.order[j + TOGETHER - 1]] == output:
                    _add_together(plan, places, np.int64(chunk), np.int64(j), sums[output], np.int64(n_lanes))
                    j += TOGETHER
                else:
                    _add_one(plan, places, np.int64(chunk), np.int64(j), sums[output], np.int64(n_lanes))
                    j += 1
        for i in range(n_rows):
            for k in range(n_outputs):
                out[first + i, k] = sums[k, i]
        first += n_rows


@kernel
def find_leaves(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    n_trees = len(plan.tree_output)
    scratch = np.zeros(GROUP, np.float64), np.zeros(GROUP, np.int32)
    ranks = np.zeros((2 * len(plan.columns.feature), BLOCK), np.int8)
    places = np.zeros((CHUNK, BLOCK), np.uint8)
    first = start
    while first < stop:
        n_rows, n_lanes = _find_ranks(plan, X, first, stop, scratch, ranks)
        for chunk in range(0, n_trees, CHUNK):
            last = min(chunk + CHUNK, n_trees)
            _find_places(plan, ranks, n_lanes, chunk, last, places)
            for i in range(n_rows):
                for t in range(chunk, last):
                    place = np.uint64(plan.word_start[t] * WORD) + np.uint64(places[t - chunk, i])
                    out[first + i, t] = plan.node[place]
        first += n_rows
