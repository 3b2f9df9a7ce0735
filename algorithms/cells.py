"""The cells that a forest's tests cut the input space into, and a row that lies in each.

Along one feature two values between which no test tells belong to one cell; a cell of the space is a choice of one cell a
feature. Every row, those with missing values and unseen categories too, answers like the representative of its cell.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import float32_below
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import set_codes


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one feature.

    Attributes
    ----------
    feature : int
        Which one.
    values : ndarray of shape (n_cells,)
        A value in each cell: a missing one first, where the forest takes them, then rising.
    splits : ndarray of shape (n_splits,)
        The splits that test the feature, numbered through the forest.
    left : ndarray of shape (n_cells, n_splits) bool
        Which cells go left at which of them.
    """

    feature: int
    values: NDArray[Any]
    splits: NDArray[np.intp]
    left: NDArray[np.bool_]


def find_cells(forest: Forest) -> list[Cells]:
    """The cells of each feature that some split tests.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return [_cells_of(forest, int(f)) for f in np.unique(forest.nodes.feature[~forest.is_leaf])]


def count_cells(cells: list[Cells]) -> int:
    """The number of cells of the space: the product of the numbers along the features."""
    return math.prod(len(along.values) for along in cells)


def rows_in(forest: Forest, cells: list[Cells], chosen: NDArray[np.intp]) -> NDArray[Any]:
    """A row in each chosen cell of the space, of the forest's `x_dtype`; `chosen` has a column for each entry of `cells`."""
    rows = np.zeros((len(chosen), forest.n_features), forest.x_dtype)
    for k, along in enumerate(cells):
        rows[:, along.feature] = along.values[chosen[:, k]]
    return rows


def _cells_of(forest: Forest, feature: int) -> Cells:
    splits = np.flatnonzero(forest.nodes.feature == feature)
    values = _candidates(forest, splits)
    left = _go_left(forest, feature, splits, values)
    _, first = np.unique(np.packbits(left, axis=1), axis=0, return_index=True)
    kept = np.sort(first)
    return Cells(feature, values[kept], splits, left[kept])


def _candidates(forest: Forest, splits: NDArray[np.intp]) -> NDArray[Any]:
    """Values of which at least one lies in every cell: both sides of every threshold, of every code, and a missing one."""
    dtype = np.dtype(forest.x_dtype)
    sets = forest.nodes.category_set[splits]
    thresholds = np.unique(forest.nodes.threshold[splits[sets < 0]])
    below = (float32_below(thresholds) if dtype == np.float32 else thresholds).astype(dtype)
    codes = sorted({code for s in np.unique(sets[sets >= 0]) for code in set_codes(forest.category_sets, s)})
    ends = np.unique(
        np.array([-1, *codes, *(code + 1 for code in codes)] if (sets >= 0).any() else [], dtype)
    )
    with np.errstate(over="ignore"):
        beside = [np.nextafter(below, dtype.type(np.inf)), np.nextafter(ends, dtype.type(-np.inf))]
    numbers = np.unique(np.concatenate([below, ends, *beside]))
    missing = np.full(int(forest.handles_nan), np.nan, dtype)
    return np.concatenate([missing, numbers])


def _go_left(
    forest: Forest, feature: int, splits: NDArray[np.intp], values: NDArray[Any]
) -> NDArray[np.bool_]:
    rows = np.zeros((len(values), forest.n_features), values.dtype)
    rows[:, feature] = values
    x = forest.rows(rows)[:, feature].astype(np.float64)
    nodes = forest.nodes
    left = x[:, None] <= nodes.threshold[splits]
    code = np.floor(x)
    for k in np.flatnonzero(nodes.category_set[splits] >= 0):
        left[:, k] = np.isin(code, set_codes(forest.category_sets, nodes.category_set[splits[k]]))
    return np.where(np.isnan(x)[:, None], nodes.nan_left[splits], left)
