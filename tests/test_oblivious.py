"""Oblivious trees: found out as such, and scored by one test a level."""

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import hard_rows

from ensemble_compress.engines import bitvector, oblivious, plan, walk
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

needs_the_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="its vectors are LLVM's")


def grow(tests: list[tuple[int, float, bool]], first: int) -> list[list[Any]]:
    """The nodes of a complete tree of those tests, in pre-order: feature, threshold, right, nan_left, leaf, depth."""
    if not tests:
        return [[-1, 0.0, -1, False, 0, 0]]
    (feature, threshold, nan_left), below = tests[0], tests[1:]
    left = grow(below, first + 1)
    right = grow(below, first + 1 + len(left))
    return [[feature, threshold, first + 1 + len(left), nan_left, -1, 0], *left, *right]


def forest_of(trees: list[list[tuple[int, float, bool]]], n_outputs: int = 1) -> Forest:
    nodes, start = [], [0]
    for tests in trees:
        nodes += grow(tests, len(nodes))
        start.append(len(nodes))
    feature, threshold, right, nan_left, leaf, _ = (np.array(field) for field in zip(*nodes, strict=True))
    is_leaf = feature < 0
    leaf[is_leaf] = np.arange(is_leaf.sum())
    n = len(nodes)
    made = Nodes(feature, threshold, right, nan_left, np.full(n, -1), leaf, np.ones(n), np.arange(n))
    values = np.random.default_rng(n).standard_normal((is_leaf.sum(), 1))
    outputs = np.arange(len(trees)) % n_outputs
    return Forest(made, start, outputs, values, np.zeros(n_outputs), n_features=3, handles_nan=True)


tests_of_a_tree = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([-1.5, 0.0, 0.25, 3.0]), st.booleans()),
    min_size=1,
    max_size=8,
)


@needs_the_compiler
@settings(max_examples=60)
@given(st.lists(tests_of_a_tree, min_size=1, max_size=12), st.integers(1, 3), st.integers(0, 300))
def test_oblivious_trees_give_the_leaves_and_sums_of_the_naive_twin(
    trees: Any, n_outputs: int, n_rows: int
) -> None:
    forest = forest_of(trees, n_outputs)
    assert [len(tests) for tests in trees] == oblivious.find_levels(forest.nodes, forest.tree_start).tolist()
    rows = hard_rows(forest, n_rows)
    run = plan.Run(*forest._plan._arrays, forest.x_dtype, is_small=True)
    found = np.zeros((n_rows, forest.n_trees), np.int32)
    bitvector.find_leaves(run.bits, rows, 0, n_rows, found)
    np.testing.assert_array_equal(oracle.leaves(forest, rows), found)
    sums = np.zeros((n_rows, n_outputs))
    bitvector.add_margins(run.bits, rows, 0, n_rows, sums)
    assert oracle.margins(forest, rows).tobytes() == sums.tobytes()


@needs_the_compiler
def test_an_oblivious_tree_of_eight_levels_is_eight_tests() -> None:
    forest = forest_of([[(k % 3, float(k), False) for k in range(8)]] * 9)
    run = forest._plan.runs[0]
    assert len(run.bits.column) == 8 * 9
    assert [walk, bitvector] == [run._engine(n_rows)[0] for n_rows in (100, 100_000)]


def test_a_level_too_many_is_left_to_the_walk() -> None:
    forest = forest_of([[(0, float(k), False) for k in range(9)]] * 9)
    assert oblivious.find_levels(forest.nodes, forest.tree_start).tolist() == [0] * 9
    assert forest._plan.runs[0].bits is None


@pytest.mark.parametrize("field", ["feature", "threshold", "nan_left"])
def test_a_tree_with_one_test_that_differs_from_its_level_is_not_oblivious(field: str) -> None:
    forest = forest_of([[(0, 1.0, False), (1, 2.0, True), (2, 0.0, False)]])
    for j in np.flatnonzero(~forest.is_leaf)[2:]:
        changed = getattr(forest.nodes, field).copy()
        changed[j] = {"feature": 0 if changed[j] else 1, "threshold": 7.0, "nan_left": not changed[j]}[field]
        other = replace(forest, nodes=forest.nodes._replace(**{field: changed}))
        expected = 0 if forest.depth[j] > 0 else 3
        assert [expected] == oblivious.find_levels(other.nodes, other.tree_start).tolist()
        assert (
            oracle.margins(other, hard_rows(other, 50)).tobytes()
            == other.margin(hard_rows(other, 50)).tobytes()
        )


def test_a_tree_with_as_many_nodes_as_a_complete_one_but_of_another_shape_is_not_oblivious() -> None:
    nodes = Nodes(
        feature=np.array([0, 0, 0, -1, -1, -1, -1]),
        threshold=np.array([3.0, 2.0, 1.0, 0, 0, 0, 0]),
        right=np.array([6, 5, 4, -1, -1, -1, -1]),
        nan_left=np.zeros(7, bool),
        category_set=np.full(7, -1),
        leaf=np.array([-1, -1, -1, 0, 1, 2, 3]),
        cover=np.ones(7),
        node_id=np.arange(7),
    )
    forest = Forest(nodes, [0, 7], [0], np.arange(4.0)[:, None], np.zeros(1), n_features=1)
    assert oblivious.find_levels(forest.nodes, forest.tree_start).tolist() == [0]
    assert forest.margin(np.array([[0.5], [1.5], [2.5], [3.5]])).tolist() == [[0.0], [1.0], [2.0], [3.0]]
