"""Leaf values of as many bits as each tree, or each output, is worth: chosen by loss for each byte of the C tables."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.leaf_fit import LeafFit, margin_scale
from ensemble_compress.algorithms.parameters import check_choice, check_range, count_of, rows_of
from ensemble_compress.algorithms.quantize_leaves import QuantizeLeaves, round_to
from ensemble_compress.algorithms.reassign_leaves import choices_of, fit_of, loss_scale, reassign
from ensemble_compress.algorithms.simplify import Simplify, collapse_equal_leaves, share_values
from ensemble_compress.data import Data
from ensemble_compress.fixed_point import exact_exponent, leaf_counts
from ensemble_compress.forest import Forest
from ensemble_compress.sizes import c_bytes

N_PRICES = 20
"""Prices of a bit that are tried: loss for a bit, rising by the same factor."""

N_BISECTIONS = 8
"""Further prices, each between the nearest ones above and below the limit of bytes."""


@dataclass(frozen=True)
class MixPrecision:
    """Round the leaves of each tree, or of each output, to a grid of its own, coarser where that costs little loss for a byte.

    All grids are powers of two over one unit, so sums stay exact. In the C tables all leaves have one width; bytes go where
    leaves of one value collapse, trees become constants, and values fall together. Every group offers a curve of loss
    (to second order) against bits; a price for a bit picks a point on each, and the prices are tried against the true bytes and
    the true loss, beside all uniform grids. The result is refitted on its grids.

    Parameters
    ----------
    bits : int
        Bits of the finest grid: `QuantizeLeaves(bits)` comes first.
    max_bytes : int or float
        Bytes of C tables to keep, or their share of what the finest grid takes; the smallest there is where none fits.
    per : {"tree", "output"}
        What has a grid of its own.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1.
    n_sweeps : int
        Passes of the refit on the grids; 0 leaves it out.

    Notes
    -----
    Guarantee: none. Cost: O(bits * n_leaves + n_trees * n_rows * width), and bits + 28 forests are weighed and judged.

    References
    ----------
    Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", IEEE Transactions on Acoustics, Speech,
    and Signal Processing 36(9), 1988, section III (a price for a bit).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> from ensemble_compress.sizes import c_bytes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> forest = ec.read(GradientBoostingRegressor(random_state=0).fit(X, y))
    >>> small = ec.algorithms.MixPrecision(bits=8, max_bytes=0.7)(forest, ec.Data(forest.rows(X), y))
    >>> c_bytes(small) <= 0.7 * c_bytes(ec.algorithms.QuantizeLeaves(bits=8)(forest))
    True
    """

    bits: int = 8
    max_bytes: int | float = 0.8
    per: Literal["tree", "output"] = "tree"
    mix: float = 0.5
    n_sweeps: int = 3

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "decisions", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_nodes"

    def __post_init__(self) -> None:
        check_range(self, "bits", 2, 16, whole=True)
        count_of(self, "max_bytes", 1)
        check_choice(self, "per", ("tree", "output"))
        check_range(self, "mix", 0, 1)
        check_range(self, "n_sweeps", 0, 1000, whole=True)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The forest of mixed precision."""
        data = rows_of(self, forest, data)
        finest = collapse_equal_leaves(share_values(QuantizeLeaves(bits=self.bits)(forest)))
        limit = count_of(self, "max_bytes", c_bytes(finest))
        if forest.n_trees == 0:
            return finest
        # The teacher is the forest as it was given, not the rounded one.
        taught = (
            data if data.teacher is not None else data.with_teacher(forest.answers(forest.margin(data.X)))
        )
        mixing = _Mixing(finest, fit_of(finest, taught, self.mix), self.bits, self.per)
        found = [_weigh(mixing, shifts, data) for shifts in mixing.uniform()]
        found += self._at_prices(mixing, data, limit)
        fitting = [each for each in found if each[1] <= limit]
        best = min(fitting, key=lambda each: each[2]) if fitting else min(found, key=lambda each: each[1])
        return self._refitted(best[0], taught)

    def _at_prices(self, mixing: "_Mixing", data: Data, limit: int) -> list[tuple[Forest, int, float]]:
        """What prices of a bit lead to: some over the whole range, and more between those on both sides of the limit."""
        prices = list(mixing.prices())
        found = [_weigh(mixing, mixing.at(price), data) for price in prices]
        for _ in range(N_BISECTIONS if prices else 0):
            below = [price for price, each in zip(prices, found, strict=True) if each[1] <= limit]
            above = [price for price, each in zip(prices, found, strict=True) if each[1] > limit]
            if not below or not above:
                break
            price = float(np.sqrt(min(below) * max(above)))
            prices.append(price)
            found.append(_weigh(mixing, mixing.at(price), data))
        return found

    def _refitted(self, forest: Forest, data: Data) -> Forest:
        """Each tree's leaves moved to the best values of its own grid that the forest has."""
        if not self.n_sweeps or forest.n_trees == 0:
            return forest
        rows, varying = choices_of(forest)
        values = forest.values[rows]
        leaves = np.split(
            forest.values[forest.nodes.leaf[forest.is_leaf]], np.cumsum(leaf_counts(forest))[:-1]
        )
        allowed = [
            _multiples(values, own) if varies else rows[:0]
            for own, varies in zip(leaves, varying, strict=True)
        ]
        fit = fit_of(forest, data, self.mix)
        chosen = reassign(fit, values * loss_scale(forest), self.n_sweeps, allowed)
        fitted = forest.values[forest.nodes.leaf[forest.is_leaf]]
        fitted[chosen >= 0] = values[chosen[chosen >= 0]]
        return forest.with_values(fitted)


