"""The solver under the refits: its derivatives, its targets, and what one sweep does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.special import expit, softmax

from ensemble_compress.algorithms.leaf_fit import (
    LOGISTIC,
    POISSON,
    SMALLEST_CURVATURE,
    SOFTMAX,
    SQUARED,
    LeafFit,
    targets,
    to_additive,
)
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

LOSSES = {SQUARED: 1, LOGISTIC: 1, SOFTMAX: 3, POISSON: 2}


def fit_of(loss: int, target: NDArray[Any], weight: NDArray[Any]) -> LeafFit:
    """A fit without trees: all that the derivatives need."""
    none, width = np.zeros((0, target.shape[1]), np.int32), len(target)
    zero = np.zeros(1, np.int32)
    return LeafFit(none, zero, zero[:0], np.zeros((0, 1)), np.zeros(width), target, weight, loss, 0.0)


def points(loss: int) -> tuple[LeafFit, NDArray[Any]]:
    random, n_outputs = np.random.default_rng(loss), LOSSES[loss]
    margin = random.normal(size=(n_outputs, 6))
    target = random.dirichlet(np.ones(n_outputs), 6).T if n_outputs == 3 else random.random((n_outputs, 6))
    return fit_of(loss, target, random.random(6) + 0.5), margin


def total_loss(fit: LeafFit, margin: NDArray[Any]) -> float:
    return fit.mean_loss(margin) * float(fit.weight.sum())


def differences(fit: LeafFit, margin: NDArray[Any], step: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """First and second central differences of the loss along each margin."""
    first, second = np.empty_like(margin), np.empty_like(margin)
    for at in np.ndindex(margin.shape):
        moved = [margin.copy() for _ in range(2)]
        moved[0][at] -= step
        moved[1][at] += step
        low, here, high = total_loss(fit, moved[0]), total_loss(fit, margin), total_loss(fit, moved[1])
        first[at], second[at] = (high - low) / (2 * step), (high - 2 * here + low) / step**2
    return first, second


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_loss(loss: int) -> None:
    fit, margin = points(loss)
    slope, _ = differences(fit, margin, 1e-6)
    gradient, _ = fit.linearise(margin)
    assert_allclose(-slope, gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC, POISSON])
def test_curvatures_are_those_of_the_loss(loss: int) -> None:
    fit, margin = points(loss)
    _, bend = differences(fit, margin, 1e-4)
    _, curvature = fit.linearise(margin)
    assert_allclose(bend, curvature, rtol=1e-5, atol=1e-6)


def test_the_curvature_of_softmax_bounds_its_hessian() -> None:
    fit, margin = points(SOFTMAX)
    _, curvature = fit.linearise(margin)
    for i, p in enumerate(softmax(margin, axis=0).T):
        hessian = fit.weight[i] * (np.diag(p) - np.outer(p, p))
        assert np.linalg.eigvalsh(np.diag(curvature[:, i]) - hessian).min() >= -1e-12


def test_a_saturated_row_keeps_some_curvature() -> None:
    fit = fit_of(LOGISTIC, np.ones((1, 2)), np.array([1.0, 3.0]))
    _, curvature = fit.linearise(np.array([[40.0, -40.0]]))
    assert_array_equal([[SMALLEST_CURVATURE, 3 * SMALLEST_CURVATURE]], curvature)


def test_the_loss_is_that_of_the_books() -> None:
    for loss in LOSSES:
        fit, margin = points(loss)
        share, t = fit.weight / fit.weight.sum(), fit.target
        each = {
            SQUARED: lambda m, t: (m - t) ** 2 / 2,
            LOGISTIC: lambda m, t: -t * np.log(expit(m)) - (1 - t) * np.log(expit(-m)),
            SOFTMAX: lambda m, t: -t * np.log(softmax(m, axis=0)),
            POISSON: lambda m, t: np.exp(m) - t * m,
        }[loss](margin, t)
        assert_allclose((each * share).sum(), fit.mean_loss(margin), rtol=1e-12)


def regression() -> tuple[Forest, Data]:
    forest = to_additive(zoo.forest("boosting squared_error"))
    X, y = zoo.data("regression")
    return forest, Data(forest.rows(X), y)


def test_a_fit_has_the_margins_of_its_forest() -> None:
    for name in ("boosting squared_error", "boosting multiclass", "random forest gaps", "xgb vector leaves"):
        forest = to_additive(zoo.forest(name))
        data = Data(zoo.rows(name)[:99])
        fit = LeafFit.of(forest, data, targets(forest, data, 1), 1.0)
        assert_allclose(forest.margin(data.X).T, fit.margin(), rtol=1e-12, atol=1e-12)


def test_one_sweep_of_one_tree_finds_the_means_of_its_leaves() -> None:
    forest, data = regression()
    forest = forest.take([0])
    fit = LeafFit.of(forest, data, targets(forest, data, 0), 0.0)
    fit.sweep(1)
    leaf, y = fit.leaf[0], np.asarray(data.y)
    means = [y[leaf == j].mean() for j in range(forest.n_leaves)]
    assert_allclose(means, fit.bias[0] + fit.value[:, 0], rtol=1e-9)


@pytest.mark.parametrize("name", ["boosting squared_error", "boosting binary", "boosting multiclass", "xgb count:poisson", "random forest two columns"])  # fmt: skip
def test_every_sweep_lowers_the_penalised_loss(name: str) -> None:
    forest = to_additive(zoo.forest(name))
    X, y = zoo.data(zoo.ENTRIES[name].task, zoo.ENTRIES[name].missing)
    codes = np.searchsorted(np.unique(y), y) if forest.is_classifier else y
    data = Data(forest.rows(X), codes)
    fit = LeafFit.of(forest, data, targets(forest, data, 0), 2.0)
    losses = []
    for _ in range(12):
        losses.append(total_loss(fit, fit.margin()) + float(np.square(fit.value).sum()))
        fit.sweep(1)
    assert (np.diff(losses) <= 1e-9 * abs(losses[0])).all()
    assert losses[-1] < losses[0]


def test_a_row_of_weight_two_is_a_row_twice() -> None:
    forest, data = regression()
    weight = np.ones(data.n_rows)
    weight[:30] = 2
    twice = data.take(np.r_[np.arange(data.n_rows), np.arange(30)])
    fits = []
    for each in (replace(data, weight=weight), twice):
        fit = LeafFit.of(forest, each, targets(forest, each, 0), 2.0)
        fit.sweep(5)
        fits.append(fit)
    assert_allclose(fits[1].value, fits[0].value, rtol=1e-9, atol=1e-12)
    assert_allclose(fits[1].bias, fits[0].bias, rtol=1e-9)


def test_the_curvature_of_a_leaf_is_the_sum_over_its_rows() -> None:
    forest, data = regression()
    fit = LeafFit.of(forest, data, targets(forest, data, 0), 0.0)
    each = np.random.default_rng(0).random((1, data.n_rows))
    sums = [each[0, (fit.leaf == j).any(axis=0)].sum() for j in range(forest.n_leaves)]
    assert_allclose(sums, fit.curvature_of_leaves(each)[:, 0], rtol=1e-12)


def test_stretching_finds_the_best_factor() -> None:
    forest, data = regression()
    fit = LeafFit.of(
        forest, data, 4 * (forest.margin(data.X).T - forest.bias[:, None]) + forest.bias[:, None], 0.0
    )
    before = fit.value.copy()
    fit.stretch()
    assert_allclose(4 * before, fit.value, rtol=0.05)


def test_an_average_of_probabilities_becomes_a_sum_that_decides_alike() -> None:
    for name, link, n_outputs in (("random forest text", "sigmoid", 1), ("random forest gaps", "softmax", 3)):
        forest, rows = zoo.forest(name), zoo.rows(name)
        additive = to_additive(forest)
        assert (additive.link, additive.n_outputs, additive.divisor) == (link, n_outputs, 1.0)
        margin = np.sort(forest.margin(rows), axis=1)
        clear = margin[:, -1] - margin[:, -2] > 1e-9
        assert_array_equal(forest.predict(rows)[clear], additive.predict(rows)[clear])


@pytest.mark.parametrize(
    "name", ["boosting exponential", "lgb random forest", "boosting multiclass", "xgb binary"]
)
def test_a_sum_of_scores_stays_what_it_predicts(name: str) -> None:
    forest, rows = zoo.forest(name), zoo.rows(name)
    additive = to_additive(forest)
    assert additive.values.dtype == np.float64
    answer = "predict_proba" if forest.is_classifier else "predict"
    assert_allclose(getattr(forest, answer)(rows), getattr(additive, answer)(rows), rtol=1e-5, atol=1e-7)


def test_targets_mix_labels_and_answers() -> None:
    forest = zoo.forest("boosting multiclass")
    X = zoo.rows("boosting multiclass")[:4]
    teacher = np.full((4, 3), [0.2, 0.3, 0.5])
    data = Data(X, np.array([0, 1, 2, 1]), teacher=teacher)
    hot = np.eye(3)[[0, 1, 2, 1]].T
    assert_array_equal(hot, targets(forest, data, 0))
    assert_array_equal(teacher.T, targets(forest, data, 1))
    assert_allclose(0.75 * hot + 0.25 * teacher.T, targets(forest, data, 0.25))
    assert_array_equal(teacher.T, targets(forest, Data(X, teacher=teacher), 0))


def test_without_a_teacher_the_forest_answers_itself() -> None:
    forest, X = zoo.forest("boosting binary"), zoo.rows("boosting binary")[:9]
    assert_allclose(forest.predict_proba(X)[:, 1:].T, targets(forest, Data(X), 0.3))


def test_one_margin_of_two_classes_learns_the_probability_of_the_second() -> None:
    forest, X = zoo.forest("boosting binary"), zoo.rows("boosting binary")[:2]
    teacher = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert_array_equal([[0.1, 0.6]], targets(forest, Data(X, np.array([0, 1]), teacher=teacher), 1))


def test_a_link_without_a_loss_is_taught_margins() -> None:
    name = "lgb cross_entropy_lambda"
    forest, X = zoo.forest(name), zoo.rows(name)[:9]
    assert forest.link == "softplus"
    assert_array_equal(forest.margin(X).T, targets(forest, Data(X, np.ones(9)), 0))
