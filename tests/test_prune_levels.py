"""PruneLevels: LOP's columns, search and tolerance as its paper has them; the byte-weighted form by its optimum."""

from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from random_cuts import cut_at_random, fewest_leaves, loss_of, trained
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from sklearn.tree import DecisionTreeRegressor

from ensemble_compress.algorithms import PruneLevels, lessons, level_search, prune_levels
from ensemble_compress.algorithms.leaf_fit import LeafFit, to_additive
from ensemble_compress.algorithms.level_search import Rule, Trial, search
from ensemble_compress.algorithms.levels import Rates, ancestors_at, fold_constants, split_outputs
from ensemble_compress.data import Data
from ensemble_compress.errors import ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes
from ensemble_compress.readers import read

PAPER = PruneLevels(method="paper")
KINDS = ["random forest text", "boosting multiclass", "xgb vector leaves", "hist categories missing"]


def data_of(name: str) -> Data:
    entry = zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing, entry.categorical)
    codes = np.searchsorted(np.unique(y), y) if zoo.forest(name).is_classifier else y
    return Data(zoo.forest(name).rows(X), codes)


# -- levels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_an_ancestor_lies_at_the_level_on_the_way_up(name: str) -> None:
    forest = zoo.forest(name)
    for level in range(4):
        expected = []
        for node in range(forest.n_nodes):
            while forest.depth[node] > level:
                node = forest.parent[node]
            expected.append(node)
        assert_array_equal(expected, ancestors_at(forest, level))


@pytest.mark.parametrize("name", ["xgb vector leaves", "random forest gaps", "random forest two columns"])
def test_a_tree_for_each_output_says_what_one_for_all_says(name: str) -> None:
    forest = zoo.forest(name)
    apart = split_outputs(forest)
    assert (apart.n_trees, apart.values.shape[1]) == (forest.n_outputs * forest.n_trees, 1)
    assert_allclose(forest.margin(zoo.rows(name)), apart.margin(zoo.rows(name)), rtol=1e-6)


def test_constants_go_into_the_bias_of_their_output() -> None:
    forest = to_additive(zoo.forest("boosting multiclass"))
    roots = forest.tree_start[[1, 2, 4]]
    constant = forest.replace_subtrees(roots, [[0.5], [-2.0], [4.0]])
    small = fold_constants(constant)
    assert small.n_trees == forest.n_trees - 3
    X = zoo.rows("boosting multiclass")
    assert_allclose(constant.margin(X), small.margin(X))


def test_where_there_are_too_many_rows_some_that_count_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "LARGEST_TABLE", 30)
    data = Data(np.arange(20.0)[:, None], weight=np.arange(20) % 3 * 1.0)
    few, target = lessons.rows_that_fit(data, np.arange(40.0).reshape(2, 20), 3, 0)
    assert (few.n_rows, target.shape) == (10, (2, 10))
    assert_array_equal(np.stack([few.X[:, 0], few.X[:, 0] + 20]), target)
    assert (np.asarray(few.weight) > 0).all()
    assert lessons.rows_that_fit(data, target, 1, 0)[0] is data


# -- the paper's form -------------------------------------------------------------------------------------------


