"""Rounds of judgement: who teaches, which rows the student is fitted on, and which rows neither of them has seen.

A teacher's score counts only on rows that it was not trained on, so a teacher that can be trained again is: once without
each fold. What these clones say about the fold that they did not see is also what the final student learns from: an
ensemble knows its training labels by heart, and a student of such answers learns the noise in them.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils import _safe_indexing

from ensemble_compress.algorithms.leaf_fit import predictions
from ensemble_compress.algorithms.refit_leaves import RefitLeaves
from ensemble_compress.data import Data
from ensemble_compress.errors import EnsembleCompressError, InputError
from ensemble_compress.forest import Forest
from ensemble_compress.judge import Answers
from ensemble_compress.readers import read
from ensemble_compress.readers.kinds import find_base

N_FOLDS = 4

FEWEST_ROWS = 20
"""With fewer different rows no loss can be told from luck."""

MANY_ROWS = 100
"""So many rows can be judged by, even if some of them are equal."""

HONEST_REFIT = RefitLeaves(mix=0.0, penalty=30.0, n_sweeps=8)
"""How leaves are refitted out of fold where the teacher cannot be trained again."""


class CloneError(Exception):
    """A clone could not be trained or does not answer for the classes that the teacher has."""


@dataclass(frozen=True, eq=False)
class Task:
    """A teacher and the rows that came with it.

    Attributes
    ----------
    model : object
        The teacher as it was given.
    forest : Forest
        The teacher.
    data : Data
        The rows as the forest reads them, labels as codes.
    X, y : array-like
        The rows and labels as they were given, for training the teacher again.
    random_state : int
        Seed of the folds.
    n_jobs : int, optional
        Teachers trained at a time.
    """

    model: Any
    forest: Forest
    data: Data
    X: Any
    y: Any
    random_state: int = 0
    n_jobs: int | None = None


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
    """

    teacher: Forest
    fit: Data
    judge: Data
    reference: Answers
    rows: NDArray[np.intp]


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
    """

    rounds: tuple[Round, ...]
    final: Data
    reference: str
    notes: tuple[str, ...] = ()
    can_promise: bool = True


def make_rounds(task: Task, held_out: Data | None = None) -> Rounds:
    """The rounds that suit the task.

    Parameters
    ----------
    task : Task
        Teacher and rows.
    held_out : Data, optional
        Rows that the teacher was not trained on; they judge, and join the others at the end.
    """
    if held_out is None and has_few_rows(task.data):
        return _in_sample_round(task)
    if task.data.y is None:
        return _agreement_rounds(task, held_out)
    if held_out is not None:
        rounds = _held_out_round(task, held_out)
        if not has_few_rows(held_out):
            return rounds
        note = (
            f"{held_out.n_rows} held-out rows are too few to keep a tolerance by: nothing was given up for it"
        )
        return replace(rounds, notes=(*rounds.notes, note), can_promise=False)
    if _can_be_cloned(task.model):
        try:
            return _clone_rounds(task)
        except CloneError as failure:
            rounds = _refit_rounds(task)
            return replace(
                rounds, notes=(*rounds.notes, f"the teacher could not be trained again: {failure}")
            )
    return _refit_rounds(task)


def can_be_cloned(task: Task) -> bool:
    """Whether the teacher can be trained again on parts of the rows."""
    return task.data.y is not None and _can_be_cloned(task.model)


def has_few_rows(data: Data) -> bool:
    """Whether there are too few rows to judge by; equal ones count once."""
    return data.n_rows < MANY_ROWS and len({row.tobytes() for row in data.X}) < FEWEST_ROWS


def train_on(task: Task, rows: NDArray[np.intp]) -> tuple[Any, Forest]:
    """The teacher trained again on some of the rows, as a model and as a forest.

    Raises
    ------
    CloneError
        It cannot be trained on them, or does not answer for the classes that the teacher has.
    """
    weight = {} if task.data.weight is None else {"sample_weight": task.data.weight[rows]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            X, y = _safe_indexing(task.X, rows), _safe_indexing(task.y, rows)
            model = _train(task.model, X, y, **weight)
        forest = read(model)
    except EnsembleCompressError:
        raise
    except Exception as error:
        raise CloneError(f"{type(error).__name__}: {error}") from error
    if not _same_outputs(forest, task.forest):
        raise CloneError("a fold lacks a class that the teacher knows")
    if (len(forest.category_sets.start) > 1) != (len(task.forest.category_sets.start) > 1):
        raise CloneError("its categories were named in a call of fit that is not known here")
    return model, forest


def _train(teacher: Any, X: Any, y: Any, **weight: Any) -> Any:
    """The teacher, trained anew. CatBoost's cannot all be cloned, and would print and leave a folder of logs."""
    if find_base(teacher, "catboost", ("CatBoost",)) is None:
        return clone(teacher).fit(X, y, **weight)
    parameters = teacher.get_params() | {"allow_writing_files": False}
    kind = type(teacher)
    model = kind(parameters) if kind.__name__ == "CatBoost" else kind(**parameters)
    return model.fit(X, y, logging_level="Silent", **weight)


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
    folds = _folds(task, N_FOLDS)
    note = (
        "in-sample: the teacher's structure has seen the rows that judge it; its leaves, and the student's, were refitted"
        " without them. Pass validation=(X_val, y_val) for an honest score"
    )

    def one(fit_rows: NDArray[np.intp], judge_rows: NDArray[np.intp]) -> Round:
        fit, judge = task.data.take(fit_rows), task.data.take(judge_rows)
        reference = Answers.of(HONEST_REFIT(task.forest, fit), judge.X)
        return Round(task.forest, _cross_fitted(task, fit), judge, reference, judge_rows)

    rounds = tuple(one(*fold) for fold in folds)
    return Rounds(rounds, _cross_fitted(task, task.data), "in-sample", (note,))


