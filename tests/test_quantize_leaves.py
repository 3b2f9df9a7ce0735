"""QuantizeLeaves: one grid, few values, sums without rounding, and a bound that is not idle."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import forests, hard_rows
from test_forest import two_trees

from ensemble_compress.algorithms import QuantizeLeaves, RefitLeaves
from ensemble_compress.data import Data
from ensemble_compress.fixed_point import emulate_scores, exact_exponent, fixed_point
from ensemble_compress.forest import Forest

NAMES = [
    "boosting squared_error", "random forest gaps", "xgb regression", "xgb multiclass", "xgb vector leaves",
    "lgb regression", "lgb multiclass", "random forest two columns", "xgb rank:ndcg",
]  # fmt: skip
ALL = [QuantizeLeaves(), QuantizeLeaves(bits=2), QuantizeLeaves(bits=5), QuantizeLeaves(bits=12)]
ALL += [QuantizeLeaves(bits=bits, method="kmeans") for bits in (1, 3, 6)]


def used_values(forest: Forest) -> Any:
    return forest.values[forest.nodes.leaf[forest.is_leaf]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_values_are_few_and_lie_on_a_grid_of_few_bits(algorithm: QuantizeLeaves, name: str) -> None:
    small = algorithm(zoo.forest(name))
    unit = 2.0 ** exact_exponent(np.append(small.values.ravel(), small.bias))
    bits = algorithm.bits if algorithm.method == "uniform" else 16
    assert small.values.dtype == np.float64
    assert np.abs(small.values / unit).max() < 2 ** (bits - 1) * max(1, _unit_gap(small, unit))
    assert len(np.unique(small.values)) <= 2**bits
    if algorithm.method == "kmeans":
        assert small.n_values <= 2**algorithm.bits


def _unit_gap(forest: Forest, unit: float) -> float:
    """How many units make the unit of the leaves alone: the bias may be a finer multiple where leaves are few."""
    return 2.0 ** exact_exponent(forest.values.ravel()) / unit if forest.values.any() else 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_integers_say_all_of_a_quantised_model(algorithm: QuantizeLeaves, name: str) -> None:
    small, rows = algorithm(zoo.forest(name)), zoo.rows(name)
    point = fixed_point(small)
    assert point.is_exact
    scores = np.ldexp(emulate_scores(small, rows).astype(float), point.exponent) / small.divisor
    if small.x_dtype == "float32":
        assert_array_equal(small.margin(rows), scores)


@settings(max_examples=60)
@given(forests(), st.sampled_from(ALL))
def test_sums_are_exact_in_any_order(forest: Forest, algorithm: QuantizeLeaves) -> None:
    small = replace(algorithm(forest), divisor=1.0)
    rows = hard_rows(small, 10)
    leaves = small.nodes.leaf[small.find_leaves(rows)]
    margin = small.margin(rows)
    for i, k in itertools.product(range(len(rows)), range(small.n_outputs)):
        terms = [float(small.bias[k])]
        for t in range(small.n_trees):
            value = small.values[leaves[i, t]]
            if small.tree_output[t] in (-1, k):
                terms.append(float(value[k if len(value) > 1 else 0]))
        assert math.fsum(terms) == margin[i, k]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_bound_is_at_most_half_a_unit_for_each_tree(name: str, bits: int) -> None:
    forest = zoo.forest(name)
    values = used_values(forest).astype(float)
    # A unit is less than twice the finest that so many bits allow.
    half_unit = np.abs(values).max() / (2 ** (bits - 1) - 1)
    n_added = forest.n_trees * forest.values.shape[1] / forest.n_outputs
    algorithm = QuantizeLeaves(bits=bits)
    assert 0 < algorithm.bound(forest) <= (n_added + 1) * half_unit / forest.divisor + 1e-5
    margin = forest.margin(zoo.rows(name)).astype(float)
    change = np.abs(algorithm(forest).margin(zoo.rows(name)) - margin).max()
    assert algorithm.bound(forest) / 20 < change <= algorithm.bound(forest)


def test_a_row_of_values_that_no_leaf_names_overflows_nothing() -> None:
    forest = two_trees()
    values = np.append(np.full((len(forest.values), 1), 2e-311), [[1.0]], axis=0)
    found = QuantizeLeaves(bits=2)(replace(forest, values=values, bias=np.zeros(1)))
    assert np.abs(found.values).max() < 1e-300


@given(forests(values=st.floats(-100, 100)), st.integers(2, 15))
def test_a_bit_more_never_bounds_worse_by_much(forest: Forest, bits: int) -> None:
    """A finer grid holds the coarser one."""
    coarse, fine = (QuantizeLeaves(bits=b).bound(forest) for b in (bits, bits + 1))
    largest = np.abs(used_values(forest)).max() / forest.divisor
    assert fine <= coarse + 4 * forest.n_trees * largest / 2**bits + 1e-6


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_a_constant_model_keeps_its_constant(algorithm: QuantizeLeaves) -> None:
    forest = zoo.forest("boosting squared_error").take([])
    assert algorithm(forest).bias[0] == pytest.approx(forest.bias[0], rel=1e-8)
    zeros = zoo.forest("boosting squared_error")
    zeros = zeros.with_values(np.zeros((zeros.n_leaves, 1)))
    assert algorithm(zeros).bias[0] == pytest.approx(zeros.bias[0], rel=1e-8)


def test_a_tree_far_from_zero_does_not_drown_the_others() -> None:
    """The first tree holds the mean in all its leaves; the bias takes it over."""
    forest = zoo.forest("boosting squared_error")
    values = used_values(forest) + 1000.0 * (forest.tree_of_node[forest.is_leaf] == 0)[:, None]
    far, rows = forest.with_values(values), zoo.rows("boosting squared_error")
    change = np.abs(QuantizeLeaves(bits=8)(far).margin(rows) - far.margin(rows)).max()
    assert change < 0.05
    assert change <= QuantizeLeaves(bits=8).bound(far) < 0.05


def test_values_that_no_leaf_names_do_not_coarsen_the_grid() -> None:
    forest = zoo.forest("xgb multiclass")
    odd = replace(forest, values=np.concatenate([forest.values, np.float32([[1e30]])]))
    rows = zoo.rows("xgb multiclass")
    assert_array_equal(QuantizeLeaves()(forest).margin(rows), QuantizeLeaves()(odd).margin(rows))


def test_a_codebook_keeps_rows_that_it_has_room_for() -> None:
    forest = zoo.forest("boosting squared_error").take([0])
    small = QuantizeLeaves(bits=6, method="kmeans")(forest)
    assert forest.n_values == small.n_values <= 64
    assert_allclose(
        forest.margin(zoo.rows("boosting squared_error")),
        small.margin(zoo.rows("boosting squared_error")),
        rtol=1e-3,
    )


def test_a_codeword_is_the_weighted_mean_of_its_rows_and_the_nearest_to_each() -> None:
    forest = zoo.forest("random forest gaps")
    small = QuantizeLeaves(bits=3, method="kmeans")(forest)
    rows, codes = used_values(forest), used_values(small)
    words = np.unique(codes, axis=0)
    distance = np.square(rows[:, None] - words[None]).sum(axis=2)
    chosen = np.square(rows - codes).sum(axis=1)
    assert_allclose(distance.min(axis=1), chosen, atol=2e-3)
    cover = forest.nodes.cover[forest.is_leaf]
    distinct, index = np.unique(rows, axis=0, return_inverse=True)
    weight = np.sqrt(np.bincount(index, cover))
    for word in words:
        members = np.unique(index[(codes == word).all(axis=1)])
        mean = np.average(distinct[members], axis=0, weights=weight[members])
        assert_allclose(mean, word, atol=2e-3)


@pytest.mark.parametrize(
    "values", [[0.0, 1e-200, 3e-200, 1.0], [1e300, -1e300, 1.0, 2.0], [5e-324, 1e-323, 2e-323, 3e-323]]
)
def test_numbers_that_no_distance_can_tell_apart_make_fewer_codewords(values: list[float]) -> None:
    forest = zoo.forest("xgb deep")
    many = forest.with_values(np.resize(np.array(values), (forest.n_leaves, 1)))
    assert 1 <= QuantizeLeaves(bits=1, method="kmeans")(many).n_values <= 2


def test_a_refitted_booster_survives_eight_bits() -> None:
    name = "boosting binary"
    X, y = zoo.data("binary")
    forest = RefitLeaves()(zoo.forest(name), Data(zoo.forest(name).rows(X), y))
    agree = QuantizeLeaves()(forest).predict(X) == forest.predict(X)
    assert agree.mean() > 0.98


@pytest.mark.parametrize("bias", [1e3, 1e9, 1e20])
def test_a_large_bias_coarsens_the_grid_until_sums_fit_a_float64(bias: float) -> None:
    forest = zoo.forest("boosting squared_error")
    small = QuantizeLeaves(bits=16)(replace(forest, values=forest.values * 1e-9, bias=np.array([bias])))
    unit = 2.0 ** exact_exponent(np.append(small.values.ravel(), small.bias))
    assert small.n_trees * np.abs(small.values).max() + small.bias[0] <= 2.0**53 * unit
    assert small.bias[0] == pytest.approx(bias, rel=1e-12)
