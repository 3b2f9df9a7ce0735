"""Drop whole trees, and prove that every row there can be still gets the class that it got."""

import itertools
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.cells import count_cells, find_cells, rows_in
from ensemble_compress.algorithms.decision_oracle import TOLERANCE, DecisionOracle, Scores
from ensemble_compress.algorithms.parameters import check_choice, check_range, check_seed
from ensemble_compress.algorithms.quantize_leaves import round_to
from ensemble_compress.algorithms.tree_weights import fewest_trees, smallest_weights
from ensemble_compress.data import Data
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest

SUM_BITS = 30
"""Sums of the pruned forest are whole numbers of so many bits: exact in float64 and in the 32-bit integers of an export."""

N_FIRST_POINTS = 200
"""Random rows that the weights must serve before the search begins."""

N_GENERATIONS, N_SAMPLED, N_PARENTS, N_MOVED = 12, 2_000, 200, 2
"""Before each search some generations of rows are bred, each by moving about two features of the best of the one before."""

MOST_ADDED = 50
"""Of the rows found that refute the weights so many join."""

SECONDS_A_CELL = 1e-3
"""No more than that for each cell of the input space where there are few: redundant trees over few cells are easy."""

MOST_NODES = 10_000
"""Cells of larger forests are not even counted."""

LARGEST_WEIGHT = 1e6
"""Weights of trees that need to be larger than that hang on differences that the solver cannot tell from nothing."""

SMALLEST_SHARE = 1e-9
"""Trees of a smaller weight, as a share of the largest, are none."""

SMALLEST_EXPONENT = -1000
"""No unit is finer: quotients of sums stay normal numbers."""

SECONDS_A_PAIR = 5.0
"""About what two classes take where splits times trees are 1,000; it grows with the square at least."""


@dataclass(frozen=True)
class Certificate:
    """What was proven of a pruned forest: it decides like its teacher on the whole input space.

    Parameters
    ----------
    n_trees : tuple of two int
        Trees before and after.
    n_cells : int
        Cells of the input space: the product over features of the intervals and groups of categories that tests tell apart.
    n_points : int
        Rows of different leaves that the weights were fitted to.
    n_calls : int
        Mixed-integer programs that were solved.
    n_settled : int
        Combinations of leaves that were compared one by one, because they lie nearer to a tie than the solver can tell.
    slack : float
        How near that is: the share of the largest difference between two classes in a leaf.
    lead : float
        The proven lower bound of the lead, in the pruned forest, of every row's class over each other class, but for the
        settled rows, in units of the pruned forest's largest difference in a leaf; 0 where the forest is unchanged.
    """

    n_trees: tuple[int, int]
    n_cells: int
    n_points: int = 0
    n_calls: int = 0
    n_settled: int = 0
    slack: float = 0.0
    lead: float = 0.0

    def __str__(self) -> str:
        before, after = self.n_trees
        if before == after:
            return f"no tree of {before} can go: the forest is unchanged"
        return (
            f"same decision on all {self.n_cells:,} cells of the input space, {before} -> {after} trees: every lead above"
            f" {self.lead:g} of a leaf by {self.n_calls} mixed-integer programs, {self.n_settled} near ties (slack"
            f" {self.slack:.1g}) compared one by one"
        )


