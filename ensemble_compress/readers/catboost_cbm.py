"""CatBoost's own binary files, which only CatBoost reads, and some damaged ones end the process that reads them.

So another process loads the file and exports it to JSON; what becomes of that process, ours goes on.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import MissingPackageError, ModelFileError, UnsupportedModelError, in_short
from ensemble_compress.readers import catboost_child
from ensemble_compress.readers.catboost_trees import leaf_numbers
from ensemble_compress.readers.document import Section, as_section, parse_json
from ensemble_compress.readers.files import read_bytes

TIMEOUT_S = 600


def read_cbm(path: Path) -> tuple[Section, Callable[[int], NDArray[np.int64]]]:
    """(The export of the model in a .cbm file, CatBoost's numbers of the leaves of a tree that is not symmetric).

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    MissingPackageError
        CatBoost is not installed.
    ModelFileError
        CatBoost cannot load it, or does not survive to load it.
    UnsupportedModelError
        CatBoost cannot export the model.
    """
    read_bytes(path)  # the errors of our own: no such file, empty, a folder
    if importlib.util.find_spec("catboost") is None:
        raise MissingPackageError(
            f'{path.name}: only CatBoost reads its binary format: pip install "ensemble-compress[catboost]", or save the'
            " model with save_model('model.json', format='json'), which is read without it"
        )
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as folder:
        _export(path, folder)
        document = parse_json(Path(folder, "model.json").read_bytes(), path.name)
        leaves = parse_json(Path(folder, "leaves.json").read_bytes(), path.name)
    section = as_section(document, path.name)

    def numbers_of(t: int) -> NDArray[np.int64]:
        if t >= len(leaves):
            raise section.error(f"CatBoost knows {len(leaves)} trees, and its export has more")
        return leaf_numbers(*leaves[t])

    return section, numbers_of


def no_export(what: str, reason: str) -> UnsupportedModelError:
    """The error that CatBoost does not export a model.

    Parameters
    ----------
    what : str
        The model, for the message.
    reason : str
        What CatBoost says.
    """
    for kind in ("text", "embedding"):
        if f"{kind} features" in reason:
            return UnsupportedModelError(
                f"{what} has {kind} features, which cannot be read; train on numbers made of them"
            )
    return UnsupportedModelError(
        f"{what} cannot be exported to JSON by CatBoost ({in_short(reason)}), so it cannot be read"
    )


def _export(path: Path, folder: str) -> None:
    command = [sys.executable, "-P", catboost_child.__file__, str(path.resolve()), folder]
    places = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path))
    }  # the CatBoost that this process would import
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=os.environ | places,
        )
    except subprocess.TimeoutExpired as error:
        raise _no_load(path, f"no end within {TIMEOUT_S} seconds") from error
    except OSError as error:
        raise UnsupportedModelError(
            f"{path.name}: no Python could be started for CatBoost to load it ({error}); load the model yourself and pass it"
        ) from error
    said = done.stderr.decode(errors="replace")
    if done.returncode == catboost_child.CANNOT_EXPORT:
        raise no_export(f"the model in {path.name}", said)
    if done.returncode == catboost_child.CANNOT_LOAD:
        raise _no_load(path, in_short(said.partition("\n")[0]))
    if done.returncode != 0:
        raise _no_load(path, in_short(f"its process ended with {done.returncode} {said[-150:]}"))


def _no_load(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(f"{path.name}: CatBoost cannot load it ({reason}); copy or save it again")
