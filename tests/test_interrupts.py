"""Ctrl-C: what was judged by then is returned, and said to be; nothing is lost, and a second one ends the call."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

import ensemble_compress as ec
from ensemble_compress import hearings, run
from ensemble_compress.interrupts import Interrupt

X, Y = load_iris(return_X_y=True)
MODEL = RandomForestClassifier(6, random_state=0).fit(X, Y)


class Interrupting:
    """A scorer that is interrupted in some of its calls."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.n_calls = set(calls), 0

    def __call__(self, model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        self.n_calls += 1
        if self.n_calls in self.calls:
            raise KeyboardInterrupt
        return float(np.mean(model.predict(X) == y))


def compressed(scorer: Callable[..., float], n_jobs: int = 1) -> ec.CompressedModel:
    return ec.compress(MODEL, X, Y, tolerance=0.03, scoring=scorer, n_jobs=n_jobs)


def test_before_anything_is_judged_the_answer_is_the_model_itself_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(RandomForestClassifier, "fit", fit)
    small = ec.compress(MODEL, X, Y)
    np.testing.assert_array_equal(MODEL.predict_proba(X), small.predict_proba(X))
    assert "interrupted: nothing was judged yet" in small.report.notes


def test_in_the_first_call_of_the_scorer_too() -> None:
    small = compressed(Interrupting(1))
    np.testing.assert_array_equal(MODEL.predict_proba(X), small.predict_proba(X))
    assert "interrupted: nothing was judged yet" in small.report.notes


def test_the_best_of_what_all_rounds_had_judged_is_returned() -> None:
    counting = Interrupting()
    whole = compressed(counting)
    assert not any("interrupted" in note for note in whole.report.notes)
    small = compressed(Interrupting(int(0.6 * counting.n_calls)))
    assert small.n_leaves < ec.read(MODEL).n_leaves
    (note,) = [note for note in small.report.notes if "interrupted" in note]
    # Each of four rounds asks the scorer for the teacher's score and the model's.
    assert 0 < int(note.split()[-2]) <= 0.6 * counting.n_calls / 8


def test_while_what_the_rounds_said_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def interrupted(*given: Any) -> Any:
        heard.append(1)
        if len(heard) == 10:
            raise KeyboardInterrupt
        return verdict_of(*given)

    verdict_of = hearings.verdict_of
    monkeypatch.setattr(hearings, "verdict_of", interrupted)
    (note,) = [
        note for note in ec.compress(MODEL, X, Y, tolerance=0.03).report.notes if "interrupted" in note
    ]
    assert 0 < int(note.split()[-2]) <= 9


def test_in_threads_the_others_stop_as_well() -> None:
    counting, interrupted = Interrupting(), Interrupting(60)
    compressed(counting)
    small = compressed(interrupted, n_jobs=4)
    assert [note for note in small.report.notes if note.startswith("interrupted: the best of")]
    assert interrupted.n_calls < counting.n_calls / 2


@pytest.fixture
def interrupted_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the making of the models from all rows after their second batch."""
    path = run.auto_path

    def interrupted(teacher: Any, data: Any, *others: Any) -> Any:
        for number, batch in enumerate(path(teacher, data, *others)):
            if data.n_rows == len(X) and number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr("ensemble_compress.run.auto_path", interrupted)
    # Whatever was judged is made.
    monkeypatch.setattr("ensemble_compress.run.worth_making", lambda verdicts, allowed: set(verdicts))


@pytest.mark.usefixtures("interrupted_at_the_end")
def test_while_the_models_of_all_rows_are_made_those_that_are_there_count() -> None:
    small = compressed(Interrupting())
    (note,) = [note for note in small.report.notes if "interrupted" in note]
    assert note == "interrupted: the best of 4 models"


@pytest.mark.usefixtures("interrupted_at_the_end")
def test_a_second_interrupt_ends_the_call() -> None:
    with pytest.raises(KeyboardInterrupt):
        compressed(Interrupting(150))


def test_an_interrupt_among_threads_ends_all_and_a_second_one_passes() -> None:
    interrupt, done = Interrupt(), []

    def work(k: int) -> None:
        if k == 0:
            raise KeyboardInterrupt
        done.append(k)

    interrupt.over_threads(work, 5, 1)
    assert (interrupt.has_come, interrupt.is_stopped, done) == (True, True, [])
    with pytest.raises(KeyboardInterrupt), interrupt.caught():
        raise KeyboardInterrupt


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_one_thread_ends_the_others_and_is_no_interrupt(n_threads: int) -> None:
    interrupt = Interrupt()

    def work(k: int) -> None:
        raise ec.errors.InputError("no")

    with pytest.raises(ec.errors.InputError, match="no"):
        interrupt.over_threads(work, 4, n_threads)
    assert (interrupt.has_come, interrupt.is_stopped) == (False, True)


@pytest.mark.skipif(os.name == "nt", reason="a signal is sent to the process itself")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_real_signal_returns_the_best_so_far(n_jobs: int) -> None:
    program = f"""
        import os, signal
        import numpy as np
        from sklearn.datasets import load_iris
        from sklearn.ensemble import RandomForestClassifier
        import ensemble_compress as ec

        signal.signal(signal.SIGINT, signal.default_int_handler)
        X, y = load_iris(return_X_y=True)
        model = RandomForestClassifier(6, random_state=0).fit(X, y)
        calls = []

        def scorer(model, X, y, sample_weight=None):
            calls.append(1)
            if len(calls) == 60:
                os.kill(os.getpid(), signal.SIGINT)
            return float(np.mean(model.predict(X) == y))

        small = ec.compress(model, X, y, tolerance=0.03, scoring=scorer, n_jobs={n_jobs})
        print([note for note in small.report.notes if note.startswith("interrupted: the best of ")])
        print(small.n_leaves < ec.read(model).n_leaves)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    notes, is_smaller = done.stdout.splitlines()
    assert "interrupted: the best of" in notes
    assert is_smaller == "True"
