"""A small forest grown on the teacher's answers, with the teacher's own tests, all leaves refitted as it grows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import sizes as bytes_of
from ensemble_compress.algorithms.grid import MISSING, Grid
from ensemble_compress.algorithms.growth import Rules, Tree, grow_tree
from ensemble_compress.algorithms.leaf_fit import LARGEST_STEP, SQUARED, LeafFit, to_additive
from ensemble_compress.algorithms.lessons import lessons, rows_that_fit
from ensemble_compress.algorithms.parameters import check_range, check_seed, count_of, rows_of
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

LEAVES_OF_A_TREE = 12
"""Leaves of a tree as they come out on the average: tells how many trees a student of so many leaves will have."""

MOST_ROWS = 120_000
"""A student is grown on no more rows than this."""

LEAST_ROWS = 5
"""A leaf's least weight by squares; by the other losses its least curvature is 1, which is as many rows or more."""

SETTLING_SWEEPS = 3
"""Passes of the refit over a forest that is done."""

DEFAULT_SHARE = 0.1
"""Leaves of the student as a share of the teacher's, where nothing else is said."""

BYTES_RATIO = 0.93
"""Each size that is tried for a budget is this share of the one above it."""


@dataclass(frozen=True)
class DistillForest:
    """Grow a small boosted forest that answers as the teacher does, with no other tests than the teacher's.

    Trees are added one after the other on the second-order residuals of what is taught, each grown best split first and
    stopped where its splits stop paying; all leaves of all trees are refitted together as the forest grows (fully
    corrective boosting), so that the few trees there are say all that they can. A test that some tree asks already is
    preferred to a new one, for it costs no bytes. An averaging classifier turns into a sum of log-odds.

    Parameters
    ----------
    max_leaves : int or float, optional
        Leaves of the student: a number, or a share of the teacher's. None is a share of 0.1, and no fewer than the
        teacher's where `max_bytes` is given.
    max_bytes : int, optional
        Bytes of the student's C tables (`ensemble_compress.sizes.c_bytes`): the largest student that fits is taken, of no
        more than `max_leaves` leaves; the smallest there is where none fits.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    penalty : float
        Ridge penalty on a leaf's value, in rows, as in `PruneNodes`.
    tree_leaves : int
        Leaves of the largest tree.
    worth : float
        A tree ends where no split gains this share of what its first one gained.
    rate : float
        Share of the Newton step that a new tree takes before the refit.
    reuse : float
        What the gain of a test that is new to the student is multiplied by.
    n_transfer : float
        Synthetic rows, labelled by the teacher, for each given one (see `transfer_rows`).
    enough : int
        Rows beyond which no synthetic ones are made up.
    random_state : int
        Seed of the synthetic rows, and of the choice of rows where there are too many.

    Notes
    -----
    Guarantee: none. Cost: O(n_rows * n_features * depth) a tree, and as much as a sweep of `RefitLeaves` each time that
    the forest has grown by a sixteenth. Answers of the teacher for rows that it was not trained on (`Data.teacher`) make a
    better student than answers that it knows by heart.

    References
    ----------
    Johnson and Zhang, "Learning nonlinear functions using regularized greedy forest", IEEE TPAMI 36(5), 2014, section 3
    (fully corrective growth); Bucila, Caruana and Niculescu-Mizil, "Model compression", KDD 2006 (soft labels and
    synthetic rows); Herrmann et al., "Boosted Trees on a Diet: Compact Models for Resource-Constrained Devices" (ToaD), ICLR
    2026 (reuse of thresholds is rewarded; there by a penalty on new ones, here by a factor on their gain).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(100, random_state=0).fit(X, y))
    >>> small = ec.algorithms.DistillForest(max_leaves=30)(forest, ec.Data(forest.rows(X), y))
    >>> small.n_leaves <= 30, bool((small.predict(X) == forest.predict(X)).mean() > 0.95)
    (True, True)
    """

    max_leaves: int | float | None = None
    max_bytes: int | None = None
    mix: float = 0.5
    penalty: float = 2.0
    tree_leaves: int = 32
    worth: float = 0.3
    rate: float = 0.5
    reuse: float = 0.5
    n_transfer: float = 10.0
    enough: int = 20_000
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_leaves"

    def __post_init__(self) -> None:
        if self.max_leaves is not None:
            count_of(self, "max_leaves", 1)
        if self.max_bytes is not None:
            check_range(self, "max_bytes", 1, 2**40, whole=True)
        check_range(self, "mix", 0, 1)
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "tree_leaves", 2, 4096, whole=True)
        check_range(self, "worth", 0, 1)
        check_range(self, "rate", 0, 1, open_low=True)
        check_range(self, "reuse", 0, 1, open_low=True)
        check_range(self, "n_transfer", 0, 1000)
        check_range(self, "enough", 0, 10**9, whole=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The student; the forest itself where it is no larger than allowed."""
        data, most = rows_of(self, forest, data), self._most_leaves(forest)
        fits = self.max_bytes is None or bytes_of.c_bytes(forest) <= self.max_bytes
        if fits and most >= forest.n_leaves:
            return forest
        if self.max_bytes is not None:
            return self._within_bytes(forest, data, self.max_bytes, most)
        return next(self.path(forest, data, [most]))

    def _most_leaves(self, forest: Forest) -> int:
        if self.max_leaves is not None:
            return count_of(self, "max_leaves", forest.n_leaves)
        share = DEFAULT_SHARE if self.max_bytes is None else 1.0
        return max(1, round(share * forest.n_leaves))

    def path(self, forest: Forest, data: Data, sizes: Sequence[int]) -> Iterator[Forest]:
        """Yield a student of at most as many leaves for each of the rising `sizes`; one growth serves all.

        Parameters
        ----------
        forest : Forest
            The teacher.
        data : Data
            Rows, and labels or the teacher's answers.
        sizes : sequence of int
            Numbers of leaves, rising. The path ends where no split gains anything any more.
        """
        growth = self._begin(forest, data, max(sizes))
        for size in sizes:
            is_done = not growth.grow(size)
            yield growth.current()
            if is_done:
                return

    def _begin(self, forest: Forest, data: Data, most: int) -> "_Growth":
        additive = to_additive(forest)
        data, target = lessons(
            forest, additive, data, self.mix, self.n_transfer, self.random_state, self.enough
        )
        n_trees = most // LEAVES_OF_A_TREE + additive.n_outputs
        data, target = rows_that_fit(data, target, n_trees, self.random_state, MOST_ROWS)
        return _Growth(self, additive, data, target)

    def _within_bytes(self, forest: Forest, data: Data, max_bytes: int, most: int) -> Forest:
        """The largest student whose tables fit; the smallest one where none does."""
        # A leaf takes a byte at the very least.
        sizes = [min(most, max_bytes)]
        while sizes[-1] > 1:
            sizes.append(min(sizes[-1] - 1, int(sizes[-1] * BYTES_RATIO)))
        students = self.path(forest, data, sizes[::-1])
        found = next(students)
        for student in students:
            if bytes_of.c_bytes(student) > max_bytes:
                break
            found = student
        return found


class _Growth:
    """A student while it grows: its trees, and the fit of all its leaves."""

    def __init__(
        self, options: DistillForest, additive: Forest, data: Data, target: NDArray[np.float64]
    ) -> None:
        self.options, self.additive, self.data = options, additive, data
        self.grid = Grid.of(additive)
        self.bins = self.grid.bins(additive, data.X)
        # Where no row tells, missing values go where the teacher sends them.
        self.never_missing = ~(self.bins == MISSING).any(axis=1)
        start = replace(additive.take([]), values=np.zeros((0, 1)), tree_output=np.zeros(0, np.int32))
        self.fit = LeafFit.of(start, data, target, options.penalty)
        self.fit.sweep(SETTLING_SWEEPS)
        least = LEAST_ROWS if self.fit.loss == SQUARED else 1.0
        self.rules = Rules(options.tree_leaves, options.penalty, least, options.worth, 0.0, options.reuse)
        self.is_used = np.zeros((len(self.grid.edges), MISSING), bool)
        self.trees: list[Tree] = []
        self.n_refitted = 0

    def grow(self, n_leaves: int) -> bool:
        """Add trees until there are `n_leaves` leaves; False where nothing is left to gain."""
        margin = self.fit.margin()
        while len(self.fit.value) + 2 <= n_leaves:
            gradient, curvature = self.fit.linearise(margin)
            states = [np.stack([gradient[k], curvature[k]], axis=1) for k in range(len(margin))]
            top_gain = max(self._add_tree(k, states[k], margin[k], n_leaves) for k in range(len(margin)))
            if top_gain <= 0.0:
                return False
            self.rules = self.rules._replace(top_gain=top_gain)
            if len(self.trees) >= self.n_refitted * 17 / 16:
                self.fit.sweep(1)
                margin, self.n_refitted = self.fit.margin(), len(self.trees)
        return True

    def _add_tree(
        self, k: int, state: NDArray[np.float64], margin: NDArray[np.float64], n_leaves: int
    ) -> float:
        """Grow a tree for output k, as far as leaves are left and it pays; `margin` goes with it. The gain of its first split."""
        most = min(self.options.tree_leaves, n_leaves - len(self.fit.value))
        if most < 2:
            return self.rules.top_gain
        scratch = np.empty((2 * most - 1, len(self.bins), MISSING + 1, 2))
        tree = Tree(*grow_tree(self.bins, self.grid.n_edges, state, self.rules, self.is_used, scratch))
        if len(tree.column) == 1:
            return tree.gain
        step = tree.step * self.options.rate
        step = step if self.fit.loss == SQUARED else np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        margin += step[tree.leaf]
        self.fit.append(tree.leaf, step, k)
        self.trees.append(tree._replace(leaf=tree.leaf[:0]))
        return tree.gain

    def current(self) -> Forest:
        """The student as it is now, its leaves settled."""
        self.fit.sweep(SETTLING_SWEEPS)
        if not self.trees:
            return replace(self.additive.take([]), bias=self.fit.bias)
        lengths = [len(tree.column) for tree in self.trees]
        start = np.append(0, np.cumsum(lengths))
        column, edge, nan_left, right, cover = (
            np.concatenate([tree[k] for tree in self.trees]) for k in range(5)
        )
        is_leaf, shift = column < 0, np.repeat(start[:-1], lengths)
        category_set = np.where(is_leaf, -1, self.grid.category_set[column])
        nodes = Nodes(
            feature=np.where(is_leaf, -1, self.grid.feature[column]),
            threshold=np.where(is_leaf | (category_set >= 0), 0.0, self.grid.thresholds(column, edge)),
            right=np.where(is_leaf, -1, right + shift),
            nan_left=np.where(self.never_missing[column] & ~is_leaf, self.grid.nan_left[column], nan_left),
            category_set=category_set,
            leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1),
            cover=cover,
            node_id=np.arange(len(column)) - shift,
        )
        student = replace(
            self.additive,
            nodes=nodes,
            tree_start=start,
            tree_output=self.fit.output,
            values=self.fit.value,
            bias=self.fit.bias,
        )
        return student.take(np.arange(student.n_trees))
