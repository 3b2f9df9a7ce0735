"""What the members of an ensemble answer one by one, for the criteria that weigh them against each other.

A member is what the ensemble would have grown at once: a tree, or a round of boosting where each output has trees of its own.
A member votes for a class. In an average, and where each tree votes with a weight (AdaBoost), the vote is that of its leaf. The
trees of a booster only correct the sum before them: theirs is the class that they raise most above their mean over the rows.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import targets, taught
from ensemble_compress.algorithms.lessons import rows_that_fit
from ensemble_compress.algorithms.levels import unit_of
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

ROWS_AT_ONCE = 1024
SEED_OF_ROWS = 0

ROUNDING = 1e-12
"""What differs by less, relative to the largest, is the same number, summed in another order."""


class Leaves(NamedTuple):
    """Where each row ends in each tree, the trees in the order of the members, as kernels take it.

    Attributes
    ----------
    start : ndarray of shape (n_members + 1,) int64
        Member m has the trees from `start[m]` to `start[m + 1]`.
    leaf : ndarray of shape (n_trees, n_rows) int32
        Rows of `values`.
    output : ndarray of shape (n_trees,) int32
        The margin's column that a tree of one value adds to.
    values : ndarray of shape (n_values, width) float64
    """

    start: NDArray[np.int64]
    leaf: NDArray[np.int32]
    output: NDArray[np.int32]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Members:
    """The members of a forest over rows of positive weight.

    Attributes
    ----------
    forest : Forest
        Whose members they are.
    leaves : Leaves
        Where each row ends.
    wanted : ndarray of shape (n_outputs, n_rows) float64
        What the forest should answer.
    codes : ndarray of shape (n_rows,) int64
        The class that it should answer; zeros for a regression model.
    weight : ndarray of shape (n_rows,) float64
        Weights of the rows.
    """

    forest: Forest
    leaves: Leaves
    wanted: NDArray[np.float64]
    codes: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, forest: Forest, data: Data, mix: float) -> "Members":
        """The members of a forest of any kind, judged by labels (mix 0), the teacher's answers (1) or a mixture.

        Rows are left out by a fixed seed where the table of leaves would grow too large.
        """
        data = data if data.weight is None else data.take(data.weight > 0)
        plain = replace(forest, link="identity", link_scale=1.0)
        is_taught = data.y is None or mix > 0
        wanted = targets(plain, taught(forest, data) if is_taught else data, mix)
        data, wanted = rows_that_fit(data, wanted, forest.n_trees, SEED_OF_ROWS)
        weight = np.ones(data.n_rows) if data.weight is None else data.weight
        return cls(forest, _leaves_of(forest, data.X), wanted, _codes(forest, wanted, data.y), weight)

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.leaves.start) - 1

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.weight)

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 of a regression model."""
        return 0 if self.forest.classes is None else len(self.forest.classes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of trees of each member, shape (n_members,)."""
        return np.diff(self.leaves.start)

    @property
    def total(self) -> float:
        """The sum of the rows' weights."""
        return float(self.weight.sum())

    def adds(self, member: int, rows: slice = slice(None)) -> NDArray[np.float64]:
        """What a member adds to the sum of the leaves, shape (n_rows, n_outputs)."""
        start, leaf, output, values = self.leaves
        out = np.zeros((len(self.weight[rows]), self.forest.n_outputs))
        for t in range(start[member], start[member + 1]):
            if values.shape[1] == self.forest.n_outputs:
                out += values[leaf[t, rows]]
            else:
                out[:, output[t]] += values[leaf[t, rows], 0]
        return out

    def bias_of(self, n_trees: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """The bias under a sum of so many trees: an average keeps its share of it, shape (..., n_outputs)."""
        share = np.asarray(n_trees) / self.forest.n_trees if self.is_average else np.ones(np.shape(n_trees))
        return share[..., None] * self.forest.bias.astype(np.float64)

    def divisor_of(self, n_trees: int) -> float:
        """What the sum of so many trees is divided by."""
        return self.forest.divisor * (n_trees / self.forest.n_trees if self.is_average else 1.0)

    @property
    def is_average(self) -> bool:
        """Whether trees that go take their share of the divisor and of the bias with them."""
        return self.forest.divisor > 1

    @cached_property
    def votes(self) -> NDArray[np.int16]:
        """The class that each member votes for, shape (n_members, n_rows)."""
        out = np.empty((self.n_members, self.n_rows), np.int16)
        for m in range(self.n_members):
            out[m] = self._vote(self.adds(m) / unit_of(self.forest))
        return out

    def _vote(self, adds: NDArray[np.float64]) -> NDArray[np.intp]:
        forest = self.forest
        if forest.n_outputs > 1 and (self.is_average or forest.link in ("identity", "samme")):
            return forest.decide(adds)
        if self.is_average:
            return forest.decide(adds + forest.bias / forest.n_trees / unit_of(forest))
        above = adds - (self.weight / self.total) @ adds
        above[np.abs(above) <= ROUNDING * np.abs(adds).max(initial=0.0)] = 0.0
        return forest.decide(above)


def members_of(forest: Forest) -> NDArray[np.int64]:
    """The member that each tree belongs to, shape (n_trees,): the tree itself, or its place among the trees of its output.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    if forest.values.shape[1] == forest.n_outputs:
        return np.arange(forest.n_trees)
    rank = np.zeros(forest.n_trees, np.int64)
    for k in range(forest.n_outputs):
        of_output = forest.tree_output == k
        rank[of_output] = np.arange(of_output.sum())
    return rank


def trees_in_order(forest: Forest, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """The trees of the members in this order, those of a member in the forest's own.

    Parameters
    ----------
    forest : Forest
        Any forest.
    order : ndarray of shape (n_members,) int
        Its members.
    """
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return np.argsort(place[members_of(forest)], kind="stable")


def _leaves_of(forest: Forest, X: NDArray[Any]) -> Leaves:
    member = members_of(forest)
    trees = np.argsort(member, kind="stable")
    leaf = np.empty((forest.n_trees, len(X)), np.int32)
    for first in range(0, len(X), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        leaf[:, rows] = forest.nodes.leaf[forest.find_leaves(X[rows])].T[trees]
    start = np.append(0, np.cumsum(np.bincount(member)))
    return Leaves(start, leaf, forest.tree_output[trees], forest.values.astype(np.float64))


def _codes(forest: Forest, wanted: NDArray[np.float64], y: NDArray[Any] | None) -> NDArray[np.int64]:
    """The class of the largest share in what is wanted, the label's among equals."""
    n_rows = wanted.shape[1]
    if forest.classes is None:
        return np.zeros(n_rows, np.int64)
    shares = np.vstack([1 - wanted, wanted]) if len(forest.classes) == 2 and len(wanted) == 1 else wanted
    codes = np.asarray(shares.argmax(axis=0), np.int64)
    if y is None:
        return codes
    labels = np.asarray(y).astype(np.int64)
    is_largest = shares[labels, np.arange(n_rows)] >= shares.max(axis=0) - ROUNDING
    return np.asarray(np.where(is_largest, labels, codes))
