"""`compress` and `Compressor`: promises kept on real rows, and every wrong argument named."""

import re
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
import zoo
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, f1_score, make_scorer, r2_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import ensemble_compress as ec
from ensemble_compress import sizes
from ensemble_compress.algorithms import (
    PruneNodes,
    PruneTrees,
    QuantizeLeaves,
    RefitLeaves,
    ShareThresholds,
    Simplify,
)
from ensemble_compress.errors import BudgetError, InputError, ParameterError, UnsupportedModelError
from ensemble_compress.run import Run

Rows = tuple[NDArray[Any], NDArray[Any]]
QUIET = {"verbose": -1, "n_jobs": 1, "n_estimators": 8, "num_leaves": 7}
BOOST = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}


def iris() -> Rows:
    return load_iris(return_X_y=True)  # type: ignore[no-any-return]


def cancer() -> Rows:
    X, y = load_breast_cancer(return_X_y=True)
    return X[:300, 20:], y[:300]


def diabetes() -> Rows:
    X, y = load_diabetes(return_X_y=True)
    return X[:300], y[:300]


def digits() -> Rows:
    X, y = load_digits(return_X_y=True)
    return X[:500], y[:500]


def two_columns() -> Rows:
    X, y = diabetes()
    return X, np.column_stack([y, 100 * X[:, 2] + X[:, 3]])


def forest_of(rows: Rows, n_trees: int = 3, **options: Any) -> Any:
    kind = RandomForestRegressor if rows[1].dtype == float else RandomForestClassifier
    return kind(n_trees, random_state=0, **{"max_leaf_nodes": 9} | options).fit(*rows)


