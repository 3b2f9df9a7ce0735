"""The mistakes of Treelite and TL2cgen that docs/treelite-export.md lists: each is there, and what we export doesn't have it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import tl2cgen
import treelite
from sources import ROOT
from test_writer_c import small_forest
from treelite import model_builder

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.nodes import make_sets
from ensemble_compress.readers import read
from ensemble_compress.writers.toolchain import compile_c
from ensemble_compress.writers.treelite import (
    OPTIONS,
    _silence,
    read_treelite_margin,
    to_treelite,
    write_treelite_library,
)

IS_KNOWN = treelite.__version__.startswith("4.8.") and tl2cgen.__version__ == "1.0.0"
known_versions = pytest.mark.skipif(
    not IS_KNOWN, reason="the mistakes are those of Treelite 4.8 and TL2cgen 1.0"
)

Test = tuple[str, float, float, float]
"""An operator, a threshold, and the leaves left and right."""


def build(tests: Sequence[Test], dtype: str = "float64", base_score: float = 0.0) -> Any:
    """A Treelite model of one feature and a stump for each test, as Treelite's own manual builds one."""
    builder = model_builder.ModelBuilder(
        threshold_type=dtype,
        leaf_output_type=dtype,
        metadata=model_builder.Metadata(
            num_feature=1,
            task_type="kRegressor",
            average_tree_output=False,
            num_target=1,
            num_class=[1],
            leaf_vector_shape=(1, 1),
        ),
        tree_annotation=model_builder.TreeAnnotation(
            num_tree=len(tests), target_id=[0] * len(tests), class_id=[0] * len(tests)
        ),
        postprocessor=model_builder.PostProcessorFunc(name="identity"),
        base_scores=[base_score],
    )
    for opname, threshold, left, right in tests:
        builder.start_tree()
        builder.start_node(0)
        children = {"left_child_key": 1, "right_child_key": 2, "default_left": False}
        builder.numerical_test(0, threshold=threshold, opname=opname, **children)
        builder.end_node()
        for key, value in ((1, left), (2, right)):
            builder.start_node(key)
            builder.leaf(value)
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def compiled(model: Any, rows: np.ndarray, folder: Path) -> list[float]:
    """What TL2cgen makes of a model, without any help of ours."""
    library = folder / "plain.so"
    with _silence():
        tl2cgen.generate_c_code(model, folder / "plain", {})
        compile_c(sorted((folder / "plain").glob("*.c")), library, OPTIONS, ["-lm"])
        found = tl2cgen.Predictor(str(library), nthread=1).predict(tl2cgen.DMatrix(rows), pred_margin=True)
    return found.ravel().tolist()


def exported(forest: Any, rows: np.ndarray, folder: Path) -> list[float]:
    path = write_treelite_library(forest, folder / "model.treelite.so")
    return read_treelite_margin(forest, path, rows).ravel().tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinite_thresholds(dtype: str, tmp_path: Path) -> None:
    rows = np.array([-np.inf, np.finfo(dtype).min, 0.0, np.inf, np.nan], dtype)[:, None]
    for number, threshold in enumerate((-np.inf, np.inf)):
        nodes = small_forest().nodes._replace(threshold=np.array([threshold, 0, 0]))
        forest = small_forest(nodes=nodes, x_dtype=dtype, values=np.array([[-1.0], [1.0]], dtype))
        expected = [-1.0 if x <= threshold else 1.0 for x in rows[:, 0]]
        (tmp_path / str(number)).mkdir()
        assert expected == exported(forest, rows, tmp_path / str(number))


@known_versions
def test_tl2cgen_compiles_infinite_thresholds_wrong(tmp_path: Path) -> None:
    rows = np.array([-np.inf, 0.0, np.inf], np.float32)[:, None]
    model = build([("<=", -np.inf, 1.0, 0.0), ("<", np.inf, 2.0, 0.0)], "float32")
    assert treelite.gtil.predict(model, rows, pred_margin=True).ravel().tolist() == [3.0, 2.0, 0.0]
    assert compiled(model, rows, tmp_path) == [2.0, 2.0, 2.0]


@known_versions
def test_tl2cgen_takes_numbers_for_missing(tmp_path: Path) -> None:
    """What the writer does about it is tested in test_writer_treelite.py."""
    row = np.array([[0x3FF00000FFFFFFFF]], np.uint64).view(np.float64)
    model = build([("<=", 5.0, 1.0, -1.0)])
    assert treelite.gtil.predict(model, row, pred_margin=True).ravel().tolist() == [1.0]
    assert compiled(model, row, tmp_path) == [-1.0]


def leaves_that_lose_a_bit() -> list[float]:
    """Float32s whose sum differs when each is read from nine digits in double precision."""
    draws = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    for values in draws:
        single, double = np.float32(0), np.float32(0)
        for value in values:
            single = np.float32(single + value)
            double = np.float32(np.float64(double) + float(f"{value:.9g}"))
        if single != double:
            return values.tolist()
    raise AssertionError("no such leaves")


