"""The packed walk: rows go down a tree node by node, eight at a time, over nodes of eight bytes; for trees of any depth.

One walk is a chain of dependent loads; eight independent walks hide each other's latency as long as no step branches
on the data. A step is seven instructions: values are compared as keys (`engines.columns`), so missing values and
categories cost nothing here; siblings lie side by side, so the carry of the comparison is added to the left child's
number; a leaf is its own left child and tests a column of zeros, so that it never moves on. The steps are written out as
LLVM's, because its optimiser would turn the same lines of Python into branches.

Rows go in chunks whose keys stay in the second cache, and a chunk passes all trees, so that a tree is loaded once a chunk.

Source: Asadi, Lin and de Vries, "Runtime Optimizations for Tree-based Machine Learning Models", TKDE 2014, section 3.3
(independent rows interleaved, no branches); the layout of siblings is that of scikit-learn's and XGBoost's predictors.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel
from ensemble_compress.engines.columns import Columns, find_columns, find_columns_of_bits, find_keys

LANES = 8
STEPS = 2
"""Steps between two looks at whether a row still moves."""

BLOCK = 16
"""Rows whose keys lie together, column by column: a line of the cache a column."""

CHUNK_BYTES = 192 * 1024
MOST_BLOCKS = 256
MOST_COLUMNS = 4096


class Packed(NamedTuple):
    """A run of trees laid out for this engine.

    Attributes
    ----------
    columns : Columns
        What the rows' keys are made of; the keys are uint32.
    record : ndarray of shape (n_nodes,) int64
        A node: its key in the low 32 bits, above it `BLOCK` times its column (as many bits as `column_mask` has), above
        that its left child's place in the tree. A leaf has the row of `values` for a key.
    node : ndarray of shape (n_nodes,) int32
        The node that each record is.
    column_mask, child_shift : int
        How the upper 32 bits part.
    tree_start, tree_output, values : ndarray
        As in `Forest`.
    """

    columns: Columns
    record: NDArray[np.int64]
    node: NDArray[np.int32]
    column_mask: int
    child_shift: int
    tree_start: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]


# -- layout ------------------------------------------------------------------------------------------------------


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
    x_dtype: str,
) -> Packed | None:
    """The arrays of a forest as the kernels below want them, 12 bytes a node; None where a tree or its columns don't fit."""
    is_leaf = nodes.feature < 0
    splits = np.flatnonzero(~is_leaf)
    find = find_columns_of_bits if x_dtype == "float32" else _find_columns_of_ranks
    found = find(nodes, sets, splits, MOST_COLUMNS)
    if found is None:
        return None
    columns, column, key = found
    n_columns, largest = len(columns.feature) + 1, int(np.diff(tree_start).max(initial=1))
    column_bits = int(BLOCK * n_columns - 1).bit_length()
    if column_bits + largest.bit_length() > 32:
        return None
    place, child = _pair_siblings(nodes, is_leaf, splits, tree_start)
    packed = np.full(len(is_leaf), BLOCK * (n_columns - 1), np.uint64)
    packed[splits] = BLOCK * column.astype(np.uint64)
    packed |= child.astype(np.uint64) << np.uint64(column_bits)
    low = nodes.leaf.astype(np.uint32).astype(np.uint64)
    low[splits] = key
    record = np.empty(len(is_leaf), np.uint64)
    record[place] = packed << np.uint64(32) | low
    node = np.empty(len(is_leaf), np.int32)
    node[place] = np.arange(len(is_leaf), dtype=np.int32)
    mask = (1 << column_bits) - 1
    return Packed(columns, record.view(np.int64), node, mask, column_bits, tree_start, tree_output, values)


def _find_columns_of_ranks(nodes: Any, sets: Any, splits: Any, most_columns: int) -> Any:
    return find_columns(nodes, sets, splits, np.uint32, most_columns)


