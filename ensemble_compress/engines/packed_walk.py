"""The packed walk: rows go down a tree node by node, eight at a time, over nodes of eight bytes; for trees of any depth.

One walk is a chain of dependent loads; eight independent walks hide each other's latency as long as no step branches
on the data. A step is seven instructions: values are compared as keys (`engines.columns`), so missing values and
categories cost nothing here; siblings lie side by side, so the carry of the comparison is added to the left child's
number; a leaf is its own left child and tests a column of zeros, so that it never moves on. The steps are written out as
LLVM's, because its optimiser would turn the same lines of Python into branches.

The uppermost splits of a tree, which many rows pass, are not walked: as in `engines.bitvector`, all of them are tried on a
block of rows at once, and the walk begins below them. Rows go in chunks whose keys stay in the second cache, and a
chunk passes all trees, so that a tree is loaded once a chunk. Of two children the one with more cover has its own children
nearer, often on the same line of the cache.

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
from ensemble_compress.engines.columns import (
    Columns,
    copy_below,
    find_columns,
    find_columns_of_bits,
    find_keys,
)

LANES = 8
STEPS = 2
"""Steps between two looks at whether a row still moves."""

BLOCK = 16
"""Rows whose keys lie together, column by column: a line of the cache a column."""

CHUNK_BYTES = 192 * 1024
MOST_BLOCKS = 256
MOST_PAIRS = 4096
ENTRIES = 32
"""At most so many nodes of a tree are entered by the walk: the leaves of its uppermost part."""

FEWEST_IN = 24
"""One in so many rows of a tree has to pass a split of the uppermost part."""


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
    test_start : ndarray of shape (n_trees + 1,) int32
        Where the tests of a tree's uppermost splits begin.
    test_at, test_key, test_mask : ndarray of shape (n_tests,)
        Where in a block of keys a test's column begins, the split's key, and the bits of the entries that rows keep whose
        key is above it.
    entry : ndarray of shape (n_trees, ENTRIES) int32
        The places in the tree where walks begin.
    tree_start, tree_output, values : ndarray
        As in `Forest`.
    """

    columns: Columns
    record: NDArray[np.int64]
    node: NDArray[np.int32]
    column_mask: int
    child_shift: int
    test_start: NDArray[np.int32]
    test_at: NDArray[np.int32]
    test_key: NDArray[np.uint32]
    test_mask: NDArray[np.int32]
    entry: NDArray[np.int32]
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
    found = find(nodes, sets, splits, MOST_PAIRS)
    if found is None:
        return None
    columns, column, key = found
    n_columns, largest = 2 * len(columns.feature) + 1, int(np.diff(tree_start).max(initial=1))
    column_bits = int(BLOCK * n_columns - 1).bit_length()
    if column_bits + largest.bit_length() > 32:
        return None
    first = np.repeat(tree_start[:-1], np.diff(tree_start))
    place, child = np.empty(len(is_leaf), np.int32), np.empty(len(is_leaf), np.int32)
    _place_nodes(nodes.feature, nodes.right, nodes.cover, tree_start, place, child)
    at = np.full(len(is_leaf), BLOCK * (n_columns - 1), np.int32)
    at[splits] = BLOCK * column
    low = nodes.leaf.astype(np.uint32)
    low[splits] = key
    high = at.astype(np.uint64) | child.astype(np.uint64) << np.uint64(column_bits)
    record, node = np.empty(len(is_leaf), np.uint64), np.empty(len(is_leaf), np.int32)
    record[first + place] = high << np.uint64(32) | low
    node[first + place] = np.arange(len(is_leaf), dtype=np.int32)
    return Packed(
        columns,
        record.view(np.int64),
        node,
        (1 << column_bits) - 1,
        column_bits,
        *_uppermost(nodes, tree_start, at, low, place),
        tree_start,
        tree_output,
        values,
    )


def _find_columns_of_ranks(nodes: Any, sets: Any, splits: Any, most_pairs: int) -> Any:
    return find_columns(nodes, sets, splits, np.uint32, most_pairs)


