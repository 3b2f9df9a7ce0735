"""`CompressedModel`: what compression returns, a fitted scikit-learn predictor that can be exported and saved."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import ModelFileError, ParameterError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.report import Report


class CompressedModel:
    """A compressed model: predicts like a fitted scikit-learn estimator, knows what it lost, and can be exported.

    It keeps scikit-learn's protocol without its base class, whose import takes longer than loading a model and
    predicting with it.

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
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_classifier = self.forest.is_classifier
        return Tags(
            estimator_type="classifier" if is_classifier else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if is_classifier else None,
            regressor_tags=None if is_classifier else RegressorTags(),
            input_tags=InputTags(allow_nan=self.forest.handles_nan, sparse=True),
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the model was made of: what `sklearn.base.clone` asks for.

        Parameters
        ----------
        deep : bool
            Makes no difference: there are no estimators inside.
        """
        return {"forest": self.forest, "report": self.report}

    def set_params(self, **params: Any) -> "CompressedModel":
        """Replace the forest or the report.

        Parameters
        ----------
        **params
            `forest`, `report`, or both.
        """
        for name, value in params.items():
            if name not in ("forest", "report"):
                raise ParameterError(
                    f"a compressed model has no parameter {name!r}; expected forest or report"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
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

    def predict(self, X: Any, n_jobs: int | None = None) -> NDArray[Any]:
        """Labels of a classifier, values of a regression model, shape (n_rows,).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features), DataFrame or sparse matrix
            Rows.
        n_jobs : int, optional
            The most threads; None and -1 take all that the surroundings grant.
        """
        return self.forest.predict(X, n_jobs)

    @property
    def predict_proba(self) -> Callable[..., NDArray[Any]]:
        """A classifier's function from rows, and `n_jobs`, to the probability of each class, shape (n_rows, n_classes)."""
        if not self.forest.is_classifier:
            raise AttributeError("a regression model has no predict_proba")
        return self.forest.predict_proba

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
        from sklearn.metrics import accuracy_score, r2_score

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
        opset: Literal[3, 5] = 5,
        verify: bool = False,
        python: bool = False,
    ) -> list[Path]:
        """Write the model in the form that the file's suffix names, and note the file's bytes on the report.

        ``.h`` a single C header, ``.c`` a C source with its header beside it, ``.so`` / ``.dylib`` / ``.dll`` our shared
        library with its header beside it, ``.treelite.so`` a Treelite model compiled by TL2cgen, ``.onnx`` an ONNX model.

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
        opset : {5, 3}
            The opset of ai.onnx.ml that an ONNX model's trees are written in; 3 is for runtimes without 5.
        verify : bool
            Compile or load what was written, run it on rows at the model's own thresholds and compare it with Python.
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
            opset=opset,
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
