"""Treelite's models are read so that every row ends in the leaf that GTIL finds, with the same sum and prediction."""

import ctypes
import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import treelite
import treelite.sklearn
import xgboost as xgb
import zoo
from hypothesis import given, settings
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from strategies import forests, hard_rows
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from ensemble_compress.compressor import pack
from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.writers.treelite import to_treelite

# Treelite imports no single trees, CatBoost models, members of other ensembles, fitted starts or linear leaves; of GradientBoosting that
# stopped early it reads beyond the trees; isolation forests are refused by our reader.
NOT_IMPORTED = (
    *("tree", "extra tree ", "stump", "bagging", "adaboost", "isolation forest"),
    *("boosting uniform", "boosting stopped early", "lgb constants of a linear tree", "cat "),
)
IMPORTED = [name for name in zoo.ENTRIES if not name.startswith(NOT_IMPORTED) and name != "extra tree"]
WRITTEN = [
    name
    for name in zoo.ENTRIES
    if not name.startswith(("adaboost", "isolation forest")) and not name.endswith(("of 0.7", "of 0.3"))
]
"""Treelite has no links for the others, or rounds their scale: the writer refuses them."""

DTYPES = ["float32", "float64"]
LINKS = ("identity", "sigmoid", "exp", "softplus", "signed_square", "step")


@functools.cache
def imported(name: str) -> Any:
    """A model of the zoo as Treelite imports it."""
    model, library = zoo.trained(name), zoo.ENTRIES[name].library
    if library == "xgboost":
        booster = model if isinstance(model, xgb.Booster) else model.get_booster()
        return treelite.frontend.from_xgboost(booster)
    if library == "lightgbm":
        return treelite.frontend.from_lightgbm(model.booster_)
    with np.errstate(invalid="ignore"):  # Treelite casts the missing category to an integer
        return treelite.sklearn.import_model(model)


def gtil(model: Any, X: NDArray[Any], **options: Any) -> NDArray[Any]:
    return np.asarray(treelite.gtil.predict(model, X, nthread=1, **options)).reshape(len(X), -1)


