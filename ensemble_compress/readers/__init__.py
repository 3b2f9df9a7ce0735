"""Readers: from a fitted model, whatever library it comes from, to a Forest.

One module a library, each with `accepts(model)` and `read(model)`. A reader normalises away everything in which the
libraries differ, so that nothing behind it asks where a forest came from.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from ensemble_compress.errors import (
    EnsembleCompressError,
    ModelFileError,
    PipelineWarning,
    UnsupportedModelError,
    in_short,
)
from ensemble_compress.forest import Forest
from ensemble_compress.readers import catboost, lightgbm, sklearn, treelite, xgboost
from ensemble_compress.readers.files import load_model
from ensemble_compress.readers.pipelines import Unwrapped, unwrap, weight_parameter

__all__ = ["Unwrapped", "load_model", "read", "unwrap", "weight_parameter"]

READERS: tuple[Any, ...] = (treelite, catboost, xgboost, lightgbm, sklearn)
"""Asked in this order: a checkpoint of Treelite may have any suffix, a .json file that is no export of CatBoost is taken
for XGBoost's, and the wrappers of XGBoost and LightGBM are scikit-learn estimators too."""


def read(model: Any) -> Forest:
    """The forest of a trained model: the same leaf for every row and the same margin.

    Parameters
    ----------
    model : Forest, fitted estimator, booster, or path
        A tree, forest or boosting model of scikit-learn, a Booster or wrapper of XGBoost or LightGBM, a model of
        CatBoost, a `treelite.Model`, or a path to a .json (XGBoost, CatBoost), .ubj (XGBoost), .txt (LightGBM), .cbm
        (CatBoost), .tl (Treelite) or .skops file. Of a scikit-learn Pipeline the last step is read.

    Returns
    -------
    Forest

    Raises
    ------
    UnsupportedModelError
        The model is not fitted, or cannot be represented exactly; the message says what to do.
    ModelFileError
        The file is damaged, truncated or of another kind.

    Warns
    -----
    PipelineWarning
        The model is the last step of a pipeline, and the steps before it stay outside.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemble_compress.readers import read
    >>> read(DecisionTreeClassifier().fit([[0.0], [1.0]], ["no", "yes"])).predict([[0.3], [0.8]]).tolist()
    ['no', 'yes']
    """
    if isinstance(model, Forest):
        return model
    held = load_model(model) if isinstance(model, str | os.PathLike) else model
    found = unwrap(held)
    if found.before:
        warnings.warn(found.describe(), PipelineWarning, stacklevel=2)
    if held is model or isinstance(held, Path):
        return _read_object(found.model)
    return _read_from_file(found.model, Path(model))


def _read_from_file(model: Any, path: Path) -> Forest:
    try:
        return _read_object(model)
    except EnsembleCompressError:
        raise
    except Exception as error:
        # Attributes of an estimator that contradict each other: only a file that somebody edited has such.
        reason = in_short(f"{type(error).__name__}: {error}")
        raise ModelFileError(f"{path.name}: the model in it is damaged ({reason}); save it again") from error


def _read_object(model: Any) -> Forest:
    for reader in READERS:
        if reader.accepts(model):
            forest: Forest = reader.read(model)
            return forest
    raise UnsupportedModelError(_refusal(model))


def _refusal(model: Any) -> str:
    kind = type(model)
    if isinstance(model, type):
        return f"{model.__name__} is a class; expected a fitted model: {model.__name__}(...).fit(X, y)"
    return (
        f"cannot read a model of type {kind.__module__}.{kind.__qualname__}; expected a fitted tree ensemble of"
        " scikit-learn, XGBoost, LightGBM, CatBoost or Treelite, or a path to a .json, .ubj, .txt, .cbm, .tl or .skops file"
    )
