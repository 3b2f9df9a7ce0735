"""Refit a quantised forest without leaving its grid: each leaf takes the best of the values that there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LINK_BEHIND, LeafFit, margin_scale, targets
from ensemble_compress.algorithms.parameters import check_range, rows_of
from ensemble_compress.data import Data
from ensemble_compress.distinct import find_varying_trees
from ensemble_compress.fixed_point import leaf_counts
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import distinct_rows

CHOICES_AT_ONCE = 4_000_000
"""Pairs of a leaf and a value that are compared together."""


@dataclass(frozen=True)
class ReassignLeaves:
    """Choose for each leaf anew among the values that the forest's leaves have, tree after tree, so that the loss falls.

    After `QuantizeLeaves` a later tree mends what the rounding of an earlier one did, on the same grid or codebook: the
    tables of an export grow by nothing. The values themselves, the bias, the structure and constant trees stay.

    Parameters
    ----------
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    n_sweeps : int
        Passes over all trees; it ends before if none makes the loss smaller.

    Notes
    -----
    Guarantee: none; the fitted loss on the given rows never rises. Cost: O(n_sweeps * (n_trees * n_rows + n_leaves * n_values)
    * width).

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982 (the step that assigns);
    Ren, Cao, Wei, Sun, "Global Refinement of Random Forest", CVPR 2015, section 3 (the loss of all leaves together).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = ec.read(GradientBoostingRegressor(random_state=0).fit(X, y))
    >>> coarse, data = ec.algorithms.QuantizeLeaves(bits=3)(forest), ec.Data(forest.rows(X), y)
    >>> fitted = ec.algorithms.ReassignLeaves(mix=0)(coarse, data)
    >>> bool(np.square(fitted.predict(X) - y).mean() < np.square(coarse.predict(X) - y).mean())
    True
    """

    mix: float = 0.5
    n_sweeps: int = 5

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "decisions", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_values"

    def __post_init__(self) -> None:
        check_range(self, "mix", 0, 1)
        check_range(self, "n_sweeps", 1, 1000, whole=True)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The same trees, their leaves with other ones of the same values."""
        data = rows_of(self, forest, data)
        if forest.n_trees == 0:
            return forest
        choices, varying = choices_of(forest)
        index = np.arange(len(choices))
        values = loss_scale(forest) * forest.values[choices].astype(np.float64)
        fit = fit_of(forest, data, self.mix)
        chosen = reassign(fit, values, self.n_sweeps, [index if varies else index[:0] for varies in varying])
        leaf = forest.nodes.leaf.copy()
        is_new = chosen >= 0
        leaf[np.flatnonzero(forest.is_leaf)[is_new]] = choices[chosen[is_new]]
        return replace(forest, nodes=forest.nodes._replace(leaf=leaf))


def choices_of(forest: Forest) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(the distinct rows of `values` in trees that are no constants, which trees those are).

    Parameters
    ----------
    forest : Forest
        A forest of at least one tree.
    """
    rows = forest.nodes.leaf[forest.is_leaf]
    varying = find_varying_trees(forest, distinct_rows(forest.values)[1][rows])
    used = np.unique(rows[np.repeat(varying, leaf_counts(forest))])
    return used[np.sort(distinct_rows(forest.values[used])[0])].astype(np.intp), varying


def loss_scale(forest: Forest) -> float:
    """What sums of leaves are multiplied by where the loss reads them: the link's scale over the divisor.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return margin_scale(forest) / forest.divisor


def fit_of(forest: Forest, data: Data, mix: float) -> LeafFit:
    """The loss of the forest as it is: an average stays one and is judged by squares.

    Parameters
    ----------
    forest : Forest
        Any forest; its own answers stand in for the teacher's where `data` has none.
    data : Data
        Rows, and labels or the teacher's answers.
    mix : float
        0 the labels, 1 the teacher's answers.
    """
    scale, is_one = loss_scale(forest), forest.n_outputs == 1
    plain = replace(
        forest,
        values=forest.values.astype(np.float64) * scale,
        bias=forest.bias.astype(np.float64) * scale,
        divisor=1.0,
        link=LINK_BEHIND.get(forest.link, forest.link),
        link_scale=1.0,
        tree_output=np.zeros(forest.n_trees, np.int32) if is_one else forest.tree_output,
    )
    return LeafFit.of(plain, data, targets(plain, data, mix), 0.0)


def reassign(
    fit: LeafFit, choices: NDArray[np.float64], n_sweeps: int, allowed: Sequence[NDArray[np.intp]]
) -> NDArray[np.intp]:
    """The best choice for each leaf, -1 where it keeps its value; `fit` ends with the values chosen.

    Parameters
    ----------
    fit : LeafFit
        The leaves and their loss.
    choices : ndarray of shape (n_choices, width)
        The values to choose among, in the units of the fit.
    n_sweeps : int
        Passes over all trees.
    allowed : sequence of ndarray of int
        For each tree the choices that it may take; none leaves it as it is.
    """
    chosen = np.full(len(fit.value), -1, np.intp)
    loss = fit.mean_loss(fit.margin())
    for _ in range(n_sweeps):
        before = chosen.copy(), fit.value.copy()
        gradient, curvature = fit.linearise(fit.margin())
        for t, index in enumerate(allowed):
            if len(index):
                _reassign_tree(fit, t, choices, index, gradient, curvature, chosen)
        after = fit.mean_loss(fit.margin())
        if not after < loss:
            # A linearised loss is no promise: what did not help is undone.
            chosen, fit.value = before
            break
        loss = after
    return chosen


def _reassign_tree(
    fit: LeafFit,
    t: int,
    choices: NDArray[np.float64],
    index: NDArray[np.intp],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    chosen: NDArray[np.intp],
) -> None:
    """The choice of smallest linearised loss for each leaf of tree `t`; `gradient` is kept up to date."""
    first, last = fit.start[t], fit.start[t + 1]
    leaf, old = fit.leaf[t] - first, fit.value[first:last]
    outputs = range(fit.value.shape[1]) if fit.value.shape[1] > 1 else [int(fit.output[t])]
    slope, bend = (
        np.column_stack([np.bincount(leaf, each[k], last - first) for k in outputs]).astype(np.float64)
        for each in (gradient, curvature)
    )
    best = _find_best(choices[index], slope + bend * old, bend)
    step = choices[index][best] - old
    # Nothing is known of a leaf without rows; and no leaf moves for nothing.
    gain = (slope * step - 0.5 * bend * np.square(step)).sum(axis=1)
    moves = (bend.sum(axis=1) > 0) & (gain > 1e-12 * np.abs(slope * step).sum(axis=1))
    step[~moves] = 0.0
    for column, k in enumerate(outputs):
        gradient[k] -= curvature[k] * step[leaf, column]
    fit.value[first:last][moves] = choices[index][best][moves]
    chosen[first:last][moves] = index[best][moves]


def _find_best(
    choices: NDArray[np.float64], linear: NDArray[np.float64], bend: NDArray[np.float64]
) -> NDArray[np.intp]:
    """For each leaf the choice u of smallest `0.5 * bend @ u**2 - linear @ u`."""
    at_once = max(1, CHOICES_AT_ONCE // len(choices))
    squares = np.square(choices).T / 2
    blocks = [
        (bend[i : i + at_once] @ squares - linear[i : i + at_once] @ choices.T).argmin(axis=1)
        for i in range(0, len(linear), at_once)
    ]
    return np.concatenate(blocks)
