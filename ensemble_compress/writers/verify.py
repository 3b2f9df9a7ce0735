"""Whether an exported file answers as the forest does, on rows made to find a difference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.distinct import INPUT_LIMITS
from ensemble_compress.errors import ToolchainError
from ensemble_compress.fixed_point import emulate_scores
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import set_codes
from ensemble_compress.writers.host import cast_rows, run_sources
from ensemble_compress.writers.onnx import margin_bound, read_onnx_answers
from ensemble_compress.writers.shared_library import SharedLibrary
from ensemble_compress.writers.treelite import read_treelite_margin, to_treelite, treelite_rows

N_ROWS = 1000


def rows_at_thresholds(forest: Forest, n_rows: int = N_ROWS, seed: int = 0) -> NDArray[Any]:
    """Rows whose numbers lie on the forest's thresholds, beside them, in its category sets, and where floats end.

    Parameters
    ----------
    forest : Forest
        The forest to hurt.
    n_rows : int
        How many.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        In `x_dtype`; with NaN where the forest has a rule for it.
    """
    dtype = np.dtype(forest.x_dtype)
    choose = np.random.default_rng(seed).choice
    nodes, rows = forest.nodes, np.empty((n_rows, forest.n_features), dtype)
    for f in range(forest.n_features):
        tests = nodes.feature == f
        with np.errstate(over="ignore"):
            at = np.unique(nodes.threshold[tests & (nodes.category_set < 0)]).astype(dtype)
            around = [np.nextafter(at, dtype.type(end)) for end in (-np.inf, np.inf)]
        sets = np.unique(nodes.category_set[tests & (nodes.category_set >= 0)])
        codes = [c for s in sets for c in set_codes(forest.category_sets, s)]
        ends = [0.0, -0.0, 0.5, -1.0, np.inf, -np.inf] + [np.nan] * forest.handles_nan
        rows[:, f] = choose(np.concatenate([at, *around, np.array([*codes, *ends], dtype)]), n_rows)
    return rows


def verify_c(forest: Forest, files: Sequence[Path], *, name: str = "model", float_input: bool = True) -> None:
    """Compile a C export, run it and compare its scores with those of Python, to the bit.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    files : sequence of Path
        What `write_c` wrote.
    name : str
        What all names in the source begin with.
    float_input : bool
        Whether its rows hold floats, or int16_t.

    Raises
    ------
    ToolchainError
        There is no compiler, or the answers differ.
    """
    rows = rows_at_thresholds(forest)
    if not float_input:
        rows = np.clip(np.floor(np.nan_to_num(rows)), *INPUT_LIMITS["int16"])
    rows = cast_rows(forest, rows, "float" if float_input else "int16")
    answers = run_sources({name: (forest, rows)}, files)[name]
    _compare(files[0], emulate_scores(forest, rows), answers.scores)


def verify_shared_library(forest: Forest, path: str | Path) -> None:
    """Load a library of ours and compare its margins with the forest's, to the bit.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    path : str or Path
        What `write_shared_library` wrote.

    Raises
    ------
    ToolchainError
        The answers differ.
    """
    rows = rows_at_thresholds(forest)
    _compare(Path(path), forest.margin(rows), SharedLibrary(path).margin(rows))


def verify_treelite_library(forest: Forest, path: str | Path) -> None:
    """Load a library of TL2cgen's and compare its margins with those of Treelite itself, to the bit.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    path : str or Path
        What `write_treelite_library` wrote.

    Raises
    ------
    ToolchainError
        The answers differ.
    """
    import treelite

    rows = rows_at_thresholds(forest)
    expected = treelite.gtil.predict(to_treelite(forest), treelite_rows(forest, rows), pred_margin=True)
    actual = read_treelite_margin(forest, path, rows)
    _compare(Path(path), expected.reshape(actual.shape), actual)


def verify_onnx(forest: Forest, path: str | Path, opset: int = 5) -> None:
    """Run an ONNX model by ONNX Runtime and compare labels with the forest's, to the bit, and margins.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    path : str or Path
        What `write_onnx` wrote.
    opset : int
        The opset that it was written in; sums of opset 3 are rounded to float32.

    Raises
    ------
    MissingPackageError
        The package onnxruntime is not installed.
    ToolchainError
        The answers differ.
    """
    rows = rows_at_thresholds(forest)
    answers, margin = read_onnx_answers(path, rows), forest.margin(rows)
    _compare(Path(path), margin, answers["margin"], "ONNX Runtime", margin_bound(forest, margin, opset))
    if forest.is_classifier:
        labels = forest.predict(rows)[:, None]
        _compare(Path(path), labels, answers["label"][:, None], "ONNX Runtime")


def _compare(
    path: Path, expected: NDArray[Any], actual: NDArray[Any], maker: str = "the compiler", bound: Any = None
) -> None:
    differs = expected != actual
    if bound is not None:
        differs &= ~(np.abs(expected - actual) <= bound)
    differs = differs.any(axis=1)
    if differs.any():
        i = int(differs.argmax())
        raise ToolchainError(
            f"{path} answers differently from Python on {int(differs.sum())} of {len(differs)} rows: expected"
            f" {expected[i]}, found {actual[i]}; do not use the file, and report {maker} and its version"
        )
