"""How a model is judged on rows that it was not fitted on: one score, and how certain a difference of scores is."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.forest import Forest

N_RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says about some rows.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_classes) or (n_rows, n_outputs)
        Probabilities of a classifier, values of a regression model.
    codes : ndarray of shape (n_rows,), optional
        Class codes of a classifier.
    """

    values: NDArray[np.float64]
    codes: NDArray[np.intp] | None

    @classmethod
    def of(cls, forest: Forest, X: NDArray[Any]) -> "Answers":
        """The answers of a forest."""
        return cls.from_margin(forest, forest.margin(X))

    @classmethod
    def from_margin(cls, forest: Forest, margin: NDArray[Any]) -> "Answers":
        """What the forest says where its margins are `margin`."""
        codes = forest.decide(margin) if forest.is_classifier else None
        return cls(forest.answers(margin), codes)


class Judge:
    """A scorer that takes answers instead of a model.

    Parameters
    ----------
    scoring : str, callable or None
        As in scikit-learn; None is accuracy for classes and R2 for values.
    classes : ndarray, optional
        Labels of the classes; None for regression.
    """

    def __init__(self, scoring: Any, classes: NDArray[Any] | None) -> None:
        self.classes = classes
        default = "r2" if classes is None else "accuracy"
        self.name = scoring if isinstance(scoring, str) else _name_of(scoring) or default
        self.is_default = scoring is None or scoring == default
        try:
            self._scorer = None if self.is_default else check_scoring(_stand_in(classes, None), scoring)
        except (ValueError, TypeError) as error:
            raise ParameterError(
                f"scoring is {scoring!r}; expected the name of a scikit-learn scorer or a callable ({error})"
            ) from error

    def score(self, given: Answers, data: Data) -> float:
        """The score of `given` on the rows of `data`, which has labels."""
        if self._scorer is None:
            return self._from_parts(self._parts(given, data), data)
        labels = data.y if self.classes is None else self.classes[data.y]
        weight = {} if data.weight is None else {"sample_weight": data.weight}
        try:
            with warnings.catch_warnings():
                # Held-out rows may lack a class that the models know; that is no fault of the caller's.
                warnings.simplefilter("ignore")
                score = float(self._scorer(_stand_in(self.classes, given), data.X, labels, **weight))
        except Exception as error:
            raise InputError(
                f"the scorer {self.name!r} failed on {data.n_rows} held-out rows: {error}"
            ) from error
        if not np.isfinite(score):
            raise InputError(
                f"the scorer {self.name!r} returned {score} on {data.n_rows} held-out rows; expected a number"
            )
        return score

    def drop_error(self, teacher: Answers, student: Answers, data: Data) -> float:
        """The standard error of `score(teacher) - score(student)` on the rows of `data`, the rows being paired."""
        if data.n_rows < 2:
            return float("inf")
        if self._scorer is None:
            difference = self._parts(teacher, data) - self._parts(student, data)
            weight = _weight(data)
            center = float(weight @ difference)
            # One row more that the two disagree on: rows on which they all agree prove little where there are few.
            unseen = weight.max() ** 2
            return float(np.sqrt(np.square(weight) @ np.square(difference - center) + unseen))
        generator = np.random.default_rng(0)
        drops = []
        for _ in range(N_RESAMPLES):
            rows = generator.integers(0, data.n_rows, data.n_rows)
            try:
                part = data.take(rows)
                drops.append(self.score(_take(teacher, rows), part) - self.score(_take(student, rows), part))
            except InputError:
                # A resample may lack a class that the scorer needs.
                continue
        return float(np.std(drops)) if len(drops) > 1 else float("inf")

    def _parts(self, given: Answers, data: Data) -> NDArray[np.float64]:
        """The default score as a weighted mean of one number a row."""
        y: Any = data.y
        if self.classes is not None:
            return np.asarray(given.codes == y, np.float64)
        y = y.reshape(len(y), -1)
        weight = _weight(data)
        spread = weight @ np.square(y - weight @ y)
        error = np.square(y - given.values)
        # A constant target: as in scikit-learn, 1 where it is met and 0 where it isn't.
        parts = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), error == 0)
        return np.asarray(parts.mean(axis=1))

    def _from_parts(self, parts: NDArray[np.float64], data: Data) -> float:
        return float(_weight(data) @ parts)


def _name_of(scoring: Any) -> str | None:
    """The name of a scorer, or of the metric that `make_scorer` made one from."""
    return getattr(scoring, "__name__", None) or getattr(
        getattr(scoring, "_score_func", None), "__name__", None
    )


def _weight(data: Data) -> NDArray[np.float64]:
    weight = np.ones(data.n_rows) if data.weight is None else data.weight
    return np.asarray(weight / weight.sum())


def _take(given: Answers, rows: NDArray[np.intp]) -> Answers:
    return Answers(given.values[rows], None if given.codes is None else given.codes[rows])


class _FixedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Says what it was given, whatever the rows, so that scikit-learn's scorers can score answers."""

    def __init__(self, classes: NDArray[Any], given: Answers | None) -> None:
        self.classes_ = classes
        self.given = given

    def fit(self, X: Any, y: Any) -> "_FixedClassifier":
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        return np.asarray(self.classes_[self.given.codes])  # type: ignore[union-attr]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        return self.given.values  # type: ignore[union-attr]


class _FixedRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Says what it was given, whatever the rows."""

    def __init__(self, given: Answers | None) -> None:
        self.given = given

    def fit(self, X: Any, y: Any) -> "_FixedRegressor":
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        values = self.given.values  # type: ignore[union-attr]
        return values[:, 0] if values.shape[1] == 1 else values


def _stand_in(classes: NDArray[Any] | None, given: Answers | None) -> Any:
    return _FixedRegressor(given) if classes is None else _FixedClassifier(classes, given)
