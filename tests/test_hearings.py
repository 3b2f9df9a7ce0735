"""Rounds are heard together: what counts, what is shown meanwhile, and that rows without an answer do not judge."""

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

import ensemble_compress as ec
from ensemble_compress import bag_rounds, run, verdicts
from ensemble_compress.clones import Task
from ensemble_compress.data import Data
from ensemble_compress.folds import Round
from ensemble_compress.judge import Judge
from ensemble_compress.row_scores import Answers
from ensemble_compress.verdicts import expectation, hear, held_out_answers, is_hopeless, verdict_of

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
MODEL = RandomForestClassifier(60, random_state=0).fit(X, Y)


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Round:
    """A round judged by bags."""
    monkeypatch.setattr(bag_rounds, "MANY_ROWS", 100)
    forest = ec.read(MODEL)
    rounds = bag_rounds.make_rounds_of_bags(Task(MODEL, forest, Data(forest.rows(X), Y), X, Y))
    assert rounds is not None
    return rounds.rounds[0]


def some_unknown(one: Round) -> tuple[Answers, Any]:
    """Answers that are wrong in a fifth of the rows, and unknown in another fifth; which are known."""
    codes = one.judge.y.copy()
    codes[::5] = (codes[::5] + 1) % 3
    values = np.eye(3)[codes]
    values[1::5] = np.nan
    return Answers(values, codes), np.arange(len(codes)) % 5 != 1


def test_the_bars_show_trainings_sizes_and_the_models_of_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()
    asked = []

    def bars(verbose: bool) -> Progress:
        asked.append(verbose)
        return Progress(console=Console(file=shown, force_terminal=True, width=120))

    monkeypatch.setattr(run, "progress_bars", bars)
    ec.compress(RandomForestClassifier(5, random_state=0).fit(X, Y), X, Y, tolerance=0.05, verbose=True)
    assert asked == [True, True]
    for text in ("training the teacher again", r"judging: [a-z]+ \d+", "models from all rows"):
        assert re.search(text, shown.getvalue())


def test_every_training_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    fitted: list[int] = []
    fit = RandomForestClassifier.fit

    def counted(model: Any, *data: Any, **weight: Any) -> Any:
        fitted.append(1)
        return fit(model, *data, **weight)

    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    monkeypatch.setattr(RandomForestClassifier, "fit", counted)
    run.Run(ec.Compressor(tolerance=0.05).fit(X, Y), model)._rounds(lambda: told.append(1))
    assert len(told) == len(fitted) == 4


def test_rows_without_an_answer_do_not_judge(one: Round) -> None:
    answers, known = some_unknown(one)
    heard = hear(Judge("accuracy", np.arange(3)), one, answers, with_error=True)
    assert (answers.codes == one.judge.y)[known].mean() == pytest.approx(heard.score)
    reference = (one.reference.codes == one.judge.y)[known].mean()
    assert reference - heard.score == pytest.approx(heard.drop)
    part, rows = one.take(np.flatnonzero(known)), np.flatnonzero(known)
    alone = hear(Judge("accuracy", np.arange(3)), part, answers.take(rows), with_error=True)
    assert (alone.drop, alone.error) == pytest.approx((heard.drop, heard.error))


def test_nor_do_they_count_for_the_loss_to_expect(one: Round) -> None:
    answers, known = some_unknown(one)
    judge, rows = Judge("accuracy", np.arange(3)), np.flatnonzero(known)
    among_all, among_known = expectation(judge, [one]), expectation(judge, [one.take(rows)])
    assert among_all is not None
    assert among_known is not None
    assert among_known([answers.take(rows)]) == pytest.approx(among_all([answers]))


def test_nor_are_they_on_the_report(one: Round) -> None:
    answers, known = some_unknown(one)
    heard = hear(Judge("accuracy", np.arange(3)), one, answers, with_error=False)
    rows, teacher, student = held_out_answers([one], [heard])
    np.testing.assert_array_equal(one.judge.X[known], rows.X)
    np.testing.assert_array_equal(one.judge.y[known], rows.y)
    np.testing.assert_array_equal(one.reference.values[known], teacher)
    np.testing.assert_array_equal(answers.values[known], student)
    assert len(held_out_answers([one], None)[1]) == one.judge.n_rows


def test_what_the_reference_lacks_is_added_to_the_loss_once(one: Round) -> None:
    answers = replace(one.reference)
    judge = Judge("accuracy", np.arange(3))
    heard = hear(judge, one, answers, with_error=True, shortfall=0.25)
    assert heard.drop == pytest.approx(0.25)
    plain = verdict_of([heard], [one], None)
    expected = verdict_of([heard], [one], expectation(judge, [one]))
    assert (plain.drop, expected.drop) == pytest.approx((0.25, 0.25))


def test_what_surely_lost_too_much_is_told_by_the_labels_alone(
    one: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_hopeless(0.5, 0.05, 0.2)
    assert not is_hopeless(0.5, 0.07, 0.2)
    assert not is_hopeless(0.5, float("nan"), 0.2)
    heard = hear(Judge("accuracy", np.arange(3)), one, one.reference, with_error=True)
    lost = replace(heard, drop=0.9, error=0.01)
    monkeypatch.setattr(verdicts, "SURE_ERRORS", 3.0)
    for hopeless, drop in ((0.5, 0.9), (0.88, 0.895)):
        found = verdict_of([lost], [one], lambda answers: (0.895, 0.01), hopeless)
        assert found.drop == pytest.approx(drop)


def test_an_expected_loss_is_not_believed_where_labels_say_more_by_more_than_their_error(one: Round) -> None:
    heard = hear(Judge("accuracy", np.arange(3)), one, one.reference, with_error=True)
    for by_labels, drop in ((0.10, 0.09), (0.05, 0.06), (0.0, 0.06)):
        said = replace(heard, drop=by_labels, error=0.01)
        found = verdict_of([said], [one], lambda answers: (0.06, 0.002))
        assert found.drop == pytest.approx(drop)
