"""Few distinct leaf values, all of them multiples of one power of two."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from ensemble_compress.algorithms.clip_leaves import largest_change
from ensemble_compress.algorithms.parameters import check_choice, check_range
from ensemble_compress.algorithms.simplify import share_values
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

CODEWORD_BITS = 16
"""A codebook's entries are stored once each, so they may be finer than the indices into it."""


@dataclass(frozen=True)
class QuantizeLeaves:
    """Quantise leaf values: to integers of a few bits with a scale, or to a codebook of a few rows.

    The scale is a power of two and the values become float64, so that every sum of leaves is exact: Python, C and
    integer-only backends give the same margins to the bit.

    Parameters
    ----------
    bits : int
        Bits of a value (uniform), or of an index into the codebook of 2**bits rows (kmeans).
    method : {"uniform", "kmeans"}
        Evenly spaced values, or a codebook that minimises the squared error weighted by cover (Lloyd's algorithm).
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
        check_range(self, "bits", 1 if self.method == "kmeans" else 2, 16)

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The quantised forest; `data` is not looked at."""
        values = forest.values.astype(np.float64)
        bits = self.bits
        if self.method == "kmeans":
            values, bits = self._codebook(forest, values), CODEWORD_BITS
        exponent = _unit_exponent(values, bits)
        values = round_to(values, exponent)
        bias = round_to(forest.bias.astype(np.float64), exponent)
        return share_values(replace(forest, values=values, bias=bias))

    def bound(self, forest: Forest) -> float:
        """The largest change of any margin."""
        return largest_change(forest, self(forest))

    def _codebook(self, forest: Forest, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each value row replaced by its codeword; rows weigh what reached them in training."""
        is_leaf = forest.is_leaf
        cover = np.bincount(forest.nodes.leaf[is_leaf], forest.nodes.cover[is_leaf], minlength=len(values))
        weight = cover if cover.sum() > 0 else np.bincount(forest.nodes.leaf[is_leaf], minlength=len(values))
        rows, index = np.unique(values, axis=0, return_inverse=True)
        if len(rows) <= 2**self.bits:
            return values
        weight = np.bincount(index.reshape(-1), weight, minlength=len(rows))
        # Rare leaves count a little too: a weight of zero would leave them anywhere.
        weight = np.sqrt(weight + 1e-3 * weight.mean() + 1e-12)
        kmeans = KMeans(2**self.bits, n_init=1, max_iter=50, random_state=self.random_state)
        labels = kmeans.fit(rows, sample_weight=weight).labels_
        return np.asarray(kmeans.cluster_centers_[labels][index.reshape(-1)])


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
