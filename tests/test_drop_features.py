"""DropFeatures: the features that go are those that are worth least for their bytes, and no split names them."""

from typing import Any

import numpy as np
import oracle
import pytest
import zoo
from numpy.testing import assert_array_equal
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from test_mix_precision import labelled

import ensemble_compress as ec
from ensemble_compress.algorithms import DropFeatures
from ensemble_compress.algorithms.drop_features import find_tested_features
from ensemble_compress.data import Data
from ensemble_compress.sizes import c_bytes

NAMES = ["boosting binary", "random forest gaps", "xgb multiclass", "random forest two columns", "xgb partitions", "hist poisson"]  # fmt: skip


def signal_and_noise(kind: Any) -> tuple[Any, Data]:
    """A model of eight features, two of which decide; the others are noise that deep trees split on."""
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 8))
    y = (X[:, 2] + X[:, 5] + 0.4 * random.normal(size=400) > 0).astype(int)
    forest = ec.read(kind(n_estimators=10, max_depth=5, random_state=0).fit(X, y))
    return forest, Data(forest.rows(X), y)


@pytest.mark.parametrize("kind", [GradientBoostingClassifier, RandomForestClassifier])
def test_noise_goes_before_signal(kind: Any) -> None:
    forest, data = signal_and_noise(kind)
    assert len(find_tested_features(forest)) == 8
    small = DropFeatures(n_features=2)(forest, data)
    assert_array_equal([2, 5], find_tested_features(small))
    assert (small.predict(data.X) == data.y).mean() > 0.85
    assert c_bytes(small) < c_bytes(forest) / 2


@pytest.mark.parametrize("n_features", [1, 2, 3, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_no_more_features_are_tested_than_asked_for(name: str, n_features: Any) -> None:
    forest, data = zoo.forest(name), labelled(name)
    n_tested = len(find_tested_features(forest))
    expected = n_features if isinstance(n_features, int) else round(n_features * n_tested)
    small = DropFeatures(n_features=n_features)(forest, data)
    assert len(find_tested_features(small)) <= expected
    assert small.n_features == forest.n_features
    dropped = np.setdiff1d(np.arange(forest.n_features), find_tested_features(small))
    moved = data.X.copy()
    moved[:, dropped] = np.random.default_rng(0).permutation(moved[:, dropped])
    assert_array_equal(small.margin(data.X), small.margin(moved))


def test_a_forest_of_few_features_is_left_alone() -> None:
    forest, data = signal_and_noise(GradientBoostingClassifier)
    assert DropFeatures(n_features=8)(forest, data) == forest


@pytest.mark.parametrize("weight", [None, "last rows"])
def test_the_child_that_more_rows_reach_takes_the_place(weight: Any) -> None:
    """Every row goes on as before where the dropped feature would have sent it to the heavier side."""
    forest, data = signal_and_noise(GradientBoostingClassifier)
    if weight is not None:
        data = Data(data.X, data.y, np.where(np.arange(400) < 380, 0.0, 1.0))
    small = DropFeatures()._without(forest, np.array([2]), data)
    counts = np.zeros(forest.n_nodes)
    shares = np.ones(400) if data.weight is None else data.weight
    for row, share in zip(oracle.cast(forest, data.X), shares, strict=True):
        for j in oracle.roots(forest):
            counts[j] += share
            while oracle.is_split(forest, j):
                left, right = oracle.children(forest, j)
                j = left if oracle.goes_left(forest, j, row[int(forest.nodes.feature[j])]) else right
                counts[j] += share
    expected = np.zeros(400)
    for i, row in enumerate(oracle.cast(forest, data.X)):
        for j in oracle.roots(forest):
            while oracle.is_split(forest, j):
                left, right = oracle.children(forest, j)
                f = int(forest.nodes.feature[j])
                goes_left = counts[left] >= counts[right] if f == 2 else oracle.goes_left(forest, j, row[f])
                j = left if goes_left else right
            expected[i] += forest.values[forest.nodes.leaf[j], 0]
    np.testing.assert_allclose(forest.bias[0] + expected, small.margin(data.X)[:, 0], rtol=1e-12, atol=1e-12)


def test_the_order_weighs_the_rise_of_the_loss_by_the_bytes() -> None:
    forest, data = signal_and_noise(GradientBoostingClassifier)
    algorithm = DropFeatures(mix=0)
    signs = np.where(data.y == 1, 1.0, -1.0)
    loss = np.logaddexp(0, -signs * forest.margin(data.X)[:, 0]).mean()
    marks = {}
    for f in range(8):
        small = algorithm._without(forest, np.array([f]), data)
        rise = np.logaddexp(0, -signs * small.margin(data.X)[:, 0]).mean() - loss
        marks[f] = rise / (c_bytes(forest) - c_bytes(small))
    assert sorted(marks, key=lambda f: marks[f]) == algorithm.order(forest, data).tolist()
