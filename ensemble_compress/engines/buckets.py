"""Buckets: a column's thresholds parted by a table, so that a value is compared with a few of them only.

The span of the thresholds is cut into buckets of one width. A value's bucket is a subtraction and a product away, in whatever
way these round: both keep the order, for values and for thresholds alike, so thresholds of lower buckets lie below.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BUCKETS = 4096
TRIMS = (0, 32, 8)
"""One in so many thresholds at either end may lie outside the buckets' span (0: none), where that makes searches shorter."""


def find_buckets(
    cuts: NDArray[np.float64], start: NDArray[np.int64], n_cuts: NDArray[np.int64]
) -> tuple[Any, Any, Any, Any, Any]:
    """The buckets of some columns' thresholds: `origin`, `scale`, `bucket_low`, `bucket_start` and `n_steps` of `columns.Columns`.

    Parameters
    ----------
    cuts, start
        `cuts` and `cut_start` of `columns.Columns`.
    n_cuts : ndarray of shape (n_pairs,)
        How many of each column's places in `cuts` are thresholds.
    """
    found = [_buckets_of(cuts[begin : begin + n]) for begin, n in zip(start[:-1], n_cuts, strict=True)]
    # A search looks at as many cuts as its steps can tell apart: it must not begin so late that it leaves the pair's own.
    lows = [
        np.minimum(begin + low, end + 1 - (1 << n_steps))
        for (begin, end), (_, _, low, n_steps) in zip(pairwise(start.tolist()), found, strict=True)
    ]
    return (
        np.array([origin for origin, _, _, _ in found]),
        np.array([scale for _, scale, _, _ in found]),
        np.concatenate([*lows, np.zeros(0)]).astype(np.int32),
        np.cumsum([0, *(len(low) for low in lows)]).astype(np.int32),
        np.array([n_steps for _, _, _, n_steps in found], np.int32),
    )


def _buckets_of(cuts: NDArray[np.float64]) -> tuple[float, float, NDArray[np.intp], int]:
    """The origin and the scale of a column's buckets, the number of cuts below each, and the steps of a search."""
    n_buckets = min(1 << len(cuts).bit_length(), MOST_BUCKETS)
    best = 0.0, 0.0, np.zeros(1, np.intp), len(cuts).bit_length()
    for trim in TRIMS:
        n_out = len(cuts) // trim if trim else 0
        origin, last = cuts[n_out], cuts[len(cuts) - 1 - n_out]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scale = n_buckets / (last - origin)
            if not (0 < scale < np.inf):
                continue
            # The kernel's own arithmetic: in whatever way it rounds, the order stays.
            bucket = np.clip((cuts - origin) * scale, 0, n_buckets - 1).astype(np.intp)
        n_steps = int(np.bincount(bucket).max()).bit_length()
        if n_steps < best[3]:
            best = float(origin), float(scale), np.searchsorted(bucket, np.arange(n_buckets)), n_steps
    return best
