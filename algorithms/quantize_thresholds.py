"""Thresholds on a grid of few integers a feature, or few of them a feature."""

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from ensemble_compress.algorithms.parameters import check_choice, check_range, check_seed
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

MANTISSA_BITS = {"float32": 24, "float64": 53}
SMALLEST_EXPONENT = {"float32": -149, "float64": -1074}


@dataclass(frozen=True)
class QuantizeThresholds:
    """Round every threshold down to a grid of 2**bits points over its feature's thresholds, or keep 2**bits of them.

    A grid's step is a power of two and its points are multiples of the step, so that each is a number of the type that X
    is cast to and an integer input of 8 or 16 bits can stand for it. Where that type itself is coarser than the grid,
    the step is that of its largest numbers there. A feature with one threshold keeps it. Rounding down keeps every row whose values lie on the grid: `x <= t` is `x <= floor(t)`
    there. Splits that fall together go. By "kmeans" thresholds close to each other become one of them, the one
    nearest to their mean: as many numbers, but where the thresholds are.

    Parameters
    ----------
    bits : int
        Width of the grid's integers, or of a threshold's number among those of its feature; 2 to 16.
    method : {"uniform", "kmeans"}
        Evenly spaced points, or some of the thresholds themselves (Lloyd's algorithm), a threshold weighing what reached its
        splits in training.
    random_state : int
        Seed of k-means.

    Notes
    -----
    Guarantee: none (rows between a grid point and its threshold change sides). Infinite thresholds stay, and so do
    categorical splits. Cost: O(n_nodes), k-means O(n_nodes * 2**bits).

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(20, random_state=0).fit(X, y))
    >>> small = ec.algorithms.QuantizeThresholds(bits=8)(forest)
    >>> bool((small.predict(X) == forest.predict(X)).mean() > 0.95)
    True
    """

    bits: int = 16
    method: Literal["uniform", "kmeans"] = "uniform"
    random_state: int = 0

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_thresholds"

    def __post_init__(self) -> None:
        check_choice(self, "method", ("uniform", "kmeans"))
        check_range(self, "bits", 2, 16, whole=True)
        check_seed(self)

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The forest on the grid; `data` is not looked at."""
        threshold = forest.nodes.threshold.copy()
        is_numeric = ~forest.is_leaf & (forest.nodes.category_set < 0) & np.isfinite(threshold)
        for f in np.unique(forest.nodes.feature[is_numeric]):
            here = is_numeric & (forest.nodes.feature == f)
            if self.method == "kmeans":
                threshold[here] = self._to_some(threshold[here], forest.nodes.cover[here])
            else:
                threshold[here] = _to_grid(threshold[here], self.bits, forest.x_dtype)
        return Simplify()(replace(forest, nodes=forest.nodes._replace(threshold=threshold)))

    def _to_some(self, thresholds: NDArray[np.float64], cover: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each threshold replaced by the one of its cluster that is nearest to the cluster's mean."""
        distinct, index = np.unique(thresholds, return_inverse=True)
        if len(distinct) <= 2**self.bits:
            return thresholds
        weight = np.bincount(index, cover if cover.any() else None)
        # By a power of two, which rounds nothing: squares of the largest numbers would overflow.
        points = np.ldexp(distinct, -int(np.frexp(np.abs(distinct).max())[1]))
        kmeans = KMeans(2**self.bits, n_init=1, max_iter=50, random_state=self.random_state)
        with warnings.catch_warnings():
            # Thresholds that differ by less than their distances can tell come to one: there are fewer then.
            warnings.simplefilter("ignore", ConvergenceWarning)
            kmeans.fit(points[:, None], sample_weight=weight + 1e-3 * weight.mean())
        # By the middles between the means, so that clusters are runs of thresholds also where distances can't tell.
        means = np.sort(kmeans.cluster_centers_[:, 0])
        labels = np.searchsorted(means[1:] / 2 + means[:-1] / 2, points)
        distance = np.abs(points - means[labels])
        order = np.lexsort((distance, labels))
        first = np.searchsorted(labels[order], labels)
        return np.asarray(distinct[order[first]][index])


def _to_grid(thresholds: NDArray[np.float64], bits: int, x_dtype: str) -> NDArray[np.float64]:
    """The points below on the finest power-of-two grid that holds all in 2**bits integers."""
    low, high = thresholds.min(), thresholds.max()
    if low == high:
        return thresholds
    largest = max(abs(low), abs(high))
    # Halves, because the difference itself may overflow.
    exponent = int(np.frexp(high / 2 - low / 2)[1]) + 1 - bits
    exponent = max(exponent, int(np.frexp(largest)[1]) - MANTISSA_BITS[x_dtype], SMALLEST_EXPONENT[x_dtype])
    while np.floor(np.ldexp(high, -exponent)) - np.floor(np.ldexp(low, -exponent)) > 2**bits - 1:
        exponent += 1
    with np.errstate(over="ignore"):
        points = np.ldexp(np.floor(np.ldexp(thresholds, -exponent)), exponent)
    # Below the smallest number of the type no row but one at -inf goes left.
    return np.where(points < -float(np.finfo(x_dtype).max), -np.inf, points)
