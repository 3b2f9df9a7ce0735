"""Sizes are counted from the tables themselves, and the integers of an export are those that were promised."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import forests, hard_rows

from ensemble_compress import sizes
from ensemble_compress.engines.columns import float32_below
from ensemble_compress.errors import ParameterError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

POWERS = st.integers(-64, 64).map(lambda n: n / 16)


def as_float32(X: np.ndarray) -> np.ndarray:
    """The rows as an export reads them."""
    with np.errstate(over="ignore"):
        return X.astype(np.float32)


def stumps(thresholds: list[float], values: list[list[float]], **others: object) -> Forest:
    """One-split trees on feature 0, with leaves of their own."""
    n = len(thresholds)
    feature = np.tile([0, -1, -1], n)
    nodes = Nodes(
        feature=feature,
        threshold=np.ravel([[t, 0, 0] for t in thresholds]),
        right=np.ravel([[3 * t + 2, -1, -1] for t in range(n)]),
        nan_left=np.zeros(3 * n, bool),
        category_set=np.full(3 * n, -1),
        leaf=np.ravel([[-1, 2 * t, 2 * t + 1] for t in range(n)]),
        cover=np.zeros(3 * n),
        node_id=np.zeros(3 * n),
    )
    fields = {"tree_output": np.zeros(n), "bias": [0.0], "n_features": 1} | others
    return Forest(nodes, np.arange(n + 1) * 3, values=np.reshape(values, (-1, 1)), **fields)


@pytest.mark.parametrize("optimize", ["size", "speed"])
@given(forests())
def test_the_planned_size_is_the_size_of_the_tables(optimize: sizes.Optimize, forest: Forest) -> None:
    tables = sizes.c_tables(forest, "float", optimize)
    filled = tables.stream.nbytes + tables.bias.nbytes + tables.trees_of_output.nbytes
    assert sizes.c_bytes(forest, "float", optimize) == filled == tables.n_bytes
    assert sum(sizes.bytes_by_part(forest, "float", optimize).values()) == filled


def test_two_stumps_take_the_bytes_that_a_pencil_finds() -> None:
    forest = stumps([1.0, 2.0], [[0.0, 1.0], [0.0, 1.0]])
    # Tests: feature 0 bits; thresholds 1.0 and 2.0 differ by one step of 2**23: 1 bit each. Trees: a test's number (1 bit)
    # and two values of 1 bit. Three bytes of padding.
    expected = {
        "tests": 1,
        "structure": 1,
        "leaves": 0,
        "values": 0,
        "sets": 0,
        "bias": 0,
        "outputs": 0,
        "padding": 3,
    }
    assert sizes.bytes_by_part(forest) == expected
    assert sizes.c_tables(forest).stream.tolist() == [0b10, 0b101_100, 0, 0, 0]
    assert sizes.plain_bytes(forest) == 6 * 8


def test_plain_bytes_count_each_further_output_of_a_leaf() -> None:
    forest = stumps([1.0], [[0.0, 1.0]])
    wide = Forest(
        forest.nodes, [0, 3], [-1], values=np.eye(2, 3), bias=np.zeros(3), n_features=1, classes=np.arange(3)
    )
    assert sizes.plain_bytes(wide) == 3 * 8 + 2 * 2 * 4


def test_a_tree_that_always_says_the_same_costs_nothing() -> None:
    forest = stumps([1.0], [[0.0, 1.0]])
    with_constant = stumps([1.0, 7.0], [[0.0, 1.0], [0.0, 0.0]])
    assert sizes.c_bytes(with_constant) == sizes.c_bytes(forest)


def test_shared_values_are_stored_once() -> None:
    rng = np.random.default_rng(0)
    own = stumps(list(range(200)), rng.normal(size=(200, 2)).tolist())
    shared = stumps(list(range(200)), rng.choice([0.25, 3.7, -1.2], (200, 2)).tolist())
    assert sizes.bytes_by_part(shared)["values"] <= 12
    assert sizes.c_bytes(shared) < sizes.c_bytes(own) / 2


@given(forests(values=POWERS))
def test_multiples_of_a_power_of_two_add_up_exactly(forest: Forest) -> None:
    X = hard_rows(forest, 30)
    point = sizes.fixed_point(forest)
    assert point.is_exact
    rows = as_float32(X).astype(X.dtype)
    expected = oracle.margins(forest, rows) * forest.divisor
    actual = sizes.emulate_scores(forest, rows) * 2.0**point.exponent
    # The oracle's sums are exact too; only dividing and multiplying again rounds.
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    if forest.divisor == 1.0:
        np.testing.assert_array_equal(expected, actual)


@given(forests(values=st.floats(-1e6, 1e6), value_dtypes=("float64",)))
def test_scores_stay_within_the_stated_bound(forest: Forest) -> None:
    X = as_float32(hard_rows(forest, 30))
    point = sizes.fixed_point(forest)
    expected = oracle.margins(forest, X.astype(forest.x_dtype)) * forest.divisor
    actual = sizes.emulate_scores(forest, X) * 2.0**point.exponent
    largest = 1e6 * (forest.n_trees + 1)
    assert np.abs(actual - expected).max(initial=0) <= point.bound + largest * 1e-14
    assert point.bound <= (forest.n_trees + 1) * 2.0**point.exponent / 2


@given(forests())
def test_no_partial_sum_leaves_32_bits(forest: Forest) -> None:
    point = sizes.fixed_point(forest)
    largest = np.abs(point.bias.astype(np.int64)).max()
    for t in range(forest.n_trees):
        leaves = forest.nodes.leaf[forest.tree_start[t] : forest.tree_start[t + 1]]
        largest += np.abs(point.values[leaves[leaves >= 0]].astype(np.int64)).max()
    assert largest < 2**31 * forest.n_outputs  # the sum over outputs bounds the sum of any of them
    assert np.abs(sizes.emulate_scores(forest, hard_rows(forest, 5)).astype(np.int64)).max() < 2**31


def test_the_unit_is_as_fine_as_32_bits_allow() -> None:
    point = sizes.fixed_point(stumps([0.0], [[0.1, 1 / 3]]))
    assert 2**30 <= np.abs(point.values).max() < 2**31


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_float32_below_is_the_largest_float32_not_above(thresholds: list[float]) -> None:
    t = np.array(thresholds)
    below = float32_below(t)
    with np.errstate(over="ignore"):
        above = np.nextafter(below, np.float32(np.inf))
    assert below.dtype == np.float32
    assert (below <= t).all()
    assert ((above > t) | (t == np.inf)).all()


def test_integer_input_refuses_what_lies_outside_its_type() -> None:
    forest = stumps([100.5, 200.0], [[0.0, 1.0], [0.0, 2.0]])
    assert sizes.c_bytes(forest, "int16") <= sizes.c_bytes(forest)
    with pytest.raises(
        UnsupportedModelError, match=r"tree 1, node 0: the threshold 200 of feature 0 is outside int8_t"
    ):
        sizes.c_bytes(forest, "int8")


def test_an_unknown_input_or_aim_is_refused() -> None:
    forest = stumps([1.0], [[0.0, 1.0]])
    with pytest.raises(ParameterError, match=r"input is 'int4'; expected 'float', 'int16' or 'int8'"):
        sizes.c_bytes(forest, "int4")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"optimize is 'both'; expected 'size' or 'speed'"):
        sizes.c_bytes(forest, "float", "both")  # type: ignore[arg-type]


def test_labels_need_a_classifier() -> None:
    with pytest.raises(UnsupportedModelError, match="this forest is a regression model"):
        sizes.emulate_labels(stumps([1.0], [[0.0, 1.0]]), [[0.0]])
