"""Individual contribution ordering: trees are ranked by what their votes add, and taken until the score is good enough.

A tree that is right against the majority counts most, one that is right with it counts the less the clearer the
majority is, and one that is wrong counts against. The tree votes for the class of its leaf, in a booster for the sign of its
leaf; where each class has trees of its own, each class is ranked against the rest and the ranks are interleaved.

Source: Lu, Wu, Zhu and Bongard, "Ensemble pruning via individual contribution ordering", KDD 2010, section 3 (the measure, for
majority and minority votes) and its algorithm EPIC. Trees are added until the tolerance holds, as in the comparison of LOP's
authors (ICML 2025). Classifiers only: values have no majority.
"""

import numpy as np
from numpy.typing import NDArray
from protocol_problem import Problem

from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

ROWS_AT_ONCE = 1024


def compress(problem: Problem) -> Forest:
    """The shortest prefix of the order that keeps the tolerance on the validation rows; else the teacher."""
    forest = problem.forest
    ranked = order(forest, problem.train)
    for n_trees in range(1, len(ranked)):
        small = keep_trees(forest, np.sort(ranked[:n_trees]))
        if problem.keeps(small):
            return small
    return forest


def order(forest: Forest, data: Data) -> NDArray[np.intp]:
    """The trees by falling contribution, shape (n_trees,)."""
    if not forest.is_classifier:
        raise ValueError(
            "individual contribution ordering ranks votes for classes; the model is a regression model"
        )
    y = np.asarray(data.y)
    if forest.n_outputs == 1 or forest.values.shape[1] > 1:
        contribution = contributions(forest, data.X, y, len(forest.classes))  # type: ignore[arg-type]
        return np.argsort(-contribution, kind="stable")
    rank = np.empty(forest.n_trees)
    for k in range(forest.n_outputs):
        trees = np.flatnonzero(forest.tree_output == k)
        found = contributions(forest.take(trees), data.X, (y == k).astype(np.intp), 2)
        rank[trees[np.argsort(-found, kind="stable")]] = np.arange(len(trees))
    return np.argsort(rank, kind="stable")


def contributions(
    forest: Forest, X: NDArray[np.floating], y: NDArray[np.intp], n_classes: int
) -> NDArray[np.float64]:
    """What the votes of each tree add, summed over rows, shape (n_trees,)."""
    total = np.zeros(forest.n_trees)
    for first in range(0, len(X), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        total += contributions_of_votes(_votes(forest, X[rows]), y[rows], n_classes)
    return total


def contributions_of_votes(
    votes: NDArray[np.intp], y: NDArray[np.intp], n_classes: int
) -> NDArray[np.float64]:
    """The measure of each voter.

    Parameters
    ----------
    votes : ndarray of shape (n_rows, n_trees)
        The class that each tree votes for.
    y : ndarray of shape (n_rows,)
        The classes.
    n_classes : int
        How many there are.
    """
    count = (votes[:, :, None] == np.arange(n_classes)).sum(axis=1)
    second, most = np.sort(count, axis=1)[:, -2:].T[:, :, None]
    own = np.take_along_axis(count, votes, axis=1)
    right_one = np.take_along_axis(count, y[:, None], axis=1)
    is_right, is_majority = votes == y[:, None], own == most
    of_right = np.where(is_majority, second, 2 * most - own)
    each = np.where(is_right, of_right, right_one - own - most)
    return np.asarray(each.sum(axis=0), np.float64)


def _votes(forest: Forest, X: NDArray[np.floating]) -> NDArray[np.intp]:
    values = forest.values[forest.nodes.leaf[forest.find_leaves(X)]]
    return (values[:, :, 0] > 0).astype(np.intp) if values.shape[2] == 1 else values.argmax(axis=2)