def margins_by_hand(
    forest: Forest, level: int, number: Any, factor: Any, intercept: float, X: NDArray[Any]
) -> NDArray[Any]:
    """Row by row and tree by tree: factor times leaf plus number of the subtree that the row is in."""
    leaves = oracle.leaves(forest, X)
    out = np.full(len(X), intercept)
    for i, of_row in enumerate(leaves):
        for leaf in of_row:
            node = leaf
            while forest.depth[node] > level:
                node = forest.parent[node]
            value = forest.values[forest.nodes.leaf[leaf], 0]
            is_root = node in forest.tree_start[:-1]
            has_factor = is_root or not forest.is_leaf[node]
            out[i] += (factor[node] * value if has_factor else 0) + (0 if is_root else number[node])
    return out


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["boosting binary", "hist categories missing"])
def test_a_level_rewritten_is_its_linear_model(name: str, level: int) -> None:
    forest = to_additive(zoo.forest(name))
    X = forest.rows(zoo.rows(name)[:60])
    columns = level_search._Columns.of(forest, level, 0)
    used = [column[column >= 0] for column in (columns.number, columns.factor)]
    assert_array_equal(np.arange(columns.n_columns), np.sort(np.concatenate(used)))
    is_level = (forest.depth == level) | (forest.is_leaf & (forest.depth < level))
    assert len(used[1]) == (is_level & (~forest.is_leaf | (forest.depth == 0))).sum()
    assert len(used[0]) == (is_level & (forest.depth > 0)).sum()
    random = np.random.default_rng(level)
    coefficients = random.normal(size=columns.n_columns) * (random.random(columns.n_columns) < 0.6)
    both = np.append(coefficients, np.nan)
    expected = margins_by_hand(forest, level, both[columns.number], both[columns.factor], 0.25, X)
    assert_allclose(expected, columns.matrix(X) @ coefficients + 0.25, atol=1e-9)
    values = forest.values[forest.nodes.leaf[forest.is_leaf]][:, 0]
    rewritten = forest.with_values(columns.rewrite(coefficients, values)[:, None], np.array([0.25]))
    assert_allclose(expected, rewritten.margin(X)[:, 0], atol=1e-9)


