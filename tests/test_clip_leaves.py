"""ClipLeaves: what it clips, and a bound that some row meets."""

import numpy as np
import pytest
import zoo
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from strategies import forests
from test_simplify import forest_of

from ensemble_compress.algorithms import ClipLeaves
from ensemble_compress.algorithms.clip_leaves import largest_change
from ensemble_compress.forest import Forest


def used_values(forest: Forest) -> np.ndarray:
    return forest.values[forest.nodes.leaf[forest.is_leaf]]


@given(forests(), st.sampled_from([0.001, 0.1, 0.5, 1.0]))
def test_what_is_left_is_zero_or_large(forest: Forest, share: float) -> None:
    largest = np.abs(used_values(forest)).max()
    size = np.abs(ClipLeaves(share=share)(forest).values)
    assert ((size == 0) | (size >= share * largest)).all()


@pytest.mark.parametrize("name", ["boosting squared_error", "xgb multiclass", "lgb categories"])
def test_a_share_of_nothing_clips_nothing(name: str) -> None:
    forest, rows = zoo.forest(name), zoo.rows(name)
    assert ClipLeaves(share=0)(forest).margin(rows).tobytes() == forest.margin(rows).tobytes()
    assert ClipLeaves(share=0).bound(forest) < 1e-4


@pytest.mark.parametrize("name", ["boosting squared_error", "xgb regression", "lgb regression", "random forest regression"])  # fmt: skip
def test_the_bound_of_one_tree_is_its_largest_change(name: str) -> None:
    forest, rows = zoo.forest(name).take([-1]), zoo.rows(name)
    small = ClipLeaves(share=0.5)(forest)
    change = np.abs(small.margin(rows).astype(float) - forest.margin(rows)).max()
    assert change > 0
    assert_allclose(change, ClipLeaves(share=0.5).bound(forest), rtol=1e-4)


def test_trees_of_different_outputs_do_not_add_up_in_the_bound() -> None:
    forest = zoo.forest("boosting multiclass")
    bound = ClipLeaves(share=0.3).bound(forest)
    clipped = ClipLeaves(share=0.3)._clip(forest)
    trees = [forest.tree_output == k for k in range(3)]
    apart = [largest_change(forest.take(some), clipped.take(some)) for some in trees]
    assert_allclose(max(apart), bound, rtol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_bound_holds_in_both_directions(sign: float) -> None:
    forest = forest_of((0, 1.0, False, sign, (0, 2.0, False, sign * 0.25, sign * 0.125)))
    assert_allclose(0.25, ClipLeaves(share=0.5).bound(forest), rtol=1e-9)