def gtil_leaves(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(treelite.gtil.predict_leaf(model, X, nthread=1)).reshape(len(X), -1)


def rows_of(name: str, forest: Forest) -> NDArray[Any]:
    """The zoo's rows, and rows at the thresholds that the imported model has, in the type in which it compares."""
    return np.concatenate([zoo.rows(name).astype(forest.x_dtype), hard_rows(forest, 300)])


def assert_margins_are_gtils(model: Any, forest: Forest, X: NDArray[Any]) -> None:
    """Equal to the bit; within 4 units in the summands' last place where GTIL adds base scores to an average, or in float64."""
    expected, actual = gtil(model, X, pred_margin=True), forest.margin(X)
    assert expected.dtype == actual.dtype
    bases = model.get_header_accessor().get_field("base_scores").copy()
    is_wider = (bases != bases.astype(forest.values.dtype)).any()
    if not forest.bias.any() or (forest.divisor == 1 and not is_wider):
        np.testing.assert_array_equal(expected, actual)
        return
    magnitude = replace(forest, values=np.abs(forest.values), bias=np.abs(forest.bias)).margin(X)
    assert (np.abs(expected - actual) <= 4 * np.spacing(magnitude)).all()


def assert_predictions_are_gtils(model: Any, forest: Forest, X: NDArray[Any]) -> None:
    expected = gtil(model, X)
    if forest.is_classifier:
        actual = forest.predict_proba(X)
        # What is no distribution a forest makes one; its margins are compared all the same.
        is_kept = (forest.link != "identity") | (np.abs(expected - actual).max(axis=1) < 1e-6)
        assert is_kept.all() or np.abs(expected.sum(axis=1) - 1).max() > 1e-6
        expected, actual = expected[is_kept], actual[is_kept]
        actual = actual if actual.shape == expected.shape else actual[:, 1:]
    else:
        actual = forest.predict(X).reshape(len(X), -1)
    # GTIL's softmax is in float32 whatever the model; the others differ by the rounding of two links.
    is_single = forest.values.dtype == np.float32 or forest.link == "softmax"
    np.testing.assert_allclose(
        actual, expected, rtol=4e-6 if is_single else 1e-13, atol=3e-7 if is_single else 1e-15
    )


def assert_answers_are_gtils(model: Any, forest: Forest, X: NDArray[Any]) -> None:
    np.testing.assert_array_equal(gtil_leaves(model, X), forest.apply(X))
    assert_margins_are_gtils(model, forest, X)
    assert_predictions_are_gtils(model, forest, X)


@pytest.mark.parametrize("name", IMPORTED)
def test_an_imported_model_answers_as_gtil_does(name: str) -> None:
    forest = read(imported(name))
    assert_answers_are_gtils(imported(name), forest, rows_of(name, forest))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_our_writer_wrote_gives_back_the_same_answers(name: str) -> None:
    expected, model = zoo.forest(name), to_treelite(zoo.forest(name))
    actual, X = read(model), zoo.rows(name)
    np.testing.assert_array_equal(expected.margin(X), actual.margin(X))
    np.testing.assert_array_equal(gtil_leaves(model, X), actual.apply(X))
    assert (expected.link, expected.is_classifier) == (actual.link, actual.is_classifier)
    if expected.is_classifier:
        np.testing.assert_array_equal(expected.predict_proba(X), actual.predict_proba(X))


@settings(max_examples=60)
@given(forests(links=LINKS, classifier=False))
def test_any_written_forest_answers_as_gtil_does(forest: Forest) -> None:
    model = to_treelite(forest)
    again = read(model)
    X = hard_rows(again, 60)
    np.testing.assert_array_equal(gtil_leaves(model, X), again.apply(X))
    assert_margins_are_gtils(model, again, X)


def build(
    tests: list[dict[str, Any]] | None = None,
    dtype: str = "float32",
    *,
    leaves: list[list[Any]] | None = None,
    task: str = "kRegressor",
    shape: tuple[int, int] = (1, 1),
    counts: tuple[int, ...] = (1,),
    outputs: tuple[tuple[int, int], ...] | None = None,
    base: list[float] | None = None,
    averages: bool = False,
    **postprocessor: Any,
) -> Any:
    """A model of one tree for each of `tests`: a split on column 0 with the two `leaves`."""
    tests = tests or [{"threshold": 0.5, "opname": "<="}]
    leaves = leaves or [[-1.5, 2.25]] * len(tests)
    outputs = outputs or ((0, 0),) * len(tests)
    builder = ModelBuilder(
        threshold_type=dtype,
        leaf_output_type=dtype,
        metadata=Metadata(
            num_feature=1,
            task_type=task,
            average_tree_output=averages,
            num_target=len(counts),
            num_class=list(counts),
            leaf_vector_shape=shape,
        ),
        tree_annotation=TreeAnnotation(
            num_tree=len(tests), target_id=[t for t, _ in outputs], class_id=[c for _, c in outputs]
        ),
        postprocessor=PostProcessorFunc(**({"name": "identity"} | postprocessor)),
        base_scores=base or [0.0] * len(counts) * max(counts),
    )
    for test, values in zip(tests, leaves, strict=True):
        options = {"feature_id": 0, "default_left": False, "left_child_key": 7, "right_child_key": 3} | test
        builder.start_tree()
        builder.start_node(0)
        (builder.categorical_test if "category_list" in test else builder.numerical_test)(**options)
        builder.end_node()
        for key, value in zip((7, 3), values, strict=True):
            builder.start_node(key)
            builder.leaf(value)
            builder.end_node()
        builder.end_tree()
    return builder.commit()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("opname", ["<", "<=", ">", ">="])
def test_every_comparison_is_gtils_at_every_threshold(opname: str, dtype: str) -> None:
    kind = np.finfo(dtype)
    tiny, largest = float(kind.smallest_subnormal), float(kind.max)
    thresholds = [0.0, -0.0, 0.1, -2.5, tiny, -tiny, largest, -largest, np.inf, -np.inf]
    tests = [{"threshold": t, "opname": opname, "default_left": d} for t in thresholds for d in (False, True)]
    at = np.array(thresholds, dtype)
    with np.errstate(over="ignore"):
        ends = [np.nextafter(at, np.dtype(dtype).type(end)) for end in (-np.inf, np.inf)]
    X = np.concatenate([at, *ends, [np.nan]]).astype(dtype)[:, None]
    model = build(tests, dtype)
    assert_answers_are_gtils(model, read(model), X)


@pytest.mark.parametrize("opname", ["<", ">="])
def test_nothing_is_below_minus_infinity(opname: str) -> None:
    forest = read(build([{"threshold": -np.inf, "opname": opname, "default_left": opname == "<"}]))
    X = np.array([[-np.inf], [0.0], [np.inf], [np.nan]])
    assert forest.apply(X).ravel().tolist() == {"<": [2, 2, 2, 1], ">=": [1, 1, 1, 2]}[opname]


def test_equality_is_refused_by_its_place() -> None:
    model = build([{"threshold": 1.0, "opname": "<"}, {"threshold": 1.0, "opname": "=="}])
    with pytest.raises(
        UnsupportedModelError, match=r"tree 1, node 0: a test for equality \(==\) cannot be read; make it"
    ):
        read(model)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_category_goes_where_gtil_sends_it(dtype: str) -> None:
    lists: list[list[int]] = [[], [0], [3, 31, 3], [32, 64], [2**20]]
    if dtype == "float32":
        # GTIL finds no code above 2**24, so that these take no memory.
        lists += [[2**24], [1, 2**24 + 1], [2**24 + 2], [2**32 - 1]]
    options = [(right, default) for right in (False, True) for default in (False, True)]
    tests = [
        {"category_list": codes, "category_list_right_child": right, "default_left": default}
        for codes in lists
        for right, default in options
    ]
    codes = np.array([code for members in lists for code in members], dtype)
    odd = np.array([-0.0, -0.5, -1, 2.999, -3, 2**32 - 1, 2**32, 2.0**53, np.inf, -np.inf, np.nan], dtype)
    neighbours = [np.nextafter(codes, np.dtype(dtype).type(end)) for end in (-np.inf, np.inf)]
    X = np.concatenate([codes, *neighbours, codes + np.dtype(dtype).type(0.75), -codes, odd])[:, None]
    model = build(tests, dtype)
    assert_answers_are_gtils(model, read(model), X)


def test_categories_that_would_take_too_much_memory_are_refused() -> None:
    model = build([{"category_list": [1, 2**32 - 1], "category_list_right_child": False}], "float64")
    with pytest.raises(
        UnsupportedModelError,
        match=r"tree 0: its categories up to 4,294,967,295 need 536,870,912 bytes as sets of bits, and [\d,]+ are",
    ):
        read(model)


VECTOR = [[[-1.0, 2.0, 0.5], [0.25, -3.0, 1.0]], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]]
TWO_TESTS = [{"threshold": 0.5, "opname": "<="}, {"threshold": -0.5, "opname": "<"}]
AROUND = np.array([[-1.0], [-0.5], [0.0], [0.5], [1.0], [np.nan]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"task": "kMultiClf", "shape": (1, 3), "counts": (3,), "outputs": ((0, -1), (-1, -1)), "leaves": VECTOR},
        {"task": "kMultiClf", "counts": (3,), "outputs": ((0, 2), (0, 0)), "name": "softmax"},
        {"task": "kMultiClf", "counts": (3,), "outputs": ((0, 2), (0, 0)), "name": "multiclass_ova", "sigmoid_alpha": 2.0},
        {"task": "kMultiClf", "counts": (2,), "outputs": ((-1, 1), (-1, 0)), "leaves": [[[1.5], [2.5]], [[0.5], [3.5]]]},
        {"task": "kBinaryClf", "counts": (2,), "outputs": ((0, 1), (0, 0)), "name": "softmax", "averages": True},
        {"shape": (3, 1), "counts": (1, 1, 1), "outputs": ((-1, 0), (-1, -1)), "leaves": VECTOR, "averages": True},
        {"counts": (1, 1), "outputs": ((1, 0), (0, -1)), "leaves": [[1.5, 2.5], [[0.5], [3.5]]], "name": "sigmoid", "base": [0.5, -4.0]},
        {"leaves": [[[1.5], [2.5]], [3.5, [4.5]]], "outputs": ((0, 0), (0, 0)), "averages": True, "base": [0.125]},
        {"task": "kBinaryClf", "name": "sigmoid"},
        {"task": "kBinaryClf", "name": "sigmoid", "sigmoid_alpha": 2.0, "base": [0.3]},
        {"task": "kBinaryClf", "name": "sigmoid", "sigmoid_alpha": 0.7},
        {"task": "kBinaryClf", "name": "hinge"},
        {"task": "kBinaryClf", "name": "identity"},
        {"name": "signed_square", "counts": (1, 1), "outputs": ((1, 0), (0, 0))},
        {"task": "kBinaryClf", "name": "logarithm_one_plus_exp"},
        {"task": "kLearningToRank", "name": "identity"},
        {"task": "kRegressor", "name": "exponential"},
        {"task": "kRegressor", "counts": (3,), "outputs": ((0, 2), (0, 0)), "name": "softmax"},
    ],
)  # fmt: skip
def test_every_shape_of_output_is_gtils(options: dict[str, Any], dtype: str) -> None:
    model = build(TWO_TESTS, dtype, **options)
    assert_answers_are_gtils(model, read(model), AROUND)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_damage(alpha: float, tmp_path: Path) -> None:
    data = build(TWO_TESTS, name="sigmoid", sigmoid_alpha=1.375).serialize_bytes()
    (tmp_path / "model.tl").write_bytes(
        data.replace(np.float32(1.375).tobytes(), np.float32(alpha).tobytes())
    )
    with pytest.raises(ModelFileError, match=r"sigmoid_alpha is (0|-1|nan|inf); expected a number above 0"):
        read(tmp_path / "model.tl")


