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

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel, oblivious
from ensemble_compress.engines.bit_layout import BLOCK, CHUNK, WORD
from ensemble_compress.engines.columns import GROUP, copy_below, find_keys
from ensemble_compress.engines.steps import array_data, field_data, splat_for

FEW = 32
MOST_FEW = 64
"""So many rows or fewer, when nothing more is left, go in blocks of `FEW`."""

TOGETHER = 4
"""Trees of one output whose leaves are added up in one go: the sums are read and written once."""


def _finder_for(n_lanes: int) -> Any:
    """The intrinsic that finds the leaves of the first `n_lanes` rows of a block."""
    index, place = ir.IntType(32), ir.IntType(64)
    vector, splat = ir.VectorType(ir.IntType(8), n_lanes), splat_for(n_lanes)

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
_number_few, _number_block = oblivious.finder_for(FEW), oblivious.finder_for(BLOCK)


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
        of_tree = places[t - first]
        if plan.levels[t] > 0:
            start = np.int64(plan.test_start[plan.word_start[t]])
            if n_lanes == FEW:
                _number_few(plan, ranks, start, start + plan.levels[t], of_tree)
            else:
                _number_block(plan, ranks, start, start + plan.levels[t], of_tree)
        elif n_lanes == FEW:
            _find_few(plan, ranks, t, of_tree)
        else:
            _find_block(plan, ranks, t, of_tree)


@inlined
def _find_ranks(
    plan: Any, X: NDArray[Any], first: int, stop: int, scratch: Any, ranks: NDArray[np.int8]
) -> tuple[int, int]:
    """Write the ranks of the block of rows that begins at `first`; returns how many rows it has, and its lanes."""
    n_rows = min(BLOCK if stop - first > MOST_FEW else FEW, stop - first)
    n_lanes = FEW if n_rows <= FEW else BLOCK
    find_keys(plan.columns, (0, len(plan.columns.feature)), X, first, n_rows, scratch, ranks)
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
