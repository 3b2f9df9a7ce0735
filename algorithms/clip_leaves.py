"""Set small leaf values to zero and drop what became constant."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

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
        return replace(
            forest,
            values=np.where(size < self.share * size.max(initial=0.0), 0.0, forest.values).astype(
                forest.values.dtype
            ),
        )


def largest_change(before: Forest, after: Forest) -> float:
    """How far a margin of `after` can lie from that of `before`, which has the same trees: the sum of the trees' worst."""
    change = np.abs(
        after.values[after.nodes.leaf[after.is_leaf]].astype(np.float64)
        - before.values[before.nodes.leaf[before.is_leaf]]
    ).max(axis=1, initial=0.0)
    first_leaf = np.concatenate([[0], np.cumsum((np.diff(before.tree_start) + 1) // 2)])
    worst = np.maximum.reduceat(change, first_leaf[:-1]) if before.n_trees else np.zeros(0)
    bias = np.abs(after.bias.astype(np.float64) - before.bias).max()
    # Rounding of the sums themselves: a share of their size for each addition.
    largest = np.abs(before.values).max(initial=0.0) * before.n_trees + np.abs(before.bias).max()
    rounding = float(np.finfo(before.values.dtype).eps * largest * (before.n_trees + 1))
    return float((worst.sum() + bias + rounding) / before.divisor)
