"""Collapse the pair of sibling leaves that costs least, refit all leaves, repeat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LeafFit, to_additive
from ensemble_compress.algorithms.lessons import lessons, rows_that_fit
from ensemble_compress.algorithms.parameters import check_range, check_seed, count_of, rows_of
from ensemble_compress.data import Data
from ensemble_compress.engines import kernel
from ensemble_compress.forest import Forest


@dataclass(frozen=True)
class PruneNodes:
    """Prune nodes by what they are worth: collapse the cheapest sibling leaves, refit all leaves jointly, repeat.

    To second order, collapsing leaves a and b at the fitted optimum raises the loss by
    `0.5 * Ha * Hb / (Ha + Hb) * (va - vb)**2`, H being the curvature of the loss along a leaf's value. Trees that come
    down to one leaf are dropped. An averaging classifier turns into a sum of log-odds.

    Parameters
    ----------
    max_leaves : int or float
        Leaves to keep: a number, or a share of what there is.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    penalty : float
        Ridge penalty on a leaf's value, in rows: by squares a leaf with this many rows is shrunk to half, by the other
        losses further.
    fraction : float
        Share of the leaves that goes between two refits; more goes at once while there are many leaves for each row.
    n_sweeps : int
        Passes of the refit after each collapse.
    n_transfer : float
        Synthetic rows, labelled by the teacher, for each given one (see `transfer_rows`); none beyond 20,000 rows.
    random_state : int
        Seed of the synthetic rows, and of the choice of rows where there are too many.

    Notes
    -----
    Guarantee: none. Cost: O(n_trees * n_rows * width) for each sweep, synthetic rows included. Answers of the teacher
    for rows that it was not trained on (out-of-bag or cross-fitted, in `Data.teacher`) make a better student than answers
    that it knows by heart.

    References
    ----------
    Ren, Cao, Wei, Sun, "Global Refinement of Random Forest", CVPR 2015, sections 3 and 4 (joint refit and merging of
    sibling leaves); Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NeurIPS
    1992, section 2 (the second-order cost).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(30, random_state=0).fit(X, y))
    >>> data = ec.Data(forest.rows(X), y)
    >>> ec.algorithms.PruneNodes(max_leaves=40)(forest, data).n_leaves <= 40
    True
    """

    max_leaves: int | float = 0.1
    mix: float = 0.7
    penalty: float = 2.0
    fraction: float = 0.1
    n_sweeps: int = 4
    n_transfer: float = 10.0
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_leaves"

    def __post_init__(self) -> None:
        count_of(self, "max_leaves", 1)
        check_range(self, "mix", 0, 1)
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "fraction", 0, 1, open_low=True)
        check_range(self, "n_sweeps", 1, 1000, whole=True)
        check_range(self, "n_transfer", 0, 1000)
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
        """Yield a forest for each number of leaves in `sizes`, which falls; one pass serves all.

        Parameters
        ----------
        forest : Forest
            Where the path begins.
        data : Data
            Rows, and labels or the teacher's answers.
        sizes : sequence of int
            Numbers of leaves, falling; those that `forest` does not exceed are skipped.
        """
        additive = to_additive(forest)
        data, target = lessons(forest, additive, data, self.mix, self.n_transfer, self.random_state)
        data, target = rows_that_fit(data, target, forest.n_trees, self.random_state)
        pruning = _Pruning(additive, data, target, self.penalty)
        if additive.link != forest.link:
            pruning.fit.stretch()
        for size in sizes:
            if size < forest.n_leaves:
                self._prune(pruning, size, data.n_rows)
                yield pruning.current()

    def _prune(self, pruning: "_Pruning", size: int, n_rows: int) -> None:
        """Collapse and refit until no more than `size` leaves are left."""
        while pruning.n_leaves > size:
            n_leaves = pruning.n_leaves
            fraction = 0.5 if n_leaves > 4 * n_rows else 0.3 if n_leaves > n_rows / 4 else 0.0
            wanted = max(1, int(max(fraction, self.fraction) * n_leaves))
            pruning.collapse(min(n_leaves - size, wanted))
            # Without synthetic rows a refit with more leaves than rows would learn the rows by heart.
            if self.n_transfer or pruning.n_leaves <= n_rows:
                pruning.fit.sweep(self.n_sweeps)


class _Pruning:
    """A forest while its leaves are collapsed and refitted: the structure as node flags, the values as a `LeafFit`."""

    def __init__(self, forest: Forest, data: Data, target: NDArray[np.float64], penalty: float) -> None:
        self.forest = forest
        self.fit = LeafFit.of(forest, data, target, penalty)
        self.is_leaf = forest.is_leaf.copy()
        self.node_of_leaf = np.flatnonzero(self.is_leaf)
        self.splits = np.flatnonzero(~self.is_leaf)
        self.trees = np.arange(forest.n_trees)
        self._drop_constant_trees()

    @property
    def n_leaves(self) -> int:
        return len(self.node_of_leaf)

    def collapse(self, n_leaves: int) -> None:
        """Save `n_leaves` leaves, as far as there are pairs: merge those siblings that raise the loss least for each.

        With the last pair of a tree the tree goes, so that one leaf more may be saved.
        """
        node, left, right, cost, merged = self._pairs()
        saved = np.where(np.isin(node, self.forest.tree_start[self.trees]), 2, 1)
        order = np.argsort(cost / saved, kind="stable")
        n_pairs = int(np.searchsorted(np.cumsum(saved[order]), n_leaves)) + 1
        cheapest = order[:n_pairs]
        self.is_leaf[node[cheapest]] = True
        value = self.fit.value
        value[left[cheapest]] = merged[cheapest]
        keep = np.ones(self.n_leaves, bool)
        keep[right[cheapest]] = False
        number = (np.cumsum(keep) - 1).astype(np.int32)
        number[right[cheapest]] = number[left[cheapest]]
        self.node_of_leaf[left[cheapest]] = node[cheapest]
        self.node_of_leaf, self.fit.value = self.node_of_leaf[keep], value[keep]
        self.fit.start = np.append(np.cumsum(keep) - keep, keep.sum())[self.fit.start].astype(np.int32)
        _renumber(self.fit.leaf, number)
        self.splits = self.splits[~self.is_leaf[self.splits]]
        self._drop_constant_trees()

    def _pairs(self) -> tuple[NDArray[Any], ...]:
        """(split, left leaf, right leaf, cost, merged value) of all splits whose children are both leaves now.

        To second order, merging leaves a and b at the fitted optimum raises the loss by
        `0.5 * Ha * Hb / (Ha + Hb) * (va - vb)**2`, summed over outputs, H being the curvature along a leaf value.
        """
        number = np.full(self.forest.n_nodes, -1, np.int64)
        number[self.node_of_leaf] = np.arange(self.n_leaves)
        left, right = number[self.splits + 1], number[self.forest.nodes.right[self.splits]]
        is_pair = (left >= 0) & (right >= 0) & self.is_leaf[self.splits + 1]
        node, left, right = self.splits[is_pair], left[is_pair], right[is_pair]
        _, curvature = self.fit.linearise(self.fit.margin())
        weight = self.fit.curvature_of_leaves(curvature) + 1e-9
        a, b = weight[left], weight[right]
        va, vb = self.fit.value[left], self.fit.value[right]
        cost = (0.5 * a * b / (a + b) * np.square(va - vb)).sum(axis=1)
        return node, left, right, cost, (a * va + b * vb) / (a + b)

    def _drop_constant_trees(self) -> None:
        """Move trees of one leaf into the bias."""
        n_leaves = np.diff(self.fit.start)
        stays = n_leaves > 1
        if stays.all():
            return
        for t in np.flatnonzero(~stays):
            value, output = self.fit.value[self.fit.start[t]], self.fit.output[t]
            if output < 0:
                self.fit.bias += value
            else:
                self.fit.bias[output] += value[0]
        keep = np.repeat(stays, n_leaves)
        number = (np.cumsum(keep) - 1).astype(np.int32)
        self.fit.leaf = self.fit.leaf[stays]
        _renumber(self.fit.leaf, number)
        self.fit.output, self.trees = self.fit.output[stays], self.trees[stays]
        self.fit.start = np.append(0, np.cumsum(n_leaves[stays])).astype(np.int32)
        self.fit.value, self.node_of_leaf = self.fit.value[keep], self.node_of_leaf[keep]

    def current(self) -> Forest:
        """The forest as it is now."""
        forest = self.forest.take(self.trees)
        tree_of_leaf = np.repeat(np.arange(len(self.trees)), np.diff(self.fit.start))
        shift = (self.forest.tree_start[:-1][self.trees] - forest.tree_start[:-1])[tree_of_leaf]
        node = self.node_of_leaf - shift
        is_new = ~forest.is_leaf[node]
        forest = forest.replace_subtrees(node[is_new], self.fit.value[is_new])
        return forest.with_values(self.fit.value, self.fit.bias)


@kernel
def _renumber(leaf: NDArray[np.int32], number: NDArray[np.int32]) -> None:
    for t in range(leaf.shape[0]):
        for i in range(leaf.shape[1]):
            leaf[t, i] = number[leaf[t, i]]
