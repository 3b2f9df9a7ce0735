"""The heap walk: many rows through many deep trees, on 16-bit ranks.

A block of rows goes through the uppermost levels of a tree in vectors, and down the rest of its heap several rows at a time;
in a deep tree, on from record to record until all have arrived (`engines.heap_steps`). Everything that a block needs is small
(`engines.heap_layout`), so nearly every step finds what it reads in the nearest cache. What the ranks cost, a search for each
value of a row, is paid once for all trees.

Rows go in chunks, and a chunk passes all trees, so that a tree is loaded once a chunk. While rows go through a tree, the next
one is asked for, a few lines with each block: it comes from memory, and would be waited for a line at a time.

Source: Asadi, Lin and de Vries, "Runtime Optimizations for Tree-based Machine Learning Models", TKDE 2014, section 3.3
(independent rows interleaved, no branches).
"""

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import heap_steps, inlined, kernel, steps
from ensemble_compress.engines.blocks import Arguments, on_block
from ensemble_compress.engines.columns import GROUP, copy_below, find_keys
from ensemble_compress.engines.heap_layout import BLOCK, NEVER, UPPER
from ensemble_compress.engines.pointers import LINE

LANES = 8
"""Rows that go down together: their places fill the registers."""

STEPS = 2
"""Steps from record to record between two looks at whether a row still moves."""

FOUND = BLOCK + BLOCK // 4
"""What is found of each row, and room for 16 bits of each, where ways down begin."""

SEARCHED = 512
"""Rows whose keys are found column by column: a column's thresholds are too many to stay near while all others are read."""

CHUNK_BYTES = 96 * 1024
"""Of a chunk's keys. More, and they are no longer in the second cache when the next tree wants them."""

DEEP_CHUNK_BYTES = 256 * 1024
"""The same where trees are deep: more rows make up for loading those."""


