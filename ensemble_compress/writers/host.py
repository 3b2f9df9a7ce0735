"""Run an exported C model on this machine: compile it with a small driver, give it rows, read its answers."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.distinct import INPUT_LIMITS, Input
from ensemble_compress.errors import InputError, ToolchainError
from ensemble_compress.forest import Forest
from ensemble_compress.tables import Optimize
from ensemble_compress.writers.c import to_c
from ensemble_compress.writers.toolchain import compile_c

TIMEOUT_S = 120
DRIVER = """
static int run_@name@(void)
{
    static @name@_input_t row[@n_features@ + 1];
    int32_t answer[@n_outputs@ + 1];
    uint32_t i;
    for (i = 0; i < @n_rows@u; i++) {
        if (fread(row, sizeof row[0], @n_features@, stdin) != @n_features@) return 1;
        @name@_scores(row, answer + 1);
        answer[0] = @label@;
        if (fwrite(answer, sizeof answer[0], @n_outputs@ + 1, stdout) != @n_outputs@ + 1) return 1;
    }
    return 0;
}
"""


class Answers(NamedTuple):
    """What an exported model answered.

    Attributes
    ----------
    labels : ndarray of shape (n_rows,) int32
        Class codes; the score of a regression model with one output; 0 for several outputs.
    scores : ndarray of shape (n_rows, n_outputs) int32
        Integer scores.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.int32]


def run_c(
    forest: Forest,
    X: Any,
    *,
    float_input: bool = True,
    optimize: Optimize = "size",
    input: Input | None = None,
    options: tuple[str, ...] = ("-O1",),
) -> Answers:
    """Export a forest to C, compile it for this machine, and run it on rows.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows; cast to the input type of the export.
    float_input : bool
        Whether the export reads floats, or int16_t.
    optimize : {"size", "speed"}
        As in `writers.c.to_c`.
    input : {"float", "int16", "int8"}, optional
        As in `writers.c.to_c`.
    options : tuple of str
        Arguments for the compiler.

    Returns
    -------
    Answers
        Labels and scores.

    Raises
    ------
    ToolchainError
        There is no compiler, or the program failed.
    InputError
        A value of X is not representable in an integer input type.
    """
    input = input or ("float" if float_input else "int16")
    files = to_c(forest, name="model", optimize=optimize, input=input)
    return run_headers({"model": (forest, files["model.h"], cast_rows(forest, X, input))}, options)["model"]


def cast_rows(forest: Forest, X: Any, input: Input) -> NDArray[Any]:
    """Rows as an exported model reads them.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows.
    input : {"float", "int16", "int8"}
        The input type of the export.

    Raises
    ------
    InputError
        A value is not representable in an integer input type.
    """
    rows = forest.rows(X)
    if input == "float":
        with np.errstate(over="ignore"):
            return rows.astype(np.float32)
    lowest, highest = INPUT_LIMITS[input]
    wrong = ~((rows >= lowest) & (rows <= highest) & (np.floor(rows) == rows))
    if wrong.any():
        i, f = np.argwhere(wrong)[0]
        raise InputError(
            f"row {i} holds {rows[i, f]} in column {f}; expected integers from {lowest} to {highest}:"
            f" the export reads {input}_t"
        )
    return rows.astype(input)


def run_headers(
    models: Mapping[str, tuple[Forest, str, NDArray[Any]]], options: tuple[str, ...] = ("-O1",)
) -> dict[str, Answers]:
    """Compile single headers into one program and run each on its rows.

    Parameters
    ----------
    models : mapping of str to (Forest, str, ndarray)
        By the name in the source: the forest, its header's text, rows as its input type.
    options : tuple of str
        Arguments for the compiler.

    Raises
    ------
    ToolchainError
        There is no compiler, or the program failed.
    """
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as name:
        files = [Path(name) / f"{key}.h" for key in models]
        for path, (_, header, _) in zip(files, models.values(), strict=True):
            path.write_text(header, "ascii")
        return run_sources({key: (forest, rows) for key, (forest, _, rows) in models.items()}, files, options)


def run_sources(
    models: Mapping[str, tuple[Forest, NDArray[Any]]],
    files: Sequence[Path],
    options: Sequence[str] = ("-O1",),
) -> dict[str, Answers]:
    """Compile exported files into one program and run each model on its rows.

    Parameters
    ----------
    models : mapping of str to (Forest, ndarray)
        By the name in the source: the forest, and rows as its input type.
    files : sequence of Path
        The headers, and the sources that go with them.
    options : sequence of str
        Arguments for the compiler.

    Raises
    ------
    ToolchainError
        There is no compiler, or the program failed.
    """
    headers = [path.resolve() for path in files if path.suffix == ".h"]
    sources = [path.resolve() for path in files if path.suffix == ".c"]
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as name:
        source, program = Path(name) / "driver.c", Path(name) / "driver.exe"
        for number, header in enumerate(headers):  # copied, because an #include can't say every path
            shutil.copy(header, Path(name) / f"{number}.h")
        source.write_text(_driver(models, len(headers)), "ascii")
        compile_c([source, *sources], program, options)
        output = _run(program, b"".join(np.ascontiguousarray(rows).tobytes() for _, rows in models.values()))
    answers, at = {}, 0
    for key, (forest, rows) in models.items():
        size = len(rows) * (1 + forest.n_outputs)
        table = output[at : at + size].reshape(len(rows), 1 + forest.n_outputs)
        answers[key], at = Answers(table[:, 0], table[:, 1:]), at + size
    return answers


def _driver(models: Mapping[str, tuple[Forest, NDArray[Any]]], n_headers: int) -> str:
    lines = ["#include <stdio.h>", *(f'#include "{number}.h"' for number in range(n_headers))]
    for name, (forest, rows) in models.items():
        has_label = forest.classes is not None or forest.n_outputs == 1
        numbers = {
            "name": name,
            "n_features": forest.n_features,
            "n_outputs": forest.n_outputs,
            "n_rows": len(rows),
            "label": f"{name}_predict(row)" if has_label else "0",
        }
        text = DRIVER
        for key, value in numbers.items():
            text = text.replace(f"@{key}@", str(value))
        lines.append(text)
    calls = " || ".join(f"run_{name}()" for name in models)
    return "\n".join([*lines, f"int main(void) {{ return {calls}; }}\n"])


def _run(program: Path, rows: bytes) -> NDArray[np.int32]:
    try:
        done = subprocess.run([str(program)], input=rows, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"the compiled model could not be run: {error}") from error
    if done.returncode != 0:
        raise ToolchainError(f"the compiled model stopped with exit code {done.returncode}")
    return np.frombuffer(done.stdout, np.int32)
