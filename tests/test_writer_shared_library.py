"""The shared library: margins equal to the forest's to the bit, and clear words where something is missing."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np
import oracle
import pandas as pd
import pytest
import scipy.sparse
from sklearn.ensemble import RandomForestRegressor
from strategies import forests, hard_rows
from test_writer_c import CATEGORY_NUMBERS, category_forest, draw_forests, small_forest

from ensemble_compress.errors import InputError, ModelFileError, ToolchainError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import make_sets
from ensemble_compress.predict import CATEGORY_RULES
from ensemble_compress.readers import read
from ensemble_compress.writers import export_forest, shared_library
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library
from ensemble_compress.writers.verify import verify_shared_library


def test_margins_are_the_forests_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Twice as fast to compile; other tests compile what ships.
    monkeypatch.setattr(shared_library, "OPTIONS", ("-O1", *shared_library.OPTIONS[1:], "-DHIGHEST_LEVEL=1"))
    for n, forest in enumerate(draw_forests(12, forests(max_trees=10))):
        library = SharedLibrary(write_shared_library(forest, tmp_path / f"{n}.so"))
        # Eight rows are walked at once, and the last ones alone.
        for n_rows in (0, 1, 7, 8, 9, 100):
            rows = hard_rows(forest, n_rows)
            expected, actual = forest.margin(rows), library.margin(rows)
            assert expected.dtype == actual.dtype
            assert expected.tobytes() == actual.tobytes(), repr(forest)


@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", CATEGORY_RULES)
def test_the_library_itself_knows_the_rule_of_categories(tmp_path: Path, rule: str, x_dtype: str) -> None:
    forest = category_forest(rule, x_dtype=x_dtype)
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    rows = np.array(CATEGORY_NUMBERS)[:, None]
    np.testing.assert_array_equal(oracle.margins(forest, rows), library.margin(rows))


def test_the_empty_set_holds_nothing_in_the_library(tmp_path: Path) -> None:
    forest = category_forest("truncate", category_sets=make_sets([[]]))
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    assert library.margin([[-0.5], [0.0]]).tolist() == [[-1.0], [-1.0]]


@pytest.fixture(scope="module")
def trained() -> tuple[Forest, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(5000, 5))
    return read(RandomForestRegressor(20, max_leaf_nodes=200, random_state=0).fit(X[:500], X[:500, 0])), X


@pytest.mark.usefixtures("as_it_ships")
def test_blocks_and_threads_change_no_bit(tmp_path: Path, trained: tuple[Forest, np.ndarray]) -> None:
    forest, X = trained
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    expected = forest.margin(X)
    np.testing.assert_array_equal(expected, library.margin(X, n_jobs=1))
    np.testing.assert_array_equal(expected, library.margin(X, n_jobs=3))


def test_the_library_says_what_it_holds(tmp_path: Path, trained: tuple[Forest, np.ndarray]) -> None:
    forest, _ = trained
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    assert (library.n_features, library.n_outputs, library.n_trees) == (5, 1, 20)
    assert (library.x_dtype, library.margin_dtype, library.handles_nan) == (
        "float32",
        np.float64,
        forest.handles_nan,
    )


def test_its_interface_is_plain_c(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(write_shared_library(small_forest(), tmp_path / "plain.so")))
    row, out = (ctypes.c_float * 2)(0.0, 1.0), (ctypes.c_double * 2)()
    library.predict_margin(row, ctypes.c_size_t(2), out)
    assert library.ec_input_bytes() == 4
    assert list(out) == [-1.0, 1.0]


def test_a_file_written_again_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    first = SharedLibrary(write_shared_library(small_forest(), path))
    second = SharedLibrary(write_shared_library(small_forest(values=[[5.0], [6.0]]), path))
    assert second.margin([[0.0]]).tolist() == [[5.0]]
    assert first.margin([[0.0]]).tolist() == [[-1.0]]


@pytest.mark.parametrize("name", ["my-model", "big_model", "load_model", "größe", 'a"b\\x', "model.v2"])
def test_the_python_file_finds_a_library_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(shared_library, "OPTIONS", ("-O0", *shared_library.OPTIONS[1:], "-DHIGHEST_LEVEL=0"))
    _, _, file = export_forest(small_forest(), tmp_path / f"{name}.so", python=True)
    assert file.stem.isidentifier()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
    module = importlib.import_module(file.stem)
    assert module.Model().path == tmp_path / f"{name}.so"
    assert module.Model().predict([[0.0], [1.0]]).tolist() == [0, 1]
    assert f"from {file.stem} import Model  # {file.name} lies beside {name}.so\n" in str(module.__doc__)


def test_rows_are_checked(tmp_path: Path) -> None:
    library = SharedLibrary(write_shared_library(small_forest(handles_nan=False), tmp_path / "model.so"))
    with pytest.raises(InputError, match="X has 2 features, but the model is expecting 1"):
        library.margin([[1.0, 2.0]])
    with pytest.raises(InputError, match="without a rule for missing values"):
        library.margin([[np.nan]])


@pytest.mark.parametrize("absent_is_missing", [False, True])
def test_what_only_the_forest_can_read_is_refused(tmp_path: Path, absent_is_missing: bool) -> None:
    """An entry that is not stored goes left at the split as a 0, and right as a missing value."""
    forest = small_forest(absent_is_missing=absent_is_missing, categories=None, feature_names=("size",))
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    sparse = scipy.sparse.csr_array([[0.0], [1.0]])
    for X in (sparse, scipy.sparse.coo_matrix(sparse), pd.DataFrame({"size": [0.0, 1.0]})):
        with pytest.raises(
            InputError, match=rf"X is a {type(X).__name__}; expected a dense .* Pass forest\.rows\(X\)"
        ):
            library.margin(X)
        assert library.margin(forest.rows(X)).tobytes() == forest.margin(X).tobytes()


def test_verification_finds_a_library_of_another_forest(tmp_path: Path) -> None:
    write_shared_library(small_forest(), tmp_path / "model.so")
    verify_shared_library(small_forest(), tmp_path / "model.so")
    with pytest.raises(ToolchainError, match=r"model\.so answers differently from Python on"):
        verify_shared_library(small_forest(bias=[1.0]), tmp_path / "model.so")


def test_nothing_half_written_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.so").write_bytes(b"old")
    monkeypatch.setattr(shared_library, "OPTIONS", ("-no-such-option",))
    with pytest.raises(ToolchainError, match="no-such-option"):
        write_shared_library(small_forest(), tmp_path / "model.so")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.so": b"old"}


def test_without_a_compiler_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r'pip install "ensemble-compress\[cross\]"'):
        write_shared_library(small_forest(), tmp_path / "model.so")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("as_it_ships")
def test_ziglang_builds_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    forest = small_forest()
    verify_shared_library(forest, write_shared_library(forest, tmp_path / "model.so"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(ModelFileError, match=r"text\.so cannot be loaded as a shared library"):
        SharedLibrary(tmp_path / "text.so")
    with pytest.raises(ModelFileError, match=r"absent\.so cannot be loaded"):
        SharedLibrary(tmp_path / "absent.so")
    foreign = importlib.util.find_spec("numpy._core._multiarray_umath")
    assert foreign is not None
    assert foreign.origin is not None
    with pytest.raises(ModelFileError, match="is a shared library without ec_abi_version"):
        SharedLibrary(foreign.origin)


def test_a_forest_of_no_features_answers(tmp_path: Path) -> None:
    leaf = small_forest().replace_subtrees([0], [[2.5]])
    parts = {name: getattr(leaf, name) for name in leaf.__dataclass_fields__} | {"n_features": 0}
    library = SharedLibrary(write_shared_library(Forest(**parts), tmp_path / "model.so"))
    assert library.margin(np.empty((9, 0))).tolist() == [[2.5]] * 9
