"""The orders of PruneTrees: each criterion against its paper's formula, written out naively, and by hand on tiny votes."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import cohen_kappa_score, mutual_info_score
from strategies import forests
from test_algorithms import check_contract, data_for, labels_for, leaf_forest

from ensemble_compress.algorithms import PruneTrees
from ensemble_compress.algorithms.tree_orders import OF_VOTES, ORDERS, _sum_information
from ensemble_compress.algorithms.tree_votes import Members, members_of
from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

CLASSIFIERS = [
    "random forest text",
    "random forest gaps",
    "boosting exponential",
    "boosting multiclass",
    "xgb binary",
    "xgb multiclass",
    "adaboost binary",
    "adaboost gaps",
    "lgb one against all",
]
REGRESSIONS = ["random forest regression", "random forest two columns", "xgb vector leaves", "hist poisson"]

every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
every_regression = pytest.mark.parametrize("name", REGRESSIONS)
every_method = pytest.mark.parametrize("method", ORDERS)


def problem(name: str, n_rows: int | None = None) -> tuple[Forest, Data]:
    """A model of the zoo and its training rows, of weights 0 to 3."""
    forest, entry = zoo.forest(name), zoo.ENTRIES[name]
    X, y = zoo.data(entry.task, entry.missing)
    weight = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
    codes = np.searchsorted(np.unique(y), y) if forest.is_classifier else y
    return forest, Data(forest.rows(X), codes, weight).take(slice(n_rows))


# -- the same from the papers' formulas -------------------------------------------------------------------------


def added(forest: Forest, data: Data) -> list[NDArray[Any]]:
    """What each member adds to the margins of the rows, before the divisor."""
    leaf = forest.nodes.leaf[forest.find_leaves(data.X)]
    sums = [np.zeros((data.n_rows, forest.n_outputs)) for _ in range(members_of(forest).max() + 1)]
    for t, member in enumerate(members_of(forest)):
        columns = slice(None) if forest.values.shape[1] > 1 else [max(forest.tree_output[t], 0)]
        sums[member][:, columns] += forest.values[leaf[:, t]]
    return sums


def answer(forest: Forest, adds: list[NDArray[Any]], chosen: list[int]) -> NDArray[Any]:
    """The margins of a forest of some members; `n_trees` counts for the share that an average keeps."""
    share = np.isin(members_of(forest), chosen).sum() / forest.n_trees if forest.divisor > 1 else 1.0
    sums = sum((adds[m] for m in chosen), np.zeros_like(adds[0]))
    return np.asarray((sums + share * forest.bias) / (forest.divisor * share))


def votes_of(forest: Forest, data: Data) -> list[NDArray[Any]]:
    """By the rule in the docstring: the leaf's class in averages, otherwise what is raised above its mean."""
    votes = []
    for adds in added(forest, data):
        weight = np.ones(data.n_rows) if data.weight is None else data.weight
        above = adds - np.average(adds, axis=0, weights=weight)
        above[abs(above) < 1e-12 * abs(adds).max()] = 0
        is_own = forest.divisor > 1 or (forest.n_outputs > 1 and forest.link in ("identity", "samme"))
        each = adds if is_own else above
        votes.append(each.argmax(axis=1) if each.shape[1] > 1 else (each[:, 0] > 0).astype(int))
    return votes


class Naive:
    """What the formulas speak of: votes, which are right, and weights, of rows that count."""

    def __init__(self, name: str, n_rows: int | None = None) -> None:
        self.forest, data = problem(name, n_rows)
        assert data.weight is not None
        data = data.take(data.weight > 0)
        self.data, self.y, self.w = data, np.asarray(data.y), np.asarray(data.weight)
        self.adds = added(self.forest, data)
        self.n = len(self.adds)
        self.votes = votes_of(self.forest, data) if self.forest.is_classifier else []

    def expected(self, worth: Callable[[list[int], int], float]) -> list[int]:
        """Greed: each next member is the first of the largest worth, given those chosen."""
        chosen: list[int] = []
        while len(chosen) < self.n:
            rest = [m for m in range(self.n) if m not in chosen]
            values = [worth(chosen, m) for m in rest]
            chosen.append(rest[[value >= max(values) - 1e-9 for value in values].index(True)])
        return chosen

    def actual(self, method: Any) -> list[int]:
        """The members in the order of their first trees."""
        order = PruneTrees(method=method, mix=0).order(self.forest, self.data)
        assert sorted(order) == list(range(self.forest.n_trees))
        return list(dict.fromkeys(members_of(self.forest)[order].tolist()))

    def wrong(self, chosen: list[int]) -> NDArray[Any]:
        """The weight of each row that the members chosen leave wrong; without any all are."""
        if not chosen:
            return self.w
        decided = self.forest.decide(answer(self.forest, self.adds, chosen))
        return np.where(decided == self.y, 0.0, self.w)


