"""What a model says of some rows, and the scores that are means over rows, so that a difference of two has an error.

scikit-learn's scorers are numbers; a mean over rows also tells by how much it would be another one on other rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.data import Data
from ensemble_compress.forest import Forest


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says about some rows.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_classes) or (n_rows, n_outputs)
        Probabilities of a classifier, values of a regression model.
    codes : ndarray of shape (n_rows,), optional
        Class codes of a classifier, whole numbers.
    """

    values: NDArray[np.float64]
    codes: NDArray[Any] | None

    def take(self, rows: NDArray[np.intp]) -> "Answers":
        """Those for some of the rows."""
        return Answers(self.values[rows], None if self.codes is None else self.codes[rows])

    @classmethod
    def of(cls, forest: Forest, X: NDArray[Any]) -> "Answers":
        """The answers of a forest."""
        return cls.from_margin(forest, forest.margin(X))

    @classmethod
    def from_margin(cls, forest: Forest, margin: NDArray[Any]) -> "Answers":
        """What the forest says where its margins are `margin`."""
        codes = forest.decide(margin) if forest.is_classifier else None
        return cls(forest.answers(margin), codes)


def even(data: Data) -> NDArray[np.float64]:
    """The weights of the rows, which add up to 1."""
    weight = np.ones(data.n_rows) if data.weight is None else data.weight
    return np.asarray(weight / weight.sum())


def by_class(data: Data) -> NDArray[np.float64]:
    """The same with the classes that occur weighing alike."""
    weight = even(data)
    codes = np.asarray(data.y)
    share = np.bincount(codes, weights=weight)
    shares = share[codes]
    return np.asarray(
        np.where(shares > 0, weight / np.where(shares > 0, shares, 1.0), 0.0) / max((share > 0).sum(), 1)
    )


def hits(given: Answers, data: Data) -> NDArray[np.float64]:
    """1 where the class is right."""
    return np.asarray(given.codes == data.y, np.float64)


def explained(given: Answers, data: Data) -> NDArray[np.float64]:
    """The parts of R2: 1 less the squared error in units of the spread, which counts as known, averaged over outputs."""
    y, weight = _targets(data), even(data)
    spread = weight @ np.square(y - weight @ y)
    error = np.square(y - given.values)
    # A constant target: as in scikit-learn, 1 where all rows meet it and 0 where one doesn't.
    parts = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), weight @ error == 0)
    return np.asarray(parts.mean(axis=1))


def squares(given: Answers, data: Data) -> NDArray[np.float64]:
    """Squared errors below zero, averaged over outputs."""
    return np.asarray(-np.square(_targets(data) - given.values).mean(axis=1))


def distances(given: Answers, data: Data) -> NDArray[np.float64]:
    """Absolute errors below zero, averaged over outputs."""
    return np.asarray(-np.abs(_targets(data) - given.values).mean(axis=1))


def _targets(data: Data) -> NDArray[np.float64]:
    return np.asarray(data.y, np.float64).reshape(data.n_rows, -1)


def _one(data: Data) -> float:
    return 1.0


def _nothing(data: Data) -> float:
    return 0.0


def _of_root(of_teacher: float, of_student: float) -> float:
    """A difference of two roots is that of the squares divided by the sum of the roots."""
    total = np.sqrt(-of_teacher) + np.sqrt(-of_student)
    return float(1 / total) if total > 0 else 0.0


@dataclass(frozen=True)
class MeanScore:
    """A score that is a weighted mean of one number a row, or a function of it.

    Attributes
    ----------
    parts : callable
        The number of each row.
    weight : callable
        The weight of each row.
    unit : callable
        How far the parts of two models differ on a row on which they disagree; 0 where that is no fixed number.
    slope : callable, optional
        What a difference of two means is multiplied by to be one of scores; None where the mean is the score.
    is_of_classes : bool
        Whether it judges classifiers.
    """

    parts: Callable[[Answers, Data], NDArray[np.float64]]
    weight: Callable[[Data], NDArray[np.float64]] = even
    unit: Callable[[Data], float] = _nothing
    slope: Callable[[float, float], float] | None = None
    is_of_classes: bool = False

    @property
    def is_the_score(self) -> bool:
        """Whether the mean itself is the score."""
        return self.slope is None


MEAN_SCORES: dict[Any, MeanScore] = {
    "accuracy": MeanScore(hits, unit=_one, is_of_classes=True),
    "balanced_accuracy": MeanScore(hits, by_class, _one, is_of_classes=True),
    "r2": MeanScore(explained, unit=_one),
    "neg_mean_squared_error": MeanScore(squares),
    "neg_mean_absolute_error": MeanScore(distances),
    "neg_root_mean_squared_error": MeanScore(squares, slope=_of_root),
}
"""The scores that tell their error, by scikit-learn's names; of several outputs the root is that of the mean."""