def _pair_siblings(
    nodes: Any, is_leaf: NDArray[np.bool_], splits: NDArray[np.intp], tree_start: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each node in the whole, and of its left child in its tree: pairs of children in the order of parents."""
    splits_before = np.append(0, np.cumsum(~is_leaf))
    tree = np.searchsorted(tree_start, splits, side="right") - 1
    pair = 1 + 2 * (np.arange(len(splits)) - splits_before[tree_start[tree]])
    place = np.empty(len(is_leaf), np.int64)
    place[tree_start[:-1]] = tree_start[:-1]
    place[splits + 1] = tree_start[tree] + pair
    place[nodes.right[splits]] = tree_start[tree] + pair + 1
    first = np.repeat(tree_start[:-1], np.diff(tree_start))
    child = place - first
    child[splits] = pair
    return place, child


# -- kernels -----------------------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _walk_lanes(
    typing_context: Any, record: Any, root: Any, keys: Any, lane: Any, mask: Any, shift: Any, at: Any
) -> Any:
    """Write to `at` the places of the leaves, in the tree that begins at `root`, of the rows from `lane` on in `keys`."""
    signature = types.void(record, root, keys, lane, mask, shift, at)
    key_type, place_type = ir.IntType(32), ir.IntType(64)

    def number(value: int) -> Any:
        return ir.Constant(place_type, value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k]).data

        tree, row = builder.gep(data(0), [arguments[1]]), builder.gep(data(2), [arguments[3]])
        mask, shift, at = arguments[4], arguments[5], data(6)
        places = [cgutils.alloca_once(builder, place_type) for _ in range(LANES)]  # become registers
        for place in places:
            builder.store(number(0), place)

        def step(q: int) -> Any:
            """Move lane q on; returns a number that is zero if it stayed."""
            old = builder.load(places[q])
            node = builder.load(builder.gep(tree, [old]))
            upper = builder.lshr(node, number(32))
            x = builder.load(builder.gep(row, [builder.add(builder.and_(upper, mask), number(q))]))
            goes_right = builder.icmp_unsigned("<", builder.trunc(node, key_type), x)
            new = builder.add(builder.lshr(upper, shift), builder.zext(goes_right, place_type))
            builder.store(new, places[q])
            return builder.xor(new, old)

        loop, done = (builder.append_basic_block(name) for name in ("walk", "walked"))
        builder.branch(loop)
        builder.position_at_end(loop)
        for _ in range(STEPS - 1):
            for q in range(LANES):
                step(q)
        moved = step(0)
        for q in range(1, LANES):
            moved = builder.or_(moved, step(q))
        builder.cbranch(builder.icmp_unsigned("!=", moved, number(0)), loop, done)
        builder.position_at_end(done)
        for q, place in enumerate(places):
            builder.store(builder.load(place), builder.gep(at, [number(q)]))
        return context.get_dummy_value()

    return signature, generate


@inlined
def _chunk_rows(n_columns: int, n_rows: int) -> int:
    """Rows whose keys fill `CHUNK_BYTES`, in whole blocks; no more than there are."""
    n_blocks = min(MOST_BLOCKS, CHUNK_BYTES // (4 * BLOCK * n_columns), (n_rows + BLOCK - 1) // BLOCK)
    return BLOCK * max(1, n_blocks)


@inlined
def _find_keys_of_chunk(
    columns: Any, X: NDArray[Any], first: int, last: int, scratch: Any, keys: Any
) -> None:
    """Write to `keys[b]` the keys of the b-th block of rows from `first` to `last`."""
    for i in range(first, last, BLOCK):
        find_keys(columns, X, i, min(BLOCK, last - i), scratch, keys[(i - first) // BLOCK])


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_columns, width, n_outputs = len(plan.columns.feature) + 1, plan.values.shape[1], out.shape[1]
    chunk = _chunk_rows(n_columns, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, n_columns, BLOCK), np.uint32)
    sums = np.zeros((chunk, n_outputs), out.dtype)
    at = np.zeros(LANES, np.int64)
    column_mask, child_shift = np.int64(plan.column_mask), np.int64(plan.child_shift)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        _find_keys_of_chunk(plan.columns, X, first, last, scratch, keys)
        sums[: last - first] = out[first:last]
        for t in range(len(plan.tree_output)):
            root, output = np.int64(plan.tree_start[t]), plan.tree_output[t]
            for i in range(0, last - first, LANES):
                lane = np.int64(i // BLOCK * BLOCK * n_columns + i % BLOCK)
                _walk_lanes(plan.record, root, keys, lane, column_mask, child_shift, at)
                for q in range(LANES):
                    v = plan.record[root + at[q]] & 0xFFFFFFFF
                    if output >= 0:
                        sums[i + q, output] += plan.values[v, 0]
                    elif width == 2:  # of two classes: without a loop
                        sums[i + q, 0] += plan.values[v, 0]
                        sums[i + q, 1] += plan.values[v, 1]
                    else:
                        for k in range(width):
                            sums[i + q, k] += plan.values[v, k]
        out[first:last] = sums[: last - first]


@kernel
def find_leaves(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    n_columns = len(plan.columns.feature) + 1
    chunk = _chunk_rows(n_columns, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, n_columns, BLOCK), np.uint32)
    at = np.zeros(LANES, np.int64)
    column_mask, child_shift = np.int64(plan.column_mask), np.int64(plan.child_shift)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        _find_keys_of_chunk(plan.columns, X, first, last, scratch, keys)
        for t in range(len(plan.tree_output)):
            root = np.int64(plan.tree_start[t])
            for i in range(0, last - first, LANES):
                lane = np.int64(i // BLOCK * BLOCK * n_columns + i % BLOCK)
                _walk_lanes(plan.record, root, keys, lane, column_mask, child_shift, at)
                for q in range(min(LANES, last - first - i)):
                    out[first + i + q, t] = plan.node[root + at[q]]
