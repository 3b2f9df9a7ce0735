"""Treelite's model and TL2cgen's library answer as the forest does, where the writer says so to the bit."""

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import treelite
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import forests, hard_rows
from test_writer_c import draw_forests, small_forest

from ensemble_compress.errors import MissingPackageError, SlowExportWarning, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets
from ensemble_compress.readers import read
from ensemble_compress.writers.treelite import (
    read_treelite_margin,
    to_treelite,
    treelite_rows,
    write_treelite_library,
)

LINKS = ("identity", "sigmoid")
QUARTERS = st.integers(-64, 64).map(lambda n: n / 4)


def is_exact(forest: Forest) -> bool:
    """Whether the writer promises margins to the bit."""
    averages = forest.divisor == 1.0 or (forest.divisor.is_integer() and forest.n_trees + 1 <= forest.divisor)
    return averages and (forest.values.dtype == np.float64 or forest.x_dtype == "float32")


def gtil_margin(forest: Forest, X: Any) -> np.ndarray:
    margin = treelite.gtil.predict(to_treelite(forest), treelite_rows(forest, X), pred_margin=True)
    return np.asarray(margin).reshape(len(X), forest.n_outputs)


@settings(max_examples=60)
@given(forests(links=LINKS))
def test_margins_are_the_forests_to_the_bit(forest: Forest) -> None:
    rows = hard_rows(forest, 40)
    expected, actual = forest.margin(rows), gtil_margin(forest, rows)
    if is_exact(forest):
        assert expected.dtype == actual.dtype
        np.testing.assert_array_equal(expected, actual)


@settings(max_examples=60)
@given(forests(links=LINKS, values=QUARTERS))
def test_other_divisors_cost_no_more_than_roundings(forest: Forest) -> None:
    rows = hard_rows(forest, 40)
    expected, actual = forest.margin(rows), gtil_margin(forest, rows)
    # Leaves of up to 16 / 0.3 in six trees and a bias: a few float32 roundings of sums below 400.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=400 * 2**-22)


@pytest.mark.parametrize("link", ["identity", "sigmoid", "exp", "softplus", "signed_square", "step"])
def test_links_become_postprocessors(link: str) -> None:
    classes = np.array([0, 1]) if link in ("sigmoid", "step") else None
    forest = small_forest(link=link, link_scale=2.5 if link == "sigmoid" else 1.0, classes=classes)
    X = np.array([[0.0], [1.0]], np.float32)
    expected = forest.predict_proba(X)[:, 1] if classes is not None else forest.predict(X)
    actual = treelite.gtil.predict(to_treelite(forest), treelite_rows(forest, X)).ravel()
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_link_that_treelite_lacks_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"Treelite has no link 'softmax' for 1 output\(s\) of a regression model"
    ):
        to_treelite(small_forest(link="softmax", classes=None))


def test_a_scale_that_treelite_would_round_is_refused() -> None:
    text = r"no link 'sigmoid of 0.7 times the margin': it keeps the factor, sigmoid_alpha, as a float32, .* 0.699999988"
    with pytest.raises(UnsupportedModelError, match=text):
        to_treelite(small_forest(link="sigmoid", link_scale=0.7))


def test_the_compiled_library_gives_the_same_bits(tmp_path: Path) -> None:
    n_refused = 0
    for n, forest in enumerate(draw_forests(20, forests(links=LINKS))):
        rows = hard_rows(forest, 60)
        try:
            path = write_treelite_library(forest, tmp_path / f"{n}.treelite.so")
        except UnsupportedModelError as error:
            assert "TL2cgen takes a number at the threshold" in str(error)  # noqa: PT017
            n_refused += 1
            continue
        expected = forest.margin(rows) if is_exact(forest) else gtil_margin(forest, rows)
        np.testing.assert_array_equal(expected, read_treelite_margin(forest, path, rows), repr(forest))
    assert n_refused <= 2


