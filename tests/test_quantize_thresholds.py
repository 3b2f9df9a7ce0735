"""QuantizeThresholds: how large the grid is, and that rows on it keep their way."""

from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import forests
from test_simplify import forest_of

from ensemble_compress.algorithms import QuantizeThresholds
from ensemble_compress.fixed_point import exact_exponent
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes
from ensemble_compress.sizes import c_bytes, c_tables

NAMES = ["tree binary", "random forest gaps", "xgb regression", "lgb regression", "hist categories missing"]


def finite_thresholds(forest: Forest, f: int) -> Any:
    here = (forest.nodes.feature == f) & (forest.nodes.category_set < 0)
    at = np.unique(forest.nodes.threshold[here])
    return at[np.isfinite(at)]


def check_grid(forest: Forest, bits: int) -> None:
    """2**bits points at most, each below its threshold by less than a step, each a number of the type of X."""
    small = QuantizeThresholds(bits=bits)(forest)
    for f in range(forest.n_features):
        before, after = finite_thresholds(forest, f), finite_thresholds(small, f)
        assert len(after) <= min(2**bits, len(before))
        if len(before) < 2 or len(after) == 0:
            continue
        unit = 2.0 ** exact_exponent(after) if after.any() else 0.0
        if unit:
            assert after[-1] / unit - after[0] / unit <= 2**bits - 1
        assert after[0] <= before[-1]
        with np.errstate(over="ignore"):
            assert_array_equal(after, after.astype(forest.x_dtype).astype(float))


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
@given(forest=forests(max_splits=12))
def test_any_grid_is_small(bits: int, forest: Forest) -> None:
    finite = forest.nodes.threshold
    limit = float(np.finfo(forest.x_dtype).max)
    if (np.abs(finite[np.isfinite(finite)]) <= limit).all():
        check_grid(forest, bits)


@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16])
@pytest.mark.parametrize("name", NAMES)
def test_the_grid_of_a_trained_model_is_small(bits: int, name: str) -> None:
    check_grid(zoo.forest(name), bits)


def rows_on_grid(forest: Forest, small: Forest, n_rows: int = 200, seed: int = 0) -> Any:
    """Rows of points of the grid, where a feature has one: multiples of the largest unit of its new thresholds."""
    random = np.random.default_rng(seed)
    columns = []
    for f in range(forest.n_features):
        at = finite_thresholds(small, f)
        unit = 2.0 ** exact_exponent(at) if at.any() else 1.0
        columns.append(random.choice(np.concatenate([at, at + unit, at - unit, [0.0]]), n_rows))
    return np.column_stack(columns)


@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16])
@pytest.mark.parametrize("name", NAMES)
def test_rows_on_the_grid_keep_their_margins(bits: int, name: str) -> None:
    forest = zoo.forest(name)
    small = QuantizeThresholds(bits=bits)(forest)
    rows = rows_on_grid(forest, small)
    for f in zoo.CATEGORICAL if "categories" in name else ():
        rows[:, f] = np.arange(len(rows)) % 9
    assert small.n_thresholds <= forest.n_thresholds
    assert_array_equal(forest.margin(rows), small.margin(rows))


@given(st.lists(st.integers(-(2**20), 2**20), min_size=2, max_size=8), st.integers(-300, 300))
def test_integers_within_the_bits_stay_as_they_are(places: list[int], power: int) -> None:
    """Thresholds on a grid of 2**16 points of a power of two are on the grid that is found."""
    low = min(places)
    at = np.ldexp([float(low + (p - low) % 2**16) for p in places], power)
    tree: Any = 0.0
    for k, threshold in enumerate(np.unique(at)):
        tree = (0, float(threshold), False, tree, float(k + 1))
    forest = forest_of(tree)
    small = QuantizeThresholds(bits=16)(forest)
    assert_array_equal(finite_thresholds(forest, 0), finite_thresholds(small, 0))


def test_thresholds_are_rounded_down_to_a_power_of_two_step() -> None:
    forest = forest_of((0, 0.3, False, 1.0, (0, 255.9, False, 2.0, 3.0)))
    assert QuantizeThresholds(bits=8)(forest).nodes.threshold[[0, 2]].tolist() == [0.0, 255.0]
    below = forest_of((0, -0.3, False, 1.0, (0, 254.9, False, 2.0, 3.0)))
    assert QuantizeThresholds(bits=8)(below).nodes.threshold[[0, 2]].tolist() == [-1.0, 254.0]


