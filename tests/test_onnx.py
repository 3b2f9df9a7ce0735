"""ONNX Runtime answers as the forest does, where the writer says so to the bit, and what it gets wrong is avoided."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from strategies import forests, hard_rows
from test_writer_c import small_forest

from ensemble_compress.cli import app
from ensemble_compress.errors import (
    MissingPackageError,
    ParameterError,
    ToolchainError,
    UnsupportedModelError,
)
from ensemble_compress.forest import Forest
from ensemble_compress.model import CompressedModel
from ensemble_compress.nodes import Nodes, make_sets
from ensemble_compress.writers import export_forest
from ensemble_compress.writers.onnx import margin_bound, read_onnx_answers, to_onnx, write_onnx
from ensemble_compress.writers.onnx_trees import sums_are_exact
from ensemble_compress.writers.verify import verify_onnx

REFUSED_BY_3 = r"ai\.onnx\.ml 3 .*use opset=5|after which classes can tie; .*use opset=5"
QUARTERS = st.integers(-64, 64).map(lambda n: n / 4)


def is_mixed(forest: Forest) -> bool:
    """Whether rows are compared in float64 and float32 values added up, which no operator does."""
    return forest.x_dtype == "float64" and forest.values.dtype == np.float32


def answers_of(forest: Forest, X: Any, path: Path, opset: Any = 5) -> dict[str, np.ndarray]:
    return read_onnx_answers(write_onnx(forest, path / "model.onnx", opset=opset), X)


def assert_same(forest: Forest, X: Any, answers: dict[str, np.ndarray], opset: int) -> None:
    """Margins within the stated bound, labels equal, and what the link makes of the margins."""
    expected = forest.margin(X)
    assert expected.dtype == answers["margin"].dtype
    assert (np.abs(answers["margin"] - expected) <= margin_bound(forest, expected, opset)).all()
    with np.errstate(all="ignore"):
        if forest.is_classifier:
            np.testing.assert_array_equal(forest.predict(X), answers["label"])
            linked, actual = forest.probabilities(answers["margin"]), answers["probabilities"]
        else:
            linked, actual = forest.answers(answers["margin"]), answers["variable"]
    # A few units of the last place of exp, and the smallest numbers, which some of the steps take for zero.
    rtol, atol = (2e-6, 1e-40) if forest.values.dtype == np.float32 else (1e-13, 1e-300)
    if forest.is_classifier and forest.n_outputs == 1:
        # One class is 1 - the other: a unit of the last place of 1.
        atol = float(np.finfo(forest.values.dtype).eps)
    np.testing.assert_allclose(actual, linked, rtol=rtol, atol=atol)
    assert actual.dtype == forest.values.dtype


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_every_model_of_the_zoo_is_equal_with_opset_5(name: str, tmp_path: Path) -> None:
    forest, X = zoo.forest(name), zoo.rows(name)
    assert_same(forest, X, answers_of(forest, X, tmp_path), 5)


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_every_model_of_the_zoo_is_equal_or_refused_with_opset_3(name: str, tmp_path: Path) -> None:
    forest, X = zoo.forest(name), zoo.rows(name)
    used = np.unique(forest.nodes.category_set[forest.nodes.category_set >= 0])
    has_sets = any(len(oracle.codes_of_set(forest, s)) > 1 for s in used)
    averages = forest.is_classifier and forest.n_outputs > 1 and forest.divisor != 1.0
    if has_sets or (averages and not sums_are_exact(forest)):
        with pytest.raises(UnsupportedModelError, match=REFUSED_BY_3):
            to_onnx(forest, 3)
    else:
        assert_same(forest, X, answers_of(forest, X, tmp_path, 3), 3)


@settings(max_examples=60)
@given(forest=forests())
def test_any_forest_is_equal_with_opset_5(forest: Forest, tmp_path_factory: pytest.TempPathFactory) -> None:
    X = hard_rows(forest, 40)
    if is_mixed(forest) and not sums_are_exact(forest):
        with pytest.raises(UnsupportedModelError, match="compares float64 rows and adds up float32 values"):
            to_onnx(forest)
        return
    answers = answers_of(forest, X, tmp_path_factory.getbasetemp())
    assert_same(forest, X, answers, 5)
    np.testing.assert_array_equal(oracle.margins(forest, X), answers["margin"])


@settings(max_examples=60)
@given(forest=forests(categorical=False, values=QUARTERS))
def test_any_forest_of_plain_values_is_equal_with_opset_3(
    forest: Forest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    X = hard_rows(forest, 40)
    assert_same(forest, X, answers_of(forest, X, tmp_path_factory.getbasetemp(), 3), 3)


@settings(max_examples=60)
@given(forest=forests())
def test_any_forest_is_equal_or_refused_by_name_with_opset_3(
    forest: Forest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    X = hard_rows(forest, 40)
    refusal = None
    try:
        answers = answers_of(forest, X, tmp_path_factory.getbasetemp(), 3)
    except UnsupportedModelError as error:
        refusal = str(error)
    if refusal is None:
        assert_same(forest, X, answers, 3)
    else:
        assert "use opset=5" in refusal or is_mixed(forest)


# -- labels, names, shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        ([0, 1], np.int64),
        ([-7, 30], np.int64),
        (["no", "Größe"], object),
        ([0.5, 1.5], np.float64),
        ([False, True], bool),
    ],
)
@pytest.mark.parametrize("opset", [3, 5])
def test_labels_keep_their_kind(classes: Any, dtype: Any, opset: Any, tmp_path: Path) -> None:
    forest = small_forest(classes=np.array(classes))
    answers = answers_of(forest, np.array([[0.0], [1.0]], np.float32), tmp_path, opset)
    assert answers["label"].tolist() == classes
    assert answers["label"].dtype == dtype


def test_labels_that_are_no_numbers_and_no_texts_are_refused() -> None:
    classes = np.array([1, "a"], object)
    with pytest.raises(UnsupportedModelError, match="labels of dtype object cannot be written to ONNX"):
        to_onnx(small_forest(classes=classes))


def test_inputs_and_outputs_are_named_as_sklearn_onnx_names_them() -> None:
    classifier, regressor = to_onnx(small_forest()), to_onnx(small_forest(classes=None, x_dtype="float64"))
    assert [i.name for i in classifier.graph.input] == ["X"]
    assert [o.name for o in classifier.graph.output] == ["label", "probabilities"]
    assert [o.name for o in regressor.graph.output] == ["variable"]
    types = [m.graph.input[0].type.tensor_type.elem_type for m in (classifier, regressor)]
    assert types == [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE]


def test_names_of_features_travel_with_the_model() -> None:
    model = to_onnx(small_forest(feature_names=("größe",)))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties == {"feature_names": '["gr\\u00f6\\u00dfe"]'}


@pytest.mark.parametrize("tie_class", [0, 1])
@pytest.mark.parametrize("opset", [3, 5])
def test_a_margin_of_zero_is_the_class_that_ties_are(tie_class: int, opset: Any, tmp_path: Path) -> None:
    forest = small_forest(values=[[-1.0], [0.0]], tie_class=tie_class)
    answers = answers_of(forest, np.array([[0.0], [1.0]], np.float32), tmp_path, opset)
    assert answers["label"].tolist() == [0, tie_class]


@pytest.mark.parametrize("opset", [3, 5])
def test_no_rows_give_no_answers(opset: Any, tmp_path: Path) -> None:
    answers = answers_of(small_forest(), np.zeros((0, 1), np.float32), tmp_path, opset)
    assert {name: array.shape for name, array in answers.items()} == {
        "label": (0,),
        "probabilities": (0, 2),
        "margin": (0, 1),
    }


@pytest.mark.parametrize("opset", [3, 5])
def test_a_forest_without_trees_gives_its_bias(opset: Any, tmp_path: Path) -> None:
    nodes = Nodes(*(array[:0] for array in small_forest().nodes))
    forest = small_forest(nodes=nodes, tree_start=[0], tree_output=[], values=[[0.0]], bias=[0.5])
    answers = answers_of(forest, np.zeros((3, 1), np.float32), tmp_path, opset)
    assert answers["margin"].tolist() == [[0.5]] * 3


# -- what ONNX Runtime gets wrong, each with a line in docs/onnx.md -----------------------------------------------


def sets_forest(sets: list[list[int]], **others: Any) -> Forest:
    """A tree that asks for one set after the other, with a leaf for each answer."""
    n = len(sets)
    even = np.arange(2 * n + 1) % 2 == 0
    inner = even & (np.arange(2 * n + 1) < 2 * n)
    number = np.arange(2 * n + 1)
    nodes = Nodes(
        feature=np.where(inner, 0, -1),
        threshold=np.zeros(2 * n + 1),
        right=np.where(inner, number + 2, -1),
        nan_left=np.zeros(2 * n + 1, bool),
        category_set=np.where(inner, number // 2, -1),
        leaf=np.where(inner, -1, np.where(even, n, number // 2)),
        cover=np.zeros(2 * n + 1),
        node_id=number,
    )
    values = np.arange(1.0, n + 2)[:, None]
    fields = {"values": values, "classes": None, "category_sets": make_sets(sets)}
    return small_forest(nodes=nodes, tree_start=[0, 2 * n + 1], **fields | others)


CODES = [*range(72), -1.0, -0.0, -0.5, 0.5, 1.999, 31.5, np.nan, np.inf, -np.inf, 2.0**24, 2.0**24 + 2, 1e20]


@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "sets",
    [
        [[0]], [[0, 1]], [[31]], [[1, 32]], [[33, 64]], [list(range(31))], [list(range(40))], [[]],
        [[0, 33], [5, 50], [70]], [[1], [2], [3]], [[1, 2], [1, 2]],
    ],
)  # fmt: skip
def test_codes_of_every_size_fractions_and_empty_sets(
    sets: list[list[int]], x_dtype: str, tmp_path: Path
) -> None:
    forest = sets_forest(sets, x_dtype=x_dtype)
    X = np.array(CODES, x_dtype)[:, None]
    expected = oracle.margins(forest, X)
    np.testing.assert_array_equal(expected, answers_of(forest, X, tmp_path)["margin"])


def test_the_operator_itself_puts_no_fraction_into_a_set() -> None:
    """Why categories are rounded down in columns of their own."""
    node = to_onnx(sets_forest([[1, 2]])).graph.node
    assert [n.op_type for n in node][:4] == ["Cast", "Gather", "Floor", "Concat"]


@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
def test_a_code_beyond_two_to_the_24(x_dtype: str, tmp_path: Path) -> None:
    X = np.array([[1.0], [2.0], [2.0**24], [2.0**24 + 2]], x_dtype)
    forest = sets_forest([[1, 2**24 + 2]], x_dtype=x_dtype)
    assert answers_of(forest, X, tmp_path)["margin"].ravel().tolist() == [1.0, 2.0, 2.0, 1.0]


def test_a_code_that_is_no_float32_is_left_out_for_float32_rows(tmp_path: Path) -> None:
    forest = sets_forest([[2**24 + 1]])
    X = np.array([[2.0**24], [2.0**24 + 2]], np.float32)
    assert answers_of(forest, X, tmp_path)["margin"].tolist() == [[2.0], [2.0]]


def test_no_root_has_a_leaf_and_a_split_of_one_number() -> None:
    """Where it has, ONNX Runtime before 1.23 takes the root for a leaf: its issue 24679."""
    # The root's right child is the leaf 1, its left child the split 1.
    columns = ([0, 0, -1, -1, -1], [1, 0, 0, 0, 0], [4, 3, -1, -1, -1], [0] * 5, [-1] * 5, [-1, -1, 0, 2, 1])
    nodes = Nodes(*map(np.array, (*columns, [0] * 5, range(5))))
    forest = small_forest(nodes=nodes, tree_start=[0, 5], values=[[1.0], [2.0], [3.0]])
    model = to_onnx(forest)
    (trees,) = (n for n in model.graph.node if n.op_type == "TreeEnsemble")
    found = {a.name: helper.get_attribute_value(a) for a in trees.attribute}
    weights = numpy_helper.to_array(found["leaf_weights"])
    assert (found["nodes_truenodeids"][0], found["nodes_trueleafs"][0]) == (1, 0)
    assert found["nodes_falsenodeids"][0] != 1
    assert weights[found["nodes_falsenodeids"][0]] == 2.0


@pytest.mark.parametrize("opset", [3, 5])
@pytest.mark.parametrize("low", [0.1, -2.0])
def test_leaves_of_one_sign_do_not_move_the_decision(low: float, opset: Any, tmp_path: Path) -> None:
    """ONNX Runtime's classifier decides at 0.5 where all leaves are positive, and 1.26 otherwise still: issue 28557."""
    forest = small_forest(values=[[low], [0.4 if low > 0 else -0.1]])
    X = np.array([[0.0], [1.0]], np.float32)
    assert_same(forest, X, answers_of(forest, X, tmp_path, opset), opset)


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_a_class_without_leaves_competes_with_negative_sums(n_outputs: int, tmp_path: Path) -> None:
    """The classifier of opset 3 looks at no class that has no score, and of two classes at one score only."""
    others = {"values": np.array([[-1.0], [-2.0]]), "bias": np.zeros(n_outputs)}
    forest = small_forest(**others, classes=np.arange(n_outputs), link="softmax")
    X = np.array([[0.0], [1.0]], np.float32)
    answers = answers_of(forest, X, tmp_path, 3)
    assert answers["label"].tolist() == [1, 1]
    assert answers["probabilities"].shape == (2, n_outputs)


