"""Model files: which suffix means what, and how to get at the model without running code from the file.

The files that XGBoost, LightGBM, CatBoost and Treelite write themselves go to their readers as paths. A .skops file gives
back the scikit-learn estimator in it, as long as it is made of nothing but the types below.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

from ensemble_compress.archive import check_arrays, check_members
from ensemble_compress.errors import (
    MissingPackageError,
    ModelFileError,
    ParameterError,
    UnsupportedModelError,
    in_short,
)
from ensemble_compress.file_kinds import describe_mismatch
from ensemble_compress.readers.treelite_checkpoint import HEAD_BYTES, is_checkpoint

PATH_SUFFIXES = (".json", ".ubj", ".txt", ".cbm")
TREELITE_SUFFIXES = (".tl", ".treelite", ".checkpoint")
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
OLD_XGBOOST = (
    "XGBoost's old binary format cannot be read; load the model with an XGBoost before 3.1 and save it again with"
    " save_model('model.json'). If XGBoost 2.1 or later wrote the file it is UBJSON: name it model.ubj"
)
REFUSED_SUFFIXES = {
    ".forest": "it holds a compressed model: open it with ensemble_compress.load(path)",
    ".bin": OLD_XGBOOST,
    ".model": OLD_XGBOOST,
    ".deprecated": OLD_XGBOOST,
    ".onnx": "ONNX models cannot be read; use the model that the file was made from",
}
SKOPS_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",
        "sklearn._loss.link.Interval",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    }
)
"""What a .skops file may hold beyond the types that skops itself trusts. `partial` and `check_array` are how a
HistGradientBoosting model with categorical features checks its columns; both only ever meet the rows. No booster is among
them: its library would load it from the bytes in the file, and damaged ones end the process."""
OWN_FILES = {
    "xgboost": "save it with save_model('model.json')",
    "lightgbm": "save it with booster_.save_model('model.txt')",
    "catboost": "save it with save_model('model.json', format='json')",
}
"""How else to save the models of libraries that a .skops file is not read for."""


def load_model(path: Any, trust_pickle: bool = False) -> Any:
    """What a model file holds: an estimator from .skops (or a trusted pickle), the path itself for the libraries' own.

    Parameters
    ----------
    path : str or PathLike
        A .json (XGBoost, CatBoost), .ubj (XGBoost), .txt (LightGBM), .cbm (CatBoost), .skops (scikit-learn) or pickled model, or a
        checkpoint of Treelite, which is known by its first bytes whatever its suffix.
    trust_pickle : bool
        Whether to load a pickle, which runs whatever code it holds.

    Returns
    -------
    Any
        Something that `read` takes.

    Raises
    ------
    ModelFileError
        The file is missing, empty or damaged.
    UnsupportedModelError
        Another kind of file, or one that holds types outside `SKOPS_TYPES`.
    ParameterError
        A pickle, and `trust_pickle` is not set.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.exists() and path.is_dir():
        raise ModelFileError(f"{path}: expected a model file, found a directory")
    mismatch = describe_mismatch(path) if path.is_file() and suffix not in PICKLE_SUFFIXES else None
    if mismatch is not None and suffix != ".forest":
        raise ModelFileError(f"{path.name}: {mismatch}")
    if is_treelite(path):
        _size_of(path)
        return path
    if suffix in REFUSED_SUFFIXES:
        raise UnsupportedModelError(f"{path.name}: {REFUSED_SUFFIXES[suffix]}")
    if suffix in PATH_SUFFIXES:
        _size_of(path)
        return path
    if suffix == ".skops":
        return _load_skops(path)
    if suffix in PICKLE_SUFFIXES:
        return _load_pickle(path, trust_pickle)
    raise UnsupportedModelError(
        f"{path.name}: unknown suffix {path.suffix!r}; expected .json (XGBoost, CatBoost), .ubj (XGBoost), .txt"
        " (LightGBM), .cbm (CatBoost), .tl (Treelite) or .skops (scikit-learn)"
    )


def is_treelite(path: Path) -> bool:
    """Whether a file is a checkpoint of Treelite, by its suffix or its first bytes.

    Parameters
    ----------
    path : Path
        The file, which need not be there.
    """
    if path.suffix.lower() in TREELITE_SUFFIXES:
        return True
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return is_checkpoint(file.read(HEAD_BYTES))
    except OSError:
        return False


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelFileError
        There is no such file, it cannot be read, or it is empty.
    """
    _size_of(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path.name}: the model file cannot be read ({error.strerror})") from error


def _size_of(path: Path) -> int:
    try:
        is_there = path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise ModelFileError(
            f"{str(path)[:200]}: the model file cannot be read ({error.strerror})"
        ) from error
    if not is_there:
        raise ModelFileError(f"{path}: no such model file")
    if not path.is_file():
        raise ModelFileError(f"{path}: expected a model file, found a directory or device")
    size = os.path.getsize(path)
    if size == 0:
        raise ModelFileError(f"{path.name}: the model file is empty; save the model again")
    return size


def _load_skops(path: Path) -> Any:
    size = _size_of(path)
    try:
        import skops.io
    except ImportError as error:
        raise MissingPackageError(
            'reading a .skops file needs skops: pip install "ensemble-compress[skops]"'
        ) from error
    if not zipfile.is_zipfile(path):
        raise ModelFileError(f"{path.name}: not a .skops file, or a truncated one; save the model again")
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, size)
            check_arrays(archive)
        types = skops.io.get_untrusted_types(file=path)
    except Exception as error:
        raise _damaged_skops(path, error) from error
    foreign = sorted(set(types) - SKOPS_TYPES)
    for library, advice in OWN_FILES.items():
        if any(name.partition(".")[0] == library for name in foreign):
            raise UnsupportedModelError(
                f"{path.name} holds a model of {library}, which is not loaded from .skops, as damaged bytes would end the"
                f" process: {advice}, of a pipeline its last step, and give that file"
            )
    if foreign:
        raise UnsupportedModelError(
            f"{path.name} holds types that are not part of a known tree ensemble: {in_short(', '.join(foreign))}; they are not"
            " loaded. Save the fitted tree ensemble alone, or load the file yourself and pass the model"
        )
    try:
        return skops.io.load(path, trusted=types)
    except ImportError as error:
        raise MissingPackageError(f"{path.name}: {error}; install the library of the model first") from error
    except Exception as error:
        raise _damaged_skops(path, error) from error


def _damaged_skops(path: Path, error: Exception) -> ModelFileError:
    reason = in_short(error)
    return ModelFileError(f"{path.name}: a damaged .skops file ({reason}); save the model again")


def _load_pickle(path: Path, trust_pickle: bool) -> Any:
    if not trust_pickle:
        raise ParameterError(
            f"{path.name} is a pickle, and loading a pickle runs the code it holds. Save the model as .skops, .json"
            " or .txt; or, if you trust where the file comes from, load it yourself and pass the model"
            " (on the command line: --trust-pickle)"
        )
    _size_of(path)
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise ModelFileError(
            f"{path.name}: the pickle cannot be loaded ({type(error).__name__}: {error})"
        ) from error
