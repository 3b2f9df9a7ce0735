"""The layers of a forest: what cutting each tree at each depth costs, and the depths that are best together.

The loss is taken around the margins of a pass, so that sums of gradients and curvatures over the rows of each leaf are all
that is needed: one pass over the rows tries every depth of a tree. Squares (and Poisson's loss) are a parabola; cross-entropy
grows like one for small steps and in proportion for long ones, and so does what stands for it here: at even
odds it is the loss itself.

Source: Liu and Mazumder, "ForestPrune: Compact Depth-Pruned Tree Ensembles", AISTATS 2023, section 3.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LOGISTIC, SOFTMAX, LeafFit
from ensemble_compress.algorithms.levels import Rates, fold_constants
from ensemble_compress.algorithms.simplify import collapse_equal_leaves
from ensemble_compress.engines import kernel
from ensemble_compress.forest import Forest

MOST_PASSES = 10
"""Passes over the trees at one penalty; with squares it stops by itself, with curvatures renewed it may go in circles."""


class Tables(NamedTuple):
    """The arrays of `Layers` and of its `LeafFit` under their names, and whether the loss is a cross-entropy."""

    is_entropy: bool
    leaf: NDArray[np.int32]
    start: NDArray[np.int32]
    output: NDArray[np.int32]
    path_start: NDArray[np.int64]
    path_node: NDArray[np.int32]
    value: NDArray[np.float64]
    cost_start: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layers:
    """A forest with what every node would predict, and what cutting each tree at each depth would cost.

    Attributes
    ----------
    forest : Forest
    fit : LeafFit
        The forest as it is.
    value : ndarray of shape (n_nodes, width)
        What a node predicts as a leaf.
    path_start, path_node : ndarray of int
        The nodes from the root down to each leaf, one leaf after another.
    cost_start : ndarray of shape (n_trees + 1,) int
        Where a tree's entries in the next two begin: one for the depths 0, 1, ..., its own.
    cost : ndarray of float64
        What the tree costs when it is cut there.
    leaves : ndarray of int
        How many leaves it has then; a constant has none.
    """

    forest: Forest
    fit: LeafFit
    value: NDArray[np.float64]
    path_start: NDArray[np.int64]
    path_node: NDArray[np.int32]
    cost_start: NDArray[np.int64]
    cost: NDArray[np.float64]
    leaves: NDArray[np.int64]

    @classmethod
    def of(cls, forest: Forest, fit: LeafFit, rates: Rates) -> "Layers":
        """The layers of an additive forest, a split and a leaf costing what `rates` says."""
        depth, is_leaf = forest.depth, forest.is_leaf
        path_start = np.append(0, np.cumsum(depth[is_leaf] + 1)).astype(np.int64)
        path_node = np.empty(path_start[-1], np.int32)
        _find_paths(forest.parent, np.flatnonzero(is_leaf), path_start, path_node)
        cost_start, splits, bytes_of_splits = _up_to_depths(forest, rates.of_splits(forest))
        # A tree of splits has one leaf more than splits; one without goes into the bias.
        leaves = splits + (splits > 0)
        cost = bytes_of_splits + rates.leaf * leaves
        return cls(forest, fit, _node_values(forest), path_start, path_node, cost_start, cost, leaves)

    def n_leaves(self, depth: NDArray[np.int32]) -> int:
        """Leaves of all trees when they are cut at these depths."""
        return int(self.leaves[self.cost_start[:-1] + depth].sum())

    def leaf_values(self, depth: NDArray[np.int32]) -> NDArray[np.float64]:
        """What each leaf of the whole forest would predict then, shape (n_leaves, width)."""
        of_leaf = np.repeat(depth, np.diff(self.fit.start))
        reached = np.minimum(of_leaf, np.diff(self.path_start) - 1)
        return np.asarray(self.value[self.path_node[self.path_start[:-1] + reached]])

    def linearise(self, depth: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(negative gradient, curvature) of the loss of the trees cut there."""
        return self.fit.linearise(replace(self.fit, value=self.leaf_values(depth)).margin())

    def objective(self, depth: NDArray[np.int32], strength: float) -> float:
        """The loss, summed over rows, and the penalty."""
        margin = replace(self.fit, value=self.leaf_values(depth)).margin()
        loss = self.fit.mean_loss(margin) * self.fit.weight.sum()
        return float(loss + strength * self.cost[self.cost_start[:-1] + depth].sum())

    def first_strength(self, depth: NDArray[np.int32]) -> float:
        """The penalty at which the first tree would grow from these depths; 0 where none would at any."""
        losses = np.zeros(len(self.cost))
        _find_losses(self.tables, depth, *self.linearise(depth), losses)
        costly = self.cost > 0
        strength = float((-losses[costly] / self.cost[costly]).max(initial=0.0))
        return strength if np.isfinite(strength) else 0.0

    def descend(self, depth: NDArray[np.int32], strength: float) -> NDArray[np.int32]:
        """The depths after passes over the trees, each given the best depth beside the others."""
        depth = depth.copy()
        for _ in range(MOST_PASSES):
            if not _choose_depths(self.tables, self.cost, strength, depth, *self.linearise(depth)):
                break
        return depth

    def search(
        self, depth: NDArray[np.int32], strength: float, random: np.random.Generator
    ) -> NDArray[np.int32]:
        """The depths that a descent finds without some tree, if they are better."""
        kept = np.flatnonzero(depth)
        if not len(kept):
            return depth
        other = depth.copy()
        other[random.choice(kept)] = 0
        other = self.descend(other, strength)
        return other if self.objective(other, strength) < self.objective(depth, strength) else depth

    def fill(self, depth: NDArray[np.int32], most_leaves: int) -> NDArray[np.int32]:
        """The depths after steps that each lower the loss most for what they cost, within a number of leaves."""
        depth = depth.copy()
        tree = np.repeat(np.arange(len(depth)), np.diff(self.cost_start))
        to = np.arange(len(tree)) - self.cost_start[tree]
        for _ in range(MOST_PASSES):
            losses, now = np.zeros(len(tree)), self.cost_start[tree] + depth[tree]
            _find_losses(self.tables, depth, *self.linearise(depth), losses)
            more, cost = self.leaves - self.leaves[now], self.cost - self.cost[now]
            fits = (to > depth[tree]) & (more <= most_leaves - self.n_leaves(depth)) & (losses < 0)
            if not fits.any():
                break
            gain = np.where(fits, -losses / np.maximum(cost, 1e-12), -np.inf)
            best = int(gain.argmax())
            depth[tree[best]] = to[best]
        return depth

    def cut(self, depth: NDArray[np.int32]) -> Forest:
        """The trees cut at these depths, constants in the bias."""
        at = np.flatnonzero((self.forest.depth == depth[self.forest.tree_of_node]) & ~self.forest.is_leaf)
        return fold_constants(collapse_equal_leaves(self.forest.replace_subtrees(at, self.value[at])))

    @property
    def tables(self) -> Tables:
        """What the kernels read."""
        fit = self.fit
        is_entropy = fit.loss in (LOGISTIC, SOFTMAX)
        return Tables(
            is_entropy, fit.leaf, fit.start, fit.output,
            self.path_start, self.path_node, self.value, self.cost_start,
        )  # fmt: skip


