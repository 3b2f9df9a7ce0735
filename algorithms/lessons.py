"""What a student is taught: the given rows and synthetic ones beside them, and what to answer on each."""

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import targets, taught
from ensemble_compress.algorithms.transfer_rows import transfer_rows
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

LARGEST_TABLE = 150_000_000
"""Entries of the table of leaves, trees times rows; rows beyond it are left out."""

ENOUGH_ROWS = 20_000
"""No more rows than this are made up."""


def lessons(
    forest: Forest,
    additive: Forest,
    data: Data,
    mix: float,
    n_transfer: float,
    random_state: int,
    enough: int = ENOUGH_ROWS,
) -> tuple[Data, NDArray[np.float64]]:
    """(the given rows and the synthetic ones, what to fit on them, shape (n_outputs, n_rows)).

    Parameters
    ----------
    forest, additive : Forest
        The teacher, and its additive form, whose outputs the targets are.
    data : Data
        The given rows.
    mix : float
        What is fitted on given rows: 0 the labels, 1 the teacher's answers, between them a mixture.
    n_transfer : float
        Synthetic rows, which the teacher labels, for each given one; none beyond `enough` rows.
    random_state : int
        Seed of the synthetic rows.
    enough : int
        No rows are made up beyond this number of rows, the given ones included.
    """
    target = targets(additive, taught(forest, data), mix)
    n_made = int(min(n_transfer * data.n_rows, max(0, enough - data.n_rows)))
    made = transfer_rows(data.X, n_made, random_state)
    if not len(made):
        return data, target
    weight = None if data.weight is None else np.append(data.weight, np.full(len(made), data.weight.mean()))
    answers = targets(additive, taught(forest, Data(made)), 1.0)
    return Data(np.concatenate([data.X, made]), weight=weight), np.concatenate([target, answers], axis=1)


def rows_that_fit(
    data: Data, target: NDArray[np.float64], n_trees: int, random_state: int, most_rows: int | None = None
) -> tuple[Data, NDArray[np.float64]]:
    """The rows and what to fit on them, some left out where the table of leaves would grow too large.

    Parameters
    ----------
    data : Data
        Rows; those of weight zero are the first to go.
    target : ndarray of shape (n_outputs, n_rows)
        What to fit on them.
    n_trees : int
        Trees that each row is sent down.
    random_state : int
        Seed of the choice.
    most_rows : int, optional
        As many rows are enough, however few trees there are.
    """
    most = max(1, LARGEST_TABLE // max(1, n_trees))
    most = most if most_rows is None else min(most, most_rows)
    if data.n_rows <= most:
        return data, target
    counting = np.arange(data.n_rows) if data.weight is None else np.flatnonzero(data.weight)
    chosen = np.random.default_rng(random_state).choice(counting, min(len(counting), most), replace=False)
    return data.take(chosen), target[:, chosen]