def test_labels_are_those_of_the_task() -> None:
    def classes_of(task: str, counts: tuple[int, ...], name: str) -> Any:
        classes = read(build(task=task, counts=counts, name=name)).classes
        return None if classes is None else classes.tolist()

    assert classes_of("kMultiClf", (3,), "softmax") == [0, 1, 2]
    assert classes_of("kBinaryClf", (1,), "sigmoid") == [0, 1]
    assert classes_of("kBinaryClf", (1,), "hinge") == [0, 1]
    assert classes_of("kBinaryClf", (1,), "identity") is None
    assert classes_of("kRegressor", (1,), "sigmoid") is None
    assert classes_of("kLearningToRank", (1,), "identity") is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "exponential_standard_ratio", "ratio_c": 2.0}, "the postprocessor 'exponential_standard_ratio' cannot be read"),
        ({"counts": (3,), "name": "hinge"}, "applies the postprocessor 'hinge' to 1 target.* expected one of identity, "),
        ({"counts": (3,), "name": "exponential"}, r"applies the postprocessor 'exponential' to 1 target\(s\) of 3 class"),
        ({"counts": (1, 1), "name": "softmax"}, r"applies the postprocessor 'softmax' to 2 target\(s\) of 1 class"),
        ({"counts": (1, 1), "task": "kBinaryClf"}, "a classifier of 2 targets tells several labels a row"),
        ({"counts": (2, 3), "task": "kMultiClf"}, "a classifier of 2 targets tells several labels a row"),
        ({"task": "kIsolationForest"}, "an isolation forest's scores cannot be read from a Treelite model; pass the"),
        ({"counts": (2,), "averages": True}, "average_tree_output is set and 0 to 1 trees add to an output"),
    ],
)  # fmt: skip
def test_what_a_forest_cannot_say_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"treelite.Model: .*{text}"):
        read(build(**options))