@kernel
def _place_nodes(feature: Any, right: Any, cover: Any, tree_start: Any, place: Any, child: Any) -> None:
    """Write to `place` where in its tree each node goes, and to `child` where its left child does (a leaf's is itself)."""
    waiting = np.empty(64, np.int32)
    for t in range(len(tree_start) - 1):
        root, free, n_waiting = tree_start[t], 1, 1
        place[root], waiting[0] = 0, root
        while n_waiting > 0:
            n_waiting -= 1
            j = waiting[n_waiting]
            if feature[j] < 0:
                child[j] = place[j]
                continue
            child[j] = place[j + 1] = free
            place[right[j]] = free + 1
            free += 2
            if n_waiting + 2 > len(waiting):
                longer = np.empty(2 * len(waiting), np.int32)
                longer[:n_waiting] = waiting[:n_waiting]
                waiting = longer
            is_left_heavy = cover[j + 1] >= cover[right[j]]
            waiting[n_waiting] = right[j] if is_left_heavy else j + 1
            waiting[n_waiting + 1] = j + 1 if is_left_heavy else right[j]
            n_waiting += 2


def _uppermost(
    nodes: Any, tree_start: Any, at: NDArray[np.int32], key: NDArray[np.uint32], place: NDArray[np.int32]
) -> tuple[Any, Any, Any, Any, Any]:
    """The tests and entries of `Packed`."""
    n_trees = len(tree_start) - 1
    entered = np.empty((n_trees, ENTRIES), np.int32)
    test = np.empty((n_trees, ENTRIES - 1), np.int32)
    mask = np.empty((n_trees, ENTRIES - 1), np.int32)
    n_tests = np.empty(n_trees, np.int32)
    _choose_uppermost(nodes.feature, nodes.right, nodes.cover, tree_start, entered, test, mask, n_tests)
    used = np.arange(ENTRIES - 1) < n_tests[:, None]
    start = np.append(0, np.cumsum(n_tests)).astype(np.int32)
    return start, at[test[used]], key[test[used]], mask[used], place[entered]


@kernel
def _choose_uppermost(
    feature: Any, right: Any, cover: Any, tree_start: Any, entered: Any, test: Any, mask: Any, n_tests: Any
) -> None:
    """Grow each tree's uppermost part by its heaviest split while that pays; its leaves are `entered`, from left to right."""
    for t in range(len(tree_start) - 1):
        root, n = tree_start[t], 0
        entered[t] = root
        while n < ENTRIES - 1:
            heaviest = -1
            for e in range(n + 1):
                j = entered[t, e]
                if feature[j] >= 0 and (heaviest < 0 or cover[j] > cover[entered[t, heaviest]]):
                    heaviest = e
            if heaviest < 0 or not cover[entered[t, heaviest]] * FEWEST_IN >= cover[root]:
                break
            j = entered[t, heaviest]
            test[t, n] = j
            n += 1
            for e in range(n, heaviest + 1, -1):
                entered[t, e] = entered[t, e - 1]
            entered[t, heaviest], entered[t, heaviest + 1] = j + 1, right[j]
        n_tests[t] = n
        for k in range(n):
            kept = np.int64(0xFFFFFFFF)
            for e in range(n + 1):
                # Nodes lie in pre-order: those between a split and its right child are its left subtree.
                if test[t, k] < entered[t, e] < right[test[t, k]]:
                    kept ^= np.int64(1) << e
            mask[t, k] = np.int32(np.uint32(kept))