def _find(what: str) -> Any:
    """The intrinsic that writes to `found` where rows end: the leaves' "nodes", or their tree's "rows" of values."""

    def generate(builder: Any, given: Arguments) -> None:
        first = builder.gep(
            _heap(builder, given), [builder.mul(given.at("heap_start", given.tree), steps.number(2))]
        )
        starts = builder.bitcast(
            builder.gep(given.found, [steps.number(BLOCK)]), heap_steps.RANK.as_pointer()
        )
        uppermost = heap_steps.try_uppermost(builder, first, given.first, BLOCK, UPPER)
        builder.store(uppermost, builder.bitcast(starts, uppermost.type.as_pointer()), align=2)
        depth = given.at("depth", given.tree)
        # Of the places below the heap, the first has this number.
        bottom = builder.sub(builder.shl(steps.number(1), depth), steps.number(1))
        below = builder.sub(given.at("heap_start", given.tree), bottom)
        is_deep = builder.icmp_unsigned("!=", given.at("is_deep", given.tree), steps.number(0))
        end = given.data("leaf_row" if what == "rows" else "below")
        with cgutils.for_range(builder, steps.number(BLOCK // LANES), intp=steps.PLACE) as loop:
            row = builder.mul(loop.index, steps.number(LANES))
            keys, found, begin = (builder.gep(array, [row]) for array in (given.first, given.found, starts))
            begin = [_element(builder, begin, steps.number(q)) for q in range(LANES)]
            n_steps = builder.sub(depth, steps.number(UPPER))
            places = heap_steps.descend(builder, first, keys, begin, n_steps)
            places = [builder.add(place, below) for place in places]
            with builder.if_else(is_deep) as (deep, shallow):
                with deep:
                    entries = [_element(builder, given.data("below"), place) for place in places]
                    _store(builder, found, _walk(builder, given, keys, entries, what))
                with shallow:
                    _store(builder, found, [_element(builder, end, place) for place in places])

    return on_block(generate)


def _heap(builder: Any, given: Arguments) -> Any:
    """The heaps that the block's rows go down."""
    # The last bit of a column's number, in the mask where values are missing, says which of a pair it is.
    any_missing = builder.and_(given.column_mask, steps.number(BLOCK))
    any_missing = builder.icmp_unsigned("!=", any_missing, steps.number(0))
    return builder.select(any_missing, given.data("heap"), given.data("heap_whole"))


def _walk(builder: Any, given: Arguments, keys: Any, entries: Any, what: str) -> list[Any]:
    """What is found below a deep tree's heap."""
    start = given.at("record_start", given.tree)
    records = builder.gep(given.data("record"), [start])
    tree = builder.bitcast(records, heap_steps.RANK.as_pointer())
    places = heap_steps.walk(builder, tree, keys, entries, given.column_mask, STEPS)
    if what == "nodes":
        return [_element(builder, given.data("node"), builder.add(start, place)) for place in places]
    return [_element(builder, tree, builder.shl(place, steps.number(2))) for place in places]


def _element(builder: Any, array: Any, k: Any) -> Any:
    """An element of an array of whole numbers that are not negative, as a place."""
    return builder.zext(builder.load(builder.gep(array, [k])), steps.PLACE)


def _store(builder: Any, array: Any, values: list[Any]) -> None:
    for q, value in enumerate(values):
        builder.store(value, builder.gep(array, [steps.number(q)]))


_find_rows, _find_nodes = _find("rows"), _find("nodes")


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(typing_context: Any, plan: Any, parts: Any, b: Any) -> Any:
    """Ask for the b-th of the parts of the next tree that `_parts_of_next` has cut it into."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = steps.field_data(context, builder, signature.args[0], arguments[0])
        for k, name in enumerate(("heap_whole", "leaf_row", "values", "record")):
            first, n_lines = (builder.extract_value(arguments[1], 2 * k + half) for half in (0, 1))
            n_bytes = builder.mul(n_lines, steps.number(LINE))
            heap_steps.prefetch(
                builder, data(name), builder.add(first, builder.mul(arguments[2], n_bytes)), n_lines
            )
        return context.get_dummy_value()

    return types.void(plan, parts, b), generate


@inlined
def _chunk_rows(plan: Any, n_rows: int) -> int:
    """Rows whose keys fill a chunk, in whole blocks; no more than there are."""
    n_bytes = DEEP_CHUNK_BYTES if len(plan.record) else CHUNK_BYTES
    # The second columns, which are read where values are missing, don't count.
    of_block = 2 * BLOCK * (len(plan.columns.feature) + 1)
    return BLOCK * max(1, min(n_bytes // of_block, (n_rows + BLOCK - 1) // BLOCK))


@inlined
def _find_keys_of_chunk(plan: Any, X: NDArray[Any], first: int, last: int, scratch: Any, keys: Any) -> Any:
    """Write to `keys[b]` the keys of the b-th block of rows from `first` to `last`; returns the mask of columns to read."""
    any_missing = False
    for begin in range(first, last, SEARCHED):
        for p in range(len(plan.columns.feature)):
            for i in range(begin, min(last, begin + SEARCHED), BLOCK):
                of_block, n = keys[(i - first) // BLOCK], min(BLOCK, last - i)
                any_missing |= find_keys(plan.columns, (p, p + 1), X, i, n, scratch, of_block)
    if not any_missing:
        # Then the two columns of a pair are one.
        return np.int64(NEVER ^ BLOCK)
    for i in range(first, last, BLOCK):
        copy_below(plan.columns, min(BLOCK, last - i), keys[(i - first) // BLOCK])
    return np.int64(NEVER)


@inlined
def _part(start: Any, t: int, end: int, n_bytes: int, n_blocks: int) -> tuple[Any, Any]:
    """Where something of tree t begins, in bytes, and the lines of it that are asked for with each of `n_blocks`.

    There is something for each tree from `start` on, up to `end`, of `n_bytes` each.
    """
    first = np.int64(start[t]) * n_bytes
    last = (np.int64(start[t + 1]) if t + 1 < len(start) else end) * n_bytes
    n_lines = (last - first) // (LINE * n_blocks) + 1 if last > first else 0
    return first, n_lines


@inlined
def _parts_of_next(plan: Any, t: int, n_blocks: int) -> Any:
    """Of the heap, the leaves' rows, the values and the records behind tree t's: `_part`, one after the other."""
    following = min(t + 1, len(plan.tree_output) - 1)
    is_deep = plan.is_deep[following] > 0
    row_bytes = plan.values.itemsize * plan.values.shape[1]
    n_places = len(plan.leaf_row)
    heap = _part(plan.heap_start, following, n_places, 4, n_blocks)
    leaf_row = _part(plan.heap_start, following, n_places, 0 if is_deep else 2, n_blocks)
    values = _part(plan.value_start, following, len(plan.values), row_bytes, n_blocks)
    record = _part(plan.record_start, following, len(plan.record), 8, n_blocks)
    return heap + leaf_row + values + record


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_pairs, width, n_outputs = len(plan.columns.feature), plan.values.shape[1], out.shape[1]
    chunk = _chunk_rows(plan, stop - start)
    scratch = np.zeros(GROUP, np.float64), np.zeros(GROUP, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint16)
    sums = np.zeros((chunk, n_outputs), out.dtype)
    found = np.zeros(FOUND, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        # Loops: in place of arrays that are assigned, for which Numba compiles error messages, too.
        for i in range(last - first):
            for k in range(n_outputs):
                sums[i, k] = out[first + i, k]
        for t in range(len(plan.tree_output)):
            output, of_tree = plan.tree_output[t], np.uint64(plan.value_start[t])
            parts = _parts_of_next(plan, t, chunk // BLOCK)
            for i in range(0, last - first, BLOCK):
                _prefetch(plan, parts, np.int64(i // BLOCK))
                _find_rows(plan, np.int64(t), keys, np.int64(i * (2 * n_pairs + 1)), column_mask, found)
                for q in range(BLOCK):
                    # Numbers without a sign: others are looked at, whether they count from an array's end.
                    v, at = of_tree + np.uint64(found[q]), np.uint64(i + q)
                    if output >= 0:
                        sums[at, output] += plan.values[v, 0]
                    elif width == 2:  # of two classes: without a loop
                        sums[at, 0] += plan.values[v, 0]
                        sums[at, 1] += plan.values[v, 1]
                    else:
                        for k in range(width):
                            sums[at, k] += plan.values[v, k]
        for i in range(last - first):
            for k in range(n_outputs):
                out[first + i, k] = sums[i, k]


@kernel
def find_leaves(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    n_pairs = len(plan.columns.feature)
    chunk = _chunk_rows(plan, stop - start)
    scratch = np.zeros(GROUP, np.float64), np.zeros(GROUP, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint16)
    found = np.zeros(FOUND, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        for t in range(len(plan.tree_output)):
            parts = _parts_of_next(plan, t, chunk // BLOCK)
            for i in range(0, last - first, BLOCK):
                _prefetch(plan, parts, np.int64(i // BLOCK))
                _find_nodes(plan, np.int64(t), keys, np.int64(i * (2 * n_pairs + 1)), column_mask, found)
                for q in range(min(BLOCK, last - first - i)):
                    out[first + i + q, t] = found[q]
