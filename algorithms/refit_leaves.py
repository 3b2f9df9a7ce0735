"""Fit all leaf values anew, together, with the structure as it is."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, to_additive
from ensemble_compress.algorithms.parameters import check_range, rows_of
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest


@dataclass(frozen=True)
class RefitLeaves:
    """Refit all leaves jointly against labels, the teacher's answers, or a mixture of both.

    An averaging classifier turns into a sum of log-odds. The loss is that of the link: squares, logistic, softmax or
    Poisson; a link without one (ranking scores) is fitted by squares to the teacher's margins.

    Parameters
    ----------
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    penalty : float
        Ridge penalty on a leaf's value, in rows: by squares a leaf with this many rows is shrunk to half, by the other
        losses further.
    n_sweeps : int
        Passes over all trees.

    Notes
    -----
    Guarantee: none. Cost: O(n_sweeps * n_trees * n_rows * width).

    References
    ----------
    Ren, Cao, Wei, Sun, "Global Refinement of Random Forest", CVPR 2015, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = ec.read(GradientBoostingRegressor(n_estimators=20, random_state=0).fit(X, y))
    >>> refit = ec.algorithms.RefitLeaves(mix=0)(forest, ec.Data(forest.rows(X), y))
    >>> bool(np.square(refit.predict(X) - y).mean() < np.square(forest.predict(X) - y).mean())
    True
    """

    mix: float = 0.5
    penalty: float = 2.0
    n_sweeps: int = 10

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_nodes"

    def __post_init__(self) -> None:
        check_range(self, "mix", 0, 1)
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "n_sweeps", 1, 10_000, whole=True)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The same trees with other leaf values and bias."""
        data = rows_of(self, forest, data)
        additive = to_additive(forest)
        fit = LeafFit.of(additive, data, targets(additive, data, self.mix), self.penalty)
        if additive.link != forest.link:
            fit.stretch()
        fit.sweep(self.n_sweeps)
        return additive.with_values(fit.value, fit.bias)
