"""CatBoost's models are read so that every row ends in the same leaf and gets the same sum, label and probability."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import datasets
import numpy as np
import pandas as pd
import pytest
import zoo
import zoo_catboost
from numpy.typing import NDArray
from typer.testing import CliRunner

import ensemble_compress as ec
from ensemble_compress import measure
from ensemble_compress.cli import app
from ensemble_compress.errors import MissingPackageError, ModelFileError, UnsupportedModelError
from ensemble_compress.readers import read
from ensemble_compress.readers.catboost_features import hash_of_text
from ensemble_compress.readers.catboost_trees import leaf_numbers

NAMES = zoo.names("catboost")
QUIET = zoo_catboost.QUIET
SYMMETRIC = [name for name in NAMES if "depthwise" not in name and "lossguide" not in name]


def export(model: Any, folder: Path, **options: Any) -> Path:
    model.save_model(str(folder / "model.json"), format="json", **options)
    return folder / "model.json"


@pytest.mark.parametrize("name", NAMES)
def test_every_row_ends_in_the_leaf_that_catboost_finds(name: str) -> None:
    np.testing.assert_array_equal(zoo.expected_leaves(name), zoo.forest(name).apply(zoo.rows(name)))


@pytest.mark.parametrize("name", NAMES)
def test_margins_are_equal_to_the_bit(name: str) -> None:
    expected, actual = zoo.expected_margin(name), zoo.forest(name).margin(zoo.rows(name))
    assert expected.dtype == actual.dtype == np.float64
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_equal(name: str) -> None:
    expected, actual = zoo.expected_prediction(name), zoo.forest(name).predict(zoo.rows(name))
    if zoo.forest(name).link == "exp":
        np.testing.assert_allclose(actual, expected, rtol=1e-12)  # two exponentials in float64
    else:
        np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.ENTRIES[name].task in zoo.LABELLED])
def test_probabilities_are_equal_up_to_rounding_of_the_link(name: str) -> None:
    model, X = zoo.trained(name), zoo.rows(name)
    if zoo.forest(name).is_classifier:
        rows = zoo_catboost.as_catboost(X, zoo.ENTRIES[name].categorical)
        expected = model.predict(rows, prediction_type="Probability")
        np.testing.assert_allclose(zoo.forest(name).predict_proba(X), expected, rtol=0, atol=1e-12)
    else:
        assert isinstance(model, cb.CatBoostRanker)


ENDS = np.array([np.inf, 3.4028235e38, 3.4028233e38, 1e300, 3.4028235677973366e38, 1e-40, 1e-46])


@pytest.mark.parametrize("name", [name for name in NAMES if not zoo.ENTRIES[name].categorical])
def test_the_ends_of_the_number_line_are_cast_and_compared_alike(name: str) -> None:
    X = np.repeat(zoo.data(zoo.ENTRIES[name].task).X[:5], 2 * len(ENDS), axis=0)
    rows = np.concatenate([X] * zoo.N_FEATURES)
    for f in range(zoo.N_FEATURES):
        rows[f * len(X) : (f + 1) * len(X), f] = np.tile(np.concatenate([ENDS, -ENDS]), 5)
    expected = zoo_catboost.leaves(zoo.trained(name), rows)
    np.testing.assert_array_equal(expected, zoo.forest(name).apply(rows))


def test_the_zoo_holds_the_cases_that_are_easy_to_get_wrong() -> None:
    assert zoo.forest("cat regression").bias_last
    assert not zoo.forest("cat missing").bias_last
    for name, sides in {"cat missing": {True}, "cat missing last": {False}, "cat regression": {True}}.items():
        nodes = zoo.forest(name).nodes
        assert set(nodes.nan_left[nodes.feature >= 0].tolist()) >= sides
    largest = np.finfo(np.float32).max
    assert (zoo.forest("cat regression").nodes.threshold == -largest).any()
    assert (zoo.forest("cat depthwise").nodes.threshold == largest).any()
    for name in ("cat one-hot", "cat one-hot depthwise"):
        assert len(np.unique(zoo.forest(name).nodes.feature[zoo.forest(name).nodes.category_set >= 0])) == 2
    for name in ("cat lossguide", "cat lossguide two columns"):
        forest = zoo.forest(name)
        numbers = np.split(forest.nodes.node_id, forest.tree_start[1:-1])
        leaves = np.split(forest.is_leaf, forest.tree_start[1:-1])
        steps = [np.diff(n[is_leaf]) for n, is_leaf in zip(numbers, leaves, strict=True)]
        assert any((step < 0).any() for step in steps)
    assert zoo.forest("cat without splits").n_nodes == zoo.forest("cat without splits").n_trees
    assert (
        zoo.forest("cat stopped early").n_trees == zoo.trained("cat stopped early").best_iteration_ + 1 < 60
    )
    assert zoo.forest("cat shrunk").n_trees == 4
    assert zoo.forest("cat sum").n_trees == 16


@pytest.mark.parametrize("name", NAMES)
def test_an_export_is_the_same_forest(name: str, tmp_path: Path) -> None:
    forest, loaded = zoo.forest(name), read(export(zoo.trained(name), tmp_path))
    np.testing.assert_array_equal(forest.margin(zoo.rows(name)), loaded.margin(zoo.rows(name)))
    np.testing.assert_array_equal(forest.find_leaves(zoo.rows(name)), loaded.find_leaves(zoo.rows(name)))
    if name in SYMMETRIC and not isinstance(zoo.trained(name), cb.CatBoostRanker):
        assert forest == loaded


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SYMMETRIC)))
def test_leaves_of_an_export_are_numbered_as_by_catboost_that_loads_it(name: str, tmp_path: Path) -> None:
    path = export(zoo.trained(name), tmp_path)
    again, categorical = cb.CatBoost().load_model(str(path), format="json"), zoo.ENTRIES[name].categorical
    rows = zoo_catboost.as_catboost(zoo.rows(name), categorical)
    np.testing.assert_array_equal(again.calc_leaf_indexes(rows), read(path).apply(zoo.rows(name)))


@pytest.mark.parametrize("name", ["cat multiclass", "cat lossguide", "cat one-hot"])
def test_a_cbm_file_is_the_same_forest(name: str, tmp_path: Path) -> None:
    zoo.trained(name).save_model(str(tmp_path / "model.cbm"))
    assert read(tmp_path / "model.cbm") == zoo.forest(name)


def test_without_catboost_a_cbm_file_is_refused_and_an_export_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.trained("cat binary").save_model(str(tmp_path / "model.cbm"))
    path, expected = export(zoo.trained("cat binary"), tmp_path), zoo.forest("cat binary")
    monkeypatch.setitem(__import__("sys").modules, "catboost", None)
    assert read(path) == expected
    with pytest.raises(
        MissingPackageError, match=r"or save the model with save_model\('model.json', format='json'\)"
    ):
        read(tmp_path / "model.cbm")


def test_a_damaged_cbm_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.cbm").write_bytes(b"CBM1 and nothing else")
    with pytest.raises(ModelFileError, match=r"model.cbm: CatBoost cannot load it .*; copy or save it again"):
        read(tmp_path / "model.cbm")


def test_a_cbm_file_that_ends_the_process_of_catboost_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CatBoost 1.2 does so on a few damaged files; here one does so on all."""
    zoo.trained("cat binary").save_model(str(tmp_path / "model.cbm"))
    (tmp_path / "catboost.py").write_text("import os\n\nos.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ModelFileError,
        match=r"model.cbm: CatBoost cannot load it \(its process ended with -?\d+\); copy or save",
    ):
        read(tmp_path / "model.cbm")


