"""Grids of tests and the trees that grow on them, against a search that tries everything in plain numpy."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from strategies import hard_rows
from test_algorithms import leaf_forest, stump

from ensemble_compress.algorithms.grid import MISSING, MOST_EDGES, MOST_SETS, Grid
from ensemble_compress.algorithms.growth import Rules, Tree, grow_tree
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets

MODELS = ("random forest text", "tree missing", "hist categories missing", "xgb partitions", "lgb categories")
RULES = Rules(most_leaves=8, penalty=1.0, least=3.0, worth=0.0, top_gain=0.0, reuse=1.0)


class Split(NamedTuple):
    """What splitting some rows by one test gains."""

    gain: float
    column: int
    edge: int
    missing_left: bool


def case(name: str, seed: int = 0) -> tuple[Forest, Grid, NDArray[Any], NDArray[np.float64]]:
    """(teacher, its grid, rows, gradients and curvatures), a few of the rows of no weight."""
    forest, random = zoo.forest(name), np.random.default_rng(seed)
    X = zoo.rows(name)[: zoo.N_ROWS].copy()
    weight = random.integers(0, 3, len(X)) * random.random(len(X))
    gradient = np.where(np.nan_to_num(X[:, 0]) > 0.3, 1.0, -0.5) + random.normal(size=len(X))
    return (
        forest,
        Grid.of(forest),
        X,
        np.stack([weight * gradient, weight * (0.5 + random.random(len(X)))], axis=1),
    )


def goes_left(forest: Forest, grid: Grid, X: NDArray[Any], split: Split) -> NDArray[np.bool_]:
    """Which rows a test of the grid sends to the left, by what a forest's test means."""
    x = X[:, grid.feature[split.column]].astype(np.float64)
    s = int(grid.category_set[split.column])
    if s < 0:
        left = x <= grid.edges[split.column][split.edge]
    else:
        left = np.isin(np.floor(x), list(codes(forest, s)))
    return np.where(np.isnan(x), split.missing_left, left)


def codes(forest: Forest, s: int) -> set[int]:
    start, words = forest.category_sets
    own = words[start[s] : start[s + 1]]
    return {32 * k + b for k, word in enumerate(own.tolist()) for b in range(32) if word >> b & 1}


def every_split(
    forest: Forest,
    grid: Grid,
    X: NDArray[Any],
    state: NDArray[np.float64],
    rules: Rules,
    used: NDArray[np.bool_],
) -> list[Split]:
    """All splits that are allowed, and what they gain."""

    def of_leaf(rows: NDArray[np.float64]) -> float:
        gradient, curvature = rows.sum(axis=0)
        return float(gradient**2 / (curvature + rules.penalty))

    found = []
    for column, edges in enumerate(grid.edges):
        for edge in range(len(edges)):
            for missing_left in (False, True):
                left = goes_left(forest, grid, X, Split(0.0, column, edge, missing_left))
                sides = [state[left], state[~left]]
                if min(side[:, 1].sum() for side in sides) >= rules.least:
                    gain = of_leaf(sides[0]) + of_leaf(sides[1]) - of_leaf(state)
                    gain *= 1.0 if used[column, edge] else rules.reuse
                    found.append(Split(gain, column, edge, missing_left))
    return found


def grow(
    forest: Forest,
    grid: Grid,
    X: NDArray[Any],
    state: NDArray[np.float64],
    rules: Rules = RULES,
    used: Any = None,
) -> Tree:
    used = np.zeros((len(grid.edges), MISSING), bool) if used is None else used
    scratch = np.empty((2 * rules.most_leaves - 1, len(grid.edges), MISSING + 1, 2))
    return Tree(*grow_tree(grid.bins(forest, X), grid.n_edges, state, rules, used, scratch))


def rows_of_nodes(forest: Forest, grid: Grid, X: NDArray[Any], tree: Tree) -> list[NDArray[np.intp]]:
    """The rows that reach each node, found by walking down from the root."""
    reach: list[Any] = [None] * len(tree.column)
    reach[0] = np.arange(len(X))
    for j, column in enumerate(tree.column.tolist()):
        if column >= 0:
            split = Split(0.0, column, int(tree.edge[j]), bool(tree.nan_left[j]))
            left = goes_left(forest, grid, X[reach[j]], split)
            reach[j + 1], reach[int(tree.right[j])] = reach[j][left], reach[j][~left]
    return reach


