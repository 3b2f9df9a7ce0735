"""PruneNodes: what a collapse costs, which one comes first, and how far it goes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from ensemble_compress.algorithms import PruneNodes, prune_nodes
from ensemble_compress.algorithms import lessons as lessons_of
from ensemble_compress.algorithms.leaf_fit import targets, to_additive
from ensemble_compress.algorithms.lessons import lessons
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read

ONE_BY_ONE = PruneNodes(mix=0, penalty=0, fraction=1e-9, n_transfer=0)


def one_tree(weighted: bool = False, n_columns: int = 1) -> tuple[Forest, Data]:
    X, y = zoo.data("regression" if n_columns == 1 else "two columns")
    weight = np.random.default_rng(0).integers(1, 5, len(X)).astype(float) if weighted else None
    forest = read(DecisionTreeRegressor(max_depth=5, random_state=0).fit(X, y, sample_weight=weight))
    return forest, Data(forest.rows(X), y, weight)


def squared_loss(data: Data, answer: NDArray[Any]) -> float:
    weight = np.ones(data.n_rows) if data.weight is None else data.weight
    square = np.square(answer - np.asarray(data.y)).reshape(data.n_rows, -1).sum(axis=1)
    return float(0.5 * (weight * square).sum())


def collapsed(forest: Forest, data: Data, split: int) -> Forest:
    """The tree with the leaves below `split` merged into their rows' mean."""
    end = forest.subtree_end[split]
    inside = (forest.find_leaves(data.X)[:, 0] > split) & (forest.find_leaves(data.X)[:, 0] < end)
    mean = np.average(
        np.asarray(data.y)[inside], axis=0, weights=None if data.weight is None else data.weight[inside]
    )
    return forest.replace_subtrees([split], np.reshape(mean, (1, -1)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_a_collapse_costs_what_the_squared_loss_grows_by(weighted: bool, n_columns: int) -> None:
    forest, data = one_tree(weighted, n_columns)
    pruning = prune_nodes._Pruning(to_additive(forest), data, targets(forest, data, 0), 0.0)
    split, _, _, cost, merged = pruning._pairs()
    assert len(split) > 5
    now = squared_loss(data, forest.predict(data.X))
    after = [collapsed(forest, data, int(j)) for j in split]
    grown = [squared_loss(data, each.predict(data.X)) - now for each in after]
    assert_allclose(grown, cost, rtol=1e-6, atol=1e-9)
    means = [each.values[each.nodes.leaf[j]] for each, j in zip(after, split, strict=True)]
    assert_allclose(means, merged, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_cheapest_pair_goes_first_each_time(weighted: bool) -> None:
    forest, data = one_tree(weighted)
    expected = forest
    for n_leaves in range(forest.n_leaves - 1, 2, -1):
        splits = np.flatnonzero(~expected.is_leaf)
        pairs = [j for j in splits if expected.is_leaf[j + 1] and expected.is_leaf[expected.nodes.right[j]]]
        expected = min(
            (collapsed(expected, data, int(j)) for j in pairs),
            key=lambda each: squared_loss(data, each.predict(data.X)),
        )
        if n_leaves % 5 == 0:
            small = replace(ONE_BY_ONE, max_leaves=n_leaves)(forest, data)
            assert small.n_leaves == n_leaves
            assert_allclose(expected.predict(data.X), small.predict(data.X), atol=1e-6)


def test_a_tree_of_one_leaf_goes_into_the_bias() -> None:
    forest, data = one_tree()
    small = replace(ONE_BY_ONE, max_leaves=1)(forest, data)
    assert small.n_trees == 0
    assert_allclose(np.mean(np.asarray(data.y)), small.bias[0])


def test_stumps_go_with_both_their_leaves_and_no_more_go_than_must() -> None:
    X, y = zoo.data("regression")
    forest = read(GradientBoostingRegressor(n_estimators=40, max_depth=1, random_state=0).fit(X, y))
    data = Data(forest.rows(X), y)
    for max_leaves, expected in ((61, 60), (60, 60), (3, 2)):
        small = PruneNodes(max_leaves=max_leaves, fraction=1.0, n_transfer=0)(forest, data)
        assert (small.n_leaves, small.n_trees) == (expected, expected // 2)


def data_of(name: str) -> Data:
    entry = zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing, entry.categorical)
    codes = np.searchsorted(np.unique(y), y) if zoo.forest(name).is_classifier else y
    return Data(zoo.forest(name).rows(X), codes)


@pytest.mark.parametrize(
    "name", ["random forest text", "boosting multiclass", "xgb vector leaves", "hist categories"]
)
def test_a_path_falls_through_the_sizes_asked_for(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    sizes = [forest.n_leaves + 5, forest.n_leaves, forest.n_leaves // 2, 6, 5, 1]
    path = list(PruneNodes(n_transfer=1).path(forest, data, sizes))
    assert len(path) == 4
    for small, size in zip(path, sizes[2:], strict=True):
        assert small.n_leaves <= size
        assert small.n_nodes == 2 * small.n_leaves - small.n_trees
    assert path[0].n_leaves >= sizes[2] - 1


@pytest.mark.parametrize("name", ["random forest text", "boosting multiclass"])
def test_a_call_is_a_path_of_one_size(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    (expected,) = PruneNodes(n_transfer=1).path(forest, data, [9])
    assert expected == PruneNodes(max_leaves=9, n_transfer=1)(forest, data)


@pytest.mark.parametrize("max_leaves", [1.0, 10_000])
def test_a_forest_small_enough_is_given_back(max_leaves: Any) -> None:
    forest = zoo.forest("boosting binary")
    assert PruneNodes(max_leaves=max_leaves)(forest, data_of("boosting binary")) is forest


@pytest.mark.parametrize("name", ["random forest text", "random forest gaps", "xgb binary", "lgb multiclass"])
def test_half_of_the_leaves_decide_nearly_as_all_do(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    small = PruneNodes(max_leaves=0.5)(forest, data)
    assert (small.predict(data.X) == forest.predict(data.X)).mean() > 0.9


def test_the_splits_that_stay_are_splits_of_the_forest() -> None:
    forest, data = zoo.forest("xgb multiclass"), data_of("xgb multiclass")
    small = PruneNodes(max_leaves=0.3, n_transfer=0)(forest, data)
    tests = [
        set(zip(f.nodes.feature, f.nodes.threshold, f.nodes.nan_left, strict=True)) for f in (forest, small)
    ]
    assert tests[1] <= tests[0]


def test_where_there_are_too_many_rows_some_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, data = zoo.forest("boosting binary"), data_of("boosting binary")
    monkeypatch.setattr(lessons_of, "LARGEST_TABLE", 50 * forest.n_trees)
    seen = []
    original = prune_nodes._Pruning
    monkeypatch.setattr(prune_nodes, "_Pruning", lambda *given: seen.append(given[1:3]) or original(*given))
    small = PruneNodes(max_leaves=8)(forest, data)
    assert small == PruneNodes(max_leaves=8)(forest, data)
    assert [(rows.n_rows, target.shape) for rows, target in seen] == [(50, (1, 50))] * 2


def test_made_up_rows_are_taught_and_weigh_as_much_as_given_ones_on_average() -> None:
    forest, data = zoo.forest("boosting binary"), data_of("boosting binary")
    data = replace(data, weight=np.linspace(0, 4, data.n_rows))
    additive = to_additive(forest)
    both, target = lessons(forest, additive, data, mix=0, n_transfer=2, random_state=0)
    n = data.n_rows
    assert both.n_rows == 3 * n
    assert_array_equal(data.X, both.X[:n])
    assert_array_equal(np.append(np.linspace(0, 4, n), np.full(2 * n, 2.0)), both.weight)  # type: ignore[arg-type]
    assert_array_equal(np.asarray(data.y, float), target[0, :n])
    assert_allclose(forest.predict_proba(both.X[n:])[:, 1], target[0, n:])