def _up_to_depths(
    forest: Forest, each: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(where each tree's depths begin, splits above each of them, the sum of `each` over those splits)."""
    tree, depth, split = forest.tree_of_node, forest.depth, ~forest.is_leaf
    deepest = np.zeros(forest.n_trees, np.int64)
    np.maximum.at(deepest, tree, depth)
    start = np.append(0, np.cumsum(deepest + 1))
    # A split counts from the depth below its own.
    at = (start[tree] + depth + 1)[split]
    sums = [np.bincount(at, weight, start[-1]).cumsum() for weight in (np.ones(len(at)), each[split])]
    n_splits, total = (s - np.repeat(s[start[:-1]], deepest + 1) for s in sums)
    return start, n_splits.round().astype(np.int64), np.maximum(total, 0.0)


def _node_values(forest: Forest) -> NDArray[np.float64]:
    """The mean of the leaves below each node by their cover, which counts 1 each in trees that don't tell."""
    cover = np.where(forest.is_leaf, forest.nodes.cover, 0.0)
    knows = np.zeros(forest.n_trees)
    np.add.at(knows, forest.tree_of_node, cover)
    cover = np.where(forest.is_leaf & (knows == 0)[forest.tree_of_node], 1.0, cover)
    value = forest.values[forest.nodes.leaf] * forest.is_leaf[:, None]
    _average_upwards(forest.parent, np.maximum(cover, 1e-12 * forest.is_leaf), value)
    return np.asarray(value, np.float64)


@kernel
def _find_paths(
    parent: NDArray[np.int32],
    leaf_node: NDArray[np.intp],
    path_start: NDArray[np.int64],
    path_node: NDArray[np.int32],
) -> None:
    for k in range(len(leaf_node)):
        j = leaf_node[k]
        for p in range(path_start[k + 1] - 1, path_start[k] - 1, -1):
            path_node[p] = j
            j = parent[j]


@kernel
def _average_upwards(
    parent: NDArray[np.int32], cover: NDArray[np.float64], value: NDArray[np.float64]
) -> None:
    """Children come after their parents, so each is whole when it is added to its parent's running mean."""
    for j in range(len(parent) - 1, -1, -1):
        above = parent[j]
        if above >= 0:
            cover[above] += cover[j]
            for w in range(value.shape[1]):
                value[above, w] += (value[j, w] - value[above, w]) * (cover[j] / cover[above])


@kernel
def _find_losses(
    tables: Tables,
    depth: NDArray[np.int32],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> None:
    """By how much the loss grows when one tree is cut at one depth, for all of them."""
    sums = np.empty((tables.start[-1], tables.value.shape[1], 2))
    for t in range(len(tables.leaf)):
        _sum_rows(tables, t, gradient, curvature, sums)
        _losses_of_tree(tables, t, depth[t], sums, losses[tables.cost_start[t] : tables.cost_start[t + 1]])


@kernel
def _choose_depths(
    tables: Tables,
    cost: NDArray[np.float64],
    strength: float,
    depth: NDArray[np.int32],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> bool:
    """One pass: give each tree the depth that is best beside the others', the gradient kept up to date."""
    sums = np.empty((tables.start[-1], tables.value.shape[1], 2))
    losses = np.zeros(len(cost))
    has_changed = False
    for t in range(len(tables.leaf)):
        first, stop = tables.cost_start[t], tables.cost_start[t + 1]
        each, costs = losses[first:stop], cost[first:stop]
        _sum_rows(tables, t, gradient, curvature, sums)
        _losses_of_tree(tables, t, depth[t], sums, each)
        best = depth[t]
        for d in range(len(each)):
            # What is better by rounding only is no reason to move.
            gain = each[best] + strength * costs[best] - each[d] - strength * costs[d]
            if gain > 1e-12 * (abs(each[best]) + strength * costs[best]):
                best = d
        if best != depth[t]:
            _move_tree(tables, t, depth[t], best, gradient, curvature)
            has_changed = True
            depth[t] = best
    return has_changed


@kernel
def _sum_rows(
    tables: Tables,
    t: int,
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """The gradients and curvatures of the rows in each leaf of a tree."""
    sums[tables.start[t] : tables.start[t + 1]] = 0.0
    for i in range(tables.leaf.shape[1]):
        of_leaf = sums[tables.leaf[t, i]]
        for w in range(len(of_leaf)):
            k = tables.output[t] if tables.output[t] >= 0 else w
            of_leaf[w, 0] += gradient[k, i]
            of_leaf[w, 1] += curvature[k, i]


@kernel
def _losses_of_tree(
    tables: Tables, t: int, depth: int, sums: NDArray[np.float64], losses: NDArray[np.float64]
) -> None:
    """By how much the loss grows at each depth: one way down each path, below its leaf as at the leaf."""
    losses[:] = 0.0
    for j in range(tables.start[t], tables.start[t + 1]):
        p, last = tables.path_start[j], tables.path_start[j + 1] - 1
        now = tables.value[tables.path_node[min(p + depth, last)]]
        loss = 0.0
        for d in range(len(losses)):
            if p + d <= last:
                node, loss = tables.path_node[p + d], 0.0
                for w in range(len(now)):
                    step = tables.value[node, w] - now[w]
                    loss += sums[j, w, 1] * _bend(step, tables.is_entropy) - sums[j, w, 0] * step
            losses[d] += loss


@kernel
def _move_tree(
    tables: Tables,
    t: int,
    depth: int,
    to: int,
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> None:
    """The gradient after a tree is cut at another depth."""
    for i in range(tables.leaf.shape[1]):
        j = tables.leaf[t, i]
        p, last = tables.path_start[j], tables.path_start[j + 1] - 1
        now, then = tables.path_node[min(p + depth, last)], tables.path_node[min(p + to, last)]
        for w in range(tables.value.shape[1]):
            k = tables.output[t] if tables.output[t] >= 0 else w
            step = tables.value[then, w] - tables.value[now, w]
            gradient[k, i] -= curvature[k, i] * (2 * np.tanh(0.5 * step) if tables.is_entropy else step)


@kernel
def _bend(step: float, is_entropy: bool) -> float:
    """How far the loss rises above its tangent for a curvature of 1: step**2 / 2, or 4 * log(cosh(step / 2))."""
    if not is_entropy:
        return 0.5 * step * step
    size = abs(step)
    growth: float = 4 * (0.5 * size + np.log1p(np.exp(-size)) - np.log(2.0))
    return growth
