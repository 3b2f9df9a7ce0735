"""The C export, compiled and run: its answers are Python's integers to the bit, on forests and rows made to differ."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from strategies import forests, hard_rows

from ensemble_compress import emulate, sizes
from ensemble_compress.errors import InputError, ParameterError, ToolchainError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets
from ensemble_compress.predict import CATEGORY_RULES
from ensemble_compress.readers import read
from ensemble_compress.writers import export_forest
from ensemble_compress.writers.c import to_c, write_c
from ensemble_compress.writers.toolchain import compile_c, find_compiler
from ensemble_compress.writers.verify import rows_at_thresholds, verify_c

WARNINGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Wshadow", "-Wstrict-prototypes"),
    *("-Wmissing-prototypes", "-Werror"),
)


def draw_forests(n: int, strategy: st.SearchStrategy[Forest]) -> list[Forest]:
    """`n` examples of a strategy, the same each time: many models are compiled as one program, which saves minutes."""
    drawn: list[Forest] = []

    @settings(max_examples=n, phases=[Phase.generate], derandomize=True, database=None)
    @given(strategy)
    def collect(forest: Forest) -> None:
        drawn.append(forest)

    collect()
    return drawn


def check_together(models: Sequence[Forest], optimize: sizes.Optimize, options: Sequence[str]) -> None:
    headers = {}
    for n, forest in enumerate(models):
        text = to_c(forest, name=f"m{n}", optimize=optimize)[f"m{n}.h"]
        headers[f"m{n}"] = (forest, text, emulate.cast_rows(forest, hard_rows(forest, 100), "float"))
    answers = emulate.run_headers(headers, tuple(options))
    for name, (forest, _, rows) in headers.items():
        np.testing.assert_array_equal(sizes.emulate_scores(forest, rows), answers[name].scores, repr(forest))
        if forest.classes is not None:
            expected = sizes.emulate_labels(forest, rows)
            np.testing.assert_array_equal(expected, answers[name].labels, repr(forest))
        elif forest.n_outputs == 1:
            np.testing.assert_array_equal(answers[name].scores[:, 0], answers[name].labels)


@pytest.mark.parametrize("optimize", ["size", "speed"])
def test_any_forest_answers_as_python_does_on_hard_rows(optimize: sizes.Optimize) -> None:
    check_together(draw_forests(80, forests()), optimize, ("-O1", *WARNINGS))


@pytest.mark.parametrize("optimize", ["size", "speed"])
@pytest.mark.parametrize("rule", CATEGORY_RULES)
def test_the_code_itself_knows_the_rule_of_categories(rule: str, optimize: sizes.Optimize) -> None:
    """`Forest.rows` rewrites fractions, so the program must be given the numbers as they are."""
    forest = category_forest(rule)
    expected = [[1.0 if oracle.goes_left(forest, 0, x) else -1.0] for x in CATEGORY_NUMBERS]
    rows = np.array(CATEGORY_NUMBERS, np.float32)[:, None]
    text = to_c(forest, name="m", optimize=optimize)["m.h"]
    answers = emulate.run_headers({"m": (forest, text, rows)}, ("-O1", *WARNINGS))
    np.testing.assert_array_equal(np.array(expected) > 0, answers["m"].scores > 0)
    assert {
        "floor": "category below it",
        "truncate": "-0.5 and 0.5 are category 0",
        "exact": "is no category",
    }[rule] in text


def test_undefined_behaviour_is_nowhere() -> None:
    kinds = "undefined,address" if shutil.which("gcc") else "undefined"  # zig has no runtime for addresses
    options = ("-O1", f"-fsanitize={kinds}", "-fno-sanitize-recover=all")
    check_together(draw_forests(12, forests()), "size", options)


def test_clang_compiles_it_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -m ziglang cc -fno-sanitize=undefined")
    check_together(draw_forests(15, forests()), "size", ("-O1", *WARNINGS))


def test_exact_forests_decide_as_the_forest_itself_does() -> None:
    powers = st.integers(-64, 64).map(lambda n: n / 16)
    for forest in draw_forests(60, forests(values=powers, classifier=True)):
        rows = emulate.cast_rows(forest, hard_rows(forest, 50), "float")
        expected = forest.decide(forest.margin(rows))
        np.testing.assert_array_equal(expected, sizes.emulate_labels(forest, rows))


def test_a_trained_forest_gives_its_labels_from_header_and_source(tmp_path: Path) -> None:
    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(20, max_depth=6, random_state=0).fit(X[:900], y[:900])
    forest = read(model)
    expected = model.predict(X[900:])
    for optimize in ("size", "speed"):
        labels = emulate.run_c(forest, X[900:], optimize=optimize).labels  # type: ignore[arg-type]
        np.testing.assert_array_equal(expected, forest.classes[labels])  # type: ignore[index]
    files = write_c(forest, tmp_path / "digits.c", name="digits")
    assert [tmp_path / "digits.h", tmp_path / "digits.c"] == files
    verify_c(forest, files, name="digits")


def test_integer_rows_need_no_float_at_all() -> None:
    X, y = load_digits(return_X_y=True)
    forest = read(RandomForestClassifier(10, max_depth=5, random_state=0).fit(X, y))
    expected = sizes.emulate_scores(forest, X)
    for input in ("int16", "int8"):
        text = to_c(forest, input=input)["model.h"]  # type: ignore[arg-type]
        assert "float" not in text.split("*/", 1)[1]
        np.testing.assert_array_equal(expected, emulate.run_c(forest, X, input=input).scores)  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        expected, emulate.run_c(forest, X, float_input=False, optimize="speed").scores
    )


@pytest.mark.parametrize("optimize", ["size", "speed"])
def test_integer_rows_around_every_threshold(optimize: sizes.Optimize) -> None:
    headers = {}
    for n, forest in enumerate(draw_forests(20, forests())):
        # Thresholds that int8 can hold: whole numbers, and fractions that are rounded down.
        threshold = np.clip(np.nan_to_num(forest.nodes.threshold), -100, 100) * (
            forest.nodes.category_set < 0
        )
        forest = replace(forest, nodes=forest.nodes._replace(threshold=threshold))
        around = np.unique(np.floor(threshold)[:, None] + [-1, 0, 1])
        rows = (
            np.random.default_rng(n)
            .choice([*around, *range(-2, 71)], (60, forest.n_features))
            .astype(np.int8)
        )
        headers[f"m{n}"] = (
            forest,
            to_c(forest, name=f"m{n}", input="int8", optimize=optimize)[f"m{n}.h"],
            rows,
        )
    answers = emulate.run_headers(headers, ("-O1", *WARNINGS))
    for name, (forest, _, rows) in headers.items():
        np.testing.assert_array_equal(sizes.emulate_scores(forest, rows), answers[name].scores, repr(forest))


def test_rows_that_an_integer_type_cannot_hold_are_refused() -> None:
    forest = read(RandomForestClassifier(2, random_state=0).fit([[0], [3]], [0, 1]))
    with pytest.raises(
        InputError, match=r"row 1 holds 0\.5 in column 0; expected integers from -32768 to 32767"
    ):
        emulate.run_c(forest, [[1.0], [0.5]], float_input=False)


def test_thresholds_that_an_integer_type_cannot_hold_are_refused() -> None:
    forest = read(RandomForestClassifier(2, bootstrap=False, random_state=0).fit([[0], [1e6]], [0, 1]))
    with pytest.raises(
        UnsupportedModelError, match=r"threshold 500000 of feature 0 is outside int16_t .* float_input=True"
    ):
        to_c(forest, float_input=False)


CATEGORY_NUMBERS = (
    *(0.0, -0.0, 1.0, 2.0, 33.0, 40.0, -1.0, -2.0, 0.5, 0.999, 1.5, 2.5, 33.25, 39.999, 31.5, 32.5),
    *(
        -0.5,
        -0.999,
        -1.5,
        1e-40,
        -1e-40,
        8388607.5,
        16777216.0,
        3e9,
        -3e9,
        1e30,
        -1e30,
        np.inf,
        -np.inf,
        np.nan,
    ),
)


def category_forest(rule: str, **others: Any) -> Forest:
    """Categories 0, 2 and 33 go to the leaf 1, all else to -1."""
    nodes = small_forest().nodes._replace(
        threshold=np.zeros(3), category_set=np.array([0, -1, -1]), leaf=np.array([-1, 1, 0])
    )
    fields = {"nodes": nodes, "category_sets": make_sets([[0, 2, 33]]), "category_rule": rule}
    return small_forest(**fields | others)


def small_forest(**others: Any) -> Forest:
    """One split at 0.5 with the leaves -1 and 1, and whatever fields are given."""
    columns = ([0, -1, -1], [0.5, 0, 0], [2, -1, -1], [0] * 3, [-1] * 3, [-1, 0, 1], [0] * 3, [0] * 3)
    fields: dict[str, Any] = {
        "nodes": Nodes(*map(np.array, columns)),
        "tree_start": [0, 3],
        "tree_output": [0],
        "values": [[-1.0], [1.0]],
        "bias": [0.0],
        "n_features": 1,
        "classes": np.array([0, 1]),
    }
    return Forest(**fields | others)


@pytest.mark.parametrize("name", ["", "2fast", "my-model", "int", "class", "é", "a b", "_hidden", "model;"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="expected a C identifier: letters, digits and underscores"):
        to_c(small_forest(), name=name)


def test_no_name_in_the_data_breaks_the_comment(tmp_path: Path) -> None:
    forest = small_forest(classes=np.array(["*/ int x;", "a\\\nb /* ??/ é"]), feature_names=("end */ \\",))
    assert emulate.run_c(forest, [[0.0], [1.0]], options=WARNINGS).labels.tolist() == [0, 1]


def test_the_header_states_the_unit_and_the_interface() -> None:
    text = to_c(small_forest(values=[[-0.75], [1.0]], divisor=3.0), name="door")["door.h"]
    assert "#define DOOR_SCORE_SCALE (0.25 / 3.0)\n" in text
    assert "#define DOOR_N_FEATURES 1\n" in text
    assert "#define DOOR_N_CLASSES 2\n" in text
    assert "typedef float door_input_t;\n" in text
    assert "static inline int door_predict(const door_input_t *row)" in text
    assert "static inline void door_scores(const door_input_t *row, int32_t *scores)" in text
    assert "A score times DOOR_SCORE_SCALE is the margin of the model, exactly." in text
    assert "#include" in text
    assert text.count("#include") == text.count("#include <stdint.h>") == 1


def test_a_regression_model_predicts_its_score() -> None:
    forest = small_forest(classes=None, values=[[-0.75], [2.5]])
    assert "int32_t model_predict(" in to_c(forest)["model.h"]
    assert emulate.run_c(forest, [[0.0], [1.0]]).labels.tolist() == [-3, 10]


def test_it_compiles_as_cpp_too(tmp_path: Path) -> None:
    (tmp_path / "model.h").write_text(to_c(small_forest())["model.h"])
    program = '#include "model.h"\nint f(const float *row) { return model_predict(row); }\n'
    (tmp_path / "main.cpp").write_text(program)
    options = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=c++11", "-c", "main.cpp", "-o", "main.o"]
    subprocess.run([sys.executable, "-m", "ziglang", "c++", *options], cwd=tmp_path, check=True)
    assert (tmp_path / "main.o").stat().st_size > 0


def test_a_suffix_that_is_not_c_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"has the suffix '\.txt'; expected '\.h' or '\.c'"):
        write_c(small_forest(), tmp_path / "model.txt")


def test_export_knows_its_suffixes_and_targets(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError,
        match=r"'model\.exe' has no suffix that can be written; expected one of \.h, \.c, \.so",
    ):
        export_forest(small_forest(), tmp_path / "model.exe")
    with pytest.raises(ParameterError, match=r"target is 'pdp-11'; expected one of cpu, x86-64"):
        export_forest(small_forest(), tmp_path / "model.h", target="pdp-11")
    with pytest.raises(
        ParameterError, match=r"a shared library \(\.so\) for cortex-m4 cannot be written; expected target"
    ):
        export_forest(small_forest(), tmp_path / "model.so", target="cortex-m4")
    assert list(tmp_path.iterdir()) == []
    assert [tmp_path / "model.h"] == export_forest(
        small_forest(), tmp_path / "model.h", target="cortex-m4", verify=True
    )


def test_verification_finds_a_wrong_export(tmp_path: Path) -> None:
    files = write_c(small_forest(), tmp_path / "model.h")
    other = small_forest(values=[[1.0], [-1.0]])
    with pytest.raises(ToolchainError, match=r"model\.h answers differently from Python on \d+ of 1000 rows"):
        verify_c(other, files)


def test_rows_at_thresholds_hold_the_thresholds_and_their_neighbours() -> None:
    column = rows_at_thresholds(small_forest(), 200)[:, 0]
    half = np.float32(0.5)
    for number in (half, np.nextafter(half, np.float32(0)), np.nextafter(half, np.float32(1)), -np.inf):
        assert number in column
    assert np.isnan(column).any()


def test_a_missing_compiler_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert find_compiler()[-2:] == ["cc", "-fno-sanitize=undefined"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolchainError, match=r'no C compiler found.*pip install "ensemble-compress\[cross\]"'
    ):
        emulate.run_c(small_forest(), [[0.0]])


def test_a_failing_compiler_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int main(void) { return nowhere; }\n")
    with pytest.raises(ToolchainError, match=r"the C compiler failed with exit code 1: .*\n(.|\n)*nowhere"):
        compile_c([tmp_path / "broken.c"], tmp_path / "broken")


def test_ziglang_compiles_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert emulate.run_c(small_forest(), [[0.0], [1.0]]).labels.tolist() == [0, 1]