# -- the grid ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_tests_are_those_of_the_forest(name: str) -> None:
    forest = zoo.forest(name)
    nodes, split = forest.nodes, ~forest.is_leaf
    numeric = split & (nodes.category_set < 0)
    expected = set(zip(nodes.feature[numeric].tolist(), nodes.threshold[numeric].tolist(), strict=True))
    expected_sets = set(zip(nodes.feature[split & ~numeric].tolist(), nodes.category_set[split & ~numeric].tolist(), strict=True))  # fmt: skip
    grid = Grid.of(forest)
    columns = list(zip(grid.feature.tolist(), grid.category_set.tolist(), grid.edges, strict=True))
    assert expected == {(f, t) for f, s, edges in columns if s < 0 for t in edges.tolist()}
    assert expected_sets == {(f, s) for f, s, _ in columns if s >= 0}
    for _, _, edges in columns:
        assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_bins_say_what_every_test_says(name: str) -> None:
    forest, grid = zoo.forest(name), Grid.of(zoo.forest(name))
    X = np.concatenate([zoo.rows(name), hard_rows(forest, 200)]).astype(forest.x_dtype)
    X = forest.rows(X)
    bins = grid.bins(forest, X)
    for column, edges in enumerate(grid.edges):
        missing = np.isnan(X[:, grid.feature[column]])
        assert_array_equal(missing, bins[column] == MISSING)
        for edge in range(len(edges)):
            expected = goes_left(forest, grid, X, Split(0.0, column, edge, False))[~missing]
            assert_array_equal(expected, bins[column][~missing] <= edge)


def chain(thresholds: NDArray[np.float64], cover: NDArray[np.float64]) -> Forest:
    """One tree that compares its only feature with all thresholds, from the largest down."""
    n = len(thresholds)
    order = np.argsort(-thresholds)
    column = lambda split, leaf, kind: np.concatenate([split, np.full(n + 1, leaf)]).astype(kind)
    nodes = Nodes(
        feature=column(np.zeros(n), -1, np.int32),
        threshold=column(thresholds[order], 0.0, np.float64),
        right=column(2 * n - np.arange(n), -1, np.int32),
        nan_left=column(np.zeros(n), 0, bool),
        category_set=np.full(2 * n + 1, -1),
        leaf=np.concatenate([np.full(n, -1), np.arange(n + 1)]),
        cover=column(cover[order], 1.0, np.float64),
        node_id=np.arange(2 * n + 1),
    )
    return leaf_forest(nodes=nodes, tree_start=np.array([0, 2 * n + 1]), values=np.arange(n + 1.0)[:, None], n_features=1)  # fmt: skip


def test_of_too_many_thresholds_those_are_taken_that_lie_evenly_by_weight() -> None:
    thresholds = np.arange(1000.0)
    cover = np.where(thresholds < 900, 1.0, 81.0)  # a tenth of them has nine tenths of the weight
    (edges,) = Grid.of(chain(thresholds, cover)).edges
    assert np.isin(edges, thresholds).all()
    assert 101 <= len(edges) <= MOST_EDGES  # each of the heavy ones once
    below = np.searchsorted(thresholds, edges)
    step = cover.sum() / MOST_EDGES
    light = below[below < 900]
    assert_allclose(step, np.diff(np.cumsum(cover)[light]), atol=1.0)
    assert_array_equal(np.arange(900, 1000), below[below >= 900])


def test_as_many_thresholds_as_there_is_room_for_are_all_taken() -> None:
    thresholds = np.arange(float(MOST_EDGES))
    forest = chain(thresholds, np.ones(MOST_EDGES))
    grid = Grid.of(forest)
    assert_array_equal(thresholds, grid.edges[0])
    X = forest.rows(np.append(thresholds + 0.5, [-1.0, np.nan])[:, None])
    assert_array_equal([*range(1, MOST_EDGES + 1), 0, MISSING], grid.bins(forest, X)[0])
    assert_array_equal([3.0, 0.0], grid.thresholds(np.array([0, 0]), np.array([3, 0])))


def test_of_too_many_category_sets_the_heaviest_are_taken() -> None:
    n = MOST_SETS + 8
    columns = stump().nodes
    nodes = Nodes(*(np.tile(column, n) for column in columns))
    shift = np.repeat(3 * np.arange(n), 3)
    cover = np.repeat(np.random.default_rng(0).permutation(n) + 1.0, 3)
    nodes = nodes._replace(
        threshold=np.zeros(3 * n),
        right=np.where(nodes.feature >= 0, nodes.right + shift, -1),
        category_set=np.where(nodes.feature >= 0, np.repeat(np.arange(n), 3), -1),
        cover=cover,
    )
    forest = stump(
        nodes=nodes,
        tree_start=3 * np.arange(n + 1),
        tree_output=np.zeros(n, int),
        category_sets=make_sets([[k] for k in range(n)]),
    )
    expected = np.sort(np.argsort(-cover[::3])[:MOST_SETS])
    assert_array_equal(expected, Grid.of(forest).category_set)