@dataclass(frozen=True)
class PruneCertified:
    """Prune the trees of a small classifier such that no row whatever changes its class, and prove it.

    Weights of the trees and a bias are chosen by a linear program, few and small, such that some rows keep their classes; a
    mixed-integer program looks through the whole input space (all intervals between thresholds, groups of categories,
    missing values) for a row that does not; it joins the others, until there is none. Probabilities change, classes do not.

    The weighted leaves and the bias are rounded to one power of two of which every sum is a whole number of 30 bits, before
    the search: what is proven holds for the float64 sums and for the integers of the C export alike. Where the teacher's own
    sums come nearer to a tie than rounding or the solver can tell, rows are compared one by one.

    Parameters
    ----------
    method : {"l1", "count"}
        "l1": the weights of the smallest sum, a tree's weight counted once a leaf. "count": from there the fewest trees.
    max_seconds : float
        Refuse a forest whose estimate is above this, and give up when it has passed.
    random_state : int
        Seed of the first rows.

    Notes
    -----
    Guarantee: decisions (the same class for every row). Cost: exponential in the worst case; seconds for 20 trees of 4
    leaves, minutes for 50. Where no weights will do, or those found need every tree, the forest is returned as it is.

    References
    ----------
    Emine, Forel, Malek and Vidal, "Free lunch in the forest: functionally-identical pruning of boosted tree ensembles",
    AAAI 2025, sections 3 and 4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(6, max_depth=2, random_state=0).fit(X, y))
    >>> small, certificate = ec.algorithms.PruneCertified().certify(forest)
    >>> small.n_trees <= 6, certificate.n_trees[0], bool((small.predict(X) == forest.predict(X)).all())
    (True, 6, True)
    """

    method: Literal["l1", "count"] = "l1"
    max_seconds: float = 300.0
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "decisions", "bounded", "none"]] = "decisions"
    measure: ClassVar[str] = "n_trees"

    def __post_init__(self) -> None:
        check_choice(self, "method", ("l1", "count"))
        check_range(self, "max_seconds", 0, np.inf, open_low=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The pruned forest; `data` is not looked at."""
        return self.certify(forest)[0]

    def certify(self, forest: Forest) -> tuple[Forest, Certificate]:
        """(the pruned forest, what was proven of it).

        Parameters
        ----------
        forest : Forest
            A classifier.

        Raises
        ------
        UnsupportedModelError
            The forest is no classifier, its sums can overflow, it is too large by the estimate, or time is up.
        """
        _require_decisions(forest)
        self._require_time(forest)
        search = _Search(forest, self.max_seconds, self.random_state)
        proof = search.prune("l1")
        if proof is not None and self.method == "count":
            proof = search.prune("count") or proof
        if proof is None or proof[0].n_trees == forest.n_trees:
            return forest, Certificate((forest.n_trees, forest.n_trees), count_cells(search.oracle.cells))
        return proof

    def estimate_seconds(self, forest: Forest) -> float:
        """A rough estimate of the time that `certify` takes, by leaves, trees, cells and pairs of classes.

        Parameters
        ----------
        forest : Forest
            A classifier.
        """
        n_classes = 1 if forest.classes is None else len(forest.classes)
        work = max(forest.n_leaves - forest.n_trees, 0) * forest.n_trees
        a_pair = SECONDS_A_PAIR * (work / 1000) ** 2
        if forest.n_nodes <= MOST_NODES:
            a_pair = min(a_pair, SECONDS_A_CELL * min(count_cells(find_cells(forest)), 10**15))
        return float(a_pair * n_classes * (n_classes - 1) / 2)

    def _require_time(self, forest: Forest) -> None:
        seconds = self.estimate_seconds(forest)
        if seconds > self.max_seconds:
            raise UnsupportedModelError(
                f"PruneCertified: {forest.n_leaves:,} leaves in {forest.n_trees:,} trees take about {seconds:,.0f} seconds to"
                f" certify; max_seconds is {self.max_seconds:g}: allow more, or prune with PruneTrees or PruneNodes first"
            )


def _require_decisions(forest: Forest) -> None:
    if not forest.is_classifier:
        raise UnsupportedModelError(
            "PruneCertified keeps the decisions of a classifier; this forest is a regression model: use PruneTrees"
        )
    largest = float(np.abs(forest.values).max(initial=0.0)) * (forest.n_trees + 1) + float(
        np.abs(forest.bias).max()
    )
    if not largest < float(np.finfo(forest.values.dtype).max) / 4:
        raise UnsupportedModelError(
            "PruneCertified: leaf values are so large that sums may overflow; scale them down before"
        )


class _Search:
    """The rows that the weights must serve, and the search for more of them."""

    def __init__(self, forest: Forest, seconds: float, random_state: int) -> None:
        self.forest, self.seconds = forest, seconds
        self.end = time.monotonic() + seconds
        self.oracle = DecisionOracle(forest)
        self.scores = self.oracle.scores
        self.X = rows_in(forest, [], np.zeros((1, 0), np.intp))
        self.leaves = self.oracle.leaves_of(self.X)
        self.tree_of_leaf = forest.tree_of_node[forest.is_leaf]
        self.n_calls = 0
        self.generator = np.random.default_rng(random_state)
        cells = self.oracle.cells
        columns = [self.generator.integers(0, len(along.values), N_FIRST_POINTS) for along in cells]
        if columns:
            self._add(rows_in(forest, cells, np.column_stack(columns)))

    def _add(self, rows: NDArray[Any]) -> None:
        """Rows that end in other leaves than those that are there."""
        leaves = np.concatenate([self.leaves, self.oracle.leaves_of(rows)])
        _, first = np.unique(leaves, axis=0, return_index=True)
        kept = np.sort(first)
        self.X, self.leaves = np.concatenate([self.X, rows])[kept], leaves[kept]

    def prune(self, method: str) -> tuple[Forest, Certificate] | None:
        """A forest that decides like the teacher everywhere, with the proof; None where no weights were found."""
        while True:
            student = self._fit(method)
            if student is None or len(student.trees) == self.forest.n_trees:
                return None
            self.oracle.forget()
            found = self._refute(student)
            if not found:
                return student.forest, self._certificate(student.forest)
            self._add(np.concatenate(found))

    def _certificate(self, student: Forest) -> Certificate:
        return Certificate(
            (self.forest.n_trees, student.n_trees),
            count_cells(self.oracle.cells),
            len(self.X),
            self.n_calls,
            self.oracle.n_settled,
            self.oracle.slack,
            TOLERANCE,
        )

    # -- rows that refute -------------------------------------------------------------------------------------

    def _refute(self, student: "_Student") -> list[NDArray[Any]]:
        """Rows that the student decides otherwise; an empty list is a proof that there are none."""
        sampled = self._sample(student.forest)
        if sampled:
            return sampled
        scores = self._scores_of(student)
        pairs = itertools.permutations(range(self.scores.n_classes), 2)
        found = (self._refute_pair(student.forest, scores, *pair) for pair in pairs)
        return [row for row in found if row is not None]

    def _scores_of(self, student: "_Student") -> Scores:
        """The student's scores of the teacher's leaves, those of dropped trees 0."""
        own = Scores.of(student.forest)
        leaf = np.zeros_like(self.scores.leaf)
        leaf[np.isin(self.tree_of_leaf, student.trees)] = own.leaf
        return Scores(leaf, own.bias)

    def _refute_pair(self, student: Forest, scores: Scores, winner: int, rival: int) -> NDArray[Any] | None:
        while True:
            row, is_proven = self.oracle.find_row(scores, winner, rival, self._seconds_left())
            self.n_calls += 1
            if is_proven:
                return None
            if row is None:
                self._give_up()
            elif self._lead(student, row)[0] < 0:
                return row
            else:
                self.oracle.settle(row)

    def _sample(self, student: Forest) -> list[NDArray[Any]]:
        """Rows that the student decides otherwise, bred from the known ones by moving them to cells beside.

        The parents of each generation are the rows where the student's lead is smallest.
        """
        cells, parents = self.oracle.cells, self.X
        for _ in range(N_GENERATIONS if cells else 0):
            rows = parents[self.generator.integers(0, len(parents), N_SAMPLED)]
            for along in cells:
                moved = np.flatnonzero(self.generator.random(N_SAMPLED) < N_MOVED / len(cells))
                rows[moved, along.feature] = self.generator.choice(along.values, len(moved))
            lead = self._lead(student, rows)
            order = np.argsort(lead, kind="stable")
            if lead[order[0]] < 0:
                return [rows[order[:MOST_ADDED]][lead[order[:MOST_ADDED]] < 0]]
            parents = rows[order[:N_PARENTS]]
        return []

    def _lead(self, student: Forest, rows: NDArray[Any]) -> NDArray[np.float64]:
        """The student's lead of the teacher's class over its nearest rival; -1 where it decides otherwise."""
        wanted = self.forest.decide(self.forest.margin(rows, 1))
        margin = student.margin(rows, 1)
        two = np.sort(np.hstack([margin, np.zeros_like(margin)]) if margin.shape[1] == 1 else margin, axis=1)
        return np.where(student.decide(margin) == wanted, two[:, -1] - two[:, -2], -1.0)

    def _seconds_left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            self._give_up()
        return left

    def _give_up(self) -> None:
        raise UnsupportedModelError(
            f"PruneCertified: not certified within max_seconds={self.seconds:g} ({self.n_calls} mixed-integer programs,"
            f" {self.oracle.n_settled} near ties compared); allow more, or use PruneTrees, which proves nothing"
        )

    # -- weights ----------------------------------------------------------------------------------------------

    def _fit(self, method: str) -> "_Student | None":
        """The forest of few trees that decides the rows like the teacher; None where none was found."""
        wanted = self.forest.decide(self.forest.margin(self.X))
        leads = self._leads(wanted)
        solution = smallest_weights(leads, (np.diff(self.forest.tree_start) + 1) // 2)
        if solution is not None and method == "count":
            solution = fewest_trees(leads, solution, self.forest.n_trees, self._seconds_left())
            self._seconds_left()
        if solution is None or np.abs(solution).max(initial=0.0) > LARGEST_WEIGHT:
            return None
        student = self._weighted(solution, leads)
        decided = student.forest.decide(student.forest.margin(self.X))
        return student if (decided == wanted).all() else None

    def _leads(self, wanted: NDArray[np.intp]) -> NDArray[np.float64]:
        """For each row and rival what a tree's weight, and a class's bias, add to the lead of the row's class."""
        leaf, n_classes = self.scores.leaf / self.scores.scale, self.scores.n_classes
        blocks = [np.zeros((0, self.forest.n_trees + n_classes))]
        for winner, rival in itertools.permutations(range(n_classes), 2):
            leaves = self.leaves[wanted == winner]
            bias = np.zeros((len(leaves), n_classes))
            bias[:, winner], bias[:, rival] = 1.0, -1.0
            blocks.append(np.hstack([(leaf[:, winner] - leaf[:, rival])[leaves], bias]))
        return np.concatenate(blocks)

    def _weighted(self, solution: NDArray[np.float64], leads: NDArray[np.float64]) -> "_Student":
        """The forest of these weights, in the teacher's scale, on a grid on which no sum rounds."""
        forest = self.forest
        teacher = np.append(np.ones(forest.n_trees), self.scores.bias / self.scores.scale)
        lead, own_lead = leads @ teacher, leads @ solution
        factor = float(lead @ own_lead) / float(own_lead @ own_lead) if len(leads) else 1.0
        weight, bias = np.split(solution * factor, [forest.n_trees])
        kept = np.flatnonzero(weight > SMALLEST_SHARE * weight.max(initial=0.0))
        part = forest.take(kept)
        rows = part.values[part.nodes.leaf[part.is_leaf]].astype(np.float64)
        values = rows * weight[kept][part.tree_of_node[part.is_leaf]][:, None]
        bias = (bias - bias.mean() if forest.n_outputs > 1 else bias[-1:] - bias[0]) * self.scores.scale
        return _Student(_on_whole_grid(part, values, bias), kept)


@dataclass(frozen=True, eq=False)
class _Student:
    """A pruned forest, and which of the teacher's trees it has."""

    forest: Forest
    trees: NDArray[np.intp]


def _on_whole_grid(part: Forest, values: NDArray[np.float64], bias: NDArray[np.float64]) -> Forest:
    """The trees with these leaf values and this bias, rounded to the power of two that makes sums of `SUM_BITS` bits."""
    tree = part.tree_of_node[part.is_leaf]
    largest = np.zeros(part.n_trees)
    np.maximum.at(largest, tree, np.abs(values).max(axis=1, initial=0.0))
    exponent = int(np.frexp(largest.sum() + np.abs(bias).max())[1]) - SUM_BITS
    exponent = max(exponent, SMALLEST_EXPONENT)
    return part.with_values(round_to(values, exponent), round_to(bias, exponent))
