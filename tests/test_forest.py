"""The Forest: what it refuses, that nothing changes it, and that every edit says what the naive edit says."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import forests, hard_rows, rows_for

from ensemble_compress.errors import ForestError, InputError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import CategorySets, Nodes, make_sets, set_codes


def nodes_of_two_trees(**changes: Any) -> Nodes:
    """A tree of two splits, the second by category, and a tree that is a leaf."""
    nodes = Nodes(
        feature=np.array([0, -1, 1, -1, -1, -1]),
        threshold=np.array([0.5, 0, 0, 0, 0, 0]),
        right=np.array([2, -1, 4, -1, -1, -1]),
        nan_left=np.array([True, False, False, False, False, False]),
        category_set=np.array([-1, -1, 0, -1, -1, -1]),
        leaf=np.array([-1, 0, -1, 1, 2, 1]),
        cover=np.array([10.0, 4, 6, 1, 5, 10]),
        node_id=np.array([0, 1, 2, 3, 4, 0]),
    )
    return nodes._replace(**{name: np.array(column) for name, column in changes.items()})


def two_trees(**changes: Any) -> Forest:
    arguments: dict[str, Any] = {
        "nodes": nodes_of_two_trees(),
        "tree_start": np.array([0, 5, 6]),
        "tree_output": np.array([-1, -1]),
        "values": np.array([[1.0], [2.0], [4.0]]),
        "bias": np.array([0.25]),
        "n_features": 2,
        "category_sets": make_sets([[1, 40]]),
    }
    return Forest(**(arguments | changes))


def broken_nodes(**changes: Any) -> dict[str, Any]:
    return {"nodes": nodes_of_two_trees(**changes)}


RIGHT_CHILD = "its right child does not begin where its left subtree ends"
LEAF_VALUE = r"it names a row of leaf values that does not exist \(or a split names one\)"
FAULTS = [
    (broken_nodes(cover=[1.0]), "nodes must be arrays of one length"),
    (broken_nodes(cover=np.zeros((6, 1))), "nodes must be arrays of one length"),
    (broken_nodes(feature=0), "nodes must be arrays of one length"),
    ({"tree_start": [0, 5]}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_start": [1, 5, 6]}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_start": [0, 0, 6]}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_start": [0, 5, 3, 6]}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_start": []}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_start": [[0, 5, 6]]}, "tree_start must rise from 0 to n_nodes"),
    ({"tree_output": [-1]}, "tree_output must have an entry a tree"),
    ({"bias": []}, "bias must have one entry an output"),
    ({"bias": 0.25}, "bias must have one entry an output"),
    ({"bias": [[0.25]]}, "bias must have one entry an output"),
    ({"values": [1.0, 2.0, 4.0]}, "values must have 1 or n_outputs columns"),
    ({"values": np.ones((3, 2))}, "values must have 1 or n_outputs columns"),
    ({"values": [[1.0], [np.nan], [4.0]]}, "values and bias must be finite"),
    ({"bias": [np.inf]}, "values and bias must be finite"),
    ({"divisor": 0.0}, "divisor must be finite and positive"),
    ({"divisor": -2.0}, "divisor must be finite and positive"),
    ({"divisor": np.nan}, "divisor must be finite and positive"),
    (
        {"link": "probit"},
        "link must be one of identity, sigmoid, softmax, exp, softplus, signed_square, step, samme, isolation",
    ),
    ({"link_scale": 2.0}, "link_scale must be finite and positive, and 1 but for a sigmoid"),
    ({"link": "sigmoid", "link_scale": 0.0}, "link_scale must be finite and positive"),
    ({"link": "sigmoid", "link_scale": np.nan}, "link_scale must be finite and positive"),
    ({"link": "sigmoid", "link_scale": np.inf}, "link_scale must be finite and positive"),
    ({"category_rule": "round"}, "category_rule must be one of floor, truncate, exact"),
    (
        broken_nodes(feature=[1, -1, 1, -1, -1, -1]) | {"category_rule": "exact"},
        "column 1 is tested as a number and as a category; only category_rule 'floor' allows that",
    ),
    ({"tie_class": 2}, "tie_class must be 0 or 1"),
    ({"x_dtype": "float16"}, "x_dtype must be float32 or float64"),
    ({"n_features": -1}, "n_features must lie between 0 and 16777215"),
    ({"n_features": 1 << 24}, "n_features must lie between 0 and 16777215"),
    ({"classes": np.arange(3)}, "classes must fit the outputs"),
    ({"bias": [0.0, 0.0], "tree_output": [0, 1], "classes": np.arange(3)}, "classes must fit the outputs"),
    ({"feature_names": ("a",)}, "feature_names must have an entry a feature"),
    ({"categories": (None,)}, "categories must have an entry a feature"),
    ({"tree_output": [-1, 1]}, "tree 1 adds to output 1; expected -1 to 0"),
    ({"tree_output": [-2, 0]}, "tree 0 adds to output -2; expected -1 to 0"),
    ({"bias": [0.0, 0.0], "tree_output": [0, -1]}, "tree 1 adds to output -1; expected 0 to 1"),
    (
        {"bias": [0.0, 0.0], "values": np.ones((3, 2)), "tree_output": [0, -1]},
        "leaves with a value for every output need tree_output -1",
    ),
    (
        {"category_sets": CategorySets(np.array([0, 3]), np.zeros(2, np.uint32))},
        "the category sets do not cover their words in order",
    ),
    (
        {"category_sets": CategorySets(np.array([0, 2, 1, 2]), np.zeros(2, np.uint32))},
        "the category sets do not cover their words in order",
    ),
    (
        {"category_sets": CategorySets(np.array([], int), np.zeros(0, np.uint32))},
        "the category sets do not cover their words in order",
    ),
    (broken_nodes(right=[1, -1, 4, -1, -1, -1]), f"tree 0, node 0 of 5: {RIGHT_CHILD}"),
    (broken_nodes(right=[5, -1, 4, -1, -1, -1]), f"tree 0, node 0 of 5: {RIGHT_CHILD}"),
    (broken_nodes(right=[3, -1, 4, -1, -1, -1]), f"tree 0, node 1 of 5: {RIGHT_CHILD}"),
    (broken_nodes(right=[2, 3, 4, -1, -1, -1]), f"tree 0, node 1 of 5: {RIGHT_CHILD}"),
    (broken_nodes(feature=[0, -2, 1, -1, -1, -1]), f"tree 0, node 1 of 5: {RIGHT_CHILD}"),
    ({"tree_start": [0, 4, 6]}, f"tree 0, node 2 of 4: {RIGHT_CHILD}"),
    (
        {"tree_start": [0, 6], "tree_output": [-1]},
        "tree 0, node 5 of 6: the tree does not end at its last node",
    ),
    (
        broken_nodes(feature=[0, -1, 1, -1, -1, 0], right=[2, -1, 4, -1, -1, 7], leaf=[-1, 0, -1, 1, 2, -1]),
        f"tree 1, node 0 of 1: {RIGHT_CHILD}",
    ),
    ({"n_features": 1}, "tree 0, node 2 of 5: it tests a feature that the model does not have"),
    (broken_nodes(leaf=[-1, 3, -1, 1, 2, 1]), f"tree 0, node 1 of 5: {LEAF_VALUE}"),
    (broken_nodes(leaf=[-1, -1, -1, 1, 2, 1]), f"tree 0, node 1 of 5: {LEAF_VALUE}"),
    (broken_nodes(leaf=[0, 0, -1, 1, 2, 1]), f"tree 0, node 0 of 5: {LEAF_VALUE}"),
    (broken_nodes(category_set=[-1, -1, 1, -1, -1, -1]), "tree 0, node 2 of 5: it names a category set that"),
    (broken_nodes(category_set=[-2, -1, 0, -1, -1, -1]), "tree 0, node 0 of 5: it names a category set that"),
    (broken_nodes(threshold=[np.nan, 0, 0, 0, 0, 0]), "tree 0, node 0 of 5: its threshold is NaN"),
    (broken_nodes(leaf=[-1, 2**40, -1, 1, 2, 1]), "an array of int32 would hold -1 to 1099511627776"),
]


@pytest.mark.parametrize(("changes", "text"), FAULTS)
def test_arrays_that_are_no_forest_are_refused_by_what_is_wrong(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ForestError, match=f"^not a forest: {text}"):
        two_trees(**changes)


def test_the_forest_that_the_faults_are_put_into_is_sound() -> None:
    forest = two_trees()
    expected = [[0.25 + 1 + 2], [0.25 + 2 + 2], [0.25 + 4 + 2], [0.25 + 1 + 2]]
    assert forest.margin([[0.5, 9], [0.6, 40.9], [0.6, -0.5], [np.nan, 1]]).tolist() == expected


def test_counts_and_shapes_tell_what_the_arrays_hold() -> None:
    forest = two_trees(classes=np.array(["no", "yes"]))
    assert (forest.n_trees, forest.n_nodes, forest.n_leaves, forest.n_outputs) == (2, 6, 4, 1)
    assert forest.is_classifier
    assert not two_trees().is_classifier
    assert forest.is_leaf.tolist() == [False, True, False, True, True, True]
    assert forest.tree_of_node.tolist() == [0, 0, 0, 0, 0, 1]
    assert forest.subtree_end.tolist() == [5, 2, 5, 4, 5, 6]
    assert forest.parent.tolist() == [-1, 0, 0, 2, 2, -1]
    assert forest.depth.tolist() == [0, 1, 1, 2, 2, 0]


def arrays_of(forest: Forest) -> dict[str, np.ndarray]:
    given = {f.name: getattr(forest, f.name) for f in fields(forest)}
    given |= {f"nodes.{name}": a for name, a in forest.nodes._asdict().items()}
    given |= {f"category_sets.{name}": a for name, a in forest.category_sets._asdict().items()}
    return {name: value for name, value in given.items() if isinstance(value, np.ndarray)}


def test_nothing_of_a_forest_can_be_written() -> None:
    forest = two_trees(classes=np.arange(2))
    with pytest.raises(FrozenInstanceError):
        forest.link = "exp"  # type: ignore[misc]
    arrays = arrays_of(forest)
    assert len(arrays) == 8 + 2 + 5
    for array in arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = array


def test_writing_to_the_given_arrays_later_changes_nothing() -> None:
    given = arrays_of(two_trees(classes=np.arange(2)))
    writable = {name: array.copy() for name, array in given.items()}
    # A read-only view of memory that somebody else can write is no better than writable memory.
    views = {name: array[:] for name, array in writable.items()}
    for view in views.values():
        view.setflags(write=False)
    for arrays in (writable, views):
        own = {name: a for name, a in arrays.items() if "." not in name}
        nodes = Nodes(*(arrays[f"nodes.{name}"] for name in Nodes._fields))
        sets = CategorySets(arrays["category_sets.start"], arrays["category_sets.words"])
        forest = two_trees(nodes=nodes, category_sets=sets, **own)
        expected = copy.deepcopy(forest)
        for array in writable.values():
            array.view(np.uint8)[...] ^= 1
        assert forest == expected
        for array in writable.values():
            array.view(np.uint8)[...] ^= 1


def test_an_array_that_is_read_only_already_is_shared() -> None:
    forest = two_trees()
    assert replace(forest, link="exp").nodes.feature is forest.nodes.feature


def test_arrays_become_contiguous_and_of_the_stated_types() -> None:
    columns = {name: np.repeat(column, 2)[::2] for name, column in nodes_of_two_trees()._asdict().items()}
    forest = two_trees(nodes=Nodes(**columns), values=np.asfortranarray(np.ones((3, 2))), bias=[1, 2])
    expected = ["int32", "float64", "int32", "bool", "int32", "int32", "float64", "int32"]
    assert [str(array.dtype) for array in forest.nodes] == expected
    assert all(array.flags.c_contiguous for array in arrays_of(forest).values())
    assert forest.bias.dtype == np.float64


def test_float32_values_make_float32_sums() -> None:
    forest = two_trees(values=np.array([[1], [2], [4]], np.float32))
    assert forest.bias.dtype == np.float32
    assert forest.margin([[0.0, 0.0]]).dtype == np.float32


CHANGES: list[dict[str, Any]] = [
    *(broken_nodes(cover=[1.0] * 6), {"n_features": 3}, {"divisor": 2.0}, {"link": "exp"}),
    *({"values": np.array([[1.0], [2.0], [5.0]])}, {"values": np.array([[1], [2], [4]], np.float32)}),
    *({"bias": [0.5]}, {"x_dtype": "float64"}, {"category_sets": make_sets([[1, 41]])}),
    *({"classes": np.arange(2)}, {"handles_nan": False}, {"feature_names": ("a", "b")}),
    *({"categories": (None, ("x", "y"))}, {"tie_class": 1}),
]


@pytest.mark.parametrize("changes", CHANGES)
def test_forests_that_differ_in_one_field_are_not_equal(changes: dict[str, Any]) -> None:
    assert two_trees() == two_trees()
    assert two_trees(**changes) == two_trees(**changes)
    assert two_trees() != two_trees(**changes)
    assert two_trees(**changes) != two_trees()


def test_a_forest_is_not_equal_to_something_else_and_has_no_hash() -> None:
    assert two_trees() != "forest"
    with pytest.raises(TypeError, match="unhashable"):
        hash(two_trees())


@given(forests())
def test_a_forest_survives_pickle_and_copies(forest: Forest) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(forest, protocol)) == forest
    for other in (copy.copy(forest), copy.deepcopy(forest)):
        assert other == forest
        assert not any(array.flags.writeable for array in arrays_of(other).values())


def test_a_pickle_does_not_carry_what_prediction_prepared() -> None:
    forest, used = two_trees(), two_trees()
    used.margin([[0.0, 0.0]])
    assert len(pickle.dumps(used)) == len(pickle.dumps(forest))


# -- edits ------------------------------------------------------------------------------------------------------


def assert_says(expected: list[Any], forest: Forest) -> None:
    """The edited forest is `expected`, and neither value rows nor sets are left that nobody names."""
    assert oracle.as_lists(forest) == expected
    assert set(forest.nodes.leaf[forest.is_leaf]) == set(range(len(forest.values)))
    assert {*forest.nodes.category_set} - {-1} == set(range(len(forest.category_sets.start) - 1))
    rows = hard_rows(forest, 20)
    np.testing.assert_array_equal(forest.margin(rows), oracle.margins(forest, rows))


@given(forests(), st.data())
def test_take_gives_the_chosen_trees_in_the_order_given(forest: Forest, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, forest.n_trees - 1), max_size=8))
    trees = oracle.as_lists(forest)
    assert_says([trees[t] for t in chosen], forest.take(chosen))


@given(forests(), st.data())
def test_take_reads_a_mask(forest: Forest, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=forest.n_trees, max_size=forest.n_trees))
    trees = oracle.as_lists(forest)
    assert_says([tree for tree, taken in zip(trees, mask, strict=True) if taken], forest.take(mask))


def test_a_forest_without_trees_answers_its_bias() -> None:
    forest = two_trees().take([])
    assert (forest.n_trees, forest.n_nodes, forest.n_leaves) == (0, 0, 0)
    assert forest.margin([[0.0, 0.0], [1.0, 1.0]]).tolist() == [[0.25], [0.25]]
    assert forest.apply([[0.0, 0.0]]).shape == (1, 0)
    assert forest == forest.take([]) == forest.with_values(np.empty((0, 1)))


@given(forests(), st.data())
def test_replaced_subtrees_are_leaves_of_the_given_values(forest: Forest, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, forest.n_nodes - 1), unique=True, max_size=5))
    width = forest.values.shape[1]
    values = np.arange(100, 100 + len(chosen) * width).reshape(len(chosen), width)
    expected = oracle.as_lists(forest, dict(zip(chosen, map(tuple, values.tolist()), strict=True)))
    assert_says(expected, forest.replace_subtrees(chosen, values))


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_replacing_subtrees_wants_a_row_of_values_a_node(values: list[Any]) -> None:
    shape = str(np.shape(values)).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=rf"values has shape {shape}; expected \(1, 1\): a row a node"):
        two_trees().replace_subtrees([0], values)


@given(forests(), st.data())
def test_a_dropped_split_gives_its_place_to_the_kept_child(forest: Forest, data: st.DataObject) -> None:
    """Every split keeps both children, or gives way to one of them; some trees go altogether."""
    verdicts = st.sampled_from(["both", "both", "left", "right"])
    splits = np.flatnonzero(~forest.is_leaf).tolist()
    edits = {j: edit for j in splits if (edit := data.draw(verdicts)) != "both"}
    gone = data.draw(st.sets(st.integers(0, forest.n_trees - 1)))
    keep = np.ones(forest.n_nodes, bool)
    end = forest.subtree_end
    for j, edit in edits.items():
        left, right = oracle.children(forest, j)
        dropped = left if edit == "right" else right
        keep[j] = False
        keep[dropped : end[dropped]] = False
    for t in gone:
        keep[forest.tree_start[t] : forest.tree_start[t + 1]] = False
    trees = oracle.as_lists(forest, edits)
    assert_says([tree for t, tree in enumerate(trees) if t not in gone], forest.keep_nodes(keep))


@given(forests())
def test_keeping_all_nodes_changes_nothing_but_unused_rows(forest: Forest) -> None:
    assert_says(oracle.as_lists(forest), forest.keep_nodes(np.ones(forest.n_nodes, bool)))


@given(forests(), st.data())
def test_new_values_go_to_the_leaves_in_their_order(forest: Forest, data: st.DataObject) -> None:
    width = forest.values.shape[1]
    pool = data.draw(
        st.lists(st.integers(-2, 2), min_size=forest.n_leaves * width, max_size=forest.n_leaves * width)
    )
    values = np.array(pool, forest.values.dtype).reshape(forest.n_leaves, width)
    leaves = np.flatnonzero(forest.is_leaf).tolist()
    expected = oracle.as_lists(forest, dict(zip(leaves, map(tuple, values.tolist()), strict=True)))
    changed = forest.with_values(values, bias=np.ones(forest.n_outputs), divisor=4.0)
    assert oracle.as_lists(changed) == expected
    assert len(np.unique(changed.values, axis=0)) == len(changed.values)
    assert changed.bias.tolist() == [1.0] * forest.n_outputs
    assert changed.divisor == 4.0


def test_edits_leave_the_forest_as_it_was() -> None:
    forest, twin = two_trees(), two_trees()
    forest.take([1])
    forest.replace_subtrees([2], [[7.0]])
    forest.keep_nodes(np.array([0, 1, 0, 0, 0, 1], bool))
    forest.with_values(np.ones((4, 1)))
    assert forest == twin


# -- answers ----------------------------------------------------------------------------------------------------


@given(st.data())
def test_apply_gives_the_numbers_of_the_source(data: st.DataObject) -> None:
    forest = data.draw(forests())
    rows = data.draw(rows_for(forest))
    expected = forest.nodes.node_id[oracle.leaves(forest, rows)]
    np.testing.assert_array_equal(expected, forest.apply(rows))


@given(st.data())
def test_predictions_are_the_link_of_the_margin(data: st.DataObject) -> None:
    forest = data.draw(forests(classifier=False))
    rows = data.draw(rows_for(forest))
    margins = oracle.margins(forest, rows)
    with np.errstate(over="ignore"):
        links = [oracle.link(forest.link, m, forest.link_scale) for m in margins.tolist()]
        expected = np.array(links).reshape(margins.shape).astype(margins.dtype)
    expected = expected[:, 0] if forest.n_outputs == 1 else expected
    # The links themselves round differently: a few units in the last place, and denormals.
    close = {"rtol": 1e-12, "atol": 1e-300} if margins.dtype == np.float64 else {"rtol": 2e-6, "atol": 1e-37}
    np.testing.assert_allclose(forest.predict(rows), expected, **close)


@given(st.data())
def test_a_classifier_answers_labels_and_probabilities(data: st.DataObject) -> None:
    forest = data.draw(forests(classifier=True))
    rows = data.draw(rows_for(forest))
    margins = oracle.margins(forest, rows)
    assert forest.classes is not None
    expected = forest.classes[oracle.class_codes(forest, margins)]
    np.testing.assert_array_equal(expected, forest.predict(rows))
    probabilities = forest.predict_proba(rows)
    assert probabilities.shape == (len(rows), len(forest.classes))
    if forest.link == "identity" and forest.n_outputs > 1:
        # Drawn averages are no distributions: they are made to be.
        assert (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=3e-6)
        return
    linked = [oracle.link(forest.link, m, forest.link_scale) for m in margins.tolist()]
    if forest.n_outputs == 1:
        linked = [[1 - p, p] for (p,) in linked]
    with np.errstate(over="ignore"):
        expected = np.array(linked).reshape(probabilities.shape).astype(probabilities.dtype)
    close = {"rtol": 1e-12, "atol": 1e-15} if margins.dtype == np.float64 else {"rtol": 2e-6, "atol": 2e-7}
    np.testing.assert_allclose(probabilities, expected, **close)


def test_the_lower_code_wins_among_equal_margins() -> None:
    forest = two_trees(bias=np.zeros(3), tree_output=[0, 2], classes=np.array(["a", "b", "c"]))
    assert forest.decide(np.array([[1.0, 1, 1], [0, 1, 1], [0, 0, 1]])).tolist() == [0, 1, 2]
    binary = two_trees(classes=np.array(["a", "b"]))
    margins = np.array([[-1.0], [-0.0], [0.0], [1e-300]])
    assert binary.decide(margins).tolist() == [0, 0, 0, 1]
    assert replace(binary, tie_class=1).decide(margins).tolist() == [0, 1, 1, 1]


def test_one_class_is_always_the_answer() -> None:
    forest = two_trees(classes=np.array(["only"]))
    assert forest.predict([[0.0, 0.0]]).tolist() == ["only"]


def test_a_regression_forest_has_no_probabilities() -> None:
    with pytest.raises(
        UnsupportedModelError, match="predict_proba needs a classifier; this forest is a regression"
    ):
        two_trees().predict_proba([[0.0, 0.0]])


# -- text -------------------------------------------------------------------------------------------------------


def test_repr_says_what_it_is() -> None:
    expected = "Forest(2 trees, 6 nodes, 4 leaves, 2 features, 1 output(s), link='identity')"
    assert repr(two_trees()) == expected
    assert "2 features, 2 classes, link='sigmoid'" in repr(two_trees(classes=np.arange(2), link="sigmoid"))
    assert "link='sigmoid of 0.7 times the margin'" in repr(two_trees(link="sigmoid", link_scale=0.7))


def test_to_text_has_a_line_a_node() -> None:
    expected = """\
tree 0
  age <= 0.5 or missing
    leaf 1
    town in [1, 40]
      leaf 2
      leaf 4
tree 1
  leaf 2"""
    forest = two_trees(feature_names=("age", "town"))
    assert forest.to_text() == f"{forest!r}\n{expected}"
    assert "x[0] <= 0.5 or missing" in two_trees().to_text()
    assert forest.to_text(max_nodes=2).endswith("    leaf 1\n... 4 more nodes")


def test_to_text_tells_the_column_that_a_tree_adds_to() -> None:
    assert "tree 1 -> output 1" in two_trees(bias=[0.0, 0.0], tree_output=[0, 1]).to_text()


@given(st.lists(st.sets(st.integers(0, 200)), max_size=5))
def test_sets_hold_the_codes_they_were_made_of(sets: list[set[int]]) -> None:
    made = make_sets([list(codes) for codes in sets])
    assert [set_codes(made, s) for s in range(len(sets))] == [sorted(codes) for codes in sets]


def test_a_negative_code_is_in_no_set_that_can_be_made() -> None:
    with pytest.raises(ForestError, match="category codes count from 0; found -3"):
        make_sets([[0, 1], [-3, 4]])
