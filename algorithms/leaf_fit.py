"""Fit the leaf values of a whole forest together: the solver under `RefitLeaves`, `PruneNodes` and `PruneTrees`.

With the structure held fixed a forest is linear in its leaf values, and its loss is that of a generalised linear model
whose columns are leaf indicators. The leaves of one tree are disjoint, so a Newton step for all of them at once has a
closed form; passing over the trees in turn is block coordinate descent. The loss is linearised once a sweep, so the
inner loop holds no exponentials: 2 loads and 2 multiply-adds for each (row, tree).

Source: Ren, Cao, Wei and Sun, "Global Refinement of Random Forest", CVPR 2015, section 3 (joint refit of all leaves);
the block Newton step is that of LogitBoost (Friedman, Hastie and Tibshirani, Annals of Statistics 28(2), 2000, section 4).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ensemble_compress.algorithms.leaf_sweeps import add_leaf_rows, add_leaves, sum_leaves, sweep, sweep_rows
from ensemble_compress.data import Data
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest
from ensemble_compress.predict import LINKS

SQUARED, LOGISTIC, SOFTMAX, POISSON = range(4)
_LOSS_OF_LINK = {"identity": SQUARED, "sigmoid": LOGISTIC, "softmax": SOFTMAX, "exp": POISSON}

SMALLEST_CURVATURE = 0.01
"""A floor under the curvature of a row: a saturated row must not send its leaf far away in one step."""

LARGEST_STEP = 2.0
"""The longest step of a leaf's margin, or of the bias, in one pass, for the losses with an exponential in them."""

LARGEST_LOG = 50.0
"""Rates of the Poisson loss stop at the exponential of this, predicted ones and the teacher's."""

LINK_BEHIND = {"samme": "softmax"}
"""Links that are another one of the margin times `margin_scale`."""


def margin_scale(forest: Forest) -> float:
    """What the margin is multiplied by inside the forest's link, 1 for most.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return {"samme": 1 / max(forest.n_outputs - 1, 1)}.get(forest.link, forest.link_scale)


def to_additive(forest: Forest) -> Forest:
    """The forest as a sum that is fitted easily: float64 values, divisor 1, a link with a loss of its own.

    An averaging classifier (link identity) becomes a sum of log-odds: one output for two classes. Its margins are the
    averaged probabilities stretched around the uniform distribution; the stretch is a guess that the first refit mends.
    """
    values = forest.values.astype(np.float64) / forest.divisor
    bias = forest.bias.astype(np.float64) / forest.divisor
    link, stretch = LINK_BEHIND.get(forest.link, forest.link), margin_scale(forest)
    if forest.is_classifier and link == "identity" and forest.n_outputs > 1:
        stretch, n_classes = 6.0, forest.n_outputs
        # With a tree for each output there is no pair of values to take the difference of.
        is_pair = values.shape[1] == n_classes == 2
        link = "sigmoid" if is_pair else "softmax"
        values, bias = values - 1 / n_classes / max(forest.n_trees, 1), bias + 0.0
        if is_pair:
            values, bias = values[:, 1:] - values[:, :1], bias[1:] - bias[:1]
    output = (
        np.zeros(forest.n_trees, np.int32) if values.shape[1] == 1 and len(bias) == 1 else forest.tree_output
    )
    return replace(
        forest,
        values=values * stretch,
        bias=bias * stretch,
        divisor=1.0,
        link=link,
        link_scale=1.0,
        tree_output=output,
    )


def targets(forest: Forest, data: Data, mix: float) -> NDArray[np.float64]:
    """What to fit, shape (n_outputs, n_rows): labels (mix 0), the teacher's answers (mix 1) or a mixture.

    `forest` is additive; its own answers stand in for the teacher's where `data` has none. A link without a loss of its
    own (ranking scores, softplus) is fitted to the teacher's margins.
    """
    if forest.link not in _LOSS_OF_LINK:
        return np.ascontiguousarray(forest.margin(data.X).T.astype(np.float64))
    if mix == 0 and data.y is not None:
        return _labels(forest, data)
    taught = np.ascontiguousarray(_answers(forest, data).T)
    if forest.link == "exp":
        taught = np.minimum(taught, np.exp(LARGEST_LOG))
    return taught if data.y is None or mix == 1 else (1 - mix) * _labels(forest, data) + mix * taught


def taught(forest: Forest, data: Data) -> Data:
    """`data` with the answers of `forest` itself where the teacher's are not known."""
    return data if data.teacher is not None else data.with_teacher(forest.answers(forest.margin(data.X)))


