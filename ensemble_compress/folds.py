"""Rounds of judgement: who teaches, which rows the student is fitted on, and which rows neither of them has seen.

A teacher's score counts only on rows that it was not trained on, so a teacher that can be trained again is: once without
each fold.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, to_additive
from ensemble_compress.bags import Bags, answers_outside
from ensemble_compress.clones import (
    CloneError,
    Task,
    answers_for_rounds,
    can_be_cloned,
    out_of_fold,
    train_without,
)
from ensemble_compress.data import Data
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest
from ensemble_compress.row_scores import Answers

N_FOLDS = 4

FEWEST_ROWS = 20
"""With fewer different rows no loss can be told from luck."""

MANY_ROWS = 100
"""So many rows can be judged by, even if some of them are equal."""

ENOUGH_TO_JUDGE = 5000
"""With so many held-out rows the folds of the others need not judge as well."""

MOST_JUDGED, MOST_FITTED = 25_000, 120_000
"""Rows that a round judges by, and that a student is fitted on; beyond them a seeded choice of rows is as good."""

HONEST_PENALTY, HONEST_SWEEPS = 30.0, 8
"""How leaves are refitted out of fold, to the labels alone, where the teacher cannot be trained again."""


@dataclass(frozen=True, eq=False)
class Round:
    """One judgement.

    Attributes
    ----------
    teacher : Forest
        What is compressed in this round.
    fit : Data
        The rows that the student is fitted on, with the teacher's answers as soft targets.
    judge : Data
        Rows that the student is judged on.
    reference : Answers
        The teacher's answers on those.
    rows : ndarray
        Which of the task's rows the judged ones are.
    bags : Bags, optional
        Where the teacher has seen the judged rows: which of its trees have. They judge only what keeps their leaves, each
        row by those trees that have not seen it.
    halved : Answers, optional
        With them: the answers of every other of the trees that `reference` is the mean of.
    """

    teacher: Forest
    fit: Data
    judge: Data
    reference: Answers
    rows: NDArray[np.intp]
    bags: Bags | None = None
    halved: Answers | None = None

    def answers(self, forest: Forest, trees: NDArray[np.intp] | None) -> Answers:
        """What a candidate says about the judged rows; NaN where none of its trees is new to a row.

        Parameters
        ----------
        forest : Forest
            The candidate.
        trees : ndarray of int, optional
            Which of the teacher's trees it keeps; None where it has none of them.
        """
        if self.bags is None or trees is None:
            return Answers.of(forest, self.judge.X)
        return answers_outside(self.bags.take_trees(trees), forest, self.judge.X)

    def known(self, answers: Answers) -> NDArray[np.intp]:
        """The judged rows for which there are answers."""
        if self.bags is None:
            return np.arange(self.judge.n_rows)
        return np.flatnonzero(np.isfinite(answers.values).all(axis=1))

    def take(self, rows: NDArray[np.intp]) -> "Round":
        """The same round, judging by some of its rows."""
        if len(rows) == self.judge.n_rows:
            return self
        return replace(
            self,
            judge=self.judge.take(rows),
            reference=self.reference.take(rows),
            rows=self.rows[rows],
            bags=None if self.bags is None else self.bags.take(rows),
            halved=None if self.halved is None else self.halved.take(rows),
        )


@dataclass(frozen=True, eq=False)
class Rounds:
    """All judgements of a task, and the data that the final student is fitted on.

    Attributes
    ----------
    rounds : tuple of Round
        One or more.
    final : Data
        All rows, with the best answers of the teacher that there are.
    reference : str
        How the teacher's score was obtained.
    notes : tuple of str
        What the reader of the report has to know.
    can_promise : bool
        Whether the rounds say enough to keep a tolerance by.
    has_own_leaves : bool
        Whether the rounds compress leaves like the teacher's; otherwise refitted ones, which other bits suffice for.
    """

    rounds: tuple[Round, ...]
    final: Data
    reference: str
    notes: tuple[str, ...] = ()
    can_promise: bool = True
    has_own_leaves: bool = True


def make_rounds(task: Task, held_out: Data | None = None, enough: int | None = None) -> Rounds:
    """The rounds that suit the task.

    Parameters
    ----------
    task : Task
        Teacher and rows.
    held_out : Data, optional
        Rows that the teacher was not trained on; they judge, and join the others at the end.
    enough : int, optional
        So many held-out rows judge alone, fewer with the folds of the others. `ENOUGH_TO_JUDGE` by default.
    """
    rounds = _all_rounds(task, held_out, ENOUGH_TO_JUDGE if enough is None else enough)
    generator = np.random.default_rng(task.random_state)
    judging = tuple(_limited(one, generator) for one in rounds.rounds)
    return replace(rounds, rounds=judging, final=_some(rounds.final, MOST_FITTED, generator))


def _limited(one: Round, generator: np.random.Generator) -> Round:
    one = replace(one, fit=_some(one.fit, MOST_FITTED, generator))
    if one.judge.n_rows <= MOST_JUDGED:
        return one
    return one.take(choice_of(one.judge.n_rows, MOST_JUDGED, generator))


def _some(data: Data, most: int, generator: np.random.Generator) -> Data:
    return data if data.n_rows <= most else data.take(choice_of(data.n_rows, most, generator))


def choice_of(n_rows: int, most: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """So many rows of `n_rows`, or all where there are fewer, in their order.

    Parameters
    ----------
    n_rows, most : int
        Rows there are, and rows wanted.
    generator : Generator
        Chooses.
    """
    return np.sort(generator.choice(n_rows, min(most, n_rows), replace=False))


def _all_rounds(task: Task, held_out: Data | None, enough: int) -> Rounds:
    if held_out is None and has_few_rows(task.data):
        return _in_sample_round(task)
    if task.data.y is None:
        return _agreement_rounds(task, held_out)
    if held_out is not None:
        rounds = _held_out_rounds(task, held_out, enough)
        if len(rounds.rounds) > 1 or not has_few_rows(held_out):
            return rounds
        note = (
            f"{held_out.n_rows} held-out rows are too few to keep a tolerance by: nothing was given up for it"
        )
        return replace(rounds, notes=(*rounds.notes, note), can_promise=False)
    if can_be_cloned(task):
        try:
            return _clone_rounds(task)
        except CloneError as failure:
            rounds, note = _refit_rounds(task), f"the teacher could not be trained again: {failure}"
            return replace(rounds, notes=(*rounds.notes, note))
    return _refit_rounds(task)


def has_few_rows(data: Data) -> bool:
    """Whether there are too few rows to judge by; equal ones count once."""
    return data.n_rows < MANY_ROWS and len({row.tobytes() for row in data.X}) < FEWEST_ROWS


def split_off(task: Task, fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(rows to keep, rows to hold out), a seeded choice that keeps the shares of the classes where it can."""
    every = np.arange(task.data.n_rows)
    codes = task.data.y if task.forest.is_classifier else None
    for labels in (codes, None):
        try:
            keep, hold = train_test_split(
                every, test_size=fraction, random_state=task.random_state, stratify=labels
            )
        except ValueError:
            # A class of one row cannot be spread, or the share holds fewer rows than there are classes.
            continue
        return np.sort(keep), np.sort(hold)
    raise InputError(f"{task.data.n_rows} rows are too few to hold out a share of {fraction}")