@pytest.mark.parametrize("steps", [[(1, 1)] * 60 + [(0, 0)], [(0, 9)], [(1, 2)]])
def test_leaves_of_a_damaged_tree_are_not_numbered_forever(steps: list[tuple[int, int]]) -> None:
    assert len(leaf_numbers(steps, [0] * len(steps))) <= len(steps) + 1


def _large(**options: Any) -> tuple[Any, NDArray[Any]]:
    random = np.random.default_rng(3)
    X = random.normal(size=(3000, 3))
    y = 50 + X[:, 0] * 3 + np.sin(9 * X[:, 1]) + random.normal(size=3000)
    return cb.CatBoostRegressor(**QUIET | options).fit(X, y), X


@pytest.mark.parametrize(("policy", "iterations"), [("SymmetricTree", 150), ("Depthwise", 25)])
def test_more_borders_than_fit_a_byte_are_told_apart(policy: str, iterations: int) -> None:
    model, X = _large(border_count=2000, depth=6, grow_policy=policy, iterations=iterations)
    assert max(len(borders) for borders in model.get_borders().values()) > 254
    np.testing.assert_array_equal(model.calc_leaf_indexes(X), read(model).apply(X))
    np.testing.assert_array_equal(model.predict(X), read(model).margin(X)[:, 0])


