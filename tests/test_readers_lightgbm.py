"""LightGBM's models are read so that every row ends in the same leaf and gets the same sum, label and probability."""

import itertools
from pathlib import Path
from typing import Any

import datasets
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import zoo

from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.readers import read

NAMES = zoo.names("lightgbm")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_ends_in_the_leaf_that_lightgbm_finds(name: str) -> None:
    np.testing.assert_array_equal(zoo.expected_leaves(name), zoo.forest(name).apply(zoo.rows(name)))


@pytest.mark.parametrize("name", NAMES)
def test_margins_are_equal_to_the_bit(name: str) -> None:
    expected, actual = zoo.expected_margin(name), zoo.forest(name).margin(zoo.rows(name))
    assert expected.dtype == actual.dtype == np.float64
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_equal(name: str) -> None:
    forest, expected = zoo.forest(name), zoo.expected_prediction(name)
    actual = forest.predict(zoo.rows(name))
    if forest.is_classifier or forest.link == "identity":
        np.testing.assert_array_equal(expected, actual)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-12)  # two links in float64


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.ENTRIES[name].task in zoo.LABELLED])
def test_probabilities_are_equal_up_to_rounding_of_the_link(name: str) -> None:
    if zoo.forest(name).is_classifier:
        expected = zoo.trained(name).predict_proba(zoo.rows(name))
        np.testing.assert_allclose(
            zoo.forest(name).predict_proba(zoo.rows(name)), expected, rtol=0, atol=1e-12
        )
    else:
        assert name in ("lgb cross_entropy", "lgb cross_entropy_lambda")


def test_the_zoo_holds_the_cases_that_are_easy_to_get_wrong() -> None:
    assert (zoo.forest("lgb categories").nodes.category_set >= 0).any()
    assert (np.abs(zoo.forest("lgb binary").nodes.threshold) == float(np.float32(1e-35))).any()
    is_split = zoo.forest("lgb missing").nodes.feature >= 0
    assert set(zoo.forest("lgb missing").nodes.nan_left[is_split]) == {False, True}
    text = zoo.trained("lgb missing as zero").booster_.model_to_string()
    kinds = {
        kind for line in text.split("\n") if line.startswith("decision_type=") for kind in line[14:].split()
    }
    assert kinds <= {"0", "2"}
    assert zoo.forest("lgb random forest").divisor == 6.0
    assert zoo.forest("lgb leaves without splits").n_nodes == zoo.forest("lgb leaves without splits").n_trees
    assert zoo.forest("lgb stopped early").n_trees == zoo.trained("lgb stopped early").best_iteration_ < 40


