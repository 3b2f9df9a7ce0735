"""Remove what no row can tell from the rest: exact, with no data needed."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.data import Data
from ensemble_compress.engines import kernel
from ensemble_compress.fixed_point import exact_exponent
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import distinct_rows


@dataclass(frozen=True)
class Simplify:
    """Drop branches that no row reaches, splits between equal leaves, and trees that are constant.

    A branch is unreachable when the numeric tests above it, and where they sent missing values, already decide the split;
    what category sets have in common is not looked at. A constant tree
    goes into the bias where that leaves every sum as it was, to the bit: in front of all other trees of its output, or
    anywhere when all sums are exact because the values are multiples of one power of two.

    Notes
    -----
    Guarantee: exact. Every row gets the same margin to the bit. O(n_nodes * depth).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = ec.read(DecisionTreeClassifier(random_state=0).fit(X, y))
    >>> small = ec.algorithms.Simplify()(forest)
    >>> bool((small.margin(X) == forest.margin(X)).all())
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "exact"
    measure: ClassVar[str] = "n_nodes"

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The simplified forest; `data` is not looked at."""
        forest = share_values(forest)
        forest = _drop_unreachable(forest)
        forest = collapse_equal_leaves(forest)
        return _fold_constant_trees(forest)


def share_values(forest: Forest) -> Forest:
    """The forest with rows of `values` that are equal to the bit stored once."""
    first, index = distinct_rows(forest.values)
    if len(first) == len(forest.values):
        return forest
    leaf = np.where(forest.is_leaf, index[forest.nodes.leaf], -1)
    return replace(forest, nodes=forest.nodes._replace(leaf=leaf), values=forest.values[first])


def collapse_equal_leaves(forest: Forest) -> Forest:
    """Turn splits whose two subtrees come down to one and the same value row into leaves."""
    row = forest.nodes.leaf.copy()
    _find_common_rows(forest.nodes.feature, forest.nodes.right, row)
    hidden = np.zeros(forest.n_nodes, bool)
    _hide_below(forest.nodes.feature, forest.nodes.right, row, hidden)
    if not hidden.any():
        return forest
    return forest.keep_nodes(~hidden, np.where(row >= 0, row, -1).astype(np.int32))


def _drop_unreachable(forest: Forest) -> Forest:
    keep = np.ones(forest.n_nodes, bool)
    end = forest.subtree_end
    deepest = int(forest.depth.max(initial=0)) + 1
    _find_unreachable(
        forest.nodes, forest.tree_start, end, forest.n_features, forest.handles_nan, deepest, keep
    )
    return forest if keep.all() else forest.keep_nodes(keep)


def _fold_constant_trees(forest: Forest) -> Forest:
    """Move constant trees into the bias where no sum changes."""
    lengths = np.diff(forest.tree_start)
    constant = lengths == 1
    if not constant.any():
        return forest
    everywhere = is_exact(forest)
    bias, keep = forest.bias.copy(), np.ones(forest.n_trees, bool)
    untouched = np.full(forest.n_outputs, not forest.bias_last)
    for t in range(forest.n_trees):
        outputs = (
            slice(None)
            if forest.tree_output[t] < 0
            else slice(forest.tree_output[t], forest.tree_output[t] + 1)
        )
        with np.errstate(over="ignore"):
            added = forest.values[forest.nodes.leaf[forest.tree_start[t]]]
            moved = bias[outputs] + added
        # A bias that comes last says nothing about how a constant among the trees rounds.
        is_lost = not (added if forest.bias_last else moved != bias[outputs]).any()
        is_free = everywhere or untouched[outputs].all() or is_lost
        if constant[t] and np.isfinite(moved).all() and is_free:
            bias[outputs], keep[t] = moved, False
        else:
            untouched[outputs] = False
    return replace(forest.take(keep), bias=bias)


def is_exact(forest: Forest) -> bool:
    """Whether every sum of leaves is exact: all values are multiples of a power of two and no sum outgrows the dtype."""
    numbers = np.concatenate([forest.values.ravel(), forest.bias]).astype(np.float64)
    n_bits = 53 if forest.values.dtype == np.float64 else 24
    with np.errstate(over="ignore"):
        in_units = np.ldexp(np.abs(numbers).max(initial=0.0), -exact_exponent(numbers))
        return bool(in_units * (forest.n_trees + 1) <= 2.0**n_bits)


@kernel
def _find_common_rows(feature: NDArray[np.int32], right: NDArray[np.int32], row: NDArray[np.int32]) -> None:
    """From the back: a split takes the value row that both its subtrees come down to."""
    for j in range(len(feature) - 1, -1, -1):
        if feature[j] >= 0:
            row[j] = row[j + 1] if row[j + 1] == row[right[j]] else -1


@kernel
def _hide_below(
    feature: NDArray[np.int32], right: NDArray[np.int32], row: NDArray[np.int32], hidden: NDArray[np.bool_]
) -> None:
    for j in range(len(feature)):
        if feature[j] >= 0 and (hidden[j] or row[j] >= 0):
            hidden[j + 1] = True
            hidden[right[j]] = True


@kernel
def _find_unreachable(
    nodes: Any,
    tree_start: NDArray[np.int32],
    end: NDArray[np.int32],
    n_features: int,
    handles_nan: bool,
    deepest: int,
    keep: NDArray[np.bool_],
) -> None:
    """Clear `keep` at decided splits and at the branch that no row takes.

    The walk in pre-order holds for every feature what the tests above leave possible: values in (above, upto], where
    `above` is NaN while there is no lower limit, and whether a missing value can still be here; where the interval is
    empty nothing else can. A stack of the splits above remembers what to restore.
    """
    above, upto = np.full(n_features, np.nan), np.full(n_features, np.inf)
    missing = np.full(n_features, handles_nan)
    open_split = np.empty(deepest + 1, np.int64)
    old_above, old_upto = np.empty(deepest + 1), np.empty(deepest + 1)
    old_missing = np.empty(deepest + 1, np.bool_)
    for t in range(len(tree_start) - 1):
        depth = 0
        j = np.int64(tree_start[t])
        while j < tree_start[t + 1]:
            while depth > 0:
                p = open_split[depth - 1]
                f = nodes.feature[p]
                if j == nodes.right[p]:
                    # From the left subtree of p to its right one.
                    above[f], upto[f] = old_above[depth - 1], old_upto[depth - 1]
                    missing[f] = old_missing[depth - 1] and not nodes.nan_left[p]
                    if nodes.category_set[p] < 0 and not above[f] >= nodes.threshold[p]:
                        above[f] = nodes.threshold[p]
                    break
                if j < end[p]:
                    break
                above[f], upto[f], missing[f] = (
                    old_above[depth - 1],
                    old_upto[depth - 1],
                    old_missing[depth - 1],
                )
                depth -= 1
            f = nodes.feature[j]
            if f < 0:
                j += 1
                continue
            none_left = none_right = above[f] >= upto[f]
            if nodes.category_set[j] < 0:
                none_left = none_left or above[f] >= nodes.threshold[j]
                none_right = none_right or upto[f] <= nodes.threshold[j]
            all_left = none_right and (nodes.nan_left[j] or not missing[f])
            all_right = none_left and not (nodes.nan_left[j] and missing[f])
            if all_right:
                keep[j : nodes.right[j]] = False
                j = np.int64(nodes.right[j])
                continue
            if all_left:
                keep[j] = False
                keep[nodes.right[j] : end[j]] = False
            open_split[depth] = j
            old_above[depth], old_upto[depth], old_missing[depth] = above[f], upto[f], missing[f]
            depth += 1
            missing[f] = missing[f] and nodes.nan_left[j]
            if nodes.category_set[j] < 0 and nodes.threshold[j] < upto[f]:
                upto[f] = nodes.threshold[j]
            j += 1
        while depth > 0:
            depth -= 1
            f = nodes.feature[open_split[depth]]
            above[f], upto[f], missing[f] = old_above[depth], old_upto[depth], old_missing[depth]