def test_models_that_treelite_imports_and_a_forest_cannot_say_are_refused() -> None:
    X, y = zoo.data("binary")
    labels = np.column_stack([y, 1 - y])
    two = RandomForestClassifier(2, max_depth=2, random_state=0).fit(X, labels)
    with pytest.raises(UnsupportedModelError, match="a classifier of 2 targets tells several labels"):
        read(treelite.sklearn.import_model(two))
    with pytest.raises(UnsupportedModelError, match="pass the scikit-learn model that it was made from"):
        read(treelite.sklearn.import_model(IsolationForest(n_estimators=2, random_state=0).fit(X)))


def test_the_training_weight_of_nodes_is_kept() -> None:
    for name in ("xgb deep", "random forest gaps"):
        expected, actual = zoo.forest(name), read(imported(name))
        np.testing.assert_array_equal(np.sort(expected.nodes.cover), np.sort(actual.nodes.cover))
    leaves = read(imported("lgb regression")).nodes
    expected = zoo.forest("lgb regression").nodes
    np.testing.assert_array_equal(np.sort(expected.cover), np.sort(leaves.cover))


@pytest.mark.parametrize(
    "name", ["model.tl", "model.treelite", "model.CHECKPOINT", "model.bin", "model.txt", "model"]
)
@pytest.mark.parametrize("source", ["xgb partitions", "random forest gaps"])
def test_a_checkpoint_is_the_same_forest_whatever_its_suffix(source: str, name: str, tmp_path: Path) -> None:
    imported(source).serialize(tmp_path / name)
    assert read(str(tmp_path / name)) == read(imported(source))