def test_a_factor_of_zero_leaves_one_leaf_and_a_root_of_zero_none() -> None:
    forest = to_additive(zoo.forest("boosting binary"))
    seen: list[int] = []

    def all_gone(fit: Any, rule: Any, n_penalties: int) -> Trial:
        trial = fit(-1.0, 0.0, 1.0)
        seen.append(len(trial.coefficients))
        kept = np.arange(len(trial.coefficients), dtype=float) + 1
        return replace(trial, coefficients=np.where(kept <= zeros, 0.0, kept))

    data = data_of("boosting binary")
    outputs = [level_search._Output.of(forest, forest, 0, data, data, 0.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level_search, "search", all_gone)
        zeros = 3
        three_gone = level_search._prune_level(forest, 0, outputs, level_search.Procedure())
        assert (forest.n_trees - 3, seen) == (three_gone.n_trees, [forest.n_trees])
        zeros = 2
        one_leaf = level_search._prune_level(forest, 1, outputs, level_search.Procedure())
    # The first two columns are the number and the factor of the left subtree of the first tree: a leaf of 0.
    assert one_leaf.n_trees == forest.n_trees
    assert one_leaf.is_leaf[1]
    assert one_leaf.values[one_leaf.nodes.leaf[1], 0] == 0
    assert forest.n_nodes - one_leaf.n_nodes == forest.subtree_end[1] - 1 - 1


def made_up(low: float, middle: float, high: float, train: float, valid: float) -> Trial:
    return Trial(low, middle, high, train, valid, min(0.99, 0.5 + middle / 10), np.zeros(1), 0.0)


def test_the_search_ends_at_the_largest_penalty_that_is_accepted() -> None:
    tried = []

    def fit(low: float, middle: float, high: float) -> Trial:
        tried.append(middle)
        return made_up(low, middle, high, 0.9, 0.9 if middle <= 1.3 else 0.8)

    best = search(fit, Rule(0.005, False, 0.9, 0.9), 16)
    assert best is not None
    assert_allclose(np.linspace(-3, 4, 18)[1:-1], tried[:16])
    last = max(p for p in tried[:16] if p <= 1.3)
    assert_allclose(np.linspace(last - 7 / 17, last + 7 / 17, 10)[1:-1], tried[16:24])
    assert len(tried) == 28
    assert max(p for p in tried if p <= 1.3) == best.middle
    assert 1.3 - best.middle < 14 / 17 / 9 * 2 / 5


def test_where_nothing_is_accepted_the_search_looks_between_too_free_and_too_bound() -> None:
    tried = []

    def fit(low: float, middle: float, high: float) -> Trial:
        tried.append(middle)
        is_narrow = 0.5 < middle < 0.6
        train = 0.95 if middle < 0.5 else 0.9 if is_narrow else 0.7
        return made_up(low, middle, high, train, 0.9 if is_narrow else 0.7)

    best = search(fit, Rule(0.005, False, 0.9, 0.9), 16)
    first = np.array(tried[:16])
    ends = first[first < 0.5].max(), first[first > 0.6].min()
    assert_allclose(np.linspace(*ends, 10)[1:-1], tried[16:24])
    assert best is not None
    assert 0.5 < best.middle < 0.6


@pytest.mark.parametrize(
    ("train", "valid"),
    [(0.9, 0.8), (0.7, 0.7), (0.7, 0.95)],
    ids=["poor on the validation rows", "poor on both", "lucky on the validation rows"],
)
def test_a_poor_or_lucky_fit_is_not_accepted(train: float, valid: float) -> None:
    found = search(lambda *p: made_up(*p, train=train, valid=valid), Rule(0.005, False, 0.9, 0.9), 4)
    assert found is None


def test_a_fit_that_removes_everything_is_not_accepted() -> None:
    gone = Trial(0, 0, 0, 1.0, 1.0, 1.0, np.zeros(1), 0.0)
    assert not Rule(0.5, False, 1.0, 1.0).accepts(gone)


def test_a_share_is_a_share_of_the_error() -> None:
    rule = Rule(0.02, True, -3.0, -5.0)
    assert not rule.is_worse(-5.09, -5.0)
    assert rule.is_worse(-5.11, -5.0)
    assert not rule.is_worse(-4.0, -5.0)


def test_the_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    answer, weight = random.normal(size=50), random.integers(0, 3, 50).astype(float)
    labels, numbers = (random.random(50) < 0.3).astype(float), random.normal(size=50)
    for wanted, is_label in ((labels, True), (numbers, False)):
        sample = level_search._Sample(np.zeros((50, 1)), wanted, weight)
        if is_label:
            expected = balanced_accuracy_score(wanted, answer > 0, sample_weight=weight)
        else:
            expected = -root_mean_squared_error(wanted, answer, sample_weight=weight)
        assert_allclose(expected, sample.score(answer, is_label))


@pytest.mark.parametrize("seed", [0, 1])
def test_lop_prunes_far_within_its_tolerance_on_the_rows_it_chooses_by(seed: int) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(y))
    train, valid = rows[:400], rows[400:]
    model = GradientBoostingClassifier(max_depth=4, random_state=seed).fit(X[train], y[train])
    forest = read(model)
    small = PAPER.within(forest, Data(forest.rows(X[train]), y[train]), Data(forest.rows(X[valid]), y[valid]))
    scores = [balanced_accuracy_score(y[valid], f.predict(X[valid])) for f in (forest, small)]
    assert scores[1] >= scores[0] - 0.005
    assert 5 * small.n_leaves < forest.n_leaves
    assert small.n_trees < forest.n_trees / 2


def test_lop_keeps_a_regression_within_its_share() -> None:
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    forest = read(GradientBoostingRegressor(n_estimators=30, random_state=0).fit(X[:300], y[:300]))
    data, validation = Data(forest.rows(X[:300]), y[:300]), Data(forest.rows(X[300:]), y[300:])
    small = replace(PAPER, tolerance=0.02, n_penalties=8).within(forest, data, validation)
    errors = [root_mean_squared_error(y[300:], f.predict(X[300:])) for f in (forest, small)]
    assert errors[1] <= 1.02 * errors[0]
    assert 0 < 2 * small.n_leaves < forest.n_leaves


