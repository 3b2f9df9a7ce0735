"""Compares answers: those of a forest with its own library's, and those of every backend with each other.

Each function raises `WrongAnswerError` or returns how far apart the answers were.
"""

from pathlib import Path
from typing import Any

import arm_check
import numpy as np
from kinds import Kind
from numpy.typing import NDArray
from source_answers import Answers

from ensemble_compress import emulate, sizes
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.writers.c import to_c
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library
from ensemble_compress.writers.treelite import to_treelite, treelite_rows

N_ORACLE = 300
"""Rows for the naive oracle, which takes a millisecond for each."""
MOST_ULP = {"bits": 0.0, "ulp": 4.0}
MOST_UNITS_OF_FLOAT32, MOST_ERROR_OF_FLOAT64, MOST_ERROR_OF_SINGLE_LINKS = 2.0, 1e-12, 1e-6


class WrongAnswerError(Exception):
    """Two that should answer alike don't."""


def expect_equal(expected: Any, actual: Any, what: str) -> None:
    """Compare to the bit, but for the sign of zero and the bits of NaN.

    Parameters
    ----------
    expected, actual : array
        Of equal shapes.
    what : str
        For the message.
    """
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.shape != actual.shape:
        raise WrongAnswerError(f"{what}: expected shape {expected.shape}, found {actual.shape}")
    is_number = expected.dtype.kind == "f"
    differs = (expected != actual) & ~(is_number and np.isnan(expected) & np.isnan(actual))
    if differs.any():
        i = int(differs.reshape(len(differs), -1).any(axis=1).argmax())
        n_rows = int(differs.reshape(len(differs), -1).any(axis=1).sum())
        raise WrongAnswerError(
            f"{what} differ on {n_rows} of {len(expected)} rows: row {i}: expected {expected[i]}, found {actual[i]}"
        )


def compare_with_source(kind: Kind, answers: Answers, forest: Forest, rows: NDArray[Any]) -> dict[str, float]:
    """Leaves to the bit; margins, predictions and labels as the table says.

    Parameters
    ----------
    kind : Kind
        Says how margins compare.
    answers : Answers
        Of the library.
    forest : Forest
        What was read.
    rows : ndarray of shape (n_rows, n_features)
        What both were asked.

    Returns
    -------
    dict
        n_rows, n_leaves, and the largest differences: margin_ulp, prediction_error.
    """
    taken = rows[answers.accepted]
    expect_equal(answers.leaves, forest.apply(taken), "leaves")
    ulp = _compare_margins(kind, answers, forest, rows, taken)
    error = 0.0
    if answers.linked is not None:
        actual = forest.predict_proba(taken) if forest.is_classifier else forest.predict(taken)
        error = prediction_distance(answers.linked.reshape(actual.shape), actual, kind.prediction)
    if answers.labels is not None and forest.is_classifier:
        expect_equal(answers.labels, forest.predict(taken), "labels")
    return {
        "n_rows": len(rows),
        "n_leaves": int(answers.leaves.size),
        "margin_ulp": ulp,
        "prediction_error": error,
    }


def _compare_margins(
    kind: Kind, answers: Answers, forest: Forest, rows: NDArray[Any], taken: NDArray[Any]
) -> float:
    """How far margins are apart, in units of the last place of the sum's magnitude."""
    if kind.margin == "hidden":
        return 0.0
    if answers.margin is None:
        raise WrongAnswerError("margins: the library tells none")
    asked = rows if len(answers.margin) == len(rows) else taken
    margin = forest.margin(asked)
    if margin.dtype != answers.margin.dtype:
        raise WrongAnswerError(f"margins: expected {answers.margin.dtype}, found {margin.dtype}")
    ulp = margin_distance(forest, asked, answers.margin, margin)
    if not ulp <= MOST_ULP[kind.margin]:
        raise WrongAnswerError(f"margins differ by {ulp:.3g} ulp of the sum's magnitude")
    return ulp


def margin_distance(
    forest: Forest, rows: NDArray[Any], expected: NDArray[Any], actual: NDArray[Any]
) -> float:
    """The largest difference of margins in units of the last place of the sum of the summands' absolute values.

    Parameters
    ----------
    forest : Forest
        Whose leaves are summed.
    rows : ndarray of shape (n_rows, n_features)
        Rows.
    expected, actual : ndarray of shape (n_rows, n_outputs)
        Margins.
    """
    if expected.shape != actual.shape:
        raise WrongAnswerError(f"margins: expected shape {expected.shape}, found {actual.shape}")
    if (expected == actual).all():
        return 0.0
    size = forest.with_values(np.abs(forest.values))
    magnitude = np.abs(size.margin(rows) - size.bias / size.divisor) + np.abs(size.bias) / size.divisor
    unit = np.spacing(magnitude.astype(expected.dtype))
    return float((np.abs(expected.astype(np.float64) - actual) / unit).max())


