"""`CompressedModel`: what compression returns, a fitted scikit-learn predictor that can be exported and saved."""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if

from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.report import Report


def _is_classifier(model: Any) -> bool:
    return bool(model.forest.is_classifier)


class CompressedModel(BaseEstimator):  # type: ignore[misc]
    """A compressed model: predicts like a fitted scikit-learn estimator, knows what it lost, and can be exported.

    Parameters
    ----------
    forest : Forest
        The model.
    report : Report, optional
        What compression did.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of a classifier.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where the teacher was trained on a DataFrame.
    """

    def __init__(self, forest: Forest, report: Report | None = None) -> None:
        self.forest = forest
        self.report = report

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier" if self.forest.is_classifier else "regressor"
        tags.classifier_tags = ClassifierTags() if self.forest.is_classifier else None
        tags.regressor_tags = None if self.forest.is_classifier else RegressorTags()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = self.forest.handles_nan
        return tags

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return f"CompressedModel({self.forest!r})"

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels of a classifier, shape (n_classes,)."""
        if self.forest.classes is None:
            raise AttributeError("a regression model has no classes_")
        return self.forest.classes

    @property
    def n_features_in_(self) -> int:
        """Columns of X."""
        return self.forest.n_features

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns, where the teacher was trained on a DataFrame."""
        if self.forest.feature_names is None:
            raise AttributeError("the teacher knew no feature names")
        return np.array(self.forest.feature_names, dtype=object)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return self.forest.n_leaves

    def fit(self, X: Any = None, y: Any = None) -> "CompressedModel":
        """Refuse: what was compressed cannot be trained again.

        scikit-learn takes only what has a `fit` for an estimator; `sklearn.frozen.FrozenEstimator` keeps it from being called.

        Parameters
        ----------
        X, y : object
            Not looked at.

        Raises
        ------
        UnsupportedModelError
            Always.
        """
        kind = "CompressedClassifier" if self.forest.is_classifier else "CompressedRegressor"
        raise UnsupportedModelError(
            f"a compressed model cannot be trained again; train a {kind}, or freeze the model as it is:"
            " sklearn.frozen.FrozenEstimator(model)"
        )

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of a classifier, values of a regression model, shape (n_rows,).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        """
        return self.forest.predict(X)

    @available_if(_is_classifier)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class, shape (n_rows, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        """
        return self.forest.predict_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, R2 of a regression model.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or DataFrame
            Rows.
        y : array-like of shape (n_rows,)
            Labels or values.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of the rows.
        """
        metric = accuracy_score if self.forest.is_classifier else r2_score
        return float(metric(y, self.predict(X), sample_weight=sample_weight))

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        target: str = "cpu",
        name: str = "model",
        optimize: Literal["size", "speed"] = "size",
        float_input: bool = True,
        verify: bool = False,
        python: bool = False,
    ) -> list[Path]:
        """Write the model in the form that the file's suffix names, and note the file's bytes on the report.

        ``.h`` a single C header, ``.c`` a C source with its header beside it, ``.so`` / ``.dylib`` / ``.dll`` our shared
        library with its header beside it, ``.treelite.so`` a Treelite model compiled by TL2cgen.

        Parameters
        ----------
        path : str or path
            Where to; what stands there is replaced once the new file is complete.
        target : str
            What it has to run on.
        name : str
            Prefix of the C names.
        optimize : {"size", "speed"}
            Tables packed to the bit, or in whole bytes.
        float_input : bool
            Whether a row of a C source is `float`; otherwise `int16_t`.
        verify : bool
            Compile what was written, run it on rows at the model's own thresholds and compare it with Python.
        python : bool
            Write a Python file beside our shared library that loads it with numpy alone.

        Returns
        -------
        list of Path
            The files written.
        """
        from ensemble_compress.writers import export_forest

        files = export_forest(
            self.forest,
            Path(path),
            target=target,
            name=name,
            optimize=optimize,
            float_input=float_input,
            verify=verify,
            python=python,
        )
        if self.report is not None:
            written = {file.name: file.stat().st_size for file in files}
            self.report = self.report.with_bytes(**written)
        return files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model and its report to a `.forest` file.

        Parameters
        ----------
        path : str or path
            Where to; what stands there is replaced once the new file is complete.
        """
        from ensemble_compress.writers.forest_file import save_forest

        save_forest(
            self.forest, Path(path), {"report": None if self.report is None else self.report.to_dict()}
        )


def load(path: str | os.PathLike[str]) -> CompressedModel:
    """Read a model that `CompressedModel.save` wrote. Nothing in the file is run.

    Parameters
    ----------
    path : str or path
        A `.forest` file.

    Returns
    -------
    CompressedModel

    Raises
    ------
    ModelFileError
        The file is damaged, truncated or of another kind.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> packed = ec.pack(RandomForestClassifier(10, random_state=0).fit(X, y))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "iris.forest")
    ...     packed.save(path)
    ...     bool((ec.load(path).predict(X) == packed.predict(X)).all())
    True
    """
    from ensemble_compress.writers.forest_file import load_forest

    forest, metadata = load_forest(Path(path))
    report = metadata.get("report") if isinstance(metadata, dict) else metadata
    if report is not None and not isinstance(report, dict):
        raise ModelFileError(f"{os.fspath(path)}: the report is damaged; save the model again")
    return CompressedModel(forest, None if report is None else Report.from_dict(report))