@every_classifier
def test_reduced_error_takes_the_member_with_which_fewest_rows_are_wrong(name: str) -> None:
    naive = Naive(name)
    assert naive.expected(lambda chosen, m: -naive.wrong([*chosen, m]).sum()) == naive.actual("reduced_error")


@every_regression
def test_reduced_error_of_a_regression_is_squared(name: str) -> None:
    naive = Naive(name)
    wanted = naive.y.reshape(len(naive.y), -1)

    def worth(chosen: list[int], m: int) -> float:
        found = naive.forest.linked(answer(naive.forest, naive.adds, [*chosen, m]))
        return -float((naive.w[:, None] * np.square(found - wanted)).sum())

    assert naive.expected(worth) == naive.actual("reduced_error")


@every_classifier
def test_complementarity_counts_rows_that_the_sum_has_wrong_and_the_member_right(name: str) -> None:
    naive = Naive(name)
    order = naive.expected(lambda chosen, m: naive.wrong(chosen)[naive.votes[m] == naive.y].sum())
    assert order == naive.actual("complementarity")


@every_classifier
def test_margin_distance_is_that_of_mean_signatures_to_a_point(name: str) -> None:
    naive = Naive(name)
    signatures = [np.where(votes == naive.y, 1.0, -1.0) for votes in naive.votes]

    def worth(chosen: list[int], m: int) -> float:
        point = sum(signatures[s] for s in [*chosen, m]) / naive.n
        return -float((naive.w * np.square(0.075 - point)).sum())

    assert naive.expected(worth) == naive.actual("margin_distance")


@every_classifier
def test_kappa_takes_pairs_by_rising_kappa_of_scikit_learn(name: str) -> None:
    naive = Naive(name)
    kappas = {}
    for a in range(naive.n):
        for b in range(a + 1, naive.n):
            pair = naive.votes[a], naive.votes[b]
            is_sure = len(set(np.concatenate(pair).tolist())) == 1
            kappas[a, b] = 1.0 if is_sure else round(cohen_kappa_score(*pair, sample_weight=naive.w), 9)
    pairs = sorted(kappas, key=lambda pair: (kappas[pair], pair))
    assert list(dict.fromkeys(m for pair in pairs for m in pair)) == naive.actual("kappa")


@every_classifier
def test_mutual_information_is_relevance_less_mean_redundancy(name: str) -> None:
    naive = Naive(name)
    times = naive.w.astype(int)  # A weight of two is a row that is there twice.
    votes, y = [np.repeat(v, times) for v in naive.votes], np.repeat(naive.y, times)

    def worth(chosen: list[int], m: int) -> float:
        shared = [mutual_info_score(votes[m], votes[s]) for s in chosen]
        return float(mutual_info_score(votes[m], y)) - (float(np.mean(shared)) if shared else 0.0)

    assert naive.expected(worth) == naive.actual("mutual_information")


@every_classifier
def test_individual_contribution_is_the_formula_of_its_paper(name: str) -> None:
    naive = Naive(name, 90)
    n_classes = len(naive.forest.classes)  # type: ignore[arg-type]
    worth = np.zeros(naive.n)
    for i, right in enumerate(naive.y):
        counts = [sum(int(votes[i] == c) for votes in naive.votes) for c in range(n_classes)]
        second, first = sorted(counts)[-2:]
        for m, vote in enumerate(int(votes[i]) for votes in naive.votes):
            is_right, in_majority = vote == right, vote == counts.index(first)
            alpha, beta, theta = is_right and not in_majority, is_right and in_majority, not is_right
            worth[m] += naive.w[i] * (
                alpha * (2 * first - counts[vote])
                + beta * second
                + theta * (counts[right] - counts[vote] - first)
            )
    expected = sorted(range(naive.n), key=lambda m: (-worth[m], m))
    assert expected == naive.actual("individual_contribution")


