"""LOP as its paper has it: level after level, an L1 penalty as large as the validation rows allow.

At a level every tree is cut into the subtrees that begin there. Each is given a factor for its leaf values and a number
that is added to them; a leaf at or above the level has the number only, a whole tree (level 0) the factor only. A
linear model with an L1 penalty finds them all. A factor of zero turns the subtree into a leaf, a root's factor of zero
drops the tree, sibling leaves of zero become one.

Source: Devos, Martens, Oruc, Meert, Blockeel and Davis, "Compressing tree ensembles through Level-wise Optimization and
Pruning", ICML 2025, Algorithm 1 and the section on experiments.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression

from ensemble_compress.algorithms.leaf_fit import targets, to_additive
from ensemble_compress.algorithms.levels import ancestors_at, fold_constants, split_outputs, unit_of
from ensemble_compress.algorithms.simplify import collapse_equal_leaves
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

LOWEST, HIGHEST = -3.0, 4.0
"""Decimal logarithms of the penalties between which the first round looks."""

LASSO_UNIT = 1e-4
"""What a regression's penalties are counted in."""

ZERO = 1e-6
"""Coefficients as small count as removed while penalties are compared; what is removed in the end is exactly zero."""

MAX_ITERATIONS = 5000


@dataclass(frozen=True, eq=False)
class Trial:
    """One penalty: where it lies, how well the fit does, what it removes.

    Attributes
    ----------
    low, middle, high : float
        The decimal logarithm of the penalty, and of its neighbours on the grid.
    train, valid : float
        Scores, the higher the better.
    removed : float
        Share of the coefficients that are zero.
    coefficients : ndarray of shape (n_columns,)
    intercept : float
    """

    low: float
    middle: float
    high: float
    train: float
    valid: float
    removed: float
    coefficients: NDArray[np.float64]
    intercept: float


@dataclass(frozen=True)
class Rule:
    """When a score counts as worse than another one, and what the model to compress scores itself.

    Attributes
    ----------
    tolerance : float
        Loss allowed: of balanced accuracy, or as a share of the root mean squared error.
    is_relative : bool
        Whether it is a share.
    train, valid : float
        The scores of the model that is compressed.
    """

    tolerance: float
    is_relative: bool
    train: float
    valid: float

    def is_worse(self, score: float, reference: float) -> bool:
        """Whether `score` falls short of `reference` by more than the tolerance."""
        allowed = self.tolerance * (abs(reference) if self.is_relative else 1.0)
        return bool(reference - score > allowed)

    def accepts(self, trial: Trial) -> bool:
        """Whether the fit may be taken: good enough, not all of it removed, no luck of the validation rows."""
        is_good = not self.is_worse(trial.valid, self.valid) and not self.is_worse(trial.train, trial.valid)
        return is_good and trial.removed < 1

    def overfits(self, trial: Trial) -> bool:
        """Whether the fit does well on the training rows only."""
        is_poor = self.is_worse(trial.valid, self.valid) and self.is_worse(trial.valid, trial.train)
        return is_poor and not self.is_worse(trial.train, self.train)

    def underfits(self, trial: Trial) -> bool:
        """Whether the fit does well nowhere."""
        return self.is_worse(trial.train, self.train) and self.is_worse(trial.valid, self.valid)


