"""Keys of rows: ranks have to be what a search through all thresholds finds, wherever a value lies and however they are spread."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_compress.engines import columns
from ensemble_compress.nodes import CategorySets, Nodes

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="the search is written in LLVM's terms"
)

SETS = CategorySets(start=np.zeros(1, np.int32), words=np.zeros(0, np.uint32))
numbers = st.floats(-1e308, 1e308, width=64)


@numba.njit  # type: ignore[untyped-decorator]
def find(of: Any, X: Any, n_rows: int, keys: Any) -> Any:
    scratch = np.zeros(columns.GROUP, np.float64), np.zeros(columns.GROUP, np.int32)
    any_missing = columns.find_keys(of, (0, len(of.feature)), X, 0, n_rows, scratch, keys)
    columns.copy_below(of, n_rows, keys)
    return any_missing


def splits_on(thresholds: Any, nan_left: Any) -> Nodes:
    n = len(thresholds)
    none = np.full(n, -1, np.int32)
    return Nodes(
        np.zeros(n, np.int32),
        np.asarray(thresholds, float),
        none,
        np.asarray(nan_left, bool),
        none,
        none,
        np.ones(n),
        none,
    )


def assert_ranks(thresholds: Any, values: Any, dtype: Any = np.int8) -> None:
    """Every test comes out by keys as it does by values, in either column."""
    nodes = splits_on(np.repeat(thresholds, 2), np.tile([False, True], len(thresholds)))
    found = columns.find_columns(nodes, SETS, np.arange(len(nodes.feature)), dtype, 10_000)
    assert found is not None
    of, column, key = found
    X = np.asarray(values, float)[:, None]
    room = -(-len(X) // columns.GROUP) * columns.GROUP
    keys = np.zeros((2 * len(of.feature), room), dtype)
    assert np.isnan(X).any() == find(of, X, len(X), keys)
    expected = np.where(np.isnan(X), nodes.nan_left, nodes.threshold >= X)
    np.testing.assert_array_equal(expected, keys[column, : len(X)].T.astype(int) <= key)


@settings(max_examples=200)
@given(st.lists(numbers, min_size=1, max_size=40), st.data())
def test_ranks_order_any_values_as_the_thresholds_do(thresholds: list[float], data: st.DataObject) -> None:
    near = [np.nextafter(x, side) for x in thresholds for side in (-np.inf, np.inf)]
    others = data.draw(st.lists(numbers, max_size=40))
    assert_ranks(thresholds, [*thresholds, *near, *others, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32])
@pytest.mark.parametrize(
    "thresholds",
    [
        np.linspace(-1, 1, 254),
        np.exp(np.linspace(-300, 300, 200)),
        np.random.default_rng(0).standard_cauchy(250),
        np.append(np.arange(100) / 100, 1e300),
        [-np.finfo(float).max, 0.0, np.finfo(float).max],
        [-np.inf, 0.0, np.inf],
        np.arange(9) * 5e-324,
        [0.0],
        [-0.0, 1.0],
    ],
    ids=[
        "even",
        "exponential",
        "Cauchy",
        "one far out",
        "whole range",
        "infinite",
        "subnormal",
        "one",
        "zero",
    ],
)
def test_ranks_are_right_however_the_thresholds_are_spread(thresholds: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    spread = rng.standard_normal(200) * 10.0 ** rng.integers(-300, 300, 200)
    assert_ranks(np.asarray(thresholds), [*thresholds, *spread, np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)


@pytest.mark.parametrize(
    "n_rows", [1, columns.FEWEST - 1, columns.FEWEST, columns.GROUP, columns.GROUP + 1, 100]
)
def test_ranks_of_any_number_of_rows(n_rows: int) -> None:
    assert_ranks(np.arange(50.0), np.random.default_rng(n_rows).uniform(-5, 55, n_rows))


@pytest.mark.parametrize("n_cuts", [253, 254, 255, 508, 509, 1000])
def test_a_feature_has_as_many_pairs_of_columns_as_its_thresholds_need(n_cuts: int) -> None:
    nodes = splits_on(np.arange(float(n_cuts)), np.zeros(n_cuts))
    of, column, key = columns.find_columns(nodes, SETS, np.arange(n_cuts), np.int8, 100)
    n_pairs = -(-n_cuts // 254)
    assert [0] * n_pairs == of.feature.tolist()
    assert len(set(zip(column.tolist(), key.tolist(), strict=True))) == n_cuts
    assert key.max() < of.ends[1] - 1
    assert_ranks(np.arange(float(n_cuts)), np.arange(-1, n_cuts + 1, 0.5))


def test_buckets_leave_few_steps_of_a_search() -> None:
    nodes = splits_on(np.random.default_rng(0).standard_normal(250), np.zeros(250))
    of, _, _ = columns.find_columns(nodes, SETS, np.arange(250), np.int8, 100)
    assert of.n_steps.tolist() == [3]