def check_clusters(distance: NDArray[Any], worth: NDArray[Any], order: list[int]) -> None:
    """Every prefix holds the best of each of as many clusters."""
    for k in range(1, len(order) + 1):
        clusters = AgglomerativeClustering(k, metric="precomputed", linkage="complete").fit(distance)
        best = [np.where(clusters.labels_ == c, worth, -np.inf).argmax() for c in range(k)]
        assert sorted(best) == sorted(order[:k])


@every_classifier
def test_clusters_are_of_members_that_err_together(name: str) -> None:
    naive = Naive(name)
    wrong = np.array([votes != naive.y for votes in naive.votes])
    both = (wrong[:, None] & wrong) @ naive.w / naive.w.sum()
    check_clusters(1 - both, (~wrong) @ naive.w, naive.actual("clustering"))


@every_regression
def test_clusters_of_a_regression_are_of_correlated_members(name: str) -> None:
    naive = Naive(name)
    root = np.sqrt(naive.w)[:, None]
    rows = [*naive.adds, naive.y.reshape(len(naive.y), -1)]
    above = np.array([((a - np.average(a, axis=0, weights=naive.w)) * root).reshape(-1) for a in rows])
    alike = above @ above.T / np.outer(np.linalg.norm(above, axis=1), np.linalg.norm(above, axis=1))
    check_clusters((1 - alike[:-1, :-1]).round(12), alike[-1, :-1].round(12), naive.actual("clustering"))


# -- by hand ----------------------------------------------------------------------------------------------------


def voters(votes: list[list[int]], n_classes: int = 2) -> tuple[Forest, NDArray[Any]]:
    """(an average of trees that vote so on rows 0, 1, ..., those rows)."""
    n_rows, columns, start = len(votes[0]), [], [0]
    for of_tree in votes:
        for i, vote in enumerate(of_tree):
            is_last = i == n_rows - 1
            if not is_last:
                columns.append([0, i + 0.5, len(columns) + 2, False, -1, -1, 1.0, len(columns)])
            columns.append([-1, 0.0, -1, False, -1, vote, 1.0, len(columns)])
        start.append(len(columns))
    forest = Forest(
        nodes=Nodes(*map(np.array, zip(*columns, strict=True))),
        tree_start=np.array(start),
        tree_output=np.full(len(votes), -1),
        values=np.eye(n_classes),
        bias=np.zeros(n_classes),
        n_features=1,
        divisor=float(len(votes)),
        classes=np.arange(n_classes),
    )
    X = np.arange(n_rows, dtype=np.float32)[:, None]
    leaf = forest.values[forest.nodes.leaf[forest.find_leaves(X)]].argmax(axis=2)
    assert leaf.T.tolist() == votes
    return forest, X


def order_of(method: Any, votes: list[list[int]], y: list[int], n_classes: int = 2) -> list[int]:
    forest, X = voters(votes, n_classes)
    return PruneTrees(method=method, mix=0).order(forest, Data(X, np.array(y))).tolist()


RIGHT = [1, 1, 1, 1, 1, 1]
HALVES = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0]]


def test_what_the_first_has_wrong_the_second_has_right() -> None:
    # Tree 0 leaves rows 4 and 5; tree 2 has both, tree 1 one; a tie of two votes is class 0, so with 0 and 2 all rows are wrong.
    assert order_of("complementarity", HALVES, RIGHT) == [0, 2, 1, 3]


def test_the_error_of_two_is_that_of_their_sum() -> None:
    # With tree 0: trees 1, 2 and 3 leave 3, 6 and 2 rows wrong; then with 0 and 3 tree 1 leaves 2 and tree 2 leaves 2: the earlier.
    assert order_of("reduced_error", HALVES, RIGHT) == [0, 3, 1, 2]


def test_the_least_kappa_of_all_pairs_comes_first() -> None:
    # Trees 0 and 2 never agree, nor do 2 and 3: kappa -0.8 (agreed 0, by chance 4 / 9); trees 0 and 3 always.
    assert order_of("kappa", HALVES, RIGHT) == [0, 2, 3, 1]


def test_two_that_know_but_one_class_agree_wholly() -> None:
    # Trees 0 and 1 always say class 1: kappa, 0 / 0, is 1; each agrees with tree 2 no more than by chance.
    assert order_of("kappa", [[1, 1, 1], [1, 1, 1], [0, 1, 1]], [1, 1, 1]) == [0, 2, 1]


