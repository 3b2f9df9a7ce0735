"""Rounds of judgement for a forest with bags: nothing is trained again, for every row has trees that are new to it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.bags import Bags, answers_out_of_bag, answers_outside, are_of
from ensemble_compress.clones import Clone, Task
from ensemble_compress.data import Data
from ensemble_compress.folds import (
    MOST_FITTED,
    MOST_JUDGED,
    N_FOLDS,
    Round,
    Rounds,
    choice_of,
    folds_of,
)

MANY_ROWS = 20_000
"""From so many rows on a forest with bags is judged by those, without being trained again."""

FEWEST_TREES_OUTSIDE = 8
"""So many trees must not have seen a row, on the average: the mean of fewer says too little of the forest's."""

ROUNDS_OF_MANY = 2
"""Rounds where there are more rows than a student is fitted on."""


def _usable_bags(task: Task) -> Bags | None:
    """The bags of the task's rows; None where there are none, or where training again costs little."""
    n_rows = task.data.n_rows
    is_known = getattr(task.model, "_n_samples", None) == n_rows >= MANY_ROWS
    if not (is_known and task.data.y is not None and Clone(task.model, task.forest).has_bags):
        return None
    bags = Bags.of(task.model, n_rows)
    n_outside = bags.share_outside() * task.forest.n_trees
    is_usable = n_outside >= FEWEST_TREES_OUTSIDE and are_of(bags, task.model, task.forest, task.data.X)
    return bags if is_usable else None


def make_rounds_of_bags(task: Task) -> Rounds | None:
    """Rounds for which nothing is trained again; None where the teacher is no forest with bags, or there are few rows.

    Every row has trees that are new to it, whose mean is the reference and the lesson. What is judged is a student of its
    own, or says which of the teacher's trees it keeps.

    Parameters
    ----------
    task : Task
        Teacher and rows.
    """
    bags = _usable_bags(task)
    if bags is None:
        return None
    generator = np.random.default_rng(task.random_state)
    chosen = choice_of(task.data.n_rows, MOST_FITTED + MOST_JUDGED, generator)
    data, bags = task.data.take(chosen), bags.take(chosen)
    data = data.with_teacher(answers_out_of_bag(bags, task.forest, data.X))
    folds = folds_of(replace(task, data=data), N_FOLDS)[
        : N_FOLDS if len(chosen) <= MOST_FITTED else ROUNDS_OF_MANY
    ]
    rounds = tuple(_bag_round(task, data, bags, chosen, rows, generator) for _, rows in folds)
    return Rounds(rounds, data, "out-of-bag answers")


def _bag_round(
    task: Task,
    data: Data,
    bags: Bags,
    chosen: NDArray[np.intp],
    judge_rows: NDArray[np.intp],
    generator: np.random.Generator,
) -> Round:
    judge_rows = judge_rows[choice_of(len(judge_rows), MOST_JUDGED, generator)]
    fit = data.take(np.setdiff1d(np.arange(data.n_rows), judge_rows))
    judge, own, half = (
        data.take(judge_rows).with_teacher(None),
        bags.take(judge_rows),
        np.arange(0, task.forest.n_trees, 2),
    )
    reference = answers_outside(own, task.forest, judge.X)
    halved = answers_outside(own.take_trees(half), keep_trees(task.forest, half), judge.X)
    one = Round(task.forest, fit, judge, reference, chosen[judge_rows], own, halved)
    return one.take(np.intersect1d(one.known(reference), one.known(halved)))
