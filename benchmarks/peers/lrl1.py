"""Joint leaf refinement and pruning: gradient steps on all leaves and on a weight for each tree, which an L1 penalty sends to zero.

Adam over batches of rows moves leaves and weights; after each step the weights are shrunk by the penalty times the rate of the steps
(a proximal step). Trees of weight zero go.

Source: Buschjaeger and Morik, "Joint leaf-refinement and ensemble pruning through L1 regularization", Data Mining and Knowledge
Discovery 37, 2023, section 4 (objective and algorithm) and its experiments (penalties from 0.01 to 1); Kingma and Ba, "Adam", ICLR
2015, Algorithm 1. Fifty passes are those of the comparison of LOP's authors (ICML 2025). Batches are of 256 rows: with the 1,024 that random
forests of large sets were refined by, a set of a few thousand rows ends before a weight has come down to zero. The loss is the cross-entropy of the
summed scores, or squares: a weight of 1 is the teacher itself, so that boosters are refined from where they are.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol_problem import Problem

from ensemble_compress.algorithms.levels import fold_constants
from ensemble_compress.forest import Forest
from peers.leaf_columns import additive, leaf_numbers

PENALTIES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
N_EPOCHS, BATCH, RATE = 50, 256, 1e-2


@dataclass(eq=False)
class Adam:
    """Steps of one array of parameters, in place."""

    value: NDArray[np.float64]
    mean: NDArray[np.float64] = field(init=False)
    square: NDArray[np.float64] = field(init=False)
    n_steps: int = 0

    def __post_init__(self) -> None:
        self.mean, self.square = np.zeros_like(self.value), np.zeros_like(self.value)

    def step(self, gradient: NDArray[np.float64], rate: float = RATE) -> None:
        """One step down the gradient."""
        self.n_steps += 1
        self.mean += 0.1 * (gradient - self.mean)
        self.square += 0.001 * (gradient**2 - self.square)
        mean, square = self.mean / (1 - 0.9**self.n_steps), self.square / (1 - 0.999**self.n_steps)
        self.value -= rate * mean / (np.sqrt(square) + 1e-8)


def compress(problem: Problem) -> Forest:
    """Of all penalties the forest with the fewest leaves that keeps the tolerance on the validation rows; else the teacher."""
    start = additive(problem.forest)
    if not start.n_trees:
        return start
    numbers = leaf_numbers(start, problem.train.X)
    found = (refine(problem, start, numbers, penalty) for penalty in PENALTIES)
    return min(filter(problem.keeps, found), key=lambda forest: forest.n_leaves, default=problem.forest)


def refine(problem: Problem, start: Forest, numbers: NDArray[np.int32], penalty: float) -> Forest:
    """The forest under one penalty.

    Parameters
    ----------
    problem : Problem
        Its training rows are fitted.
    start : Forest
        From `additive`.
    numbers : ndarray of shape (n_rows, n_trees)
        From `leaf_numbers`.
    penalty : float
        Of the weights' absolute values, beside the mean loss.
    """
    random = np.random.default_rng(problem.random_state)
    leaves = Adam(start.values[start.nodes.leaf[start.is_leaf]].astype(np.float64))
    weight, bias = Adam(np.ones(start.n_trees)), Adam(start.bias.astype(np.float64))
    wanted = _wanted(start, np.asarray(problem.train.y))
    for _ in range(N_EPOCHS):
        order = random.permutation(len(wanted))
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            each = leaves.value[numbers[rows]]
            slope = _slope(start, np.einsum("itk,t->ik", each, weight.value) + bias.value, wanted[rows])
            of_leaves = _sum_by_leaf(numbers[rows], slope, weight.value, len(leaves.value))
            weight.step(np.einsum("itk,ik->t", each, slope))
            leaves.step(of_leaves)
            bias.step(slope.sum(axis=0))
            weight.value = np.sign(weight.value) * np.maximum(np.abs(weight.value) - penalty * RATE, 0.0)
    return _finish(start, leaves.value, weight.value, bias.value)


def _wanted(forest: Forest, y: NDArray[Any]) -> NDArray[np.float64]:
    """What the outputs should say, shape (n_rows, n_outputs)."""
    if forest.is_classifier and forest.n_outputs > 1:
        return (y[:, None] == np.arange(forest.n_outputs)).astype(np.float64)
    return y.astype(np.float64)[:, None]


def _slope(forest: Forest, margin: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of the mean loss by the margins."""
    return np.asarray((forest.linked(margin) - wanted) / len(margin))


def _sum_by_leaf(
    numbers: NDArray[np.int32], slope: NDArray[np.float64], weight: NDArray[np.float64], n_leaves: int
) -> NDArray[np.float64]:
    """The gradient by the leaves' values, shape (n_leaves, n_outputs)."""
    leaf = numbers.ravel()
    columns = [np.bincount(leaf, np.outer(s, weight).ravel(), minlength=n_leaves) for s in slope.T]
    return np.stack(columns, axis=1)


def _finish(
    start: Forest, leaves: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> Forest:
    of_leaf = np.repeat(weight, np.diff(np.append(0, np.cumsum(start.is_leaf))[start.tree_start]))
    weighed = start.with_values(leaves * of_leaf[:, None], bias)
    return fold_constants(weighed.take(weight != 0))