def test_float32_leaves(tmp_path: Path) -> None:
    values = leaves_that_lose_a_bit()
    nodes = small_forest().nodes
    n = len(values)
    shift = np.repeat(3 * np.arange(n), 3)
    columns = {name: np.tile(array, n) for name, array in nodes._asdict().items()}
    columns["right"] = np.where(columns["right"] >= 0, columns["right"] + shift, -1)
    columns["leaf"] = np.where(columns["leaf"] >= 0, np.repeat(np.arange(n), 3), -1)
    forest = small_forest(
        nodes=type(nodes)(**columns),
        tree_start=np.arange(n + 1) * 3,
        tree_output=[0] * n,
        values=np.array(values, np.float32)[:, None],
    )
    rows = np.zeros((1, 1), np.float32)
    assert exported(forest, rows, tmp_path) == forest.margin(rows).ravel().tolist()
    if IS_KNOWN:
        model = build([("<=", 0.5, value, value) for value in values], "float32")
        expected = treelite.gtil.predict(model, rows, pred_margin=True).ravel().tolist()
        assert expected == forest.margin(rows).ravel().tolist()
        assert compiled(model, rows, tmp_path) != expected


def test_a_bias_comes_first(tmp_path: Path) -> None:
    forest = small_forest(bias=[1e16], values=[[1.0], [1.0]])
    forest = forest.take([0, 0])
    rows = np.zeros((1, 1), np.float32)
    assert forest.margin(rows).tolist() == [[1e16]]
    assert exported(forest, rows, tmp_path) == [1e16]
    if IS_KNOWN:
        late = build([("<=", 0.5, 1.0, 1.0)] * 2, base_score=1e16)
        assert treelite.gtil.predict(late, rows.astype(float), pred_margin=True).ravel().tolist() == [
            1e16 + 2
        ]


def test_zeros_that_count_as_missing() -> None:
    X = np.random.default_rng(0).normal(size=(400, 2)) * (np.random.default_rng(1).random((400, 2)) < 0.6)
    y = np.where(X[:, 0] == 0, 2.0, X[:, 0]) + X[:, 1]
    model = lightgbm.LGBMRegressor(n_estimators=5, zero_as_missing=True, verbose=-1, n_jobs=1).fit(X, y)
    expected = model.predict(X)
    if IS_KNOWN:
        imported = treelite.frontend.from_lightgbm(model.booster_)
        assert np.abs(treelite.gtil.predict(imported, X).ravel() - expected).max() > 0.1
    try:
        forest = read(model)
    except UnsupportedModelError as error:
        assert "zero_as_missing" in str(error)  # noqa: PT017 - refused or exact, as docs/coverage.md says
    else:
        found = treelite.gtil.predict(to_treelite(forest), X, pred_margin=True).ravel()
        np.testing.assert_array_equal(expected, found)


def test_categories_above_2_to_the_24_are_refused(tmp_path: Path) -> None:
    nodes = small_forest().nodes._replace(threshold=np.zeros(3), category_set=np.array([0, -1, -1]))
    forest = small_forest(nodes=nodes, x_dtype="float64", category_sets=make_sets([[2**24]]))
    with pytest.raises(UnsupportedModelError, match="TL2cgen knows category codes up to 16,777,216"):
        write_treelite_library(forest, tmp_path / "model.treelite.so")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_categories_that_are_none(dtype: str, tmp_path: Path) -> None:
    """Negative, fractional, unseen, infinite and missing ones."""
    nodes = small_forest().nodes._replace(threshold=np.zeros(3), category_set=np.array([0, -1, -1]))
    forest = small_forest(nodes=nodes, x_dtype=dtype, category_sets=make_sets([[0, 3, 31, 32, 63, 64, 4000]]))
    codes = [-np.inf, -1, -0.99, -0.0, 0, 0.5, 1, 3.7, 31, 32, 63.5, 64, 4000, 2**24, 2**31, 2**32, 2**33]
    rows = np.array([*codes, 2.0**63, 2.0**64, 1e30, np.inf, np.nan], dtype)[:, None]
    expected = forest.margin(rows).ravel().tolist()
    assert set(expected) == {-1.0, 1.0}
    assert expected == exported(forest, rows, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threshold", [-0.0, 1e-45, -1e-45, 1e-310, 3.4028234663852886e38])
def test_thresholds_at_the_ends_of_what_floats_say(dtype: str, threshold: float, tmp_path: Path) -> None:
    nodes = small_forest().nodes._replace(threshold=np.array([threshold, 0, 0]))
    forest = small_forest(nodes=nodes, x_dtype=dtype, values=np.array([[1e-40], [-0.0]], dtype))
    at = np.array([threshold]).astype(dtype)
    with np.errstate(over="ignore"):
        around = [at, *(np.nextafter(at, np.array([end], dtype)) for end in (-np.inf, np.inf))]
    rows = np.concatenate([*around, np.array([0.0, -0.0, np.inf, -np.inf], dtype)])[:, None]
    assert exported(forest, rows, tmp_path) == forest.margin(rows).ravel().tolist()


@known_versions
def test_tl2cgen_cannot_cast_with_numpy_2() -> None:
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        tl2cgen.DMatrix(np.zeros((1, 1)), dtype="float32")


def test_the_page_names_the_versions_that_are_tested() -> None:
    text = (ROOT / "docs" / "treelite-export.md").read_text()
    assert "Treelite 4.8 and TL2cgen 1.0" in text
    assert text.count("\n| ") == 10
