"""The layout of the heap walk: trees as heaps of nodes of four bytes, and what its kernels read beside them.

The uppermost levels of a tree, or all where it has few, are filled up to a complete tree, whose children need no pointers: a
node is a 16-bit rank and the place of a column of ranks. So a tree of ten levels takes 4 kB, and stays in the nearest cache
with the rows that go through it. What lies below in deeper trees are nodes of eight bytes, siblings side by side. The leaves of
a tree share its distinct rows of values, of which there are often few: two in a tree that was grown until its leaves are pure.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel
from ensemble_compress.engines.columns import Columns, find_columns
from ensemble_compress.engines.packed_layout import MOST_LEVELS, PADDING, place_in_heaps, place_nodes

BLOCK = 32
"""Rows whose keys lie together, column by column: one line of the cache a column."""

UPPER = 5
"""Levels whose splits are all tried on a block of rows at once; every heap has them. One more costs what it saves."""

MOST_PAIRS = ((1 << 16) // BLOCK - 1) // 2
"""A column's place in a block of keys has 16 bits."""

MOST_ROWS = 1 << 16
"""Nor has the number of a leaf's row of values more."""

DEEP_LEVELS = 10
"""The heap of a deeper tree has no more levels."""

BELOW = 5
"""And so many less than a complete tree of as many nodes: further down, more and more of its places are not used."""

NEVER = 0xFFFF
"""The rank that no key is above."""


class Heaps(NamedTuple):
    """A run of trees laid out for this engine.

    Attributes
    ----------
    columns : Columns
        What the rows' keys are made of; the keys are uint16 ranks.
    depth : ndarray of shape (n_trees,) int32
        The levels of a tree's heap.
    heap_start : ndarray of shape (n_trees,) int64
        Where it begins: it has `2 ** depth` places, the last of which is not used.
    heap : ndarray of shape (n_places, 2) uint16
        A node: its key, and `BLOCK` times its column. The children of place i are 2 i + 1 and 2 i + 2.
    heap_whole : ndarray of shape (n_places, 2) uint16
        The same for rows without missing values: with the first column of each pair only.
    is_deep : ndarray of shape (n_trees,) uint8
        Whether a tree goes on below its heap.
    below : ndarray of shape (n_places,) int32
        What lies below the heap, from left to right: the places of records of a deep tree, the leaves' nodes of others.
    leaf_row : ndarray of shape (n_places,) uint16
        The tree's row of values, for the leaves of a tree that is not deep.
    record : ndarray of shape (n_records,) int64
        A node of a deep tree: its key in the low 16 bits, then `BLOCK` times its column, above that its left child's place in the
        tree in 32 bits. A leaf is its own child, reads a column of zeros, and has the tree's row of values for a key.
    record_start : ndarray of shape (n_trees + 1,) int64
        Where a tree's records begin.
    node : ndarray of shape (n_records,) int32
        The node that each record is.
    value_start : ndarray of shape (n_trees,) int64
        Where a tree's rows of values begin.
    values : ndarray of shape (n_rows, width)
        Each tree's distinct rows of values.
    tree_output : ndarray
        As in `Forest`.
    """

    columns: Columns
    depth: NDArray[np.int32]
    heap_start: NDArray[np.int64]
    heap: NDArray[np.uint16]
    heap_whole: NDArray[np.uint16]
    is_deep: NDArray[np.uint8]
    below: NDArray[np.int32]
    leaf_row: NDArray[np.uint16]
    record: NDArray[np.int64]
    record_start: NDArray[np.int64]
    node: NDArray[np.int32]
    value_start: NDArray[np.int64]
    values: NDArray[Any]
    tree_output: NDArray[np.int32]


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
) -> Heaps | None:
    """The arrays of a forest as the kernels of `heap_walk` want them; None where its columns or a tree's values are too many.

    A heap has at least 1 << `UPPER` places, also that of a tree of a single leaf; a deep tree's has at most one in 32 nodes beyond
    that, and no more than 1 << `DEEP_LEVELS`; another tree's at most `PADDING` / 2 a node. A place takes 10 bytes, or 14 where
    missing values go to the left anywhere; a node of a deep tree takes 12 more. Rows of values come on top.
    """
    is_leaf = nodes.feature < 0
    splits = np.flatnonzero(~is_leaf)
    found = find_columns(nodes, sets, splits, np.uint16, MOST_PAIRS)
    if found is None:
        return None
    columns, column, rank = found
    distinct = _distinct_rows(nodes.leaf, tree_start, values)
    if distinct is None:
        return None
    key, value_start, rows = distinct
    key[splits] = rank
    at = np.full(len(is_leaf), 2 * len(columns.feature) * BLOCK, np.uint16)
    at[splits] = column * BLOCK
    level, place = _place_in_heaps(nodes, tree_start)
    depth, is_deep = _depths(level, tree_start)
    start = np.append(0, np.cumsum(np.left_shift(1, depth.astype(np.int64))))
    tree = np.repeat(np.arange(len(depth)), np.diff(tree_start))
    heap, whole = _heaps(nodes, level, depth[tree], start[tree] + place, start[-1], key, at)
    record, record_start, record_place, node = _records(nodes, tree_start, is_deep, key, at)
    end = np.flatnonzero((is_leaf & (level <= depth[tree])) | (is_deep[tree] & (level == depth[tree])))
    # The ways below a leaf that lies higher than others all lead to the left.
    bottom = (place[end] + 1 << depth[tree[end]] - level[end]) - (1 << depth[tree[end]].astype(np.int64))
    bottom += start[tree[end]]
    below, leaf_row = np.zeros(start[-1], np.int32), np.zeros(start[-1], np.uint16)
    below[bottom] = np.where(is_deep[tree[end]], record_place[end], end)
    leaf_row[bottom] = np.where(is_deep[tree[end]], 0, key[end])
    return Heaps(
        columns,
        depth,
        start[:-1],
        heap,
        whole,
        is_deep.astype(np.uint8),
        below,
        leaf_row,
        record,
        record_start,
        node,
        value_start,
        rows,
        tree_output,
    )


