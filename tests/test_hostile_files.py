"""Hostile model files: whatever a file says, reading it ends in an error of ours or in a sound forest, in bounded memory."""

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import oracle
import pandas as pd
import pytest
import skops.io
import xgboost as xgb
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import BASES, Base

import ensemble_compress as ec
from ensemble_compress.errors import ForestError, ModelFileError, UnsupportedModelError
from ensemble_compress.readers import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def good(name: str) -> bytes:
    return mutations.good(next(base for base in BASES if str(base) == name))


# -- damages drawn by number -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES, ids=str)
def test_a_good_file_is_read_and_sound(base: Base, folder: Path) -> None:
    path = folder / f"good{base.suffix}"
    path.write_bytes(mutations.good(base))
    assert not isinstance(mutations.read_safely(path), str)


@pytest.mark.parametrize("base", BASES, ids=str)
def test_a_damaged_file_ends_in_an_error_of_ours_or_in_a_sound_forest(base: Base, folder: Path) -> None:
    path, seen = folder / f"damaged{base.suffix}", set()

    @settings(max_examples=25)
    @given(st.integers(0, 2**32))
    def read_damaged(seed: int) -> None:
        path.write_bytes(mutations.damaged(base, seed))
        seen.add(type(mutations.read_safely(path)))

    read_damaged()
    assert str in seen, "no damage was noticed"


def test_a_damage_is_the_same_each_time_and_another_for_each_number() -> None:
    for base in BASES[:-3:5]:
        made = [mutations.damaged(base, seed) for seed in range(20)]
        assert made == [mutations.damaged(base, seed) for seed in range(20)]
        assert len(set(made)) > 15


@pytest.mark.parametrize(
    ("field", "value"),
    [("right", 10**6), ("right", 1), ("feature", 99), ("leaf", 10**6), ("category_set", 7), ("threshold", np.nan)],
)  # fmt: skip
def test_the_check_of_forests_finds_what_is_wrong(field: str, value: Any) -> None:
    forest = replace(zoo.forest("random forest gaps"))
    array = getattr(forest.nodes, field).copy()
    array[-1 if field == "leaf" else 0] = value
    object.__setattr__(forest, "nodes", forest.nodes._replace(**{field: array}))
    with pytest.raises(AssertionError):
        mutations.check_structure(forest)


