"""Bags: which rows each tree of a forest was trained on, and what the trees say that did not see a row.

Such a forest need not be trained again to be judged: for every row there are trees to which it is new (Breiman,
"Out-of-bag estimation", technical report, Statistics Department, University of California at Berkeley, 1996).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel
from ensemble_compress.forest import Forest
from ensemble_compress.row_scores import Answers

TREES_AT_ONCE = 16
"""Trees whose answers are found together: the table of leaves holds as many columns."""


@dataclass(frozen=True, eq=False)
class Bags:
    """Which of some rows each tree of a forest has seen.

    Attributes
    ----------
    inside : ndarray of shape (n_trees, (n_rows + 7) // 8) uint8
        A bit for each row, set where the tree was trained on it: 25 MB for 300 trees and 700,000 rows.
    n_rows : int
        Number of rows.
    """

    inside: NDArray[np.uint8]
    n_rows: int

    @classmethod
    def of(cls, model: Any, n_rows: int) -> "Bags":
        """The bags of a trained forest, drawn again tree by tree.

        Parameters
        ----------
        model : estimator
            A forest of scikit-learn with `estimators_samples_`, trained with `bootstrap=True`.
        n_rows : int
            The rows that it was trained on.
        """
        packed = []
        for sample in _samples(model):
            is_inside = np.zeros(n_rows, bool)
            is_inside[sample] = True
            packed.append(np.packbits(is_inside))
        return cls(np.array(packed), n_rows)

    def take(self, rows: NDArray[np.intp]) -> "Bags":
        """The same for some of the rows."""
        packed = [np.packbits(_unpacked(bits, self.n_rows)[rows]) for bits in self.inside]
        return Bags(np.array(packed), len(rows))

    def take_trees(self, trees: NDArray[np.intp]) -> "Bags":
        """The same for some of the trees, in the order given."""
        return Bags(self.inside[trees], self.n_rows)

    def share_outside(self) -> float:
        """The share of rows that a tree has not seen, on the average."""
        n_inside = int(np.bitwise_count(self.inside).sum())
        return 1 - n_inside / (len(self.inside) * self.n_rows)

    def margin(self, forest: Forest, X: NDArray[Any]) -> NDArray[np.float64]:
        """The mean of the trees that did not see a row, shape (n_rows, n_outputs); NaN where each of them did.

        Parameters
        ----------
        forest : Forest
            An average of the trees that the bags are of, in their order.
        X : ndarray of shape (n_rows, n_features)
            The rows that the bags are of.
        """
        total, n_outside = np.zeros((self.n_rows, forest.n_outputs)), np.zeros(self.n_rows, np.int64)
        for first in range(0, forest.n_trees, TREES_AT_ONCE):
            trees = np.arange(first, min(forest.n_trees, first + TREES_AT_ONCE))
            part = forest.take(trees)
            _add_outside(
                self.inside[trees],
                part.find_leaves(X),
                part.nodes.leaf,
                part.tree_output,
                part.values,
                total,
                n_outside,
            )
        with np.errstate(invalid="ignore"):
            mean = total / n_outside[:, None]
        return np.asarray(mean + forest.bias.astype(np.float64) / forest.divisor)


def are_of(bags: Bags, model: Any, forest: Forest, X: NDArray[Any]) -> bool:
    """Whether the rows are those that the model was trained on, in their order: their bags fill the leaves of its first tree.

    Parameters
    ----------
    bags : Bags
        The bags of the model.
    model : estimator
        As in `Bags.of`.
    forest : Forest
        The same model as a forest.
    X : ndarray of shape (n_rows, n_features)
        Rows as the forest reads them.
    """
    tree = getattr(model.estimators_[0], "tree_", None)
    if tree is None:
        return False
    sample = next(_samples(model))
    leaf = forest.take([0]).find_leaves(X[sample])[:, 0]
    expected = np.sort(tree.n_node_samples[tree.children_left < 0])
    # A forest counts a row that was drawn twice as one, a bag of trees may count it twice.
    _, times = np.unique(leaf, return_counts=True)
    _, once = np.unique(leaf[np.unique(sample, return_index=True)[1]], return_counts=True)
    return any(np.array_equal(np.sort(found), expected) for found in (once, times))


def answers_outside(bags: Bags, forest: Forest, X: NDArray[Any]) -> Answers:
    """What the trees that are new to a row say about it; NaN where there are none.

    Parameters
    ----------
    bags : Bags
        Of the rows and the forest's trees.
    forest : Forest
        An average.
    X : ndarray of shape (n_rows, n_features)
        The rows.
    """
    margin = bags.margin(forest, X)
    told = Answers.from_margin(forest, margin)
    # A row without a margin has no answer; as a probability it would be an even one.
    is_unknown = np.isnan(margin).any(axis=1, keepdims=True)
    return replace(told, values=np.where(is_unknown, np.nan, told.values))


def answers_out_of_bag(bags: Bags, forest: Forest, X: NDArray[Any]) -> NDArray[np.float64]:
    """What to teach for rows that the forest was trained on; the forest's own answer where every tree has seen a row.

    Parameters
    ----------
    bags : Bags
        The bags of the rows.
    forest : Forest
        The forest that they are of.
    X : ndarray of shape (n_rows, n_features)
        The rows.
    """
    margin = bags.margin(forest, X)
    in_every_bag = np.flatnonzero(np.isnan(margin).any(axis=1))
    if len(in_every_bag):
        margin[in_every_bag] = forest.margin(X[in_every_bag])
    return forest.answers(margin)


def _samples(model: Any) -> Iterator[NDArray[Any]]:
    """The rows that each tree was trained on, drawn again a tree at a time where the model allows it."""
    part = copy.copy(model)
    part.estimators_ = model.estimators_[:1]
    if len(part.estimators_samples_) != 1:
        yield from model.estimators_samples_
        return
    for tree in model.estimators_:
        part.estimators_ = [tree]
        yield part.estimators_samples_[0]


def _unpacked(bits: NDArray[np.uint8], n_rows: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=n_rows).view(bool)


@kernel
def _add_outside(
    inside: NDArray[np.uint8],
    found: NDArray[np.int32],
    leaf: NDArray[np.int32],
    output: NDArray[np.int32],
    values: NDArray[Any],
    total: NDArray[np.float64],
    n_outside: NDArray[np.int64],
) -> None:
    """Add the leaves of the trees that did not see a row to its sums, and count those trees."""
    for i in range(found.shape[0]):
        for t in range(found.shape[1]):
            if (inside[t, i >> 3] >> np.uint8(7 - (i & 7))) & np.uint8(1):
                continue
            v = leaf[found[i, t]]
            n_outside[i] += 1
            if output[t] >= 0:
                total[i, output[t]] += values[v, 0]
            else:
                for k in range(values.shape[1]):
                    total[i, k] += values[v, k]


__all__ = ["Bags", "answers_out_of_bag", "answers_outside", "are_of"]