def _place_in_heaps(nodes: Any, tree_start: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The splits above each node, and its place in a complete tree (0 where that has no number)."""
    level, place = np.zeros(len(nodes.feature), np.int32), np.zeros(len(nodes.feature), np.int64)
    place_in_heaps(nodes.feature, nodes.right, level, place)
    return level, place


def _depths(
    level: NDArray[np.int32], tree_start: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The levels of each tree's heap, and whether the tree goes on below it."""
    n_nodes = np.diff(tree_start)
    levels = np.maximum.reduceat(level, tree_start[:-1]) if len(n_nodes) else level
    size = np.left_shift(2, np.minimum(levels, MOST_LEVELS).astype(np.int64))
    is_deep = (levels > MOST_LEVELS) | (size > PADDING * n_nodes)
    of_deep = np.minimum(np.log2(np.maximum(n_nodes, 1)).astype(np.int32) - BELOW, DEEP_LEVELS)
    return np.maximum(np.where(is_deep, of_deep, levels), UPPER).astype(np.int32), is_deep


def _heaps(
    nodes: Any,
    level: NDArray[np.int32],
    depth: NDArray[np.int32],
    place: NDArray[np.int64],
    n_places: int,
    key: NDArray[np.uint16],
    at: NDArray[np.uint16],
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """`heap` and `heap_whole` of `Heaps`; `depth` and `place` are each node's."""
    # Below a leaf that lies higher than others no test sends a row to the right.
    heap = np.full((n_places, 2), (NEVER, 0), np.uint16)
    kept = np.flatnonzero((nodes.feature >= 0) & (level < depth))
    heap[place[kept]] = np.stack([key[kept], at[kept]], axis=1)
    if not nodes.nan_left[kept].any():
        return heap, heap
    whole = heap.copy()
    whole[place[kept], 1] &= np.uint16(NEVER ^ BLOCK)
    return heap, whole


def _records(
    nodes: Any,
    tree_start: NDArray[np.int32],
    is_deep: NDArray[np.bool_],
    key: NDArray[np.uint16],
    at: NDArray[np.uint16],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """`record` and `record_start` of `Heaps`, the place of each node in its tree, and `node`."""
    n_nodes = np.diff(tree_start)
    start = np.append(0, np.cumsum(np.where(is_deep, n_nodes, 0)))
    place, child = np.zeros(len(key), np.int32), np.zeros(len(key), np.int32)
    if not is_deep.any():
        return np.zeros(0, np.int64), start, place, np.zeros(0, np.int32)
    place_nodes(nodes.feature, nodes.right, nodes.cover, tree_start, place, child)
    kept = np.flatnonzero(np.repeat(is_deep, n_nodes))
    to = np.repeat(start[:-1], n_nodes)[kept] + place[kept]
    record, node = np.empty(start[-1], np.uint64), np.empty(start[-1], np.int32)
    fields = (array[kept].astype(np.uint64) for array in (key, at, child))
    record[to] = sum(field << np.uint64(16 * k) for k, field in enumerate(fields))
    node[to] = kept
    return record.view(np.int64), start, place, node


def _distinct_rows(
    leaf: NDArray[np.int32], tree_start: NDArray[np.int32], values: NDArray[Any]
) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[Any]] | None:
    """The number of each leaf's row among its tree's distinct ones, where those begin, and the rows; None if too many.

    Rows are distinct whose bits are.
    """
    bits = values.view(f"u{values.dtype.itemsize}")
    n_places = 2 << int(np.diff(tree_start).max(initial=1)).bit_length()
    row, number = np.zeros(len(leaf), np.int32), np.zeros(len(leaf), np.uint16)
    start = np.zeros(len(tree_start), np.int64)
    if not _number_rows(leaf, tree_start, bits, np.zeros(n_places, np.int32), row, number, start):
        return None
    return number, start[:-1], np.ascontiguousarray(values[row[: start[-1]]])


@kernel
def _number_rows(
    leaf: Any, tree_start: Any, bits: Any, table: Any, row: Any, number: Any, start: Any
) -> bool:
    """Write a distinct row after the other to `row`, and each leaf's number in its tree to `number`; whether those suffice.

    `table` has a place for every second node at least, and holds numbers, from 1 on, of rows that begin to be looked for there.
    """
    n = 0
    for t in range(len(tree_start) - 1):
        size = 2
        while size < 2 * (tree_start[t + 1] - tree_start[t]):
            size *= 2
        table[:size] = 0
        for j in range(tree_start[t], tree_start[t + 1]):
            if leaf[j] < 0:
                continue
            place = np.uint64(0)
            for k in range(bits.shape[1]):
                place = (place ^ np.uint64(bits[leaf[j], k])) * np.uint64(0x9E3779B97F4A7C15)
                place ^= place >> np.uint64(32)
            place &= np.uint64(size - 1)
            while table[place] > 0:
                other, is_same = row[start[t] + table[place] - 1], True
                for k in range(bits.shape[1]):
                    is_same &= bits[other, k] == bits[leaf[j], k]
                if is_same:
                    break
                place = (place + np.uint64(1)) & np.uint64(size - 1)
            if table[place] == 0:
                row[n] = leaf[j]
                n += 1
                table[place] = n - start[t]
                if n - start[t] > MOST_ROWS:
                    return False
            number[j] = table[place] - 1
        start[t + 1] = n
    return True
