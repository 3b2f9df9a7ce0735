"""Leave features out: first those whose splits save most bytes for the loss that they cost."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, to_additive
from ensemble_compress.algorithms.parameters import check_range, count_of, rows_of
from ensemble_compress.algorithms.refit_leaves import RefitLeaves
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.engines import kernel
from ensemble_compress.forest import Forest
from ensemble_compress.sizes import c_bytes


@dataclass(frozen=True)
class DropFeatures:
    """Drop all splits of the features that are worth least for their bytes, and refit the leaves, again and again.

    A split that goes gives its place to the child that more of the rows reach. The features of a round are those that raise
    the loss least for each byte of the C tables that goes with them: their tests, their splits and the leaves below. Columns of
    X stay; those of the dropped features are not looked at any more. An averaging classifier turns into a sum of log-odds.

    Parameters
    ----------
    n_features : int or float
        Features to keep: a number, or a share of those that the forest tests.
    fraction : float
        Share of the surplus features that goes between two refits; at least one does.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    penalty : float
        Ridge penalty on a leaf's value, in rows.
    n_sweeps : int
        Passes of each refit.

    Notes
    -----
    Guarantee: none. Cost: a prediction of all rows and a count of bytes for each feature in each round.

    References
    ----------
    Guyon, Weston, Barnhill and Vapnik, "Gene selection for cancer classification using support vector machines", Machine
    Learning 46, 2002, section 3 (recursive feature elimination); Herrmann et al., "Boosted Trees on a Diet", ICLR 2026 (what
    a feature costs).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import GradientBoostingClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = ec.read(GradientBoostingClassifier(n_estimators=10, random_state=0).fit(X, y))
    >>> small = ec.algorithms.DropFeatures(n_features=5)(forest, ec.Data(forest.rows(X), y))
    >>> len(set(small.nodes.feature[small.nodes.feature >= 0].tolist())) <= 5
    True
    """

    n_features: int | float = 0.5
    fraction: float = 0.3
    mix: float = 0.5
    penalty: float = 2.0
    n_sweeps: int = 4

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "decisions", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_nodes"

    def __post_init__(self) -> None:
        count_of(self, "n_features", 1)
        check_range(self, "fraction", 0, 1, open_low=True)
        check_range(self, "mix", 0, 1)
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "n_sweeps", 1, 10_000, whole=True)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The forest of at most `n_features` tested features; unchanged if it tests no more."""
        data = rows_of(self, forest, data)
        wanted = count_of(self, "n_features", max(1, len(find_tested_features(forest))))
        if len(find_tested_features(forest)) <= wanted:
            return forest
        taught = (
            data if data.teacher is not None else data.with_teacher(forest.answers(forest.margin(data.X)))
        )
        refit = RefitLeaves(mix=self.mix, penalty=self.penalty, n_sweeps=self.n_sweeps)
        forest = refit(forest, taught)
        while (n_surplus := len(find_tested_features(forest)) - wanted) > 0:
            n_dropped = max(1, int(self.fraction * n_surplus))
            forest = refit(self._without(forest, self.order(forest, taught)[:n_dropped], data), taught)
        return forest

    def order(self, forest: Forest, data: Data) -> NDArray[np.intp]:
        """The tested features by what the loss rises for each byte without them, the cheapest first.

        Parameters
        ----------
        forest : Forest
            Any forest.
        data : Data
            Rows, and labels or the teacher's answers.
        """
        additive, features, n_bytes = to_additive(forest), find_tested_features(forest), c_bytes(forest)
        fit = LeafFit.of(additive, data, targets(additive, data, self.mix), self.penalty)
        loss = fit.mean_loss(fit.margin())
        marks = np.empty(len(features))
        for k in range(len(features)):
            small = self._without(additive, features[k : k + 1], data)
            rise = fit.mean_loss(small.margin(data.X).T) - loss
            saved = max(n_bytes - c_bytes(small), 1)
            # What does not raise the loss at all is best by the bytes it frees.
            marks[k] = rise / saved if rise > 0 else rise * saved
        return np.asarray(features[np.argsort(marks, kind="stable")])

    def _without(self, forest: Forest, features: NDArray[np.intp], data: Data) -> Forest:
        """The forest without the splits of these features; the child that more rows reach takes a split's place."""
        reached = np.bincount(
            forest.find_leaves(data.X).ravel(),
            np.repeat(np.ones(data.n_rows) if data.weight is None else data.weight, forest.n_trees),
            minlength=forest.n_nodes,
        )
        reached = np.append(0.0, np.cumsum(reached))
        end, right = forest.subtree_end, forest.nodes.right
        first, middle = np.arange(forest.n_nodes) + 1, np.where(right >= 0, right, 0)
        is_left_heavier = reached[middle] - reached[first] >= reached[end] - reached[middle]
        keep = np.ones(forest.n_nodes, bool)
        is_dropped = np.isin(forest.nodes.feature, features)
        _drop_splits(is_dropped, is_left_heavier, right, end, keep)
        return Simplify()(forest.keep_nodes(keep))


def find_tested_features(forest: Forest) -> NDArray[np.intp]:
    """The features that some split tests, rising.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return np.unique(forest.nodes.feature[~forest.is_leaf]).astype(np.intp)


@kernel
def _drop_splits(
    is_dropped: NDArray[np.bool_],
    is_left_heavier: NDArray[np.bool_],
    right: NDArray[np.int32],
    end: NDArray[np.int32],
    keep: NDArray[np.bool_],
) -> None:
    """Clear `keep` at each split that goes and below its lighter side."""
    for j in range(len(keep)):
        if is_dropped[j] and keep[j]:
            keep[j] = False
            if is_left_heavier[j]:
                keep[right[j] : end[j]] = False
            else:
                keep[j + 1 : right[j]] = False
