"""Rows of a sparse matrix as plain ones, a block at a time."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel


class Rows(NamedTuple):
    """A sparse matrix row by row, as `scipy.sparse.csr_array` keeps it: row i holds the entries `start[i]` to `start[i + 1]`."""

    start: NDArray[Any]
    column: NDArray[Any]
    value: NDArray[Any]


def dense_block(
    rows: Rows, first: int, last: int, n_features: int, dtype: Any, absent: float
) -> NDArray[Any]:
    """The rows from `first` to `last`, C-contiguous; entries that are not stored are `absent`."""
    begin, end = rows.start[first], rows.start[last]
    out = np.full((last - first, n_features), absent, dtype)
    # Cast here, a block's worth, so that the kernel is compiled for two dtypes and not for all combinations.
    starts = (rows.start[first : last + 1] - begin).astype(np.int64)
    with np.errstate(over="ignore"):
        spread(starts, rows.column[begin:end].astype(np.int64), rows.value[begin:end].astype(dtype), out)
    return out


@kernel
def spread(
    start: NDArray[np.int64], column: NDArray[np.int64], value: NDArray[Any], out: NDArray[Any]
) -> None:
    """Write to `out` the entries that are stored."""
    for i in range(len(out)):
        for k in range(start[i], start[i + 1]):
            out[i, column[k]] = value[k]
