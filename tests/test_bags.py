"""Out-of-bag answers: against scikit-learn's own, and against loops; a row is judged only by trees that are new to it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)

import ensemble_compress as ec
from ensemble_compress import bag_rounds, folds
from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.bag_rounds import make_rounds_of_bags
from ensemble_compress.bags import Bags, answers_out_of_bag, are_of
from ensemble_compress.clones import Task
from ensemble_compress.data import Data
from ensemble_compress.judge import Judge
from ensemble_compress.readers import read
from ensemble_compress.verdicts import hear, shortfall_of

X, Y = make_classification(400, 6, n_informative=4, n_classes=3, random_state=0)
X = X.astype(np.float32)
ROWS, VALUES = make_regression(300, 5, noise=20.0, random_state=0)


def forest_of(n_trees: int = 30, **options: Any) -> RandomForestClassifier:
    return RandomForestClassifier(n_trees, random_state=0, **options).fit(X, Y)


def task_of(model: Any, X: NDArray[Any] = X, y: NDArray[Any] = Y) -> Task:
    forest = read(model)
    return Task(model, forest, Data(forest.rows(X), y), X, y)


@pytest.fixture
def few_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_rounds, "MANY_ROWS", 100)


@pytest.mark.parametrize("max_samples", [None, 0.3])
def test_margins_are_the_out_of_bag_answers_of_scikit_learn(max_samples: float | None) -> None:
    model = forest_of(40, oob_score=True, max_samples=max_samples)
    found = Bags.of(model, len(X)).margin(read(model), X)
    np.testing.assert_allclose(model.oob_decision_function_, found, atol=1e-12)


@pytest.mark.parametrize("kind", [RandomForestRegressor, BaggingRegressor])
def test_those_of_regression_models_too(kind: Any) -> None:
    model = kind(n_estimators=40, oob_score=True, random_state=0).fit(ROWS, VALUES)
    found = Bags.of(model, len(ROWS)).margin(read(model), read(model).rows(ROWS))
    np.testing.assert_allclose(model.oob_prediction_, found[:, 0])


def test_bags_are_the_samples_of_the_trees_a_bit_a_row() -> None:
    model = forest_of(5)
    bags = Bags.of(model, len(X))
    for bits, sample in zip(bags.inside, model.estimators_samples_, strict=True):
        expected = np.isin(np.arange(len(X)), sample)
        np.testing.assert_array_equal(expected, np.unpackbits(bits)[: len(X)])
    assert bags.inside.nbytes == 5 * len(X) / 8
    assert bags.share_outside() == pytest.approx(
        np.mean([1 - len(np.unique(sample)) / len(X) for sample in model.estimators_samples_])
    )


def test_some_rows_and_some_trees_are_answered_as_among_all() -> None:
    model = forest_of(20)
    forest, bags = read(model), Bags.of(model, len(X))
    rows, trees = np.array([3, 5, 11, 200, 399]), np.array([1, 4, 7, 8, 15])
    part = keep_trees(forest, trees)
    expected = np.full((len(rows), 3), np.nan)
    for place, row in enumerate(rows):
        outside = [t for t in trees if row not in model.estimators_samples_[t]]
        if outside:
            expected[place] = np.mean([model.estimators_[t].predict_proba(X[[row]])[0] for t in outside], 0)
    found = bags.take(rows).take_trees(trees).margin(part, X[rows])
    np.testing.assert_allclose(expected, found, atol=1e-12)


def test_a_row_that_every_tree_has_seen_has_no_margin_and_is_taught_by_the_forest() -> None:
    model = forest_of(3)
    forest, bags = read(model), Bags.of(model, len(X))
    unknown = np.isnan(bags.margin(forest, X)).any(axis=1)
    seen = [all(row in sample for sample in model.estimators_samples_) for row in range(len(X))]
    np.testing.assert_array_equal(seen, unknown)
    assert unknown.any()
    taught = answers_out_of_bag(bags, forest, X)
    np.testing.assert_allclose(model.predict_proba(X)[unknown], taught[unknown])


def test_other_rows_than_those_of_the_training_are_told_apart() -> None:
    for model in (forest_of(5), BaggingRegressor(n_estimators=5, random_state=0).fit(ROWS, VALUES)):
        rows = X if isinstance(model, RandomForestClassifier) else ROWS
        forest = read(model)
        bags = Bags.of(model, len(rows))
        assert are_of(bags, model, forest, forest.rows(rows))
        assert not are_of(bags, model, forest, forest.rows(rows[::-1]))


def test_rounds_of_bags_judge_rows_that_their_student_did_not_see(few_rows_are_many: None) -> None:
    model = forest_of(60, oob_score=True)
    rounds = make_rounds_of_bags(task_of(model))
    assert rounds is not None
    assert (rounds.reference, rounds.notes) == ("out-of-bag answers", ())
    judged = np.concatenate([one.rows for one in rounds.rounds])
    np.testing.assert_array_equal(np.arange(len(Y)), np.sort(judged))
    for one in rounds.rounds:
        others = np.setdiff1d(np.arange(len(Y)), one.rows)
        np.testing.assert_array_equal(X[others], one.fit.X)
        np.testing.assert_allclose(model.oob_decision_function_[others], one.fit.teacher, atol=1e-12)
        np.testing.assert_allclose(model.oob_decision_function_[one.rows], one.reference.values, atol=1e-12)
    np.testing.assert_allclose(model.oob_decision_function_, rounds.final.teacher, atol=1e-12)


def test_of_many_rows_a_seeded_choice_judges_and_teaches(
    few_rows_are_many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_rounds, "MOST_JUDGED", 50)
    monkeypatch.setattr(bag_rounds, "MOST_FITTED", 150)
    found = [make_rounds_of_bags(task_of(forest_of(60))) for _ in range(2)]
    assert found[0] is not None
    assert found[1] is not None
    assert [one.judge.n_rows for one in found[0].rounds] == [50, 50]
    assert [one.fit.n_rows for one in found[0].rounds] == [150, 150]
    for one, again in zip(found[0].rounds, found[1].rounds, strict=True):
        np.testing.assert_array_equal(one.rows, again.rows)
        np.testing.assert_array_equal(X[one.rows], one.judge.X)
        assert not set(map(bytes, one.judge.X)) & set(map(bytes, one.fit.X))


def test_other_rounds_too_take_no_more_rows_than_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_JUDGED", 50)
    monkeypatch.setattr(folds, "MOST_FITTED", 150)
    rounds = folds.make_rounds(task_of(forest_of(5)))
    assert [(one.judge.n_rows, one.fit.n_rows) for one in rounds.rounds] == [(50, 150)] * folds.N_FOLDS
    assert rounds.final.n_rows == 150
    for one in rounds.rounds:
        np.testing.assert_array_equal(X[one.rows], one.judge.X)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (forest_of(10), "too few trees that are new to a row"),
        (ExtraTreesClassifier(60, random_state=0).fit(X, Y), "no bags"),
        (RandomForestClassifier(60, random_state=0).fit(X[:300], Y[:300]), "other rows"),
        (RandomForestClassifier(60, random_state=0).fit(X[::-1], Y[::-1]), "the rows in another order"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_teachers_are_trained_again(model: Any, why: str, few_rows_are_many: None) -> None:
    assert make_rounds_of_bags(task_of(model)) is None


def test_few_rows_are_worth_training_again() -> None:
    assert make_rounds_of_bags(task_of(forest_of(60))) is None


def test_kept_trees_are_judged_by_those_that_did_not_see_the_row(few_rows_are_many: None) -> None:
    model = forest_of(60)
    rounds = make_rounds_of_bags(task_of(model))
    assert rounds is not None
    one, trees = rounds.rounds[0], np.array([2, 30])
    kept = keep_trees(one.teacher, trees)
    answers = one.answers(kept, trees)
    by_row = [[t for t in trees if row not in model.estimators_samples_[t]] for row in one.rows]
    known = np.flatnonzero([len(outside) > 0 for outside in by_row])
    np.testing.assert_array_equal(known, one.known(answers))
    right = []
    for place in known:
        votes = np.mean(
            [model.estimators_[t].predict_proba(one.judge.X[[place]])[0] for t in by_row[place]], 0
        )
        right.append(votes.argmax() == one.judge.y[place])
    heard = hear(Judge("accuracy", read(model).classes), one, answers, with_error=True)
    assert 0 < len(known) < len(one.rows)
    assert np.mean(right) == pytest.approx(heard.score)
    np.testing.assert_array_equal(answers.values.astype(np.float32), heard.answers.values)


def test_a_student_is_compared_with_all_trees_and_not_with_those_outside_alone(
    few_rows_are_many: None,
) -> None:
    """Of a mean of trees the variance falls with their number: the known law tells what the reference lacks."""
    model = RandomForestRegressor(60, random_state=0).fit(ROWS, VALUES)
    rounds = make_rounds_of_bags(task_of(model, ROWS, VALUES))
    assert rounds is not None
    judge = Judge("neg_mean_squared_error", None)
    missing = np.mean([shortfall_of(judge, one) for one in rounds.rounds])
    outside = Bags.of(model, len(ROWS)).share_outside() * 60
    each = np.array([tree.predict(ROWS.astype(np.float32)) for tree in model.estimators_])
    inside = np.array([np.isin(np.arange(len(ROWS)), s) for s in model.estimators_samples_])
    spread = np.ma.masked_array(each, inside).var(axis=0, ddof=1).mean()
    expected = spread * (1 / outside - 1 / 60)
    assert expected == pytest.approx(missing, rel=0.5)


def test_a_forest_on_many_rows_is_compressed_without_being_trained_again(
    few_rows_are_many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = forest_of(60)
    monkeypatch.setattr(RandomForestClassifier, "fit", lambda *_: pytest.fail("trained again"))
    small = ec.compress(model, X, Y, tolerance=0.1)
    assert small.report.reference == "out-of-bag answers"
    assert small.report.student.bytes["c_tables"] < small.report.teacher.bytes["c_tables"] / 4


def test_a_list_of_steps_may_do_anything_so_that_clones_judge_it(few_rows_are_many: None) -> None:
    small = ec.compress(forest_of(25), X, Y, tolerance=0.2, steps=[ec.algorithms.PruneTrees(n_trees=5)])
    assert small.report.reference == "cross-fitted clones"
