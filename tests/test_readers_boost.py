"""Where XGBoost and LightGBM do what one doesn't expect, their models are read as they do, or refused by name."""

import ast
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sources import MODULES, syntax

from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.readers import read

ZERO = float(np.float32(1e-35))
LINE = [
    0.0,
    5e-324,
    1e-36,
    float(np.nextafter(ZERO, 0)),
    ZERO,
    float(np.nextafter(ZERO, 1)),
    0.5,
    3.0,
    np.inf,
]
CODES = [
    0,
    -0.0,
    0.75,
    1,
    2.5,
    31,
    31.99,
    32,
    63,
    64,
    2.0**24,
    2.0**31,
    3e9,
    1e300,
    np.inf,
    -1,
    -7,
    -np.inf,
    np.nan,
]
CATEGORY, N_COLUMNS = 3, 4
"""Column 3 of the made-up trees holds categories, the others numbers."""


# -- LightGBM -----------------------------------------------------------------------------------------------------


def _text(splits: list[tuple[int, float, int]], leaves: list[int], n_columns: int = N_COLUMNS) -> str:
    """LightGBM's text of one tree that grows as it does: split s (column, threshold, decision_type) parts a leaf.

    A threshold of a categorical split names one of three sets.
    """
    left, right, holder = [], [], {0: (-1, "")}
    for s, leaf in enumerate(leaves):
        parent, side = holder[leaf]
        if parent >= 0:
            (left if side == "left" else right)[parent] = s
        left.append(-1 - leaf)
        right.append(-2 - s)
        holder[leaf], holder[s + 1] = (s, "left"), (s, "right")
    n = len(splits)
    lines = {
        "num_leaves": n + 1, "num_cat": 3, "split_feature": [c for c, _, _ in splits], "split_gain": [1] * n,
        "threshold": [repr(t) for _, t, _ in splits], "decision_type": [d for _, _, d in splits], "left_child": left,
        "right_child": right, "leaf_value": range(n + 1), "leaf_weight": [1] * (n + 1), "leaf_count": [8] * (n + 1),
        "internal_value": [0] * n, "internal_weight": [0] * n, "internal_count": [8] * n,
        "cat_boundaries": [0, 1, 2, 4], "cat_threshold": [0b101, 0b10, 1 << 31, 0b11], "is_linear": 0, "shrinkage": 1,
    }  # fmt: skip
    as_text = lambda v: str(v) if isinstance(v, int) else " ".join(map(str, v))
    names = " ".join(f"Column_{c}" for c in range(n_columns))
    head = (
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={n_columns - 1}\n"
        f"objective=regression\nfeature_names={names}\nfeature_infos={' '.join(['[-1:1]'] * n_columns)}\n\nTree=0\n"
    )
    return head + "".join(f"{k}={as_text(v)}\n" for k, v in lines.items()) + "\n\nend of trees\n"


def _random_text(random: np.random.Generator) -> str:
    thresholds = sorted({sign * x for x in LINE for sign in (-1.0, 1.0)})
    splits, leaves = [], []
    for s in range(int(random.integers(1, 12))):
        column, default_left, missing = (int(random.integers(n)) for n in (N_COLUMNS, 2, 3))
        if column == CATEGORY:
            splits.append((column, int(random.integers(3)), 1 | missing << 2))
        else:
            splits.append((column, float(random.choice(thresholds)), default_left << 1 | missing << 2))
        leaves.append(int(random.integers(s + 1)))
    return _text(splits, leaves)


def _hard_rows(random: np.random.Generator, n_rows: int) -> NDArray[np.float64]:
    line = [sign * x for x in LINE for sign in (-1.0, 1.0)]
    line += [float(np.nextafter(x, way)) for x in line for way in (-np.inf, np.inf)]
    X = random.choice([*line, np.nan], (n_rows, N_COLUMNS))
    X[:, CATEGORY] = random.choice(CODES, n_rows)
    return X


