"""The contract that every algorithm keeps, over any forest, adversarial rows and the zoo of trained models."""

import copy
import functools
import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import oracle
import pytest
import zoo
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import forests, hard_rows
from test_writer_c import draw_forests

from ensemble_compress.algorithms import (
    ALGORITHMS,
    ClipLeaves,
    DistillForest,
    DropFeatures,
    MixPrecision,
    PruneCertified,
    PruneDepth,
    PruneLevels,
    PruneNodes,
    PruneTrees,
    QuantizeLeaves,
    QuantizeThresholds,
    ReassignLeaves,
    RefitLeaves,
    ShareThresholds,
    Simplify,
)
from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets
from ensemble_compress.predict import LINKS

EXAMPLES: tuple[Any, ...] = (
    ClipLeaves(),
    ClipLeaves(share=0),
    ClipLeaves(share=0.5),
    ClipLeaves(share=1.0),
    PruneDepth(),
    PruneDepth(max_leaves=3, mix=0, weights="nodes", refit="trees", penalty=0.01),
    PruneDepth(max_leaves=0.5, mix=1, refit="none", n_restarts=2, random_state=3),
    PruneLevels(),
    PruneLevels(max_leaves=3, mix=0, penalty=0, n_sweeps=1),
    PruneLevels(max_leaves=0.5, mix=1),
    PruneLevels(method="paper", tolerance=0.02, n_rounds=1, n_penalties=2, mix=0, random_state=3),
    DistillForest(),
    DistillForest(max_leaves=3, mix=0, penalty=0, worth=0, n_transfer=0),
    DistillForest(max_bytes=40, mix=1, rate=1.0, reuse=1.0),
    DistillForest(max_leaves=0.5, tree_leaves=2, worth=1, n_transfer=0.5, random_state=3),
    DropFeatures(),
    DropFeatures(n_features=1, fraction=1.0, mix=0, penalty=0, n_sweeps=1),
    MixPrecision(),
    MixPrecision(bits=4, max_bytes=1, per="output", mix=0, n_sweeps=0),
    PruneCertified(),
    PruneNodes(),
    PruneNodes(max_leaves=3, mix=0, penalty=0, fraction=1.0, n_sweeps=1, n_transfer=0),
    PruneNodes(max_leaves=0.5, mix=1, n_transfer=0.5, random_state=3),
    PruneTrees(),
    PruneTrees(n_trees=1, mix=1),
    PruneTrees(n_trees=2, method="first"),
    PruneTrees(n_trees=2, method="l1", mix=0),
    PruneTrees(n_trees=2, method="nnls"),
    PruneTrees(n_trees=2, method="reduced_error"),
    PruneTrees(method="clustering", mix=0),
    QuantizeLeaves(),
    QuantizeLeaves(bits=2),
    QuantizeLeaves(bits=16),
    QuantizeLeaves(bits=1, method="kmeans", random_state=5),
    QuantizeThresholds(),
    QuantizeThresholds(bits=8),
    QuantizeThresholds(bits=2),
    QuantizeThresholds(bits=2, method="kmeans", random_state=1),
    ReassignLeaves(),
    ReassignLeaves(mix=0, n_sweeps=1),
    RefitLeaves(),
    RefitLeaves(mix=0, penalty=0, n_sweeps=3),
    RefitLeaves(mix=1, penalty=10.0),
    ShareThresholds(),
    Simplify(),
)
every_example = pytest.mark.parametrize("algorithm", EXAMPLES, ids=repr)

MODELS = (
    "tree missing", "stump of one leaf", "random forest text", "random forest gaps", "random forest two columns",
    "boosting exponential", "boosting multiclass", "hist poisson", "hist categories missing", "xgb multiclass",
    "xgb partitions", "xgb vector leaves", "xgb rank:ndcg", "lgb one against all", "lgb categories",
    "lgb cross_entropy_lambda", "lgb leaves without splits",
)  # fmt: skip


def labels_for(forest: Forest, random: np.random.Generator, n_rows: int) -> Any:
    if forest.classes is not None:
        return random.integers(0, len(forest.classes), n_rows)
    shape = (n_rows, forest.n_outputs) if forest.n_outputs > 1 else n_rows
    return random.random(shape) * 4