def search(fit: Callable[[float, float, float], Trial], rule: Rule, n_penalties: int) -> Trial | None:
    """The accepted trial that removes most, of three ever finer grids of penalties; None where none is accepted.

    Parameters
    ----------
    fit : callable
        The trial of (low, middle, high), decimal logarithms of the penalty and of its neighbours.
    rule : Rule
        What is accepted.
    n_penalties : int
        Penalties in the first grid; the second has half as many, the third a quarter.
    """
    low, high, trials = LOWEST, HIGHEST, []
    for share in (1, 2, 4):
        n_points = max(1, n_penalties // share)
        points = np.linspace(low, high, n_points + 2).tolist()
        these = [fit(*points[k : k + 3]) for k in range(n_points)]
        trials += these
        narrower = _where_next(these, rule)
        if narrower is None:
            break
        low, high = narrower
    return max(filter(rule.accepts, trials), key=lambda trial: trial.removed, default=None)


def _where_next(trials: Sequence[Trial], rule: Rule) -> tuple[float, float] | None:
    """Around the largest accepted penalty, else between the last that overfits and the first after it that underfits."""
    accepted = [trial for trial in trials if rule.accepts(trial)]
    if accepted:
        return accepted[-1].low, accepted[-1].high
    over: float | None = None
    for trial in trials:
        if rule.overfits(trial):
            over = trial.middle
        elif over is not None and rule.underfits(trial):
            return over, trial.middle
    return None


@dataclass(frozen=True)
class Procedure:
    """The parameters of LOP.

    Attributes
    ----------
    tolerance : float
        See `Rule`.
    n_rounds : int
        Passes over all levels; fewer where one does not remove a node.
    n_penalties : int
        See `search`.
    random_state : int
        Seed of the solver.
    """

    tolerance: float = 0.005
    n_rounds: int = 2
    n_penalties: int = 16
    random_state: int = 0


def prune_levels_within(forest: Forest, data: Data, validation: Data, procedure: Procedure) -> Forest:
    """The forest after LOP.

    Parameters
    ----------
    forest : Forest
        Any forest. Several classes or outputs are pruned one against the rest; where leaves have a value for each,
        each output gets trees of its own.
    data, validation : Data
        Rows to fit the coefficients on, and rows to choose the penalties by.
    procedure : Procedure
        Its parameters.
    """
    # A linear model takes a margin of zero, which is frequent once leaves are zero, for the first class.
    additive = replace(fold_constants(split_outputs(to_additive(forest))), tie_class=0)
    outputs = [
        _Output.of(forest, additive, k, data, validation, procedure.tolerance)
        for k in range(additive.n_outputs)
    ]
    for _ in range(procedure.n_rounds):
        n_nodes = additive.n_nodes
        level = 0
        while additive.n_trees and level <= int(additive.depth.max()):
            additive = _prune_level(additive, level, outputs, procedure)
            level += 1
        if additive.n_nodes >= n_nodes:
            break
    return additive


@dataclass(frozen=True, eq=False)
class _Sample:
    """Rows of one output: what to find, and what each row counts."""

    X: NDArray[Any]
    wanted: NDArray[np.float64]
    weight: NDArray[np.float64]

    def score(self, answer: NDArray[np.float64], is_label: bool) -> float:
        """Balanced accuracy of margins' signs, or the negative root mean squared error; rows of no weight don't count."""
        if not is_label:
            # Scaled by the largest error: the square of a large number may be none.
            error = np.abs(answer - self.wanted)
            largest = float(error.max())
            if largest == 0:
                return 0.0
            return float(-largest * np.sqrt(np.average(np.square(error / largest), weights=self.weight)))
        is_right = (answer > 0) == (self.wanted > 0)
        classes = [self.weight * (self.wanted == label) for label in (0, 1)]
        return float(np.mean([w @ is_right / w.sum() for w in classes if w.any()]))


@dataclass(frozen=True, eq=False)
class _Output:
    """One output: its rows, and the rule by which its fits are accepted."""

    number: int
    is_label: bool
    train: _Sample
    valid: _Sample
    rule: Rule

    @classmethod
    def of(
        cls, forest: Forest, additive: Forest, k: int, data: Data, validation: Data, tolerance: float
    ) -> "_Output":
        train, valid = (_sample(forest, additive, k, rows) for rows in (data, validation))
        is_label = forest.is_classifier
        scores = [s.score(_answer(forest, additive, k, s.X), is_label) for s in (train, valid)]
        return cls(k, is_label, train, valid, Rule(tolerance, not is_label, *scores))

    @property
    def can_be_fitted(self) -> bool:
        """Whether there is anything to tell apart, in numbers that a solver takes."""
        wanted = self.train.wanted[self.train.weight > 0]
        return bool(np.abs(wanted).max() < 1e150 and (not self.is_label or len(np.unique(wanted)) == 2))


def _sample(forest: Forest, additive: Forest, k: int, rows: Data) -> _Sample:
    """Labels: whether the row is of class k (of class 1, for one output); else the number wanted."""
    wanted: NDArray[Any] = targets(additive, rows, 0.0)
    if forest.is_classifier:
        # Without labels there are the model's answers, and the class that they say.
        is_pair = additive.n_outputs == 1
        wanted = (wanted > 0.5 if is_pair else wanted.argmax(axis=0) == np.arange(len(wanted))[:, None]) * 1.0
    elif forest.link != "identity":
        wanted = additive.margin(rows.X).T.astype(np.float64)
    return _Sample(rows.X, wanted[k], np.ones(rows.n_rows) if rows.weight is None else rows.weight)


def _answer(forest: Forest, additive: Forest, k: int, X: NDArray[Any]) -> NDArray[np.float64]:
    """What the model to compress says of an output: a class as +1 and -1, or a number."""
    if not forest.is_classifier:
        return np.asarray(additive.margin(X)[:, k], np.float64)
    code = forest.decide(forest.margin(X))
    return np.where(code == (1 if additive.n_outputs == 1 else k), 1.0, -1.0)


def _prune_level(forest: Forest, level: int, outputs: Sequence[_Output], procedure: Procedure) -> Forest:
    """The forest with one level rewritten, output after output; an output without an accepted penalty stays."""
    values = forest.values[forest.nodes.leaf[forest.is_leaf]]
    bias = forest.bias.copy()
    for output in outputs:
        columns = _Columns.of(forest, level, output.number)
        if columns.n_columns and output.can_be_fitted:
            fit = _fitting(columns, output, procedure.random_state)
            best = search(fit, output.rule, procedure.n_penalties)
            if best is not None:
                rewritten = columns.rewrite(best.coefficients, values[columns.leaves, 0])
                values[columns.leaves, 0] = rewritten
                bias[output.number] = best.intercept
    return fold_constants(collapse_equal_leaves(forest.with_values(values, bias)))


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of one level and output.

    Attributes
    ----------
    part : Forest
        The trees of the output.
    leaves : ndarray of bool
        Which leaves of the whole forest are theirs.
    number, factor : ndarray of shape (n_nodes,) int
        For each node at the level the column of what is added and of the factor, -1 where it has none.
    at : ndarray of shape (n_nodes,) int
        For each node the node at the level.
    unit : float
        What the values are counted in.
    """

    part: Forest
    leaves: NDArray[np.bool_]
    number: NDArray[np.intp]
    factor: NDArray[np.intp]
    at: NDArray[np.intp]
    unit: float

    @classmethod
    def of(cls, forest: Forest, level: int, k: int) -> "_Columns":
        is_mine = forest.tree_output == k
        part = forest.take(is_mine)
        leaves = is_mine[forest.tree_of_node[forest.is_leaf]]
        at = ancestors_at(part, level)
        begins = np.zeros(part.n_nodes, bool)
        begins[at[part.is_leaf]] = True
        is_root = np.zeros(part.n_nodes, bool)
        is_root[part.tree_start[:-1]] = True
        has_number, has_factor = begins & ~is_root, begins & (is_root | ~part.is_leaf)
        count = has_number.astype(np.intp) + has_factor
        first = np.cumsum(count) - count
        number = np.where(has_number, first, -1)
        return cls(part, leaves, number, np.where(has_factor, first + has_number, -1), at, unit_of(part))

    @property
    def n_columns(self) -> int:
        return int(max(self.number.max(initial=-1), self.factor.max(initial=-1))) + 1

    def matrix(self, X: NDArray[Any]) -> csr_array:
        """The columns of rows: 1 where a row lies in a subtree, and the subtree's value there."""
        leaf = self.part.find_leaves(X)
        node = self.at[leaf]
        # The solvers take 32-bit indices.
        index = np.concatenate([self.number[node], self.factor[node]], axis=1).astype(np.int32)
        value = self.part.values[self.part.nodes.leaf[leaf], 0] / self.unit
        entry = np.concatenate([np.ones_like(value), value], axis=1)
        is_there = index >= 0
        start = np.append(0, np.cumsum(is_there.sum(axis=1))).astype(np.int32)
        matrix = csr_array((entry[is_there], index[is_there], start), shape=(len(X), self.n_columns))
        matrix.sort_indices()
        return matrix

    def rewrite(self, coefficients: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The leaves' new values: factor times value plus number."""
        both = np.append(coefficients, 0.0)
        node = self.at[self.part.is_leaf]
        return np.asarray(both[self.factor[node]] / self.unit * values + both[self.number[node]])


def _fitting(columns: _Columns, output: _Output, random_state: int) -> Callable[[float, float, float], Trial]:
    """The function that fits one penalty."""
    train, valid = columns.matrix(output.train.X), columns.matrix(output.valid.X)
    model = _solver(output.is_label, random_state)

    def fit(low: float, middle: float, high: float) -> Trial:
        penalty = 10.0**middle
        model.set_params(**({"C": 1 / penalty} if output.is_label else {"alpha": LASSO_UNIT * penalty}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, output.train.wanted, sample_weight=output.train.weight)
        coefficients = np.array(model.coef_, np.float64).reshape(-1)
        intercept = float(np.reshape(model.intercept_, -1)[0])
        scores = (
            output.train.score(train @ coefficients + intercept, output.is_label),
            output.valid.score(valid @ coefficients + intercept, output.is_label),
        )
        removed = float((np.abs(coefficients) < ZERO).mean())
        return Trial(low, middle, high, *scores, removed, coefficients, intercept)

    return fit


def _solver(is_label: bool, random_state: int) -> Any:
    if not is_label:
        return Lasso(max_iter=MAX_ITERATIONS, tol=1e-4, warm_start=True, random_state=random_state)
    # scikit-learn 1.8 turned the name of the penalty into a share of it.
    is_named = LogisticRegression().penalty == "l2"
    penalty: dict[str, Any] = {"penalty": "l1"} if is_named else {"l1_ratio": 1}
    return LogisticRegression(
        solver="liblinear", max_iter=MAX_ITERATIONS, tol=1e-4, random_state=random_state, **penalty
    )