def test_a_booster_stops_at_its_best_iteration() -> None:
    X, y = zoo.data("binary")
    train, valid = lgb.Dataset(X[:120], y[:120]), lgb.Dataset(X[120:], y[120:])
    options = {"objective": "binary", "learning_rate": 0.8, "min_data_in_leaf": 5, "verbose": -1}
    stop = lgb.early_stopping(2, verbose=False)
    booster = lgb.train(options, train, 40, valid_sets=[valid], callbacks=[stop], keep_training_booster=True)
    assert read(booster).n_trees == booster.best_iteration < booster.current_iteration()
    np.testing.assert_array_equal(booster.predict(X, raw_score=True), read(booster).margin(X)[:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_is_the_same_forest(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    zoo.trained(name).booster_.save_model(path)
    forest, loaded = zoo.forest(name), read(path)
    np.testing.assert_array_equal(forest.margin(zoo.rows(name)), loaded.margin(zoo.rows(name)))
    assert (forest.classes is None) == (loaded.classes is None)
    assert loaded == read(zoo.trained(name).booster_)


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg"])
def test_ranking_by_groups_is_read(objective: str) -> None:
    X, y = zoo.data("binary")
    train = lgb.Dataset(X, y, group=[60] * 4)
    booster = lgb.train(
        {"objective": objective, "verbose": -1, "min_data_in_leaf": 5, "num_threads": 1}, train, 5
    )
    np.testing.assert_array_equal(booster.predict(X), read(booster).predict(X))


def _one_split(decision: int, threshold: float) -> str:
    """A model of one tree with one split on one feature, as text."""
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n"
        "objective=regression\nfeature_names=Column_0\nfeature_infos=[-1:1]\n\n"
        "Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\n"
        f"threshold={threshold!r}\ndecision_type={decision}\nleft_child=-1\nright_child=-2\nleaf_value=1 2\n"
        "leaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\ninternal_count=2\nis_linear=0\n"
        "shrinkage=1\n\n\nend of trees\n"
    )


ZERO = float(np.float32(1e-35))
SCALE = [0.0, 1e-300, 1e-36, float(np.nextafter(ZERO, 0)), ZERO, float(np.nextafter(ZERO, 1)), 1e-34, 1.0]
POINTS = sorted({sign * value for value in SCALE for sign in (-1.0, 1.0)})


@pytest.mark.parametrize("decision", [0, 2, 4, 6, 8, 10])
@pytest.mark.parametrize("threshold", POINTS)
def test_every_way_to_treat_missing_values_agrees_around_zero(
    decision: int, threshold: float, tmp_path: Path
) -> None:
    text = _one_split(decision, threshold)
    (tmp_path / "model.txt").write_text(text)
    rows = np.array([-np.inf, *POINTS, -0.0, np.inf, np.nan]).reshape(-1, 1)
    expected = lgb.Booster(model_str=text).predict(rows, pred_leaf=True).reshape(-1)
    forest = read(tmp_path / "model.txt")
    np.testing.assert_array_equal(expected, forest.apply(rows)[:, 0])
    sends_zero_apart = (np.diff(expected[: 1 + len(POINTS)]) < 0).any()
    assert forest.n_nodes == (7 if sends_zero_apart else 3)


def _frame(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": random.normal(size=300),
            "colour": pd.Categorical(random.choice(["red", "green", "blé"], 300), ["red", "green", "blé"]),
            "shop": pd.Categorical(random.choice([10, 20, 35], 300)),
        }
    )


def test_categories_of_a_frame_go_with_the_forest(tmp_path: Path) -> None:
    X = _frame()
    y = (X["size"] > 0) ^ (X["colour"] == "green") ^ (X["shop"] == 20)
    model = lgb.LGBMClassifier(**zoo.QUIET, min_data_per_group=5).fit(X, y)
    forest, other = read(model), _frame(seed=1)
    other["colour"] = pd.Categorical(other["colour"].astype(object).where(other["colour"] != "red", "unseen"))
    other.loc[::5, "shop"] = None
    assert forest.categories == (None, ("red", "green", "blé"), (10, 20, 35))
    assert forest.feature_names == ("size", "colour", "shop")
    np.testing.assert_array_equal(model.predict(other, raw_score=True), forest.margin(other)[:, 0])
    model.booster_.save_model(tmp_path / "model.txt")
    np.testing.assert_array_equal(forest.margin(other), read(tmp_path / "model.txt").margin(other))


def test_levels_without_columns_are_refused(tmp_path: Path) -> None:
    text = _one_split(0, 0.5) + '\npandas_categorical:[["a", "b"]]\n'
    (tmp_path / "model.txt").write_text(text)
    with pytest.raises(
        UnsupportedModelError, match="1 columns of levels, and categorical_feature='' does not say which"
    ):
        read(tmp_path / "model.txt")


def test_labels_of_a_wrapper_and_of_a_booster() -> None:
    assert zoo.forest("lgb binary").classes.tolist() == ["no", "yes"]
    assert zoo.forest("lgb multiclass").classes.tolist() == [-2, 7, 30]
    assert read(zoo.trained("lgb multiclass").booster_).classes.tolist() == [0, 1, 2]
    assert read(zoo.trained("lgb binary").booster_).classes.tolist() == [0, 1]
    assert zoo.forest("lgb cross_entropy").classes is None


def _fit(kind: Any = lgb.LGBMRegressor, task: str = "positive", **options: Any) -> Any:
    X, y = zoo.data(task)
    return kind(**zoo.QUIET | options).fit(X, y)


def _gradient(y: Any, margin: Any) -> Any:
    return margin - y, np.ones_like(y, dtype=float)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: lgb.LGBMClassifier(), "this LGBMClassifier is not fitted; call fit first"),
        (
            lambda: _fit(linear_tree=True),
            "tree 1: a linear model in its leaves .* fit with linear_tree=False",
        ),
        (
            lambda: _fit(lgb.LGBMClassifier, "binary", objective="poisson"),
            "LGBMClassifier: a classifier with the objective 'poisson' .* fit it with one of binary, multiclass, ",
        ),
        (
            lambda: _fit(lgb.LGBMClassifier, "binary", objective="cross_entropy_lambda"),
            "the objective 'cross_entropy_lambda' cannot be read, as its labels compare a prediction with 0.5",
        ),
        (lambda: _fit(lgb.LGBMClassifier, "binary", objective=_gradient), "an objective function of its own"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(make: Any, text: str) -> None:
    model = make()
    with pytest.raises(UnsupportedModelError, match=text):
        read(model)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_a_scale_that_is_none_is_damage(text: str, tmp_path: Path) -> None:
    whole = zoo.trained("lgb sigmoid of 0.7").booster_.model_to_string()
    (tmp_path / "model.txt").write_text(whole.replace("sigmoid:0.7", f"sigmoid:{text}"))
    with pytest.raises(ModelFileError, match=f"the objective has sigmoid:{text}; expected a number above 0"):
        read(tmp_path / "model.txt")


def test_a_scale_that_the_text_cuts_off_is_refused_while_lightgbm_uses_all_of_it() -> None:
    X, y = zoo.data("text")
    options = {**zoo.QUIET, "objective": "binary", "sigmoid": 1 / 3}
    data = lgb.Dataset(X, y == y[0])
    kept = lgb.train(options, data, 3, keep_training_booster=True)
    with pytest.raises(UnsupportedModelError, match=r"sigmoid=0\.33333333\d+, and .* as 0\.333333; read the"):
        read(kept)
    saved = lgb.Booster(model_str=kept.model_to_string())
    assert np.abs(saved.predict(X) - kept.predict(X)).max() > 1e-8
    np.testing.assert_allclose(saved.predict(X), read(saved).predict_proba(X)[:, 1], rtol=1e-13)
    reloaded = lgb.train(options, data, 3)
    np.testing.assert_allclose(reloaded.predict(X), read(reloaded).predict_proba(X)[:, 1], rtol=1e-13)


def test_a_regression_on_a_function_of_the_users_gives_margins() -> None:
    model = _fit(objective=_gradient)
    X, _ = zoo.data("positive")
    np.testing.assert_array_equal(model.predict(X), read(model).predict(X))


def test_made_up_names_are_dropped_and_given_ones_kept() -> None:
    X, y = zoo.data("binary")
    assert zoo.forest("lgb binary").feature_names is None
    named = lgb.LGBMClassifier(**zoo.QUIET).fit(pd.DataFrame(X, columns=list("abcde")), y)
    assert read(named).feature_names == tuple("abcde")


def test_splits_are_numbered_behind_the_leaves() -> None:
    forest = zoo.forest("lgb regression")
    for start, stop in itertools.pairwise(forest.tree_start):
        n_leaves = (stop - start + 1) // 2
        ids, is_leaf = forest.nodes.node_id[start:stop], forest.is_leaf[start:stop]
        assert sorted(ids[is_leaf]) == list(range(n_leaves))
        assert sorted(ids[~is_leaf]) == list(range(n_leaves, stop - start))
        assert ids[0] == n_leaves


def test_cover_counts_training_rows() -> None:
    forest = zoo.forest("lgb regression")
    roots = forest.tree_start[:-1]
    assert (forest.nodes.cover[roots] == zoo.N_ROWS).all()
    split = itertools.compress(range(forest.n_nodes), ~forest.is_leaf)
    assert all(
        forest.nodes.cover[j] == forest.nodes.cover[j + 1] + forest.nodes.cover[forest.nodes.right[j]]
        for j in split
    )


@pytest.mark.parametrize("name", ["adult", "spambase", "letter"])
def test_real_rows_end_in_the_same_leaves(name: str) -> None:
    X_train, y_train, X, _, info = datasets.train_test(name, max_rows=4000)
    columns = [f for f, is_categorical in enumerate(info["categorical"]) if is_categorical]
    model = lgb.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1)
    model.fit(X_train, y_train, categorical_feature=columns or "auto")
    forest = read(model)
    np.testing.assert_array_equal(model.predict(X, pred_leaf=True).reshape(len(X), -1), forest.apply(X))
    expected = model.predict(X, raw_score=True).reshape(len(X), -1)
    np.testing.assert_array_equal(expected, forest.margin(X))
