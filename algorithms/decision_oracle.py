"""A search of the whole input space for a row where two forests of the same trees decide differently.

The space is a mixed-integer program: a binary variable for each boundary between two cells of a feature, a continuous one
for each leaf, and for each split the flow into its two sides bounded by the cells that go there. Minimising the lead of a
class over a rival, among the rows that the teacher gives to that class, finds the worst row or proves that there is none.

Source: Parmentier and Vidal, "Optimal counterfactual explanations in tree ensembles", ICML 2021, section 3 (flows through
the trees); Emine, Forel, Malek and Vidal, "Free lunch in the forest: functionally-identical pruning of boosted tree
ensembles", AAAI 2025, section 4 (the separation oracle).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from ensemble_compress.algorithms.cells import Cells, find_cells, rows_in
from ensemble_compress.algorithms.simplify import is_exact
from ensemble_compress.fixed_point import exact_exponent
from ensemble_compress.forest import Forest

TOLERANCE = 1e-5
"""What the solver may miss a constraint or a bound by, in units of the largest difference between two classes in a leaf:
ten times HiGHS's own tolerance."""

INFEASIBLE = 2

ANY_GAP = 1e6


@dataclass(frozen=True, eq=False)
class Scores:
    """A forest's sums as scores of its classes, in real numbers and before the divisor.

    Attributes
    ----------
    leaf : ndarray of shape (n_leaves, n_classes)
        What each leaf adds to each class.
    bias : ndarray of shape (n_classes,)
        What the sums start from.
    """

    leaf: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, forest: Forest) -> "Scores":
        """The scores of a classifier; where one output tells two classes, the first one's score is 0."""
        rows = forest.values[forest.nodes.leaf[forest.is_leaf]].astype(np.float64)
        bias = forest.bias.astype(np.float64)
        if rows.shape[1] == 1 and forest.n_outputs > 1:
            output = forest.tree_output[forest.tree_of_node[forest.is_leaf]]
            rows = rows * (output[:, None] == np.arange(forest.n_outputs))
        if forest.n_outputs == 1 and forest.classes is not None and len(forest.classes) == 2:
            rows, bias = np.hstack([np.zeros_like(rows), rows]), np.append(0.0, bias)
        return cls(rows, bias)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.bias)

    @property
    def scale(self) -> float:
        """The largest difference between two classes in a leaf, or 1."""
        return float(np.ptp(self.leaf, axis=1).max(initial=0.0)) or 1.0


