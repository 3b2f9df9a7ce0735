"""The fewest and shortest thresholds that keep every given row on its way."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.parameters import rows_of
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.engines import kernel
from ensemble_compress.engines.walk import is_in_set
from ensemble_compress.forest import Forest


@dataclass(frozen=True)
class ShareThresholds:
    """Let splits on a feature share thresholds, as far as no given row changes its leaf.

    At each split the rows that reach it leave an interval in which the threshold may lie: from the largest value that
    goes left to the smallest that goes right. The fewest points that stab all intervals of a feature are found greedily
    by their upper ends, which is optimal. Each point is then moved, within what its intervals have in common, to a float32
    with as many trailing zero bits as all points can have, so that it also takes fewer bits to store.

    Notes
    -----
    Guarantee: none for other rows; the given rows keep their leaves, to the bit. Cost: O(n_rows * depth) a tree and
    O(n_nodes log n_nodes).

    References
    ----------
    Nakamura and Sakurada, "Simplification of forest classifiers and regressors" (arXiv 2212.07103), section 3:
    minimum stabbing of the intervals of branching conditions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(20, random_state=0).fit(X, y))
    >>> small = ec.algorithms.ShareThresholds()(forest, ec.Data(forest.rows(X)))
    >>> small.n_thresholds < forest.n_thresholds, bool((small.margin(X) == forest.margin(X)).all())
    (True, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_thresholds"

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The forest with shared thresholds."""
        data = rows_of(self, forest, data)
        nodes = forest.nodes
        numeric = np.flatnonzero(
            (nodes.feature >= 0) & (nodes.category_set < 0) & np.isfinite(nodes.threshold)
        )
        if not len(numeric):
            return forest
        low, high = _intervals(forest, data.X, numeric)
        order, group_low, group_high, group = _stab(nodes.feature[numeric], low, high)
        points = _shortest(group_low, group_high)
        threshold = nodes.threshold.copy()
        threshold[numeric[order]] = points[group]
        return Simplify()(replace(forest, nodes=nodes._replace(threshold=threshold)))


def _intervals(
    forest: Forest, X: NDArray[Any], numeric: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each split, as float64: the largest value that must go left, and the smallest that must go right.

    Where no row goes to a side, the nearest value of the whole column stands in, so that a threshold never moves past a
    value that was seen; beyond the column's ends it moves no further out.
    """
    nodes, sets = forest.nodes, forest.category_sets
    low, high = np.full(forest.n_nodes, -np.inf), np.full(forest.n_nodes, np.inf)
    _find_limits(nodes, sets.start, sets.words, forest.tree_start, np.ascontiguousarray(X.T), low, high)
    low, high, threshold = low[numeric], high[numeric], nodes.threshold[numeric]
    for f in np.unique(nodes.feature[numeric]):
        here = np.flatnonzero(nodes.feature[numeric] == f)
        column = np.unique(X[:, f][np.isfinite(X[:, f])]).astype(np.float64)
        place = np.searchsorted(column, threshold[here], side="right")
        below = np.append(-np.inf, column)[place]
        beyond = np.append(column, np.inf)[place]
        low[here] = np.where(np.isneginf(low[here]), below, low[here])
        high[here] = np.where(np.isposinf(high[here]), beyond, high[here])
    low = np.where(np.isneginf(low), threshold, low)
    with np.errstate(over="ignore"):  # nothing finite lies above the largest number
        return low, np.where(np.isposinf(high), np.nextafter(np.maximum(threshold, low), np.inf), high)


def _stab(
    feature: NDArray[np.int32], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """(order of the splits, the common interval of each group, the group of each split in that order)."""
    order = np.lexsort((high, feature))
    group = np.empty(len(order), np.intp)
    group_low, group_high = np.empty(len(order)), np.empty(len(order))
    n_groups = _stab_sorted(feature[order], low[order], high[order], group, group_low, group_high)
    return order, group_low[:n_groups], group_high[:n_groups], group


def _shortest(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """A point in each half-open interval `[low, high)`: with the most trailing zero bits that all can have as float32.

    An interval without a float32 in it keeps its lower end.
    """
    first, last = _key(low, up=True), _key(high, up=True) - 1
    is_empty = first > last
    for n_zeros in range(30, -1, -1):
        middle = first + (last - first) // 2
        point = (middle >> n_zeros) << n_zeros
        point = np.where(point < first, point + (np.int64(1) << n_zeros), point)
        if ((point <= last) | is_empty).all():
            break
    return np.where(is_empty, low, _from_key(np.where(is_empty, 0, point)))


def _key(x: NDArray[np.float64], up: bool) -> NDArray[np.int64]:
    """float32 numbers as integers in their order, -0.0 as 0.0; numbers in between go to the next one above."""
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
        above = np.nextafter(rounded, np.float32(np.inf))
    rounded = np.where((rounded < x) & up, above, rounded)
    bits = (rounded + np.float32(0.0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _from_key(key: NDArray[np.int64]) -> NDArray[np.float64]:
    bits = np.where(key < 0, (-key) | 0x80000000, key).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)


@kernel
def _find_limits(
    nodes: Any,
    set_start: NDArray[np.int32],
    set_words: NDArray[np.uint32],
    tree_start: NDArray[np.int32],
    columns: NDArray[Any],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Raise `low` to the largest value that goes left at each split, lower `high` to the smallest that goes right.

    The rows of a node lie together and are parted at its split: nothing is walked row by row, nothing is guessed by the
    branch predictor. `columns` is X transposed.
    """
    feature, threshold, right = nodes.feature, nodes.threshold, nodes.right
    n_rows = columns.shape[1]
    rows, others = np.empty(n_rows, np.int32), np.empty(n_rows, np.int32)
    first = np.empty(len(feature), np.int32)
    last = np.empty(len(feature), np.int32)
    for t in range(len(tree_start) - 1):
        for i in range(n_rows):
            rows[i] = i
        first[tree_start[t]], last[tree_start[t]] = 0, n_rows
        for j in range(tree_start[t], tree_start[t + 1]):
            if feature[j] < 0:
                continue
            column, at, nan_left = columns[feature[j]], threshold[j], np.int32(nodes.nan_left[j])
            n_left, n_right = first[j], np.int32(0)
            if nodes.category_set[j] < 0:
                for k in range(first[j], last[j]):
                    i = rows[k]
                    x = column[i]
                    left = np.int32(x <= at) | (np.int32(np.isnan(x)) & nan_left)
                    rows[n_left] = i
                    others[n_right] = i
                    n_left += left
                    n_right += np.int32(1) - left
                for k in range(first[j], n_left):
                    x = column[rows[k]]
                    low[j] = max(low[j], x)  # stays as it is where x is NaN
                for k in range(n_right):
                    x = column[others[k]]
                    high[j] = min(high[j], x)
            else:
                for k in range(first[j], last[j]):
                    x = column[rows[k]]
                    is_in = is_in_set(set_start, set_words, nodes.category_set[j], x)
                    left = nan_left if np.isnan(x) else np.int32(is_in)
                    others[n_right] = rows[k]
                    rows[n_left] = rows[k]
                    n_left += left
                    n_right += np.int32(1) - left
            rows[n_left : n_left + n_right] = others[:n_right]
            first[j + 1], last[j + 1] = first[j], n_left
            first[right[j]], last[right[j]] = n_left, last[j]


@kernel
def _stab_sorted(
    feature: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    group: NDArray[np.intp],
    group_low: NDArray[np.float64],
    group_high: NDArray[np.float64],
) -> int:
    """Greedy stabbing of intervals sorted by their upper ends: a new point only where the last one misses."""
    n_groups = 0
    for j in range(len(feature)):
        if j == 0 or feature[j] != feature[j - 1] or low[j] >= group_high[n_groups - 1]:
            group_low[n_groups], group_high[n_groups] = low[j], high[j]
            n_groups += 1
        elif low[j] > group_low[n_groups - 1]:
            group_low[n_groups - 1] = low[j]
        group[j] = n_groups - 1
    return n_groups