@pytest.mark.parametrize(("tie_class", "expected"), [(0, [0, 3, 1, 2]), (1, [0, 2, 1, 3])])
def test_a_lone_margin_of_zero_is_of_the_tie_class(tie_class: int, expected: list[int]) -> None:
    # Of class 1, a tie of trees 0 and 2 has all rows right.
    forest, X = voters(HALVES)
    lone = replace(forest, values=np.array([[-1.0], [1.0]]), tree_output=np.zeros(4, int), bias=np.zeros(1))
    order = PruneTrees(method="reduced_error", mix=0).order(
        replace(lone, tie_class=tie_class), Data(X, np.array(RIGHT))
    )
    assert order.tolist() == expected


def test_a_tree_of_adaboost_votes_for_the_class_of_its_leaf() -> None:
    forest, X = voters([[2, 2, 2], [0, 1, 2]], 3)
    for divisor in (0.5, 2.0):
        adaboost = replace(forest, link="samme", divisor=divisor)
        assert Members.of(adaboost, Data(X, np.array([0, 1, 2])), 0).votes.tolist() == [[2, 2, 2], [0, 1, 2]]


def test_some_trees_of_an_average_keep_their_share_of_the_bias() -> None:
    forest, X = voters(HALVES)
    # Of k trees more than three quarters must say 1: tree 0, then 3, with which rows 0 to 3 are right.
    lone = replace(
        forest, values=np.array([[-1.0], [1.0]]), tree_output=np.zeros(4, int), bias=np.full(1, -2.0)
    )
    assert PruneTrees(method="reduced_error", mix=0).order(lone, Data(X, np.array(RIGHT))).tolist() == [
        0,
        3,
        1,
        2,
    ]


def test_a_tree_of_an_average_votes_with_its_share_of_the_bias() -> None:
    forest, X = voters([[0, 1, 0], [1, 1, 0]])
    lone = replace(
        forest, values=np.array([[0.9], [0.2]]), tree_output=np.zeros(2, int), bias=np.full(1, -1.0)
    )
    # 0.9 - 1 / 2 is class 1, 0.2 - 1 / 2 is class 0.
    assert Members.of(lone, Data(X, np.array([0, 0, 1])), 0).votes.tolist() == [[1, 0, 1], [0, 0, 1]]


def test_a_copy_adds_no_information() -> None:
    votes, y = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]], [0, 0, 1, 2]
    # Tree 0 tells log 2 of the class; its copy then log 2 - log 2 = 0; tree 2 log(2) / 2 - 0.
    assert order_of("mutual_information", votes, y, 3) == [0, 2, 1]


def test_a_right_vote_of_the_minority_is_worth_most() -> None:
    # One row of class 1, votes 0 0 0 1: the last gains 2 * 3 - 1 = 5; the others 1 - 3 - 3 = -5.
    # One row of class 0, the same votes: the first three gain the second most votes, 1; the last 3 - 1 - 3 = -1.
    votes = [[0, 0], [0, 0], [0, 0], [1, 1]]
    assert order_of("individual_contribution", votes, [1, 0]) == [3, 0, 1, 2]
    votes = [[0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]]
    # Three rows of class 0, a tie on the last: the gains are 1 + 1 + 2 twice, then 1 + 1 - 2 and -1 - 1 - 2.
    assert order_of("individual_contribution", votes, [0, 0, 0]) == [0, 1, 2, 3]


def test_margins_go_near_the_point_and_not_beyond() -> None:
    # Of four: tree 0 is right on rows 0 to 2, tree 1 on the same, tree 2 on row 3 alone. Wanted is 0.075 on each row.
    # After tree 0 the point is (1, 1, 1, -1) / 4; adding tree 2 gives (0, 0, 0, 0), adding tree 1 (2, 2, 2, -2) / 4.
    votes = [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert order_of("margin_distance", votes, [1, 1, 1, 1])[:3] == [0, 2, 1]


def test_one_of_those_that_err_together_stays() -> None:
    votes = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]
    # Both wrong: trees 0 and 1 on a row, trees 2 and 3 on a row, no others. The best of each: 1 and 3.
    assert sorted(order_of("clustering", votes, RIGHT)[:2]) == [1, 3]


@every_method
def test_among_equals_the_earlier_comes_first(method: str) -> None:
    same = [[0, 1, 0, 1, 1]] * 4
    assert sorted(order_of(method, same, [0, 1, 1, 1, 0])) == [0, 1, 2, 3]
    if method != "clustering":
        assert order_of(method, same, [0, 1, 1, 1, 0]) == [0, 1, 2, 3]


# -- members and votes ------------------------------------------------------------------------------------------


