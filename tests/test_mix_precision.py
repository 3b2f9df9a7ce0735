"""MixPrecision and ReassignLeaves: grids of powers of two, true bytes, and a loss that is never worse than it need be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_array_equal

from ensemble_compress.algorithms import MixPrecision, QuantizeLeaves, ReassignLeaves, Simplify
from ensemble_compress.data import Data
from ensemble_compress.fixed_point import exact_exponent, fixed_point, leaf_counts
from ensemble_compress.forest import Forest
from ensemble_compress.sizes import c_bytes, c_tables

NAMES = [
    "boosting squared_error", "random forest gaps", "random forest text", "xgb regression", "xgb multiclass",
    "xgb vector leaves", "lgb multiclass", "random forest two columns", "hist poisson", "xgb rank:ndcg",
]  # fmt: skip


def labelled(name: str) -> Data:
    """The training rows of a model of the zoo, with class codes or targets."""
    entry, forest = zoo.ENTRIES[name], zoo.forest(name)
    X, y = zoo.data(entry.task, entry.missing, entry.categorical)
    codes = y if forest.classes is None else np.searchsorted(np.sort(forest.classes), y)
    order = None if forest.classes is None else np.argsort(forest.classes)
    return Data(forest.rows(X), codes if order is None else order[codes])


def used_values(forest: Forest) -> Any:
    return forest.values[forest.nodes.leaf[forest.is_leaf]]


def squares(forest: Forest, data: Data) -> float:
    """The loss of regression models and averaged probabilities, from predictions alone."""
    answers = forest.answers(forest.margin(data.X))
    wanted = np.eye(answers.shape[1])[data.y] if forest.is_classifier else np.reshape(data.y, answers.shape)
    return float(np.square(answers - wanted).mean())


def units_of_trees(forest: Forest) -> list[int]:
    parts = np.split(used_values(forest), np.cumsum(leaf_counts(forest))[:-1])
    return [exact_exponent(part.ravel()) for part in parts]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_the_tables_of_an_export_fit_the_bytes(name: str, share: float) -> None:
    forest, data = zoo.forest(name), labelled(name)
    finest = c_bytes(Simplify()(QuantizeLeaves(bits=8)(forest)))
    small = MixPrecision(bits=8, max_bytes=share)(forest, data)
    smallest = MixPrecision(bits=8, max_bytes=1)(forest, data)
    assert c_tables(small).n_bytes <= max(share * finest + 1, c_tables(smallest).n_bytes)
    assert c_tables(small).n_bytes == c_bytes(small)
    assert fixed_point(small).is_exact


@pytest.mark.parametrize("per", ["tree", "output"])
@pytest.mark.parametrize(
    "name", ["boosting squared_error", "random forest gaps", "random forest two columns", "xgb regression"]
)
def test_no_uniform_grid_of_as_few_bytes_loses_less(name: str, per: Any) -> None:
    forest, data = zoo.forest(name), labelled(name)
    for share in (0.9, 0.7, 0.5):
        small = MixPrecision(bits=8, max_bytes=share, per=per, mix=0)(forest, data)
        for bits in range(2, 9):
            uniform = Simplify()(QuantizeLeaves(bits=bits)(forest))
            if c_bytes(uniform) <= c_bytes(small):
                assert squares(small, data) <= squares(uniform, data) * (1 + 1e-9)


def test_trees_of_small_leaves_get_coarser_grids() -> None:
    """Ten trees whose leaves are a hundredth of the others': bits spent on them buy next to nothing."""
    forest, data = zoo.forest("xgb regression"), labelled("xgb regression")
    is_small = np.arange(forest.n_trees) >= forest.n_trees - 10
    scale = np.where(is_small, 0.01, 1.0)[forest.tree_of_node[forest.is_leaf]][:, None]
    uneven = forest.with_values(used_values(forest) * scale, forest.bias)
    data = data.with_teacher(uneven.margin(data.X).astype(float))
    finest = QuantizeLeaves(bits=12)(uneven)
    small = MixPrecision(bits=12, max_bytes=0.8, mix=1, n_sweeps=0)(uneven, data)
    assert small.n_leaves < finest.n_leaves
    kept = units_of_trees(small)
    assert min(kept) < max(kept)
    assert np.square(small.margin(data.X) - uneven.margin(data.X)).mean() < 1e-4 * np.var(
        uneven.margin(data.X)
    )


def test_each_output_has_a_grid_of_its_own() -> None:
    """The second output's values are large where the loss hardly sees them: only one of the columns is coarse."""
    name = "random forest two columns"
    forest, data = zoo.forest(name), labelled(name)
    small = MixPrecision(bits=12, max_bytes=0.75, per="output", n_sweeps=0)(forest, data)
    first, second = (exact_exponent(used_values(small)[:, k]) for k in range(2))
    assert first != second
    assert c_bytes(small) <= 0.75 * c_bytes(QuantizeLeaves(bits=12)(forest))


@pytest.mark.parametrize("name", NAMES)
def test_a_refit_on_the_grid_keeps_trees_values_and_bytes(name: str) -> None:
    coarse, data = QuantizeLeaves(bits=4)(zoo.forest(name)), labelled(name)
    fitted = ReassignLeaves()(coarse, data)
    before, after = (np.unique(used_values(forest), axis=0).tolist() for forest in (coarse, fitted))
    assert [row for row in after if row not in before] == []
    assert_array_equal(coarse.nodes.threshold, fitted.nodes.threshold)
    assert_array_equal(coarse.bias, fitted.bias)
    assert c_bytes(fitted) <= c_bytes(coarse)


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
@pytest.mark.parametrize(
    "name",
    ["boosting squared_error", "random forest gaps", "random forest two columns", "hist squared_error"],
)
def test_a_refit_on_few_values_mends_some_of_the_loss(name: str, method: Any) -> None:
    coarse, data = QuantizeLeaves(bits=3, method=method)(zoo.forest(name)), labelled(name)
    fitted = ReassignLeaves(mix=0)(coarse, data)
    assert squares(fitted, data) < squares(coarse, data)


def test_a_leaf_takes_the_value_that_is_nearest_to_its_rows_mean() -> None:
    """One tree, squared loss: the best value is known in closed form."""
    forest = QuantizeLeaves(bits=4)(zoo.forest("tree regression"))
    data = labelled("tree regression")
    random = np.random.default_rng(0)
    shuffled = forest.with_values(random.permutation(used_values(forest)), forest.bias)
    fitted = ReassignLeaves(mix=0, n_sweeps=1)(shuffled, data)
    choices = np.unique(used_values(shuffled))
    ends = fitted.find_leaves(data.X)[:, 0]
    for j in np.unique(ends):
        mean = np.mean(np.asarray(data.y)[ends == j]) - fitted.bias[0]
        best = np.abs(choices - mean).min()
        assert abs(fitted.values[fitted.nodes.leaf[j], 0] - mean) == pytest.approx(best)


def test_a_leaf_that_no_row_reaches_keeps_its_value() -> None:
    forest = QuantizeLeaves(bits=4)(zoo.forest("boosting squared_error"))
    data = labelled("boosting squared_error").take([0])
    fitted = ReassignLeaves(mix=0)(forest, replace(data, y=np.array([1e6])))
    reached = np.unique(forest.find_leaves(data.X))
    others = np.setdiff1d(np.flatnonzero(forest.is_leaf), reached)
    assert_array_equal(forest.values[forest.nodes.leaf[others]], fitted.values[fitted.nodes.leaf[others]])
    assert (fitted.margin(data.X) > forest.margin(data.X)).all()