def test_splits_that_fall_together_go() -> None:
    forest = forest_of((0, 0.0, False, 0.0, (0, 1000.0, False, (0, 0.5, False, 1.0, 2.0), 3.0)))
    assert QuantizeThresholds(bits=8)(forest).n_leaves == 3


def test_one_threshold_and_infinite_ones_stay() -> None:
    forest = forest_of((0, 0.3, False, 1.0, (1, np.inf, False, (1, -np.inf, False, 4.0, 2.0), 3.0)))
    assert_array_equal(forest.nodes.threshold, QuantizeThresholds(bits=8)(forest).nodes.threshold)


def test_the_ends_of_the_number_line_do_not_overflow() -> None:
    largest = float(np.finfo(np.float64).max)
    forest = forest_of((0, -largest, False, 1.0, (0, largest, False, (0, 1.0, False, 4.0, 2.0), 3.0)))
    small = QuantizeThresholds(bits=8)(forest)
    assert small.margin([[-np.inf, 0, 0], [np.inf, 0, 0]]).tolist() == [[1.0], [3.0]]


def stumps(thresholds: Any, cover: Any = None) -> Forest:
    """A stump for each threshold, with leaves of its own: no two of them fall together."""
    n = len(thresholds)
    columns = Nodes(
        feature=np.tile([0, -1, -1], n),
        threshold=np.column_stack([thresholds, np.zeros((n, 2))]).ravel(),
        right=np.column_stack([3 * np.arange(n) + 2, np.full((n, 2), -1)]).ravel(),
        nan_left=np.zeros(3 * n, bool),
        category_set=np.full(3 * n, -1),
        leaf=np.column_stack([np.full(n, -1), 2 * np.arange(n), 2 * np.arange(n) + 1]).ravel(),
        cover=np.repeat(np.ones(n) if cover is None else cover, 3),
        node_id=np.arange(3 * n),
    )
    values = np.arange(2.0 * n)[:, None]
    return Forest(columns, 3 * np.arange(n + 1), np.zeros(n, int), values, np.zeros(1), 1, x_dtype="float64")


def moved(forest: Forest, algorithm: QuantizeThresholds) -> Any:
    return algorithm(forest).nodes.threshold[::3]


@settings(max_examples=50)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_by_kmeans_some_of_the_thresholds_stand_for_all_in_their_order(
    thresholds: list[float], bits: int, seed: int
) -> None:
    at = np.sort(np.array(thresholds))
    found = moved(stumps(at), QuantizeThresholds(bits, "kmeans", seed))
    assert len(np.unique(found)) <= 2**bits
    assert np.isin(found, at).all()
    assert (np.diff(found) >= 0).all()
    if len(np.unique(at)) <= 2**bits:
        assert_array_equal(at, found)


def test_kmeans_moves_uneven_thresholds_less_than_a_grid_of_as_many_points() -> None:
    at = np.sort(np.random.default_rng(0).lognormal(sigma=2, size=300))
    forest = stumps(at)
    for bits in (3, 4, 5):
        even, some = (
            np.square(moved(forest, QuantizeThresholds(bits, method)) - at).mean()
            for method in ("uniform", "kmeans")
        )
        assert some < even / 4


def test_thresholds_of_much_cover_move_less() -> None:
    at = np.arange(20.0)
    for heavy in (range(5), range(15, 20)):
        cover = np.where(np.isin(np.arange(20), heavy), 1e6, 1.0)
        found = moved(stumps(at, cover), QuantizeThresholds(2, "kmeans"))
        distance = np.abs(found - at)
        assert distance[list(heavy)].mean() < distance.mean() / 2


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
@pytest.mark.parametrize(
    "name", ["random forest gaps", "xgb regression", "lgb regression", "xgb vector leaves"]
)
def test_fewer_bits_never_take_more_bytes_of_tables(name: str, method: Any) -> None:
    sizes = [c_tables(QuantizeThresholds(bits, method)(zoo.forest(name))).n_bytes for bits in (2, 4, 8)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] <= c_bytes(zoo.forest(name))
