"""Global refinement: all leaves are fitted anew together by a support vector machine, leaves that became alike are merged.

Each leaf is an indicator column and a linear support vector machine (of regression, for values) gives it a number for each class.
Then the tenth of the pairs of sibling leaves whose numbers lie closest is merged, all is fitted again, and so on until
the tolerance is exceeded.

Source: Ren, Cao, Wei and Sun, "Global Refinement of Random Forest", CVPR 2015, sections 3 (refinement) and 4 (pruning). Hinge
loss, the grid of C from 1e-5 to 1 and a tenth of the pairs each time are those of the comparison of LOP's authors (ICML 2025). The C
that served last is tried first, the others only where it fails: all of them each time would take six times as long.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol_problem import Problem
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC, LinearSVR

from ensemble_compress.algorithms.levels import fold_constants
from ensemble_compress.forest import Forest
from peers.leaf_columns import additive, leaf_columns

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SHARE = 0.1
"""Of the pairs of sibling leaves, merged each time."""

MAX_ITERATIONS = 500


def compress(problem: Problem) -> Forest:
    """The last refined forest that keeps the tolerance on the validation rows; else the teacher."""
    start = additive(problem.forest)
    C = max(GRID, key=lambda C: problem.score(refine(problem, start, C)))
    fit, best = refine(problem, start, C), problem.forest
    while problem.keeps(fit):
        best, smaller = fit, merge_siblings(fit)
        if smaller.n_leaves >= fit.n_leaves:
            break
        fit, C = _refine_again(problem, smaller, C)
    return best


def _refine_again(problem: Problem, forest: Forest, last: float) -> tuple[Forest, float]:
    """(the refined forest, its C): the first that keeps the tolerance, the nearest to the last C first; else one that does not."""
    found = (forest, last)
    for C in sorted(GRID, key=lambda C: abs(np.log(C / last))):
        found = refine(problem, forest, C), C
        if problem.keeps(found[0]):
            break
    return found


def refine(problem: Problem, forest: Forest, C: float) -> Forest:
    """The same trees with the numbers that the support vector machine gives to their leaves."""
    if not forest.n_trees:
        return forest
    columns = leaf_columns(forest, problem.train.X)
    weights, bias = _solve(
        columns, np.asarray(problem.train.y), C, forest.is_classifier, problem.random_state
    )
    return forest.with_values(weights.T, bias)


def _solve(
    columns: csr_array, y: NDArray[Any], C: float, is_classifier: bool, random_state: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(numbers of shape (n_outputs, n_leaves), bias)."""
    options: dict[str, Any] = {"C": C, "dual": True, "max_iter": MAX_ITERATIONS, "random_state": random_state}
    machine = LinearSVC(loss="hinge", **options) if is_classifier else LinearSVR(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(columns, y)
    return np.atleast_2d(machine.coef_), np.atleast_1d(machine.intercept_)


def merge_siblings(forest: Forest) -> Forest:
    """The forest without the tenth of the pairs of sibling leaves that are most alike, at least one pair."""
    nodes, is_leaf = forest.nodes, forest.is_leaf
    split = np.flatnonzero(~is_leaf)
    pair = split[is_leaf[split + 1] & is_leaf[nodes.right[split]]]
    left, right = forest.values[nodes.leaf[pair + 1]], forest.values[nodes.leaf[nodes.right[pair]]]
    apart = np.linalg.norm(left - right, axis=1)
    nearest = np.argsort(apart, kind="stable")[: max(1, round(SHARE * len(pair)))]
    merged = forest.replace_subtrees(pair[nearest], (left[nearest] + right[nearest]) / 2)
    return fold_constants(merged)
