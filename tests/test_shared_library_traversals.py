"""Every traversal of the shared library: which trees it runs how, the same bits from each, and no read outside an array."""

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_cases import assert_bit_vectors_have_oblivious_trees_and_others, check, fit, joined, oblivious
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from strategies import forests, hard_rows
from test_writer_c import draw_forests, small_forest

from ensemble_compress.errors import ToolchainError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.writers import library_bits, library_packed, shared_library
from ensemble_compress.writers.library_tables import LibraryTables
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library
from ensemble_compress.writers.toolchain import compile_c


@pytest.fixture(scope="module")
def mixed() -> Forest:
    """Small trees, large ones, and a few small ones between them."""
    small, large = fit(30, 20), fit(10, None)
    return joined([small, large, small.take([0, 1]), large, fit(12, 60)])


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile in a third of the time; other tests compile what ships."""
    monkeypatch.setattr(shared_library, "OPTIONS", ("-O1", *shared_library.OPTIONS[1:], "-DHIGHEST_LEVEL=1"))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_kind_of_vectors_gives_the_bits_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: Forest, level: int
) -> None:
    """A processor that lacks the vectors of a level runs the next lower one."""
    monkeypatch.setattr(shared_library, "OPTIONS", (*shared_library.OPTIONS, f"-DHIGHEST_LEVEL={level}"))
    check(mixed, SharedLibrary(write_shared_library(mixed, tmp_path / "model.so")))


def test_runs_of_small_trees_are_bit_vectors_and_the_others_are_walked(mixed: Forest) -> None:
    runs = LibraryTables.of(mixed).arrays["RUNS"][1]
    expected = [(0, 30), (30, 40), (40, 42), (42, 52), (52, 64)]
    assert expected == [(run["first_tree"], run["last_tree"]) for run in runs]
    are_bits = [True, False, False, False, True]
    assert are_bits == (runs["fewest_rows"] > 0).tolist()


@pytest.mark.parametrize("step", [1e-12, 1e-320])
def test_the_rows_from_which_bit_vectors_pay_fit_their_field(
    monkeypatch: pytest.MonkeyPatch, mixed: Forest, step: float
) -> None:
    monkeypatch.setattr(library_bits, "STEP_NS", step)
    monkeypatch.setattr(library_bits, "RANK_NS", 0.0)
    runs = LibraryTables.of(mixed).arrays["RUNS"][1]
    assert runs["fewest_rows"].tolist() == [2**31, 0, 0, 0, 2**31]


@pytest.mark.usefixtures("quickly")
def test_too_many_columns_for_the_stack_are_cut_into_runs(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
    model = RandomForestRegressor(64, max_leaf_nodes=40, max_features=0.1, random_state=0)
    forest = read(model.fit(X, X[:, :50].sum(axis=1)))
    tables = LibraryTables.of(forest)
    assert len(tables.arrays["RUNS"][1]) > 1
    assert 0 < int(tables.numbers["MOST_COLUMNS"]) <= 512
    check(forest, SharedLibrary(write_shared_library(forest, tmp_path / "model.so")))


@pytest.mark.usefixtures("quickly")
def test_trees_that_cannot_be_packed_are_walked_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: Forest
) -> None:
    monkeypatch.setattr(library_packed, "MOST_COLUMNS", 12)
    assert LibraryTables.of(mixed).numbers["HAS_PLAIN"] == "1"
    check(mixed, SharedLibrary(write_shared_library(mixed, tmp_path / "mixed.so")))
    for most, forest in enumerate(draw_forests(4, forests(max_trees=10))):
        monkeypatch.setattr(library_packed, "MOST_COLUMNS", most)
        check(forest, SharedLibrary(write_shared_library(forest, tmp_path / f"{most}.so")))


@pytest.mark.usefixtures("quickly")
def test_chunks_of_rows_change_no_bit_wherever_a_value_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: Forest
) -> None:
    large = mixed.take(np.arange(30, 40))
    options = (*shared_library.OPTIONS, "-DKEYS_ON_STACK=2048")
    monkeypatch.setattr(shared_library, "OPTIONS", options)
    library = SharedLibrary(write_shared_library(large, tmp_path / "model.so"))
    rows = np.random.default_rng(3).normal(size=(1000, 8)).astype(np.float32)
    for missing in ([], [999], [640, 31]):
        rows[missing, 2] = np.nan
        assert large.margin(rows).tobytes() == library.margin(rows, n_jobs=1).tobytes()


@pytest.mark.usefixtures("quickly")
def test_trees_of_many_outputs_and_features_of_many_thresholds_are_summed_in_order(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    y = np.digitize(X[:, 0] * X[:, 1] + X[:, 2], [-0.5, 0.5])
    forest = read(GradientBoostingClassifier(n_estimators=150, max_depth=4, random_state=0).fit(X, y))
    tables = LibraryTables.of(forest)
    assert (tables.numbers["HAS_BITS"], tables.numbers["WIDTH"], forest.n_outputs) == ("1", "1", 3)
    assert int(tables.numbers["MOST_COLUMNS"]) > 3
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    check(forest, library)
    rows = hard_rows(forest, 600)
    assert forest.margin(rows).tobytes() == library.margin(rows, n_jobs=1).tobytes()


@pytest.mark.usefixtures("quickly")
def test_rows_of_both_types_are_cast_as_the_model_does(tmp_path: Path) -> None:
    parts = {field.name: getattr(fit(9, 30), field.name) for field in fields(Forest)}
    for x_dtype in ("float32", "float64"):
        forest = Forest(**parts | {"x_dtype": x_dtype})
        library = ctypes.CDLL(str(write_shared_library(forest, tmp_path / f"{x_dtype}.so")))
        for function, dtype in ((library.predict_margin, "float32"), (library.predict_margin_f64, "float64")):
            X = np.random.default_rng(1).normal(size=(200, 8)).astype(dtype)
            out = np.empty((len(X), forest.n_outputs))
            function(
                ctypes.c_void_p(X.ctypes.data), ctypes.c_size_t(len(X)), ctypes.c_void_p(out.ctypes.data)
            )
            np.testing.assert_array_equal(forest.margin(X), out)


@pytest.mark.usefixtures("quickly")
def test_a_forest_without_trees_answers_its_bias(tmp_path: Path) -> None:
    forest = small_forest(bias=[2.5]).take([])
    library = SharedLibrary(write_shared_library(forest, tmp_path / "model.so"))
    assert library.margin(np.zeros((70, 1))).tolist() == [[2.5]] * 70


def test_many_threads_at_once_get_the_same_bits(tmp_path: Path, mixed: Forest) -> None:
    library = SharedLibrary(write_shared_library(mixed, tmp_path / "model.so"))
    rows = hard_rows(mixed, 500)
    expected = mixed.margin(rows).tobytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: library.margin(rows, n_jobs=1).tobytes(), range(40)))
    assert {expected} == set(answers)


# -- no read outside an array ---------------------------------------------------------------------------------------

DRIVER = """
#define TABLES_ELSEWHERE
#include "shared_library.c"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    const size_t n_rows = (size_t)atoi(argv[1]), size = n_rows * N_FEATURES;
    VALUE *rows = malloc(size * sizeof *rows);
    double *out = malloc(n_rows * N_OUTPUTS * sizeof *out), *answers = malloc(n_rows * N_ANSWERS * sizeof *out);
    int32_t *labels = malloc(n_rows * sizeof *labels);
    if (argc != 2 || fread(rows, sizeof *rows, size, stdin) != size) return 1;
    if (sizeof(VALUE) == 4) {
        predict_margin((float *)rows, n_rows, out);
        predict_labels((float *)rows, n_rows, labels);
        predict_answers((float *)rows, n_rows, answers);
    } else {
        predict_margin_f64((double *)rows, n_rows, out);
        predict_labels_f64((double *)rows, n_rows, labels);
        predict_answers_f64((double *)rows, n_rows, answers);
    }
    fwrite(out, sizeof *out, n_rows * N_OUTPUTS, stdout);
    free(rows); free(out); free(answers); free(labels);
    return 0;
}
"""


def table_apart(name: str, c_type: str, array: NDArray[Any]) -> str:
    """A table as an array of its own, behind which the sanitizer watches."""
    numbers = ",".join(map(str, array.tobytes())) or "0"
    return (
        f"static const unsigned char {name}_bytes[] __attribute__((aligned(64))) = {{{numbers}}};\n"
        f"#define {name} ((const {c_type} *)(const void *){name}_bytes)\n"
    )


def sanitizer(folder: Path) -> list[str]:
    """Options of a compiler that finds reads outside of arrays, or, with Zig, at least undefined behaviour."""
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    options = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    try:
        compile_c([probe], folder / "probe", options)
    except ToolchainError:
        return ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    return options


def run_sanitized(
    forest: Forest, folder: Path, rows: NDArray[Any], options: list[str]
) -> NDArray[np.float64]:
    shared_library.write_sources(forest, folder, "model")
    numbers, arrays = shared_library._tables(forest, "model")
    lines = [f"#define {key} {value}\n" for key, value in numbers.items()]
    lines += [table_apart(key, *table) for key, table in arrays.items()]
    (folder / "tables.h").write_text("".join(lines), "ascii")
    (folder / "driver.c").write_text(DRIVER, "ascii")
    compile_c(
        [folder / "driver.c"],
        folder / "driver",
        ["-O1", "-g", "-DHIGHEST_LEVEL=1", "-DNO_ASSEMBLER", *options],
        ["-lm"],
        folder=folder,
    )
    done = subprocess.run(
        [folder / "driver", str(len(rows))], input=rows.tobytes(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, ""), repr(forest)
    return np.frombuffer(done.stdout, np.float64).reshape(len(rows), -1)


def test_nothing_outside_an_array_is_read(tmp_path: Path, mixed: Forest) -> None:
    options = sanitizer(tmp_path)
    drawn = draw_forests(2, forests(max_trees=12, max_splits=12))
    trained = joined([mixed.take(np.arange(20, 45)), oblivious(mixed)])
    assert_bit_vectors_have_oblivious_trees_and_others(trained, 75)
    for n, forest in enumerate([trained, *drawn]):
        (folder := tmp_path / str(n)).mkdir()
        rows = hard_rows(forest, 75)
        actual = run_sanitized(forest, folder, rows, options)
        np.testing.assert_array_equal(forest.margin(rows), actual)
