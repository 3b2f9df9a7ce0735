"""DataFrames with columns of levels: a model is compressed on one, and the result takes others."""

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import ensemble_compress as ec

COLOURS, SHOPS = ["blue", "green", "red", "yellow"], [10, 20, 35]
BOOSTED = {"n_estimators": 8, "verbose": -1, "n_jobs": 1, "min_data_per_group": 5, "cat_smooth": 1}
XGB = {"n_estimators": 8, "max_depth": 4, "enable_categorical": True, "n_jobs": 1}
HIST = {"max_iter": 8, "categorical_features": "from_dtype", "random_state": 0}
CLASSIFIERS = {
    "XGBoost": lambda: xgb.XGBClassifier(**XGB),
    "LightGBM": lambda: lgb.LGBMClassifier(**BOOSTED),
    "HistGradientBoosting": lambda: HistGradientBoostingClassifier(**HIST),
}
REGRESSORS = {
    "XGBoost": lambda: xgb.XGBRegressor(**XGB),
    "LightGBM": lambda: lgb.LGBMRegressor(**BOOSTED),
    "HistGradientBoosting": lambda: HistGradientBoostingRegressor(**HIST),
}


def frame(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    colour = pd.Series(random.choice(COLOURS, n_rows)).where(random.random(n_rows) < 0.95)
    return pd.DataFrame(
        {
            "size": random.normal(size=n_rows),
            "colour": pd.Categorical(colour, COLOURS),
            "shop": pd.Categorical(random.choice(SHOPS, n_rows), SHOPS),
            "weight": np.where(random.random(n_rows) < 0.1, np.nan, random.normal(size=n_rows)),
        }
    )


def target(X: pd.DataFrame) -> Any:
    chosen = X["colour"].isin(["blue", "red"]).to_numpy() ^ (X["shop"] == 20).to_numpy()
    return np.where(chosen, 1.0, -1.0) * (X["size"] > -0.5).to_numpy()


def labels(X: pd.DataFrame) -> Any:
    return (target(X) > 0).astype(int)


def hard_frames() -> list[pd.DataFrame]:
    """New rows; their columns in another order; fewer levels; the levels in another order; no rows but one."""
    X = frame(300, seed=1)
    few = X[X["colour"].isin(["green", "yellow"])].copy()
    few["colour"] = few["colour"].cat.remove_unused_categories()
    turned = X.copy()
    turned["colour"] = turned["colour"].cat.reorder_categories(COLOURS[::-1])
    return [X, X[X.columns[::-1]], few, turned, X.iloc[:1]]


def in_order(X: pd.DataFrame) -> pd.DataFrame:
    """A frame as the libraries want it, who look at neither the names of columns nor, XGBoost, at another order of levels."""
    X = X[["size", "colour", "shop", "weight"]].copy()
    X["colour"] = X["colour"].cat.set_categories(COLOURS)
    return X


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_packed_classifier_answers_for_frames_as_its_source_does(name: str, tmp_path: Path) -> None:
    X = frame()
    model = CLASSIFIERS[name]().fit(X, labels(X))
    packed = ec.pack(model)
    packed.save(tmp_path / "model.forest")
    assert len(packed.forest.category_sets.start) > 1
    for rows in hard_frames():
        expected = model.predict_proba(in_order(rows))
        for small in (packed, ec.load(tmp_path / "model.forest")):
            np.testing.assert_allclose(expected, small.predict_proba(rows), rtol=1e-6)
            np.testing.assert_array_equal(model.predict(in_order(rows)), small.predict(rows))


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_packed_regressor_answers_for_frames_as_its_source_does(name: str) -> None:
    X = frame()
    model = REGRESSORS[name]().fit(X, target(X))
    packed = ec.pack(model)
    for rows in hard_frames():
        np.testing.assert_array_equal(model.predict(in_order(rows)), packed.predict(rows))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_compressed_classifier_takes_frames_and_knows_their_levels(name: str, tmp_path: Path) -> None:
    X = frame()
    model = CLASSIFIERS[name]().fit(X, labels(X))
    small = ec.compress(model, X, labels(X), tolerance=0.02)
    small.save(tmp_path / "model.forest")
    assert small.report.reference == "cross-fitted clones"
    assert small.forest.n_nodes < ec.read(model).n_nodes
    new = frame(300, seed=1)
    assert np.mean(small.predict(new) == labels(new)) > np.mean(model.predict(new) == labels(new)) - 0.05
    expected = small.predict_proba(new)
    # Whole numbers that scikit-learn was trained on are their own codes.
    shop = new["shop"].astype(int) if name == "HistGradientBoosting" else new["shop"].cat.codes
    colour = new["colour"].cat.codes.replace(-1, np.nan)
    codes = np.column_stack([new["size"], colour, shop, new["weight"]])
    np.testing.assert_array_equal(expected, small.predict_proba(codes))
    for rows in hard_frames():
        known = small.predict_proba(in_order(rows))
        np.testing.assert_array_equal(known, small.predict_proba(rows))
        np.testing.assert_array_equal(known, ec.load(tmp_path / "model.forest").predict_proba(rows))


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_compressed_regressor_takes_frames(name: str) -> None:
    X, new = frame(), frame(300, seed=1)
    model = REGRESSORS[name]().fit(X, target(X))
    small = ec.compress(model, X, target(X), tolerance=0.02)
    lost = np.mean((small.predict(new) - target(new)) ** 2) - np.mean((model.predict(new) - target(new)) ** 2)
    assert lost < 0.05 * np.var(target(new))
    for rows in hard_frames():
        np.testing.assert_array_equal(small.predict(in_order(rows)), small.predict(rows))
