"""Simplify: it removes all that brute force proves useless, and nothing that shows in a single bit."""

import itertools
from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import forests

from ensemble_compress.algorithms import Simplify
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets


def forest_of(*trees: Any, bias: Any = (0.0,), dtype: Any = np.float64, **changes: Any) -> Forest:
    """A forest from nested tuples: a number is a leaf, (feature, threshold, nan_left, left, right) a split."""
    columns: list[list[Any]] = []
    values: list[float] = []
    start = [0]

    def grow(tree: Any) -> None:
        j = len(columns)
        if not isinstance(tree, tuple):
            columns.append([-1, 0.0, -1, False, -1, len(values), 1.0, j])
            values.append(tree)
            return
        feature, threshold, nan_left, left, right = tree
        in_set = isinstance(threshold, str)
        columns.append([feature, 0.0 if in_set else threshold, 0, nan_left, 0 if in_set else -1, -1, 1.0, j])
        grow(left)
        columns[j][2] = len(columns)
        grow(right)

    for tree in trees:
        grow(tree)
        start.append(len(columns))
    arguments: dict[str, Any] = {
        "nodes": Nodes(*(np.array(column) for column in zip(*columns, strict=True))),
        "tree_start": np.array(start),
        "tree_output": np.zeros(len(trees), int),
        "values": np.array(values, dtype)[:, None],
        "bias": np.array(bias, dtype),
        "n_features": 3,
        "x_dtype": "float64",
    }
    return Forest(**(arguments | changes))


def all_cells(forest: Forest) -> Any:
    """A row in every cell that the thresholds cut the space into, missing values included."""
    axes = []
    for f in range(forest.n_features):
        at = np.unique(forest.nodes.threshold[forest.nodes.feature == f])
        with np.errstate(over="ignore"):
            points = np.concatenate([[-np.inf, np.inf], at, np.nextafter(at, np.inf)])
        axes.append([*np.unique(points), *([np.nan] if forest.handles_nan else [])])
    return np.array(list(itertools.product(*axes)))


@given(forests(max_features=2, max_splits=9, max_trees=4, x_dtypes=("float64",), categorical=False))
def test_every_branch_that_is_left_is_reached_by_some_row(forest: Forest) -> None:
    small = Simplify()(forest)
    reached = np.unique(small.find_leaves(all_cells(forest)))
    assert_array_equal(np.flatnonzero(small.is_leaf), reached)


@given(forests(max_features=2, x_dtypes=("float64",), categorical=False))
def test_every_cell_keeps_its_margin(forest: Forest) -> None:
    rows = all_cells(forest)
    assert forest.margin(rows).tobytes() == Simplify()(forest).margin(rows).tobytes()


@given(forests(values=st.sampled_from([0.0, 1.0, -0.0])))
def test_no_two_sibling_leaves_are_equal(forest: Forest) -> None:
    small = Simplify()(forest)
    splits = np.flatnonzero(~small.is_leaf)
    left, right = small.nodes.leaf[splits + 1], small.nodes.leaf[small.nodes.right[splits]]
    for a, b in zip(left, right, strict=True):
        assert -1 in (a, b) or small.values[a].tobytes() != small.values[b].tobytes()


@given(forests())
def test_a_value_row_is_stored_once(forest: Forest) -> None:
    small = Simplify()(forest)
    rows = [row.tobytes() for row in small.values]
    assert len(set(rows)) == len(rows)


def test_a_split_decided_above_gives_way_to_the_side_that_rows_take() -> None:
    always_left = forest_of((0, 1.0, False, (0, 2.0, False, 1.0, 2.0), 3.0))
    small = Simplify()(always_left)
    assert (small.n_leaves, small.margin([[0, 0, 0], [5, 0, 0]]).tolist()) == (2, [[1.0], [3.0]])
    always_right = forest_of((0, 1.0, True, 1.0, (0, 0.5, True, 2.0, 3.0)))
    small = Simplify()(always_right)
    assert (small.n_leaves, small.margin([[0, 0, 0], [5, 0, 0]]).tolist()) == (2, [[1.0], [3.0]])


def test_missing_values_keep_a_branch_that_no_number_reaches() -> None:
    tree = (0, 1.0, True, (0, 2.0, False, 1.0, 2.0), 3.0)
    assert Simplify()(forest_of(tree)).n_leaves == 3
    assert Simplify()(forest_of(tree, handles_nan=False)).n_leaves == 2