TEACHERS: dict[str, tuple[Callable[[], Rows], Callable[[], Any], float]] = {
    "forest, three classes": (iris, lambda: RandomForestClassifier(10, random_state=0), 0.03),
    "forest, two classes": (cancer, lambda: RandomForestClassifier(10, random_state=0), 0.02),
    "forest, ten classes": (digits, lambda: RandomForestClassifier(4, random_state=0, max_leaf_nodes=30), 0.05),
    "forest, values": (diabetes, lambda: RandomForestRegressor(6, random_state=0, max_leaf_nodes=12), 0.05),
    "forest, two outputs": (two_columns, lambda: RandomForestRegressor(4, random_state=0, max_leaf_nodes=12), 0.05),
    "boosting, two classes": (cancer, lambda: GradientBoostingClassifier(n_estimators=10, random_state=0), 0.02),
    "boosting, values": (diabetes, lambda: GradientBoostingRegressor(n_estimators=20, random_state=0), 0.05),
    "histogram, three classes": (iris, lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0), 0.03),
    "XGBoost, three classes": (iris, lambda: xgb.XGBClassifier(**BOOST), 0.03),
    "XGBoost, two classes": (cancer, lambda: xgb.XGBClassifier(**BOOST), 0.02),
    "XGBoost, values": (diabetes, lambda: xgb.XGBRegressor(**BOOST), 0.05),
    "LightGBM, three classes": (iris, lambda: lgb.LGBMClassifier(**QUIET), 0.03),
    "LightGBM, two classes": (cancer, lambda: lgb.LGBMClassifier(**QUIET), 0.02),
    "LightGBM, values": (diabetes, lambda: lgb.LGBMRegressor(**QUIET), 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", TEACHERS)
def test_the_tolerance_is_kept_on_rows_that_nobody_saw(name: str) -> None:
    rows, make, tolerance = TEACHERS[name]
    X, X_test, y, y_test = train_test_split(*rows(), test_size=0.3, random_state=0)
    with threadpool_limits(1):  # tiny models: threads that wait for each other take longer than the work
        teacher = make().fit(X, y)
        small = ec.compress(teacher, X, y, tolerance=tolerance)
    metric = r2_score if y.dtype == float else accuracy_score
    lost = metric(y_test, teacher.predict(X_test)) - small.score(X_test, y_test)
    # The test rows are few: their own error comes on top of the tolerance.
    assert lost <= tolerance + 2 * 0.5 / np.sqrt(len(y_test))
    assert sizes.c_bytes(small.forest) < sizes.c_bytes(ec.read(teacher))
    assert small.report.reference == "cross-fitted clones"
    # The loss is judged by what is likely; the labels that the report counts may say two of their errors more.
    assert small.report.score[0] - small.report.score[1] <= tolerance + 2 * 0.5 / np.sqrt(len(y))


# -- tolerance and budget ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [30, 120])
def test_a_budget_is_kept_and_spent(max_bytes: int) -> None:
    rows = cancer()
    small = ec.compress(forest_of(rows), *rows, max_bytes=max_bytes)
    assert sizes.c_bytes(small.forest) <= max_bytes
    assert small.score(*rows) > 0.9
    assert small.report.max_bytes == max_bytes
    assert small.report.tolerance is None


def test_a_larger_tolerance_never_makes_a_larger_model() -> None:
    rows = cancer()
    teacher = forest_of(rows)
    found = [sizes.c_bytes(ec.compress(teacher, *rows, tolerance=t).forest) for t in (0.0, 0.01, 0.05)]
    assert found == sorted(found, reverse=True)


def test_without_tolerance_or_budget_half_a_percent_may_go() -> None:
    rows = iris()
    teacher = forest_of(rows)
    assert ec.compress(teacher, *rows).forest == ec.compress(teacher, *rows, tolerance=0.005).forest
    assert ec.compress(teacher, *rows).report.tolerance == 0.005


def test_a_relative_tolerance_is_a_share_of_the_teachers_score() -> None:
    rows = diabetes()
    teacher = forest_of(rows, 6)
    relative = ec.compress(teacher, *rows, tolerance=0.1, relative=True)
    allowed = 0.1 * relative.report.score[0]
    assert relative.report.tolerance == pytest.approx(allowed)
    assert relative.forest == ec.compress(teacher, *rows, tolerance=allowed).forest


def test_with_both_the_smallest_within_the_tolerance_has_to_fit() -> None:
    rows = cancer()
    teacher = forest_of(rows)
    alone = ec.compress(teacher, *rows, tolerance=0.02)
    needed = sizes.c_bytes(alone.forest)
    assert ec.compress(teacher, *rows, tolerance=0.02, max_bytes=needed).forest == alone.forest
    text = (
        f"no model fits max_bytes={needed - 1}: the smallest model within the tolerance takes {needed} bytes"
    )
    with pytest.raises(BudgetError, match=text) as caught:
        ec.compress(teacher, *rows, tolerance=0.02, max_bytes=needed - 1)
    assert caught.value.required_bytes == needed
    assert caught.value.nearest.forest == alone.forest


def test_a_budget_that_nothing_fits_names_the_smallest_model() -> None:
    rows = iris()
    with pytest.raises(
        BudgetError, match="no model fits max_bytes=2: the smallest model found takes"
    ) as caught:
        ec.compress(forest_of(rows, 3), *rows, max_bytes=2)
    assert sizes.c_bytes(caught.value.nearest.forest) == caught.value.required_bytes
    assert caught.value.nearest.predict(rows[0]).shape == (150,)


def test_confidence_gives_up_no_more_than_the_estimate_does() -> None:
    rows = cancer()
    teacher = forest_of(rows)
    likely = ec.compress(teacher, *rows, tolerance=0.03)
    sure = ec.compress(teacher, *rows, tolerance=0.03, confidence=0.95)
    assert sizes.c_bytes(sure.forest) >= sizes.c_bytes(likely.forest)
    assert sizes.c_bytes(sure.forest) < sizes.c_bytes(ec.read(teacher))


# -- lists of steps ---------------------------------------------------------------------------------------------


def test_a_list_without_a_goal_is_applied() -> None:
    X, y = cancer()
    teacher = forest_of((X, y))
    steps = [PruneTrees(n_trees=4), ShareThresholds(), QuantizeLeaves(bits=6)]
    small = ec.compress(teacher, X, y, steps=steps)
    forest = ec.read(teacher)
    data = ec.Data(forest.rows(X), y)
    expected = steps[2](steps[1](steps[0](forest, data), data), data)
    assert expected == small.forest
    assert [type(step).__name__ for step in steps] == [step.name for step in small.report.steps]
    assert min(step.seconds for step in small.report.steps) > 0
    assert sizes.c_bytes(expected) == small.report.steps[-1].bytes


def test_a_list_with_a_tolerance_stops_where_it_is_kept() -> None:
    X, y = cancer()
    teacher = forest_of((X, y))
    small = ec.compress(teacher, X, y, steps=[Simplify(), PruneNodes(max_leaves=2)], tolerance=0.0)
    assert small.n_leaves > 2
    smaller = ec.compress(teacher, X, y, steps=[Simplify(), PruneNodes(max_leaves=2)], tolerance=0.3)
    assert smaller.n_leaves == 2


def test_a_step_that_mends_what_another_one_broke_is_taken() -> None:
    X, y = cancer()
    teacher = forest_of((X, y), 12, max_depth=4)
    steps = [PruneTrees(n_trees=4), QuantizeLeaves(bits=4), RefitLeaves(), QuantizeLeaves(bits=8)]
    small = ec.compress(teacher, X, y, steps=steps, tolerance=0.05)
    assert len(small.report.path) == 5
    assert all(step.score is not None for step in small.report.steps)
    smallest = min(point.bytes for point in small.report.path if point.score > small.report.score[0] - 0.02)
    assert sizes.c_bytes(small.forest) <= smallest


def test_the_steps_of_the_automatic_way_have_scores() -> None:
    small = ec.compress(forest_of(cancer()), *cancer(), tolerance=0.02)
    # Only what was judged has one: not a student whose thresholds are its teacher's, nor leaves before they are fitted again.
    scored = {step.name for step in small.report.steps if step.score is not None}
    assert scored >= {"ShareThresholds", small.report.steps[-1].name}
    assert len(small.report.path) > 2


def test_steps_that_need_no_rows_run_without_them() -> None:
    teacher = forest_of(iris())
    small = ec.compress(teacher, steps=[QuantizeLeaves(bits=8)])
    assert small.forest == QuantizeLeaves(bits=8)(ec.read(teacher))
    assert small.report.notes == ("no rows were given: scores and agreement were not measured",)
    assert small.report.n_rows == 0
    assert "no rows were given" in str(small.report)


@pytest.mark.parametrize(
    "name", ["random forest gaps", "xgb missing", "lgb categories missing", "hist categories"]
)
def test_the_lossless_form_gives_the_same_bits(name: str) -> None:
    small = ec.pack(zoo.trained(name))
    X = zoo.rows(name)
    np.testing.assert_array_equal(zoo.forest(name).margin(X), small.forest.margin(X))
    assert sizes.c_bytes(small.forest) <= sizes.c_bytes(zoo.forest(name))


def test_a_lossless_form_beyond_the_budget_is_an_error() -> None:
    with pytest.raises(BudgetError, match="the lossless form of the model takes"):
        ec.compress(forest_of(iris()), steps="lossless", max_bytes=3)


# -- who judges -------------------------------------------------------------------------------------------------


def test_a_pair_of_rows_judges() -> None:
    X, X_val, y, y_val = train_test_split(*cancer(), test_size=0.4, random_state=1)
    small = ec.compress(forest_of((X, y)), X, y, validation=(X_val, y_val), tolerance=0.02)
    assert small.report.reference == "held-out rows and cross-fitted clones"
    assert small.report.n_rows == len(y_val) + len(y)


def test_a_fraction_is_held_out() -> None:
    rows = cancer()
    small = ec.compress(forest_of(rows), *rows, validation=0.25, tolerance=0.02)
    assert small.report.reference == "held-out rows and cross-fitted clones"
    assert small.report.n_rows == len(rows[1])


def test_held_out_rows_judge_a_file_alone() -> None:
    X, X_val, y, y_val = train_test_split(*cancer(), test_size=0.4, random_state=1)
    small = ec.compress(ec.read(forest_of((X, y))), X, y, validation=(X_val, y_val), tolerance=0.02)
    assert small.report.reference == "held-out rows"
    assert small.report.n_rows == len(y_val)


def test_rows_of_the_callers_own_count_once_beside_weighted_ones() -> None:
    X, X_val, y, y_val = train_test_split(*cancer(), test_size=0.4, random_state=1)
    weight = np.full(len(y), 2.0)
    small = ec.compress(
        forest_of((X, y)), X, y, sample_weight=weight, validation=(X_val, y_val), tolerance=0.02
    )
    assert small.report.n_rows == len(y_val) + len(y)


def test_a_scorer_of_the_callers_own_that_is_called_accuracy_is_not_taken_for_ours() -> None:
    rows = iris()

    def accuracy(estimator: Any, X: Any, y: Any) -> float:
        return 0.5

    # Every model scores alike: the smallest is taken, however many rows it gets wrong.
    small = ec.compress(forest_of(rows), *rows, scoring=accuracy, tolerance=0.0)
    assert small.n_leaves <= 2


def test_without_labels_the_teacher_is_the_truth() -> None:
    X, y = iris()
    small = ec.compress(forest_of((X, y)), X, tolerance=0.05)
    assert small.report.reference == "agreement with the teacher"
    assert small.report.score[0] == pytest.approx(1.0)
    assert small.report.score[1] >= 0.94


@pytest.mark.parametrize("kind", ["frozen", "file"])
def test_a_teacher_that_cannot_be_trained_again_is_judged_in_sample(kind: str, tmp_path: Any) -> None:
    X, y = cancer()
    booster = xgb.XGBClassifier(**BOOST).fit(X, y)
    path = tmp_path / "model.json"
    booster.save_model(path)
    teacher = path if kind == "file" else booster.get_booster()
    small = ec.compress(teacher, X, y, tolerance=0.02)
    assert small.report.reference == "in-sample"
    assert small.report.notes[0].startswith("in-sample: the teacher's structure has seen the rows")
    assert "validation=(X_val, y_val)" in small.report.notes[0]


def test_a_frozen_estimator_is_read_and_not_trained_again() -> None:
    rows = iris()
    report = ec.compress(FrozenEstimator(forest_of(rows)), *rows).report
    assert report.reference == "in-sample"
    assert "the model is frozen: it was not trained again" in report.notes


class _TrainedOnce(RandomForestClassifier):  # type: ignore[misc]
    """Refuses to be trained again."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        if len(y) < 150:
            raise RuntimeError("the rows are gone")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_teacher_that_fails_to_train_again_falls_back(validation: Any) -> None:
    X, y = iris()
    small = ec.compress(_TrainedOnce(5, random_state=0).fit(X, y), X, y, validation=validation)
    assert small.report.reference == "in-sample"
    assert small.report.notes[-1] == "the teacher could not be trained again: RuntimeError: the rows are gone"


def test_few_rows_give_nothing_up_for_a_tolerance() -> None:
    X, y = iris()
    few = np.arange(0, 150, 10)
    teacher = RandomForestClassifier(6, random_state=0).fit(X[few], y[few])
    small = ec.compress(teacher, X[few], y[few], tolerance=0.5)
    assert small.forest == ec.pack(teacher).forest
    assert small.report.notes[0].startswith("15 rows are too few to tell what a smaller model loses")
    budget = sizes.c_bytes(small.forest) // 2
    assert sizes.c_bytes(ec.compress(teacher, X[few], y[few], max_bytes=budget).forest) <= budget


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_one_row_or_none(rows: int) -> None:
    X, y = iris()
    teacher = forest_of((X, y), 3)
    if rows:
        assert ec.compress(teacher, X[:rows], y[:rows]).forest == ec.pack(teacher).forest
    else:
        with pytest.raises(InputError, match="no rows to judge by"):
            ec.compress(teacher, X[:0], y[:0])


def test_rows_of_weight_zero_do_not_count() -> None:
    X, y = cancer()
    weight = np.ones(len(y))
    weight[100:] = 0
    teacher = forest_of((X[:100], y[:100]), bootstrap=False)
    expected = ec.compress(teacher, X[:100], y[:100], sample_weight=weight[:100])
    assert expected.forest == ec.compress(teacher, X, y, sample_weight=weight).forest


# -- scorers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scoring", "name"),
    [("neg_log_loss", "neg_log_loss"), ("roc_auc", "roc_auc"), (make_scorer(f1_score), "f1_score")],
)
def test_the_score_is_the_one_that_was_asked_for(scoring: Any, name: str) -> None:
    rows = cancer()
    small = ec.compress(forest_of(rows), *rows, scoring=scoring, tolerance=0.05)
    assert small.report.scoring == name
    assert small.report.score[0] - small.report.score[1] <= 0.06


def test_a_function_of_estimator_and_rows_is_a_scorer() -> None:
    rows = iris()

    def share_of_first(estimator: Any, X: Any, y: Any) -> float:
        return float(np.mean(estimator.predict(X) == y))

    teacher = forest_of(rows)
    expected = ec.compress(teacher, *rows, tolerance=0.03)
    small = ec.compress(teacher, *rows, tolerance=0.03, scoring=share_of_first)
    assert small.report.scoring == "share_of_first"
    assert expected.forest == small.forest


def test_a_scorer_that_fails_is_named() -> None:
    rows = iris()

    def broken(estimator: Any, X: Any, y: Any) -> float:
        raise KeyError("price")

    def nothing(estimator: Any, X: Any, y: Any) -> float:
        return float("nan")

    with pytest.raises(InputError, match=r"the scorer 'broken' failed on \d+ held-out rows: 'price'"):
        ec.compress(forest_of(rows, 3), *rows, scoring=broken)
    with pytest.raises(InputError, match=r"the scorer 'nothing' returned nan on \d+ held-out rows; expected"):
        ec.compress(forest_of(rows, 3), *rows, scoring=nothing)


# -- bad input --------------------------------------------------------------------------------------------------

BAD_PARAMETERS = {
    "tolerance is -0.1; expected a number >= 0, or None": {"tolerance": -0.1},
    "tolerance is 'small'; expected a number": {"tolerance": "small"},
    "tolerance is True; expected a number": {"tolerance": True},
    "tolerance is nan; expected a number": {"tolerance": float("nan")},
    "max_bytes is 0; expected a whole number of bytes above 0, or None": {"max_bytes": 0},
    "max_bytes is 1000.5; expected a whole number": {"max_bytes": 1000.5},
    "confidence is 1.5; expected None or in [0.5, 1)": {"confidence": 1.5},
    "target is 'toaster'; expected one of cpu, x86-64": {"target": "toaster"},
    "steps is 'fast'; expected 'auto', 'lossless' or a list of algorithms": {"steps": "fast"},
    "steps is []; expected a list of algorithms such as": {"steps": []},
    "steps is [3]; expected a list of algorithms such as": {"steps": [3]},
    "steps is Simplify(); expected a list of algorithms": {"steps": Simplify()},
    "steps is [<class 'ensemble_compress.algorithms.simplify.Simplify'>]; expected": {"steps": [Simplify]},
    "validation is 1.5; expected None, a fraction between 0 and 1, or (X_val, y_val)": {"validation": 1.5},
    "validation is (1, 2, 3); expected None": {"validation": (1, 2, 3)},
    "scoring is 'beauty'; expected the name of a scikit-learn scorer": {"scoring": "beauty"},
    "scoring is 3; expected the name of a scikit-learn scorer or a callable": {"scoring": 3},
    "compress has no argument 'tolerence'; expected one of confidence": {"tolerence": 0.1},
}


@pytest.mark.parametrize("text", BAD_PARAMETERS)
def test_a_bad_parameter_is_named(text: str) -> None:
    rows = iris()
    with pytest.raises(ParameterError) as caught:
        ec.compress(forest_of(rows, 2), *rows, **BAD_PARAMETERS[text])
    assert text in str(caught.value)


X3, Y3 = iris()
BAD_ROWS: dict[str, dict[str, Any]] = {
    "X has 3 features, but the model is expecting 4 features": {"X": X3[:, :3]},
    "X has 1 dimension(s); expected a 2D array": {"X": X3[0]},
    "y has 149 rows and X has 150; they must have as many": {"y": Y3[1:]},
    "y is 3; expected an array with one entry for each of the 150 rows": {"y": 3},
    "y has the label(s) [7] that the model does not know; it knows [0, 1, 2]": {"y": np.where(Y3 == 1, 7, Y3)},
    "sample_weight has negative or non-finite entries": {"sample_weight": -np.ones(150)},
    "sample_weight is zero for every row": {"sample_weight": np.zeros(150)},
    "sample_weight has shape (3,); expected (150,): a weight a row": {"sample_weight": np.ones(3)},
    "y or sample_weight is given without X; pass the rows too": {"X": None},
    "validation has no labels; expected (X_val, y_val)": {"validation": (X3, None)},
    "X has 2 features, but the model is expecting 4": {"validation": (X3[:, :2], Y3)},
    "y has 10 rows and X has 150": {"validation": (X3, Y3[:10])},
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_ROWS)
def test_bad_rows_are_refused(text: str) -> None:
    given = {"X": X3, "y": Y3} | BAD_ROWS[text]
    with pytest.raises(InputError) as caught:
        ec.compress(forest_of((X3, Y3), 3), given.pop("X"), given.pop("y"), **given)
    assert text in str(caught.value)


def test_values_have_to_be_numbers() -> None:
    X, y = diabetes()
    teacher = forest_of((X, y), 3)
    with pytest.raises(InputError, match="y holds something that is not a number"):
        ec.compress(teacher, X, np.full(len(y), "much"))
    with pytest.raises(InputError, match="y contains NaN or infinity; expected finite values"):
        ec.compress(teacher, X, np.full(len(y), np.nan))
    with pytest.raises(InputError, match=r"y has 2 columns; the model has 1 output\(s\)"):
        ec.compress(teacher, X, np.column_stack([y, y]))


def test_what_steps_need_has_to_be_given() -> None:
    teacher = forest_of(iris(), 3)
    with pytest.raises(InputError, match="steps='auto' needs rows to judge by: pass X"):
        ec.compress(teacher)
    with pytest.raises(InputError, match="RefitLeaves needs X; X was not given"):
        ec.compress(teacher, steps=[RefitLeaves()])
    with pytest.raises(InputError, match="a tolerance or a budget needs rows to judge by: pass X"):
        ec.compress(teacher, steps=[QuantizeLeaves()], tolerance=0.1)


def test_a_compressor_without_rows_says_so() -> None:
    with pytest.raises(InputError, match=r"has no rows to judge by yet; call fit\(X, y\) first"):
        ec.Compressor().compress(zoo.forest("random forest gaps"))


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(
        UnsupportedModelError, match="this RandomForestClassifier is not fitted; call fit first"
    ):
        ec.compress(RandomForestClassifier(), *iris())


# -- every kind of data -----------------------------------------------------------------------------------------


def test_one_class_is_no_obstacle() -> None:
    X, _ = iris()
    y = np.full(150, "only")
    small = ec.compress(RandomForestClassifier(3, random_state=0).fit(X, y), X, y)
    assert set(small.predict(X)) == {"only"}
    assert small.n_leaves <= 1
    np.testing.assert_array_equal(1.0, small.predict_proba(X))


def test_labels_of_one_class_only_are_judged() -> None:
    X, y = iris()
    small = ec.compress(forest_of((X, y), 3), X[:50], y[:50])
    assert set(small.predict(X[:50])) == {0}


def test_labels_may_be_text() -> None:
    X, y = iris()
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    small = ec.compress(RandomForestClassifier(5, random_state=0).fit(X, names), X, names, tolerance=0.03)
    assert small.score(X, names) > 0.9
    assert small.report.student.scores["per_class"][0]["label"] == "setosa"


@pytest.mark.parametrize("name", ["hist categories missing", "xgb partitions", "lgb categories missing"])
def test_categories_and_missing_values(name: str) -> None:
    entry = zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing, entry.categorical)
    budget = sizes.c_bytes(zoo.forest(name)) // 3
    with threadpool_limits(1):  # as above
        small = ec.compress(zoo.trained(name), X, y, max_bytes=budget)
    assert np.isfinite(small.forest.margin(zoo.rows(name))).all()
    assert sizes.c_bytes(small.forest) <= budget
    # LightGBM was told of its categories in the call of fit, of which a clone knows nothing.
    assert small.report.reference == ("in-sample" if name.startswith("lgb") else "cross-fitted clones")


def test_ranking_scores_are_kept_without_labels() -> None:
    X, y = diabetes()
    X, grade = X[:200], np.digitize(y[:200], [80, 140, 220])
    ranker = lgb.LGBMRanker(**QUIET).fit(X, grade, group=[50] * 4)
    small = ec.compress(ranker, X, tolerance=0.05)
    expected = ranker.predict(X)
    assert np.corrcoef(expected, small.predict(X))[0, 1] > 0.95
    assert small.report.reference == "agreement with the teacher"


def test_frames_are_matched_by_name() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    teacher = RandomForestClassifier(5, random_state=0).fit(X, y)
    expected = ec.compress(teacher, X, y)
    assert expected.forest == ec.compress(teacher, X.iloc[:, ::-1], y).forest
    assert expected.feature_names_in_.tolist() == list(X.columns)


# -- determinism ------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_model_whatever_the_number_of_jobs() -> None:
    rows = cancer()
    teacher = forest_of(rows)
    first = ec.compress(teacher, *rows, random_state=3)
    assert first.forest == ec.compress(teacher, *rows, random_state=3, n_jobs=2).forest
    assert first.report.path == ec.compress(teacher, *rows, random_state=3).report.path


def test_one_compressor_serves_several_models() -> None:
    rows = iris()
    compressor = ec.Compressor(tolerance=0.03).fit(*rows)
    teachers = [forest_of(rows, n) for n in (3, 5)]
    for teacher in teachers:
        assert ec.compress(teacher, *rows, tolerance=0.03).forest == compressor.compress(teacher).forest
    assert compressor.n_features_in_ == 4


def test_the_report_tells_what_each_step_did() -> None:
    rows = cancer()
    small = ec.compress(forest_of(rows), *rows, tolerance=0.02)
    last = small.report.steps[-1]
    assert (last.bytes, last.n_leaves) == (sizes.c_bytes(small.forest), small.n_leaves)
    assert last.score == small.report.score[1]
    assert all(step.seconds > 0 for step in small.report.steps)
    assert next(point for point in small.report.path if point.is_chosen).bytes == last.bytes
    assert small.report.tolerance == 0.02


def test_few_held_out_rows_promise_nothing_where_the_teacher_cannot_be_trained_again() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    teacher = RandomForestClassifier(5, max_depth=4, random_state=0).fit(X[5:], y[5:])
    small = ec.compress(ec.read(teacher), X[5:], y[5:], tolerance=0.005, validation=(X[:2], y[:2]))
    assert small.forest == ec.pack(teacher).forest
    assert "2 held-out rows are too few to keep a tolerance by" in " ".join(small.report.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_state": -1}, "random_state is -1; expected None, a whole number"),
        ({"n_jobs": 0}, "n_jobs is 0; expected None or a whole number but 0"),
        ({"relative": "no"}, "relative is 'no'; expected True or False"),
        ({"tolerance": 10**400}, "expected a number >= 0, or None"),
    ],
)
def test_odd_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ec.errors.ParameterError, match=re.escape(message)):
        ec.Compressor(**options).fit([[0.0]], [0.0])


@pytest.mark.parametrize(("goal", "ways"), [({"tolerance": 0.1}, {"whole", "nodes", "grown"}), ({"max_bytes": 900}, {"whole", "rounds", "nodes", "grown"})])  # fmt: skip
def test_within_a_tolerance_a_file_is_judged_on_refitted_leaves_only_by_what_refits_them(
    goal: dict[str, Any], ways: set[str]
) -> None:
    X, y = iris()
    forest = ec.read(GradientBoostingClassifier(n_estimators=20, random_state=0).fit(X, y))
    run = Run(ec.Compressor(**goal).fit(X, y), forest)
    hearings = run._hearings(run._rounds())
    candidates, judged = run._walk(hearings), hearings.heard
    assert ways == {key.way for key in judged}
    assert set(judged) == set(candidates) if "max_bytes" in goal else set(judged) >= set(candidates)
    finishes = {key.finish for key in judged if key.way == "whole"}
    assert finishes == (
        {"thresholds shared"}
        if "tolerance" in goal
        else {"thresholds shared", "8 bits", "6 bits, fitted", "5 bits, fitted"}
    )
