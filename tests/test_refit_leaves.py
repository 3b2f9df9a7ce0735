"""RefitLeaves: where its sweeps end is where other solvers of the same problem end."""

from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.tree import DecisionTreeRegressor

from ensemble_compress.algorithms import RefitLeaves
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read


def problem(name: str, n_trees: int = 3, weighted: bool = False) -> tuple[Forest, Data, NDArray[Any]]:
    """(a few trees, training data in codes, the leaf indicators of its rows)."""
    forest, entry = zoo.forest(name), zoo.ENTRIES[name]
    forest = forest.take(np.arange(n_trees * max(1, forest.n_outputs // forest.values.shape[1])))
    X, y = zoo.data(entry.task, entry.missing)
    weight = np.random.default_rng(1).integers(0, 4, len(X)).astype(float) if weighted else None
    codes = np.searchsorted(np.unique(y), y) if forest.is_classifier else y
    data = Data(forest.rows(X), codes, weight)
    at = forest.find_leaves(data.X)
    indicators = (at[:, :, None] == np.flatnonzero(forest.is_leaf)).any(axis=1).astype(float)
    return forest, data, indicators


def leaf_values(forest: Forest) -> NDArray[Any]:
    return forest.values[forest.nodes.leaf[forest.is_leaf]]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [0.5, 20.0])
@pytest.mark.parametrize("name", ["boosting squared_error", "random forest regression", "xgb regression"])
def test_squares_end_at_the_ridge_solution(name: str, penalty: float, weighted: bool) -> None:
    forest, data, indicators = problem(name, weighted=weighted)
    refit = RefitLeaves(mix=0, penalty=penalty, n_sweeps=3000)(forest, data)
    ridge = Ridge(penalty, solver="cholesky").fit(indicators, data.y, sample_weight=data.weight)
    assert_allclose(ridge.coef_, leaf_values(refit)[:, 0], atol=1e-6)
    assert_allclose(ridge.predict(indicators), refit.predict(data.X), atol=1e-6)


@pytest.mark.parametrize("name", ["random forest two columns", "xgb vector leaves"])
def test_every_output_has_its_own_ridge_solution(name: str) -> None:
    forest, data, indicators = problem(name)
    refit = RefitLeaves(mix=0, penalty=3.0, n_sweeps=3000)(forest, data)
    ridge = Ridge(3.0, solver="cholesky").fit(indicators, data.y)
    assert_allclose(ridge.coef_.T, leaf_values(refit), atol=1e-6)
    assert_allclose(ridge.predict(indicators), refit.predict(data.X), atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["boosting binary", "xgb binary", "boosting exponential", "random forest text"]
)
def test_two_classes_end_at_the_logistic_optimum(name: str, weighted: bool) -> None:
    forest, data, indicators = problem(name, weighted=weighted)
    refit = RefitLeaves(mix=0, penalty=2.0, n_sweeps=2000)(forest, data)
    other = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    other.fit(indicators, data.y, sample_weight=data.weight)
    assert_allclose(other.coef_[0], leaf_values(refit)[:, 0], atol=1e-4)
    assert_allclose(other.predict_proba(indicators), refit.predict_proba(data.X), atol=1e-5)


def test_soft_labels_end_at_the_optimum_of_their_cross_entropy() -> None:
    forest, data, indicators = problem("boosting binary")
    target = np.random.default_rng(0).random(data.n_rows)
    taught = Data(data.X, teacher=np.column_stack([1 - target, target]))
    refit = RefitLeaves(mix=1, penalty=2.0, n_sweeps=2000)(forest, taught)
    # A row with the label 0.3 is a row of class 1 with the weight 0.3 and one of class 0 with the weight 0.7.
    twice, y = np.vstack([indicators, indicators]), np.repeat([0, 1], data.n_rows)
    other = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    other.fit(twice, y, sample_weight=np.append(1 - target, target))
    assert_allclose(other.predict_proba(indicators), refit.predict_proba(data.X), atol=1e-5)


@pytest.mark.parametrize("name", ["random forest gaps", "boosting multiclass", "xgb multiclass"])
def test_many_classes_end_at_the_softmax_optimum(name: str) -> None:
    forest, data, indicators = problem(name, n_trees=2)
    refit = RefitLeaves(mix=0, penalty=2.0, n_sweeps=2000)(forest, data)
    n_classes, n_leaves = 3, forest.n_leaves
    hot = np.eye(n_classes)[data.y]
    # A tree of one output has one value a leaf; a tree of vectors has one for each class.
    output = forest.tree_output[forest.tree_of_node[forest.is_leaf]]
    allowed = (output[:, None] == np.arange(n_classes)) | (output[:, None] < 0)

    def loss(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        bias, value = flat[:n_classes], flat[n_classes:].reshape(n_leaves, n_classes) * allowed
        margin = bias + indicators @ value
        log_p = margin - logsumexp(margin, axis=1, keepdims=True)
        slope = np.exp(log_p) - hot
        gradient = (indicators.T @ slope + 2.0 * value) * allowed
        return -(hot * log_p).sum() + np.square(value).sum(), np.append(slope.sum(axis=0), gradient.ravel())

    start = np.zeros(n_classes + n_leaves * n_classes)
    best = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-8}
    )
    value = np.zeros((n_leaves, n_classes))
    value[allowed] = leaf_values(refit).ravel()
    ours, _ = loss(np.append(refit.bias, value.ravel()))
    assert_allclose(best.fun, ours, rtol=1e-7)


def test_counts_end_at_the_poisson_optimum() -> None:
    forest, data, indicators = problem("xgb count:poisson")
    refit = RefitLeaves(mix=0, penalty=2.0, n_sweeps=3000)(forest, data)
    other = PoissonRegressor(alpha=2.0 / data.n_rows, tol=1e-10, max_iter=10_000).fit(indicators, data.y)
    assert_allclose(other.predict(indicators), refit.predict(data.X), rtol=1e-4)


def test_the_structure_stays_as_it_is() -> None:
    forest, data, _ = problem("boosting squared_error")
    refit = RefitLeaves()(forest, data)
    for name in ("feature", "threshold", "right", "nan_left", "cover", "node_id"):
        assert getattr(forest.nodes, name).tolist() == getattr(refit.nodes, name).tolist()


def test_a_leaf_of_as_many_rows_as_the_penalty_is_shrunk_to_half() -> None:
    """One tree whose bias is right already: two leaves of 50 rows, at -1 and +1."""
    X = np.repeat([[0.0], [1.0]], 50, axis=0)
    y = np.repeat([-1.0, 1.0], 50)
    forest = read(DecisionTreeRegressor().fit(X, y))
    refit = RefitLeaves(mix=0, penalty=50.0, n_sweeps=200)(forest, Data(forest.rows(X), y))
    assert_allclose([-0.5, 0.5], refit.predict([[0.0], [1.0]]), atol=1e-9)


def test_the_teacher_is_followed_where_there_are_no_labels() -> None:
    forest, data, _ = problem("boosting squared_error")
    refit = RefitLeaves(mix=0, penalty=0, n_sweeps=50)(forest, Data(data.X))
    assert_allclose(forest.predict(data.X), refit.predict(data.X), atol=1e-6)