def _multiples(values: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which rows of values lie on the coarsest grid that holds a tree's own."""
    unit = exact_exponent(own.ravel())
    return np.flatnonzero((np.ldexp(values, -unit) % 1 == 0).all(axis=1))


def _weigh(mixing: "_Mixing", shifts: NDArray[np.intp], data: Data) -> tuple[Forest, int, float]:
    """(the forest at these shifts, its bytes, its loss)."""
    candidate = Simplify()(mixing.rounded(shifts))
    return candidate, c_bytes(candidate), mixing.loss(candidate, data.X)


class _Mixing:
    """A forest on its finest grid, and what coarser grids of single groups cost and save."""

    def __init__(self, forest: Forest, fit: LeafFit, bits: int, per: str) -> None:
        self.forest, self.fit = forest, fit
        self.values = forest.values[forest.nodes.leaf[forest.is_leaf]]
        self.exponent = exact_exponent(self.values.ravel())
        self.n_shifts = bits + 1
        self.group = self._groups(per)
        self.n_groups = int(self.group.max(initial=0)) + 1

    def _groups(self, per: str) -> NDArray[np.intp]:
        """The group of each leaf value, shape (n_leaves, width)."""
        tree = self.forest.tree_of_node[self.forest.is_leaf]
        if per == "tree":
            group = np.broadcast_to(tree[:, None], self.values.shape)
        elif self.values.shape[1] > 1:
            group = np.broadcast_to(np.arange(self.values.shape[1]), self.values.shape)
        else:
            group = np.maximum(self.forest.tree_output, 0)[tree][:, None]
        return np.asarray(group, np.intp)

    def uniform(self) -> list[NDArray[np.intp]]:
        """Shifts of the groups that are all alike."""
        return [np.full(self.n_groups, s) for s in range(self.n_shifts)]

    def at(self, price: float) -> NDArray[np.intp]:
        """For each group the shift of smallest loss and bits at their price."""
        loss, bits = self.curves
        return np.asarray((loss + price * bits).argmin(axis=0))

    def prices(self) -> NDArray[np.float64]:
        """Prices of a bit from where nothing is coarser to where everything is."""
        loss, bits = self.curves
        gains, costs = bits[:1] - bits, np.maximum(loss - loss[:1], 0.0)
        each = (costs / np.maximum(gains, 1))[(gains > 0) & (costs > 0)]
        return np.geomspace(each.min() / 2, each.max() * 2, N_PRICES) if len(each) else np.zeros(0)

    @cached_property
    def curves(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(loss to second order, bits of the tables) of each group at each shift, both of shape (n_shifts, n_groups)."""
        gradient, curvature = self.fit.linearise(self.fit.margin())
        slope, bend = (self.fit.curvature_of_leaves(each) for each in (gradient, curvature))
        scale = loss_scale(self.forest)
        loss, bits = np.zeros((self.n_shifts, self.n_groups)), np.zeros((self.n_shifts, self.n_groups))
        for s in range(self.n_shifts):
            step = scale * (round_to(self.values, self.exponent + s) - self.values)
            rise = 0.5 * bend * np.square(step) - slope * step
            loss[s] = np.bincount(self.group.ravel(), rise.ravel(), minlength=self.n_groups)
            bits[s] = self._bits(s)
        return loss, bits

    def _bits(self, s: int) -> NDArray[np.float64]:
        """About what each group takes at a shift: its leaves that are left, and for an output the bits of its values."""
        if self.forest.values.shape[1] > 1 and self.n_groups == self.forest.n_outputs:
            return np.full(self.n_groups, float((self.n_shifts - s) * self.forest.n_leaves))
        rounded = self.rounded(np.full(self.n_groups, s))
        collapsed = collapse_equal_leaves(rounded)
        n_left = leaf_counts(collapsed) - 1.0
        a_leaf = 8.0 * c_bytes(self.forest) / max(self.forest.n_leaves, 1)
        tree_group = self.group[np.cumsum(leaf_counts(self.forest)) - 1, 0]
        # A little for each bit that goes: distinct values fall together.
        width = 0.05 * (self.n_shifts - s) * leaf_counts(self.forest)
        return np.bincount(tree_group, a_leaf * n_left + width, minlength=self.n_groups).astype(np.float64)

    def rounded(self, shifts: NDArray[np.intp]) -> Forest:
        """The forest with each group on its own grid."""
        exponent: Any = self.exponent + shifts[self.group]
        values = np.ldexp(np.rint(np.ldexp(self.values, -exponent)), exponent) + 0.0
        return self.forest.with_values(values)

    def loss(self, candidate: Forest, X: NDArray[Any]) -> float:
        """The true loss of a candidate on the rows."""
        return self.fit.mean_loss(candidate.margin(X).T * margin_scale(candidate))