@pytest.mark.parametrize("seed", range(60))
def test_trees_that_mix_all_ways_to_treat_missing_values_are_read_exactly(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    text, X = _random_text(random), _hard_rows(random, 500)
    (tmp_path / "model.txt").write_text(text)
    booster, forest = lgb.Booster(model_str=text), read(tmp_path / "model.txt")
    assert_array_equal(booster.predict(X, pred_leaf=True), forest.apply(X))
    assert_array_equal(booster.predict(X, raw_score=True), forest.margin(X)[:, 0])


@pytest.mark.parametrize("name", ["lgb zero as missing", "lgb zero as missing multiclass"])
def test_copies_share_the_cover_of_their_leaf(name: str) -> None:
    forest, text = zoo.forest(name), zoo.trained(name).booster_.model_to_string()
    counts = [line[11:].split() for line in text.split("\n") if line.startswith("leaf_count=")]
    n_copies = 0
    for t, (start, stop) in enumerate(zip(forest.tree_start[:-1], forest.tree_start[1:], strict=True)):
        nodes = np.arange(start, stop)[forest.is_leaf[start:stop]]
        covers = np.bincount(forest.nodes.node_id[nodes], forest.nodes.cover[nodes])
        assert_allclose(covers, np.array(counts[t], float), rtol=1e-12)
        n_copies += len(nodes) - len(covers)
        assert forest.nodes.cover[start] == pytest.approx(zoo.N_ROWS)
    assert n_copies > 0


def test_what_is_known_of_a_column_spares_copies(tmp_path: Path) -> None:
    goes_apart = 2 | 1 << 2
    (tmp_path / "model.txt").write_text(_text([(0, -0.5, goes_apart), (0, -3.0, goes_apart)], [0, 0]))
    forest = read(tmp_path / "model.txt")
    # Seven nodes for the first split. The second stands on x <= -0.5, where it is a threshold, and on 0, where all go left.
    assert forest.n_nodes == 9
    assert sorted(forest.nodes.node_id.tolist()) == [0, 0, 1, 1, 2, 3, 3, 3, 4]


def test_too_many_copies_are_refused_by_name(tmp_path: Path) -> None:
    n_splits = 2**7 - 1
    leaves = [s - 2 ** (s.bit_length() - 1) for s in range(1, n_splits + 1)]
    splits = [(s, -0.5, 2 | 1 << 2) for s in range(n_splits)]
    (tmp_path / "model.txt").write_text(_text(splits, leaves, n_splits))
    text = r"tree 0: its splits send 0 another way than its neighbours \(zero_as_missing=True\) so often .* more than 8,160 nodes"
    with pytest.raises(UnsupportedModelError, match=text + ".*zero_as_missing=False and NaN"):
        read(tmp_path / "model.txt")


@pytest.mark.parametrize(("name", "text"), [("left_child", "0 and -2"), ("right_child", "-1 and 0")])
def test_a_cycle_of_splits_that_send_zero_apart_is_found(name: str, text: str, tmp_path: Path) -> None:
    lines = _text([(0, -0.5, 2 | 1 << 2)], [0]).split("\n")
    damaged = [f"{name}=0" if line.startswith(name) else line for line in lines]
    (tmp_path / "model.txt").write_text("\n".join(damaged))
    children = text.replace("-2", "2").replace("-1", "1")
    with pytest.raises(
        ModelFileError,
        match=f"tree 0, node 2: one of its children, {children}, has another parent or is the root",
    ):
        read(tmp_path / "model.txt")


def test_a_classifier_of_lightgbm_that_saw_one_class_is_certain_of_it() -> None:
    X, _ = zoo.data("binary")
    model = lgb.LGBMClassifier(**zoo.QUIET).fit(X, ["only"] * len(X))
    forest = read(model)
    assert_array_equal(model.predict(X, raw_score=True), forest.margin(X)[:, 0])
    assert_array_equal(model.predict(X), forest.predict(X))
    # LightGBM adds a column for a class that has no name.
    assert_allclose(forest.predict_proba(X), model.predict_proba(X)[:, :1], rtol=1e-12)


def test_cross_entropy_makes_a_classifier() -> None:
    X, y = zoo.data("text")
    model = lgb.LGBMClassifier(**zoo.QUIET, objective="cross_entropy").fit(X, y)
    assert_array_equal(model.predict(X), read(model).predict(X))
    assert_allclose(read(model).predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12)


def test_a_booster_that_went_on_from_another_is_read_whole() -> None:
    X, y = zoo.data("regression", missing=True)
    options = {"objective": "huber", "num_leaves": 6, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
    first = lgb.train(options, lgb.Dataset(X, y), 3)
    second = lgb.train(
        options | {"zero_as_missing": True}, lgb.Dataset(np.nan_to_num(X), y), 3, init_model=first
    )
    rows = np.concatenate([X, _hard_rows(np.random.default_rng(0), 200)[:, [0, 1, 2, 0, 1]]])
    assert read(second).n_trees == 6
    assert_array_equal(second.predict(rows, pred_leaf=True), read(second).apply(rows))
    assert_array_equal(second.predict(rows), read(second).predict(rows))


# -- both ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["lgb categories", "lgb categories missing", "xgb one-hot", "xgb partitions"]
)
def test_codes_are_rounded_towards_zero(name: str) -> None:
    model, forest = zoo.trained(name), zoo.forest(name)
    codes = [code for code in CODES if abs(code) < 1e38] + [np.nan]  # XGBoost takes no infinity
    X = np.repeat(zoo.data(zoo.ENTRIES[name].task, zoo.ENTRIES[name].missing, True).X[:6], len(codes), axis=0)
    for column in zoo.CATEGORICAL:
        rows = X.copy()
        rows[:, column] = np.tile(codes, 6)
        if name.startswith("lgb"):
            expected = model.predict(rows, pred_leaf=True)
        else:
            types = ["c" if f in zoo.CATEGORICAL else "q" for f in range(zoo.N_FEATURES)]
            matrix = xgb.DMatrix(rows, feature_types=types, enable_categorical=True)
            expected = model.get_booster().predict(matrix, pred_leaf=True)
        assert_array_equal(expected, forest.apply(rows))


# -- XGBoost ------------------------------------------------------------------------------------------------------

OBJECTIVES = ("binary:logistic", "multi:softprob", "count:poisson", "reg:squarederror", "binary:hinge")


@pytest.mark.parametrize("base_score", [None, 0.3])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_model_without_trees_keeps_its_base_score(
    objective: str, base_score: float | None, tmp_path: Path
) -> None:
    X, y = zoo.data("binary")
    options: dict[str, Any] = {"objective": objective, "base_score": base_score}
    if objective.startswith("multi"):
        options["num_class"] = 3
    booster = xgb.train({k: v for k, v in options.items() if v is not None}, xgb.DMatrix(X, y), 0)
    expected = booster.predict(xgb.DMatrix(X), output_margin=True).reshape(len(X), -1)
    assert_array_equal(expected, read(booster).margin(X))
    booster.save_model(tmp_path / "model.json")
    assert_array_equal(expected, read(tmp_path / "model.json").margin(X))


def test_a_classifier_without_trees_gives_its_probabilities() -> None:
    X, y = zoo.data("binary")
    model = xgb.XGBClassifier(n_estimators=0).fit(X, y)
    assert_array_equal(model.predict_proba(X), read(model).predict_proba(X))
    assert_array_equal(model.predict(X), read(model).predict(X))


def test_a_classifier_of_xgboost_that_saw_one_class_answers_for_two() -> None:
    X, y = zoo.data("binary")
    model = xgb.XGBClassifier(n_estimators=2).fit(X, y * 0)
    forest = read(model)
    assert_array_equal(model.predict_proba(X), forest.predict_proba(X))
    assert forest.classes.tolist() == [0, 1]
    assert_array_equal(model.predict(X), forest.predict(X))


def test_a_booster_of_one_class_is_certain_of_it() -> None:
    X, y = zoo.data("binary")
    booster = xgb.train({"objective": "multi:softprob", "num_class": 1}, xgb.DMatrix(X, y * 0), 2)
    assert_array_equal(booster.predict(xgb.DMatrix(X)), read(booster).predict_proba(X)[:, 0])


def test_a_classifier_of_hinge_loss_says_nothing_but_0_and_1() -> None:
    X, y = zoo.data("binary")
    model = xgb.XGBClassifier(n_estimators=4, max_depth=3, objective="binary:hinge").fit(X, y)
    assert_array_equal(model.predict_proba(X), read(model).predict_proba(X))
    assert_array_equal(model.predict(X), read(model).predict(X))
    assert set(read(model).predict_proba(X)[:, 1]) == {0.0, 1.0}


def test_a_regressor_of_softmax_predicts_codes_of_classes() -> None:
    X, y = zoo.data("multiclass")
    model = xgb.XGBRegressor(n_estimators=3, objective="multi:softmax", num_class=3).fit(X, y)
    assert_array_equal(model.predict(X), read(model).predict(X))


def test_a_ranker_is_read() -> None:
    X, y = zoo.data("count")
    model = xgb.XGBRanker(n_estimators=3, max_depth=3).fit(X, y, group=[60] * 4)
    assert_array_equal(model.predict(X), read(model).predict(X))


def test_an_unseen_level_counts_as_missing_where_xgboost_stops() -> None:
    levels = ["blue", "green", "red"]
    colour = pd.Categorical(np.random.default_rng(0).choice(levels, 200), levels)
    model = xgb.XGBRegressor(n_estimators=2, enable_categorical=True).fit(
        pd.DataFrame({"c": colour}), colour.codes
    )
    unseen = pd.DataFrame({"c": pd.Categorical(["zinc"], [*levels, "zinc"])})
    missing = pd.DataFrame({"c": pd.Categorical([None], levels)})
    with pytest.raises(xgb.core.XGBoostError, match=r"category not in the training set .* `zinc`"):
        model.predict(unseen)
    assert_array_equal(model.predict(missing), read(model).predict(unseen))


@pytest.mark.parametrize(
    ("kind", "task", "options"),
    [
        (xgb.XGBClassifier, "binary", {"learning_rate": 1e-10, "base_score": 0.5}),
        (xgb.XGBClassifier, "multiclass", {"learning_rate": 1e-10, "base_score": 0.0}),
        (lgb.LGBMClassifier, "binary", zoo.QUIET | {"learning_rate": 1e-20, "boost_from_average": False}),
        (lgb.LGBMClassifier, "multiclass", zoo.QUIET | {"learning_rate": 1e-20, "boost_from_average": False}),
    ],
)
def test_probabilities_tie_where_margins_do_not(kind: Any, task: str, options: dict[str, Any]) -> None:
    X, y = zoo.data(task)
    model = kind(**options | {"n_estimators": 2}).fit(X, y)
    forest = read(model)
    margin = forest.margin(X)
    expected = margin.argmax(axis=1) if task == "multiclass" else margin[:, 0] > 0
    assert_array_equal(model.classes_[expected.astype(int)], forest.predict(X))
    assert set(model.predict(X)) == {model.classes_[0]}
    assert len(set(forest.predict(X))) > 1
    assert_array_equal(model.predict_proba(X), forest.predict_proba(X))


EXCEPTIONS = {
    "xgboost": (
        "are a tie, which goes to the first class",
        "`inplace_predict` of a DART",
        "counts as missing",
    ),
    "lightgbm": ("are a tie, which goes to the first class",),
    "sklearn_ensembles": ("several jobs it adds up",),
    "catboost_features": ("has the hash of one that was",),
}


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_the_known_exceptions_are_in_the_readers_docstrings(module: str) -> None:
    path = MODULES[f"ensemble_compress.readers.{module}"]
    parts = [
        ast.get_docstring(part) or ""
        for part in ast.walk(syntax(path))
        if isinstance(part, ast.Module | ast.FunctionDef)
    ]
    text = " ".join(" ".join(parts).split())
    for exception in EXCEPTIONS[module]:
        assert exception in text
