"""Scores of answers are scikit-learn's scores of models."""

from typing import Any

import numpy as np
import pytest
import zoo
from sklearn.metrics import accuracy_score, get_scorer, make_scorer, mean_absolute_error, r2_score

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.judge import Answers, Judge

WEIGHT = np.random.default_rng(0).random(zoo.N_ROWS)


def case(name: str, weight: Any = None) -> tuple[Any, Data, Answers]:
    forest, entry = zoo.forest(name), zoo.ENTRIES[name]
    given = zoo.data(entry.task, entry.missing, entry.categorical)
    y = given.y if forest.classes is None else np.searchsorted(forest.classes, given.y)
    data = Data(forest.rows(given.X), y, weight)
    return forest, data, Answers.of(forest, data.X)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("name", ["random forest gaps", "xgb binary", "lgb binary"])
def test_the_default_for_classes_is_accuracy(name: str, weight: Any) -> None:
    forest, data, answers = case(name, weight)
    expected = accuracy_score(forest.classes[data.y], forest.predict(data.X), sample_weight=weight)
    assert Judge(None, forest.classes).score(answers, data) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("name", ["random forest regression", "random forest two columns", "lgb poisson"])
def test_the_default_for_values_is_r2(name: str, weight: Any) -> None:
    forest, data, answers = case(name, weight)
    expected = r2_score(data.y, forest.predict(data.X), sample_weight=weight)
    assert Judge(None, None).score(answers, data) == pytest.approx(expected)


def test_scores_that_are_means_tell_their_error_and_others_do_not() -> None:
    classes = np.array([0, 1])
    for scoring in (None, "accuracy", "balanced_accuracy"):
        assert Judge(scoring, classes).tells_error
    for scoring in (
        None,
        "r2",
        "neg_mean_squared_error",
        "neg_mean_absolute_error",
        "neg_root_mean_squared_error",
    ):
        assert Judge(scoring, None).tells_error

    def accuracy(estimator: Any, X: Any, y: Any) -> float:
        return 0.0

    for scoring in ("roc_auc", "neg_log_loss", make_scorer(accuracy_score), accuracy, "r2"):
        assert not Judge(scoring, classes).tells_error
    for scoring in ("neg_median_absolute_error", make_scorer(r2_score)):
        assert not Judge(scoring, None).tells_error


def test_a_constant_target_is_met_or_not() -> None:
    data = Data(np.zeros((3, 1)), np.ones(3))
    for value, expected in ((1.0, 1.0), (2.0, 0.0)):
        answers = Answers(np.full((3, 1), value), None)
        assert Judge(None, None).score(answers, data) == expected == r2_score(data.y, answers.values)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "f1", "neg_brier_score", "balanced_accuracy"])
def test_scorers_see_labels_and_probabilities(scoring: str) -> None:
    forest, data, answers = case("random forest")
    expected = get_scorer(scoring)(zoo.trained("random forest"), data.X, forest.classes[data.y])
    assert Judge(scoring, forest.classes).score(answers, data) == pytest.approx(expected)


def test_scorers_are_given_the_weights() -> None:
    forest, data, answers = case("random forest regression", WEIGHT)
    expected = -mean_absolute_error(data.y, forest.predict(data.X), sample_weight=WEIGHT)
    assert Judge("neg_mean_absolute_error", None).score(answers, data) == pytest.approx(expected)


def test_the_name_is_that_of_the_metric() -> None:
    def own(estimator: Any, X: Any, y: Any) -> float:
        return 1.0

    named = {
        "accuracy": None,
        "f1": "f1",
        "own": own,
        "mean_absolute_error": make_scorer(mean_absolute_error),
    }
    for expected, scoring in named.items():
        assert Judge(scoring, np.array([0, 1])).name == expected


def test_a_scoring_that_is_none_is_refused() -> None:
    with pytest.raises(
        ParameterError, match="scoring is 'beauty'; expected the name of a scikit-learn scorer"
    ):
        Judge("beauty", None)


def test_what_a_scorer_must_not_do_is_named() -> None:
    forest, data, answers = case("random forest")

    def raises(estimator: Any, X: Any, y: Any) -> float:
        raise RuntimeError("no reason")

    with pytest.raises(InputError, match="the scorer 'raises' failed on 240 held-out rows: no reason"):
        Judge(raises, forest.classes).score(answers, data)
    with pytest.raises(
        InputError, match="the scorer '<lambda>' returned inf on 240 held-out rows; expected a"
    ):
        Judge(lambda e, X, y: np.inf, forest.classes).score(answers, data)


def test_the_error_of_a_drop_is_that_of_a_mean_of_differences() -> None:
    forest, data, _ = case("random forest")
    codes = np.asarray(data.y)
    teacher = Answers(np.zeros((240, 2)), codes)
    wrong = codes.copy()
    wrong[:24] = 1 - wrong[:24]
    found = Judge(None, forest.classes).drop_error(teacher, Answers(np.zeros((240, 2)), wrong), data)
    assert found == pytest.approx(np.sqrt(0.1 * 0.9 / 240 + 1 / 240**2))


def test_few_rows_on_which_two_models_agree_are_no_proof() -> None:
    forest, data, answers = case("xgb binary")
    assert Judge(None, forest.classes).drop_error(answers, answers, data) == pytest.approx(1 / data.n_rows)


def test_resampling_agrees_with_the_formula() -> None:
    forest, data, answers = case("xgb binary")
    student = Answers.of(forest.take(np.arange(2)), data.X)
    expected = Judge(None, forest.classes).drop_error(answers, student, data)
    by_resampling = Judge(make_scorer(accuracy_score), forest.classes).drop_error(answers, student, data)
    # 200 resamples estimate a standard deviation to about five percent.
    assert by_resampling == pytest.approx(expected, rel=0.2)


def test_one_row_tells_nothing_about_an_error() -> None:
    forest, data, _ = case("xgb binary")
    one = data.take(np.arange(1))
    answers = Answers.of(forest, one.X)
    assert Judge(None, forest.classes).drop_error(answers, answers, one) == float("inf")