def test_a_member_is_a_round_where_outputs_have_trees_of_their_own() -> None:
    forest = zoo.forest("xgb multiclass")
    assert forest.tree_output.tolist() == [0, 1, 2] * 6
    assert_array_equal(np.repeat(np.arange(6), 3), members_of(forest))
    assert_array_equal(np.arange(5), members_of(zoo.forest("random forest gaps")))
    # Outputs of several numbers of trees: the rounds get smaller.
    assert members_of(forest.take([0, 3, 6, 1, 2, 5])).tolist() == [0, 1, 2, 0, 0, 1]


@every_method
def test_rounds_stay_whole_as_far_as_there_is_room_for_one(method: Any) -> None:
    forest, data = problem("xgb multiclass")
    for n_trees, expected in [(1, 1), (2, 2), (3, 3), (5, 3), (6, 6), (17, 15)]:
        small = PruneTrees(n_trees=n_trees, method=method)(forest, data)
        assert small.n_trees == expected
        if n_trees > 2:
            assert np.bincount(small.tree_output).tolist() == [expected // 3] * 3


@every_method
@pytest.mark.parametrize("name", ["random forest gaps", "boosting exponential"])
def test_as_many_trees_are_kept_as_asked_for(method: Any, name: str) -> None:
    forest, data = problem(name)
    order = PruneTrees(method=method).order(forest, data)
    for n_trees in (1, 2, 4):
        small = PruneTrees(n_trees=n_trees, method=method)(forest, data)
        kept = forest.take(np.sort(order[:n_trees]))
        assert small.n_trees == n_trees
        assert_array_equal(kept.nodes.threshold, small.nodes.threshold)
        assert_allclose(forest.divisor * (n_trees / 5 if forest.divisor > 1 else 1), small.divisor)


def test_a_booster_s_tree_votes_for_what_it_raises_above_its_mean() -> None:
    forest, X = voters([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    booster = replace(forest, values=np.array([[-0.9], [-0.1]]), tree_output=np.zeros(2), bias=np.zeros(1))
    booster = replace(booster, link="sigmoid", divisor=1.0)
    members = Members.of(booster, Data(X, np.array([0, 0, 1, 1, 1])), 0.5)
    # Every leaf is negative; a tree that says the same everywhere raises nothing, though its mean is rounded.
    assert members.votes.tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]


@every_method
@pytest.mark.parametrize("name", ["random forest gaps", "xgb multiclass", "boosting exponential"])
def test_rows_of_weight_zero_are_left_out_and_two_counts_twice(method: Any, name: str) -> None:
    forest, data = problem(name)
    assert data.weight is not None
    order = PruneTrees(method=method, mix=0).order(forest, data)
    repeated = np.repeat(np.arange(data.n_rows), data.weight.astype(int))
    repeats = replace(data.take(repeated), weight=None)
    assert_array_equal(PruneTrees(method=method, mix=0).order(forest, repeats), order)
    spoilt = replace(data, y=np.where(data.weight > 0, data.y, 99))  # type: ignore[arg-type]
    assert_array_equal(PruneTrees(method=method, mix=0).order(forest, spoilt), order)


@every_method
def test_without_labels_the_teacher_s_class_is_wanted(method: Any) -> None:
    forest, data = problem("random forest gaps")
    decided = forest.decide(forest.margin(data.X))
    expected = PruneTrees(method=method, mix=0).order(forest, replace(data, y=decided))
    assert_array_equal(expected, PruneTrees(method=method).order(forest, replace(data, y=None)))
    assert_array_equal(expected, PruneTrees(method=method, mix=1).order(forest, data))


def test_the_label_wins_against_a_sure_teacher_at_half() -> None:
    forest, X = voters([[0, 1], [0, 1]])
    data = Data(X, np.array([1, 0]), teacher=np.array([[1.0, 0.0], [0.0, 1.0]]))
    for mix, expected in [(0.0, [1, 0]), (0.5, [1, 0]), (0.6, [0, 1]), (1.0, [0, 1])]:
        assert Members.of(forest, data, mix).codes.tolist() == expected


def test_rows_beyond_the_largest_table_are_left_out_by_a_fixed_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, data = problem("random forest gaps")
    monkeypatch.setattr("ensemble_compress.algorithms.lessons.LARGEST_TABLE", 5 * 40)
    first, again = (Members.of(forest, data, 0.5) for _ in range(2))
    assert first.leaves.leaf.shape == (5, 40)
    assert_array_equal(first.leaves.leaf, again.leaves.leaf)
    assert sorted(PruneTrees(method="kappa").order(forest, data)) == [0, 1, 2, 3, 4]


# -- the contract, and what is refused --------------------------------------------------------------------------

SMALL = ["random forest text", "xgb partitions", "xgb multiclass", "lgb one against all", "adaboost gaps"]


@every_method
@pytest.mark.parametrize("name", SMALL)
def test_every_order_keeps_the_contract(method: Any, name: str) -> None:
    forest, X = zoo.forest(name), zoo.rows(name)[:100]
    y = labels_for(forest, np.random.default_rng(0), len(X))
    check_contract(PruneTrees(n_trees=3, method=method), forest, Data(X, y))
    for kind in ("", "yw", "wt"):
        check_contract(PruneTrees(method=method), forest, data_for(forest, 3, kind))
    check_contract(PruneTrees(n_trees=2, method=method), forest, data_for(forest, 4, "y", 1))


@pytest.mark.parametrize("method", sorted(OF_VOTES))
@settings(max_examples=25)
@given(
    forest=forests(classifier=True), seed=st.integers(0, 2**32 - 1), parts=st.sampled_from(["", "y", "ywt"])
)
def test_any_classifier_keeps_the_contract(method: Any, forest: Forest, seed: int, parts: str) -> None:
    check_contract(PruneTrees(method=method), forest, data_for(forest, seed, parts))


@every_method
def test_forests_of_no_tree_and_of_one_have_an_order(method: Any) -> None:
    for n_trees in (0, 1, 2):
        forest = replace(leaf_forest(n_trees), classes=np.array(["no", "yes"]), link="sigmoid")
        data = Data(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 1]))
        assert PruneTrees(method=method).order(forest, data).tolist() == list(range(n_trees))


