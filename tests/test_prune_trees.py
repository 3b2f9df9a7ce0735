"""PruneTrees: its order against brute force, its weights against other solvers of the same problem."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import Lasso

from ensemble_compress.algorithms import PruneTrees, Simplify, prune_trees
from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

AVERAGES = [
    "random forest regression",
    "random forest two columns",
    "random forest gaps",
    "random forest text",
]
SUMS = ["boosting squared_error", "xgb vector leaves"]


def problem(name: str, weighted: bool = False) -> tuple[Forest, Data, NDArray[Any]]:
    """(forest, labelled rows, the labels as the margin should be)."""
    forest, entry = zoo.forest(name), zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing)
    weight = np.random.default_rng(1).integers(0, 4, len(X)).astype(float) if weighted else None
    codes = np.searchsorted(np.unique(y), y) if forest.is_classifier else y
    wanted = np.reshape(codes, (len(X), -1)).astype(float)
    if forest.n_outputs > 1 and forest.is_classifier:
        wanted = np.eye(forest.n_outputs)[codes]
    return forest, Data(forest.rows(X), codes, weight), wanted


def squared_error(forest: Forest, trees: Any, data: Data, wanted: NDArray[Any]) -> float:
    """Of the average, or the sum, of some trees: written out."""
    leaf = forest.nodes.leaf[forest.find_leaves(data.X)]
    sums = sum(forest.values[leaf[:, t]].astype(float) for t in trees)
    answer = (sums / len(trees) if forest.divisor > 1 else sums) + forest.bias  # type: ignore[operator]
    weight = np.ones(data.n_rows) if data.weight is None else data.weight
    return float((weight[:, None] * np.square(answer - wanted)).sum())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", AVERAGES + SUMS)
def test_each_next_tree_lowers_the_squared_error_most(name: str, weighted: bool) -> None:
    forest, data, wanted = problem(name, weighted)
    order = PruneTrees(mix=0).order(forest, data)
    assert sorted(order) == list(range(forest.n_trees))
    for k in range(forest.n_trees):
        chosen, rest = list(order[:k]), order[k:]
        errors = [squared_error(forest, [*chosen, t], data, wanted) for t in rest]
        assert_allclose(min(errors), errors[0], rtol=1e-6)


def test_one_tree_of_an_average_is_the_best_of_all() -> None:
    for name in AVERAGES:
        forest, data, wanted = problem(name)
        (best,) = PruneTrees(mix=0).order(forest, data)[:1]
        errors = [squared_error(forest, [t], data, wanted) for t in range(forest.n_trees)]
        assert best == np.argmin(errors)


def test_greed_finds_nearly_the_best_subset() -> None:
    forest, data, wanted = problem("random forest gaps")
    for k in (2, 3):
        best = min(squared_error(forest, c, data, wanted) for c in itertools.combinations(range(5), k))
        assert squared_error(forest, PruneTrees(mix=0).order(forest, data)[:k], data, wanted) <= 1.05 * best


@pytest.mark.parametrize(
    "name", ["boosting binary", "boosting exponential", "boosting multiclass", "xgb multiclass"]
)
def test_the_loss_of_a_booster_is_taken_to_second_order(name: str) -> None:
    """Of each output's trees the next is the one with which Newton's response is met best."""
    forest, data, wanted = problem(name)
    margin = forest.margin(data.X).astype(float)
    p = forest.predict_proba(data.X)[:, -forest.n_outputs :].astype(float)
    # The loss in one margin m, labels t: slope p - t, bend p (1 - p); of the link sigmoid(2 m) twice and four times that.
    factor = forest.link_scale
    bend = np.maximum((2 if forest.link == "softmax" else 1) * p * (1 - p), 0.01)
    response = margin + (wanted - p) / bend / factor - forest.bias
    order = PruneTrees(mix=0).order(forest, data)
    leaf = forest.values[forest.nodes.leaf[forest.find_leaves(data.X)], 0].astype(float)
    worth: dict[int, float] = {}
    for k in range(forest.n_outputs):
        trees, so_far = [int(t) for t in order if forest.tree_output[t] == k], np.zeros(data.n_rows)
        least = np.inf
        while trees:
            sums = [so_far, *(so_far + leaf[:, t] for t in trees)]
            now, *errors = [(bend[:, k] * np.square(s - response[:, k])).sum() for s in sums]
            assert_allclose(min(errors), errors[0], rtol=1e-5)
            # What a tree saves counts no more than what the one before it on its output saved.
            least = min(least, now - errors[0])
            worth[trees.pop(0)], so_far = least, sums[1]
    in_order = np.array([worth[int(t)] for t in order])
    assert (np.diff(in_order) <= 1e-5 * abs(in_order).max()).all()


@pytest.mark.parametrize("name", AVERAGES)
def test_some_trees_of_an_average_are_their_average(name: str) -> None:
    forest, data, _ = problem(name)
    small = keep_trees(forest, np.array([1, 3]))
    leaf = forest.nodes.leaf[forest.find_leaves(data.X)]
    expected = (forest.values[leaf[:, 1]] + forest.values[leaf[:, 3]]) / 2
    assert_allclose(expected, small.margin(data.X), rtol=1e-12)


def test_what_simplifying_moved_into_the_bias_keeps_its_share_of_an_average() -> None:
    forest, data, wanted = problem("random forest gaps")
    leaf = forest.take([0]).replace_subtrees([0], [[5.0, 0.0, -4.0]])
    constant = replace(leaf, tree_output=np.array([-1]))
    whole = _join(constant, forest)
    simple = Simplify()(whole)
    assert (simple.n_trees, simple.bias.tolist()) == (5, [5.0, 0.0, -4.0])
    small = keep_trees(simple, np.arange(2))
    shares = small.margin(data.X)
    assert_allclose(np.ones(data.n_rows), shares.sum(axis=1))
    assert_allclose([5 / 6, 0, -4 / 6], small.bias / small.divisor, rtol=1e-12)
    order = PruneTrees(mix=0).order(simple, data)
    for k in range(5):
        kept = [np.append(order[:k], t) for t in order[k:]]
        errors = [np.square(keep_trees(simple, trees).margin(data.X) - wanted).sum() for trees in kept]
        assert_allclose(min(errors), errors[0], rtol=1e-9)


def _join(first: Forest, second: Forest) -> Forest:
    """The trees of both, with the divisor grown to their number."""
    nodes = [np.concatenate(pair) for pair in zip(first.nodes, second.nodes, strict=True)]
    nodes[2] = np.append(
        first.nodes.right, np.where(second.nodes.right < 0, -1, second.nodes.right + first.n_nodes)
    )
    nodes[5] = np.append(
        first.nodes.leaf, np.where(second.nodes.leaf < 0, -1, second.nodes.leaf + len(first.values))
    )
    return replace(
        second,
        nodes=type(second.nodes)(*nodes),
        tree_start=np.append(first.tree_start[:-1], second.tree_start + first.n_nodes),
        tree_output=np.append(first.tree_output, second.tree_output),
        values=np.concatenate([first.values, second.values]),
        divisor=second.divisor + 1,
    )


def columns_of(forest: Forest, data: Data) -> NDArray[Any]:
    """What each tree adds to the margins, shape (n_rows * width, n_trees), rows scaled by the root of their weight."""
    each = forest.values[forest.nodes.leaf[forest.find_leaves(data.X)]].astype(float) / forest.divisor
    root = np.ones(data.n_rows) if data.weight is None else np.sqrt(data.weight)
    return (each * root[:, None, None]).transpose(0, 2, 1).reshape(-1, forest.n_trees)


def wanted_of(forest: Forest, data: Data, wanted: NDArray[Any]) -> NDArray[Any]:
    root = np.ones(data.n_rows) if data.weight is None else np.sqrt(data.weight)
    return ((wanted - forest.bias / forest.divisor) * root[:, None]).reshape(-1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["random forest regression", "random forest gaps", *SUMS])
def test_non_negative_weights_are_those_of_scipy(name: str, weighted: bool) -> None:
    forest, data, wanted = problem(name, weighted)
    A, b = columns_of(forest, data), wanted_of(forest, data, wanted)
    weight, _ = nnls(A, b)
    heaviest = np.argsort(-weight * np.linalg.norm(A, axis=0))[:3]
    again, _ = nnls(A[:, heaviest], b)
    small = PruneTrees(n_trees=3, method="nnls", mix=0)(forest, data)
    assert small.n_trees == (again > 0).sum()
    leaf = forest.nodes.leaf[forest.find_leaves(data.X)][:, heaviest]
    sums = sum(w * forest.values[leaf[:, k]] for k, w in enumerate(again))
    assert_allclose(forest.bias + sums / forest.divisor, small.margin(data.X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["random forest regression", "random forest gaps", *SUMS])
def test_the_trees_of_l1_are_those_of_some_lasso(name: str) -> None:
    forest, data, wanted = problem(name)
    A, b = columns_of(forest, data), wanted_of(forest, data, wanted)
    A /= np.linalg.norm(A, axis=0)
    (only,) = prune_trees._problems(forest, data, 0)
    for n_trees in (1, 2, 3):
        kept = np.flatnonzero(prune_trees._lasso_weights(only, n_trees))
        assert 0 < len(kept) <= n_trees
        alpha = penalty_of(A, b, kept)
        lasso = Lasso(alpha / len(b), positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000)
        assert_array_equal(kept, np.flatnonzero(lasso.fit(A, b).coef_))


def penalty_of(A: NDArray[Any], b: NDArray[Any], kept: NDArray[Any]) -> float:
    """A penalty at which the optimum has just these columns: in the middle of all that meet the optimum's conditions."""
    gram, linear = A.T @ A, A.T @ b
    inside = np.ix_(kept, kept)
    base, slope = np.linalg.solve(gram[inside], np.column_stack([linear[kept], np.ones(len(kept))])).T
    # Weights base - alpha * slope stay positive; the other columns' slopes stay below alpha.
    others = np.setdiff1d(np.arange(len(linear)), kept)
    rest, turn = linear[others] - gram[np.ix_(others, kept)] @ base, gram[np.ix_(others, kept)] @ slope
    limits = np.append(base / slope, rest / (1 - turn))
    is_upper = np.append(slope > 0, 1 - turn < 0)
    low, high = limits[~is_upper].max(initial=0.0), limits[is_upper].min(initial=np.inf)
    assert low < high
    return float((low + high) / 2)