def data_for(forest: Forest, seed: int, parts: str = "yw", n_rows: int | None = None) -> Data:
    """Adversarial rows, with labels (y), weights (w, some of them zero) and a teacher's answers (t) where asked."""
    random = np.random.default_rng(seed)
    n_rows = int(random.integers(1, 20)) if n_rows is None else n_rows
    weight = random.integers(0, 3, n_rows).astype(float)
    weight[0] += 1
    n_answers = len(forest.classes) if forest.classes is not None else forest.n_outputs
    return Data(
        X=forest.rows(hard_rows(forest, n_rows, seed)),
        y=labels_for(forest, random, n_rows) if "y" in parts else None,
        weight=weight if "w" in parts else None,
        teacher=random.dirichlet(np.ones(n_answers), n_rows) if "t" in parts else None,
    )


def check_contract(algorithm: Any, forest: Forest, data: Data) -> Forest:
    """All that holds for every algorithm; the forest that it gave, or the one that it refuses to decide on."""
    before = copy.deepcopy((forest, data.X, data.y, data.weight, data.teacher))
    if algorithm.guarantee == "decisions" and not forest.is_classifier:
        with pytest.raises(UnsupportedModelError, match="this forest is a regression model"):
            algorithm(forest, data)
        return forest
    small = algorithm(forest, data)
    assert before[0] == forest
    for was, now in zip(before[1:], (data.X, data.y, data.weight, data.teacher), strict=True):
        assert_array_equal(was, now)
    assert isinstance(small, Forest)
    assert small == Forest(**{f.name: getattr(small, f.name) for f in fields(small)})
    assert small == algorithm(copy.deepcopy(forest), copy.deepcopy(data))
    assert getattr(small, algorithm.measure) <= getattr(forest, algorithm.measure)
    assert (small.n_features, small.x_dtype, small.handles_nan, small.feature_names) == (
        (forest.n_features, forest.x_dtype, forest.handles_nan, forest.feature_names)
    )
    assert_array_equal(forest.classes, small.classes)  # type: ignore[arg-type]
    check_guarantee(algorithm, forest, small, np.concatenate([data.X, hard_rows(forest, 60)]))
    return small


def check_guarantee(algorithm: Any, forest: Forest, small: Forest, rows: Any) -> None:
    margin, small_margin = forest.margin(rows), small.margin(rows)
    assert np.isfinite(small_margin).all() or not np.isfinite(margin).all()
    if algorithm.guarantee == "exact":
        assert margin.dtype == small_margin.dtype
        assert margin.tobytes() == small_margin.tobytes()
        assert oracle.margins(small, rows).tobytes() == margin.tobytes()
    elif algorithm.guarantee == "decisions":
        assert_array_equal(oracle.class_codes(forest, margin), oracle.class_codes(small, small_margin))
    elif algorithm.guarantee == "bounded":
        bound = algorithm.bound(forest)
        assert bound >= 0
        assert np.abs(small_margin.astype(np.float64) - margin).max(initial=0.0) <= bound


def leaf_forest(n_trees: int = 1, **changes: Any) -> Forest:
    """Trees of a single leaf."""
    columns = ([-1], [0.0], [-1], [False], [-1], [0], [5.0], [0])
    arguments: dict[str, Any] = {
        "nodes": Nodes(*(np.array(column * n_trees) for column in columns)),
        "tree_start": np.arange(n_trees + 1),
        "tree_output": np.zeros(n_trees, int),
        "values": np.array([[0.3]])[: n_trees and 1],
        "bias": np.array([0.7]),
        "n_features": 2,
    }
    return Forest(**(arguments | changes))


def stump(**changes: Any) -> Forest:
    """One tree: x[0] <= 0.5, missing values left."""
    arguments: dict[str, Any] = {
        "nodes": Nodes(*map(np.array, ([0, -1, -1], [0.5, 0, 0], [2, -1, -1], [True, False, False], [-1, -1, -1], [-1, 0, 1], [5.0, 2, 3], [0, 1, 2]))),
        "tree_start": np.array([0, 3]),
        "tree_output": np.array([0]),
        "values": np.array([[0.25], [-1.0]]),
        "bias": np.array([0.5]),
        "n_features": 1,
    }  # fmt: skip
    return Forest(**(arguments | changes))


