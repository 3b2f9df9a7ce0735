"""What the rounds said of the candidates, put together: one loss of score and its error for each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.choice import Verdict
from ensemble_compress.data import Data
from ensemble_compress.expected_loss import MOST_ROWS, SCORES, expected_drop
from ensemble_compress.folds import Round
from ensemble_compress.judge import Judge
from ensemble_compress.row_scores import Answers

SURE_ERRORS = 5.0
"""So many standard errors away is sure."""

Expectation = Callable[[Sequence[Answers]], tuple[float, float]]
"""Tells, from a student's answers round after round, the loss of score to expect and its standard error."""


@dataclass(frozen=True, eq=False)
class Hearing:
    """What one round said of one candidate.

    Attributes
    ----------
    drop, score : float
        The loss of score against the teacher, and the score.
    error : float
        The standard error of `drop`, NaN where it was not asked for.
    answers : Answers
        What the candidate said about the judged rows.
    shortfall : float
        What `drop` holds because the reference is worth less than the teacher.
    n_bytes : int
        What the candidate takes as C tables, where a budget asks for it.
    """

    drop: float
    score: float
    error: float
    answers: Answers
    shortfall: float = 0.0
    n_bytes: int = 0


def hear(
    judge: Judge, one: Round, answers: Answers, with_error: bool, shortfall: float = 0.0, n_bytes: int = 0
) -> Hearing:
    """What a round says of a candidate that answers so.

    Parameters
    ----------
    judge : Judge
        The scorer.
    one : Round
        The round.
    answers : Answers
        The candidate's, for the rows that the round judges by.
    with_error : bool
        Whether to tell the error of the loss, however long it takes.
    shortfall : float
        By how much the round's reference falls short of the teacher.
    n_bytes : int
        What the candidate takes.
    """
    every, known = answers, one.known(answers)
    one, answers = one.take(known), answers if len(known) == len(answers.values) else answers.take(known)
    reference, score = judge.score(one.reference, one.judge), judge.score(answers, one.judge)
    error = judge.drop_error(one.reference, answers, one.judge) if with_error else float("nan")
    return Hearing(reference - score + shortfall, score, error, compact(every), shortfall, n_bytes)


def shortfall_of(judge: Judge, one: Round) -> float:
    """By how much the reference falls short of the teacher, whose trees it is the mean of but for those that saw a row.

    What more trees add to a mean of trees that are drawn alike falls with their number, as its variance does: what the
    second half of them added tells what the rest would add.

    Parameters
    ----------
    judge : Judge
        The scorer.
    one : Round
        The round.
    """
    if one.bags is None or one.halved is None:
        return 0.0
    gain = judge.score(one.reference, one.judge) - judge.score(one.halved, one.judge)
    return max(0.0, gain) * (1 - one.bags.share_outside())


def compact(answers: Answers) -> Answers:
    """The same in half the memory: every candidate's are kept until the choice is made."""
    codes = None if answers.codes is None else answers.codes.astype(np.int32)
    return Answers(answers.values.astype(np.float32), codes)


def is_hopeless(drop: float, error: float, hopeless: float) -> bool:
    """Whether a candidate has surely lost so much that nobody needs to know how much.

    Parameters
    ----------
    drop, error : float
        What the labels say it lost, and the standard error of that.
    hopeless : float
        What is too much.
    """
    return drop - SURE_ERRORS * error > hopeless


def verdict_of(
    heard: Sequence[Hearing], rounds: Sequence[Round], expect: Expectation | None, hopeless: float = np.inf
) -> Verdict:
    """What all rounds together say of a candidate.

    Parameters
    ----------
    heard : sequence of Hearing
        One for each round.
    rounds : sequence of Round
        The rounds; each counts as many rows as it judges by.
    expect : callable, optional
        What `expectation` returned; where there is one, it tells the loss, as far as the labels don't contradict.
    hopeless : float
        A loss that is of no interest any more: of a candidate that surely lost more the labels tell enough.
    """
    share = np.array([one.judge.n_rows for one in rounds], float)
    share /= share.sum()
    drop = float(share @ [one.drop for one in heard])
    error = float(np.sqrt(np.square(share) @ np.square([one.error for one in heard])))
    if expect is not None and not is_hopeless(drop, error, hopeless):
        # The estimate trusts probabilities: it is not believed where labels say more, by more than their error.
        least = drop - error if np.isfinite(error) else drop
        drop, error = expect([one.answers for one in heard])
        drop = max(drop + float(share @ [one.shortfall for one in heard]), least)
    return Verdict(drop, float(share @ [one.score for one in heard]), error)


def expectation(judge: Judge, rounds: Sequence[Round]) -> Expectation | None:
    """What tells a student's expected loss from its answers in all rounds; None where the score has no such estimate.

    Parameters
    ----------
    judge : Judge
        The scorer.
    rounds : sequence of Round
        The rounds, whose rows have labels.
    """
    # A scorer of the caller's own may have the name of one of ours; it doesn't tell its error.
    if not judge.tells_error or judge.name not in SCORES:
        return None
    codes = np.concatenate([one.judge.y for one in rounds])
    rows = np.arange(0, len(codes), -(-len(codes) // MOST_ROWS))
    weight = weights_of(rounds)[rows]
    teacher = _joined([one.reference for one in rounds], rows)

    def expect(answers: Sequence[Answers]) -> tuple[float, float]:
        student = _joined(answers, rows)
        known = np.isfinite(student[0]).all(axis=1)
        if known.all():
            return expected_drop(judge.name, teacher, student, codes[rows], weight / weight.sum())
        of_teacher, of_student = ((values[known], decided[known]) for values, decided in (teacher, student))
        share = weight[known] / weight[known].sum()
        return expected_drop(judge.name, of_teacher, of_student, codes[rows][known], share)

    return expect


def held_out_answers(
    rounds: Sequence[Round], heard: Sequence[Hearing] | None
) -> tuple[Data, NDArray[np.float64], NDArray[np.float64]]:
    """(the judged rows, what the teachers said about them, what the students said), round after round.

    Parameters
    ----------
    rounds : sequence of Round
        The rounds.
    heard : sequence of Hearing, optional
        Theirs of one candidate; None is the teacher itself.
    """
    parts = [one.judge for one in rounds]
    weight = None if all(part.weight is None for part in parts) else weights_of(rounds)
    labels = np.concatenate([part.y for part in parts])
    rows = Data(np.concatenate([part.X for part in parts]), labels, weight)
    teacher = np.concatenate([one.reference.values for one in rounds])
    if heard is None:
        return rows, teacher, teacher
    student = np.concatenate([hearing.answers.values for hearing in heard]).astype(np.float64)
    known = np.isfinite(student).all(axis=1)
    return (rows, teacher, student) if known.all() else (rows.take(known), teacher[known], student[known])


def weights_of(rounds: Sequence[Round]) -> NDArray[np.float64]:
    """The weights of all judged rows, round after round; a row without one counts once."""
    parts = [one.judge for one in rounds]
    return np.concatenate([np.ones(part.n_rows) if part.weight is None else part.weight for part in parts])


def reference_score(judge: Judge, rounds: Sequence[Round]) -> float:
    """The teachers' score, each round counting as many rows as it judges by."""
    scores = [judge.score(one.reference, one.judge) for one in rounds]
    return float(np.average(scores, weights=[one.judge.n_rows for one in rounds]))


def _joined(answers: Sequence[Answers], rows: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(values, class codes) of some rows of a classifier's answers, round after round."""
    codes: Any = [part.codes for part in answers]
    return np.concatenate([part.values for part in answers])[rows], np.concatenate(codes)[rows]