def test_labels_of_one_class_leave_the_forest_as_it_is() -> None:
    forest = zoo.forest("boosting binary")
    X = zoo.rows("boosting binary")
    small = PAPER(forest, Data(X, np.ones(len(X), int)))
    assert_allclose(forest.margin(X), small.margin(X))


def test_what_would_be_larger_is_given_back() -> None:
    forest, data = zoo.forest("random forest gaps"), data_of("random forest gaps")
    assert replace(PAPER, tolerance=0.0, n_rounds=1, n_penalties=1)(forest, data) is forest


def test_a_path_of_the_paper_s_form_is_refused() -> None:
    forest = zoo.forest("boosting binary")
    with pytest.raises(ParameterError, match="method is 'paper', which ends where its own rule says"):
        next(PAPER.path(forest, data_of("boosting binary"), [3]))


def test_the_rows_are_split_and_each_is_used_once() -> None:
    data = Data(np.arange(40.0)[:, None], np.arange(40), weight=np.linspace(0, 1, 40))
    rest, held = replace(PAPER, random_state=4)._split(data)
    assert (rest.n_rows, held.n_rows) == (30, 10)
    assert_array_equal(np.arange(40), np.sort(np.append(rest.y, held.y)))  # type: ignore[arg-type]
    for lone in (Data(np.zeros((1, 1))), Data(np.zeros((9, 1)), weight=np.eye(9)[2])):
        assert PAPER._split(lone) == (lone, lone)


# -- the byte-weighted form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_subtree_is_worth_the_nodes_that_go_with_it(name: str) -> None:
    forest = zoo.forest(name)
    worth = prune_levels._worth(forest, Rates(1.0, 0.0, 1.0))
    additive = to_additive(forest)
    leaf = np.zeros((1, additive.values.shape[1]))
    for node in np.flatnonzero(~forest.is_leaf)[:40]:
        after = fold_constants(additive.replace_subtrees([node], leaf))
        assert_allclose((forest.n_nodes - after.n_nodes) / 2, worth[node])


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_level_ends_where_no_subtree_can_do_better(n_columns: int, share: float) -> None:
    """The optimum's conditions: a lost factor's slope is below the penalty, a kept one's is in balance with it."""
    X, y = zoo.data("regression" if n_columns == 1 else "two columns")
    forest = to_additive(read(DecisionTreeRegressor(max_depth=6, random_state=0).fit(X, y)))
    wanted = np.reshape(y, (len(X), -1)).T + np.random.default_rng(0).normal(size=(n_columns, len(X)))
    fit = LeafFit.of(forest, Data(forest.rows(X)), wanted, 0.0)
    level = prune_levels._Level(forest, fit, 2, Rates.of(forest))
    start, strength = fit.value.copy(), float(np.quantile(level.bearable(), share))
    level.prune(strength, 2000)
    residual = wanted - fit.margin()
    root = np.sqrt(n_columns)
    n_kept = 0
    for m, node in enumerate(level.node):
        mine = level.group[fit.leaf[0]] == m
        assert_allclose(0, residual[:, mine].sum(axis=1), atol=1e-5)
        if forest.is_leaf[node]:
            continue
        apart = start[fit.leaf[0][mine]] - start[fit.leaf[0][mine]].mean(axis=0)
        slope = (residual[:, mine].T * apart).sum(axis=0)
        penalty = strength * level.worth[m] / root
        length = np.linalg.norm(level.factor[m])
        if length == 0:
            assert np.linalg.norm(slope) <= penalty * (1 + 1e-6)
        else:
            n_kept += 1
            assert_allclose(penalty * level.factor[m] / length, slope, rtol=1e-4, atol=1e-4)
    assert 0 < n_kept < len(level.node)