def _answers(forest: Forest, data: Data) -> NDArray[np.float64]:
    """The teacher's answers as the forest's outputs say them, shape (n_rows, n_outputs)."""
    if data.teacher is None:
        answers = forest.answers(forest.margin(data.X))
    else:
        answers = data.teacher
    n_answers = forest.n_outputs if forest.classes is None else len(forest.classes)
    if answers.shape == (data.n_rows, 2) and n_answers == 2 and forest.n_outputs == 1:
        return answers[:, 1:]
    if data.teacher is not None and answers.shape != (data.n_rows, n_answers):
        raise InputError(
            f"teacher has shape {answers.shape}; expected {(data.n_rows, n_answers)}: a probability for each class,"
            " or a value for each output"
        )
    return answers


def _labels(forest: Forest, data: Data) -> NDArray[np.float64]:
    """The labels as the forest's outputs say them, shape (n_outputs, n_rows)."""
    y = np.asarray(data.y)
    expected = (data.n_rows,) if forest.is_classifier else (data.n_rows, forest.n_outputs)
    if y.shape != expected and not (y.shape == (data.n_rows,) and forest.n_outputs == 1):
        raise InputError(
            f"y has shape {y.shape}; the model has {forest.n_outputs} output(s): expected shape {expected}"
        )
    if forest.classes is not None:
        return _one_hot(y, forest.n_outputs, len(forest.classes))
    numbers = y.astype(np.float64)
    n_bad = int((~np.isfinite(numbers)).sum())
    if n_bad:
        raise InputError(
            f"y has {n_bad} missing or infinite value(s); expected finite numbers: leave those rows out"
        )
    return np.asarray(np.atleast_2d(numbers.T))


def _one_hot(codes: NDArray[Any], n_outputs: int, n_classes: int) -> NDArray[np.float64]:
    if codes.dtype.kind not in "biuf":
        raise InputError(f"y holds {codes.dtype}; expected class codes, positions in Forest.classes")
    low, high = codes.min(), codes.max()
    if not (low >= 0 and high < n_classes) or (codes != np.trunc(codes)).any():
        raise InputError(
            f"y holds class codes from {low} to {high}; expected whole numbers from 0 to {n_classes - 1},"
            " positions in Forest.classes"
        )
    if n_outputs == 1:
        return np.asarray(codes[None, :], np.float64)
    return np.asarray(codes[None, :] == np.arange(n_outputs)[:, None], np.float64)