# -- a teacher that cannot be trained again ----------------------------------------------------------------------


def _in_sample_round(task: Task) -> Rounds:
    """The given rows judge what they taught: good for a budget, worth nothing for a tolerance."""
    every = _answered(task.forest, task.data)
    judge = every if task.data.y is None else replace(every, y=task.data.y)
    fit = replace(judge, y=task.data.y)
    rows = np.arange(judge.n_rows)
    note = (
        f"{judge.n_rows} rows are too few to tell what a smaller model loses:"
        " scores are in-sample, and nothing was given up for a tolerance"
    )
    one = Round(task.forest, fit, judge, Answers.of(task.forest, judge.X), rows)
    return Rounds((one,), fit, "in-sample", (note,), can_promise=False)


def _refit_rounds(task: Task) -> Rounds:
    """Both sides by cross-fitting: the reference is the teacher's structure with all leaves refitted out of fold."""
    folds = folds_of(task, N_FOLDS)
    note = (
        "in-sample: the teacher's structure has seen the rows that judge it; its leaves, and the student's, were refitted"
        " without them. Pass validation=(X_val, y_val) for an honest score"
    )

    refit = _Refit(task)

    def one(fit_rows: NDArray[np.intp], judge_rows: NDArray[np.intp]) -> Round:
        fit, judge = task.data.take(fit_rows), task.data.take(judge_rows)
        fit = fit.with_teacher(_cross_fitted(task, refit, fit_rows))
        # What is compressed must not know the judged rows either: the teacher's own leaves have seen their labels.
        teacher, reference = refit(fit_rows, judge_rows)
        return Round(teacher, fit, judge, reference, judge_rows)

    rounds = tuple(one(*fold) for fold in folds)
    every = _cross_fitted(task, refit, np.arange(task.data.n_rows))
    return Rounds(rounds, task.data.with_teacher(every), "in-sample", (note,), has_own_leaves=False)


