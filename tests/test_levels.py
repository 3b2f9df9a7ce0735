"""Models with categories, trained again on fewer rows: told by the columns that they take for categories, not by their splits."""

from typing import Any

import catboost
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.ensemble import HistGradientBoostingClassifier

from ensemble_compress.clones import CloneError, Task, train_on
from ensemble_compress.data import Data
from ensemble_compress.readers import read

LETTERS = "vwxyz"


def frame(n_rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    random = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "size": random.normal(size=n_rows),
            "letter": pd.Categorical(random.choice(list(LETTERS), n_rows)),
            "code": random.integers(0, 5, n_rows),
        }
    )
    return X, ((X["size"] > 0) ^ X["letter"].isin(list("vxz")) ^ (X["code"] == 3)).to_numpy().astype(int)


def task(model: Any, X: Any, y: Any) -> Task:
    forest = read(model)
    return Task(model, forest, Data(forest.rows(X), y), X, y)


def hist(**options: Any) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=5, min_samples_leaf=5, categorical_features="from_dtype", **options
    )


KINDS = [
    hist,
    lambda: xgb.XGBClassifier(n_estimators=5, max_depth=4, enable_categorical=True),
    lambda: lgb.LGBMClassifier(
        n_estimators=5, min_child_samples=5, min_data_per_group=5, cat_smooth=1, verbose=-1, n_jobs=1
    ),
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("lacking", ["v", "x"])
def test_a_clone_that_saw_fewer_levels_answers_as_it_does_for_a_frame(make: Any, lacking: str) -> None:
    X, y = frame()
    clone = train_on(task(make().fit(X, y), X, y), np.flatnonzero(X["letter"] != lacking))
    expected = clone.model.predict_proba(X)
    found = clone.forest.predict_proba(read(make().fit(X, y)).rows(X))
    np.testing.assert_allclose(expected, found, rtol=1e-6)
    np.testing.assert_array_equal(clone.forest.predict_proba(X), found)


def test_a_clone_that_splits_on_no_category_is_one_all_the_same() -> None:
    X, y = frame()
    given = task(hist().fit(X, y), X, y)
    rows = np.flatnonzero(y == (X["size"] > 0))  # nothing is left for the letters to tell
    clone = train_on(given, rows)
    assert len(given.forest.category_sets.start) > 1
    assert len(clone.forest.category_sets.start) == 1


NAMED = "named in a call of fit that is not known here"


@pytest.mark.filterwarnings("ignore:categorical_feature keyword has been found in `params`:UserWarning")
def test_categories_that_only_fit_was_told_of_are_missed() -> None:
    X, y = frame()
    numbers = X.assign(letter=X["letter"].cat.codes).to_numpy(float)
    options = {"n_estimators": 3, "verbose": -1, "n_jobs": 1}
    whole = X.assign(letter=X["letter"].cat.codes)
    cat_options = {
        "iterations": 3,
        "verbose": 0,
        "allow_writing_files": False,
        "one_hot_max_size": 10,
        "thread_count": 1,
    }
    every = np.arange(len(y))
    for model, rows in (
        (lgb.LGBMClassifier(**options).fit(numbers, y, categorical_feature=[1]), numbers),
        (lgb.LGBMClassifier(**options).fit(whole, y, categorical_feature=["letter", "code"]), whole),
        (catboost.CatBoostClassifier(**cat_options).fit(whole, y, cat_features=["letter"]), whole),
        (hist().fit(X, y), numbers),
    ):
        with pytest.raises(CloneError, match=NAMED):
            train_on(task(model, rows, y), every)
    for model, rows in (
        (lgb.LGBMClassifier(**options, categorical_feature=[1]).fit(numbers, y), numbers),
        (lgb.LGBMClassifier(**options).fit(X, y), X),
        (catboost.CatBoostClassifier(**cat_options, cat_features=["letter"]).fit(whole, y), whole),
        (hist().fit(X, y), X),
    ):
        given = task(model, rows, y)
        np.testing.assert_array_equal(
            given.forest.margin(rows), train_on(given, every).forest.margin(given.data.X)
        )