@dataclass(eq=False)
class LeafFit:
    """The leaf values of a forest while they are being fitted.

    Attributes
    ----------
    leaf : ndarray of shape (n_trees, n_rows) int32
        The leaf of each row in each tree, numbered through the forest.
    start : ndarray of shape (n_trees + 1,) int32
        Tree t holds the leaves from `start[t]` to `start[t + 1]`.
    output : ndarray of shape (n_trees,) int32
        The margin's column that a tree adds to, -1 for all.
    value : ndarray of shape (n_leaves, width) float64
    bias : ndarray of shape (n_outputs,) float64
    target : ndarray of shape (n_outputs, n_rows) float64
    weight : ndarray of shape (n_rows,) float64
    loss : int
        SQUARED, LOGISTIC, SOFTMAX or POISSON.
    penalty : float
        Ridge penalty on every leaf value, as `penalty / 2` times its square beside the sum of the rows' losses.
    """

    leaf: NDArray[np.int32]
    start: NDArray[np.int32]
    output: NDArray[np.int32]
    value: NDArray[np.float64]
    bias: NDArray[np.float64]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]
    loss: int
    penalty: float
    _table: NDArray[np.int32] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, forest: Forest, data: Data, target: NDArray[np.float64], penalty: float) -> "LeafFit":
        """The fit of an additive forest to `target`, starting from its own values. Costs one prediction."""
        slot = np.cumsum(forest.is_leaf, dtype=np.int32) - 1
        return cls(
            leaf=np.ascontiguousarray(slot[forest.find_leaves(data.X)].T),
            start=np.append(0, slot[forest.tree_start[1:] - 1] + 1).astype(np.int32),
            output=forest.tree_output,
            value=forest.values[forest.nodes.leaf[forest.is_leaf]].astype(np.float64),
            bias=forest.bias.astype(np.float64),
            target=target,
            weight=np.ones(data.n_rows) if data.weight is None else data.weight,
            loss=_LOSS_OF_LINK.get(forest.link, SQUARED),
            penalty=penalty,
        )

    def take(self, rows: NDArray[np.intp]) -> "LeafFit":
        """The same on some of the rows, its values its own."""
        return replace(
            self,
            leaf=np.ascontiguousarray(self.leaf[:, rows]),
            value=self.value.copy(),
            bias=self.bias.copy(),
            target=np.ascontiguousarray(self.target[:, rows]),
            weight=self.weight[rows],
        )

    def append(self, leaf: NDArray[np.int32], value: NDArray[np.float64], output: int) -> None:
        """Add a tree of one value a leaf: the leaf of each row, counted within the tree, the values, the output it adds to."""
        n_trees, n_leaves = len(self.output), len(self.value)
        if self._table is None or len(self._table) == n_trees:
            # Room for twice as many: a table that grew by a tree at a time would be copied for each.
            table = np.empty((max(8, 2 * n_trees), len(leaf)), np.int32)
            table[:n_trees] = self.leaf
            self._table = table
        np.add(leaf, n_leaves, out=self._table[n_trees])
        self.leaf = self._table[: n_trees + 1]
        self.start = np.append(self.start, n_leaves + len(value)).astype(np.int32)
        self.output = np.append(self.output, output).astype(np.int32)
        self.value = np.concatenate([self.value, value[:, None]])

    def margin(self) -> NDArray[np.float64]:
        """The margins of all rows, shape (n_outputs, n_rows)."""
        if self.value.shape[1] > 1:
            rows = np.repeat(self.bias[None], self.leaf.shape[1], axis=0)
            add_leaf_rows(self.leaf, self.value, rows)
            return np.ascontiguousarray(rows.T)
        out = np.repeat(self.bias[:, None], self.leaf.shape[1], axis=1)
        add_leaves(self.leaf, self.output, self.value[:, 0], out)
        return out

    def linearise(self, margin: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(negative gradient, curvature) of the loss at `margin`, both of shape (n_outputs, n_rows), weighted."""
        predicted = _mean(self.loss, margin)
        gradient = self.weight * (self.target - predicted)
        if self.loss == SQUARED:
            curvature = np.ones_like(predicted)
        elif self.loss == POISSON:
            curvature = np.maximum(predicted, SMALLEST_CURVATURE)
        else:
            # Twice the diagonal bounds the softmax's Hessian, whose off-diagonal terms are left out.
            factor = 2.0 if self.loss == SOFTMAX else 1.0
            curvature = np.maximum(factor * predicted * (1 - predicted), SMALLEST_CURVATURE)
        return gradient, self.weight * curvature

    def sweep(self, n_sweeps: int) -> None:
        """Improve the bias and all leaves in place, `n_sweeps` times over. O(n_trees * n_rows * width) each."""
        longest = np.inf if self.loss == SQUARED else LARGEST_STEP
        for _ in range(n_sweeps):
            gradient, curvature = self.linearise(self.margin())
            step = gradient.sum(axis=1) / np.maximum(curvature.sum(axis=1), 1e-12)
            step = np.clip(step, -longest, longest)
            self.bias += step
            gradient -= step[:, None] * curvature
            if self.value.shape[1] > 1:
                by_row = np.ascontiguousarray(np.concatenate([gradient, curvature]).T)
                sweep_rows(self.leaf, self.start, self.value, by_row, self.penalty, longest)
            else:
                values = self.value[:, 0].copy()
                sweep(self.leaf, self.start, self.output, values, gradient, curvature, self.penalty, longest)
                self.value[:, 0] = values

    def stretch(self) -> None:
        """Scale all leaves by the one factor that fits best: a good start where the scale is a guess."""
        rest = self.bias[:, None]
        sums = self.margin() - rest

        def loss(log_factor: float) -> float:
            return self.mean_loss(rest + np.exp(log_factor) * sums)

        self.value *= np.exp(
            minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 0.05}).x
        )

    def mean_loss(self, margin: NDArray[np.float64]) -> float:
        """The mean loss of margins of shape (n_outputs, n_rows): half squares or cross-entropy, weighted."""
        t, w = self.target, self.weight / self.weight.sum()
        if self.loss == SQUARED:
            each = 0.5 * np.square(margin - t)
        elif self.loss == LOGISTIC:
            each = np.logaddexp(0, margin) - t * margin
        elif self.loss == SOFTMAX:
            top = margin.max(axis=0)
            each = (top + np.log(np.exp(margin - top).sum(axis=0)) - (t * margin).sum(axis=0))[None]
        else:
            each = np.exp(np.minimum(margin, LARGEST_LOG)) - t * margin
        return float((each.sum(axis=0) * w).sum())

    def curvature_of_leaves(self, curvature: NDArray[np.float64]) -> NDArray[np.float64]:
        """The curvature of the loss along each leaf value, shape (n_leaves, width)."""
        out = np.zeros_like(self.value)
        sum_leaves(self.leaf, self.output, curvature, out)
        return out


def _mean(loss: int, margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the response at `margin`, classes along axis 0."""
    if loss == SOFTMAX:
        return LINKS["softmax"](margin.T).T
    if loss == POISSON:
        return np.asarray(np.exp(np.minimum(margin, LARGEST_LOG)))
    return LINKS["sigmoid" if loss == LOGISTIC else "identity"](margin)
