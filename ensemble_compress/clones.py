"""A teacher that can be trained again: on fewer rows, so that the others may judge it and teach its student.

An ensemble knows its training labels by heart, and a student of such answers learns the noise in them. The answers used
here for a row are those of a model, or of the trees of a model, that was trained without it.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from ensemble_compress.bags import Bags, answers_out_of_bag
from ensemble_compress.data import Data
from ensemble_compress.errors import EnsembleCompressError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import make_sets, set_codes
from ensemble_compress.readers import read
from ensemble_compress.readers.kinds import find_base

Rows = NDArray[np.intp]


def nothing() -> None:
    """Nobody is told."""


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
    tell : callable
        Called whenever the teacher has been trained again.
    """

    model: Any
    forest: Forest
    data: Data
    X: Any
    y: Any
    random_state: int = 0
    n_jobs: int | None = None
    tell: Callable[[], None] = nothing


@dataclass(frozen=True, eq=False)
class Clone:
    """The teacher trained again: as a model and as a forest."""

    model: Any
    forest: Forest

    def answers(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Its answers: probabilities, or predicted values."""
        return self.forest.answers(self.forest.margin(X))

    @property
    def has_bags(self) -> bool:
        """Whether each of its trees left rows out that are known."""
        if not getattr(self.model, "bootstrap", False) or not hasattr(self.model, "estimators_samples_"):
            return False
        is_mean = self.forest.link == "identity" and self.forest.divisor == self.forest.n_trees
        return is_mean and self.forest.n_trees == len(self.model.estimators_)


def can_be_cloned(task: Task) -> bool:
    """Whether the teacher can be trained again on parts of the rows."""
    is_estimator = all(hasattr(task.model, name) for name in ("get_params", "fit", "predict"))
    return task.data.y is not None and is_estimator


def train_on(task: Task, rows: Rows) -> Clone:
    """The teacher trained again on some of the rows.

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
    task.tell()
    if not _same_outputs(forest, task.forest):
        raise CloneError("a fold lacks a class that the teacher knows")
    if _named_columns(model) != _named_columns(task.model) or _columns_of_levels(
        forest
    ) != _columns_of_levels(task.forest):
        raise CloneError("its categories were named in a call of fit that is not known here")
    return Clone(model, _recode(forest, task.forest.categories))


def _named_columns(model: Any) -> list[int] | None:
    """The columns that a model takes for categories, of the libraries whose `fit` may name them."""
    if find_base(model, "catboost", ("CatBoost",)) is not None:
        return list(model.get_cat_feature_indices())
    if find_base(model, "lightgbm", ("LGBMModel",)) is not None:
        # Those that are named anew as a parameter of the model stand elsewhere, and a clone has them.
        return list(model.booster_.params.get("categorical_column") or [])
    return None


def _columns_of_levels(forest: Forest) -> list[int]:
    return [f for f, levels in enumerate(forest.categories or ()) if levels is not None]


def _recode(forest: Forest, categories: Any) -> Forest:
    """The same forest for rows that are coded as the teacher's, whose rows may hold levels that a fold lacks.

    A level that the forest does not know goes where it sends missing values, as it would in a DataFrame.
    """
    if forest.categories is None or forest.categories == categories:
        return forest
    chosen = forest.nodes.category_set.copy()
    sets: list[list[int]] = []
    for j in np.flatnonzero(chosen >= 0):
        members = set(set_codes(forest.category_sets, chosen[j]))
        own, given = forest.categories[forest.nodes.feature[j]], categories[forest.nodes.feature[j]]
        if own is not None:
            left = {level for code, level in enumerate(own) if code in members}
            left |= set(given).difference(own) if forest.nodes.nan_left[j] else set()
            members = {code for code, level in enumerate(given) if level in left}
        chosen[j] = len(sets)
        sets.append(sorted(members))
    nodes = forest.nodes._replace(category_set=chosen)
    return replace(forest, nodes=nodes, category_sets=make_sets(sets), categories=categories)


def _train(teacher: Any, X: Any, y: Any, **weight: Any) -> Any:
    """The teacher, trained anew. CatBoost's cannot all be cloned, and would print and leave a folder of logs."""
    if find_base(teacher, "catboost", ("CatBoost",)) is None:
        return clone(teacher).fit(X, y, **weight)
    parameters = teacher.get_params() | {"allow_writing_files": False}
    kind = type(teacher)
    model = kind(parameters) if kind.__name__ == "CatBoost" else kind(**parameters)
    return model.fit(X, y, logging_level="Silent", **weight)


def _same_outputs(forest: Forest, teacher: Forest) -> bool:
    if forest.n_outputs != teacher.n_outputs or forest.is_classifier != teacher.is_classifier:
        return False
    return forest.classes is None or bool(np.array_equal(forest.classes, teacher.classes))  # type: ignore[arg-type]


def train_without(task: Task, folds: Sequence[Rows]) -> list[Clone]:
    """The teacher trained again without each of the folds.

    Raises
    ------
    CloneError
        There are fewer than two folds, or one of the clones fails.
    """
    if len(folds) < 2:
        raise CloneError("too few rows of a class for folds")
    every = np.arange(task.data.n_rows)
    jobs = (delayed(train_on)(task, np.setdiff1d(every, rows)) for rows in folds)
    return list(Parallel(n_jobs=task.n_jobs, prefer="threads")(jobs))


def out_of_fold(task: Task, clones: Sequence[Clone], folds: Sequence[Rows]) -> NDArray[np.float64]:
    """For the rows of each fold the answers of the clone that goes with it; NaN for rows in none of them."""
    found = [one.answers(task.data.X[rows]) for one, rows in zip(clones, folds, strict=True)]
    taught = np.full((task.data.n_rows, found[0].shape[1]), np.nan)
    for rows, answers in zip(folds, found, strict=True):
        taught[rows] = answers
    return taught


def answers_for_rounds(
    task: Task, clones: Sequence[Clone], folds: Sequence[Rows]
) -> list[NDArray[np.float64] | None]:
    """For each fold what teaches the student that it will judge, an answer for every row of the other folds.

    The rounds have to teach as well as the final student is taught, or they would judge another compressor than the one
    that makes the result; and by models that saw neither the row nor the judging fold. A forest with bags has trees that
    did not see a row; any other teacher is trained again without each pair of folds. Where half of the rows are not
    enough for that, the clone of the round answers itself: None.
    """
    taught: list[NDArray[np.float64] | None] = []
    if clones[0].has_bags:
        every = np.arange(task.data.n_rows)
        for one, judged in zip(clones, folds, strict=True):
            rows = np.setdiff1d(every, judged)
            full = np.full((task.data.n_rows, one.forest.n_outputs), np.nan)
            full[rows] = answers_out_of_bag(Bags.of(one.model, len(rows)), one.forest, task.data.X[rows])
            taught.append(full)
        return taught
    pairs = list(combinations(range(len(folds)), 2))
    try:
        both = train_without(task, [np.union1d(folds[j], folds[k]) for j, k in pairs])
    except CloneError:
        return [None] * len(folds)
    without = dict(zip(pairs, both, strict=True))
    for k in range(len(folds)):
        others = [j for j in range(len(folds)) if j != k]
        taught.append(
            out_of_fold(task, [without[min(j, k), max(j, k)] for j in others], [folds[j] for j in others])
        )
    return taught