def test_every_algorithm_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == set(ALGORITHMS)


@functools.cache
def drawn_cases() -> list[Any]:
    """Drawn once for all algorithms: to draw a forest takes longer than to try most of them on it."""
    parts = st.sampled_from(["", "y", "yw", "wt", "ywt"])
    return draw_forests(15, st.tuples(forests(), st.integers(0, 2**32 - 1), parts))  # type: ignore[arg-type]


@every_example
def test_any_forest_keeps_the_contract(algorithm: Any) -> None:
    for forest, seed, parts in drawn_cases():
        check_contract(algorithm, forest, data_for(forest, seed, parts))


@every_example
@pytest.mark.parametrize("name", MODELS)
def test_trained_models_keep_the_contract(algorithm: Any, name: str) -> None:
    forest, X = zoo.forest(name), zoo.rows(name)[:150]
    check_contract(algorithm, forest, Data(X, labels_for(forest, np.random.default_rng(0), len(X))))


@every_example
@pytest.mark.parametrize("link", tuple(LINKS))
def test_stumps_of_every_link_survive(algorithm: Any, link: str) -> None:
    # Every pair of a dtype, a kind of model and a number of rows.
    for dtype, classes, n_rows in (
        *((np.float32, None, 1), (np.float32, np.array(["no", "yes"]), 8)),
        *((np.float64, None, 8), (np.float64, np.array(["no", "yes"]), 1)),
    ):
        forest = stump(link=link, classes=classes, values=np.array([[0.25], [-1.0]], dtype))
        check_contract(algorithm, forest, data_for(forest, 1, "y", n_rows))


@every_example
@pytest.mark.parametrize("n_trees", [0, 1, 3])
def test_forests_of_leaves_or_of_nothing_survive(algorithm: Any, n_trees: int) -> None:
    forest = leaf_forest(n_trees)
    small = check_contract(algorithm, forest, Data(np.zeros((4, 2), np.float32), np.ones(4)))
    if algorithm.needs == frozenset() and n_trees == 0:
        assert_array_equal([0.7], small.bias.round(4))


@every_example
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_vector_leaves_without_any_tree_survive(algorithm: Any, n_outputs: int) -> None:
    forest = leaf_forest(0, values=np.zeros((0, n_outputs)), bias=np.arange(n_outputs) / 3.0)
    check_contract(algorithm, forest, Data(np.zeros((4, 2), np.float32), np.ones((4, n_outputs))))


@every_example
@pytest.mark.parametrize("kind", ["missing", "constant", "duplicates", "one row", "zero weights"])
@pytest.mark.parametrize("name", ["random forest text", "xgb multiclass", "hist categories missing"])
def test_rows_that_say_little_survive(algorithm: Any, kind: str, name: str) -> None:
    forest = zoo.forest(name)
    X = zoo.rows(name)[:24].copy()
    y = labels_for(forest, np.random.default_rng(0), 24)
    weight = None
    if kind == "missing":
        X[:] = np.nan
    elif kind == "constant":
        X[:] = 1.0
    elif kind == "duplicates":
        X, y = np.repeat(X[:2], 12, axis=0), np.repeat(y[:2], 12)
    elif kind == "one row":
        X, y = X[:1], y[:1]
    else:
        weight = np.append(1.0, np.zeros(23))
    check_contract(algorithm, forest, Data(X, y, weight))


@pytest.mark.parametrize("algorithm", [a for a in EXAMPLES if a.needs], ids=repr)
def test_what_needs_rows_refuses_to_work_without(algorithm: Any) -> None:
    with pytest.raises(
        InputError, match=rf"{type(algorithm).__name__} needs rows to judge by: pass ensemble_compress.Data"
    ):
        algorithm(stump(), None)


