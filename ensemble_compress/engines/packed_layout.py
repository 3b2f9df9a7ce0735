"""The layout of the packed walk: trees as nodes of eight bytes, and what its kernels read beside them.

Siblings lie side by side, children behind their parents. Of two children the one with more cover has its own children
nearer, often on the same line of the cache. The uppermost splits of a tree, which many rows pass, are there as tests too;
trees of few levels are there a second time, filled up to complete ones.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel
from ensemble_compress.engines.columns import Columns, find_columns, find_columns_of_bits

BLOCK = 32
"""Rows whose keys lie together, column by column: two lines of the cache a column."""

MOST_PAIRS = 4096
ENTRIES = 32
"""At most so many nodes of a tree are entered by the walk: the leaves of its uppermost part."""

FEWEST_IN = 24
"""One in so many rows of a tree has to pass a split of the uppermost part."""

MOST_LEVELS = 12
"""Trees of more levels are not there as complete ones."""

PADDING = 4
"""Nor are those whose complete tree has more than so many places for each of their nodes."""


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
        Where the tests of a tree's uppermost splits begin; a tree that is there as a complete one too has none.
    test_at, test_key, test_mask : ndarray of shape (n_tests,)
        Where in a block of keys a test's column begins, the split's key, and the bits of the entries that rows keep whose
        key is above it.
    entry : ndarray of shape (n_trees, ENTRIES) int32
        The places in the tree where walks begin.
    depth : ndarray of shape (n_trees,) int32
        Of a tree that is there as a complete one too, the number of its levels; of others 0.
    complete : ndarray of int64
        The nodes of complete trees, column and key as in `record`; a leaf has its row of `values` and above it its node.
    complete_whole : ndarray of int64
        The same for rows without missing values: with the first column of each pair only.
    complete_start : ndarray of shape (n_trees,) int64
        Where a complete tree begins.
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
    depth: NDArray[np.int32]
    complete: NDArray[np.int64]
    complete_whole: NDArray[np.int64]
    complete_start: NDArray[np.int64]
    tree_start: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
    x_dtype: str,
) -> Packed | None:
    """The arrays of a forest as the kernels of `packed_walk` want them; None where a tree or its columns don't fit.

    They take 12 bytes a node and, of trees that are there as complete ones too, up to `PADDING` places of 8 bytes more, twice
    where missing values go left anywhere.
    """
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
    place_nodes(nodes.feature, nodes.right, nodes.cover, tree_start, place, child)
    at = np.full(len(is_leaf), BLOCK * (n_columns - 1), np.int32)
    at[splits] = BLOCK * column
    low = nodes.leaf.astype(np.uint32)
    low[splits] = key
    high = at.astype(np.uint64) | child.astype(np.uint64) << np.uint64(column_bits)
    record, node = np.empty(len(is_leaf), np.uint64), np.empty(len(is_leaf), np.int32)
    record[first + place] = high << np.uint64(32) | low
    node[first + place] = np.arange(len(is_leaf), dtype=np.int32)
    completed = _completed(nodes, tree_start, at, low)
    return Packed(
        columns,
        record.view(np.int64),
        node,
        (1 << column_bits) - 1,
        column_bits,
        *_uppermost(nodes, tree_start, at, low, place, completed[0]),
        *completed,
        tree_start,
        tree_output,
        values,
    )


def _find_columns_of_ranks(nodes: Any, sets: Any, splits: Any, most_pairs: int) -> Any:
    return find_columns(nodes, sets, splits, np.uint32, most_pairs)


@kernel
def place_nodes(feature: Any, right: Any, cover: Any, tree_start: Any, place: Any, child: Any) -> None:
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


def _completed(
    nodes: Any, tree_start: Any, at: NDArray[np.int32], key: NDArray[np.uint32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """`depth`, `complete`, `complete_whole` and `complete_start` of `Packed`."""
    level, heap = np.zeros(len(at), np.int32), np.zeros(len(at), np.int64)
    place_in_heaps(nodes.feature, nodes.right, level, heap)
    depth = np.maximum.reduceat(level, tree_start[:-1]) if len(tree_start) > 1 else level
    size = np.left_shift(2, np.minimum(depth, MOST_LEVELS).astype(np.int64))
    depth = np.where((depth <= MOST_LEVELS) & (size <= PADDING * np.diff(tree_start)), depth, 0).astype(
        np.int32
    )
    size[depth == 0] = 0
    start = np.append(0, np.cumsum(size))[:-1]
    # Below a leaf that lies higher than others no test sends a row to the right.
    complete = np.full(size.sum(), 0xFFFFFFFF, np.uint64)
    tree = np.repeat(np.arange(len(size)), np.diff(tree_start))
    kept, is_leaf = depth[tree] > 0, nodes.feature < 0
    leaf = np.flatnonzero(kept & is_leaf)
    bottom = (heap[leaf] + 1 << (depth[tree[leaf]] - level[leaf])) - 1
    complete[start[tree[leaf]] + bottom] = leaf.astype(np.uint64) << np.uint64(32) | key[leaf]
    split = np.flatnonzero(kept & ~is_leaf)
    place, column = start[tree[split]] + heap[split], at[split].astype(np.uint64)
    complete[place] = column << np.uint64(32) | key[split]
    whole = complete
    if (nodes.nan_left[split]).any():
        whole = complete.copy()
        whole[place] = (column & ~np.uint64(BLOCK)) << np.uint64(32) | key[split]
    return depth, complete.view(np.int64), whole.view(np.int64), start


@kernel
def place_in_heaps(feature: Any, right: Any, level: Any, heap: Any) -> None:
    """Write to `level` the splits above each node, and to `heap` its place in a complete tree (0 where that has no number)."""
    for j in range(len(feature)):
        if feature[j] >= 0:
            left_place = 2 * heap[j] + 1 if level[j] < MOST_LEVELS else 0
            level[j + 1] = level[right[j]] = level[j] + 1
            heap[j + 1], heap[right[j]] = left_place, left_place + 1


def _uppermost(
    nodes: Any,
    tree_start: Any,
    at: NDArray[np.int32],
    key: NDArray[np.uint32],
    place: NDArray[np.int32],
    depth: NDArray[np.int32],
) -> tuple[Any, Any, Any, Any, Any]:
    """The tests and entries of `Packed`; complete trees are not walked and have no tests."""
    n_trees = len(tree_start) - 1
    entered = np.empty((n_trees, ENTRIES), np.int32)
    test = np.empty((n_trees, ENTRIES - 1), np.int32)
    mask = np.empty((n_trees, ENTRIES - 1), np.int32)
    n_tests = np.empty(n_trees, np.int32)
    of_nodes = nodes.feature, nodes.right, nodes.cover
    _choose_uppermost(*of_nodes, tree_start, depth, entered, test, mask, n_tests)
    used = np.arange(ENTRIES - 1) < n_tests[:, None]
    start = np.append(0, np.cumsum(n_tests)).astype(np.int32)
    return start, at[test[used]], key[test[used]], mask[used], place[entered]


@kernel
def _choose_uppermost(
    feature: Any,
    right: Any,
    cover: Any,
    tree_start: Any,
    depth: Any,
    entered: Any,
    test: Any,
    mask: Any,
    n_tests: Any,
) -> None:
    """Grow each tree's uppermost part by its heaviest split while that pays; its leaves are `entered`, from left to right.

    A tree with a `depth` is entered at its root only.
    """
    for t in range(len(tree_start) - 1):
        root, n = tree_start[t], 0
        entered[t] = root
        while depth[t] == 0 and n < ENTRIES - 1:
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
