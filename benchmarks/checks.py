"""What has to be equal before a number is worth writing down: the library and what was read, the model and its exports."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

import ensemble_compress as ec
from ensemble_compress import emulate, sizes
from ensemble_compress.forest import Forest
from ensemble_compress.writers.shared_library import SharedLibrary


class WrongAnswerError(Exception):
    """Something answers differently from what it was made from."""


def check_reading(name: str, model: Any, forest: Forest, X: Any) -> None:
    """Compare what `ec.read` made of a model with the library itself: leaf by leaf, then the answers."""
    _expect_equal(library_leaves(name, model, X), forest.apply(X), f"leaves of the {name}")
    expected, actual = library_answers(name, model, X), forest.predict(X)
    if is_classifier(model):
        _expect_equal(expected, actual, f"labels of the {name}")
    elif not np.allclose(expected, actual, rtol=1e-6, atol=0):
        raise WrongAnswerError(f"values of the {name} differ by more than 1e-6 of their size")


def library_leaves(name: str, model: Any, X: Any) -> NDArray[Any]:
    """The leaf of every row and tree, asked of the library that trained the model."""
    found = model.predict(X, pred_leaf=True) if name == "lightgbm" else model.apply(X)
    return np.asarray(found).reshape(len(X), -1)


def library_answers(name: str, model: Any, X: Any) -> NDArray[Any]:
    """What the library predicts; a random forest on one thread, because several add up in any order."""
    if name != "random forest":
        return np.asarray(model.predict(X))
    n_jobs = model.n_jobs
    found = model.set_params(n_jobs=1).predict(X)
    model.set_params(n_jobs=n_jobs)
    return np.asarray(found)


def check_artefacts(small: Any, X: Any, folder: Path) -> int | None:
    """Save, export, load and compile a compressed model, and compare the margins and integer scores to the bit.

    Returns
    -------
    int or None
        On how many rows the C header, which adds integers, decides for another label; None for regression.
    """
    forest = small.forest
    margin = forest.margin(X)
    small.save(folder / "check.forest")
    loaded = ec.load(folder / "check.forest").forest
    _expect_equal(forest.apply(X), loaded.apply(X), "leaves of the .forest file")
    _expect_equal(margin, loaded.margin(X), "margins of the .forest file")
    small.export(folder / "check.so")
    _expect_equal(margin, SharedLibrary(folder / "check.so").margin(forest.rows(X)), "margins of the library")
    answers = emulate.run_c(forest, X)
    rows = emulate.cast_rows(forest, X, "float")
    _expect_equal(sizes.emulate_scores(forest, rows), answers.scores, "scores of the C header")
    return int((answers.labels != forest.decide(margin)).sum()) if forest.is_classifier else None


def _expect_equal(expected: NDArray[Any], actual: NDArray[Any], what: str) -> None:
    if expected.shape != actual.shape:
        raise WrongAnswerError(f"{what}: expected shape {expected.shape}, found {actual.shape}")
    differs = (expected != actual).reshape(len(expected), -1).any(axis=1)
    if differs.any():
        raise WrongAnswerError(f"{what} differ on {int(differs.sum())} of {len(differs)} rows")