# -- JSON and UBJSON -------------------------------------------------------------------------------------------------


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def model_of(document: Any) -> Any:
    booster = document["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]


def refusal(path: Path, data: bytes, kind: type[Exception] = ModelFileError) -> str:
    path.write_bytes(data)
    with pytest.raises(kind) as caught:
        read(path)
    return str(caught.value)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    data = good("xgb dart.json").replace(b'"tree_info":', b'"tree_info":[0],"tree_info":')
    assert "an object has the key 'tree_info' more than once" in refusal(tmp_path / "model.json", data)
    data = b"{i\x01ai\x05i\x01ai\x06}"
    assert "found the key 'a' for the second time (at byte 6)" in refusal(tmp_path / "model.ubj", data)


@pytest.mark.parametrize(
    ("version", "text"),
    [([9, 0, 0], "was saved by XGBoost 9.0.0; files of XGBoost 1 to 3"), ([], "files of XGBoost 1 to 3")],
)
def test_a_file_of_another_version_is_refused(version: list[int], text: str, tmp_path: Path) -> None:
    data = changed(good("xgb dart.json"), lambda document: document.update(version=version))
    assert text in refusal(tmp_path / "model.json", data, UnsupportedModelError)


def test_trees_out_of_their_order_are_refused(tmp_path: Path) -> None:
    data = changed(good("xgb dart.json"), lambda document: model_of(document)["trees"].reverse())
    assert "trees 0: its id is 4; expected 0" in refusal(tmp_path / "model.json", data)
    data = good("lgb multiclass.txt").replace(b"\nTree=3\n", b"\nTree=4\n")
    assert "tree 3: found Tree=4 in its place" in refusal(tmp_path / "model.txt", data)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_a_training_weight_that_is_no_number_is_refused(number: str, tmp_path: Path) -> None:
    data = changed(
        good("xgb dart.json"), lambda document: model_of(document)["trees"][1]["sum_hessian"].__setitem__(0, 0.5)
    )  # fmt: skip
    data = data.replace(b'"sum_hessian": [0.5', b'"sum_hessian": [' + number.encode())
    text = refusal(tmp_path / "model.json", data)
    assert f"tree 1, node 0 has the training weight {float(number.replace('Infinity', 'inf'))}" in text


def test_half_a_character_in_a_name_is_refused(tmp_path: Path) -> None:
    data = good("xgb levels.json").replace(b'"feature_names":["a"', b'"feature_names":["\\ud800"')
    assert "feature_names must be texts" in refusal(tmp_path / "model.json", data)


@pytest.mark.parametrize("number", ["9" * 5000, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000])
def test_numbers_without_end_and_lists_without_ground_are_refused(number: str, tmp_path: Path) -> None:
    data = good("xgb dart.json").replace(b'"tree_info":[0', b'"tree_info":[' + number.encode())
    text = refusal(tmp_path / "model.json", data)
    assert "model.json is damaged or truncated: no valid JSON" in text
    assert len(text) < 500


@pytest.mark.parametrize("score", ["\u0663", "1_0", "1e999", "nan"])
def test_a_base_score_in_other_digits_or_without_end_is_refused(score: str, tmp_path: Path) -> None:
    def change(document: Any) -> None:
        document["learner"]["learner_model_param"]["base_score"] = score

    assert "base_score is " in refusal(tmp_path / "model.json", changed(good("xgb dart.json"), change))


def test_thresholds_at_the_ends_of_the_numbers_send_rows_where_xgboost_does(tmp_path: Path) -> None:
    """XGBoost asks whether x < t: nothing is below -inf, and only -inf below the lowest number."""
    path = tmp_path / "model.json"
    X = np.array(
        [[-np.inf], [np.finfo(np.float32).min], [0.0], [np.finfo(np.float32).max], [np.nan]], np.float32
    )
    for threshold in ("-Infinity", "-3.4028235e38", "3.4028235e38", "Infinity"):
        for default_left in (0, 1):
            path.write_bytes(_stump(threshold, default_left))
            leaf = read(path).apply(X)[:, 0]
            below = X[:, 0] < np.float32(float(threshold.replace("Infinity", "inf")))
            expected = np.where(np.isnan(X[:, 0]), 2 - default_left, np.where(below, 1, 2))
            assert expected.tolist() == leaf.tolist(), threshold
            booster = xgb.Booster(model_file=path)
            asked = np.isfinite(X[:, 0]) | np.isnan(X[:, 0])  # XGBoost takes no rows with inf
            assert booster.predict(xgb.DMatrix(X[asked]), pred_leaf=True).tolist() == expected[asked].tolist()
            assert oracle.leaves(read(path), X)[:, 0].tolist() == read(path).find_leaves(X)[:, 0].tolist()


def _stump(threshold: str, default_left: int) -> bytes:
    booster = xgb.train(
        {"max_depth": 1, "nthread": 1}, xgb.DMatrix(np.arange(8.0)[:, None], np.arange(8) > 3), 1
    )

    def change(document: Any) -> None:
        tree = model_of(document)["trees"][0]
        tree["split_conditions"][0] = float(threshold.replace("Infinity", "inf"))
        tree["default_left"][0] = default_left

    return changed(bytes(booster.save_raw("json")), change)


# -- LightGBM's text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"\nleaf_count=", b"\nleaf_value=1\nleaf_count=", "tree 0: 'leaf_value' is there more than once"),
        (b"\nmax_feature_idx=", b"\nmax_feature_idx=7\nmax_feature_idx=", "model.txt: 'max_feature_idx' is there more than once"),
        (b"\nthreshold=", b"\nthreshold=1_0", "tree 0: threshold holds something that is no number"),
        (b"\nthreshold=", "\nthreshold=\u0663".encode(), "tree 0: threshold holds something that is no number"),
        (b"\nthreshold=", b"\nthreshold=" + b"9" * 5000 + b"x", "tree 0: threshold holds something that is no number"),
        (b"\nsplit_feature=", b"\nsplit_feature=" + b"9" * 5000, "tree 0: split_feature holds something that is no number"),
        (b"\ninternal_count=", b"\ninternal_count=1e999 ", "tree 0: internal_count has "),
        (b"\ndecision_type=", b"\ndecision_type=1", "tree 0: decision_type holds 8 to 110; expected 0 to 11"),
    ],
)  # fmt: skip
def test_a_line_that_says_what_cannot_be_is_refused(
    old: bytes, new: bytes, text: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_bytes(good("lgb multiclass.txt").replace(old, new, 1))
    with pytest.raises(ModelFileError, match=text) as caught:
        read(tmp_path / "model.txt")
    assert len(str(caught.value)) < 500


def test_boundaries_of_sets_beyond_the_whole_numbers_are_refused(tmp_path: Path) -> None:
    data = good("lgb categories missing.txt")
    data = data.replace(b"\nnum_cat=1\n", b"\nnum_cat=3\n", 1)
    data = data.replace(b"=0 1\n", b"=0 9000000000000000000 -9000000000000000000 1\n", 1)
    assert "cat_boundaries do not rise from 0" in refusal(tmp_path / "model.txt", data)


@pytest.mark.parametrize(
    "levels", ['[["low","low"]]', '[[["low"],"high"]]', '[[{},"high"]]', '[["\\ud800"]]']
)
def test_levels_that_cannot_be_looked_up_are_refused(levels: str, tmp_path: Path) -> None:
    before, line, _ = good("lgb levels.txt").rpartition(b"\npandas_categorical:")
    text = refusal(tmp_path / "model.txt", before + line + levels.encode() + b"\n")
    assert "categories must be numbers, texts or truth values, each once" in text


def test_a_column_without_levels_is_all_missing() -> None:
    forest = replace(zoo.forest("lgb missing"), categories=((), None, None, None, None))
    X = zoo.data("binary").X
    frame = pd.DataFrame(X).assign(**{"0": 1.0})[["0", 1, 2, 3, 4]]
    expected = np.column_stack([np.full(len(X), np.nan), X[:, 1:]])
    for column in (X[:, 0] > 0, X[:, 0], np.where(X[:, 0] > 0, "a", "b")):
        assert np.array_equal(forest.margin(expected), forest.margin(frame.assign(**{"0": column})))


# -- archives ----------------------------------------------------------------------------------------------------------


def with_members(data: bytes, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    """The archive with some members replaced, all packed by another method."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()} | members
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in found.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_to_any_size_is_refused(method: int, tmp_path: Path) -> None:
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    bomb = with_members(empty.getvalue(), method, bomb=bytes(1 << 23))
    for name, load in {"model.forest": ec.load, "model.skops": read}.items():
        (tmp_path / name).write_bytes(bomb)
        with pytest.raises(ModelFileError, match=r"declares 8,388,608 bytes of content; expected at most"):
            load(tmp_path / name)
        base = "xgb multiclass.forest" if name == "model.forest" else "random forest text.skops"
        (tmp_path / name).write_bytes(with_members(good(base), method))
        with pytest.raises(ModelFileError, match="is compressed by another method than deflate"):
            load(tmp_path / name)


@pytest.mark.parametrize("shape", [(2_000_000_000,), (-1,), (2,)])
def test_an_array_of_another_size_than_it_says_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(io.BytesIO(good("random forest text.skops"))) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".npy"))
    data = with_members(good("random forest text.skops"), **{name: stream.getvalue() + bytes(64)})
    peak = peak_of_reading(tmp_path / "model.skops", data)
    assert "does not fill its place" in refusal(tmp_path / "model.skops", data)
    assert peak < 60 * len(data) + 500_000


def test_an_estimator_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    model = zoo.ENTRIES["hist categories missing"].make()
    model._predictors[0][0].nodes["feature_idx"][:] = 99
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(
        ModelFileError, match=r"model.skops: the model in it is damaged \(.*99.*\); save it again"
    ):
        read(tmp_path / "model.skops")


# -- the forest's own checks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("category_set", 3, "it names a category set that does not exist (or a leaf names one)"),
        ("threshold", np.nan, "its threshold is NaN"),
        ("cover", np.inf, "cover must be finite"),
    ],
)
def test_a_leaf_that_says_what_a_leaf_cannot_is_no_forest(field: str, value: float, text: str) -> None:
    forest = zoo.forest("random forest gaps")
    array = getattr(forest.nodes, field).copy()
    array[np.flatnonzero(forest.is_leaf)[0]] = value
    with pytest.raises(ForestError) as caught:
        replace(forest, nodes=forest.nodes._replace(**{field: array}))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"n_features": 5.5}, "n_features must lie between"),
        ({"feature_names": ("a", "b", "c", "d", 5)}, "feature_names must be texts"),
        ({"categories": (("a", "a"), None, None, None, None)}, "categories must be numbers, texts or truth values"),
        ({"categories": (([],), None, None, None, None)}, "categories must be numbers, texts or truth values"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_are_no_forest(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ForestError, match=f"not a forest: {text}"):
        replace(zoo.forest("lgb missing"), **fields)


# -- memory ------------------------------------------------------------------------------------------------------------


def bombs() -> dict[str, bytes]:
    """Small files that say they are large, or are built to become so."""
    text = b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=a\n"
    header = good("xgb partitions.json")
    long_texts = changed(header, lambda d: model_of(d).update(tree_info=["a" * 50_000, *[""] * 5000]))
    return {
        "lists.json": b"[" + b"[]," * 100_000 + b"[]]",
        "objects.json": b"[" + b"{}," * 100_000 + b"{}]",
        "texts.json": long_texts,
        "length.ubj": b"{i\x01a[$D#L" + struct.pack(">q", 2**40),
        "items.ubj": b"{i\x01a[#L" + struct.pack(">q", 2**40) + b"T" * 20_000,
        "text.ubj": b"{L" + struct.pack(">q", 2**40),
        "lists.ubj": b"[" + b"[]" * 20_000 + b"]",
        "arrays.ubj": b"[" + b"[$U#U\0" * 10_000 + b"]",
        "leaves.txt": text + b"\nTree=0\nnum_leaves=999999999\nleaf_value=1\n\nend of trees\n",
        "features.txt": text.replace(b"idx=0", b"idx=999999998") + b"\nend of trees\n",
        "outputs.txt": text.replace(b"iteration=1", b"iteration=999999999") + b"\nend of trees\n",
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_memory_stays_in_proportion_to_the_file(name: str, tmp_path: Path) -> None:
    data = bombs()[name]
    peak = peak_of_reading(tmp_path / name, data)
    assert peak < 60 * len(data) + 500_000


def peak_of_reading(path: Path, data: bytes) -> int:
    """The largest number of bytes that refusing the file takes."""
    refusal(path, data, Exception)
    tracemalloc.start()
    try:
        refusal(path, data, (ModelFileError, UnsupportedModelError))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_sets_of_all_trees_together_are_bounded(tmp_path: Path) -> None:
    """A code far out makes a set of two megabytes out of a few bytes of text."""

    def change(document: Any) -> None:
        model = model_of(document)
        tree = next(tree for tree in model["trees"] if tree["categories_nodes"])
        tree["categories"][0] = (1 << 24) - 1
        model["trees"] = [dict(tree, id=t) for t in range(60)]
        model["gbtree_model_param"]["num_trees"] = "60"
        model["tree_info"] = [0] * 60
        model.pop("iteration_indptr")

    data = changed(good("xgb partitions.json"), change)
    assert "the sets of categories up to here would take 6" in refusal(tmp_path / "model.json", data)


def test_reading_holds_little_more_than_the_forest() -> None:
    X, y = zoo.data("regression").X, zoo.data("regression").y
    model = zoo.ensemble.RandomForestRegressor(80, random_state=0, n_jobs=1).fit(X, y)
    forest = read(model)
    size = sum(array.nbytes for array in (*forest.nodes, forest.values))
    del forest
    tracemalloc.start()
    read(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size
