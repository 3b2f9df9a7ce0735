"""The heap walk of the shared library: which trees it runs, and the same bits as Python's from every way through it."""

from pathlib import Path

import numpy as np
import pytest
from library_cases import check, fit, joined
from sklearn.ensemble import RandomForestClassifier
from strategies import forests, hard_rows
from test_writer_c import draw_forests

from ensemble_compress.engines import bit_layout
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.writers import library_heaps, shared_library
from ensemble_compress.writers.library_tables import LibraryTables
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library


@pytest.fixture(autouse=True)
def always_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trees are tried by bit vectors, a search always pays, and sources are compiled in a third of the time."""
    monkeypatch.setattr(bit_layout, "MOST_LEAVES", 0)
    monkeypatch.setattr(library_heaps, "gain", lambda *_: 1.0)
    monkeypatch.setattr(shared_library, "OPTIONS", ("-O1", *shared_library.OPTIONS[1:], "-DHIGHEST_LEVEL=1"))


def fit_complete(max_depth: int, *, misses: bool) -> Forest:
    X = np.random.default_rng(1).normal(size=(900, 8)).astype(np.float32)
    y = np.digitize(X[:, 0] * X[:, 1] + X[:, 2], [-0.5, 0.5])
    if misses:
        X[::5, 3] = np.nan
    return read(RandomForestClassifier(5, max_depth=max_depth, random_state=0).fit(X, y))


@pytest.fixture(scope="module")
def depths() -> Forest:
    """Eight trees that are walked together are deep ones and complete ones of several depths."""
    return joined([fit(3, None), fit_complete(6, misses=False), fit(4, 90), fit_complete(7, misses=True)])


def test_deep_trees_and_complete_ones_are_heaps_and_nothing_else(depths: Forest) -> None:
    tables = LibraryTables.of(depths)
    runs = tables.arrays["RUNS"][1]
    assert [(run["is_heaps"], run["is_packed"]) for run in runs] == [(1, 0)]
    assert {0, 1} == set(tables.arrays["HEAPS"][1]["is_deep"][:-1].tolist())
    assert [len(tables.arrays["VALUES"][1]), len(tables.arrays["RECORDS"][1])] == [0, 0]


@pytest.mark.parametrize("option", ["-DEC_AS_IT_IS", "-DNO_ASSEMBLER"])
def test_trees_of_several_depths_give_the_bits_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depths: Forest, option: str
) -> None:
    monkeypatch.setattr(shared_library, "OPTIONS", (*shared_library.OPTIONS, option))
    library = SharedLibrary(write_shared_library(depths, tmp_path / "model.so"))
    check(depths, library)
    # More than a chunk's rows, with and without missing values.
    rows = np.random.default_rng(2).normal(size=(9000, 8)).astype(np.float32)
    for missing in ([], [8999], [640, 31]):
        rows[missing, 3] = np.nan
        assert depths.margin(rows).tobytes() == library.margin(rows, n_jobs=1).tobytes()


def test_a_search_that_does_not_pay_leaves_the_trees_packed(
    monkeypatch: pytest.MonkeyPatch, depths: Forest
) -> None:
    monkeypatch.setattr(library_heaps, "gain", lambda *_: 0.0)
    numbers = LibraryTables.of(depths).numbers
    assert (numbers["HAS_HEAPS"], numbers["HAS_PACKED"]) == ("0", "1")


def test_forests_of_all_kinds_give_the_bits_of_python_as_heaps(tmp_path: Path) -> None:
    for n, forest in enumerate(draw_forests(5, forests(max_trees=10))):
        library = SharedLibrary(write_shared_library(forest, tmp_path / f"{n}.so"))
        check(forest, library)
        rows = hard_rows(forest, 300)
        assert forest.margin(rows).tobytes() == library.margin(rows, n_jobs=1).tobytes()