def test_all_outputs_of_a_subtree_go_together() -> None:
    forest, data = zoo.forest("random forest gaps"), data_of("random forest gaps")
    additive = to_additive(forest)
    wanted = np.eye(3)[np.asarray(data.y)].T
    level = prune_levels._Level(additive, LeafFit.of(additive, data, wanted, 0.0), 2, Rates.of(additive))
    threshold = np.median(level.bearable())
    level.prune(float(threshold), 5)
    is_zero = level.factor[~additive.is_leaf[level.node]] == 0
    assert_array_equal(is_zero.all(axis=1), is_zero.any(axis=1))
    assert 0 < is_zero[:, 0].sum() < len(is_zero)


@pytest.mark.parametrize("name", KINDS)
def test_a_path_falls_through_the_sizes_asked_for(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    sizes = [forest.n_leaves + 5, forest.n_leaves, forest.n_leaves // 2, 6, 1]
    path = list(PruneLevels().path(forest, data, sizes))
    assert len(path) == 3
    for small, size in zip(path, sizes[2:], strict=True):
        assert small.n_leaves <= size
        assert small.n_nodes == 2 * small.n_leaves - small.n_trees
        assert (np.diff(small.tree_start) > 1).all()
    assert path[0].n_leaves > path[1].n_leaves


@pytest.mark.parametrize("name", ["random forest text", "boosting multiclass"])
def test_a_call_is_a_path_of_one_size(name: str) -> None:
    forest, data = zoo.forest(name), data_of(name)
    (expected,) = PruneLevels().path(forest, data, [9])
    assert expected == PruneLevels(max_leaves=9)(forest, data)


@pytest.mark.parametrize("max_leaves", [1.0, 10_000])
def test_a_forest_small_enough_is_given_back(max_leaves: Any) -> None:
    forest = zoo.forest("boosting binary")
    assert PruneLevels(max_leaves=max_leaves)(forest, data_of("boosting binary")) is forest


def test_the_splits_that_stay_are_splits_of_the_forest() -> None:
    forest, data = zoo.forest("hist categories missing"), data_of("hist categories missing")
    small = PruneLevels(max_leaves=0.3)(forest, data)
    splits = [set(zip(f.nodes.feature, f.nodes.threshold, f.nodes.nan_left, strict=True)) for f in (forest, small)]  # fmt: skip
    assert splits[1] <= splits[0]
    assert (small.nodes.category_set >= 0).any()


@pytest.mark.parametrize("kind", ["boosting", "forest"])
def test_at_an_equal_loss_a_fraction_is_left_of_what_chance_leaves(kind: str) -> None:
    forest, train, other = trained(kind)
    allowed = 1.1 * loss_of(forest, other)
    by_chance = min(fewest_leaves(cut_at_random(forest, seed), other, allowed) for seed in range(3))
    small = PruneLevels(max_leaves=by_chance // 6)(forest, train)
    assert loss_of(small, other) <= allowed


@pytest.mark.parametrize("largest", [18.0, 118.0])
def test_large_rates_leave_numbers(largest: float) -> None:
    right = np.array([2, -1, 4, -1, 6, -1, -1, 9, -1, -1])
    leaf = np.array([-1, 1, -1, 0, -1, 1, 0, -1, 1, 0])
    zeros, none = np.zeros(10), np.full(10, -1)
    forest = Forest(
        nodes=Nodes(np.where(leaf < 0, 0, -1), zeros, right, zeros > 0, none, leaf, zeros, none),
        tree_start=np.array([0, 7, 10]),
        tree_output=np.array([-1, -1]),
        values=np.array([[0.0, 0.0], [1.0, largest]]),
        bias=np.zeros(2),
        n_features=1,
        link="exp",
    )
    rows = forest.rows(
        np.array([-0.5, -3e38, -1e-40, 0, 1, 31.5, 2e9, -0.99, -1e-45, 1e20, 0.5, 2, -3e38])[:, None]
    )
    small = PruneLevels(max_leaves=0.5, mix=1)(forest, Data(rows))
    assert np.isfinite(small.margin(rows)).all()
