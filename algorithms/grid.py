"""The tests that a forest asks, as a grid to grow on: rows as numbers of bins, and every split an edge between two.

A student that asks only what its teacher asks needs no other thresholds, and finds its splits by adding up histograms.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel
from ensemble_compress.engines.walk import is_in_set
from ensemble_compress.forest import Forest

MISSING = 255
"""The bin of a missing value."""

MOST_EDGES = 254
"""Thresholds of a feature that are taken, spread evenly over the weight of those that the forest has."""

MOST_SETS = 32
"""Category sets of a feature that are taken, those of the largest weight."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Columns of tests: one for the thresholds of a feature, one for each of its category sets.

    Attributes
    ----------
    feature : ndarray of shape (n_columns,) int32
        The feature of each column.
    category_set : ndarray of shape (n_columns,) int32
        The set that a column asks for, -1 where it compares with thresholds.
    edges : list of ndarray
        The rising thresholds of each column; a lone zero for a set.
    nan_left : ndarray of shape (n_columns,) bool
        Where the forest sends missing values at most of a column's tests, by weight.
    """

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    edges: list[NDArray[np.float64]]
    nan_left: NDArray[np.bool_]

    @classmethod
    def of(cls, forest: Forest) -> "Grid":
        """The grid of a forest's own tests."""
        nodes, weight = forest.nodes, np.maximum(forest.nodes.cover, 1.0)
        columns: list[tuple[int, int, NDArray[np.float64], bool]] = []
        for f in np.unique(nodes.feature[~forest.is_leaf]).tolist():
            asks = nodes.feature == f
            numeric = asks & (nodes.category_set < 0)
            if numeric.any():
                edges = _spread(nodes.threshold[numeric], weight[numeric])
                columns.append((f, -1, edges, _is_left(nodes.nan_left[numeric], weight[numeric])))
            sets = asks & (nodes.category_set >= 0)
            for s in _heaviest(nodes.category_set[sets], weight[sets]):
                same = nodes.category_set == s
                columns.append((f, s, np.zeros(1), _is_left(nodes.nan_left[same], weight[same])))
        feature = np.array([column[0] for column in columns], np.int32)
        category_set = np.array([column[1] for column in columns], np.int32)
        nan_left = np.array([column[3] for column in columns], bool)
        return cls(feature, category_set, [column[2] for column in columns], nan_left)

    @property
    def n_edges(self) -> NDArray[np.int32]:
        """The number of tests of each column, shape (n_columns,)."""
        return np.array([len(edges) for edges in self.edges], np.int32)

    def bins(self, forest: Forest, X: NDArray[Any]) -> NDArray[np.uint8]:
        """The bin of each row in each column, shape (n_columns, n_rows): test e sends the bins up to e to the left.

        Parameters
        ----------
        forest : Forest
            The forest whose sets the columns name.
        X : ndarray of shape (n_rows, n_features)
            Rows as the forest reads them.
        """
        out = np.empty((len(self.edges), len(X)), np.uint8)
        sets = forest.category_sets
        for k, edges in enumerate(self.edges):
            column = np.ascontiguousarray(X[:, self.feature[k]])
            if self.category_set[k] < 0:
                out[k] = np.searchsorted(edges, column, side="left")
            else:
                _ask_set(sets.start, sets.words, self.category_set[k], column, out[k])
            out[k, np.isnan(column)] = MISSING
        return out

    def thresholds(self, column: NDArray[np.int32], edge: NDArray[np.int32]) -> NDArray[np.float64]:
        """The threshold of each pair of column and edge."""
        start = np.cumsum(self.n_edges) - self.n_edges
        return np.asarray(np.concatenate(self.edges)[start[column] + edge])


def _spread(thresholds: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distinct thresholds, rising; where there are too many, at even steps of their weight."""
    distinct, number = np.unique(thresholds, return_inverse=True)
    if len(distinct) <= MOST_EDGES:
        return distinct
    below = np.cumsum(np.bincount(number, weights=weight))
    wanted = below[-1] * (np.arange(MOST_EDGES) + 0.5) / MOST_EDGES
    return np.asarray(distinct[np.unique(np.searchsorted(below, wanted))])


def _is_left(nan_left: NDArray[np.bool_], weight: NDArray[np.float64]) -> bool:
    return bool(weight[nan_left].sum() > weight[~nan_left].sum())


def _heaviest(sets: NDArray[np.int32], weight: NDArray[np.float64]) -> list[int]:
    distinct, number = np.unique(sets, return_inverse=True)
    total = np.bincount(number, weights=weight, minlength=len(distinct))
    return [int(s) for s in distinct[np.sort(np.argsort(-total, kind="stable")[:MOST_SETS])]]


@kernel
def _ask_set(
    start: NDArray[np.int32],
    words: NDArray[np.uint32],
    s: int,
    column: NDArray[Any],
    out: NDArray[np.uint8],
) -> None:
    for i in range(len(column)):
        out[i] = 0 if is_in_set(start, words, s, column[i]) else 1
