"""Prune whole layers: each tree is cut at a depth of its own, and all depths are chosen together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.layers import Layers
from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, taught, to_additive
from ensemble_compress.algorithms.lessons import rows_that_fit
from ensemble_compress.algorithms.levels import Rates
from ensemble_compress.algorithms.parameters import (
    check_choice,
    check_range,
    check_seed,
    count_of,
    rows_of,
)
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

RATIO, MOST_STRENGTHS = 0.82, 150
"""Each penalty is this share of the one before it: a hundred of them span eight and a half decades."""

NODES = Rates(split=1.0, codes=0.0, leaf=1.0)
"""What layers cost where only the number of their nodes counts."""

N_SWEEPS, N_NEWTON = 10, 5
"""Passes of the refit of leaves, and steps of the fit of the trees' factors."""


@dataclass(frozen=True)
class PruneDepth:
    """ForestPrune: choose for each tree the depth at which it is cut, by block coordinate descent over the trees.

    A tree is the sum of its layers, each the step from a node's value to its child's; the layers that stay are the upper
    ones. For one tree, the others held fixed, the best depth is found by going down its layers once and keeping the
    running sum. A tree cut at depth 0 is a constant and goes into the bias. What a node would predict is
    the mean of its leaves by their cover. Leaves that no penalty asks for are given, a few steps long, to the trees
    that make the most of them.

    Parameters
    ----------
    max_leaves : int or float
        Leaves to keep: a number, or a share of what there is.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    weights : {"bytes", "nodes"}
        What a layer costs: the bytes of its nodes in the C tables, or their number, as in the paper.
    refit : {"leaves", "trees", "none"}
        What follows: a joint refit of all leaves, a factor for each tree by ridge regression, as in the paper, or nothing.
    penalty : float
        Ridge penalty of the refit, in rows; the paper takes 0.01 of the factors.
    n_restarts : int
        Local search: at each penalty so often some tree goes, and the descent from there is kept if it ends lower.
    random_state : int
        Seed of the trees that go, and of the choice of rows where there are too many.

    Notes
    -----
    Guarantee: none. The loss is that of the link; squares are exact, the others are taken to second order around the
    margins of each pass. Cost: O(n_trees * n_rows * width + n_leaves * depth) for each pass; a path takes some
    hundreds. An averaging classifier turns into a sum of log-odds.

    References
    ----------
    Liu and Mazumder, "ForestPrune: Compact Depth-Pruned Tree Ensembles", AISTATS 2023, sections 2 (layers and their
    weights) and 3 (block coordinate descent, local search, the path by warm starts, the factors in the end).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = ec.read(GradientBoostingRegressor(n_estimators=50, random_state=0).fit(X, y))
    >>> data = ec.Data(forest.rows(X), y)
    >>> ec.algorithms.PruneDepth(max_leaves=40)(forest, data).n_leaves <= 40
    True
    """

    max_leaves: int | float = 0.1
    mix: float = 0.5
    weights: Literal["bytes", "nodes"] = "bytes"
    refit: Literal["leaves", "trees", "none"] = "leaves"
    penalty: float = 2.0
    n_restarts: int = 0
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_leaves"

    def __post_init__(self) -> None:
        count_of(self, "max_leaves", 1)
        check_range(self, "mix", 0, 1)
        check_choice(self, "weights", ("bytes", "nodes"))
        check_choice(self, "refit", ("leaves", "trees", "none"))
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "n_restarts", 0, 1000, whole=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The forest of at most `max_leaves` leaves; unchanged if it has no more."""
        data = rows_of(self, forest, data)
        max_leaves = count_of(self, "max_leaves", forest.n_leaves)
        if max_leaves >= forest.n_leaves:
            return forest
        *_, smallest = self.path(forest, data, [max_leaves])
        return smallest

    def path(self, forest: Forest, data: Data, sizes: Sequence[int]) -> Iterator[Forest]:
        """Yield a forest for each number of leaves in `sizes`, which falls; one falling penalty serves all.

        Parameters
        ----------
        forest : Forest
            Where the path begins.
        data : Data
            Rows, and labels or the teacher's answers.
        sizes : sequence of int
            Numbers of leaves, falling; those that `forest` does not exceed are skipped.
        """
        sizes = [size for size in sizes if size < forest.n_leaves]
        if not sizes:
            return
        additive = to_additive(forest)
        target = targets(additive, taught(forest, data), self.mix)
        data, target = rows_that_fit(data, target, forest.n_trees, self.random_state)
        fit = LeafFit.of(additive, data, target, self.penalty)
        if additive.link != forest.link:
            fit.stretch()
        stretched = additive.with_values(fit.value, fit.bias)
        rates = Rates.of(stretched) if self.weights == "bytes" else NODES
        layers = Layers.of(stretched, fit, rates)
        found = list(self._depths(layers, sizes[0]))
        for size in sizes:
            # The last one that fits was found under the smallest penalty.
            depth = [depth for n_leaves, depth in found if n_leaves <= size][-1]
            yield self._finish(layers.cut(layers.fill(depth, size)), data, fit.target)

    def _depths(self, layers: Layers, most_leaves: int) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """(leaves, depth of each tree) under ever smaller penalties, until there are more leaves than wanted."""
        random = np.random.default_rng(self.random_state)
        depth = np.zeros(layers.forest.n_trees, np.int32)
        yield 0, depth
        strength = layers.first_strength(depth)
        for _ in range(MOST_STRENGTHS):
            depth = layers.descend(depth, strength)
            for _ in range(self.n_restarts):
                depth = layers.search(depth, strength, random)
            n_leaves = layers.n_leaves(depth)
            yield n_leaves, depth
            if n_leaves > most_leaves or strength == 0:
                return
            strength *= RATIO

    def _finish(self, small: Forest, data: Data, target: NDArray[np.float64]) -> Forest:
        fit = LeafFit.of(small, data, target, self.penalty)
        if self.refit == "leaves":
            fit.sweep(N_SWEEPS)
        elif self.refit == "trees":
            _weigh_trees(fit)
        return small.with_values(fit.value, fit.bias)


def _weigh_trees(fit: LeafFit) -> None:
    """Multiply each tree's leaves by a factor: ridge regression on what the trees say, by Newton's method."""
    factor, start = np.ones(len(fit.leaf)), fit.value
    of_leaf = np.repeat(np.arange(len(factor)), np.diff(fit.start))
    for _ in range(N_NEWTON):
        gradient, curvature = fit.linearise(fit.margin())
        gram, slope = fit.penalty * np.eye(len(factor)), -fit.penalty * factor
        for k in range(len(fit.bias)):
            mine = np.flatnonzero((fit.output < 0) | (fit.output == k))
            column = start[:, k if start.shape[1] > 1 else 0][fit.leaf[mine]]
            gram[np.ix_(mine, mine)] += column * curvature[k] @ column.T
            slope[mine] += column @ gradient[k]
        factor += np.linalg.lstsq(gram, slope)[0]
        fit.value = start * factor[of_leaf][:, None]
