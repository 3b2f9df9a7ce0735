"""`compress`, `Compressor` and `pack`: the door to a compression; what happens behind it is in `run`."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from ensemble_compress.errors import InputError, ParameterError, PipelineWarning
from ensemble_compress.model import CompressedModel
from ensemble_compress.run import Run
from ensemble_compress.writers import TARGETS


class Compressor(BaseEstimator):  # type: ignore[misc]
    """Compresses any number of models, judged by the rows that it was fitted on.

    Parameters
    ----------
    tolerance : float, optional
        The largest loss of score allowed, in the score's own units; 0.005 where neither it nor `max_bytes` nor a list of
        steps is given.
    relative : bool
        Whether `tolerance` is a fraction of the teacher's score.
    scoring : str or callable, optional
        As in scikit-learn; default accuracy or R2. Without labels the score is agreement with the teacher.
    validation : None, float or (X_val, y_val)
        The rows that judge. None: folds of the given rows, the teacher trained again without each; from 20,000 rows on the
        trees of a forest that did not see a row (out-of-bag) answer for it instead, and from 50,000 rows on any other teacher
        is trained again once, without a share of the rows. A model that cannot be trained again is judged in-sample, and
        the report says so. A fraction: so many rows are held out. A pair: rows that the teacher was not trained on.
    max_bytes : int, optional
        Budget for the C tables, in bytes.
    target : str
        What the model has to run on.
    confidence : float, optional
        None chooses by the cross-validated estimate and its standard error; 0.95 the smallest model whose loss
        is below `tolerance` with that probability; with a pair as `validation` those rows judge alone.
    steps : "auto", "lossless" or list of algorithms
        How to compress.
    random_state : int
        Seed of the folds and of the algorithms.
    n_jobs : int, optional
        Rounds of judgement at a time. None is as many as the process may use processors, and one where there are few rows.
    verbose : bool
        Whether to show progress bars (on standard error, if it is a terminal).

    Attributes
    ----------
    n_features_in_ : int
        Columns of X.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0).fit(X, y)
    >>> small = ec.Compressor(tolerance=0.02).fit(X, y).compress(forest)
    >>> small.report.student.bytes["c_tables"] < 1000
    True
    """

    def __init__(
        self,
        tolerance: float | None = None,
        *,
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

    def fit(self, X: Any = None, y: Any = None, sample_weight: Any = None) -> "Compressor":
        """Keep the rows to judge by.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame, optional
            The rows that the models were trained on; not needed for `steps="lossless"` and steps that need no data.
        y : array-like of shape (n_rows,), optional
            Their labels or values.
        sample_weight : array-like of shape (n_rows,), optional
            Their weights.
        """
        _check_parameters(self)
        if X is None and (y is not None or sample_weight is not None):
            raise InputError("y or sample_weight is given without X; pass the rows too")
        if hasattr(X, "tocsr"):
            raise InputError(
                "X is a sparse matrix; models predict from those, but are judged by dense rows: pass X.toarray()"
            )
        self._X, self._y, self._weight = X, y, sample_weight
        if X is not None:
            self.n_features_in_ = _count_columns(X)
        self._is_fitted = True
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_is_fitted")

    def compress(self, model: Any) -> CompressedModel:
        """The compressed form of one model.

        Parameters
        ----------
        model : fitted estimator, booster, Forest or path
            The teacher; whatever `ensemble_compress.read` takes.

        Returns
        -------
        CompressedModel

        Raises
        ------
        BudgetError
            Nothing that was found fits `max_bytes`; `.nearest` is the smallest.
        """
        if not hasattr(self, "_is_fitted"):
            raise InputError("this Compressor has no rows to judge by yet; call fit(X, y) first")
        _check_parameters(self)
        return self._compress(model)

    def _compress(self, model: Any) -> CompressedModel:
        run = Run(self, model)
        if run.source.unwrapped.before:
            warnings.warn(run.source.unwrapped.describe(), PipelineWarning, stacklevel=3)
        return run.result()


def compress(
    model: Any, X: Any = None, y: Any = None, *, sample_weight: Any = None, **options: Any
) -> CompressedModel:
    """Compress a trained tree ensemble.

    Parameters
    ----------
    model : fitted estimator, booster, Forest or path
        The teacher; whatever `ensemble_compress.read` takes. Of a pipeline the last step is compressed, judged by rows that the
        other steps transformed; the compressed model takes transformed rows.
    X : array-like of shape (n_rows, n_features) or DataFrame, optional
        The rows that it was trained on.
    y : array-like of shape (n_rows,), optional
        Their labels or values.
    sample_weight : array-like of shape (n_rows,), optional
        Their weights.
    **options
        The parameters of `Compressor`: `tolerance`, `max_bytes`, `validation`, `steps` and others.

    Returns
    -------
    CompressedModel

    Raises
    ------
    BudgetError
        Nothing that was found fits `max_bytes`; `.nearest` is the smallest.

    Warns
    -----
    PipelineWarning
        The model is the last step of a pipeline, and the steps before it stay outside.

    Notes
    -----
    A KeyboardInterrupt (Ctrl-C) while candidates are judged ends the search: the best that was judged by then is returned, and
    a note on the report says so. A second one is raised.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> small = ec.compress(RandomForestClassifier(50, random_state=0).fit(X, y), X, y, tolerance=0.02)
    >>> small.n_leaves < 100
    True
    """
    unknown = sorted(set(options) - set(Compressor().get_params()))
    if unknown:
        raise ParameterError(
            f"compress has no argument {unknown[0]!r}; expected one of {', '.join(Compressor().get_params())}"
        )
    return Compressor(**options).fit(X, y, sample_weight)._compress(model)


def pack(model: Any) -> CompressedModel:
    """The same model with the same answers to the bit, without what no row can tell from the rest.

    Parameters
    ----------
    model : fitted estimator, booster, Forest or path
        Whatever `ensemble_compress.read` takes.

    Returns
    -------
    CompressedModel

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(10, random_state=0).fit(X, y)
    >>> bool((ec.pack(forest).predict_proba(X) == forest.predict_proba(X)).all())
    True
    """
    return compress(model, steps="lossless")


def _count_columns(X: Any) -> int:
    """Columns of X, 0 where it has no two dimensions: then the forest that reads it says what is wrong."""
    try:
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    except ValueError:
        return 0
    return int(shape[1]) if len(shape) == 2 else 0


def _expect(given: Compressor, holds: bool, name: str, expected: str) -> None:
    if not holds:
        raise ParameterError(f"{name} is {getattr(given, name)!r}; expected {expected}")


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return is_real and bool(abs(value) < 1e300)


def _check_parameters(given: Compressor) -> None:
    tolerance, budget, confidence = given.tolerance, given.max_bytes, given.confidence
    _expect(
        given,
        tolerance is None or (_is_number(tolerance) and tolerance >= 0),
        "tolerance",
        "a number >= 0, or None",
    )
    _expect(
        given,
        budget is None
        or (isinstance(budget, (int, np.integer)) and not isinstance(budget, bool) and budget > 0),
        "max_bytes",
        "a whole number of bytes above 0, or None",
    )
    _expect(
        given,
        confidence is None or (_is_number(confidence) and 0.5 <= confidence < 1),
        "confidence",
        "None or in [0.5, 1)",
    )
    for name in ("relative", "verbose"):
        _expect(given, isinstance(getattr(given, name), (bool, int, np.bool_)), name, "True or False")
    seed, n_jobs = given.random_state, given.n_jobs
    is_whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    is_seed = is_whole and 0 <= int(seed) < 2**32
    _expect(
        given,
        seed is None or isinstance(seed, np.random.RandomState) or is_seed,
        "random_state",
        "None, a whole number from 0 to 2**32 - 1, or a RandomState",
    )
    is_count = isinstance(n_jobs, (int, np.integer)) and not isinstance(n_jobs, bool)
    _expect(
        given,
        n_jobs is None or (is_count and bool(n_jobs != 0) and abs(n_jobs) <= 1024),
        "n_jobs",
        "None or a whole number but 0",
    )
    _expect(
        given,
        isinstance(given.target, str) and given.target in TARGETS,
        "target",
        f"one of {', '.join(TARGETS)}",
    )
    _check_recipe(given)


def _check_recipe(given: Compressor) -> None:
    """The steps and the rows that judge."""
    named = isinstance(given.steps, str)
    _expect(
        given,
        not named or given.steps in ("auto", "lossless"),
        "steps",
        "'auto', 'lossless' or a list of algorithms",
    )
    if not named:
        listed = isinstance(given.steps, Sequence) and all(
            hasattr(step, "needs") and not isinstance(step, type) for step in given.steps
        )
        _expect(
            given,
            listed and len(given.steps) > 0,
            "steps",
            "a list of algorithms such as [PruneNodes(max_leaves=100)]",
        )
    validation = given.validation
    pair = isinstance(validation, (tuple, list)) and len(validation) == 2
    share = _is_number(validation) and 0 < validation < 1
    _expect(
        given,
        validation is None or pair or share,
        "validation",
        "None, a fraction between 0 and 1, or (X_val, y_val)",
    )


__all__ = ["Compressor", "compress", "pack"]