@pytest.mark.parametrize("algorithm", [a for a in EXAMPLES if not a.needs], ids=repr)
def test_what_needs_no_rows_takes_none(algorithm: Any) -> None:
    forest = zoo.forest("xgb partitions")
    data = Data(zoo.rows("xgb partitions"))
    assert algorithm(forest) == algorithm(forest, None) == algorithm(forest, data)


@pytest.mark.parametrize("algorithm", [a for a in EXAMPLES if a.needs], ids=repr)
def test_rows_of_another_model_are_refused(algorithm: Any) -> None:
    forest = zoo.forest("random forest text")
    with pytest.raises(InputError, match="X has 3 features, but the model is expecting 5 features as input"):
        algorithm(forest, Data(np.zeros((4, 3), np.float32)))


# The first trees are the first trees, whatever the labels.
LEARNERS = [a for a in EXAMPLES if hasattr(a, "mix") and getattr(a, "method", "") != "first"]
LABELLED = [a for a in LEARNERS if a.mix < 1]
BAD_LABELS = [
    ("random forest gaps", lambda n: np.full(n, 3), r"y holds class codes from 3 to 3; expected whole numbers from 0 to 2"),
    ("xgb binary", lambda n: np.full(n, -1), r"y holds class codes from -1 to -1; expected whole numbers from 0 to 1"),
    ("xgb binary", lambda n: np.full(n, 0.5), r"y holds class codes from 0.5 to 0.5; expected whole numbers"),
    ("xgb binary", lambda n: np.full(n, "no"), r"y holds <U2; expected class codes, positions in Forest.classes"),
    ("random forest gaps", lambda n: np.zeros((n, 2)), r"y has shape \(20, 2\); the model has 3 output"),
    ("random forest two columns", lambda n: np.zeros(n), r"y has shape \(20,\); the model has 2 output\(s\)"),
    ("xgb regression", lambda n: np.full(n, np.nan), r"y has 20 missing or infinite value\(s\); expected finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize("algorithm", LABELLED, ids=repr)
@pytest.mark.parametrize(("name", "y", "message"), BAD_LABELS)
def test_labels_of_another_kind_are_refused(algorithm: Any, name: str, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        algorithm(zoo.forest(name), Data(zoo.rows(name)[:20], y(20)))


@pytest.mark.parametrize("algorithm", [a for a in LEARNERS if a.mix > 0], ids=repr)
@pytest.mark.parametrize(
    ("name", "n_outputs"), [("xgb binary", 3), ("random forest gaps", 2), ("xgb regression", 2)]
)
def test_a_teacher_of_another_shape_is_refused(algorithm: Any, name: str, n_outputs: int) -> None:
    expected = len(zoo.forest(name).classes) if zoo.forest(name).classes is not None else 1  # type: ignore[arg-type]
    data = Data(zoo.rows(name)[:20], teacher=np.zeros((20, n_outputs)))
    with pytest.raises(
        InputError, match=rf"teacher has shape \(20, {n_outputs}\); expected \(20, {expected}\)"
    ):
        algorithm(zoo.forest(name), data)


def test_rows_are_read_as_the_forest_reads_them() -> None:
    """Rows of float64 between two float32 numbers go where the forest sends them."""
    forest = zoo.forest("random forest text")
    X = zoo.rows("random forest text").astype(np.float64)
    X = np.where(np.isnan(X), X, np.nextafter(X, np.inf))
    small = ShareThresholds()(forest, Data(X))
    assert_array_equal(forest.margin(X), small.margin(X))


BAD_PARAMETERS = [
    (ClipLeaves, {"share": -0.1}, r"ClipLeaves: share is -0.1; expected a number in \[0, 1\]"),
    (ClipLeaves, {"share": "1"}, r"ClipLeaves: share is '1'; expected a number in \[0, 1\]"),
    (ClipLeaves, {"share": math.nan}, r"ClipLeaves: share is nan; expected a number in \[0, 1\]"),
    (PruneDepth, {"max_leaves": 0}, r"PruneDepth: max_leaves is 0; expected a whole number >= 1 or a share in \(0, 1\]"),
    (PruneDepth, {"mix": 2}, r"PruneDepth: mix is 2; expected a number in \[0, 1\]"),
    (PruneDepth, {"weights": "bits"}, r"PruneDepth: weights is 'bits'; expected one of \('bytes', 'nodes'\)"),
    (PruneDepth, {"refit": None}, r"PruneDepth: refit is None; expected one of \('leaves', 'trees', 'none'\)"),
    (PruneDepth, {"penalty": -1}, r"PruneDepth: penalty is -1; expected a number in \[0, inf\)"),
    (PruneDepth, {"n_restarts": 0.5}, r"PruneDepth: n_restarts is 0.5; expected a whole number in \[0, 1000\]"),
    (PruneDepth, {"random_state": -1}, r"PruneDepth: random_state is -1; expected a whole number in \[0, 4294967295\]"),
    (PruneLevels, {"max_leaves": 1.5}, r"PruneLevels: max_leaves is 1.5; a share must not exceed 1.0 \(a count is an int\)"),
    (PruneLevels, {"method": "lop"}, r"PruneLevels: method is 'lop'; expected one of \('bytes', 'paper'\)"),
    (PruneLevels, {"tolerance": -0.1}, r"PruneLevels: tolerance is -0.1; expected a number in \[0, inf\)"),
    (PruneLevels, {"n_rounds": 0}, r"PruneLevels: n_rounds is 0; expected a whole number in \[1, 1000\]"),
    (PruneLevels, {"n_penalties": 2.5}, r"PruneLevels: n_penalties is 2.5; expected a whole number in \[1, 1000\]"),
    (PruneLevels, {"validation_fraction": 0}, r"PruneLevels: validation_fraction is 0; expected a number in \(0, 0.9\]"),
    (PruneLevels, {"mix": -1}, r"PruneLevels: mix is -1; expected a number in \[0, 1\]"),
    (PruneLevels, {"penalty": math.nan}, r"PruneLevels: penalty is nan; expected a number in \[0, inf\)"),
    (PruneLevels, {"n_sweeps": 0}, r"PruneLevels: n_sweeps is 0; expected a whole number in \[1, 1000\]"),
    (PruneLevels, {"random_state": 0.5}, r"PruneLevels: random_state is 0.5; expected a whole number in \[0, 4294967295\]"),
    (DistillForest, {"max_leaves": 0}, r"DistillForest: max_leaves is 0; expected a whole number >= 1 or a share in \(0, 1\]"),
    (DistillForest, {"max_bytes": 0.5}, r"DistillForest: max_bytes is 0.5; expected a whole number in \[1, 1099511627776\]"),
    (DistillForest, {"mix": -1}, r"DistillForest: mix is -1; expected a number in \[0, 1\]"),
    (DistillForest, {"penalty": -1}, r"DistillForest: penalty is -1; expected a number in \[0, inf\)"),
    (DistillForest, {"tree_leaves": 1}, r"DistillForest: tree_leaves is 1; expected a whole number in \[2, 4096\]"),
    (DistillForest, {"worth": 1.5}, r"DistillForest: worth is 1.5; expected a number in \[0, 1\]"),
    (DistillForest, {"rate": 0}, r"DistillForest: rate is 0; expected a number in \(0, 1\]"),
    (DistillForest, {"reuse": 0}, r"DistillForest: reuse is 0; expected a number in \(0, 1\]"),
    (DistillForest, {"n_transfer": math.nan}, r"DistillForest: n_transfer is nan; expected a number in \[0, 1000\]"),
    (DistillForest, {"enough": -1}, r"DistillForest: enough is -1; expected a whole number in \[0, 1000000000\]"),
    (DistillForest, {"random_state": -1}, r"DistillForest: random_state is -1; expected a whole number in \[0, 4294967295\]"),
    (DropFeatures, {"n_features": 0}, "DropFeatures: n_features is 0; expected a whole number >= 1 or a share"),
    (DropFeatures, {"fraction": 0}, r"DropFeatures: fraction is 0; expected a number in \(0, 1\]"),
    (DropFeatures, {"mix": -1}, r"DropFeatures: mix is -1; expected a number in \[0, 1\]"),
    (DropFeatures, {"penalty": -1}, r"DropFeatures: penalty is -1; expected a number in \[0, inf\)"),
    (DropFeatures, {"n_sweeps": 0}, r"DropFeatures: n_sweeps is 0; expected a whole number in \[1, 10000\]"),
    (MixPrecision, {"bits": 1}, r"MixPrecision: bits is 1; expected a whole number in \[2, 16\]"),
    (MixPrecision, {"max_bytes": 0}, "MixPrecision: max_bytes is 0; expected a whole number >= 1 or a share"),
    (MixPrecision, {"per": "leaf"}, r"MixPrecision: per is 'leaf'; expected one of \('tree', 'output'\)"),
    (MixPrecision, {"mix": 2}, r"MixPrecision: mix is 2; expected a number in \[0, 1\]"),
    (MixPrecision, {"n_sweeps": -1}, r"MixPrecision: n_sweeps is -1; expected a whole number in \[0, 1000\]"),
    (PruneCertified, {"method": "l2"}, r"PruneCertified: method is 'l2'; expected one of \('l1', 'count'\)"),
    (PruneCertified, {"max_seconds": 0}, r"PruneCertified: max_seconds is 0; expected a number in \(0, inf\)"),
    (PruneCertified, {"random_state": -1}, "PruneCertified: random_state is -1; expected a whole number in"),
    (PruneNodes, {"max_leaves": 0}, r"PruneNodes: max_leaves is 0; expected a whole number >= 1 or a share in \(0, 1\]"),
    (PruneNodes, {"max_leaves": True}, "PruneNodes: max_leaves is True; expected a whole number"),
    (PruneNodes, {"max_leaves": math.nan}, "PruneNodes: max_leaves is nan; expected a whole number"),
    (PruneNodes, {"max_leaves": 1.5}, r"PruneNodes: max_leaves is 1.5; a share must not exceed 1.0 \(a count is an int\)"),
    (PruneNodes, {"mix": 2}, r"PruneNodes: mix is 2; expected a number in \[0, 1\]"),
    (PruneNodes, {"penalty": -1}, r"PruneNodes: penalty is -1; expected a number in \[0, inf\)"),
    (PruneNodes, {"penalty": math.inf}, r"PruneNodes: penalty is inf; expected a number in \[0, inf\)"),
    (PruneNodes, {"fraction": 0}, r"PruneNodes: fraction is 0; expected a number in \(0, 1\]"),
    (PruneNodes, {"n_sweeps": 2.5}, r"PruneNodes: n_sweeps is 2.5; expected a whole number in \[1, 1000\]"),
    (PruneNodes, {"n_transfer": -1}, r"PruneNodes: n_transfer is -1; expected a number in \[0, 1000\]"),
    (PruneNodes, {"random_state": -1}, r"PruneNodes: random_state is -1; expected a whole number in \[0, 4294967295\]"),
    (PruneTrees, {"n_trees": -3}, "PruneTrees: n_trees is -3; expected a whole number"),
    (PruneTrees, {"method": "best"}, r"PruneTrees: method is 'best'; expected one of \('contribution', .*'nnls'\)"),
    (PruneTrees, {"mix": None}, r"PruneTrees: mix is None; expected a number in \[0, 1\]"),
    (QuantizeLeaves, {"bits": 1}, r"QuantizeLeaves: bits is 1; expected a whole number in \[2, 16\]"),
    (QuantizeLeaves, {"bits": 0, "method": "kmeans"}, r"QuantizeLeaves: bits is 0; expected a whole number in \[1, 16\]"),
    (QuantizeLeaves, {"bits": 2.5}, r"QuantizeLeaves: bits is 2.5; expected a whole number in \[2, 16\]"),
    (QuantizeLeaves, {"bits": 17}, r"QuantizeLeaves: bits is 17; expected a whole number in \[2, 16\]"),
    (QuantizeLeaves, {"method": "median"}, r"QuantizeLeaves: method is 'median'; expected one of \('uniform', 'kmeans'\)"),
    (QuantizeLeaves, {"random_state": None}, "QuantizeLeaves: random_state is None; expected a whole number in"),
    (QuantizeThresholds, {"bits": 1}, r"QuantizeThresholds: bits is 1; expected a whole number in \[2, 16\]"),
    (QuantizeThresholds, {"bits": 8.0}, r"QuantizeThresholds: bits is 8.0; expected a whole number in \[2, 16\]"),
    (QuantizeThresholds, {"bits": np.array([8, 16])}, "QuantizeThresholds: bits is array"),
    (QuantizeThresholds, {"method": "even"}, r"QuantizeThresholds: method is 'even'; expected one of \('uniform', 'kmeans'\)"),
    (QuantizeThresholds, {"random_state": 0.5}, "QuantizeThresholds: random_state is 0.5; expected a whole number in"),
    (ReassignLeaves, {"mix": 2}, r"ReassignLeaves: mix is 2; expected a number in \[0, 1\]"),
    (ReassignLeaves, {"n_sweeps": 0}, r"ReassignLeaves: n_sweeps is 0; expected a whole number in \[1, 1000\]"),
    (RefitLeaves, {"mix": -0.5}, r"RefitLeaves: mix is -0.5; expected a number in \[0, 1\]"),
    (RefitLeaves, {"penalty": math.nan}, r"RefitLeaves: penalty is nan; expected a number in \[0, inf\)"),
    (RefitLeaves, {"n_sweeps": 0}, r"RefitLeaves: n_sweeps is 0; expected a whole number in \[1, 10000\]"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters", "message"), BAD_PARAMETERS)
def test_parameters_out_of_range_are_refused_by_name(kind: Any, parameters: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        kind(**parameters)


def test_every_parameter_has_a_value_that_is_refused() -> None:
    tried = {(kind, name) for kind, parameters, _ in BAD_PARAMETERS for name in parameters}
    assert {(kind, f.name) for kind in ALGORITHMS for f in fields(kind)} == tried


def test_numbers_of_numpy_are_numbers() -> None:
    forest, data = zoo.forest("xgb multiclass"), Data(zoo.rows("xgb multiclass")[:50])
    pairs = [
        (QuantizeLeaves(bits=6), QuantizeLeaves(bits=np.int64(6))),  # type: ignore[arg-type]
        (QuantizeThresholds(bits=8), QuantizeThresholds(bits=np.int32(8))),  # type: ignore[arg-type]
        (ClipLeaves(share=0.5), ClipLeaves(share=np.float32(0.5))),  # type: ignore[arg-type]
        (PruneTrees(n_trees=3), PruneTrees(n_trees=np.int64(3))),  # type: ignore[arg-type]
        (PruneTrees(n_trees=0.5), PruneTrees(n_trees=np.float32(0.5))),  # type: ignore[arg-type]
        (RefitLeaves(n_sweeps=2), RefitLeaves(n_sweeps=np.int8(2))),  # type: ignore[arg-type]
    ]
    for plain, numpy_s in pairs:
        assert plain(forest, data) == numpy_s(forest, data)


@every_example
def test_an_algorithm_is_a_record(algorithm: Any) -> None:
    assert algorithm == eval(repr(algorithm), {type(algorithm).__name__: type(algorithm)})
    assert algorithm == replace(algorithm)
    assert hash(algorithm) == hash(replace(algorithm))
    assert [example for example in EXAMPLES if example == algorithm] == [algorithm]
    for field in fields(algorithm):
        with pytest.raises(FrozenInstanceError):
            setattr(algorithm, field.name, 1)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_record_says_what_it_needs_and_keeps(kind: Any) -> None:
    assert kind.needs <= {"X", "y"}
    assert kind.guarantee in ("exact", "decisions", "bounded", "none")
    assert hasattr(kind, "bound") == (kind.guarantee == "bounded")
    assert isinstance(getattr(Forest, kind.measure), property)


def test_category_sets_that_no_split_names_any_more_go() -> None:
    nodes = stump().nodes._replace(threshold=np.zeros(3), category_set=np.array([0, -1, -1]))
    forest = stump(nodes=nodes, category_sets=make_sets([[1, 40]]), values=np.array([[2.0], [2.0]]))
    assert Simplify()(forest).category_sets.words.size == 0
