"""Rounds: nobody judges a row that taught it."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ensemble_compress import folds
from ensemble_compress.clones import Task, can_be_cloned
from ensemble_compress.data import Data
from ensemble_compress.folds import N_FOLDS, has_few_rows, make_rounds, split_off
from ensemble_compress.readers import read

X, Y = load_iris(return_X_y=True)


def task(model: Any, X: Any = X, y: Any = Y, weight: Any = None, labelled: bool = True) -> Task:
    forest = read(model)
    return Task(
        model, forest, Data(forest.rows(X), y if labelled else None, weight), X, y if labelled else None
    )


def trained(model: Any = None) -> Any:
    return (DecisionTreeClassifier(random_state=0) if model is None else model).fit(X, Y)


def test_every_row_is_judged_once_by_a_teacher_that_did_not_see_it() -> None:
    rounds = make_rounds(task(trained()))
    judged = np.concatenate([one.rows for one in rounds.rounds])
    np.testing.assert_array_equal(np.arange(len(Y)), np.sort(judged))
    for one in rounds.rounds:
        others = np.setdiff1d(np.arange(len(Y)), one.rows)
        expected = clone(trained()).fit(X[others], Y[others])
        np.testing.assert_array_equal(expected.predict_proba(X[one.rows]), one.reference.values)
        np.testing.assert_array_equal(Y[one.rows], one.judge.y)
        assert one.fit.n_rows == len(others)
    assert (rounds.reference, rounds.notes, rounds.can_promise) == ("cross-fitted clones", (), True)


def test_the_final_student_learns_what_the_clones_said() -> None:
    rounds = make_rounds(task(trained()))
    assert rounds.final.n_rows == len(Y)
    for one in rounds.rounds:
        np.testing.assert_array_equal(one.reference.values, rounds.final.teacher[one.rows])


def test_the_student_of_a_round_learns_from_clones_that_saw_neither_the_row_nor_the_judged_fold() -> None:
    rounds = make_rounds(task(trained())).rounds
    for judging in rounds:
        fitted = np.setdiff1d(np.arange(len(Y)), judging.rows)
        for other in rounds:
            if other is judging:
                continue
            neither = np.setdiff1d(fitted, other.rows)
            expected = clone(trained()).fit(X[neither], Y[neither]).predict_proba(X[other.rows])
            np.testing.assert_array_equal(expected, judging.fit.teacher[np.isin(fitted, other.rows)])


def test_where_half_of_the_rows_lack_a_class_the_clone_of_the_round_teaches_itself() -> None:
    y = Y.copy()
    y[:2] = 3
    rounds = make_rounds(task(DecisionTreeClassifier(random_state=0).fit(X, y), y=y))
    assert rounds.reference == "cross-fitted clones"
    assert [one.fit.teacher for one in rounds.rounds] == [None, None]


def test_classes_are_spread_evenly_over_the_folds() -> None:
    for one in make_rounds(task(trained())).rounds:
        assert np.bincount(one.judge.y).min() >= 50 // N_FOLDS


def test_a_forest_with_bags_teaches_by_the_trees_that_did_not_see_the_row() -> None:
    model = RandomForestRegressor(40, random_state=0)
    rows, y = load_diabetes(return_X_y=True)
    given = task(model.fit(rows[:200], y[:200]), rows[:200], y[:200])
    for one in make_rounds(given).rounds:
        others = np.setdiff1d(np.arange(200), one.rows)
        expected = RandomForestRegressor(40, random_state=0, oob_score=True).fit(rows[others], y[others])
        seen = ~np.isin(expected.oob_prediction_, 0.0)
        np.testing.assert_allclose(expected.oob_prediction_[seen], one.fit.teacher[seen, 0])


def test_weights_train_the_clones_too() -> None:
    weight = np.where(Y == 0, 3.0, 1.0)
    model = DecisionTreeClassifier(random_state=0, max_depth=1).fit(X, Y, weight)
    rounds = make_rounds(task(model, weight=weight))
    others = np.setdiff1d(np.arange(len(Y)), rounds.rounds[0].rows)
    expected = clone(model).fit(X[others], Y[others], weight[others])
    np.testing.assert_array_equal(
        expected.predict_proba(X[rounds.rounds[0].rows]), rounds.rounds[0].reference.values
    )
    np.testing.assert_array_equal(weight[others], rounds.rounds[0].fit.weight)


def test_a_forest_of_unknown_origin_is_cross_fitted() -> None:
    given = task(read(trained(GradientBoostingClassifier(n_estimators=5, random_state=0))))
    assert not can_be_cloned(given)
    rounds = make_rounds(given)
    assert rounds.reference == "in-sample"
    assert len(rounds.rounds) == N_FOLDS
    for one in rounds.rounds:
        # Neither side knows the judged rows: what is compressed has the reference's leaves.
        np.testing.assert_array_equal(one.teacher.predict_proba(X[one.rows]), one.reference.values)
        assert np.abs(one.reference.values - given.forest.predict_proba(X[one.rows])).max() > 1e-3


def held_out_case(model: Any) -> tuple[Any, Data]:
    """(the task of half of the rows, the other half)."""
    return task(model.fit(X[::2], Y[::2]), X[::2], Y[::2]), Data(X[1::2].astype(np.float32), Y[1::2])


def test_few_held_out_rows_judge_the_teacher_itself_and_the_folds_of_its_clones_judge_as_well() -> None:
    model = DecisionTreeClassifier(random_state=0, max_depth=3)
    given, held_out = held_out_case(model)
    rounds = make_rounds(given, held_out)
    held, *crossed = rounds.rounds
    assert rounds.reference == "held-out rows and cross-fitted clones"
    assert held.judge is held_out
    np.testing.assert_array_equal(model.predict_proba(X[1::2]), held.reference.values)
    for expected, actual in zip(make_rounds(given).rounds, crossed, strict=True):
        np.testing.assert_array_equal(expected.rows, actual.rows)
        np.testing.assert_array_equal(expected.reference.values, actual.reference.values)
    # The teacher's student learns from answers of clones that did not see the row.
    np.testing.assert_array_equal(make_rounds(given).final.teacher, held.fit.teacher)


def test_enough_held_out_rows_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given, held_out = held_out_case(DecisionTreeClassifier(random_state=0, max_depth=3))
    for enough, n_rounds in ((75, 1), (76, 1 + N_FOLDS)):
        monkeypatch.setattr(folds, "ENOUGH_TO_JUDGE", enough)
        rounds = make_rounds(given, held_out)
        assert len(rounds.rounds) == n_rounds == len(make_rounds(given, held_out, enough).rounds)
        np.testing.assert_array_equal(make_rounds(given).final.teacher, rounds.rounds[0].fit.teacher)
    assert make_rounds(task(read(given.model), X[::2], Y[::2]), held_out).reference == "held-out rows"


def test_held_out_rows_join_the_others_at_the_end() -> None:
    model = DecisionTreeClassifier(random_state=0, max_depth=3)
    given, held_out = held_out_case(model)
    rounds = make_rounds(given, held_out)
    assert (rounds.rounds[0].fit.n_rows, rounds.final.n_rows) == (75, 150)
    np.testing.assert_array_equal(np.concatenate([Y[::2], Y[1::2]]), rounds.final.y)
    np.testing.assert_array_equal(model.predict_proba(X[1::2]), rounds.final.teacher[75:])


def test_without_labels_the_teachers_own_answers_are_judged_by() -> None:
    model = trained(RandomForestClassifier(5, random_state=0))
    rounds = make_rounds(task(model, labelled=False))
    for one in rounds.rounds:
        np.testing.assert_array_equal(model.predict(X[one.rows]), one.judge.y)
        assert one.fit.y is None
    assert rounds.reference == "agreement with the teacher"


@pytest.mark.parametrize("labelled", [True, False])
def test_few_rows_promise_nothing(labelled: bool) -> None:
    rounds = make_rounds(task(trained(), X[::10], Y[::10], labelled=labelled))
    assert not rounds.can_promise
    assert rounds.reference == "in-sample"
    assert rounds.notes[0].startswith("15 rows are too few to tell what a smaller model loses")


def test_equal_rows_count_once_unless_there_are_many() -> None:
    assert has_few_rows(Data(np.repeat(np.arange(19.0), 3)[:, None]))
    assert not has_few_rows(Data(np.arange(20.0)[:, None]))
    assert not has_few_rows(Data(np.repeat(np.arange(5.0), 20)[:, None]))


def test_a_class_that_a_fold_lacks_makes_the_clones_useless_and_is_said() -> None:
    y = Y.copy()
    y[0] = 9
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    given = task(model)
    given = Task(model, given.forest, Data(given.data.X, np.searchsorted([0, 1, 2, 9], y)), X, y)
    rounds = make_rounds(given)
    assert rounds.reference == "in-sample"
    assert (
        rounds.notes[-1]
        == "the teacher could not be trained again: a fold lacks a class that the teacher knows"
    )


def test_a_share_is_held_out_with_every_class() -> None:
    keep, hold = split_off(task(trained()), 0.2)
    np.testing.assert_array_equal(np.arange(len(Y)), np.sort(np.concatenate([keep, hold])))
    assert np.bincount(Y[hold]).tolist() == [10, 10, 10]


def test_folds_of_values_take_any_row() -> None:
    rows, y = load_diabetes(return_X_y=True)
    rounds = make_rounds(
        task(DecisionTreeRegressor(max_depth=3, random_state=0).fit(rows[:41], y[:41]), rows[:41], y[:41])
    )
    assert sorted(one.judge.n_rows for one in rounds.rounds) == [10, 10, 10, 11]