@pytest.mark.parametrize("method", ["contribution", "l1", "nnls"])
@pytest.mark.parametrize(
    "name", ["boosting multiclass", "xgb multiclass", "lgb one against all", "random forest gaps"]
)
def test_no_more_trees_are_kept_than_asked_for(name: str, method: Any) -> None:
    forest, data, _ = problem(name)
    for n_trees in (1, 2, 3, 4, 7):
        small = PruneTrees(n_trees=n_trees, method=method)(forest, data)
        assert 0 < small.n_trees <= n_trees


def test_every_output_gets_its_share_of_the_trees() -> None:
    def shares(sizes: list[int], n_trees: int) -> list[int]:
        return prune_trees._shares([_of_size(n) for n in sizes], n_trees)

    assert shares([10, 10, 10], 6) == [2, 2, 2]
    assert shares([10, 1, 1], 3) == [1, 1, 1]
    assert shares([2, 8, 4], 7) == [1, 4, 2]
    assert shares([2, 8, 4], 2) == [0, 1, 1]
    assert shares([2, 8, 4], 14) == [2, 8, 4]


def _of_size(n: int) -> Any:
    return prune_trees._Problem(np.arange(n), np.eye(n), np.ones(n))


def test_a_share_is_rounded_and_a_forest_small_enough_is_given_back() -> None:
    forest, data, _ = problem("random forest gaps")
    assert PruneTrees(n_trees=0.5)(forest, data).n_trees == 2
    assert PruneTrees(n_trees=0.01)(forest, data).n_trees == 1
    for n_trees in (5, 1.0, 99):
        assert PruneTrees(n_trees=n_trees)(forest, data) is forest


def test_the_trees_keep_their_order() -> None:
    forest, data, _ = problem("random forest gaps")
    kept = np.sort(PruneTrees().order(forest, data)[:3])
    assert_array_equal(forest.take(kept).nodes.threshold, PruneTrees(n_trees=3)(forest, data).nodes.threshold)


@pytest.mark.parametrize("method", ["nnls", "l1", "contribution"])
def test_huge_leaves_are_chosen_as_small_ones_are(method: str) -> None:
    forest = zoo.forest("boosting squared_error")
    X = zoo.rows("boosting squared_error")[:150]
    factor = 2.0**900
    huge = replace(forest, values=forest.values * factor, bias=forest.bias * factor)
    expected, actual = (
        PruneTrees(n_trees=3, method=method, mix=1)(f, Data(f.rows(X)))
        for f in (forest, huge)  # type: ignore[arg-type]
    )
    assert_allclose(actual.margin(X), expected.margin(X) * factor, rtol=1e-6)
