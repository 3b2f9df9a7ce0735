"""Columns of keys in the tables of the shared library: those of `engines.columns`, of both engines' runs, in C's order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import Columns

PAIR = np.dtype(
    [("origin", "f8"), ("scale", "f8")]
    + [(name, "u4") for name in ("first_cut", "first_bucket", "last_bucket", "n_steps", "feature")]
    + [("set", "i4"), ("above", "u4"), ("below", "u4")]
)
Table = tuple[str, NDArray[Any]]


def tables(runs: Sequence[tuple[Columns, NDArray[Any], NDArray[Any]]]) -> dict[str, Table]:
    """The arrays that keys are found by, by their C macro with the C type of an element.

    Parameters
    ----------
    runs : sequence of (Columns, ndarray of shape (n_pairs,), ndarray of shape (n_pairs,))
        The columns of a run, and the numbers in a block of keys of each pair's first and second one: 0 where there is no second
        one.
    """
    first_cut = starts([len(columns.cuts) for columns, _, _ in runs])
    first_bucket = starts([len(columns.bucket_low) for columns, _, _ in runs])
    pairs = [_pairs(*run, *at) for run, *at in zip(runs, first_cut, first_bucket, strict=True)]
    buckets = [columns.bucket_low + at for (columns, _, _), at in zip(runs, first_cut, strict=True)]
    return {
        "PAIRS": ("pair_t", joined(PAIR, pairs)),
        "CUTS": ("double", joined(np.dtype("f8"), [columns.cuts for columns, _, _ in runs])),
        "BUCKETS": ("uint32_t", joined(np.dtype("u4"), [low.astype(np.uint32) for low in buckets])),
    }


def starts(sizes: Any) -> NDArray[np.int64]:
    """Where each of some parts begins that lie one behind the other."""
    return np.append(0, np.cumsum(sizes, dtype=np.int64))[:-1].astype(np.int64)


def joined(dtype: np.dtype[Any], parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The parts one behind the other; none are an empty array."""
    return np.concatenate([np.zeros(0, dtype), *parts])


def _pairs(
    columns: Columns, above: NDArray[Any], below: NDArray[Any], first_cut: int, first_bucket: int
) -> NDArray[Any]:
    pairs = np.empty(len(columns.feature), PAIR)
    pairs["origin"], pairs["scale"] = columns.origin, columns.scale
    pairs["first_cut"] = columns.cut_start[:-1] + first_cut
    pairs["first_bucket"] = columns.bucket_start[:-1] + first_bucket
    pairs["last_bucket"] = np.maximum(np.diff(columns.bucket_start) - 1, 0)
    pairs["n_steps"] = columns.n_steps
    pairs["feature"], pairs["set"] = columns.feature, columns.category_set
    pairs["above"], pairs["below"] = above, below
    return pairs