def _cross_fitted(task: Task, data: Data) -> Data:
    """`data` with answers of the teacher's structure whose leaves were refitted without the row."""
    taught: NDArray[np.float64] | None = None
    for fit_rows, other_rows in _folds(replace(task, data=data), N_FOLDS):
        found = Answers.of(HONEST_REFIT(task.forest, data.take(fit_rows)), data.X[other_rows]).values
        taught = np.empty((data.n_rows, found.shape[1])) if taught is None else taught
        taught[other_rows] = found
    return data.with_teacher(taught)


def _agreement_rounds(task: Task, held_out: Data | None) -> Rounds:
    """Without labels the teacher is the truth."""
    forest = task.forest
    every = _answered(forest, task.data)
    parts = [(np.arange(task.data.n_rows), held_out)] if held_out is not None else []
    folds = [] if held_out is not None else _folds(replace(task, data=every), N_FOLDS)
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


def _held_out_round(task: Task, held_out: Data) -> Rounds:
    """One round on rows that the teacher has not seen."""
    notes: tuple[str, ...] = ()
    taught = None
    if _can_be_cloned(task.model):
        try:
            folds = _folds(task, N_FOLDS)
            taught = _out_of_fold(task, _clones(task, folds), folds)
        except CloneError as failure:
            notes = (f"the teacher could not be trained again: {failure}",)
    fit = task.data.with_teacher(taught) if taught is not None else _cross_fitted(task, task.data)
    reference = Answers.of(task.forest, held_out.X)
    last = held_out.with_teacher(reference.values)
    rounds = (Round(task.forest, fit, held_out, reference, np.arange(held_out.n_rows)),)
    final = _joined(fit, last)
    return Rounds(rounds, final, "held-out rows", notes)


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


def _can_be_cloned(model: Any) -> bool:
    return hasattr(model, "get_params") and hasattr(model, "fit") and hasattr(model, "predict")


def _clone_rounds(task: Task) -> Rounds:
    folds = _folds(task, N_FOLDS)
    if len(folds) < 2:
        raise CloneError("too few rows of a class for folds")
    without = _clones(task, folds)
    rounds = []
    for k, (fit_rows, judge_rows) in enumerate(folds):
        model, forest = without[k]
        fit, judge = task.data.take(fit_rows), task.data.take(judge_rows)
        if _has_bags(model):
            fit = fit.with_teacher(_out_of_bag(model, forest, fit))
        rounds.append(Round(forest, fit, judge, Answers.of(forest, judge.X), judge_rows))
    final = task.data.with_teacher(_out_of_fold(task, without, folds))
    return Rounds(tuple(rounds), final, "cross-fitted clones")


def _out_of_fold(task: Task, without: list[tuple[Any, Forest]], folds: Any) -> NDArray[np.float64]:
    if len(folds) < 2:
        raise CloneError("too few rows of a class for folds")
    answers = [Answers.of(without[k][1], task.data.X[rows]).values for k, (_, rows) in enumerate(folds)]
    taught = np.empty((task.data.n_rows, answers[0].shape[1]))
    for (_, rows), found in zip(folds, answers, strict=True):
        taught[rows] = found
    return taught


def _clones(task: Task, folds: Any) -> list[tuple[Any, Forest]]:
    """The teacher trained again without each fold."""

    jobs = (delayed(train_on)(task, rows) for rows, _ in folds)
    return list(Parallel(n_jobs=task.n_jobs, prefer="threads")(jobs))


def _same_outputs(forest: Forest, teacher: Forest) -> bool:
    if forest.n_outputs != teacher.n_outputs or forest.is_classifier != teacher.is_classifier:
        return False
    return forest.classes is None or bool(np.array_equal(forest.classes, teacher.classes))  # type: ignore[arg-type]


def _has_bags(model: Any) -> bool:
    return bool(getattr(model, "bootstrap", False)) and hasattr(model, "estimators_samples_")


def _out_of_bag(model: Any, forest: Forest, data: Data) -> NDArray[np.float64]:
    """The mean answer of the trees that did not see a row in training, for the rows that `model` was trained on."""
    n_rows = data.n_rows
    total, n_trees = np.zeros((n_rows, forest.n_outputs)), np.zeros(n_rows)
    leaf = forest.find_leaves(data.X)
    for t, sample in enumerate(model.estimators_samples_):
        outside = np.ones(n_rows, bool)
        outside[sample] = False
        rows = np.flatnonzero(outside)
        total[rows] += forest.values[forest.nodes.leaf[leaf[rows, t]]]
        n_trees[rows] += 1
    whole = predictions(forest, forest.margin(data.X))
    seen = n_trees == 0
    mean = total / np.maximum(n_trees, 1)[:, None]
    mean[seen] = whole[seen]
    return mean


def _folds(task: Task, n_splits: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """[(rows to fit on, rows to judge)]; classes are spread evenly; none where a class or the rows are too few."""
    n_rows = task.data.n_rows
    if task.forest.is_classifier and task.data.y is not None:
        smallest = int(np.unique(task.data.y, return_counts=True)[1].min())
        if smallest >= 2:
            splitter = StratifiedKFold(min(n_splits, smallest), shuffle=True, random_state=task.random_state)
            return list(splitter.split(np.empty((n_rows, 0)), task.data.y))
    if n_rows < 2 * n_splits:
        return []
    return list(KFold(n_splits, shuffle=True, random_state=task.random_state).split(np.empty((n_rows, 0))))