@pytest.mark.parametrize(("nan_left", "expected"), [(True, 2.0), (False, 3.0)])
def test_where_only_missing_values_arrive_they_decide_every_split(nan_left: bool, expected: float) -> None:
    for threshold in (-5.0, 5.0, np.inf):
        small = Simplify()(forest_of((0, np.inf, False, 1.0, (0, threshold, nan_left, 2.0, 3.0))))
        assert small.n_leaves == 2
        assert small.margin([[np.nan, 0, 0]])[0, 0] == expected


def test_a_category_that_only_missing_values_reach_is_decided() -> None:
    tree = (0, np.inf, False, 1.0, (0, "set", True, 2.0, 3.0))
    assert Simplify()(forest_of(tree, category_sets=make_sets([[1, 2]]))).n_leaves == 2


def test_a_limit_on_one_feature_says_nothing_of_another() -> None:
    tree = (0, 1.0, False, (1, 2.0, False, 1.0, 2.0), (1, 2.0, False, 3.0, 4.0))
    assert Simplify()(forest_of(tree)).n_leaves == 4


def test_limits_end_with_the_branch_and_the_tree() -> None:
    tree = (0, 1.0, False, (0, 0.5, False, 1.0, 2.0), (0, 2.0, False, 3.0, 4.0))
    assert Simplify()(forest_of(tree, tree)).n_leaves == 8


def test_equal_leaves_collapse_through_several_levels() -> None:
    equal = (0, 1.0, False, (1, 0.0, True, 7.0, (2, 3.0, False, 7.0, 7.0)), 7.0)
    small = Simplify()(forest_of(equal, bias=[1.0]))
    assert (small.n_trees, small.bias.tolist()) == (0, [8.0])


def test_zeros_of_both_signs_are_not_equal_leaves() -> None:
    assert Simplify()(forest_of((0, 1.0, False, 0.0, -0.0))).n_leaves == 2


def test_constant_trees_in_front_go_into_the_bias() -> None:
    split = (0, 1.0, False, 0.1, 0.2)
    small = Simplify()(forest_of(0.1, 0.7, split, bias=[0.3]))
    assert (small.n_trees, small.bias.tolist()) == (1, [0.3 + 0.1 + 0.7])


def test_a_constant_tree_behind_others_stays_unless_all_sums_are_exact() -> None:
    assert Simplify()(forest_of((0, 1.0, False, 0.1, 0.2), 0.7)).n_trees == 2
    small = Simplify()(forest_of((0, 1.0, False, 0.25, 0.5), 0.75))
    assert (small.n_trees, small.bias.tolist()) == (1, [0.75])


def test_sums_that_outgrow_the_mantissa_are_not_exact() -> None:
    trees = ((0, 1.0, False, 1.0, -1.0), 2.0**24)
    assert Simplify()(forest_of(*trees, dtype=np.float32)).n_trees == 2
    assert Simplify()(forest_of(*trees, dtype=np.float64)).n_trees == 1


def test_a_tree_of_another_output_is_not_in_the_way() -> None:
    trees = ((0, 1.0, False, 0.1, 0.2), 0.7)
    small = Simplify()(forest_of(*trees, bias=[0.0, 0.0], tree_output=np.array([0, 1])))
    assert (small.n_trees, small.bias.tolist()) == (1, [0.0, 0.7])


@pytest.mark.parametrize("largest", [2.0**1023, 1e308])
def test_a_sum_that_overflows_stays_a_sum(largest: float) -> None:
    forest = forest_of(largest, largest, largest)
    assert Simplify()(forest).margin([[0, 0, 0]]).tolist() == [[np.inf]]


def test_the_largest_and_the_smallest_numbers_are_exact_or_not_without_overflow() -> None:
    assert Simplify()(forest_of((0, 1.0, False, 2.0**1000, 0.0), 2.0**1000)).n_trees == 1
    assert Simplify()(forest_of((0, 1.0, False, 5e-324, 0.0), 2.0**1000)).n_trees == 2
    assert Simplify()(forest_of((0, 1.0, False, 5e-324, 0.0), 1e-323)).n_trees == 1


@pytest.mark.parametrize("name", zoo.names("lightgbm")[:6])
def test_a_second_time_changes_nothing(name: str) -> None:
    small = Simplify()(zoo.forest(name))
    assert Simplify()(small) == small