class DecisionOracle:
    """The input space of a classifier as a mixed-integer program, built once.

    Parameters
    ----------
    forest : Forest
        The teacher.

    Attributes
    ----------
    cells : list of Cells
        The cells of each tested feature.
    slack : float
        The teacher's lead, as a share of `scores.scale`, below which either class may be its answer.
    """

    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self.cells: list[Cells] = find_cells(forest)
        self.scores = Scores.of(forest)
        self.slack, self.half_unit = _rounding(forest, self.scores)
        steps = [len(along.values) - 1 for along in self.cells]
        self._start = np.append(0, np.cumsum(steps)).astype(int)
        self._n_steps = int(self._start[-1])
        self._space = self._build_space()
        self._settled: list[NDArray[np.intp]] = []

    @property
    def n_variables(self) -> int:
        """Columns of the program."""
        return self._n_steps + self.forest.n_leaves

    @property
    def n_settled(self) -> int:
        """Combinations of leaves that are left out."""
        return len(self._settled)

    def leaves_of(self, rows: NDArray[Any]) -> NDArray[np.intp]:
        """The leaf of each row in each tree, counted through the leaves, shape (n_rows, n_trees)."""
        slot = np.cumsum(self.forest.is_leaf) - 1
        return np.asarray(slot[self.forest.find_leaves(rows)])

    def settle(self, rows: NDArray[Any]) -> None:
        """Leave out the combinations of leaves of these rows from now on: what is said there was compared directly."""
        self._settled += list(self.leaves_of(rows))

    def forget(self) -> None:
        """Let the search find all combinations of leaves again: there is another student."""
        self._settled = []

    def find_row(
        self, student: Scores, winner: int, rival: int, seconds: float
    ) -> tuple[NDArray[Any] | None, bool]:
        """(a row of class `winner` where the student's lead is at most `TOLERANCE`, whether it is proven that there is none).

        Parameters
        ----------
        student : Scores
            Scores of the same leaves.
        winner, rival : int
            Class codes; the lead is that of `winner` over `rival`, in units of `student.scale`.
        seconds : float
            When to give up.

        Returns
        -------
        row : ndarray of shape (1, n_features) or None
            None where there is none, or time was up before one was found.
        is_proven : bool
            Whether no row has such a lead, but settled ones.
        """
        lead = np.zeros(self.n_variables)
        lead[self._n_steps :] = (student.leaf[:, winner] - student.leaf[:, rival]) / student.scale
        offset = (student.bias[winner] - student.bias[rival]) / student.scale
        small_lead = LinearConstraint(csr_array(lead[None]), -np.inf, TOLERANCE - offset)
        found = milp(
            lead,
            integrality=np.arange(self.n_variables) < self._n_steps,
            bounds=Bounds(0, 1),
            constraints=[*self._space, *self._region(winner), *self._cuts(), small_lead],
            # The first row found will do.
            options={"time_limit": max(seconds, 0.01), "mip_rel_gap": ANY_GAP},
        )
        return None if found.x is None else self._row(found.x), found.status == INFEASIBLE

    def _row(self, solution: NDArray[np.float64]) -> NDArray[Any]:
        below = solution[: self._n_steps] < 0.5
        pairs = zip(self._start[:-1], self._start[1:], strict=True)
        chosen = np.array([[int(below[first:last].sum()) for first, last in pairs]], np.intp)
        return rows_in(self.forest, self.cells, chosen.reshape(1, len(self.cells)))

    # -- the program ------------------------------------------------------------------------------------------

    def _build_space(self) -> list[LinearConstraint]:
        """Steps rise along each feature, each tree has one leaf, and the leaves below a split are where the cells go."""
        entries = _Entries()
        for first, last in zip(self._start[:-1], self._start[1:], strict=True):
            for k in range(first, last - 1):
                entries.row([k, k + 1], [1.0, -1.0], 0.0)
        n_before = np.append(0, np.cumsum(self.forest.is_leaf))
        end, right = self.forest.subtree_end, self.forest.nodes.right
        for k, along in enumerate(self.cells):
            for j, goes_left in zip(along.splits, along.left.T, strict=True):
                columns, signs, constant = self._share_of_left(k, goes_left)
                for first, last, side in ((j + 1, right[j], 1.0), (right[j], end[j], -1.0)):
                    leaves = self._n_steps + np.arange(n_before[first], n_before[last])
                    weights = [*np.ones(len(leaves)), *(-side * signs)]
                    entries.row([*leaves, *columns], weights, constant if side > 0 else 1 - constant)
        tree = self.forest.tree_of_node[self.forest.is_leaf]
        one_leaf = csr_array(
            (np.ones(len(tree)), (tree, self._n_steps + np.arange(len(tree)))),
            shape=(self.forest.n_trees, self.n_variables),
        )
        space = [LinearConstraint(one_leaf, 1, 1)]
        if entries.bounds:
            space.append(LinearConstraint(entries.matrix(self.n_variables), -np.inf, entries.bounds))
        return space

    def _share_of_left(
        self, k: int, goes_left: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], float]:
        """Whether the row's cell goes left, as (columns, signs, constant): a difference of steps for each run of cells."""
        change = np.diff(np.concatenate([[0], goes_left.astype(int), [0]]))
        at = np.flatnonzero(change)
        # Step b - 1 says that the cell is before b; before the first cell there is none, before the end there is each.
        signs = -change[at].astype(float)
        is_inner = (at > 0) & (at < len(goes_left))
        constant = float(signs[at == len(goes_left)].sum())
        return self._start[k] + at[is_inner] - 1, signs[is_inner], constant

    def _region(self, winner: int) -> list[LinearConstraint]:
        """The rows that the teacher may give to `winner`: leads of at least nothing, give or take what rounding can do."""
        rivals = [k for k in range(self.scores.n_classes) if k != winner]
        scale, leaf, bias = self.scores.scale, self.scores.leaf, self.scores.bias
        leads = (leaf[:, [winner]] - leaf[:, rivals]) / scale
        least = (
            np.array([self._least_lead(winner, rival) for rival in rivals])
            - (bias[winner] - bias[rivals]) / scale
        )
        steps = csr_array((len(rivals), self._n_steps))
        return [LinearConstraint(hstack([steps, csr_array(leads.T)], format="csr"), least, np.inf)]

    def _least_lead(self, winner: int, rival: int) -> float:
        if self.half_unit is None:
            return -self.slack
        return -self.half_unit if wins_tie(self.forest, winner, rival) else self.half_unit

    def _cuts(self) -> list[LinearConstraint]:
        """Each settled combination of leaves, forbidden: not all of its leaves at once."""
        if not self._settled:
            return []
        tuples = np.array(self._settled)
        rows = np.repeat(np.arange(len(tuples)), tuples.shape[1])
        matrix = csr_array(
            (np.ones(tuples.size), (rows, self._n_steps + tuples.ravel())),
            shape=(len(tuples), self.n_variables),
        )
        return [LinearConstraint(matrix, -np.inf, tuples.shape[1] - 1)]


