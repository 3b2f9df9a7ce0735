"""Prune level after level: factors and numbers for whole subtrees, under a penalty for the bytes that they take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LARGEST_STEP, SQUARED, LeafFit, targets, taught, to_additive
from ensemble_compress.algorithms.lessons import rows_that_fit
from ensemble_compress.algorithms.level_search import Procedure, prune_levels_within
from ensemble_compress.algorithms.levels import Rates, ancestors_at, fold_constants
from ensemble_compress.algorithms.parameters import (
    check_choice,
    check_range,
    check_seed,
    count_of,
    rows_of,
)
from ensemble_compress.algorithms.simplify import collapse_equal_leaves
from ensemble_compress.data import Data
from ensemble_compress.engines import kernel
from ensemble_compress.errors import ParameterError
from ensemble_compress.forest import Forest

FIRST_REMOVED = 0.02
"""Share of the subtrees that the first penalty would remove if each stood alone."""

FASTEST, SLOWEST = 1.5, 1.04
"""Factors between one penalty and the next; a step that goes too far is tried again with the root of its factor."""

SMALLEST_STRENGTH, LARGEST_STRENGTH = 1e-9, 1e200
"""Where the penalty begins at least; beyond the largest nothing is kept, whatever numbers the leaves hold."""

NEAR = 0.9
"""Share of the leaves asked for that is near enough."""


@dataclass(frozen=True)
class PruneLevels:
    """LOP: cut all trees at a level, fit a factor and a number for each subtree, drop what the penalty makes constant.

    Method "paper" is LOP to the letter: L1-penalised logistic regression (or lasso) by the solvers that the authors use,
    one class against the rest, levels from the roots to the deepest leaves, at each the largest penalty that keeps the
    score on held-out rows within `tolerance`. Method "bytes" prunes to a number of leaves: the penalty on a subtree is
    what the C tables would save without it, one group for all the outputs of a subtree; what a kept subtree
    predicts is fitted around its mean, and all leaves are refitted without that penalty at the end of a pass.

    Parameters
    ----------
    max_leaves : int or float
        Leaves to keep, by method "bytes": a number, or a share of what there is.
    method : {"bytes", "paper"}
        See above.
    tolerance : float
        Loss that method "paper" allows: of balanced accuracy (of each class against the rest), or as a share of the
        root mean squared error; the paper takes 0.005 and 0.02. Its lasso's penalties are in units of y, so y should
        be standardised. Links other than identity are fitted as margins.
    n_rounds : int
        Passes over all levels of method "paper"; the paper takes 2.
    n_penalties : int
        Penalties that method "paper" tries at each level before it looks closer, twice, at half as many each; the
        paper takes 16.
    validation_fraction : float
        Share of the rows by which method "paper" chooses penalties, where `within` is not told which.
    mix : float
        What method "bytes" fits: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
        Method "paper" fits the labels, and the teacher's decisions where there are none.
    penalty : float
        Ridge penalty of method "bytes" on a leaf's value while all leaves are refitted, in rows.
    n_sweeps : int
        Passes of method "bytes" over all trees at each level, and of the refit.
    random_state : int
        Seed of the choice of rows, and of the solver of method "paper".

    Notes
    -----
    Guarantee: none. Cost: method "bytes" O(n_sweeps * depth * n_trees * n_rows * width) for each penalty on the path;
    method "paper" up to 28 sparse regressions (by the paper's grid) a level, round and output. An averaging classifier turns into a sum of
    log-odds. Where leaves hold a value for each output, method "paper" gives each output trees of its own;
    if that has more leaves than the forest, the forest is given back.

    References
    ----------
    Devos, Martens, Oruc, Meert, Blockeel and Davis, "Compressing tree ensembles through Level-wise Optimization and
    Pruning", ICML 2025, Algorithm 1; Yuan and Lin, "Model selection and estimation in regression with grouped
    variables", JRSS B 68(1), 2006, section 2 (the group penalty).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(30, random_state=0).fit(X, y))
    >>> data = ec.Data(forest.rows(X), y)
    >>> ec.algorithms.PruneLevels(max_leaves=40)(forest, data).n_leaves <= 40
    True
    """

    max_leaves: int | float = 0.1
    method: Literal["bytes", "paper"] = "bytes"
    tolerance: float = 0.005
    n_rounds: int = 2
    n_penalties: int = 16
    validation_fraction: float = 0.25
    mix: float = 0.5
    penalty: float = 2.0
    n_sweeps: int = 4
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_leaves"

    def __post_init__(self) -> None:
        count_of(self, "max_leaves", 1)
        check_choice(self, "method", ("bytes", "paper"))
        check_range(self, "tolerance", 0, np.inf)
        check_range(self, "n_rounds", 1, 1000, whole=True)
        check_range(self, "n_penalties", 1, 1000, whole=True)
        check_range(self, "validation_fraction", 0, 0.9, open_low=True)
        check_range(self, "mix", 0, 1)
        check_range(self, "penalty", 0, np.inf)
        check_range(self, "n_sweeps", 1, 1000, whole=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The pruned forest; unchanged if method "bytes" finds no more than `max_leaves` leaves."""
        data = rows_of(self, forest, data)
        if self.method == "paper":
            # All labels are looked at before some are held out.
            targets(to_additive(forest), data, 0.0)
            return self.within(forest, *self._split(data))
        max_leaves = count_of(self, "max_leaves", forest.n_leaves)
        if max_leaves >= forest.n_leaves:
            return forest
        *_, smallest = self.path(forest, data, [max_leaves])
        return smallest

    def within(self, forest: Forest, data: Data, validation: Data) -> Forest:
        """What method "paper" makes of the forest: fitted to `data`, its penalties chosen by `validation`.

        Parameters
        ----------
        forest : Forest
            What is pruned.
        data, validation : Data
            Rows, with labels where they are known.
        """
        data, validation = rows_of(self, forest, data), rows_of(self, forest, validation)
        procedure = Procedure(self.tolerance, self.n_rounds, self.n_penalties, self.random_state)
        small = prune_levels_within(forest, data, validation, procedure)
        return small if small.n_leaves <= forest.n_leaves else forest

    def path(self, forest: Forest, data: Data, sizes: Sequence[int]) -> Iterator[Forest]:
        """Yield a forest for each number of leaves in `sizes`, which falls; one rising penalty serves all.

        Parameters
        ----------
        forest : Forest
            Where the path begins.
        data : Data
            Rows, and labels or the teacher's answers.
        sizes : sequence of int
            Numbers of leaves, falling; those that `forest` does not exceed are skipped.
        """
        if self.method == "paper":
            raise ParameterError(
                "PruneLevels: method is 'paper', which ends where its own rule says; a path of sizes needs 'bytes'"
            )
        pruning = _Pruning.begin(forest, data, self)
        for size in sizes:
            if size < forest.n_leaves:
                pruning.go_below(size)
                yield pruning.forest

    def _split(self, data: Data) -> tuple[Data, Data]:
        """(rows to fit, rows to choose by); a lone row, or the only one that counts, serves as both."""
        order = np.random.default_rng(self.random_state).permutation(data.n_rows)
        n_held = max(1, round(self.validation_fraction * data.n_rows))
        held, rest = np.sort(order[:n_held]), np.sort(order[n_held:])
        weight = np.ones(data.n_rows) if data.weight is None else data.weight
        if not weight[held].any() or not weight[rest].any():
            return data, data
        return data.take(rest), data.take(held)


@dataclass(eq=False)
class _Pruning:
    """A forest on its way down, and the penalty it is at."""

    forest: Forest
    data: Data
    target: NDArray[np.float64]
    settings: PruneLevels
    rates: Rates
    strength: float = 0.0

    @classmethod
    def begin(cls, forest: Forest, data: Data, settings: PruneLevels) -> "_Pruning":
        additive = to_additive(forest)
        target = targets(additive, taught(forest, data), settings.mix)
        data, target = rows_that_fit(data, target, forest.n_trees, settings.random_state)
        if additive.link != forest.link:
            fit = LeafFit.of(additive, data, target, 0.0)
            fit.stretch()
            additive = additive.with_values(fit.value, fit.bias)
        start = fold_constants(collapse_equal_leaves(additive))
        pruning = cls(start, data, target, settings, Rates.of(forest))
        pruning.strength = pruning._first_strength()
        return pruning

    def go_below(self, n_leaves: int) -> None:
        """Raise the penalty until no more than `n_leaves` leaves are left."""
        step = FASTEST
        while self.forest.n_leaves > n_leaves:
            strength = self.strength * step
            if strength > LARGEST_STRENGTH:
                self.forest = self.forest.take([])
                return
            smaller = self._round(strength)
            if smaller.n_leaves < NEAR * n_leaves - 2 and step > SLOWEST:
                step = float(np.sqrt(step))
                continue
            # While nothing goes the penalty is nowhere near those that matter.
            step = step**2 if smaller.n_leaves == self.forest.n_leaves else min(step, FASTEST)
            self.forest, self.strength = smaller, strength

    def _first_strength(self) -> float:
        """The penalty that a small share of the subtrees would not bear."""
        found, fit = [np.zeros(0)], self.fit()
        for level in range(int(self.forest.depth.max(initial=0))):
            found.append(_Level(self.forest, fit, level, self.rates).bearable())
        bearable = np.concatenate(found)
        return max(float(np.quantile(bearable, FIRST_REMOVED)) if len(bearable) else 0.0, SMALLEST_STRENGTH)

    def _round(self, strength: float) -> Forest:
        """One pass over all levels, and a refit of what is left."""
        forest, fit, level = self.forest, self.fit(), 0
        while level < int(forest.depth.max(initial=0)):
            one = _Level(forest, fit, level, self.rates)
            smaller = one.prune(strength, self.settings.n_sweeps)
            # Nodes only ever go, so as many of them are the same ones.
            is_same = smaller.n_nodes == forest.n_nodes
            forest, fit = smaller, one.fit if is_same else self.fit(smaller)
            level += 1
        fit = replace(fit, penalty=self.settings.penalty)
        fit.sweep(self.settings.n_sweeps)
        return forest.with_values(fit.value, fit.bias)

    def fit(self, forest: Forest | None = None) -> LeafFit:
        """The fit of a forest, of the one at hand by default, without a penalty."""
        return LeafFit.of(self.forest if forest is None else forest, self.data, self.target, 0.0)


class _Level:
    """One level of a forest while it is fitted: the subtrees that begin there, their means, factors and weights.

    A subtree's leaf v becomes `factor * (v - mean) + number`, beginning with factor 1 and the mean as the number. Around
    the mean of its rows a factor has nothing to do with the number, so a subtree without a factor predicts their mean.
    """

    def __init__(self, forest: Forest, fit: LeafFit, level: int, rates: Rates) -> None:
        self.forest, self.fit = forest, fit
        at = ancestors_at(forest, level)[forest.is_leaf]
        self.node, self.group = np.unique(at, return_inverse=True)
        self.start = np.append(self.group[fit.start[:-1]], len(self.node)).astype(np.int32)
        self.worth = _worth(forest, rates)[self.node]
        weight = np.zeros((forest.n_leaves, 1))
        _add_up(fit.leaf, fit.weight, weight[:, 0])
        # Leaves that no row reaches count a little, so that there is always a mean.
        weight += 1e-9
        self.number = np.zeros((len(self.node), fit.value.shape[1]))
        np.add.at(self.number, self.group, weight * fit.value)
        self.number /= np.bincount(self.group, weight[:, 0])[:, None]
        self.apart = fit.value - self.number[self.group]
        # What has one value only has no factor, whatever rounding left of it.
        self.apart[forest.is_leaf[self.node][self.group]] = 0.0
        self.factor = np.ones_like(self.number)
        self.furthest = np.zeros_like(self.number)
        np.maximum.at(self.furthest, self.group, np.abs(self.apart))

    def bearable(self) -> NDArray[np.float64]:
        """The penalty at which each subtree, alone and at once, would lose its factor."""
        _, curvature = self.fit.linearise(self.fit.margin())
        bend = np.zeros_like(self.number)
        along = self.fit.curvature_of_leaves(curvature) * np.square(self.apart)
        np.add.at(bend, self.group, along)
        has_factor = ~self.forest.is_leaf[self.node]
        return np.asarray(bend.shape[1] * bend.max(axis=1)[has_factor] / self.worth[has_factor])

    def prune(self, strength: float, n_sweeps: int) -> Forest:
        """The forest after fitting this level under a penalty."""
        fit, longest = self.fit, np.inf if self.fit.loss == SQUARED else LARGEST_STEP
        for _ in range(n_sweeps):
            gradient, curvature = fit.linearise(fit.margin())
            step = gradient.sum(axis=1) / np.maximum(curvature.sum(axis=1), 1e-12)
            step = np.clip(step, -longest, longest)
            fit.bias += step
            gradient -= step[:, None] * curvature
            _sweep_level(
                fit.leaf, self.group, self.start, fit.output, self.apart, self.furthest, self.number, self.factor,
                strength * self.worth, gradient, curvature, longest,
            )  # fmt: skip
            fit.value = self.factor[self.group] * self.apart + self.number[self.group]
        return fold_constants(collapse_equal_leaves(self.forest.with_values(fit.value, fit.bias)))


def _worth(forest: Forest, rates: Rates) -> NDArray[np.float64]:
    """What the C tables save when a node becomes a leaf, in splits with their leaf, shape (n_nodes,)."""
    bytes_before = np.append(0.0, np.cumsum(rates.of_splits(forest) + rates.leaf * ~forest.is_leaf))
    saved = bytes_before[forest.subtree_end] - bytes_before[:-1]
    # A tree of one leaf goes into the bias.
    saved[forest.tree_start[:-1]] += rates.leaf
    return np.asarray(saved / (rates.split + rates.leaf))


@kernel
def _add_up(leaf: NDArray[np.int32], each: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for t in range(leaf.shape[0]):
        for i in range(leaf.shape[1]):
            out[leaf[t, i]] += each[i]


@kernel
def _sweep_level(
    leaf: NDArray[np.int32],
    group: NDArray[np.intp],
    start: NDArray[np.int32],
    output: NDArray[np.int32],
    apart: NDArray[np.float64],
    furthest: NDArray[np.float64],
    number: NDArray[np.float64],
    factor: NDArray[np.float64],
    penalty: NDArray[np.float64],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    longest: float,
) -> None:
    """One pass over the trees: for each subtree the best number and factors on the linearised loss, then its gradient.

    With the curvature along (number, factor) as [[hn, hm], [hm, hf]] the number is eliminated; the factors of a group
    are pulled together by the largest of their curvatures, which bounds the others. Before the penalty shrinks it neither goes beyond `longest`.
    """
    (n_trees, n_rows), width = leaf.shape, apart.shape[1]
    sums = np.empty((len(number), width, 5))
    change = np.empty((len(number), width, 2))
    for t in range(n_trees):
        sums[start[t] : start[t + 1]] = 0.0
        for i in range(n_rows):
            j = leaf[t, i]
            of_group = sums[group[j]]
            for w in range(width):
                k = output[t] if output[t] >= 0 else w
                g, h, u = gradient[k, i], curvature[k, i], apart[j, w]
                of_group[w, 0] += g
                of_group[w, 1] += h
                of_group[w, 2] += g * u
                of_group[w, 3] += h * u
                of_group[w, 4] += h * u * u
        for m in range(start[t], start[t + 1]):
            _step_group(sums[m], furthest[m], number[m], factor[m], penalty[m], longest, change[m])
        for i in range(n_rows):
            j = leaf[t, i]
            of_group = change[group[j]]
            for w in range(width):
                k = output[t] if output[t] >= 0 else w
                gradient[k, i] -= curvature[k, i] * (of_group[w, 0] + of_group[w, 1] * apart[j, w])


@kernel
def _step_group(
    sums: NDArray[np.float64],
    furthest: NDArray[np.float64],
    number: NDArray[np.float64],
    factor: NDArray[np.float64],
    penalty: float,
    longest: float,
    change: NDArray[np.float64],
) -> None:
    width, bend, length = len(factor), 0.0, 0.0
    for w in range(width):
        bend = max(bend, sums[w, 4] - sums[w, 3] * sums[w, 3] / (sums[w, 1] + 1e-12))
    for w in range(width):
        change[w, 1] = 0.0
        if bend > 0:
            slope = sums[w, 2] - sums[w, 3] * sums[w, 0] / (sums[w, 1] + 1e-12)
            most = longest / (furthest[w] + 1e-12)
            change[w, 1] = factor[w] + min(max(slope / bend, -most), most)
            length += change[w, 1] * change[w, 1]
    mean = np.sqrt(length / width)
    kept = max(0.0, 1.0 - penalty / (width * bend * mean)) if bend > 0 and mean > 0 else 0.0
    for w in range(width):
        change[w, 1] = kept * change[w, 1] - factor[w]
        factor[w] += change[w, 1]
        step = (sums[w, 0] - sums[w, 3] * change[w, 1]) / (sums[w, 1] + 1e-12)
        change[w, 0] = min(max(step, -longest), longest)
        number[w] += change[w, 0]