@pytest.mark.parametrize("method", ["reduced_error", "clustering"])
def test_huge_leaves_are_ordered_as_small_ones_are(method: Any) -> None:
    forest = zoo.forest("boosting squared_error")
    X = zoo.rows("boosting squared_error")[:150]
    huge = replace(forest, values=forest.values * 2.0**900, bias=forest.bias * 2.0**900)
    expected, actual = (PruneTrees(method=method, mix=1).order(f, Data(f.rows(X))) for f in (forest, huge))
    assert_array_equal(expected, actual)


@pytest.mark.parametrize("method", sorted(OF_VOTES))
@every_regression
def test_votes_of_a_regression_are_refused(method: Any, name: str) -> None:
    forest, data = problem(name)
    message = (
        rf"^PruneTrees: method '{method}' counts votes for classes; this forest is a regression model: use"
        r" 'contribution', 'reduced_error' or 'clustering'$"
    )
    with pytest.raises(ParameterError, match=message):
        PruneTrees(n_trees=2, method=method)(forest, data)


@pytest.mark.parametrize("method", ["l1", "nnls"])
def test_weights_for_one_number_of_trees_have_no_order(method: Any) -> None:
    forest, data = problem("random forest gaps")
    with pytest.raises(ParameterError, match=f"method '{method}' weighs the trees for one number of them"):
        PruneTrees(method=method).order(forest, data)


def test_the_first_trees_are_their_own_order() -> None:
    forest, data = problem("random forest gaps")
    assert PruneTrees(method="first").order(forest, data).tolist() == [0, 1, 2, 3, 4]


@every_method
def test_labels_that_are_no_codes_are_refused(method: Any) -> None:
    forest, data = problem("random forest gaps")
    with pytest.raises(InputError, match=r"y holds class codes from 7 to 7; expected whole numbers from 0"):
        PruneTrees(n_trees=2, method=method)(forest, replace(data, y=np.full(data.n_rows, 7)))


def test_an_unknown_method_is_told_all_that_there_are() -> None:
    with pytest.raises(
        ParameterError, match=r"method is 'epic'; expected one of \('contribution', 'first', 'red"
    ):
        PruneTrees(method="epic")  # type: ignore[arg-type]


def test_information_is_in_nats() -> None:
    votes = [[0, 0, 1, 1], [0, 1, 0, 1]]
    forest, X = voters(votes)
    members = Members.of(forest, Data(X, np.array([0, 0, 1, 1])), 0)
    out, table = np.empty(2), np.empty((2, 2))
    _sum_information(members.votes, members.votes[0], members.weight, table, out)
    assert_allclose(out, [math.log(2), 0.0], atol=1e-15)