def test_bytes_of_the_model_are_those_of_its_checkpoint() -> None:
    model = imported("random forest gaps")
    packed = pack(model)
    X = zoo.rows("random forest gaps")
    np.testing.assert_array_equal(gtil(model, X, pred_margin=True), packed.forest.margin(X))
    assert packed.report.teacher.bytes["library_file"] == len(model.serialize_bytes())
    assert packed.report.teacher.bytes["pickle"] is None


# Where Treelite's import answers otherwise than the source, which docs/treelite.md lists: should one of these change,
# the list has to.


def test_treelite_forgets_that_zero_is_missing() -> None:
    X, y = zoo.data("regression")
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.3, 0.0, X)
    options = {"zero_as_missing": True, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
    source = lgb.LGBMRegressor(n_estimators=5, num_leaves=8, **options).fit(X, y).booster_
    model = treelite.frontend.from_lightgbm(source)
    assert_answers_are_gtils(model, read(model), X)
    assert np.abs(source.predict(X) - read(model).predict(X)).max() > 0.01


def test_treelite_forgets_that_lightgbm_takes_tiny_numbers_for_zero() -> None:
    X = zoo.rows("lgb stopped early")
    is_off = zoo.expected_margin("lgb stopped early") != read(imported("lgb stopped early")).margin(X)
    assert is_off.sum() == 1
    assert X[is_off[:, 0], 1] == -np.float64(np.float32(1e-35))


def test_treelite_forgets_where_xgboost_stopped_early() -> None:
    forest = read(imported("xgb stopped early"))
    assert forest.n_trees > zoo.forest("xgb stopped early").n_trees


def test_treelite_forgets_the_factor_of_the_exponential_loss() -> None:
    X, model = zoo.rows("boosting exponential"), zoo.trained("boosting exponential")
    forest = read(imported("boosting exponential"))
    np.testing.assert_allclose(forest.margin(X), zoo.expected_margin("boosting exponential"), rtol=1e-12)
    assert np.abs(model.predict_proba(X) - forest.predict_proba(X)).max() > 0.05


class ToldError(Exception):
    """What was to be handed over to Treelite's compiled part: how many trees, and the arrays of how many."""


def test_treelite_counts_the_trees_that_boosting_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(n_trees: Any, *others: Any) -> None:
        node_counts = next(other for other in others if isinstance(other, ctypes.Array))
        raise ToldError(n_trees.value, len(node_counts))

    # What it does then depends on what lies behind the arrays in memory, so it must not get so far.
    library = SimpleNamespace(TreeliteLoadSKLearnGradientBoostingClassifier=tell)
    monkeypatch.setattr(treelite.sklearn.importer, "_LIB", library)
    model = zoo.trained("boosting stopped early")
    with pytest.raises(ToldError) as told:
        treelite.sklearn.import_model(model)
    assert told.value.args == (model.n_estimators, len(model.estimators_))
    assert len(model.estimators_) < model.n_estimators


def test_treelite_sends_unseen_categories_of_histogram_gradient_boosting_right() -> None:
    name = "hist categories missing"
    is_off = np.abs(zoo.expected_margin(name) - read(imported(name)).margin(zoo.rows(name)))[:, 0] > 1e-9
    X, rows = zoo.data("regression", missing=True, categorical=True).X, zoo.rows(name)[is_off]
    assert len(rows) > 0
    is_unseen = [~np.isin(rows[:, f], X[:, f]) for f in zoo.CATEGORICAL]
    assert np.logical_or(*is_unseen).all()


def test_treelite_compares_rows_of_scikit_learn_in_float64() -> None:
    forest, X = read(imported("random forest regression")), zoo.rows("random forest regression")
    assert forest.x_dtype == "float64"
    np.testing.assert_array_equal(zoo.expected_leaves("random forest regression"), forest.apply(X))
    nodes = forest.nodes
    at = nodes.threshold[(nodes.feature == 0) & (nodes.threshold.astype(np.float32) > nodes.threshold)]
    rows = np.tile(X[:1].astype(np.float64), (len(at), 1))
    rows[:, 0] = at
    source = zoo.trained("random forest regression").apply(rows)
    assert (source != forest.apply(rows)).any()
