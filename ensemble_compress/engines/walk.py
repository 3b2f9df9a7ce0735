"""The walk engine: rows go down a tree node by node, for trees of any depth.

One walk is a chain of dependent loads; eight independent walks in one loop hide each other's latency, as long as no
step branches on the data (measured: the same loop with a branch takes twice as long). So a node is one record of 16
bytes, a leaf is a node whose test always fails and whose right child is the leaf itself, and the loop ends when no row
moves any more. Rows go in blocks and a block passes all trees, so that a tree is loaded once a block.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel

BLOCK = 1024
LANES = 8
FEATURE_BITS = 24
MAX_FEATURES = 1 << FEATURE_BITS
RECORD = np.dtype([("threshold", "f8"), ("test", "i4"), ("right", "i4")])
"""`test` is the feature, `nan_left << 24` and `is_categorical << 25`; a categorical node's threshold is its set."""


class Walk(NamedTuple):
    """A run of trees laid out for this engine."""

    record: NDArray[Any]
    leaf: NDArray[np.int32]
    set_start: NDArray[np.int32]
    set_words: NDArray[np.uint32]
    tree_start: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
) -> Walk:
    """The arrays of a forest as the kernels below want them; 16 bytes a node more."""
    is_leaf, is_categorical = nodes.feature < 0, nodes.category_set >= 0
    record = np.empty(len(nodes.feature), RECORD)
    record["threshold"] = np.where(
        is_leaf, np.nan, np.where(is_categorical, nodes.category_set, nodes.threshold)
    )
    test = nodes.feature | nodes.nan_left.astype(np.int32) << FEATURE_BITS
    record["test"] = np.where(is_leaf, 0, test | is_categorical.astype(np.int32) << (FEATURE_BITS + 1))
    record["right"] = np.where(is_leaf, np.arange(len(is_leaf)), nodes.right)
    record.setflags(write=False)
    return Walk(record, nodes.leaf, sets.start, sets.words, tree_start, tree_output, values)


@inlined
def is_in_set(start: NDArray[np.int32], words: NDArray[np.uint32], s: Any, x: float) -> Any:
    """Whether the code of `x` is in set `s`; NaN is in none."""
    if not (x >= 0 and x < 32.0 * (start[s + 1] - start[s])):
        return False
    code = np.int64(x)
    # With bool(...) in place of the comparison the walk took twice as long.
    return (words[start[s] + (code >> 5)] >> np.uint32(code & 31)) & np.uint32(1) != 0


@inlined
def walk_lanes(
    record: NDArray[Any],
    set_start: NDArray[np.int32],
    set_words: NDArray[np.uint32],
    X: NDArray[Any],
    i: int,
    n_lanes: int,
    root: int,
    at: NDArray[np.int32],
) -> None:
    """Write to `at` the leaves of rows `i` to `i + n_lanes` in the tree that begins at `root`."""
    for q in range(n_lanes):
        at[q] = root
    moved = np.int32(1)
    while moved:
        moved = np.int32(0)
        for q in range(n_lanes):
            j = at[q]
            node = record[j]
            test, right = node["test"], node["right"]
            x = X[i + q, test & np.int32(MAX_FEATURES - 1)]
            left = np.int32(x <= node["threshold"])
            if test >> (FEATURE_BITS + 1):
                left = np.int32(is_in_set(set_start, set_words, np.int64(node["threshold"]), x))
            left |= np.int32(np.isnan(x)) & (test >> FEATURE_BITS)
            after = right + (left & np.int32(1)) * (j + np.int32(1) - right)
            moved |= after ^ j
            at[q] = after


@kernel
def find_leaves(walk: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    record, set_start, set_words, tree_start = walk.record, walk.set_start, walk.set_words, walk.tree_start
    at = np.empty(LANES, np.int32)
    for first in range(start, stop, BLOCK):
        last = min(stop, first + BLOCK)
        for t in range(len(tree_start) - 1):
            for i in range(first, last, LANES):
                n_lanes = min(LANES, last - i)
                walk_lanes(record, set_start, set_words, X, i, n_lanes, tree_start[t], at)
                for q in range(n_lanes):
                    out[i + q, t] = at[q]


@kernel
def add_margins(walk: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    record, set_start, set_words, tree_start = walk.record, walk.set_start, walk.set_words, walk.tree_start
    leaf, values = walk.leaf, walk.values
    at = np.empty(LANES, np.int32)
    for first in range(start, stop, BLOCK):
        last = min(stop, first + BLOCK)
        for t in range(len(tree_start) - 1):
            output = walk.tree_output[t]
            for i in range(first, last, LANES):
                n_lanes = min(LANES, last - i)
                walk_lanes(record, set_start, set_words, X, i, n_lanes, tree_start[t], at)
                for q in range(n_lanes):
                    v = leaf[at[q]]
                    if output >= 0:
                        out[i + q, output] += values[v, 0]
                    else:
                        for k in range(values.shape[1]):
                            out[i + q, k] += values[v, k]
