"""Files of older versions of XGBoost and LightGBM are read so that every row gets the leaf and the sum it had there.

The files and the older versions' answers lie in `data`, where `make_models.py` tells how they came about.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from numpy.testing import assert_array_equal

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.readers import read

DATA = Path(__file__).parent / "data"
ANSWERS = {
    path.parent / name: answer
    for path in sorted(DATA.glob("*/answers.json"))
    for name, answer in json.loads(path.read_text()).items()
}
FILES = [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in ANSWERS]
CATEGORICAL = ("one_hot.json", "partition.ubj")


@pytest.mark.parametrize("path", FILES)
def test_every_row_ends_in_the_leaf_that_the_older_version_found(path: Path) -> None:
    forest, answer = read(path), ANSWERS[path]
    assert_array_equal(answer["leaves"], forest.apply(np.array(answer["rows"])))


@pytest.mark.parametrize("path", FILES)
def test_margins_are_those_of_the_older_version_to_the_bit(path: Path) -> None:
    forest, answer = read(path), ANSWERS[path]
    expected = np.array(answer["margin"], forest.values.dtype)
    assert_array_equal(expected / forest.values.dtype.type(forest.divisor), forest.margin(answer["rows"]))


def test_the_files_are_of_the_versions_and_kinds_that_differ() -> None:
    folders = {path.parent.name for path in ANSWERS}
    xgboost = ("1.6.2", "1.7.6", "2.0.3", "2.1.4", "3.0.5", "3.1.3")
    lightgbm = ("3.0.0", "3.3.5", "4.0.0")
    assert folders == {*(f"xgboost-{v}" for v in xgboost), *(f"lightgbm-{v}" for v in lightgbm)}
    newest = {name: read(DATA / "xgboost-3.1.3" / name) for name in ("vector.ubj", "dart.json", *CATEGORICAL)}
    assert newest["vector.ubj"].values.shape[1] == 2
    assert all((newest[name].nodes.category_set >= 0).any() for name in CATEGORICAL)
    assert read(DATA / "lightgbm-3.0.0" / "forest.txt").divisor == 2.0
    zero = read(DATA / "lightgbm-3.0.0" / "zero.txt")
    assert len(np.unique(zero.nodes.node_id[: zero.tree_start[1]])) < zero.tree_start[1]  # it has copies


@pytest.mark.parametrize("name", CATEGORICAL)
def test_only_a_file_of_1_6_sends_unseen_codes_where_missing_values_go(name: str) -> None:
    path = DATA / "xgboost-1.6.2" / name
    rows = np.array(ANSWERS[path]["rows"], np.float32)
    loaded = xgb.Booster(model_file=path)
    matrix = xgb.DMatrix(rows, feature_types=["q", "q", "c"], enable_categorical=True)
    expected = loaded.predict(matrix, pred_leaf=True)
    assert_array_equal(expected, read(loaded).apply(rows))
    is_unseen = ((rows[:, 2] < 0) | (rows[:, 2] >= 32))[:, None]
    differs = read(path).apply(rows) != expected
    assert differs.any()
    assert not (differs & ~is_unseen).any()


@pytest.mark.parametrize("path", [param for param in FILES if "lightgbm" in str(param.id)])
def test_the_newest_lightgbm_agrees_with_the_older_ones(path: Path) -> None:
    answer = ANSWERS[path]
    found: Any = lgb.Booster(model_file=path).predict(np.array(answer["rows"]), pred_leaf=True)
    assert_array_equal(answer["leaves"], found)


@pytest.mark.parametrize("suffix", ["model", "bin", "deprecated"])
def test_the_old_binary_format_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"old.{suffix}"
    shutil.copy(DATA / "xgboost-1.6.2" / "binary.model", path)
    assert path.read_bytes().startswith(b"binf")
    text = (
        rf"old\.{suffix}: XGBoost's old binary format cannot be read; load the model with an XGBoost before 3\.1 and save"
        r" it again with save_model\('model\.json'\)\. If XGBoost 2\.1 or later wrote the file it is UBJSON"
    )
    with pytest.raises(UnsupportedModelError, match=text):
        read(path)