@pytest.mark.parametrize("n_rows", [1, 2, 15, 16, 17, 127, 128, 129, 1000])
def test_sums_do_not_depend_on_the_number_of_rows(n_rows: int) -> None:
    model, X = _large(iterations=301, learning_rate=0.3)
    np.testing.assert_array_equal(model.predict(X[:n_rows]), read(model).margin(X[:n_rows])[:, 0])


@pytest.mark.parametrize("scale", [0.5, -2.0, 1024.0])
@pytest.mark.parametrize("bias", [0.0, 7.25])
def test_scales_that_are_powers_of_two_are_exact(scale: float, bias: float) -> None:
    model, X = _large(iterations=300)
    model.set_scale_and_bias(scale, bias)
    np.testing.assert_array_equal(model.predict(X), read(model).margin(X)[:, 0])


def test_vectors_of_biases_are_read() -> None:
    forest, model = zoo.forest("cat two columns"), zoo.trained("cat two columns")
    assert forest.bias.tolist() == model.get_scale_and_bias()[1]
    assert forest.bias_last
    assert len(set(forest.bias.tolist())) == 2


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [7, -2], ["no", "yes"], [False, True], [0.5, 1.5], [0.25, 1.0, 3.0], ["a", "é", "c"], [5, 1, 3]],
)
def test_labels_come_back_as_they_were_given(labels: list[Any], tmp_path: Path) -> None:
    X, y = zoo.data("multiclass")
    given = np.array(labels)[y % len(labels)]
    model = cb.CatBoostClassifier(**QUIET).fit(X, given)
    for forest in (read(model), read(export(model, tmp_path))):
        assert forest.classes.dtype.kind == given.dtype.kind
        np.testing.assert_array_equal(np.asarray(model.classes_).astype(given.dtype), forest.classes)
        np.testing.assert_array_equal(model.predict(X).reshape(-1).astype(given.dtype), forest.predict(X))


def test_the_order_of_class_names_is_that_of_the_classes() -> None:
    X, y = zoo.data("text")
    model = cb.CatBoostClassifier(**QUIET, class_names=["yes", "no"]).fit(X, y)
    assert read(model).classes.tolist() == ["yes", "no"]
    np.testing.assert_array_equal(model.predict(X), read(model).predict(X))


def test_a_function_of_the_users_gives_margins() -> None:
    class Squares:
        def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
            return [(y - a, -1.0) for a, y in zip(approxes, targets)]  # noqa: B905 (CatBoost compiles it with Numba, which knows no `strict`)

    X, y = zoo.data("regression")
    model = cb.CatBoostRegressor(
        **QUIET | {"iterations": 3}, loss_function=Squares(), eval_metric="RMSE"
    ).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), read(model).predict(X))


# -- categories --------------------------------------------------------------------------------------------------


def test_the_hash_of_a_category_is_catboosts(tmp_path: Path) -> None:
    categories = [*map(str, range(300)), "9999", "12345", "é", "blue", "a longer"]
    X = pd.DataFrame({"c": np.tile(categories, 2)})
    model = cb.CatBoostRegressor(**QUIET, cat_features=["c"]).fit(X, np.arange(len(X)) % 7)
    listed = json.loads(export(model, tmp_path, pool=X).read_text())["features_info"]["cat_features_hash"]
    assert len(listed) == len(categories)
    for entry in listed:
        assert entry["hash"] == hash_of_text(entry["value"].encode())


def _frame(column: Any, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"size": random.normal(size=300), "kind": column, "unused": ["text"] * 300})


CODES = np.random.default_rng(1).integers(0, 6, 300)
WORDS = np.array(["red", "green", "blé", "3", "", "03"])
COLUMNS: dict[str, Any] = {
    "numbers": CODES,
    "numbers as texts": CODES.astype(str),
    "levels of numbers": pd.Categorical(CODES * 7),
    "numbers far apart": CODES * 101,
    "truth values": CODES % 3 == 1,
    "negative numbers": CODES - 3,
    "large numbers": CODES * 1_000_000_007,
    "texts": WORDS[CODES],
    "levels of texts": pd.Categorical(WORDS[CODES]),
    "texts and numbers": np.array(["red", 1, 12, "12", -5, "q"], object)[CODES],
}
KNOWN_BY_HASH = [*COLUMNS][5:]


