"""Rows that tell two readings of a model apart: real rows whose cells are moved onto the thresholds, beside them, and to the ends of what a float can say.

The first rows are real ones, then comes a row for every single hard number, then rows with many of them at once.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.forest import Forest
from ensemble_compress.nodes import set_codes

N_ROWS = 10_000
N_INFINITE = 500
FRACTION_MOVED = 0.35
NUMBERS = (
    *(0.0, -0.0, 1.0, -1.0, float("nan"), 5e-324, -5e-324, 1e-45, -1e-45, 1e-40, -1e-40),
    # What LightGBM takes for zero ends at the float32 1e-35.
    *(1e-35, -1e-35, 9.9e-36, -9.9e-36, 1.1e-35, float(np.float32(1e-35)), -float(np.float32(1e-35))),
    *(1e30, -1e30, 3.4028234663852886e38, -3.4028234663852886e38, 1 + 2**-23, 1 + 2**-52),
)
CODES = (0, 1, 2, 30, 31, 32, 33, 62, 63, 64, 255, 256, 4000, 65535, 2**24 - 1, 2**24, 2**31, 2**32, 2**33)
NOT_WHOLE = (0.25, 0.5, 1.5, 2.999, 31.5, -1.5, -0.5, -0.99, -1e-40, 1e-40)
"""Numbers that are no codes, in columns of categories."""


def make_rows(
    forest: Forest,
    real: NDArray[Any],
    categorical: Collection[int] = (),
    *,
    accepts: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
    n_rows: int = N_ROWS,
    seed: int = 0,
) -> NDArray[Any]:
    """At least `n_rows` rows without infinities and `N_INFINITE` with some, in the forest's `x_dtype`.

    Parameters
    ----------
    forest : Forest
        Whose thresholds and category sets decide.
    real : ndarray of shape (n, n_features)
        Rows of the model's data.
    categorical : collection of int
        Columns that hold codes.
    accepts : callable, optional
        Which of given rows the model's library takes; `n_rows` counts these alone.
    n_rows : int
        How many rows at least; more where there are more hard numbers, or more real rows.
    seed : int
        Seed of the draws.
    """
    dtype, random = np.dtype(forest.x_dtype), np.random.default_rng(seed)
    real = _cast(real, dtype)
    if not forest.handles_nan:
        real = real[~np.isnan(real).any(axis=1)]
    columns = [_numbers_of(forest, f, real[:, f], f in categorical) for f in range(forest.n_features)]
    singles = [_moved(real, f, numbers) for f, numbers in enumerate(columns)]
    rows = np.concatenate([real, *singles])
    mixed = _mixed(real, columns, max(n_rows - len(rows), n_rows // 4), random)
    ends = np.array([np.inf, -np.inf], dtype)
    with_ends = [np.concatenate([numbers, np.repeat(ends, 1 + len(numbers) // 8)]) for numbers in columns]
    infinite = [_moved(real, f, ends) for f in range(forest.n_features)]
    rows = np.concatenate([rows, mixed, *infinite, _mixed(real, with_ends, N_INFINITE, random)])
    if accepts is None:
        return rows
    # Nobody refuses a whole half of the mixed rows, and a test counts.
    more = _mixed(real, columns, 2 * max(0, n_rows - int(accepts(rows).sum())), random)
    return np.concatenate([rows, more])


def _cast(numbers: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(numbers).astype(dtype)


def _numbers_of(forest: Forest, f: int, real: NDArray[Any], is_categorical: bool) -> NDArray[Any]:
    """The hard numbers of a column; of each threshold the nearest number of the dtype and its two neighbours."""
    dtype, tests = np.dtype(forest.x_dtype), forest.nodes.feature == f
    if is_categorical:
        numbers = _codes_of(forest, tests, real).astype(dtype)
    else:
        at = _cast(np.unique(forest.nodes.threshold[tests & (forest.nodes.category_set < 0)]), dtype)
        at = at[np.isfinite(at)]
        with np.errstate(over="ignore"):
            around = [np.nextafter(at, dtype.type(end)) for end in (-np.inf, np.inf)]
        numbers = np.concatenate([at, *around, _cast(NUMBERS, dtype)])
    numbers = numbers[~np.isinf(numbers)]
    return numbers if forest.handles_nan else numbers[~np.isnan(numbers)]


def _codes_of(forest: Forest, tests: NDArray[np.bool_], real: NDArray[Any]) -> NDArray[Any]:
    sets = np.unique(forest.nodes.category_set[tests & (forest.nodes.category_set >= 0)])
    named = np.array([code for s in sets for code in set_codes(forest.category_sets, s)], np.float64)
    seen = np.unique(np.concatenate([named, real[~np.isnan(real)]]))[:2000]
    whole = np.unique(np.concatenate([seen, seen + 1, seen - 1, np.array(CODES, np.float64)]))
    return np.concatenate([whole, [-0.0, np.nan, -7.0, -(2.0**31), -(2.0**33)], NOT_WHOLE])


def _moved(real: NDArray[Any], f: int, numbers: NDArray[Any]) -> NDArray[Any]:
    """A real row for each number, with the number in column f."""
    rows = real[np.arange(len(numbers)) % len(real)].copy()
    rows[:, f] = numbers
    return rows


def _mixed(
    real: NDArray[Any], columns: list[NDArray[Any]], n_rows: int, random: np.random.Generator
) -> NDArray[Any]:
    """Real rows with a part of the cells replaced by hard numbers of their columns."""
    rows = real[random.integers(0, len(real), n_rows)].copy()
    for f, numbers in enumerate(columns):
        moved = random.random(n_rows) < FRACTION_MOVED
        rows[moved, f] = random.choice(numbers, int(moved.sum()))
    return rows