def test_a_forest_without_splits_has_an_empty_grid() -> None:
    forest = leaf_forest(2)
    grid = Grid.of(forest)
    assert (grid.edges, grid.n_edges.tolist()) == ([], [])
    assert grid.bins(forest, np.zeros((4, 2), np.float32)).shape == (0, 4)
    tree = grow(forest, grid, np.zeros((4, 2), np.float32), np.ones((4, 2)))
    assert (tree.column.tolist(), tree.gain) == ([-1], 0.0)
    assert_allclose([4 / 5], tree.step)


# -- trees on it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reuse", [1.0, 0.3])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_every_split_is_the_best_of_all_tests(name: str, seed: int, reuse: float) -> None:
    forest, grid, X, state = case(name, seed)
    used = np.random.default_rng(seed).random((len(grid.edges), MISSING)) < 0.3
    rules = RULES._replace(reuse=reuse)
    before = used.copy()
    tree = grow(forest, grid, X, state, rules, used)
    reach = rows_of_nodes(forest, grid, X, tree)
    splits = np.flatnonzero(tree.column >= 0)
    assert len(splits) >= 2
    for j in splits:
        possible = every_split(forest, grid, X[reach[j]], state[reach[j]], rules, before)
        best = max(split.gain for split in possible)
        taken = [split.gain for split in possible if split[1:3] == (tree.column[j], tree.edge[j]) and split.missing_left == tree.nan_left[j]]  # fmt: skip
        assert_allclose(best, taken, rtol=1e-9)
    assert_allclose(
        max(split.gain for split in every_split(forest, grid, X, state, rules, before)), tree.gain
    )
    expected = before.copy()
    expected[tree.column[splits], tree.edge[splits]] = True
    assert_array_equal(expected, used)


def test_missing_values_go_to_either_side() -> None:
    sides = set()
    for seed in range(8):
        forest, grid, X, state = case("tree missing", seed)
        tree = grow(forest, grid, X, state)
        sides |= set(tree.nan_left[tree.column >= 0].tolist())
    assert sides == {True, False}


def test_the_best_split_of_all_leaves_comes_first() -> None:
    """A tree of one leaf more has the tests of the smaller tree, and the one that gains most at its leaves."""
    forest, grid, X, state = case("random forest text")
    used = np.zeros((len(grid.edges), MISSING), bool)
    trees = [grow(forest, grid, X, state, RULES._replace(most_leaves=most)) for most in range(2, 8)]
    for small, large in pairwise(trees):
        reach = rows_of_nodes(forest, grid, X, small)
        leaves = [reach[j] for j in np.flatnonzero(small.column < 0)]
        possible = [max((s.gain for s in every_split(forest, grid, X[rows], state[rows], RULES, used)), default=0.0) for rows in leaves]  # fmt: skip
        divided = [k for k, rows in enumerate(leaves) if len(np.unique(large.leaf[rows])) == 2]
        assert divided == [int(np.argmax(possible))]


@pytest.mark.parametrize("name", MODELS)
def test_rows_covers_and_steps_are_those_of_the_leaves_that_a_walk_finds(name: str) -> None:
    forest, grid, X, state = case(name)
    tree = grow(forest, grid, X, state)
    reach = rows_of_nodes(forest, grid, X, tree)
    assert_array_equal([len(rows) for rows in reach], tree.cover)
    leaves = [rows for rows, column in zip(reach, tree.column, strict=True) if column < 0]
    assert len(leaves) == len(tree.step) == (len(tree.column) + 1) // 2
    for k, rows in enumerate(leaves):
        assert_array_equal(k, np.unique(tree.leaf[rows]))
        gradient, curvature = state[rows].sum(axis=0)
        assert_allclose(gradient / (curvature + RULES.penalty), tree.step[k])
        assert curvature >= RULES.least - 1e-9


def test_nodes_are_in_pre_order() -> None:
    forest, grid, X, state = case("random forest text")
    tree = grow(forest, grid, X, state)

    def end(j: int) -> int:
        """The node after the subtree of j."""
        if tree.column[j] < 0:
            return j + 1
        assert tree.right[j] == end(j + 1)
        return end(int(tree.right[j]))

    assert end(0) == len(tree.column) == 15


def test_a_tree_ends_where_splits_stop_paying() -> None:
    forest, grid, X, state = case("random forest text")
    used = np.zeros((len(grid.edges), MISSING), bool)
    for worth, top_gain in ((0.3, 0.0), (0.3, 100.0), (1.0, 0.0), (0.01, 1e9)):
        rules = RULES._replace(worth=worth, top_gain=top_gain)
        tree = grow(forest, grid, X, state, rules)
        least = worth * max(tree.gain, top_gain)
        reach = rows_of_nodes(forest, grid, X, tree)
        for j, rows in enumerate(reach):
            best = max((s.gain for s in every_split(forest, grid, X[rows], state[rows], RULES, used)), default=0.0)  # fmt: skip
            if not np.isclose(best, least):
                assert (best > least) == (tree.column[j] >= 0)
        assert tree.gain > 0
