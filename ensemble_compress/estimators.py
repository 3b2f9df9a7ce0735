"""Meta-estimators: train, compress, predict, as one scikit-learn estimator for pipelines, grid search and cross-validation.

The estimator inside checks X and y as it always does; what is fitted here answers through the compressed model alone.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ensemble_compress.compressor import Compressor
from ensemble_compress.errors import InputError, PipelineWarning, UnsupportedModelError
from ensemble_compress.readers import unwrap, weight_parameter
from ensemble_compress.report import Report

N_TREES = 30
"""Trees of the default estimator."""


class _Compressed(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """What the two meta-estimators have in common."""

    def __init__(
        self,
        estimator: Any = None,
        *,
        tolerance: float | None = None,
        relative: bool = False,
        scoring: Any = None,
        validation: Any = None,
        max_bytes: int | None = None,
        target: str = "cpu",
        confidence: float | None = None,
        steps: Literal["auto", "lossless"] | Sequence[Any] = "auto",
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.tolerance = tolerance
        self.relative = relative
        self.scoring = scoring
        self.validation = validation
        self.max_bytes = max_bytes
        self.target = target
        self.confidence = confidence
        self.steps = steps
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self._teacher())
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.categorical = inner.input_tags.categorical
        tags.target_tags.positive_only = inner.target_tags.positive_only
        tags.target_tags.multi_output = inner.target_tags.multi_output and tags.regressor_tags is not None
        tags.non_deterministic = inner.non_deterministic
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the estimator on all rows and compress it, judged by the same rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        y : array-like of shape (n_rows,)
            Labels or values.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of the rows, for training and for judging.

        Raises
        ------
        InputError
            The rows, labels or weights do not fit each other, or the estimator takes no weights.
        BudgetError
            Nothing that was found fits `max_bytes`; `.nearest` is the smallest.
        """
        compressor = Compressor(**{name: getattr(self, name) for name in Compressor().get_params()})
        compressor.fit(X, y, sample_weight)
        teacher = self._teacher()
        name = None if sample_weight is None else weight_parameter(teacher)
        if sample_weight is not None and name is None:
            raise InputError(
                f"{type(teacher).__name__}.fit takes no sample_weight; leave it out or use another estimator"
            )
        if y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: pass fit(X, y)"
            )
        self.estimator_ = clone(teacher).fit(X, y, **({} if name is None else {name: sample_weight}))
        self._check_kind()
        validate_data(self, X, y, skip_check_array=True)
        with warnings.catch_warnings():
            # The steps of a pipeline stay in `estimator_`, and predictions pass them.
            warnings.simplefilter("ignore", PipelineWarning)
            self.compressed_ = compressor.compress(self.estimator_)
        return self

    @property
    def report_(self) -> Report:
        """What compression did."""
        check_is_fitted(self)
        return self.compressed_.report  # type: ignore[return-value]

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of a classifier, values of a regression model.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        """
        rows = self._rows(X)
        return self.compressed_.predict(rows, self.n_jobs)

    def _rows(self, X: Any) -> Any:
        """Rows as the compressed model takes them, after scikit-learn's checks of names and number of features.

        The forest makes all other checks. What stands before the model in a pipeline transforms the rows.
        """
        check_is_fitted(self)
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, skip_check_array=True, reset=False)
        return unwrap(self.estimator_).transform(X)

    def _teacher(self) -> Any:
        raise NotImplementedError

    def _check_kind(self) -> None:
        raise NotImplementedError


class CompressedClassifier(ClassifierMixin, _Compressed):  # type: ignore[misc]
    """A classifier that is compressed after training and predicts with what is left.

    Parameters
    ----------
    estimator : estimator, optional
        Any classifier that `ensemble_compress.read` takes, also as the last step of a pipeline; default ``ExtraTreesClassifier(30)``.
    tolerance : float, optional
        The largest loss of score allowed, in the score's own units; 0.005 where neither it nor `max_bytes` nor a list of
        steps is given.
    relative : bool
        Whether `tolerance` is a fraction of the teacher's score.
    scoring : str or callable, optional
        As in scikit-learn; default accuracy.
    validation : None, float or (X_val, y_val)
        The rows that judge; see `Compressor`.
    max_bytes : int, optional
        Budget for the C tables, in bytes.
    target : str
        What the model has to run on.
    confidence : float, optional
        None chooses by the cross-validated estimate and its standard error; 0.95 the smallest model whose loss
        is below `tolerance` with that probability.
    steps : "auto", "lossless" or list of algorithms
        How to compress.
    random_state : int
        Seed of the folds and of the algorithms, and of the default estimator.
    n_jobs : int, optional
        Teachers and paths at a time, and the most threads of a prediction.
    verbose : bool
        Whether to show a progress bar (on standard error, if it is a terminal).

    Attributes
    ----------
    estimator_ : estimator
        The teacher, trained on all rows.
    compressed_ : CompressedModel
        What predicts; `compressed_.export(path)` writes it. Of a pipeline it is the last step, and takes transformed rows.
    report_ : Report
        What compression did.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a DataFrame.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(20, random_state=0)
    >>> small = ec.CompressedClassifier(forest, tolerance=0.02).fit(X, y)
    >>> bool(small.compressed_.n_leaves < small.estimator_.n_estimators), bool(small.score(X, y) > 0.9)
    (True, True)
    """

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class, shape (n_rows, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        """
        rows = self._rows(X)
        return self.compressed_.predict_proba(rows, self.n_jobs)

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels, shape (n_classes,)."""
        if not hasattr(self, "compressed_"):
            raise AttributeError("this CompressedClassifier has no classes_ yet; call fit(X, y) first")
        return self.compressed_.classes_

    def _teacher(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        return ExtraTreesClassifier(N_TREES, random_state=self.random_state)

    def _check_kind(self) -> None:
        if not hasattr(self.estimator_, "classes_"):
            raise UnsupportedModelError(
                f"{type(self.estimator_).__name__} is no classifier; use CompressedRegressor for it"
            )


class CompressedRegressor(RegressorMixin, _Compressed):  # type: ignore[misc]
    """A regression model that is compressed after training and predicts with what is left.

    Parameters
    ----------
    estimator : estimator, optional
        Any regression model that `ensemble_compress.read` takes, also as the last step of a pipeline; default ``ExtraTreesRegressor(30)``.
    tolerance : float, optional
        The largest loss of score allowed, in the score's own units; 0.005 where neither it nor `max_bytes` nor a list of
        steps is given.
    relative : bool
        Whether `tolerance` is a fraction of the teacher's score.
    scoring : str or callable, optional
        As in scikit-learn; default R2.
    validation : None, float or (X_val, y_val)
        The rows that judge; see `Compressor`.
    max_bytes : int, optional
        Budget for the C tables, in bytes.
    target : str
        What the model has to run on.
    confidence : float, optional
        None chooses by the cross-validated estimate and its standard error; 0.95 the smallest model whose loss
        is below `tolerance` with that probability.
    steps : "auto", "lossless" or list of algorithms
        How to compress.
    random_state : int
        Seed of the folds and of the algorithms, and of the default estimator.
    n_jobs : int, optional
        Teachers and paths at a time, and the most threads of a prediction.
    verbose : bool
        Whether to show a progress bar (on standard error, if it is a terminal).

    Attributes
    ----------
    estimator_ : estimator
        The teacher, trained on all rows.
    compressed_ : CompressedModel
        What predicts; `compressed_.export(path)` writes it. Of a pipeline it is the last step, and takes transformed rows.
    report_ : Report
        What compression did.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X was a DataFrame.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> X, y = load_diabetes(return_X_y=True)
    >>> boosting = GradientBoostingRegressor(n_estimators=20, random_state=0)
    >>> small = ec.CompressedRegressor(boosting, tolerance=0.02).fit(X, y)
    >>> bool(small.compressed_.n_leaves < 80)
    True
    """

    def _teacher(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        return ExtraTreesRegressor(N_TREES, random_state=self.random_state)

    def _check_kind(self) -> None:
        if hasattr(self.estimator_, "classes_"):
            raise UnsupportedModelError(
                f"{type(self.estimator_).__name__} is a classifier; use CompressedClassifier for it"
            )


__all__ = ["CompressedClassifier", "CompressedRegressor"]
