"""What a compressor is handed in the protocols, and how all of them are judged: by the answers of the tables that are counted.

Classes are codes and columns of categories hold codes, so that a forest reads the same array whoever trained it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from ensemble_compress import sizes
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

METRICS: dict[str, Any] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "r2": metrics.r2_score,
    "neg_root_mean_squared_error": lambda y, answers: -metrics.root_mean_squared_error(y, answers),
}
"""By scikit-learn's names; the higher the better."""


@dataclass(frozen=True)
class Goal:
    """What may be lost of which score.

    Attributes
    ----------
    scoring : str
        A key of `METRICS`.
    tolerance : float
        The largest loss, in the score's own units, or as a share of it.
    relative : bool
        Whether it is a share.
    """

    scoring: str
    tolerance: float = 0.0
    relative: bool = False

    def allowed(self, reference: float) -> float:
        """The largest loss, in the score's own units, of a model that scores `reference`."""
        return self.tolerance * abs(reference) if self.relative else self.tolerance

    def score(self, y: NDArray[Any], answers: NDArray[Any]) -> float:
        """The score of class codes or values."""
        return float(METRICS[self.scoring](y, answers))


@dataclass(frozen=True, eq=False)
class Problem:
    """A teacher, rows to fit on, rows to choose by, and what may be lost on these.

    Attributes
    ----------
    forest : Forest
        The teacher.
    train, valid : Data
        Rows as the teacher reads them, with class codes or values.
    goal : Goal
        What may be lost on the validation rows.
    categorical : tuple of int
        Columns that hold codes of categories, for models that are trained on them anew.
    random_state : int
        Seed of whatever draws.
    """

    forest: Forest
    train: Data
    valid: Data
    goal: Goal
    categorical: tuple[int, ...] = ()
    random_state: int = 0

    @cached_property
    def reference(self) -> float:
        """The teacher's score on the validation rows."""
        return self.score(self.forest)

    def score(self, forest: Forest) -> float:
        """The score of a forest on the validation rows."""
        return self.goal.score(self.valid.y, answers(forest, self.valid.X))  # type: ignore[arg-type]

    def keeps(self, forest: Forest) -> bool:
        """Whether a forest loses no more than it may on the validation rows."""
        return self.keeps_score(self.score(forest))

    def keeps_score(self, score: float) -> bool:
        """The same of a model of this score."""
        return self.reference - score <= self.goal.allowed(self.reference) + 1e-12


def answers(forest: Forest, X: Any) -> NDArray[Any]:
    """Class codes or values of a forest, shape (n_rows,)."""
    margin = forest.margin(X)
    return forest.decide(margin) if forest.is_classifier else np.asarray(forest.linked(margin)[:, 0])


def artefact_answers(forest: Forest, X: Any) -> NDArray[Any]:
    """The same of the exported C tables: of the integers that they add up."""
    if forest.is_classifier:
        return sizes.emulate_labels(forest, X)
    unit = 2.0 ** sizes.fixed_point(forest).exponent / forest.divisor
    return np.asarray(forest.linked(sizes.emulate_scores(forest, X) * unit)[:, 0])


def difference(forest: Forest, X: Any) -> float:
    """How far the artefact is from its forest: rows with another class, or the largest difference of values."""
    ours, theirs = answers(forest, X), artefact_answers(forest, X)
    if forest.is_classifier:
        return float((ours != theirs).sum())
    return float(np.abs(ours - theirs).max(initial=0.0))
