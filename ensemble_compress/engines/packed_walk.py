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

from ensemble_compress.engines import inlined, kernel, steps
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

BLOCK = 32
"""Rows whose keys lie together, column by column: two lines of the cache a column."""

CHUNK_BYTES = 384 * 1024
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


def _walk_block_to(what: str) -> Any:
    """The intrinsic that walks a block of rows down a tree, and writes what it finds: the leaves' "places" or value "rows"."""

    @intrinsic  # type: ignore[untyped-decorator]
    def walk_block(
        typing_context: Any, plan: Any, t: Any, keys: Any, block: Any, column_mask: Any, found: Any
    ) -> Any:
        """Walk the rows whose keys begin at `keys[block]` down tree t; `column_mask` tells which columns to read."""
        signature = types.void(plan, t, keys, block, column_mask, found)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            plan, t, _, block, column_mask, _ = arguments
            fields = dict(zip(signature.args[0].fields, signature.args[0].types, strict=True))

            def field(name: str) -> Any:
                return builder.extract_value(plan, signature.args[0].fields.index(name))

            def data(name: str) -> Any:
                return cgutils.create_struct_proxy(fields[name])(context, builder, field(name)).data

            def at(name: str, k: Any) -> Any:
                value = builder.load(builder.gep(data(name), [k]))
                return builder.sext(value, steps.PLACE) if value.type != steps.PLACE else value

            first = builder.gep(steps.array_data(context, builder, signature, arguments, 2), [block])
            found = steps.array_data(context, builder, signature, arguments, 5)
            tests = [data(name) for name in ("test_at", "test_key", "test_mask")]
            start, stop = at("test_start", t), at("test_start", builder.add(t, steps.number(1)))
            entry = steps.try_tests(builder, BLOCK, tests, start, stop, first, column_mask)
            entries = builder.gep(data("entry"), [builder.mul(t, steps.number(ENTRIES))])
            tree = builder.gep(data("record"), [at("tree_start", t)])
            for half in range(0, BLOCK, LANES):
                lanes = range(half, half + LANES)
                chosen = [builder.extract_element(entry, ir.Constant(steps.KEY, q)) for q in lanes]
                starts = [
                    builder.sext(
                        builder.load(builder.gep(entries, [builder.zext(e, steps.PLACE)])), steps.PLACE
                    )
                    for e in chosen
                ]
                rows = [builder.gep(first, [steps.number(q)]) for q in lanes]
                places = steps.walk(builder, [tree] * LANES, rows, column_mask, field("child_shift"), starts)
                for q, place in zip(lanes, places, strict=True):
                    if what == "rows":
                        place = builder.and_(
                            builder.load(builder.gep(tree, [place])), steps.number(0xFFFFFFFF)
                        )
                    builder.store(place, builder.gep(found, [steps.number(q)]))
            return context.get_dummy_value()

        return signature, generate

    return walk_block


_walk_to_places, _walk_to_rows = _walk_block_to("places"), _walk_block_to("rows")


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


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_pairs, width, n_outputs = len(plan.columns.feature), plan.values.shape[1], out.shape[1]
    chunk = _chunk_rows(n_pairs + 1, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint32)
    sums = np.zeros((chunk, n_outputs), out.dtype)
    row = np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        sums[: last - first] = out[first:last]
        for t in range(len(plan.tree_output)):
            output = plan.tree_output[t]
            for i in range(0, last - first, BLOCK):
                _walk_to_rows(plan, np.int64(t), keys, np.int64(i * (2 * n_pairs + 1)), column_mask, row)
                for q in range(BLOCK):
                    v = row[q]
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
    place = np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        for t in range(len(plan.tree_output)):
            root = plan.tree_start[t]
            for i in range(0, last - first, BLOCK):
                _walk_to_places(plan, np.int64(t), keys, np.int64(i * (2 * n_pairs + 1)), column_mask, place)
                for q in range(min(BLOCK, last - first - i)):
                    out[first + i + q, t] = plan.node[root + place[q]]
