"""Grow a tree on a grid of tests, the best split first: the kernels under `DistillForest`.

Source: histograms and best-first growth are those of LightGBM (Ke et al., NeurIPS 2017, section 2.1); the gain of a
split is the second-order one of XGBoost (Chen and Guestrin, KDD 2016, section 2.2).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.grid import MISSING
from ensemble_compress.engines import inlined, kernel

GAIN, COLUMN, EDGE, MISSING_LEFT = range(4)
"""What is known of a node's best split."""


ROUNDING = 1e-12
"""A gain of a smaller share of what it is a difference of is an error of rounding."""


class Rules(NamedTuple):
    """How a tree is grown.

    Attributes
    ----------
    most_leaves : int
        Leaves of the largest tree.
    penalty : float
        Ridge penalty on a leaf's value.
    least : float
        The least curvature of a leaf.
    worth : float
        The gain that a split must have, as a share of the first split's or of `top_gain`, whichever is larger.
    top_gain : float
        What the best first split gained among the trees before.
    reuse : float
        What the gain of a test that no tree asks yet is multiplied by.
    """

    most_leaves: int
    penalty: float
    least: float
    worth: float
    top_gain: float
    reuse: float


class Tree(NamedTuple):
    """A grown tree, its nodes in pre-order.

    Attributes
    ----------
    column, edge : ndarray of shape (n_nodes,) int32
        The test of each node; column is -1 at a leaf.
    nan_left : ndarray of shape (n_nodes,) bool
    right : ndarray of shape (n_nodes,) int32
    cover : ndarray of shape (n_nodes,) float64
        Rows that reached the node.
    step : ndarray of shape (n_leaves,) float64
        The Newton step of each leaf.
    leaf : ndarray of shape (n_rows,) int32
        Where each row ends, leaves counted from left to right.
    gain : float
        What the first split gains, also where it is not made.
    """

    column: NDArray[np.int32]
    edge: NDArray[np.int32]
    nan_left: NDArray[np.bool_]
    right: NDArray[np.int32]
    cover: NDArray[np.float64]
    step: NDArray[np.float64]
    leaf: NDArray[np.int32]
    gain: float


@kernel
def grow_tree(
    bins: NDArray[np.uint8],
    n_edges: NDArray[np.int32],
    state: NDArray[np.float64],
    rules: Any,
    is_used: NDArray[np.bool_],
    histogram: NDArray[np.float64],
) -> Any:
    """A tree of the gradients and curvatures in `state`, shape (n_rows, 2); `is_used` marks the tests that are asked.

    O(n_rows * n_columns) for each level of the tree. `histogram` is scratch of shape (2 * most_leaves - 1, n_columns, 256, 2).
    """
    n_rows, most = bins.shape[1], len(histogram)
    rows, others = np.arange(n_rows).astype(np.int32), np.empty(n_rows, np.int32)
    first, last = np.zeros(most, np.int32), np.zeros(most, np.int32)
    sums, best = np.zeros((most, 2)), np.zeros((most, 4))
    child = np.full(most, -1, np.int32)
    last[0] = n_rows
    _add_rows(bins, rows, state, histogram[0], sums[0])
    _find_split(histogram[0], n_edges, sums[0], rules, is_used, best[0])
    n_nodes, first_gain = 1, best[0, GAIN]
    least_gain = rules.worth * max(first_gain, rules.top_gain)
    while n_nodes + 2 <= most:
        j = best[:n_nodes, GAIN].argmax()
        if best[j, GAIN] <= 0.0 or best[j, GAIN] < least_gain:
            break
        child[j], low, high = n_nodes, n_nodes, n_nodes + 1
        n_left = _part(bins[int(best[j, COLUMN])], best[j], rows[first[j] : last[j]], others)
        first[low], last[low] = first[j], first[j] + n_left
        first[high], last[high] = first[j] + n_left, last[j]
        small, large = (low, high) if 2 * n_left <= last[j] - first[j] else (high, low)
        _add_rows(bins, rows[first[small] : last[small]], state, histogram[small], sums[small])
        sums[large] = sums[j] - sums[small]
        histogram[large] = histogram[j] - histogram[small]
        for k in (low, high):
            _find_split(histogram[k], n_edges, sums[k], rules, is_used, best[k])
        best[j, GAIN] = 0.0
        n_nodes += 2
    return (*_in_order(n_nodes, child, best, first, last, rows, sums, rules, is_used), first_gain)


