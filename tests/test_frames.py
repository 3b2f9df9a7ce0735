"""Tables of rows: columns by name, levels as codes or as numbers, as the source library takes them."""

from typing import Any

import catboost
import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xgboost as xgb
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

import ensemble_compress as ec
from ensemble_compress.errors import InputError

RANDOM = np.random.default_rng(0)
TENS = RANDOM.integers(0, 5, 300)
A = RANDOM.normal(size=300)
Y = ((TENS % 2) ^ (A > 0.3)).astype(int)
SMALL: dict[str, Any] = {"n_estimators": 6, "n_jobs": 1}


@pytest.mark.parametrize("step", [10, 0.5])
@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(6, random_state=0),
        lambda: HistGradientBoostingClassifier(max_iter=5, categorical_features=None),
    ],
)
def test_scikit_learn_reads_the_numbers_of_a_column_of_categories(make: Any, step: float) -> None:
    frame = pd.DataFrame({"a": A, "c": pd.Categorical(TENS * step)})
    model = make().fit(frame, Y)
    np.testing.assert_array_equal(model.predict(frame), ec.read(model).predict(frame))
    assert (ec.read(model).predict(frame.assign(c=frame["c"].cat.codes)) != model.predict(frame)).any()


def test_text_levels_that_scikit_learn_could_not_read_are_refused() -> None:
    forest = ec.read(RandomForestClassifier(3, random_state=0).fit(np.column_stack([A, TENS]), Y))
    with pytest.raises(InputError, match="column 'c' of X holds something that is not a number"):
        forest.predict(pd.DataFrame({"a": A, "c": pd.Categorical(np.array(list("vwxyz"))[TENS])}))


def test_boosters_that_were_trained_on_codes_read_codes(tmp_path: Any) -> None:
    frame = pd.DataFrame({"a": A, "c": pd.Categorical(TENS)})
    model = xgb.XGBClassifier(**SMALL).fit(np.column_stack([A, TENS]), Y)
    forest = ec.read(model)
    assert forest.levels_as_codes
    np.testing.assert_array_equal(model.predict(np.column_stack([A, TENS])), forest.predict(frame))


def test_the_rule_travels_with_the_file(tmp_path: Any) -> None:
    frame = pd.DataFrame({"a": A, "c": pd.Categorical(TENS * 10)})
    model = RandomForestClassifier(3, random_state=0).fit(frame, Y)
    packed = ec.pack(model)
    packed.save(tmp_path / "model.forest")
    again = ec.load(tmp_path / "model.forest")
    assert again.forest == packed.forest
    np.testing.assert_array_equal(model.predict(frame), again.predict(frame))


def test_a_whole_number_is_the_category_of_its_text_and_any_other_number_none() -> None:
    frame = pd.DataFrame({"a": A, "c": TENS})
    model = catboost.CatBoostClassifier(
        iterations=5, one_hot_max_size=10, verbose=0, allow_writing_files=False, thread_count=1
    )
    forest = ec.read(model.fit(frame, Y, cat_features=["c"]))
    expected = forest.predict(frame)
    np.testing.assert_array_equal(model.predict(frame), expected)
    np.testing.assert_array_equal(expected, forest.predict(frame.astype({"c": float})))
    np.testing.assert_array_equal(
        expected, forest.predict(frame.assign(c=pd.Categorical(TENS.astype(float))))
    )
    with pytest.raises(
        InputError, match=r"column 'c' of X holds the number \d\.5, and the model knows texts or whole"
    ):
        forest.predict(frame.assign(c=frame["c"] + 0.5))


@pytest.mark.parametrize("table", [pl.from_pandas, pa.Table.from_pandas])
def test_tables_of_polars_and_arrow_are_matched_by_name(table: Any) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(300, 3)), columns=["a", "b", "c"])
    target = (frame["a"] > frame["b"]).astype(int).to_numpy()
    model = RandomForestClassifier(5, max_depth=4, random_state=0).fit(frame, target)
    forest = ec.read(model)
    turned = table(frame[["c", "b", "a"]].assign(d=1.0))
    np.testing.assert_array_equal(model.predict(frame), forest.predict(turned))
    assert ec.compress(model, turned, target, steps="lossless").forest.n_leaves <= forest.n_leaves
    with pytest.raises(InputError, match=r"X lacks the feature\(s\) \['a'\] that the model was trained on"):
        forest.predict(table(frame[["b", "c"]]))


def test_polars_categories_are_levels() -> None:
    texts = np.array(list("vwxyz"))[TENS]
    frame = pd.DataFrame({"a": A, "c": pd.Categorical(texts)})
    model = lgb.LGBMClassifier(**SMALL, verbose=-1, min_data_per_group=5, cat_smooth=1).fit(frame, Y)
    table = pl.DataFrame({"a": A, "c": pl.Series(texts, dtype=pl.Categorical)})
    np.testing.assert_array_equal(model.predict(frame), ec.read(model).predict(table))


def test_names_of_several_levels_are_joined_as_xgboost_joins_them() -> None:
    frame = pd.DataFrame(
        RANDOM.normal(size=(300, 2)), columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])
    )
    model = xgb.XGBClassifier(**SMALL).fit(frame, frame.iloc[:, 0] > 0)
    np.testing.assert_array_equal(model.predict(frame), ec.read(model).predict(frame))


@pytest.mark.parametrize("blank", ["\u00a0", "\t", "\u2028"])
def test_lightgbms_names_may_hold_any_white_space(blank: str) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(300, 2)), columns=[f"prix{blank}ht", "b"])
    model = lgb.LGBMClassifier(**SMALL, verbose=-1).fit(frame, frame.iloc[:, 0] > 0)
    np.testing.assert_array_equal(model.predict(frame), ec.read(model).predict(frame))


def test_dates_masks_and_numbers_beyond_all_bounds() -> None:
    forest = ec.read(RandomForestClassifier(3, random_state=0).fit(np.column_stack([A, TENS]), Y))
    with pytest.raises(InputError, match="X holds dates or times; turn them into numbers"):
        forest.predict(np.array([["2020", "2021"]], "M8[Y]"))
    with pytest.raises(InputError, match="X holds something that is not a number"):
        forest.predict([[10**400, 1]])
    hidden = np.ma.masked_array([[0.5, 7.0]], mask=[[False, True]])
    np.testing.assert_array_equal(forest.predict([[0.5, np.nan]]), forest.predict(hidden))
    with pytest.raises(
        ec.errors.ParameterError, match="n_jobs is 'a'; expected None or a whole number but 0"
    ):
        forest.predict([[0.5, 1]], n_jobs="a")


def test_a_classifier_of_one_class_is_sure_of_it() -> None:
    model = HistGradientBoostingClassifier(max_iter=2).fit(A[:, None], np.full(300, 7))
    forest = ec.read(model)
    np.testing.assert_allclose(
        forest.predict_proba([[0.0], [1.0]]), model.predict_proba([[0.0], [1.0]])[:, :1]
    )
    np.testing.assert_array_equal([7], forest.predict([[0.0]]))