def _fitted(column: Any, policy: str = "SymmetricTree") -> tuple[Any, pd.DataFrame]:
    X = _frame(column)
    y = X["size"] + np.isin(CODES, [1, 3]) - 2 * (CODES == 5)
    options = {"cat_features": ["kind", "unused"], "one_hot_max_size": 20, "grow_policy": policy}
    return cb.CatBoostRegressor(**QUIET, **options).fit(X, y), X


@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
@pytest.mark.parametrize("name", COLUMNS)
def test_categories_of_a_frame_are_read_from_an_export_that_lists_them(
    name: str, policy: str, tmp_path: Path
) -> None:
    model, X = _fitted(COLUMNS[name], policy)
    forest = read(export(model, tmp_path, pool=X))
    assert (forest.nodes.category_set >= 0).any()
    assert forest.feature_names == ("size", "kind", "unused")
    np.testing.assert_array_equal(model.predict(X), forest.margin(X)[:, 0])
    for unseen in ("never seen", 77, 509, -9, 123456789):
        other = X.assign(kind=np.array([unseen] * len(X), object))
        np.testing.assert_array_equal(model.predict(other), forest.margin(other)[:, 0])


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in KNOWN_BY_HASH])
def test_whole_numbers_are_told_from_their_hashes(name: str) -> None:
    model, X = _fitted(COLUMNS[name])
    forest = read(model)
    for kind in (
        COLUMNS[name],
        CODES,
        CODES.astype(str),
        pd.Categorical(CODES),
        pd.Categorical(CODES.astype(str)),
    ):
        other = X.assign(kind=kind)
        np.testing.assert_array_equal(model.predict(other), forest.margin(other)[:, 0])


@pytest.mark.parametrize("name", KNOWN_BY_HASH)
def test_categories_known_by_a_hash_alone_are_refused(name: str) -> None:
    model, _ = _fitted(COLUMNS[name])
    with pytest.raises(
        UnsupportedModelError, match=r"categories that are only known by a hash, .* pool=X\), and read"
    ):
        read(model)


def test_an_array_of_negative_categories_is_refused_as_codes_would_be_ambiguous(tmp_path: Path) -> None:
    X = np.column_stack([CODES - 3, CODES % 2])
    model = cb.CatBoostRegressor(**QUIET, cat_features=[0, 1], one_hot_max_size=9).fit(X, CODES % 5)
    pool = cb.Pool(X, cat_features=[0, 1])
    with pytest.raises(
        UnsupportedModelError, match="an array would not say which are meant; recode them, or train on"
    ):
        read(export(model, tmp_path, pool=pool))


def _fit(kind: Any = cb.CatBoostRegressor, task: str = "regression", X: Any = None, **options: Any) -> Any:
    given, y = zoo.data(task)
    return kind(**QUIET | options).fit(given if X is None else X, y)


def _texts(**options: Any) -> Any:
    X = pd.DataFrame({"a": np.arange(240), "t": ["some words", "other words", "none"] * 80})
    return _fit(cb.CatBoostClassifier, "binary", X, **options)


def _scaled() -> Any:
    model = _fit()
    model.set_scale_and_bias(0.3, 1.0)
    return model