def test_minus_infinity_as_a_threshold_goes_right_for_all_other_numbers(tmp_path: Path) -> None:
    nodes = small_forest().nodes
    forest = small_forest(nodes=nodes._replace(threshold=np.array([-np.inf, 0, 0])))
    rows = np.array([[-np.inf], [np.finfo(np.float32).min], [0.0]], np.float32)
    path = write_treelite_library(forest, tmp_path / "model.treelite.so")
    assert read_treelite_margin(forest, path, rows).ravel().tolist() == [-1.0, 1.0, 1.0]


LOW_BITS = (0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000, 0x100000001)


def chain(thresholds: Sequence[float], nan_left: Sequence[bool]) -> Forest:
    """A tree on one float64 feature that asks for one threshold after the other, with a leaf for each answer."""
    n = len(thresholds)
    columns = {
        "feature": [-1 if j % 2 else 0 for j in range(2 * n)] + [-1],
        "threshold": [0.0 if j % 2 else thresholds[j // 2] for j in range(2 * n)] + [0.0],
        "right": [-1 if j % 2 else j + 2 for j in range(2 * n)] + [-1],
        "nan_left": [False if j % 2 else nan_left[j // 2] for j in range(2 * n)] + [False],
        "category_set": [-1] * (2 * n + 1),
        "leaf": [j // 2 if j % 2 else -1 for j in range(2 * n)] + [n],
        "cover": [0.0] * (2 * n + 1),
        "node_id": list(range(2 * n + 1)),
    }
    values = np.arange(n + 1.0)[:, None]
    nodes = Nodes(**{name: np.array(column) for name, column in columns.items()})
    return small_forest(nodes=nodes, tree_start=[0, 2 * n + 1], values=values, x_dtype="float64")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "lows", [(a,) for a in LOW_BITS] + [(0xFFFFFFFE, 0x100000000), (0xFFFFFFFD, 0x100000001)]
)
def test_doubles_that_tl2cgen_takes_for_missing_are_moved(
    tmp_path: Path, sign: int, lows: tuple[int, ...]
) -> None:
    """Thresholds among the numbers that end in 32 ones, and rows on and around them; a missing value goes either way."""
    around = sign * (np.arange(-3, 4, dtype=np.int64) + 0x3FF00000FFFFFFFF).view(np.float64)
    thresholds = np.sort(sign * (np.array(lows) + 0x3FF0000000000000).view(np.float64))
    for nan_left in (False, True):
        forest = chain(thresholds.tolist(), [nan_left] * len(lows))
        path = write_treelite_library(forest, tmp_path / "model.treelite.so")
        rows = np.append(around, np.nan)[:, None]
        expected = forest.margin(rows)
        np.testing.assert_array_equal(expected, gtil_margin(forest, rows))
        np.testing.assert_array_equal(expected, read_treelite_margin(forest, path, rows))


def test_a_moved_number_keeps_its_category(tmp_path: Path) -> None:
    nodes = small_forest().nodes._replace(threshold=np.zeros(3), category_set=np.array([0, -1, -1]))
    forest = small_forest(x_dtype="float64", nodes=nodes, category_sets=make_sets([[1]]))
    below_one, below_two = np.nextafter([1.0, 2.0], 0.0)
    path = write_treelite_library(forest, tmp_path / "model.treelite.so")
    rows = [[below_one], [1.0], [below_two], [2.0]]
    assert read_treelite_margin(forest, path, rows).ravel().tolist() == [1.0, -1.0, -1.0, 1.0]


@pytest.mark.parametrize("sign", [1, -1])
def test_thresholds_on_both_sides_of_a_number_that_tl2cgen_misreads_are_refused(
    tmp_path: Path, sign: int
) -> None:
    misread = sign * np.array([0x3FF00000FFFFFFFF], np.uint64).view(np.float64)[0]
    forest = chain([float(np.nextafter(misread, -np.inf)), float(misread)], [False, False])
    with pytest.raises(
        UnsupportedModelError,
        match=r"tree 0, node 0: TL2cgen takes a number at the threshold [-\d.]+ for a missing .* next float is a threshold too",
    ):
        write_treelite_library(forest, tmp_path / "model.treelite.so")
    assert list(tmp_path.iterdir()) == []


def test_a_threshold_in_a_column_of_categories_that_tl2cgen_misreads_is_refused(tmp_path: Path) -> None:
    """A column that is asked for numbers too: its misread numbers move towards zero, so that they keep their category."""
    misread = -np.array([0x3FF00000FFFFFFFF], np.uint64).view(np.float64)[0]
    nodes = chain([float(misread), 0.0], [False, False]).nodes
    forest = chain([0.0, 0.0], [False, False])
    parts = {name: getattr(forest, name) for name in forest.__dataclass_fields__}
    sets = nodes.category_set.copy()
    sets[2] = 0
    parts |= {"nodes": nodes._replace(category_set=sets), "category_sets": make_sets([[1]])}
    with pytest.raises(
        UnsupportedModelError,
        match=r"tree 0, node 0: TL2cgen takes .* threshold -1.* feature 0 has categories",
    ):
        write_treelite_library(Forest(**parts), tmp_path / "model.treelite.so")


def test_a_lightgbm_model_with_a_threshold_just_above_a_short_negative_number_is_exported(
    tmp_path: Path,
) -> None:
    """LightGBM's thresholds are the floats above the middle of two values; above -1.25 that one ends in 32 ones."""
    X = np.repeat([[-2.0], [-0.5]], 20, axis=0)
    model = lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=5, verbose=-1, n_jobs=1)
    forest = read(model.fit(X, X[:, 0]))
    threshold = forest.nodes.threshold[0]
    assert threshold == np.nextafter(-1.25, 0)
    rows = np.array([threshold, -1.25, np.nextafter(threshold, 0), -2.0, 3.0, np.nan])[:, None]
    path = write_treelite_library(forest, tmp_path / "model.treelite.so")
    np.testing.assert_array_equal(model.predict(rows), read_treelite_margin(forest, path, rows)[:, 0])


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_treelite_library(small_forest(), tmp_path / "model.treelite.so")
    assert tuple(capfd.readouterr()) == ("", "")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_tl2cgen(name: str, *others: Any, **more: Any) -> Any:
        if name == "tl2cgen":
            raise ImportError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without_tl2cgen)
    with pytest.raises(MissingPackageError, match=r'pip install "ensemble-compress\[treelite-lib\]"'):
        write_treelite_library(small_forest(), tmp_path / "model.treelite.so")


def test_a_forest_that_compiles_for_long_warns_and_names_the_library_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble_compress.writers.treelite.MANY_NODES", 2)
    monkeypatch.setattr("ensemble_compress.writers.treelite.SECONDS_A_NODE", 70)
    text = r"each of 3 nodes .* may take 4 minute\(s\) or more; .* at most 2 nodes\. Export \"model\.so\" instead"
    with pytest.warns(SlowExportWarning, match=text) as caught:
        path = write_treelite_library(small_forest(), tmp_path / "model.treelite.so")
    assert len(caught) == 1
    assert read_treelite_margin(small_forest(), path, [[0.0]]).tolist() == [[-1.0]]
    monkeypatch.setattr("ensemble_compress.writers.treelite.MANY_NODES", 3)
    write_treelite_library(small_forest(), path)


def test_a_large_forest_is_split_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_compress.writers.treelite.NODES_A_FILE", 4)
    forest = next(f for f in draw_forests(40, forests(links=LINKS, x_dtypes=("float32",))) if f.n_nodes > 12)
    path = write_treelite_library(forest, tmp_path / "model.treelite.so")
    rows = hard_rows(forest, 30)
    np.testing.assert_array_equal(gtil_margin(forest, rows), read_treelite_margin(forest, path, rows))
