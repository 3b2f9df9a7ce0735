"""Rows in, answers out: checks and casts X, picks an engine, splits the rows over threads, applies the link.

Everything here takes and returns arrays and knows no Forest; `forest.Forest` hands over its own arrays. Sums are in
tree order and the threads own disjoint rows, so the answer doesn't depend on their number.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ensemble_compress import frames
from ensemble_compress.engines import bitvector, walk
from ensemble_compress.engines.plan import Plan
from ensemble_compress.errors import InputError, ParameterError

ROWS_PER_THREAD = 2048
"""Fewer rows than this are not worth another thread."""


def as_rows(
    X: Any,
    *,
    n_features: int,
    dtype: Any,
    feature_names: Sequence[str] | None = None,
    categories: Sequence[Sequence[Any] | None] | None = None,
    handles_nan: bool = True,
    levels_as_codes: bool = True,
) -> NDArray[Any]:
    """X as a C-contiguous array of `dtype`, checked against the model that will read it.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features) or DataFrame
        Numbers. The columns of a DataFrame are matched by name where the model knows names.
    n_features : int
        Number of columns that the model was trained on.
    dtype : float32 or float64
        What the model casts X to before it compares.
    feature_names : sequence of str, optional
        The model's names of its columns.
    categories : sequence, optional
        For each feature the levels behind its codes, or None where a feature holds numbers already. A whole number
        in a column whose levels are texts stands for its text.
    handles_nan : bool
        Whether the model has a rule for missing values.
    levels_as_codes : bool
        Whether a DataFrame's column of categories whose levels the model doesn't know is read as its codes, or as the
        numbers that it holds.

    Returns
    -------
    ndarray of shape (n_rows, n_features)

    Raises
    ------
    InputError
        X has another shape, holds what is no number, or NaN where the model has no rule for it.
    """
    if frames.is_frame(X):
        X = frames.read_frame(X, n_features, feature_names, categories, levels_as_codes)
    elif hasattr(X, "toarray"):
        raise InputError("X is a sparse matrix; expected a dense one: pass X.toarray()")
    frames.check_real(X, "X")
    if isinstance(X, np.ma.MaskedArray):
        X = np.ma.filled(X.astype(np.float64), np.nan)
    try:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(X, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"X holds something that is not a number ({error}); encode text columns as the model was trained on them"
        ) from error
    _check_rows(rows, n_features, handles_nan)
    return rows


CATEGORY_RULES = ("floor", "truncate", "exact")
"""What the code of a category is, of a number that is no whole one: rounded down, rounded towards zero, or none."""


def as_codes(rows: NDArray[Any], columns: NDArray[np.intp], rule: str) -> NDArray[Any]:
    """Rows whose categories the engines, which round down, read by another rule; the same array where nothing differs.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Cast rows; they are not written to.
    columns : ndarray of int
        The columns that are tested as categories.
    rule : str
        One of `CATEGORY_RULES`.
    """
    if rule == "floor" or not len(columns):
        return rows
    numbers = rows[:, columns]
    if rule == "truncate":
        differs, code = (numbers > -1) & (numbers < 0), 0
    else:
        differs, code = (numbers != np.trunc(numbers)) & ~np.isnan(numbers), -1
    if not differs.any():
        return rows
    rows = rows.copy()
    rows[:, columns] = np.where(differs, rows.dtype.type(code), numbers)
    return rows


def _check_rows(rows: NDArray[Any], n_features: int, handles_nan: bool) -> None:
    if rows.ndim != 2:
        raise InputError(
            f"X has {rows.ndim} dimension(s); expected a 2D array of shape (n_rows, {n_features})."
            " Reshape your data: X.reshape(1, -1) makes one row of a vector"
        )
    if rows.shape[1] != n_features:
        raise InputError(
            f"X has {rows.shape[1]} features, but the model is expecting {n_features} features as input"
        )
    if not handles_nan:
        missing = np.isnan(rows).any(axis=1)
        if missing.any():
            raise InputError(
                f"X contains NaN in {int(missing.sum())} row(s), the first is row {int(missing.argmax())}, and the model"
                " was trained without a rule for missing values; impute them as in training"
            )


def count_threads(n_rows: int, n_jobs: int | None = None) -> int:
    """How many threads `n_rows` rows are worth.

    None means as many as the process may use: its CPU affinity and quota, and OMP_NUM_THREADS where it is set.
    A negative number counts from the end, as in joblib: -1 is all.
    """
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ParameterError(f"n_jobs is {n_jobs!r}; expected None or a whole number but 0")
    available: int = joblib.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if n_jobs is None:
        wanted = min(available, int(limit)) if limit.isdigit() and int(limit) > 0 else available
    else:
        wanted = max(1, available + 1 + n_jobs) if n_jobs < 0 else max(1, n_jobs)
    return max(1, min(wanted, n_rows // ROWS_PER_THREAD))


def over_threads(work: Callable[[int, int], None], n_rows: int, n_jobs: int | None) -> None:
    """Call `work(start, stop)` on consecutive ranges of rows that cover all, one thread each; errors come through."""
    n_threads = count_threads(n_rows, n_jobs)
    if n_threads == 1:
        work(0, n_rows)
        return
    bounds = np.linspace(0, n_rows, n_threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))


def plan(
    nodes: Any, sets: Any, tree_start: NDArray[np.int32], tree_output: NDArray[np.int32], values: NDArray[Any]
) -> Plan:
    """The trees, ready to be laid out for the engines that will run them."""
    return Plan(nodes, sets, tree_start, tree_output, values)


def find_leaves(trees: Plan, rows: NDArray[Any], n_jobs: int | None = None) -> NDArray[np.int32]:
    """The node where each row ends in each tree, shape (n_rows, n_trees), numbered through the whole forest."""
    laid_out = trees.walk
    out = np.empty((len(rows), len(laid_out.tree_start) - 1), np.int32)
    if rows.shape[1] == 0:
        out[:] = laid_out.tree_start[:-1]
    else:
        over_threads(
            lambda start, stop: walk.find_leaves(laid_out, rows, start, stop, out), len(rows), n_jobs
        )
    return out


def add_margins(trees: Plan, rows: NDArray[Any], out: NDArray[Any], n_jobs: int | None = None) -> None:
    """Add every tree's leaf to `out`, shape (n_rows, n_outputs), in tree order and in the dtype of `values`."""
    if rows.shape[1] == 0:
        rows = np.zeros((len(rows), 1), rows.dtype)
    trees.prepare(len(rows) // count_threads(len(rows), n_jobs))
    over_threads(lambda start, stop: trees.add_margins(rows, start, stop, out), len(rows), n_jobs)


def warm_up() -> None:
    """Compile the prediction kernels and keep them on disk, so that the first prediction doesn't wait for it.

    Takes a few seconds the first time and a fraction of one afterwards.
    """
    nodes, sets, tree_start = _one_leaf()
    output = _read_only(np.array([0], np.int32))
    for x_dtype, value_dtype in (
        (np.float32, np.float32),
        (np.float32, np.float64),
        (np.float64, np.float64),
    ):
        values = _read_only(np.zeros((1, 1), value_dtype))
        rows, out = np.zeros((1, 1), x_dtype), np.zeros((1, 1), value_dtype)
        trees = plan(nodes, sets, tree_start, output, values)
        find_leaves(trees, rows)
        add_margins(trees, rows, out)
        if trees.runs[0].bits is not None:
            bitvector.add_margins(trees.runs[0].bits, rows, 0, 1, out)


def _one_leaf() -> tuple[Any, Any, NDArray[np.int32]]:
    """(nodes, sets, where the trees start) of a forest of one leaf."""
    none, nothing = _read_only(np.full(1, -1, np.int32)), _read_only(np.zeros(1, np.int32))
    nodes = SimpleNamespace(
        feature=none,
        threshold=np.zeros(1),
        right=none,
        nan_left=np.zeros(1, bool),
        category_set=none,
        leaf=nothing,
    )
    sets = SimpleNamespace(start=nothing, words=_read_only(np.zeros(0, np.uint32)))
    return nodes, sets, _read_only(np.array([0, 1], np.int32))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Read-only arrays are another type to Numba, and those of a Forest are."""
    array.setflags(write=False)
    return array


def _softmax(margin: NDArray[Any]) -> NDArray[Any]:
    powers = _exponential(margin - margin.max(axis=1, keepdims=True))
    # XGBoost too adds up its float32 powers in double precision.
    return np.asarray(powers / powers.sum(axis=1, keepdims=True, dtype=np.float64).astype(margin.dtype))


def _exponential(margin: NDArray[Any]) -> NDArray[Any]:
    """Of float32 the nearest one, as a C library finds it; NumPy's own is up to three units off."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(margin, dtype=np.float64).astype(margin.dtype))


def _sigmoid(margin: NDArray[Any]) -> NDArray[Any]:
    # XGBoost, whose margins are float32, lets none of them fall below this.
    lowest = np.float32(-88.7) if margin.dtype == np.float32 else -np.inf
    return np.asarray(expit(np.maximum(margin, lowest)))


def _signed_square(margin: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(margin * np.abs(margin))


def _samme(margin: NDArray[Any]) -> NDArray[Any]:
    return _softmax(margin / max(margin.shape[1] - 1, 1))


def _isolation(margin: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(-(2.0**-margin))


def decide(margin: NDArray[Any], has_two: bool, tie_class: int) -> NDArray[np.intp]:
    """The class code of each row of margins; `has_two` says whether a lone margin tells two classes or is the only one."""
    if margin.shape[1] > 1:
        return np.asarray(margin.argmax(axis=1), np.intp)
    is_second = margin[:, 0] >= 0 if tie_class else margin[:, 0] > 0
    return np.asarray(is_second & has_two, np.intp)


def as_probabilities(answer: NDArray[Any], link: str, n_classes: int) -> NDArray[Any]:
    """The probability of each class from linked margins, shape (n_rows, n_classes)."""
    if answer.shape[1] == 1 and (n_classes == 2 or link == "sigmoid"):
        return np.hstack([1 - answer, answer])[:, :n_classes]
    return as_distributions(answer) if link == "identity" else answer


def as_distributions(answer: NDArray[Any]) -> NDArray[Any]:
    """Averages of probabilities that rounding has moved off one, made to add up to one again; the others as they are."""
    uniform = np.full_like(answer, 1 / answer.shape[1])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        is_off = ~(np.abs(answer.sum(axis=1, keepdims=True) - 1) <= 1e-6) | (answer < 0).any(
            axis=1, keepdims=True
        )
        if not is_off.any():
            return answer
        # By the largest first, so that no sum overflows.
        clipped = np.maximum(answer, 0)
        clipped = clipped / clipped.max(axis=1, keepdims=True)
        shares = clipped / clipped.sum(axis=1, keepdims=True)
    shares = np.where(np.isfinite(shares).all(axis=1, keepdims=True), shares, uniform)
    return np.where(is_off, shares, answer)


def apply_link(margin: NDArray[Any], link: str, scale: float = 1.0) -> NDArray[Any]:
    """From margins to predictions of the same shape and dtype.

    Parameters
    ----------
    margin : ndarray of shape (n_rows, n_outputs)
        Margins.
    link : str
        Key of `LINKS`.
    scale : float
        What the margins are multiplied by first.
    """
    if scale != 1.0:
        with np.errstate(over="ignore"):
            margin = margin * margin.dtype.type(scale)
    return LINKS[link](margin)


LINKS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "identity": lambda margin: margin,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "exp": _exponential,
    "softplus": lambda margin: np.logaddexp(0, margin),
    "signed_square": _signed_square,
    "step": lambda margin: np.asarray((margin > 0).astype(margin.dtype)),
    "samme": _samme,
    "isolation": _isolation,
}
"""From margins of shape (n_rows, n_outputs) to predictions of the same shape and dtype.

`signed_square`, the square with the margin's sign, is the link of LightGBM's `reg_sqrt`; `step`, 1 above 0 and otherwise 0, that of XGBoost's `binary:hinge`.
`samme`, AdaBoost's, is the softmax of the margins divided by one less than their number. `isolation`, an isolation
forest's score, is -2 to the power of -margin.
"""