def prediction_distance(expected: NDArray[Any], actual: NDArray[Any], precision: str = "double") -> float:
    """The largest difference of predictions: in units of the last place for float32, relative above 1 for float64.

    Parameters
    ----------
    expected, actual : ndarray
        Of equal shapes.
    precision : {"double", "single"}
        As `Kind.prediction`; with "single" the difference is relative above 1 for float32 too.
    """
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    if same.all():
        return 0.0
    is_single = expected.dtype == np.float32 and precision == "double"
    most = MOST_ERROR_OF_FLOAT64 if precision == "double" else MOST_ERROR_OF_SINGLE_LINKS
    unit = np.spacing(np.abs(expected)) if is_single else np.maximum(1, np.abs(expected))
    distance = np.abs(expected.astype(np.float64) - actual) / unit
    found = float(np.max(distance, where=~same, initial=0.0))
    if not found <= (MOST_UNITS_OF_FLOAT32 if is_single else most):
        raise WrongAnswerError(f"predictions differ by {found:.3g}{' ulp' if is_single else ''}")
    return found


# -- backends ----------------------------------------------------------------------------------------------------


def compare_oracle(oracle: Any, forest: Forest, rows: NDArray[Any]) -> None:
    """Compare leaves and margins of the engine with the naive twin's.

    Parameters
    ----------
    oracle : module
        tests/oracle.py.
    forest : Forest
        The forest.
    rows : ndarray of shape (n_rows, n_features)
        Few rows.
    """
    expect_equal(oracle.leaves(forest, rows), forest.find_leaves(rows), "leaves of the engine")
    expected, actual = oracle.margins(forest, rows), forest.margin(rows)
    expect_equal(expected, actual, "margins of the engine")
    if expected.tobytes() != actual.tobytes():
        raise WrongAnswerError("margins of the engine have another sign of zero")


def compare_engines(forest: Forest, rows: NDArray[Any]) -> list[str]:
    """Compare the sums of every engine that takes the trees, the sign of zero too, with those of the plain walk.

    Parameters
    ----------
    forest : Forest
        The forest.
    rows : ndarray of shape (n_rows, n_features)
        Rows.

    Returns
    -------
    list of str
        The engines that were compared with it.
    """
    sums = arm_check.sums_of_engines(forest, rows)
    expected = sums.pop("walk")
    for name, actual in sums.items():
        expect_equal(expected, actual, f"sums of the engine {name}")
        if expected.tobytes() != actual.tobytes():
            raise WrongAnswerError(f"sums of the engine {name} have another sign of zero")
    return list(sums)


def compare_shared_library(forest: Forest, rows: NDArray[Any], folder: Path) -> None:
    """Compile our shared library and compare its margins, the sign of zero too.

    Parameters
    ----------
    forest : Forest
        The forest.
    rows : ndarray of shape (n_rows, n_features)
        Rows.
    folder : Path
        Where the library is written.
    """
    library = SharedLibrary(write_shared_library(forest, folder / "proof.so"))
    expected, actual = forest.margin(rows), library.margin(rows)
    expect_equal(expected, actual, "margins of the shared library")
    if expected.tobytes() != actual.tobytes():
        raise WrongAnswerError("margins of the shared library have another sign of zero")


def compare_headers(models: dict[str, tuple[Forest, NDArray[Any]]]) -> None:
    """Compile the C headers of many models as one program and compare integer scores with Python's.

    Parameters
    ----------
    models : dict of str to (Forest, ndarray)
        Forests and rows by a C identifier.
    """
    headers = {
        name: (forest, to_c(forest, name=name)[f"{name}.h"], emulate.cast_rows(forest, rows, "float"))
        for name, (forest, rows) in models.items()
    }
    answers = emulate.run_headers(headers)
    for name, (forest, _, rows) in headers.items():
        expected = sizes.emulate_scores(forest, rows)
        expect_equal(expected, answers[name].scores, f"scores of the C header {name}")
        if forest.classes is not None:
            expect_equal(forest.decide(expected), answers[name].labels, f"labels of the C header {name}")


def promises_bits(forest: Forest) -> bool:
    """Whether the docstring of the Treelite writer promises margins to the bit."""
    n_trees = np.bincount(np.maximum(forest.tree_output, 0), minlength=1).max() + bool(forest.bias.any())
    averages = forest.divisor == 1.0 or (forest.divisor.is_integer() and n_trees <= forest.divisor)
    return bool(averages and (forest.values.dtype == np.float64 or forest.x_dtype == "float32"))


def has_treelite_link(forest: Forest) -> bool:
    """Whether Treelite has the forest's link; the writer refuses the others by name."""
    try:
        to_treelite(forest)
    except UnsupportedModelError as error:
        if "Treelite has no link" not in str(error):
            raise
        return False
    return True


def compare_treelite(forest: Forest, rows: NDArray[Any]) -> float:
    """Compare the margins of Treelite's own engine, GTIL; to the bit where the writer promises it.

    Parameters
    ----------
    forest : Forest
        The forest.
    rows : ndarray of shape (n_rows, n_features)
        Rows.

    Returns
    -------
    float
        The largest difference in units of the last place of the sum's magnitude.
    """
    import treelite

    expected = forest.margin(rows)
    found = treelite.gtil.predict(
        to_treelite(forest), treelite_rows(forest, rows), nthread=1, pred_margin=True
    )
    actual = np.asarray(found).reshape(expected.shape)
    if promises_bits(forest):
        expect_equal(expected, actual, "margins of Treelite")
        return 0.0
    ulp = margin_distance(forest, rows, expected, actual.astype(expected.dtype))
    if not ulp <= MOST_ULP["ulp"]:
        raise WrongAnswerError(f"margins of Treelite differ by {ulp:.3g} ulp of the sum's magnitude")
    return ulp
