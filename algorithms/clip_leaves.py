"""Set small leaf values to zero and drop what became constant."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.parameters import check_range
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest


@dataclass(frozen=True)
class ClipLeaves:
    """Magnitude pruning: leaf values below a share of the largest become zero, equal siblings and empty trees go.

    Parameters
    ----------
    share : float
        Values smaller than `share` times the largest one, by magnitude, are set to zero.

    Notes
    -----
    Guarantee: bounded; see `bound`. Cost: O(n_nodes).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> forest = ec.read(GradientBoostingRegressor(random_state=0).fit(*load_diabetes(return_X_y=True)))
    >>> ec.algorithms.ClipLeaves(share=0.05)(forest).n_leaves < forest.n_leaves
    True
    """

    share: float = 0.01

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "bounded"
    measure: ClassVar[str] = "n_nodes"

    def __post_init__(self) -> None:
        check_range(self, "share", 0, 1)

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The clipped forest; `data` is not looked at."""
        return Simplify()(self._clip(forest))

    def bound(self, forest: Forest) -> float:
        """The largest change of any margin."""
        return largest_change(forest, self._clip(forest))

    def _clip(self, forest: Forest) -> Forest:
        size = np.abs(forest.values)
        largest = size[forest.nodes.leaf[forest.is_leaf]].max(initial=0.0)
        is_small = size < self.share * largest
        return replace(forest, values=np.where(is_small, forest.values.dtype.type(0), forest.values))


def largest_change(before: Forest, after: Forest) -> float:
    """How far a margin of `after` can lie from that of `before`, which has the same trees: the sum of the trees' worst."""
    change = _leaf_values(after) - _leaf_values(before)
    bias = after.bias.astype(np.float64) - before.bias
    up, down = (bias + _sum_over_trees(before, extreme, change) for extreme in (np.maximum, np.minimum))
    worst = np.maximum(np.abs(up), np.abs(down)).max()
    # Rounding of the sums themselves: a share of their size for each addition; and of the division, which can underflow.
    largest = float(np.abs(before.values).max(initial=0.0)) * before.n_trees + float(
        np.abs(before.bias).max()
    )
    limits = np.finfo(before.values.dtype)
    rounding = 2 * float(limits.eps) * largest * (before.n_trees + 2)
    return float((worst + rounding) / before.divisor) + 2 * float(limits.smallest_subnormal)


def _leaf_values(forest: Forest) -> NDArray[np.float64]:
    return forest.values[forest.nodes.leaf[forest.is_leaf]].astype(np.float64)


def _sum_over_trees(forest: Forest, extreme: np.ufunc, each: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each output the sum over trees of the extreme entry among a tree's leaves; `each` is of shape (n_leaves, width)."""
    if forest.n_trees == 0:
        return np.zeros(forest.n_outputs)
    n_leaves = (np.diff(forest.tree_start) + 1) // 2
    of_tree = extreme.reduceat(each, np.cumsum(n_leaves) - n_leaves, axis=0)
    if forest.values.shape[1] > 1:
        return np.asarray(of_tree.sum(axis=0))
    output = np.maximum(forest.tree_output, 0)
    return np.bincount(output, of_tree[:, 0], minlength=forest.n_outputs).astype(np.float64)