# -- kernels -----------------------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _try_tests(
    typing_context: Any,
    test_at: Any,
    key: Any,
    mask: Any,
    start: Any,
    stop: Any,
    keys: Any,
    block: Any,
    column_mask: Any,
    entry: Any,
) -> Any:
    """Write to `entry` the numbers of the entries of a block of rows, after the tests from `start` to `stop`.

    The keys of the block begin at `keys[block]`.
    """
    signature = types.void(test_at, key, mask, start, stop, keys, block, column_mask, entry)
    vector = ir.VectorType(ir.IntType(32), BLOCK)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k]).data

        def splat(value: Any) -> Any:
            nothing = ir.Constant(vector, ir.Undefined)
            one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, nothing, ir.Constant(vector, [0] * BLOCK))

        test_at, key, mask, keys, entry = (data(k) for k in (0, 1, 2, 5, 8))
        start, stop, block, column_mask = arguments[3], arguments[4], arguments[6], arguments[7]
        first = builder.gep(keys, [block])
        bits = cgutils.alloca_once(builder, vector)  # becomes registers
        builder.store(ir.Constant(vector, [-1] * BLOCK), bits)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(start.type, 1)) as (j, _):
            at = builder.sext(builder.load(builder.gep(test_at, [j])), start.type)
            column = builder.gep(first, [builder.and_(at, column_mask)])
            x = builder.load(builder.bitcast(column, vector.as_pointer()), align=4)
            bound = splat(builder.load(builder.gep(key, [j])))
            stays = builder.sext(builder.icmp_unsigned(">=", bound, x), vector)
            kept = builder.or_(stays, splat(builder.load(builder.gep(mask, [j]))))
            builder.store(builder.and_(builder.load(bits), kept), bits)
        of_vectors = ir.FunctionType(vector, [vector, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, of_vectors, f"llvm.cttz.v{BLOCK}i32")
        lowest = builder.call(count, [builder.load(bits), ir.Constant(ir.IntType(1), 0)])
        builder.store(lowest, builder.bitcast(entry, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def _walk_lanes(
    typing_context: Any,
    record: Any,
    root: Any,
    keys: Any,
    lane: Any,
    mask: Any,
    shift: Any,
    at: Any,
    half: Any,
) -> Any:
    """Walk the rows from `lane` on in `keys` down the tree at `root`, from the places in `at[half:]` to those of their leaves."""
    signature = types.void(record, root, keys, lane, mask, shift, at, half)
    key_type, place_type = ir.IntType(32), ir.IntType(64)

    def number(value: int) -> Any:
        return ir.Constant(place_type, value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k]).data

        tree, row = builder.gep(data(0), [arguments[1]]), builder.gep(data(2), [arguments[3]])
        mask, shift, at = arguments[4], arguments[5], builder.gep(data(6), [arguments[7]])
        places = [cgutils.alloca_once(builder, place_type) for _ in range(LANES)]  # become registers
        for q, place in enumerate(places):
            builder.store(builder.load(builder.gep(at, [number(q)])), place)

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
def _find_keys_of_chunk(plan: Any, X: NDArray[Any], first: int, last: int, scratch: Any, keys: Any) -> int:
    """Write to `keys[b]` the keys of the b-th block of rows from `first` to `last`; returns the mask of columns to read."""
    any_missing = False
    for i in range(first, last, BLOCK):
        any_missing |= find_keys(
            plan.columns, X, i, min(BLOCK, last - i), scratch, keys[(i - first) // BLOCK]
        )
    if not any_missing:
        # Then the two columns of a pair are one.
        return np.int64(plan.column_mask) ^ BLOCK
    for i in range(first, last, BLOCK):
        copy_below(plan.columns, min(BLOCK, last - i), keys[(i - first) // BLOCK])
    return np.int64(plan.column_mask)


@inlined
def _walk_block(plan: Any, t: int, keys: Any, block: int, column_mask: int, entry: Any, at: Any) -> None:
    """Write to `at` the places of the leaves of a block of rows, whose keys begin at `keys[block]`, in tree t."""
    start, stop = np.int64(plan.test_start[t]), np.int64(plan.test_start[t + 1])
    _try_tests(plan.test_at, plan.test_key, plan.test_mask, start, stop, keys, block, column_mask, entry)
    for q in range(BLOCK):
        at[q] = plan.entry[t, entry[q]]
    root, shift = np.int64(plan.tree_start[t]), np.int64(plan.child_shift)
    for half in range(0, BLOCK, LANES):
        _walk_lanes(plan.record, root, keys, block + half, column_mask, shift, at, np.int64(half))


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_pairs, width, n_outputs = len(plan.columns.feature), plan.values.shape[1], out.shape[1]
    chunk = _chunk_rows(n_pairs + 1, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint32)
    sums = np.zeros((chunk, n_outputs), out.dtype)
    entry, at = np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        sums[: last - first] = out[first:last]
        for t in range(len(plan.tree_output)):
            root, output = plan.tree_start[t], plan.tree_output[t]
            for i in range(0, last - first, BLOCK):
                _walk_block(plan, t, keys, np.int64(i * (2 * n_pairs + 1)), column_mask, entry, at)
                for q in range(BLOCK):
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
    n_pairs = len(plan.columns.feature)
    chunk = _chunk_rows(n_pairs + 1, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint32)
    entry, at = np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        for t in range(len(plan.tree_output)):
            root = plan.tree_start[t]
            for i in range(0, last - first, BLOCK):
                _walk_block(plan, t, keys, np.int64(i * (2 * n_pairs + 1)), column_mask, entry, at)
                for q in range(min(BLOCK, last - first - i)):
                    out[first + i + q, t] = plan.node[root + at[q]]
