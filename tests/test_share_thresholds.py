"""ShareThresholds: given rows stay to the bit, and no fewer thresholds could keep them."""

import itertools
from typing import Any

import numpy as np
import oracle
import pytest
import zoo
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestRegressor
from strategies import forests, hard_rows
from test_simplify import forest_of

from ensemble_compress.algorithms import ShareThresholds
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read


@given(forests(), st.integers(0, 2**32 - 1))
def test_given_rows_keep_their_margins_to_the_bit(forest: Forest, seed: int) -> None:
    rows = hard_rows(forest, 25, seed)
    small = ShareThresholds()(forest, Data(rows))
    assert forest.margin(rows).tobytes() == small.margin(rows).tobytes()
    assert small.n_thresholds <= forest.n_thresholds


@given(forests(categorical=False), st.integers(0, 2**32 - 1))
def test_given_rows_keep_their_leaves(forest: Forest, seed: int) -> None:
    """With a value of its own in each leaf nothing collapses, and a value names a leaf."""
    forest = forest.with_values(
        np.arange(float(forest.n_leaves))[:, None] @ np.ones((1, forest.values.shape[1]))
    )
    rows = hard_rows(forest, 25, seed)
    small = ShareThresholds()(forest, Data(rows))
    for t in range(forest.n_trees):
        if small.n_trees == forest.n_trees:
            was, now = (f.values[f.nodes.leaf[f.find_leaves(rows)[:, t]]] for f in (forest, small))
            assert_array_equal(was, now)


def intervals(forest: Forest, X: Any, f: int) -> list[tuple[float, float]]:
    """For each split on `f` where its threshold may lie, [low, high), by walking every row in Python."""
    left: dict[int, list[float]] = {int(j): [] for j in np.flatnonzero(forest.nodes.feature == f)}
    right: dict[int, list[float]] = {j: [] for j in left}
    for row in oracle.cast(forest, X):
        for j in oracle.roots(forest):
            while oracle.is_split(forest, j):
                goes_left = oracle.goes_left(forest, j, row[int(forest.nodes.feature[j])])
                if j in left:
                    (left if goes_left else right)[j].append(row[f])
                j = oracle.children(forest, j)[not goes_left]
    return [(max(left[j]), min(right[j])) for j in left]


def fewest_points(spans: list[tuple[float, float]]) -> int:
    """The size of the smallest set with a point in each half-open span, by trying all sets of low ends."""
    if not spans:
        return 0
    points = sorted({low for low, _ in spans})
    for k in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, k):
            if all(any(low <= p < high for p in chosen) for low, high in spans):
                return k
    raise AssertionError("the low ends stab everything")


@pytest.mark.parametrize("seed", range(6))
def test_no_fewer_thresholds_could_keep_the_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    X = random.integers(0, 14, (40, 2)) / 8.0 if seed % 2 else random.normal(size=(40, 2)).astype(np.float32)
    # Without bootstrap every split has rows on both sides.
    model = RandomForestRegressor(6, max_depth=3, bootstrap=False, max_features=1, random_state=seed)
    forest = read(model.fit(X, random.normal(size=40)))
    small = ShareThresholds()(forest, Data(forest.rows(X)))
    assert small.n_nodes == forest.n_nodes
    optimum = [fewest_points(intervals(forest, X, f)) for f in range(2)]
    found = [len(np.unique(small.nodes.threshold[small.nodes.feature == f])) for f in range(2)]
    assert optimum == found
    assert sum(optimum) < forest.n_thresholds


@pytest.mark.parametrize(
    "name", ["random forest gaps", "xgb regression", "lgb regression", "hist categories missing"]
)
def test_points_are_short_float32_numbers(name: str) -> None:
    forest, rows = zoo.forest(name), zoo.rows(name)[:200]
    small = ShareThresholds()(forest, Data(rows))
    at = small.nodes.threshold[np.isfinite(small.nodes.threshold)]
    assert_array_equal(at.astype(np.float32).astype(float), at)
    assert forest.margin(rows).tobytes() == small.margin(rows).tobytes()
    few = ShareThresholds()(forest, Data(rows[:10]))
    assert few.n_thresholds < small.n_thresholds < forest.n_thresholds


def test_the_shortest_point_of_an_interval_is_taken() -> None:
    """Between 0.9 and 1.3 lies 1.0, between 2.9 and 4.7 lies 4.0."""
    forest = forest_of((0, 1.1, False, 1.0, (0, 3.3, False, 2.0, 3.0)))
    rows = np.array([[0.9, 0, 0], [1.3, 0, 0], [2.9, 0, 0], [4.7, 0, 0]])
    small = ShareThresholds()(forest, Data(rows))
    assert small.nodes.threshold[[0, 2]].tolist() == [1.0, 4.0]


def test_an_interval_between_two_float32_numbers_keeps_its_lower_end() -> None:
    low, high = 1 + 2.0**-40, 1 + 2.0**-39
    forest = forest_of((0, 1 + 1.5 * 2.0**-40, False, 1.0, 2.0))
    small = ShareThresholds()(forest, Data(np.array([[low, 0, 0], [high, 0, 0]])))
    assert small.nodes.threshold[0] == low


def test_a_threshold_never_moves_past_a_value_that_was_seen() -> None:
    """No row of the column goes right, or reaches the inner split, and yet 2.0 and 5.0 stay where they were."""
    forest = forest_of((0, 1.9, False, (0, 1.5, False, 1.0, 2.0), 3.0))
    rows = np.array([[1.0, 0, 0], [1.875, 0, 0]])
    small = ShareThresholds()(forest, Data(rows))
    assert 1.875 <= small.nodes.threshold[0] <= 1.9
    assert 1.0 <= small.nodes.threshold[1] < 1.875


def test_columns_of_missing_and_infinite_values_leave_thresholds_alone() -> None:
    forest = forest_of((0, 0.1, False, 1.0, (0, 0.7, True, 2.0, 3.0)))
    for value in (np.nan, np.inf, -np.inf):
        rows = np.full((3, 3), value)
        small = ShareThresholds()(forest, Data(rows))
        assert_array_equal(forest.nodes.threshold, small.nodes.threshold)


def test_the_largest_numbers_do_not_overflow() -> None:
    largest = float(np.finfo(np.float64).max)
    forest = forest_of((0, largest, False, (0, -largest, False, 1.0, 2.0), 3.0))
    rows = np.array([[largest, 0, 0], [-largest, 0, 0], [np.inf, 0, 0]])
    small = ShareThresholds()(forest, Data(rows))
    assert small.margin(rows).tolist() == [[2.0], [1.0], [3.0]]