class _Entries:
    """Rows `weights @ x[columns] <= bound` while they are written down."""

    def __init__(self) -> None:
        self.columns: list[Any] = []
        self.weights: list[Any] = []
        self.lengths: list[int] = []
        self.bounds: list[float] = []

    def row(self, columns: Any, weights: Any, bound: float) -> None:
        self.columns += list(columns)
        self.weights += list(weights)
        self.lengths.append(len(columns))
        self.bounds.append(bound)

    def matrix(self, n_columns: int) -> Any:
        start = np.append(0, np.cumsum(self.lengths))
        return csr_array((self.weights, self.columns, start), shape=(len(self.lengths), n_columns))


def wins_tie(forest: Forest, winner: int, rival: int) -> bool:
    """Whether `winner` is the forest's answer where both classes have one and the same score."""
    return (winner > rival) == bool(forest.tie_class) if forest.n_outputs == 1 else winner < rival


def _rounding(forest: Forest, scores: Scores) -> tuple[float, float | None]:
    """(what rounding and the solver can do to a lead, half the unit of all leads where no sum rounds at all)."""
    limits = np.finfo(forest.values.dtype)
    start = np.cumsum(np.diff(forest.tree_start) + 1 >> 1) - (np.diff(forest.tree_start) + 1 >> 1)
    largest = np.abs(scores.bias).max()
    if forest.n_trees:
        largest += np.maximum.reduceat(np.abs(scores.leaf).max(axis=1), start).sum()
    rounding = 8 * float(limits.eps) * (forest.n_trees + 2) * largest
    rounding += 4 * float(limits.smallest_subnormal) * max(forest.divisor, 1.0)
    slack = TOLERANCE + rounding / scores.scale
    unit = 2.0 ** max(exact_exponent(np.append(scores.leaf.ravel(), scores.bias)), -1022)
    # Quotients of different sums must differ too.
    is_apart = unit > rounding and unit / forest.divisor > float(limits.tiny)
    if is_exact(forest) and is_apart and unit / scores.scale > 4 * TOLERANCE:
        return slack, unit / scores.scale / 2
    return slack, None