class _Refit:
    """The teacher's structure with all leaves refitted on some rows, asked about others.

    Where each row ends does not depend on the leaves' values, and is found once.
    """

    def __init__(self, task: Task) -> None:
        self._forest = to_additive(task.forest)
        self._is_guess = self._forest.link != task.forest.link
        target = targets(self._forest, task.data, mix=0.0)
        self._whole = LeafFit.of(self._forest, task.data, target, HONEST_PENALTY)

    def __call__(self, fit_rows: NDArray[np.intp], other_rows: NDArray[np.intp]) -> tuple[Forest, Answers]:
        """(the structure with leaves fitted on `fit_rows`, its answers for `other_rows`)."""
        fit = self._whole.take(fit_rows)
        if self._is_guess:
            fit.stretch()
        fit.sweep(HONEST_SWEEPS)
        others = replace(self._whole.take(other_rows), value=fit.value, bias=fit.bias)
        forest = self._forest.with_values(fit.value, fit.bias)
        return forest, Answers.from_margin(forest, np.ascontiguousarray(others.margin().T))


def _cross_fitted(task: Task, refit: _Refit, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Answers for some rows of the teacher's structure whose leaves were refitted on the others of them."""
    taught: NDArray[np.float64] | None = None
    for fit_part, other_part in folds_of(replace(task, data=task.data.take(rows)), N_FOLDS):
        found = refit(rows[fit_part], rows[other_part])[1].values
        taught = np.empty((len(rows), found.shape[1])) if taught is None else taught
        taught[other_part] = found
    if taught is None:
        return refit(rows, rows)[1].values
    return taught


def _agreement_rounds(task: Task, held_out: Data | None) -> Rounds:
    """Without labels the teacher is the truth."""
    forest = task.forest
    every = _answered(forest, task.data)
    parts = [(np.arange(task.data.n_rows), held_out)] if held_out is not None else []
    folds = [] if held_out is not None else folds_of(replace(task, data=every), N_FOLDS)
    rounds = []
    for fit_rows, other in [*parts, *folds]:
        judge = _answered(forest, other if isinstance(other, Data) else task.data.take(other))
        rows = np.arange(judge.n_rows) if isinstance(other, Data) else other
        fit = replace(every.take(fit_rows), y=None)
        rounds.append(Round(forest, fit, judge, Answers.of(forest, judge.X), np.asarray(rows)))
    final = every if held_out is None else _joined(every, _answered(forest, held_out))
    return Rounds(tuple(rounds), replace(final, y=None), "agreement with the teacher")


def _answered(forest: Forest, data: Data) -> Data:
    """`data` with the teacher's answers as labels and as soft targets."""
    given = Answers.of(forest, data.X)
    y = given.codes if given.codes is not None else given.values
    return Data(data.X, y if y.ndim == 1 or y.shape[1] > 1 else y[:, 0], data.weight, given.values)


def _held_out_rounds(task: Task, held_out: Data, enough: int) -> Rounds:
    """A round on rows that the teacher has not seen, and one a clone where it can be trained again: more rows judge."""
    notes: tuple[str, ...] = ()
    crossed: Rounds | None = None
    taught: NDArray[np.float64] | None = None
    if can_be_cloned(task):
        try:
            if held_out.n_rows >= enough:
                folds = [rows for _, rows in folds_of(task, N_FOLDS)]
                taught = out_of_fold(task, train_without(task, folds), folds)
            else:
                crossed = _clone_rounds(task)
                taught = crossed.final.teacher
        except CloneError as failure:
            notes = (f"the teacher could not be trained again: {failure}",)
    if taught is None:
        taught = _cross_fitted(task, _Refit(task), np.arange(task.data.n_rows))
    fit = task.data.with_teacher(taught)
    reference = Answers.of(task.forest, held_out.X)
    held = Round(task.forest, fit, held_out, reference, np.arange(held_out.n_rows))
    final = _joined(fit, held_out.with_teacher(reference.values))
    if crossed is None:
        return Rounds((held,), final, "held-out rows", notes)
    return Rounds((held, *crossed.rounds), final, "held-out rows and cross-fitted clones", notes)


def _joined(first: Data, second: Data) -> Data:
    def join(a: Any, b: Any, neutral: Any) -> Any:
        if a is None and b is None:
            return None
        return np.concatenate([neutral(first) if a is None else a, neutral(second) if b is None else b])

    if first.teacher is None or second.teacher is None:
        first, second = first.with_teacher(None), second.with_teacher(None)
    return Data(
        np.concatenate([first.X, second.X]),
        None if first.y is None else join(first.y, second.y, None),
        join(first.weight, second.weight, lambda data: np.ones(data.n_rows)),
        join(first.teacher, second.teacher, None),
    )


# -- a teacher that can be trained again -------------------------------------------------------------------------


def _clone_rounds(task: Task) -> Rounds:
    folds = folds_of(task, N_FOLDS)
    judged = [rows for _, rows in folds]
    clones = train_without(task, judged)
    taught = answers_for_rounds(task, clones, judged)
    rounds = []
    for one, answers, (fit_rows, judge_rows) in zip(clones, taught, folds, strict=True):
        fit, judge = task.data.take(fit_rows), task.data.take(judge_rows)
        fit = fit if answers is None else fit.with_teacher(answers[fit_rows])
        rounds.append(Round(one.forest, fit, judge, Answers.of(one.forest, judge.X), judge_rows))
    final = task.data.with_teacher(out_of_fold(task, clones, judged))
    return Rounds(tuple(rounds), final, "cross-fitted clones")


def folds_of(task: Task, n_splits: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """[(rows to fit on, rows to judge)]; classes are spread evenly; none where a class or the rows are too few.

    Parameters
    ----------
    task : Task
        Whose rows.
    n_splits : int
        How many folds, or fewer.
    """
    n_rows = task.data.n_rows
    if task.forest.is_classifier and task.data.y is not None:
        smallest = int(np.unique(task.data.y, return_counts=True)[1].min())
        if smallest >= 2:
            splitter = StratifiedKFold(min(n_splits, smallest), shuffle=True, random_state=task.random_state)
            return list(splitter.split(np.empty((n_rows, 0)), task.data.y))
    if n_rows < 2 * n_splits:
        return []
    return list(KFold(n_splits, shuffle=True, random_state=task.random_state).split(np.empty((n_rows, 0))))