def test_small_probabilities_keep_their_digits(tmp_path: Path) -> None:
    """ONNX Runtime's float32 Sigmoid is 0 at -30, and its trees' LOGISTIC is not applied."""
    values = np.array([[-60.0], [-30.0]], np.float32)
    forest = small_forest(values=values, bias=np.zeros(1, np.float32), link="sigmoid")
    X = np.array([[0.0], [1.0]], np.float32)
    actual = answers_of(forest, X, tmp_path)["probabilities"][:, 1]
    np.testing.assert_allclose(actual, [oracle.sigmoid(-60.0), oracle.sigmoid(-30.0)], rtol=2e-7)


def test_many_trees_keep_their_order_in_one_thread_and_cost_roundings_in_several(tmp_path: Path) -> None:
    """Beyond 80 trees ONNX Runtime adds up groups of trees, one a thread."""
    random = np.random.default_rng(0)
    stump = small_forest()
    n_trees, values = 200, random.normal(size=(400, 1))
    nodes = Nodes(*(np.tile(array, n_trees) for array in stump.nodes))
    place = 3 * np.repeat(np.arange(n_trees), 3)
    leaf = np.where(nodes.leaf >= 0, nodes.leaf + place // 3 * 2, -1)
    nodes = nodes._replace(right=np.where(nodes.right > 0, nodes.right + place, -1), leaf=leaf)
    forest = small_forest(
        nodes=nodes, tree_start=3 * np.arange(n_trees + 1), tree_output=[0] * n_trees, values=values
    )
    X = np.repeat(np.array([[0.0], [1.0]], np.float32), 100, axis=0)
    path, expected = write_onnx(forest, tmp_path / "model.onnx"), forest.margin(X)
    np.testing.assert_array_equal(expected, read_onnx_answers(path, X)["margin"])
    bound = n_trees * 2.0**-53 * np.abs(values).sum()
    assert np.abs(read_onnx_answers(path, X, n_threads=2)["margin"] - expected).max() <= bound


# -- what is refused ----------------------------------------------------------------------------------------------


def two_outputs(**others: Any) -> Forest:
    fields = {"values": [[0.1, 0.9], [0.7, 0.3]], "bias": [0.0, 0.0], "tree_output": [-1], **others}
    return small_forest(**fields)


REFUSED = {
    r"no test for a set of categories, and a split has 2 of them; use opset=5": sets_forest([[1, 2]]),
    r"as float32, and those of this model may be as large as 1e\+300; use opset=5": small_forest(
        values=[[1e300], [0.0]]
    ),
    r"divided by 3, after which classes can tie; the classifier of ai\.onnx\.ml 3 decides before: use opset=5": (
        two_outputs(divisor=3.0)
    ),
    r"so small that a sum which decides for a class could become zero; use opset=5": small_forest(
        values=[[1e-300], [0.0]]
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_opset_3_cannot_say_is_refused_and_opset_5_says_it(text: str, tmp_path: Path) -> None:
    forest = REFUSED[text]
    with pytest.raises(UnsupportedModelError, match=text):
        write_onnx(forest, tmp_path / "model.onnx", opset=3)
    assert list(tmp_path.iterdir()) == []
    X = np.array([[0.0], [1.0]], np.float32)
    assert_same(forest, X, answers_of(forest, X, tmp_path), 5)


def test_sums_of_whole_numbers_may_be_divided_with_opset_3(tmp_path: Path) -> None:
    forest = two_outputs(values=[[0.0, 1.0], [1.0, 0.0]], divisor=3.0)
    X = np.array([[0.0], [1.0]], np.float32)
    assert_same(forest, X, answers_of(forest, X, tmp_path, 3), 3)


def test_float64_rows_with_float32_values_are_refused() -> None:
    values = np.array([[0.1], [0.25]], np.float32)
    with pytest.raises(UnsupportedModelError, match="would round otherwise: export to"):
        to_onnx(small_forest(values=values, bias=np.zeros(1, np.float32), x_dtype="float64"))


def test_a_model_without_features_is_refused() -> None:
    nodes = Nodes(*(array[1:2] for array in small_forest().nodes))
    forest = small_forest(nodes=nodes, tree_start=[0, 1], n_features=0)
    with pytest.raises(UnsupportedModelError, match="a model without features has no rows"):
        to_onnx(forest)


def test_a_file_above_two_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_compress.writers.onnx.MOST_BYTES", 100)
    with pytest.raises(
        UnsupportedModelError, match="a file of that format has 100 at most; compress the model"
    ):
        write_onnx(small_forest(), tmp_path / "model.onnx")


def test_another_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match=r"opset is 4; expected the opset of ai\.onnx\.ml to write: 3 or 5"
    ):
        export_forest(small_forest(), tmp_path / "model.onnx", opset=4)  # type: ignore[arg-type]


def test_another_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="an ONNX model is made for no target"):
        export_forest(small_forest(), tmp_path / "model.onnx", target="cortex-m4")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_the_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    text = rf'needs the package {package}: pip install "ensemble-compress\[onnx\]"'
    with pytest.raises(MissingPackageError, match=text):
        export_forest(small_forest(), tmp_path / "model.onnx", verify=True)


# -- the doors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [3, 5])
def test_export_writes_and_verifies_every_kind(opset: Any, tmp_path: Path) -> None:
    for name in ("random forest regression", "xgb multiclass", "boosting binary"):
        (path,) = CompressedModel(zoo.forest(name)).export(tmp_path / "model.onnx", opset=opset, verify=True)
        assert [path] == list(tmp_path.iterdir())


def test_a_file_of_another_model_does_not_verify(tmp_path: Path) -> None:
    path = write_onnx(small_forest(), tmp_path / "model.onnx")
    with pytest.raises(ToolchainError, match=r"answers differently from Python on .* report ONNX Runtime"):
        verify_onnx(small_forest(values=[[-1.0], [2.0]]), path)


def test_the_command_line_exports(tmp_path: Path) -> None:
    CompressedModel(small_forest()).save(tmp_path / "model.forest")
    arguments = ["export", str(tmp_path / "model.forest"), "-o", str(tmp_path / "model.onnx"), "--opset", "3"]
    app([*arguments, "--verify"], standalone_mode=False)
    versions = {entry.domain: entry.version for entry in onnx.load(tmp_path / "model.onnx").opset_import}
    assert versions == {"": 18, "ai.onnx.ml": 3}


def test_the_same_forest_gives_the_same_bytes(tmp_path: Path) -> None:
    forest = zoo.forest("hist categories")
    first, second = (write_onnx(forest, tmp_path / f"{n}.onnx").read_bytes() for n in range(2))
    assert first == second
