"""PruneDepth: what cutting a tree costs, which depths are chosen, and how far it goes."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from random_cuts import cut_at_random, fewest_leaves, loss_of, mean_below, trained
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from ensemble_compress.algorithms import PruneDepth, layers
from ensemble_compress.algorithms.layers import Layers
from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, to_additive
from ensemble_compress.algorithms.levels import Rates
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read

NODES = Rates(1.0, 0.0, 1.0)
KINDS = ["random forest text", "boosting multiclass", "xgb vector leaves", "hist categories missing"]


def data_of(name: str) -> Data:
    entry = zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing, entry.categorical)
    codes = np.searchsorted(np.unique(y), y) if zoo.forest(name).is_classifier else y
    return Data(zoo.forest(name).rows(X), codes)


def small_booster(weighted: bool = False) -> tuple[Forest, Data]:
    X, y = zoo.data("regression")
    weight = np.random.default_rng(0).integers(1, 5, len(X)).astype(float) if weighted else None
    model = GradientBoostingRegressor(n_estimators=4, max_depth=2, learning_rate=0.5, random_state=0)
    forest = read(model.fit(X, y, sample_weight=weight))
    return forest, Data(forest.rows(X), y, weight)


def layers_of(forest: Forest, data: Data, rates: Rates = NODES) -> Layers:
    additive = to_additive(forest)
    return Layers.of(additive, LeafFit.of(additive, data, targets(additive, data, 0), 0.0), rates)


def cut_by_hand(forest: Forest, depth: Any) -> Forest:
    is_cut = ~forest.is_leaf & (forest.depth == np.asarray(depth)[forest.tree_of_node])
    means = np.zeros((is_cut.sum(), forest.values.shape[1]))
    for k, j in enumerate(np.flatnonzero(is_cut)):
        means[k] = mean_below(forest, int(j))
    return forest.replace_subtrees(np.flatnonzero(is_cut), means)


def squared_loss(forest: Forest, data: Data) -> float:
    weight = np.ones(data.n_rows) if data.weight is None else data.weight
    return float(0.5 * (weight * np.square(forest.margin(data.X)[:, 0] - np.asarray(data.y))).sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_a_node_predicts_what_scikit_learn_holds_there(weighted: bool) -> None:
    X, y = zoo.data("regression")
    weight = np.random.default_rng(0).integers(1, 5, len(X)).astype(float) if weighted else None
    tree = DecisionTreeRegressor(max_depth=5, random_state=0).fit(X, y, sample_weight=weight)
    forest = read(tree)
    assert_allclose(tree.tree_.value[forest.nodes.node_id, :, 0], layers._node_values(forest), rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_depth_costs_the_nodes_that_are_left(name: str) -> None:
    forest = zoo.forest(name)
    found = layers_of(forest, data_of(name))
    for t in range(min(forest.n_trees, 6)):
        mine = slice(found.cost_start[t], found.cost_start[t + 1])
        for d, (cost, n_leaves) in enumerate(zip(found.cost[mine], found.leaves[mine], strict=True)):
            single = cut_by_hand(to_additive(forest).take([t]), [d])
            expected = (0, 0) if single.n_nodes == 1 else (single.n_nodes, single.n_leaves)
            assert expected == (cost, n_leaves)


@pytest.mark.parametrize("weighted", [False, True])
def test_each_depth_of_each_tree_costs_what_the_squared_loss_grows_by(weighted: bool) -> None:
    forest, data = small_booster(weighted)
    found = layers_of(forest, data)
    depth = np.array([2, 1, 0, 2], np.int32)
    losses = np.zeros(len(found.cost))
    layers._find_losses(found.tables, depth, *found.linearise(depth), losses)
    now = squared_loss(cut_by_hand(forest, depth), data)
    for t, d in itertools.product(range(4), range(3)):
        other = np.where(np.arange(4) == t, d, depth)
        grown = squared_loss(cut_by_hand(forest, other), data) - now
        assert_allclose(grown, losses[found.cost_start[t] + d], rtol=1e-6, atol=1e-6)


def test_at_even_odds_the_growth_is_that_of_the_cross_entropy() -> None:
    step = np.linspace(-8, 8, 33)
    # A row of label 1/2 at margin 0 has no slope and a curvature of 1/4.
    grown = np.logaddexp(0, step) - 0.5 * step - np.log(2)
    assert_allclose(grown, [0.25 * layers._bend(s, True) for s in step], atol=1e-12)
    assert_allclose(0.5 * step**2, [layers._bend(s, False) for s in step])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0, 1e3])
def test_after_a_descent_no_tree_can_do_better_alone(strength: float, weighted: bool) -> None:
    forest, data = small_booster(weighted)
    found = layers_of(forest, data)
    objective = {
        depth: squared_loss(cut_by_hand(forest, depth), data)
        + strength * sum(found.cost[found.cost_start[:-1] + np.array(depth)])
        for depth in itertools.product(range(3), repeat=4)
    }
    start = np.zeros(4, np.int32)
    chosen = tuple(found.descend(start, strength).tolist())
    assert_array_equal(0, start)
    assert_allclose(objective[chosen], found.objective(np.array(chosen, np.int32), strength), rtol=1e-6)
    for t, d in itertools.product(range(4), range(3)):
        other = (*chosen[:t], d, *chosen[t + 1 :])
        assert objective[chosen] <= objective[other] * (1 + 1e-9)
    assert objective[chosen] <= 1.05 * min(objective.values())


def test_the_first_penalty_is_where_the_first_tree_grows() -> None:
    found = layers_of(*small_booster())
    depth = np.zeros(4, np.int32)
    strength = found.first_strength(depth)
    assert not found.descend(depth, 1.001 * strength).any()
    assert found.descend(depth, 0.999 * strength).any()


def test_local_search_ends_no_higher() -> None:
    forest, data = zoo.forest("boosting squared_error"), data_of("boosting squared_error")
    found = layers_of(forest, data)
    random, depth = np.random.default_rng(0), np.zeros(forest.n_trees, np.int32)
    before = found.descend(depth, 20.0)
    after = before
    for _ in range(10):
        after = found.search(after, 20.0, random)
    assert found.objective(after, 20.0) <= found.objective(before, 20.0)


def test_filling_spends_no_more_leaves_than_there_are() -> None:
    forest, data = zoo.forest("boosting squared_error"), data_of("boosting squared_error")
    found = layers_of(forest, data)
    depth = np.zeros(forest.n_trees, np.int32)
    for most in (1, 2, 5, 20):
        full = found.fill(depth, most)
        assert found.n_leaves(full) <= most
        assert (most < 2) == (found.n_leaves(full) == 0)
        assert squared_loss(cut_by_hand(forest, full), data) <= squared_loss(cut_by_hand(forest, depth), data)


def test_trees_of_no_depth_keep_the_mean_of_an_average() -> None:
    X, y = zoo.data("regression")
    forest = read(RandomForestRegressor(5, bootstrap=False, max_features=1, random_state=0).fit(X, y))
    small = PruneDepth(max_leaves=1, refit="none")(forest, Data(forest.rows(X), y))
    assert small.n_trees == 0
    assert_allclose(np.mean(y), small.margin(X)[:, 0], rtol=1e-6)


@pytest.mark.parametrize("penalty", [0.01, 5.0])
def test_the_factors_of_the_trees_are_those_of_ridge_regression(penalty: float) -> None:
    forest, data = small_booster(weighted=True)
    algorithm = PruneDepth(max_leaves=9, mix=0, refit="none", penalty=penalty)
    plain, weighed = algorithm(forest, data), replace(algorithm, refit="trees")(forest, data)
    leaf = plain.find_leaves(data.X)
    columns = plain.values[plain.nodes.leaf[leaf], 0]
    ridge = Ridge(alpha=penalty, fit_intercept=False)
    wanted = np.asarray(data.y) - plain.bias
    assert_allclose(
        ridge.fit(columns, wanted, sample_weight=data.weight).predict(columns) + plain.bias,
        weighed.margin(data.X)[:, 0],
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_path_falls_through_the_sizes_asked_for(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    sizes = [forest.n_leaves + 5, forest.n_leaves, forest.n_leaves // 2, 6, 5, 1]
    path = list(PruneDepth().path(forest, data, sizes))
    assert len(path) == 4
    for small, size in zip(path, sizes[2:], strict=True):
        assert small.n_leaves <= size
        assert small.n_trees == 0 or small.n_nodes > small.n_trees
    assert path[0].n_leaves > path[1].n_leaves > 0
    assert path[3].n_trees == 0


@pytest.mark.parametrize("name", ["random forest text", "boosting multiclass"])
def test_a_call_is_a_path_of_one_size(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    (expected,) = PruneDepth().path(forest, data, [9])
    assert expected == PruneDepth(max_leaves=9)(forest, data)


@pytest.mark.parametrize("max_leaves", [1.0, 10_000])
def test_a_forest_small_enough_is_given_back(max_leaves: Any) -> None:
    forest = zoo.forest("boosting binary")
    assert PruneDepth(max_leaves=max_leaves)(forest, data_of("boosting binary")) is forest


@pytest.mark.parametrize("name", KINDS)
def test_the_splits_that_stay_are_the_upper_ones_of_a_tree(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    small = PruneDepth(max_leaves=0.3, refit="none")(forest, data)
    assert 0 < small.n_leaves < forest.n_leaves

    def upper(each: Forest, most: NDArray[Any] | int) -> set[Any]:
        columns = (each.nodes.feature, each.nodes.threshold, each.nodes.nan_left, each.depth)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {row for row, is_leaf in zip(rows, each.is_leaf, strict=True) if not is_leaf}

    assert upper(small, 0) <= upper(forest, 0)


@pytest.mark.parametrize("kind", ["boosting", "forest"])
def test_at_an_equal_loss_a_fraction_is_left_of_what_chance_leaves(kind: str) -> None:
    forest, train, other = trained(kind)
    allowed = 1.1 * loss_of(forest, other)
    by_chance = min(fewest_leaves(cut_at_random(forest, seed), other, allowed) for seed in range(3))
    small = PruneDepth(max_leaves=by_chance // 6)(forest, train)
    assert loss_of(small, other) <= allowed
