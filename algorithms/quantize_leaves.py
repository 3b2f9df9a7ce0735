"""Few distinct leaf values, all of them multiples of one power of two."""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from ensemble_compress.algorithms.clip_leaves import largest_change
from ensemble_compress.algorithms.parameters import check_choice, check_range, check_seed
from ensemble_compress.algorithms.simplify import share_values
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import distinct_rows

CODEWORD_BITS = 16
"""A codebook's entries are stored once each, so they may be finer than the indices into it."""

BIAS_BITS = 31
"""Where no leaf says how fine the unit must be, the bias does."""

SUM_BITS = 53
"""Sums of that many bits are exact in float64."""


@dataclass(frozen=True)
class QuantizeLeaves:
    """Quantise leaf values: to integers of a few bits with a scale, or to a codebook of a few rows.

    The scale is a power of two and the values become float64, so that every sum of leaves is exact in 53 bits: Python and
    C give the same margins to the bit, and integer-only backends where the sums fit their integers. Leaves of one value
    are first moved around zero, tree by tree, and the bias by as much (uniform), unless that made more values.

    Parameters
    ----------
    bits : int
        Bits of a value (uniform), or of an index into the codebook of 2**bits rows (kmeans).
    method : {"uniform", "kmeans"}
        Evenly spaced values, or a codebook of small squared error (Lloyd's algorithm), a row weighing the square
        root of its cover.
    random_state : int
        Seed of k-means.

    Notes
    -----
    Guarantee: bounded; see `bound`. Cost: O(n_leaves), k-means O(n_leaves * 2**bits).

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982. Codebooks of
    leaves: Herrmann et al., "Boosted Trees on a Diet", ICLR 2026 (global leaf array).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> import ensemble_compress as ec
    >>> forest = ec.read(GradientBoostingRegressor(random_state=0).fit(*load_diabetes(return_X_y=True)))
    >>> ec.algorithms.QuantizeLeaves(bits=4, method="kmeans")(forest).n_values <= 16
    True
    """

    bits: int = 8
    method: Literal["uniform", "kmeans"] = "uniform"
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "bounded"
    measure: ClassVar[str] = "n_values"

    def __post_init__(self) -> None:
        check_choice(self, "method", ("uniform", "kmeans"))
        check_range(self, "bits", 1 if self.method == "kmeans" else 2, 16, whole=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The quantised forest; `data` is not looked at."""
        if self.method == "kmeans":
            values = self._codebook(forest, forest.values.astype(np.float64))
            return _on_grid(replace(forest, values=values), CODEWORD_BITS)
        plain = _on_grid(forest, self.bits)
        if forest.values.shape[1] > 1 or forest.n_trees == 0:
            return plain
        centered = _on_grid(_center_trees(forest), self.bits)
        return centered if centered.n_values <= forest.n_values else plain

    def bound(self, forest: Forest) -> float:
        """The largest change of any margin."""
        return largest_change(forest, self(forest))

    def _codebook(self, forest: Forest, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each value row replaced by its codeword; rows weigh what reached them in training."""
        is_leaf = forest.is_leaf
        cover = np.bincount(forest.nodes.leaf[is_leaf], forest.nodes.cover[is_leaf], minlength=len(values))
        weight = cover if cover.sum() > 0 else np.bincount(forest.nodes.leaf[is_leaf], minlength=len(values))
        first, index = distinct_rows(values + 0.0)
        rows = values[first]
        if len(rows) <= 2**self.bits:
            return values
        weight = np.bincount(index, weight, minlength=len(rows))
        # Rare leaves count a little too: a weight of zero would leave them anywhere.
        weight = np.sqrt(weight + 1e-3 * weight.mean() + 1e-12)
        kmeans = KMeans(2**self.bits, n_init=1, max_iter=50, random_state=self.random_state)
        # By a power of two, which rounds nothing: squares of the largest numbers would overflow.
        scale = int(np.frexp(np.abs(rows).max())[1])
        with warnings.catch_warnings():
            # Rows that differ by less than their distances can tell come to one codeword: there are fewer then.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = kmeans.fit(np.ldexp(rows, -scale), sample_weight=weight).labels_
        return np.asarray(np.ldexp(kmeans.cluster_centers_[labels][index], scale))


def _center_trees(forest: Forest) -> Forest:
    """The forest with each tree's values around zero and its middle in the bias.

    A booster's first tree may hold the mean of the target in all its leaves, next to which all other leaves would round
    to zero.
    """
    values = forest.values[forest.nodes.leaf[forest.is_leaf]][:, 0].astype(np.float64)
    n_leaves = (np.diff(forest.tree_start) + 1) // 2
    first = np.cumsum(n_leaves) - n_leaves
    middle = np.minimum.reduceat(values, first) / 2 + np.maximum.reduceat(values, first) / 2
    bias = forest.bias + np.bincount(np.maximum(forest.tree_output, 0), middle, minlength=forest.n_outputs)
    return forest.with_values((values - np.repeat(middle, n_leaves))[:, None], bias)


def _on_grid(forest: Forest, bits: int) -> Forest:
    """Leaf values and bias rounded to one power of two: the finest for values of `bits` bits and exact sums."""
    values, bias = forest.values.astype(np.float64), forest.bias.astype(np.float64)
    rows = forest.nodes.leaf[forest.is_leaf]
    used = values[rows]
    # Rows that no leaf names may be of any size.
    values[np.setdiff1d(np.arange(len(values)), rows)] = 0.0
    exponent = _unit_exponent(used, bits) if used.any() else _unit_exponent(bias, BIAS_BITS)
    largest = np.abs(used).max(initial=0.0) * forest.n_trees + np.abs(bias).max()
    exponent = max(exponent, int(np.frexp(largest)[1]) + 1 - SUM_BITS)
    return share_values(replace(forest, values=round_to(values, exponent), bias=round_to(bias, exponent)))


def round_to(values: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """The nearest multiples of `2**exponent`."""
    return np.asarray(np.ldexp(np.rint(np.ldexp(values, -exponent)), exponent)) + 0.0


def _unit_exponent(values: NDArray[np.float64], bits: int) -> int:
    """The finest power of two of which all values are at most `2**(bits - 1) - 1` multiples."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return 0
    exponent = int(np.frexp(largest)[1]) - bits
    while np.rint(np.ldexp(largest, -exponent)) > 2 ** (bits - 1) - 1:
        exponent += 1
    return exponent