@inlined
def _add_rows(bins: Any, rows: Any, state: Any, histogram: Any, sums: Any) -> None:
    """Add the gradients and curvatures of some rows to the bins that they lie in."""
    n = len(rows)
    own = np.empty((n, 2))
    histogram[:] = 0.0
    for k in range(n):
        own[k, 0], own[k, 1] = state[rows[k], 0], state[rows[k], 1]
        sums[0] += own[k, 0]
        sums[1] += own[k, 1]
    for c in range(bins.shape[0]):
        of_column, here = bins[c], histogram[c]
        for k in range(n):
            b = of_column[rows[k]]
            here[b, 0] += own[k, 0]
            here[b, 1] += own[k, 1]


@inlined
def _find_split(histogram: Any, n_edges: Any, sums: Any, rules: Any, is_used: Any, best: Any) -> None:
    """Write to `best` the split of a node that gains most; its gain stays 0 where none is allowed."""
    total, weight, least, penalty = sums[0], sums[1], rules.least, rules.penalty
    before = total * total / (weight + penalty)
    if weight < 2.0 * least:
        return
    most = ROUNDING * before
    for c in range(histogram.shape[0]):
        here, g, h = histogram[c], 0.0, 0.0
        n_sides = 2 if here[MISSING, 1] > 1e-9 else 1  # what a subtraction leaves of nothing
        for e in range(n_edges[c]):
            g += here[e, 0]
            h += here[e, 1]
            for side in range(n_sides):
                low, low_weight = g + side * here[MISSING, 0], h + side * here[MISSING, 1]
                high, high_weight = total - low, weight - low_weight
                if low_weight < least or high_weight < least:
                    continue
                gain = low * low / (low_weight + penalty) + high * high / (high_weight + penalty) - before
                gain *= 1.0 if is_used[c, e] else rules.reuse
                if gain > most:
                    most = gain
                    best[GAIN], best[COLUMN], best[EDGE], best[MISSING_LEFT] = gain, c, e, side


@inlined
def _part(of_column: Any, best: Any, rows: Any, others: Any) -> Any:
    """Put the rows that go left before those that go right; how many go left."""
    n_left, n_right = np.int32(0), np.int32(0)
    edge, missing = np.int32(best[EDGE]), np.int32(best[MISSING_LEFT])
    for k in range(len(rows)):
        i = rows[k]
        b = np.int32(of_column[i])
        left = missing if b == MISSING else np.int32(b <= edge)
        rows[n_left] = i
        others[n_right] = i
        n_left += left
        n_right += np.int32(1) - left
    rows[n_left:] = others[:n_right]
    return n_left


@inlined
def _in_order(
    n_nodes: Any, child: Any, best: Any, first: Any, last: Any, rows: Any, sums: Any, rules: Any, is_used: Any
) -> Any:
    """The tree with its nodes in pre-order."""
    column, edge, right = (
        np.full(n_nodes, -1, np.int32),
        np.zeros(n_nodes, np.int32),
        np.full(n_nodes, -1, np.int32),
    )
    nan_left, cover = np.zeros(n_nodes, np.bool_), np.empty(n_nodes)
    step, leaf = np.empty(n_nodes // 2 + 1), np.empty(len(rows), np.int32)
    stack, place = np.zeros(n_nodes + 1, np.int32), np.empty(n_nodes, np.int32)
    n_stack, n_leaves = 1, 0
    for out in range(n_nodes):
        n_stack -= 1
        j = stack[n_stack]
        place[j], cover[out] = out, last[j] - first[j]
        if child[j] >= 0:
            column[out], edge[out] = np.int32(best[j, COLUMN]), np.int32(best[j, EDGE])
            nan_left[out] = best[j, MISSING_LEFT] > 0.0
            is_used[column[out], edge[out]] = True
            stack[n_stack], stack[n_stack + 1] = child[j] + 1, child[j]
            n_stack += 2
        else:
            step[n_leaves] = sums[j, 0] / (sums[j, 1] + rules.penalty)
            leaf[rows[first[j] : last[j]]] = n_leaves
            n_leaves += 1
    for j in range(n_nodes):
        if child[j] >= 0:
            right[place[j]] = place[child[j] + 1]
    return column, edge, nan_left, right, cover, step, leaf
