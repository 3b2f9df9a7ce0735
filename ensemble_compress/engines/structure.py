"""Kernels that look at the shape of trees: whether the arrays are a forest, where subtrees end, how deep nodes lie.

All of them run once over the nodes, in the order in which they lie: pre-order, so a parent comes before its
children and the left child of a split is the next node.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel

SOUND, BAD_RIGHT, BAD_END, BAD_FEATURE, BAD_VALUE, BAD_SET, BAD_THRESHOLD = range(7)


@kernel
def find_fault(
    nodes: Any, tree_start: NDArray[np.int32], n_features: int, n_values: int, n_sets: int
) -> tuple[int, int, int]:
    """Return (fault, tree, node) of the first node that breaks a rule, or (SOUND, -1, -1).

    A tree is sound when a walk over its nodes closes every subtree exactly where the next one has to begin: then
    children lie in their tree, behind their parent, and have one parent each. O(nodes), no recursion: an open split
    is remembered in `waiting`, as the stack of right children that still have to come.
    """
    waiting = np.empty(64, np.int64)
    for t in range(len(tree_start) - 1):
        start, stop = tree_start[t], tree_start[t + 1]
        n_waiting = 0
        closed = False
        for j in range(start, stop):
            if closed:
                return BAD_END, t, j
            if np.isnan(nodes.threshold[j]):
                return BAD_THRESHOLD, t, j
            if nodes.feature[j] >= 0:
                if nodes.feature[j] >= n_features:
                    return BAD_FEATURE, t, j
                if nodes.right[j] <= j + 1 or nodes.right[j] >= stop:
                    return BAD_RIGHT, t, j
                if nodes.leaf[j] != -1:
                    return BAD_VALUE, t, j
                if nodes.category_set[j] < -1 or nodes.category_set[j] >= n_sets:
                    return BAD_SET, t, j
                if n_waiting == len(waiting):
                    longer = np.empty(2 * len(waiting), np.int64)
                    longer[:n_waiting] = waiting
                    waiting = longer
                waiting[n_waiting] = nodes.right[j]
                n_waiting += 1
            else:
                if nodes.feature[j] != -1 or nodes.right[j] != -1:
                    return BAD_RIGHT, t, j
                if nodes.leaf[j] < 0 or nodes.leaf[j] >= n_values:
                    return BAD_VALUE, t, j
                if nodes.category_set[j] != -1:
                    return BAD_SET, t, j
                if n_waiting == 0:
                    closed = True
                else:
                    n_waiting -= 1
                    if waiting[n_waiting] != j + 1:
                        return BAD_RIGHT, t, j
        if not closed:
            return BAD_END, t, stop - 1
    return SOUND, -1, -1


@kernel
def find_subtree_ends(feature: NDArray[np.int32], right: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Write to `out` one past the last node of each node's subtree. From the back: a right child's end is known first."""
    for j in range(len(feature) - 1, -1, -1):
        out[j] = j + 1 if feature[j] < 0 else out[right[j]]


@kernel
def find_parents(feature: NDArray[np.int32], right: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Write to `out` each node's parent; the roots keep what `out` held."""
    for j in range(len(feature)):
        if feature[j] >= 0:
            out[j + 1] = j
            out[right[j]] = j


@kernel
def find_depths(feature: NDArray[np.int32], right: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Add to `out`, which is 0 at the start, the number of splits above each node."""
    for j in range(len(feature)):
        if feature[j] >= 0:
            out[j + 1] = out[j] + 1
            out[right[j]] = out[j] + 1
