"""Thresholds on a grid of few integers a feature."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms.parameters import check_choice
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

MANTISSA_BITS = {"float32": 24, "float64": 53}
SMALLEST_EXPONENT = {"float32": -149, "float64": -1074}


@dataclass(frozen=True)
class QuantizeThresholds:
    """Round every threshold down to a grid of 2**bits points over its feature's thresholds.

    A grid's step is a power of two and its points are multiples of the step, so that each is a number of the type that X
    is cast to and an integer input of 8 or 16 bits can stand for it. Where that type itself is coarser than the grid,
    the step is that of its largest numbers there. A feature with one threshold keeps it. Rounding down keeps every row whose values lie on the grid: `x <= t` is `x <= floor(t)`
    there. Splits that fall together go.

    Parameters
    ----------
    bits : {8, 16}
        Width of the grid's integers.

    Notes
    -----
    Guarantee: none (rows between a grid point and its threshold change sides). Infinite thresholds stay, and so do
    categorical splits. Cost: O(n_nodes).

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

    needs: ClassVar[frozenset[str]] = frozenset()
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_thresholds"

    def __post_init__(self) -> None:
        check_choice(self, "bits", (8, 16))

    def __call__(self, forest: Forest, data: Data | None = None) -> Forest:
        """The forest on the grid; `data` is not looked at."""
        threshold = forest.nodes.threshold.copy()
        is_numeric = ~forest.is_leaf & (forest.nodes.category_set < 0) & np.isfinite(threshold)
        for f in np.unique(forest.nodes.feature[is_numeric]):
            here = is_numeric & (forest.nodes.feature == f)
            threshold[here] = _to_grid(threshold[here], self.bits, forest.x_dtype)
        return Simplify()(replace(forest, nodes=forest.nodes._replace(threshold=threshold)))


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
