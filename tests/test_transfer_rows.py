"""Synthetic rows: mixtures of two neighbours, cell by cell, the same for a seed."""

from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_array_equal

from ensemble_compress.algorithms import transfer_rows as module
from ensemble_compress.algorithms.transfer_rows import transfer_rows


def same_cells(row: Any, X: Any) -> Any:
    """Where each row of X has the cell of `row`, missing values included."""
    return (row == X) | (np.isnan(X) & np.isnan(row))


def test_every_cell_comes_from_the_row_or_from_one_of_its_five_nearest() -> None:
    X = np.random.default_rng(0).normal(size=(60, 6))
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    distance = np.square(scaled[:, None] - scaled[None]).sum(axis=2)
    near = np.argsort(distance, axis=1)[:, 1:6]
    made = transfer_rows(X, 300, 0)
    n_swapped = []
    for row in made:
        same = same_cells(row, X)
        pairs = [
            (a, b) for a in np.flatnonzero(same.any(axis=1)) for b in near[a] if (same[a] | same[b]).all()
        ]
        assert pairs
        n_swapped.append(min(6 - same[a].sum() for a, _ in pairs))
    assert 0.3 < np.mean(n_swapped) / 6 < 0.7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_any_column_types_stay_what_they_are(dtype: Any) -> None:
    X = zoo.data("binary", missing=True, categorical=True).X.astype(dtype)
    made = transfer_rows(X, 500, 3)
    assert (made.dtype, made.shape) == (dtype, (500, X.shape[1]))
    assert np.isnan(made).any()
    for f in range(X.shape[1]):
        assert set(made[:, f][~np.isnan(made[:, f])].tolist()) <= set(X[:, f].tolist())


def test_a_seed_makes_the_same_rows_and_another_others() -> None:
    X = zoo.data("binary", missing=True).X
    assert_array_equal(transfer_rows(X, 50, 1), transfer_rows(X, 50, 1))
    assert not np.array_equal(transfer_rows(X, 50, 1), transfer_rows(X, 50, 2), equal_nan=True)


def test_rows_without_a_missing_value_make_none() -> None:
    assert not np.isnan(transfer_rows(zoo.data("binary").X, 200, 0)).any()


def test_a_single_row_has_no_neighbour_and_makes_none() -> None:
    assert transfer_rows(np.ones((1, 3)), 10, 0).shape == (0, 3)
    assert transfer_rows(np.ones((5, 3)), 0, 0).shape == (0, 3)


@pytest.mark.parametrize("n_rows", [2, 3, 7])
def test_fewer_rows_than_neighbours_are_enough(n_rows: int) -> None:
    X = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    made = transfer_rows(X, 30, 0)
    assert all(same_cells(row, X).any(axis=0).all() for row in made)


@pytest.mark.parametrize(
    "column",
    [
        np.full(20, np.nan),
        np.zeros(20),
        np.resize([np.inf, -np.inf, np.nan], 20),
        np.resize([1.7e308, -1.7e308, 1.0], 20),
        np.resize([5e-324, 0.0], 20),
        np.resize([1e300, 1e300 + 1e290], 20),
    ],
)
def test_hard_columns_make_rows_of_their_own_numbers(column: Any) -> None:
    X = np.column_stack([column, np.arange(20.0)])
    made = transfer_rows(X, 40, 0)
    assert all(same_cells(row, X).any(axis=0).all() for row in made)


def test_no_more_rows_than_the_pool_are_looked_among(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_POOL", 30)
    X = np.random.default_rng(0).normal(size=(200, 3))
    assert len(np.unique(transfer_rows(X, 500, 0)[:, 0])) <= 30
