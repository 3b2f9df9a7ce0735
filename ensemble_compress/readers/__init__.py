"""Readers: from a fitted model, whatever library it comes from, to a Forest.

One module a library, each with `accepts(model)` and `read(model)`. A reader normalises away everything in which the
libraries differ, so that nothing behind it asks where a forest came from.
"""

import os
from pathlib import Path
from typing import Any

from ensemble_compress.errors import EnsembleCompressError, ModelFileError, UnsupportedModelError, in_short
from ensemble_compress.forest import Forest
from ensemble_compress.readers import lightgbm, sklearn, xgboost
from ensemble_compress.readers.files import load_model

__all__ = ["load_model", "read"]

READERS: tuple[Any, ...] = (xgboost, lightgbm, sklearn)
"""Asked in this order: the wrappers of XGBoost and LightGBM are scikit-learn estimators too."""

NOT_YET = {
    "catboost": "CatBoost models cannot be read yet; train the model with XGBoost, LightGBM or scikit-learn",
    "treelite": "Treelite models cannot be read yet; pass the model, or model file, that it was made from",
}


def read(model: Any) -> Forest:
    """The forest of a trained model: the same leaf for every row and the same margin.

    Parameters
    ----------
    model : Forest, fitted estimator, booster, or path
        A tree, forest or boosting model of scikit-learn, a Booster or wrapper of XGBoost or LightGBM, or a path to
        a .json or .ubj (XGBoost), .txt (LightGBM) or .skops file.

    Returns
    -------
    Forest

    Raises
    ------
    UnsupportedModelError
        The model is not fitted, or cannot be represented exactly; the message says what to do.
    ModelFileError
        The file is damaged, truncated or of another kind.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemble_compress.readers import read
    >>> read(DecisionTreeClassifier().fit([[0.0], [1.0]], ["no", "yes"])).predict([[0.3], [0.8]]).tolist()
    ['no', 'yes']
    """
    if isinstance(model, Forest):
        return model
    if isinstance(model, str | os.PathLike):
        return _read_file(Path(model))
    return _read_object(model)


def _read_file(path: Path) -> Forest:
    model = load_model(path)
    if isinstance(model, Path):
        return _read_object(model)
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
    library = kind.__module__.partition(".")[0]
    if isinstance(model, type):
        return f"{model.__name__} is a class; expected a fitted model: {model.__name__}(...).fit(X, y)"
    return NOT_YET.get(
        library,
        f"cannot read a model of type {kind.__module__}.{kind.__qualname__}; expected a fitted tree ensemble of"
        " scikit-learn, XGBoost or LightGBM, or a path to a .json, .ubj, .txt or .skops file",
    )
