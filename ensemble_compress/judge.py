"""How a model is judged on rows that it was not fitted on: one score, and how certain a difference of scores is."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.row_scores import MEAN_SCORES, Answers

N_RESAMPLES = 200


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
        known = MEAN_SCORES.get(default if scoring is None else scoring if isinstance(scoring, str) else "")
        self._mean = known if known is not None and known.is_of_classes == (classes is not None) else None
        self._scorer = None if self._mean and self._mean.is_the_score else self._find_scorer(scoring)

    def _find_scorer(self, scoring: Any) -> Any:
        try:
            return check_scoring(_stand_in(self.classes, None), scoring)
        except (ValueError, TypeError) as error:
            raise ParameterError(
                f"scoring is {scoring!r}; expected the name of a scikit-learn scorer or a callable ({error})"
            ) from error

    @property
    def tells_error(self) -> bool:
        """Whether the error of a loss of score costs no more than the loss itself."""
        return self._mean is not None

    def score(self, given: Answers, data: Data) -> float:
        """The score of `given` on the rows of `data`, which has labels."""
        if self._scorer is None:
            assert self._mean is not None
            return float(self._mean.weight(data) @ self._mean.parts(given, data))
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
        if self._mean is None:
            return self._resampled_error(teacher, student, data)
        weight = self._mean.weight(data)
        of_teacher, of_student = self._mean.parts(teacher, data), self._mean.parts(student, data)
        difference = of_teacher - of_student
        center = float(weight @ difference) / float(weight.sum())
        # One row more that the two disagree on: rows on which they all agree prove little where there are few.
        unseen = weight.max() ** 2 * self._mean.unit(data) ** 2
        slope = self._mean.slope
        factor = 1.0 if slope is None else slope(float(weight @ of_teacher), float(weight @ of_student))
        return factor * float(np.sqrt(np.square(weight) @ np.square(difference - center) + unseen))

    def _resampled_error(self, teacher: Answers, student: Answers, data: Data) -> float:
        """The same for a scorer of which nothing is known, by the bootstrap."""
        generator = np.random.default_rng(0)
        drops = []
        for _ in range(N_RESAMPLES):
            rows = generator.integers(0, data.n_rows, data.n_rows)
            try:
                part = data.take(rows)
                drops.append(self.score(teacher.take(rows), part) - self.score(student.take(rows), part))
            except InputError:
                # A resample may lack a class that the scorer needs.
                continue
        return float(np.std(drops)) if len(drops) > 1 else float("inf")


def _name_of(scoring: Any) -> str | None:
    """The name of a scorer, or of the metric that `make_scorer` made one from."""
    return getattr(scoring, "__name__", None) or getattr(
        getattr(scoring, "_score_func", None), "__name__", None
    )


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
