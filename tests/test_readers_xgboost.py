"""XGBoost's models are read so that every row ends in the same leaf and gets the same sum, label and probability."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
import zoo

from ensemble_compress import predict
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.readers import read

NAMES = zoo.names("xgboost")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_ends_in_the_leaf_that_xgboost_finds(name: str) -> None:
    np.testing.assert_array_equal(zoo.expected_leaves(name), zoo.forest(name).apply(zoo.rows(name)))


@pytest.mark.parametrize("name", NAMES)
def test_margins_are_equal_to_the_bit(name: str) -> None:
    expected, actual = zoo.expected_margin(name), zoo.forest(name).margin(zoo.rows(name))
    assert expected.dtype == actual.dtype == np.float32
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_equal(name: str) -> None:
    forest, expected = zoo.forest(name), zoo.expected_prediction(name)
    actual = forest.predict(zoo.rows(name))
    if forest.is_classifier or forest.link == "identity":
        np.testing.assert_array_equal(expected, actual)
    else:
        np.testing.assert_allclose(
            actual, expected, rtol=4e-7
        )  # two links in float32: a few units in the last place


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(zoo.ENTRIES[name], "task")])
def test_probabilities_are_equal_up_to_rounding_of_the_link(name: str) -> None:
    model = zoo.trained(name)
    if isinstance(model, xgb.XGBClassifier):
        expected = model.predict_proba(zoo.rows(name))
        np.testing.assert_allclose(
            zoo.forest(name).predict_proba(zoo.rows(name)), expected, rtol=0, atol=2.4e-7
        )
    elif not zoo.forest(name).is_classifier:
        with pytest.raises(UnsupportedModelError, match="predict_proba needs a classifier"):
            zoo.forest(name).predict_proba(zoo.rows(name))


def test_the_zoo_holds_the_cases_that_are_easy_to_get_wrong() -> None:
    trees = json.loads(zoo.trained("xgb pruned").save_raw("json"))["learner"]["gradient_booster"]["model"][
        "trees"
    ]
    assert sum(int(tree["tree_param"]["num_deleted"]) for tree in trees) > 0
    categorical = zoo.forest("xgb partitions")
    is_set = categorical.nodes.category_set >= 0
    assert is_set.any()
    assert set(categorical.nodes.nan_left[is_set]) == {False, True}
    weights = json.loads(zoo.trained("xgb dart").save_raw("json"))["learner"]["gradient_booster"][
        "weight_drop"
    ]
    assert len(set(weights)) > 1
    assert zoo.forest("xgb vector leaves").values.shape[1] == 2
    best = zoo.trained("xgb stopped early").best_iteration
    assert (
        zoo.forest("xgb stopped early").n_trees
        == best + 1
        < zoo.trained("xgb stopped early").get_booster().num_boosted_rounds()
    )


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_is_the_same_forest(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    zoo.trained(name).save_model(path)
    forest, loaded = zoo.forest(name), read(path)
    np.testing.assert_array_equal(forest.margin(zoo.rows(name)), loaded.margin(zoo.rows(name)))
    np.testing.assert_array_equal(forest.apply(zoo.rows(name)), loaded.apply(zoo.rows(name)))
    if forest.is_classifier:
        assert forest == loaded


def test_a_booster_keeps_all_its_trees_where_the_wrapper_stops_early() -> None:
    model = zoo.trained("xgb stopped early")
    booster = model.get_booster()
    assert read(booster).n_trees == booster.num_boosted_rounds() > zoo.forest("xgb stopped early").n_trees


@pytest.mark.parametrize("base_score", [1e-9, 0.5, 0.123, 0.999999])
def test_a_base_score_becomes_a_margin_as_in_xgboost(base_score: float) -> None:
    X, y = zoo.data("binary")
    booster = xgb.train(
        {"objective": "binary:logistic", "base_score": base_score, "max_depth": 1}, xgb.DMatrix(X, y), 1
    )
    np.testing.assert_array_equal(
        booster.predict(xgb.DMatrix(X), output_margin=True), read(booster).margin(X)[:, 0]
    )


@pytest.mark.parametrize("scale", [1, 8, 60])
@pytest.mark.parametrize(
    ("objective", "link", "n_outputs"),
    [("multi:softprob", "softmax", 7), ("binary:logistic", "sigmoid", 1), ("count:poisson", "exp", 1)],
)
def test_links_of_any_margins_are_within_two_units_of_the_last_place(
    objective: str, link: str, n_outputs: int, scale: int
) -> None:
    X, y = np.zeros((7000, 1)), np.arange(7000) % max(n_outputs, 2)
    options = {"num_class": n_outputs} if n_outputs > 1 else {}
    booster = xgb.train({"objective": objective, "max_depth": 1, **options}, xgb.DMatrix(X, y), 1)
    margins = np.random.default_rng(0).normal(size=(7000, n_outputs)) * scale
    rows = xgb.DMatrix(X, base_margin=margins.squeeze().astype(np.float32))
    margin = booster.predict(rows, output_margin=True).reshape(7000, n_outputs)
    expected = booster.predict(rows).reshape(7000, n_outputs)
    actual = predict.LINKS[link](margin)
    assert expected.dtype == actual.dtype == np.float32
    with np.errstate(invalid="ignore"):
        distance = np.where(expected == actual, 0, np.abs(expected - actual) / np.spacing(np.abs(expected)))
    assert distance.max() <= 2


def test_survival_and_ranking_by_groups_are_read() -> None:
    X, y = zoo.data("positive")
    rows = xgb.DMatrix(X)
    rows.set_float_info("label_lower_bound", y)
    rows.set_float_info("label_upper_bound", np.where(y > 2, np.inf, y))
    survival = xgb.train({"objective": "survival:aft", "max_depth": 3}, rows, 5)
    np.testing.assert_array_equal(survival.predict(rows, output_margin=True), read(survival).margin(X)[:, 0])
    np.testing.assert_allclose(read(survival).predict(X), survival.predict(rows), rtol=4e-7)
    groups = xgb.DMatrix(X, y > 1)
    groups.set_group([60] * 4)
    ranker = xgb.train({"objective": "rank:map", "max_depth": 3}, groups, 5)
    np.testing.assert_array_equal(ranker.predict(groups), read(ranker).predict(X))


def test_the_layout_of_older_versions_is_read(tmp_path: Path) -> None:
    booster = zoo.trained("xgb binary:logistic")
    document = json.loads(booster.save_raw("json"))
    parameters = document["learner"]["learner_model_param"]
    parameters["base_score"] = parameters["base_score"].strip("[]")
    model = document["learner"]["gradient_booster"]["model"]
    del model["cats"], model["iteration_indptr"], parameters["num_target"]
    for tree in model["trees"]:
        tree["default_left"] = [bool(left) for left in tree["default_left"]]
        for key in [key for key in tree if key.startswith("categories")] + ["split_type"]:
            del tree[key]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert zoo.forest("xgb binary:logistic") == read(tmp_path / "model.json")


def test_weights_of_dropped_trees_are_read_where_newer_versions_keep_them(tmp_path: Path) -> None:
    document = json.loads(zoo.trained("xgb dart").save_raw("json"))
    dart = document["learner"]["gradient_booster"]
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    weights, dart["weight_drop"] = dart["weight_drop"], [*dart["weight_drop"][:3], 1.0, 1.0]
    assert weights[:3] != [1.0] * 3
    old.write_text(json.dumps(document))
    model = dart["gbtree"]["model"] | {"weight_drop": weights[:3]}
    document["learner"]["gradient_booster"] = {"name": "gbtree", "model": model}
    new.write_text(json.dumps(document))
    assert read(old) == read(new)


def _frame(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": random.normal(size=300),
            "colour": pd.Categorical(random.choice(["red", "green", "blue"], 300), ["red", "green", "blue"]),
            "shop": pd.Categorical(random.choice([10, 20, 35], 300)),
        }
    )


def _fit_frame(X: pd.DataFrame) -> xgb.XGBClassifier:
    y = (X["size"] > 0) ^ (X["colour"] == "green") ^ (X["shop"] == 20)
    return xgb.XGBClassifier(n_estimators=5, enable_categorical=True, max_cat_to_onehot=2).fit(X, y)


def test_categories_of_a_frame_go_with_the_forest(tmp_path: Path) -> None:
    model = _fit_frame(_frame())
    forest, other = read(model), _frame(seed=1)
    other["colour"] = pd.Categorical(other["colour"], ["blue", "red", "green"])
    other.loc[::5, "colour"] = None
    assert forest.categories == (None, ("red", "green", "blue"), (10, 20, 35))
    assert forest.feature_names == ("size", "colour", "shop")
    np.testing.assert_array_equal(model.predict(other, output_margin=True), forest.margin(other)[:, 0])
    model.save_model(tmp_path / "model.json")
    assert forest == read(tmp_path / "model.json")


def test_names_of_categories_that_xgboost_cuts_are_refused() -> None:
    X = _frame()
    X["colour"] = X["colour"].cat.rename_categories({"green": "grün"})
    with pytest.raises(
        UnsupportedModelError, match="enc 1: XGBoost does not save the names of categories whole unless"
    ):
        read(_fit_frame(X))


def _fit(**options: Any) -> Any:
    X, y = zoo.data("binary")
    return xgb.XGBClassifier(n_estimators=2, max_depth=2, **options).fit(X, y)


@pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # XGBoost on options that gblinear and logitraw do not take
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: xgb.XGBClassifier(), "this XGBClassifier is not fitted; call fit first"),
        (lambda: _fit(booster="gblinear"), "the booster 'gblinear' has no trees; expected gbtree or dart"),
        (
            lambda: _fit(objective="count:poisson"),
            "XGBClassifier, learner: a classifier with the objective 'count:poisson' cannot be read",
        ),
        (
            lambda: _fit(objective="binary:logitraw"),
            "binary:logitraw, whose labels compare a margin with 0.5",
        ),
        (
            lambda: _fit(missing=-9.0),
            r"takes missing=-9.0 for a missing value; .* fit it with missing=np.nan",
        ),
        (lambda: xgb.XGBClassifier(n_estimators=1).fit(np.eye(4), np.eye(4, 2)), "tell several labels a row"),
        (lambda: xgb.Booster(), "this Booster has no features; expected a trained model"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(make: Any, text: str) -> None:
    model = make()
    with pytest.raises(UnsupportedModelError, match=text):
        read(model)


def test_labels_of_a_wrapper_and_of_a_booster() -> None:
    assert zoo.forest("xgb multiclass").classes.tolist() == [0, 1, 2]
    assert zoo.forest("xgb binary:logistic").classes.tolist() == [0, 1]
    assert zoo.forest("xgb reg:logistic").classes is None
    assert zoo.forest("xgb count:poisson").classes is None


@pytest.mark.parametrize("name", ["adult", "spambase", "letter"])
def test_real_rows_end_in_the_same_leaves(name: str) -> None:
    X_train, y_train, X, _, _ = datasets.train_test(name, max_rows=4000)
    model = xgb.XGBClassifier(n_estimators=10, max_depth=6, n_jobs=1).fit(X_train, y_train)
    forest = read(model)
    np.testing.assert_array_equal(model.apply(X).reshape(len(X), -1), forest.apply(X))
    expected = model.predict(X, output_margin=True).reshape(len(X), -1)
    np.testing.assert_array_equal(expected, forest.margin(X))
