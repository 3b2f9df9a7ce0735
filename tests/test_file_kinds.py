"""A file under the suffix of another kind is told what it is and which suffix it wants."""

import pickle
import re
from pathlib import Path

import catboost
import numpy as np
import pytest
import skops.io
import xgboost as xgb
import zoo
from sklearn.tree import DecisionTreeRegressor
from test_writer_c import small_forest

import ensemble_compress as ec
from ensemble_compress import file_kinds
from ensemble_compress.errors import ModelFileError, ParameterError, UnsupportedModelError
from ensemble_compress.readers import read
from ensemble_compress.writers.forest_file import save_forest


def save(kind: str, path: Path) -> Path:
    """A whole model of a kind under the kind's own suffix."""
    path = path.with_suffix(file_kinds.KINDS[kind])
    if kind in ("JSON", "UBJSON"):
        model = zoo.trained("xgb binary")
        (model if isinstance(model, xgb.Booster) else model.get_booster()).save_model(path)
    elif kind == "a text model of LightGBM":
        zoo.trained("lgb binary").booster_.save_model(path)
    elif kind == "a model of CatBoost":
        catboost.CatBoostRegressor(iterations=1, verbose=0, allow_writing_files=False).fit(
            np.eye(4), np.arange(4)
        ).save_model(str(path))
    elif kind == "a compressed model of this library":
        save_forest(small_forest(), path)
    else:
        tree = DecisionTreeRegressor(max_depth=2).fit(np.eye(4), np.arange(4))
        path.write_bytes(pickle.dumps(tree) if kind == "a pickle" else skops.io.dumps(tree))
    return path


@pytest.mark.parametrize("kind", file_kinds.KINDS)
def test_a_whole_file_is_known_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    path = save(kind, tmp_path / "model")
    assert file_kinds.find_kind(path) == kind
    assert file_kinds.describe_mismatch(path) is None


@pytest.mark.parametrize(
    "suffix", [".json", ".ubj", ".txt", ".cbm", ".skops", ".tl", ".model", ".dat", ".onnx"]
)
@pytest.mark.parametrize("kind", file_kinds.KINDS)
def test_a_wrong_suffix_is_named_with_the_right_one(kind: str, suffix: str, tmp_path: Path) -> None:
    right = file_kinds.KINDS[kind]
    if suffix == right:
        return
    path = save(kind, tmp_path / "model").rename(tmp_path / f"model{suffix}")
    text = f"model{suffix}: it seems to be {kind}, by its first bytes; give it the suffix {right}"
    with pytest.raises((ModelFileError, UnsupportedModelError), match=re.escape(text)):
        read(path)


@pytest.mark.parametrize("kind", [kind for kind, suffix in file_kinds.KINDS.items() if suffix != ".forest"])
def test_load_says_what_it_was_given_instead(kind: str, tmp_path: Path) -> None:
    path = save(kind, tmp_path / "model")
    text = f"it seems to be {kind}; expected a .forest file: read other models with ensemble_compress.read"
    with pytest.raises(ModelFileError, match=re.escape(text)):
        ec.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"{n", b"PK\x03\x04", b"tree", b"\x80", b"\x80\x09", b"hello"]
)
def test_bytes_that_tell_nothing_stay_untold(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    assert file_kinds.find_kind(path) is None
    assert file_kinds.find_kind(tmp_path / "missing") is None


def test_a_pickle_under_its_own_suffix_still_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="loading a pickle runs the code it holds"):
        read(save("a pickle", tmp_path / "model"))


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "model.json").mkdir()
    with pytest.raises(ModelFileError, match=r"model\.json: expected a model file, found a directory"):
        read(tmp_path / "model.json")
    (tmp_path / "model.dat").mkdir()
    with pytest.raises(ModelFileError, match=r"model\.dat: expected a model file, found a directory"):
        read(tmp_path / "model.dat")
