"""Meta-estimators: train, compress, predict, as one scikit-learn estimator for pipelines, grid search and cross-validation.

The estimator inside checks X and y as it always does; what is fitted here answers through the compressed model alone.
"""

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from ensemble_compress.compressor import Compressor
from ensemble_compress.errors import InputError, UnsupportedModelError
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
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        if weight and not has_fit_parameter(teacher, "sample_weight"):
            raise InputError(
                f"{type(teacher).__name__}.fit takes no sample_weight; leave it out or use another estimator"
            )
        if y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: pass fit(X, y)"
            )
        self.estimator_ = clone(teacher).fit(X, y, **weight)
        self._check_kind()
        validate_data(self, X, y, skip_check_array=True)
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
        self._check_rows(X)
        return self.compressed_.predict(X)

    def _check_rows(self, X: Any) -> None:
        """scikit-learn's checks of names and number of features; the forest makes all others."""
        check_is_fitted(self)
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, skip_check_array=True, reset=False)

    def _teacher(self) -> Any:
        raise NotImplementedError

    def _check_kind(self) -> None:
        raise NotImplementedError


class CompressedClassifier(ClassifierMixin, _Compressed):  # type: ignore[misc]
    """A classifier that is compressed after training and predicts with what is left.

    Parameters
    ----------
    estimator : estimator, optional
        Any classifier that `ensemble_compress.read` takes; default ``ExtraTreesClassifier(30)``.
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
        None chooses by the cross-validated estimate and half its standard error; 0.95 the smallest model whose loss
        is below `tolerance` with that probability.
    steps : "auto", "lossless" or list of algorithms
        How to compress.
    random_state : int
        Seed of the folds and of the algorithms, and of the default estimator.
    n_jobs : int, optional
        Teachers and paths at a time.
    verbose : bool
        Whether to show a progress bar (on standard error, if it is a terminal).

    Attributes
    ----------
    estimator_ : estimator
        The teacher, trained on all rows.
    compressed_ : CompressedModel
        What predicts; `compressed_.export(path)` writes it.
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
        self._check_rows(X)
        return self.compressed_.predict_proba(X)  # type: ignore[no-any-return]

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
        Any regression model that `ensemble_compress.read` takes; default ``ExtraTreesRegressor(30)``.
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
        None chooses by the cross-validated estimate and half its standard error; 0.95 the smallest model whose loss
        is below `tolerance` with that probability.
    steps : "auto", "lossless" or list of algorithms
        How to compress.
    random_state : int
        Seed of the folds and of the algorithms, and of the default estimator.
    n_jobs : int, optional
        Teachers and paths at a time.
    verbose : bool
        Whether to show a progress bar (on standard error, if it is a terminal).

    Attributes
    ----------
    estimator_ : estimator
        The teacher, trained on all rows.
    compressed_ : CompressedModel
        What predicts; `compressed_.export(path)` writes it.
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