def _with_threshold() -> Any:
    model = _fit(cb.CatBoostClassifier, "binary")
    model.set_probability_threshold(0.3)
    return model


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: cb.CatBoostClassifier(), "this CatBoostClassifier is not fitted; call fit first"),
        (lambda: _fit(loss_function="RMSEWithUncertainty"), "'RMSEWithUncertainty' cannot be read: its two outputs"),
        (lambda: _texts(cat_features=["t"], one_hot_max_size=2), r"'OnlineCtr' cannot be read: .* \(CTR\).* one_hot_max_size"),
        (lambda: _texts(text_features=["t"]), "this CatBoostClassifier has text features, which cannot be read; train on"),
        (_scaled, r"multiplied by 0.3, .* power of two; call set_scale_and_bias\(1, bias\) and scale"),
        (_with_threshold, r"from the probability 0.3 on, .* call set_probability_threshold\(0.5\)"),
        (
            lambda: cb.CatBoostClassifier(**QUIET, loss_function="MultiLogloss").fit(
                zoo.data("binary").X, np.column_stack([zoo.data("binary").y, 1 - zoo.data("binary").y])
            ),
            "'MultiLogloss' cannot be read: it tells several labels a row: fit one classifier a label",
        ),
        (
            lambda: _fit(cb.CatBoostClassifier, "multiclass", class_names=[0, 1, 2, 9], loss_function="MultiClass"),
            "it was declared 4 classes and trained on rows of 3; fit it without classes_count",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(
    make: Callable[[], Any], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsupportedModelError, match=text):
        read(make())


# -- damaged files -----------------------------------------------------------------------------------------------


def _change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value where `path` says, or drop what is there if it is None."""

    def change(document: dict[str, Any]) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        place: Any = document
        for key in parents:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


FIRST = "features_info/float_features/0"


@pytest.mark.parametrize(
    ("name", "path", "value", "text"),
    [
        ("cat binary", "features_info", None, "features_info is missing"),
        ("cat binary", "features_info/float_features", {}, "float_features is dict; expected a list"),
        ("cat binary", f"{FIRST}/feature_index", 3, "feature_index is 3; expected 0"),
        ("cat binary", f"{FIRST}/flat_feature_index", 1_000_000_000, "counts 5 features otherwise than from 0"),
        ("cat binary", f"{FIRST}/borders", ["x"], "borders holds something other than numbers"),
        ("cat binary", f"{FIRST}/nan_value_treatment", "AsEver", "nan_value_treatment is 'AsEver'; expected one of AsIs"),
        ("cat binary", "oblivious_trees", [3], "found int; expected an object"),
        ("cat binary", "oblivious_trees/1/splits/0/border", 0.123, "border is 0.123, which is none of those of feature"),
        ("cat binary", "oblivious_trees/1/splits/0/border", [], "is none of those of feature"),
        ("cat binary", "oblivious_trees/1/splits/0/float_feature_index", 5, "float_feature_index is 5; there are 5"),
        ("cat binary", "oblivious_trees/1/splits", [], "leaf_weights has 8 entries; expected 1"),
        ("cat binary", "oblivious_trees/1/leaf_values", [1.0], "leaf_values has 1 entries; 3 splits make 8 leaves"),
        ("cat binary", "oblivious_trees/1/leaf_values/2", 1e400, "its leaf value is .inf., not finite"),
        ("cat binary", "oblivious_trees/1/leaf_weights", [1.0], "leaf_weights has 1 entries; expected 8"),
        ("cat binary", "scale_and_bias", 5, "scale_and_bias is '5'; expected a scale and a list of biases"),
        ("cat binary", "scale_and_bias", [1, []], "scale_and_bias is .*; expected finite numbers"),
        ("cat binary", "scale_and_bias", [1, [0, 2]], "scale_and_bias has 2 biases for 1 outputs"),
        ("cat binary", "model_info/class_params/class_label_type", "Odd", "class_label_type is 'Odd'; expected String"),
        ("cat binary", "model_info/params/loss_function/type", 3, "type is int; expected a string"),
        ("cat multiclass", "model_info/params/loss_function/type", "Logloss", "leaves have 3 values, which the loss"),
        ("cat lossguide", "trees/0/left", None, "child of a split is None; expected an object"),
        ("cat lossguide", "trees/1", {"value": [1, 2]}, "tree 1: its leaves hold 2 values, those of tree 0 hold 1"),
        ("cat lossguide", "trees/0", {"value": "x"}, "value holds something other than numbers"),
        ("cat one-hot", "features_info/categorical_features/0/values", [1.5], "values holds something other than whole"),
        ("cat one-hot", "features_info/categorical_features/0/flat_feature_index", 0, "otherwise than from 0"),
    ],
)  # fmt: skip
def test_damage_is_named(name: str, path: str, value: Any, text: str, tmp_path: Path) -> None:
    file = export(zoo.trained(name), tmp_path)
    document = json.loads(file.read_text())
    _change(path, value)(document)
    file.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=text):
        read(file)


@pytest.mark.parametrize("value", ["\ud800", "a" * 100_000, ["\ud800"], {"a": "b " * 50_000}])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cat binary", "oblivious_trees/1/splits/0/border"),
        ("cat binary", "oblivious_trees/1/splits/0/split_type"),
        ("cat binary", "model_info/params/loss_function/type"),
        ("cat binary", "model_info/binclass_probability_threshold"),
        ("cat binary", "model_info/class_params/class_label_type"),
        ("cat binary", "scale_and_bias"),
        ("cat binary", f"{FIRST}/nan_value_treatment"),
        ("cat one-hot", "oblivious_trees/0/splits/0/split_type"),
        ("cat one-hot", "features_info/categorical_features/0/values/0"),
        ("cat lossguide", "trees/0/left"),
        ("cat lossguide", "trees/0/split/border"),
    ],
)
def test_errors_say_what_stands_in_a_file_in_short_and_so_that_it_can_be_printed(
    name: str, path: str, value: Any, tmp_path: Path
) -> None:
    file = export(zoo.trained(name), tmp_path)
    document = json.loads(file.read_text())
    _change(path, value)(document)
    file.write_text(json.dumps(document))
    with pytest.raises(ec.errors.EnsembleCompressError) as caught:
        read(file)
    assert len(str(caught.value).encode()) < 1500


def test_a_value_that_is_none_of_a_features_is_named_so_that_it_can_be_printed(tmp_path: Path) -> None:
    file = export(zoo.trained("cat one-hot"), tmp_path)
    document = json.loads(file.read_text())
    splits = [split for tree in document["oblivious_trees"] for split in tree["splits"]]
    next(split for split in splits if split["split_type"] == "OneHotFeature")["value"] = "\ud800"
    file.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=r"value is \\ud800, which is none of those of feature"):
        read(file)


def test_a_border_beyond_float32_is_infinite(tmp_path: Path) -> None:
    """CatBoost compares in float32; and a warning would be an error here."""
    file = export(zoo.trained("cat binary"), tmp_path)
    document = json.loads(file.read_text())
    split = document["oblivious_trees"][0]["splits"][0]
    borders = document["features_info"]["float_features"][split["float_feature_index"]]["borders"]
    split["border"] = 1e300
    borders.append(1e300)
    file.write_text(json.dumps(document))
    assert np.isinf(read(file).nodes.threshold).any()


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = export(zoo.trained("cat binary"), tmp_path)
    file.write_text(file.read_text().rstrip()[:-1] + ',"scale_and_bias":[1,[5.0]]}')
    with pytest.raises(ModelFileError, match="an object has the key 'scale_and_bias' more than once"):
        read(file)


def test_an_error_of_catboosts_export_is_told_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.trained("cat binary")

    def fail(*arguments: Any, **options: Any) -> None:
        raise cb.CatBoostError("catboost/libs/model.cpp:1: " + "no\n" * 50_000)

    monkeypatch.setattr(type(model), "save_model", fail)
    with pytest.raises(
        UnsupportedModelError, match=r"cannot be exported to JSON by CatBoost \(catboost/libs"
    ) as caught:
        read(model)
    assert len(str(caught.value)) < 500


def test_text_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = export(zoo.trained("cat binary"), tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"model.json is damaged or truncated: no valid JSON"):
        read(file)
    file.write_text('{"features_info":{"float_features":[]},"trees":[' + '{"split":{},"left":' * 100_000)
    with pytest.raises(ModelFileError, match=r"model.json is damaged or truncated: no valid JSON"):
        read(file)


@pytest.mark.parametrize("name", ["cat multiclass", "cat lossguide", "cat one-hot"])
def test_changes_anywhere_give_a_forest_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    file, random = export(zoo.trained(name), tmp_path), np.random.default_rng(0)
    whole = bytearray(file.read_bytes().replace(b" ", b"").replace(b"\n", b""))
    start, outcomes = whole.index(b'"trees"' if b'"trees"' in whole else b'"oblivious_trees"'), set()
    for _ in range(150):
        changed, at = whole.copy(), int(random.integers(start, len(whole)))
        changed[at] = random.choice(list(b'0123456789-.e{}[]":,x'))
        file.write_bytes(changed)
        try:
            outcomes.add(type(read(file)))
        except ec.errors.EnsembleCompressError as error:
            outcomes.add(type(error))
    assert ModelFileError in outcomes


@pytest.mark.parametrize("path", ["features_info", "model_info"])
def test_an_export_is_told_from_xgboosts_by_its_first_key(path: str, tmp_path: Path) -> None:
    document = json.loads(export(zoo.trained("cat binary"), tmp_path).read_text())
    (tmp_path / "first.json").write_text(json.dumps({path: document.pop(path), **document}))
    assert read(tmp_path / "first.json") == zoo.forest("cat binary")
    zoo.trained("xgb binary").save_model(tmp_path / "xgboost.json")
    assert (
        read(tmp_path / "xgboost.json").apply(zoo.rows("xgb binary")).shape[1]
        == zoo.forest("xgb binary").n_trees
    )


# -- the whole way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [cb.CatBoostClassifier, cb.CatBoostRegressor, cb.CatBoost])
def test_a_model_is_compressed_without_a_word_or_a_file(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = zoo.data("text" if kind is cb.CatBoostClassifier else "regression")
    options = {"iterations": 8, "depth": 3, "thread_count": 1}
    model = kind(options) if kind is cb.CatBoost else kind(**options)
    model.fit(X, y, logging_level="Silent")
    for file in sorted((tmp_path / "catboost_info").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (tmp_path / "catboost_info").rmdir()
    small = ec.compress(model, X, y, tolerance=0.02)
    assert "cross-fitted clones" in str(small.report)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_clones_of_a_model_with_categories_are_trained() -> None:
    model, X = _fitted(CODES)
    small = ec.compress(model, X, X["size"] + (CODES == 1), tolerance=0.05)
    assert "cross-fitted clones" in str(small.report)


def test_a_packed_model_answers_as_the_model(tmp_path: Path) -> None:
    model, X = zoo.trained("cat regression"), zoo.rows("cat regression")
    packed = ec.pack(model)
    packed.save(tmp_path / "model.forest")
    np.testing.assert_array_equal(model.predict(X), packed.predict(X))
    np.testing.assert_array_equal(model.predict(X), ec.load(tmp_path / "model.forest").predict(X))


@pytest.mark.parametrize("suffix", ["json", "cbm"])
def test_the_command_line_reads_files_of_catboost(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    zoo.trained("cat regression").save_model(str(path), format=suffix)
    pd.DataFrame(zoo.data("regression", True).X).to_csv(tmp_path / "rows.csv", index=False)
    answer = CliRunner().invoke(app, ["inspect", str(path)])
    assert answer.exit_code == 0
    assert ["leaves", str(zoo.forest("cat regression").n_leaves)] in [
        line.split() for line in answer.output.splitlines()
    ]
    arguments = ["predict", str(path), "--data", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "out.csv")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    actual = [float(line) for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    expected = zoo.trained("cat regression").predict(zoo.data("regression", True).X)
    np.testing.assert_array_equal(expected, actual)


def test_bytes_of_a_teacher_are_its_cbm(tmp_path: Path) -> None:
    model = zoo.trained("cat binary")
    model.save_model(str(tmp_path / "model.cbm"))
    expected = (tmp_path / "model.cbm").stat().st_size
    assert expected == measure.teacher_bytes(model, read(model))["library_file"]


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise"])
@pytest.mark.parametrize("name", ["spambase", "adult", "letter"])
def test_real_rows_end_in_the_same_leaves(name: str, policy: str) -> None:
    X_train, y_train, X, _, info = datasets.train_test(name, max_rows=3000)
    kind = cb.CatBoostRegressor if info["task"] == "regression" else cb.CatBoostClassifier
    model = kind(**QUIET | {"iterations": 20, "depth": 6, "grow_policy": policy}).fit(X_train, y_train)
    forest = read(model)
    np.testing.assert_array_equal(model.calc_leaf_indexes(X), forest.apply(X))
    expected = model.predict(X, prediction_type="RawFormulaVal").reshape(len(X), -1)
    np.testing.assert_array_equal(expected, forest.margin(X))


def test_a_column_without_a_name_takes_no_other_name_away() -> None:
    frame = pd.DataFrame({"": [0.0, 1.0, 2.0, 3.0], "pay": [3.0, 1.0, 4.0, 1.0]})
    model = cb.CatBoostRegressor(iterations=3, verbose=0, allow_writing_files=False, thread_count=1)
    model.fit(frame, [0.0, 5.0, 1.0, 7.0])
    assert read(model).feature_names == ("", "pay")
    np.testing.assert_array_equal(model.predict(frame), read(model).predict(frame[["pay", ""]]))
