"""Rows in, answers out: picks an engine, splits the rows over threads, applies the link.

Everything here takes and returns arrays and knows no Forest; `forest.Forest` hands over its own arrays. Sums are in
tree order and the threads own disjoint rows, so the answer doesn't depend on their number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.plan import Plan
from ensemble_compress.rows import (
    CATEGORY_RULES,
    Door,
    MissingValueError,
    Rows,
    as_codes,
    as_rows,
    for_kernels,
)
from ensemble_compress.threads import ROWS_PER_THREAD, count_threads, over_threads

FEW_ROWS = 2 * ROWS_PER_THREAD
"""Below this there is one thread, and an array that is ready takes the short way."""


Margins = Callable[[Any, int | None], NDArray[Any]]


def margins_by(door: Door, trees: Plan, bias: NDArray[Any], bias_last: bool, divisor: float) -> Margins:
    """`margins(X, n_jobs)`, shape (n_rows, n_outputs), in the dtype of `bias`.

    For a plain array of few rows there is a short way: what is the same for every call is done here.
    """
    few, adders, empty, n_outputs, dtype = door.few, trees.adders, np.empty, len(bias), bias.dtype
    start: Any = 0 if bias_last else bias
    is_finished = not bias_last and divisor == 1.0

    def margins(X: Any, n_jobs: int | None) -> NDArray[Any]:
        rows = few(X, FEW_ROWS)
        if rows is None:
            return finish(of_many(door.open(X), n_jobs))
        if n_jobs is not None:
            count_threads(len(rows), n_jobs)  # there is one thread, but a number that is none is refused
        n_rows = len(rows)
        out = empty((n_rows, n_outputs), dtype)
        out[:] = start
        for add in adders(n_rows):
            add(rows, out)
        return out if is_finished else finish(out)

    def of_many(rows: Rows, n_jobs: int | None) -> NDArray[Any]:
        out = empty((len(rows), n_outputs), dtype)
        out[:] = start
        add_margins_of(trees, rows, out, n_jobs)
        return out

    def finish(out: NDArray[Any]) -> NDArray[Any]:
        if bias_last:
            out += bias
        if divisor != 1.0:
            out /= dtype.type(divisor)
        return out

    return margins


def add_margins_of(trees: Plan, rows: Rows, out: NDArray[Any], n_jobs: int | None = None) -> None:
    """`add_margins` for rows that are read a block at a time, unless they are ready.

    Raises
    ------
    InputError
        X holds what the model cannot read; `out` is of no use then.
    """
    if rows.ready is not None:
        add_margins(trees, for_kernels(rows.whole()), out, n_jobs)
        return
    _over_blocks(lambda block, start, stop: add_margins(trees, block, out[start:stop], 1), rows, n_jobs)


def find_leaves_of(trees: Plan, rows: Rows, n_jobs: int | None = None) -> NDArray[np.int32]:
    """`find_leaves` for rows that are read a block at a time, unless they are ready.

    Raises
    ------
    InputError
        X holds what the model cannot read.
    """
    if rows.ready is not None:
        return find_leaves(trees, for_kernels(rows.whole()), n_jobs)
    out = np.empty((len(rows), trees.n_trees), np.int32)

    def work(block: NDArray[Any], start: int, stop: int) -> None:
        out[start:stop] = find_leaves(trees, block, 1)

    _over_blocks(work, rows, n_jobs)
    return out


def _over_blocks(work: Callable[[NDArray[Any], int, int], None], rows: Rows, n_jobs: int | None) -> None:
    """Call `work(block, start, stop)` on every block of rows, over several threads."""

    def over_chunk(first: int, last: int) -> None:
        for start, stop in rows.blocks(first, last):
            work(for_kernels(rows.read(start, stop)), start, stop)

    try:
        over_threads(over_chunk, len(rows), n_jobs)
    except MissingValueError:
        raise rows.refuse_missing() from None


def find_leaves(trees: Plan, rows: NDArray[Any], n_jobs: int | None = None) -> NDArray[np.int32]:
    """The node where each row ends in each tree, shape (n_rows, n_trees), numbered through the whole forest."""
    out = np.empty((len(rows), trees.n_trees), np.int32)
    if rows.shape[1] == 0:
        rows = np.zeros((len(rows), 1), rows.dtype)
    over_threads(lambda start, stop: trees.find_leaves(rows, start, stop, out), len(rows), n_jobs)
    return out


def add_margins(trees: Plan, rows: NDArray[Any], out: NDArray[Any], n_jobs: int | None = None) -> None:
    """Add every tree's leaf to `out`, shape (n_rows, n_outputs), in tree order and in the dtype of `values`."""
    if rows.shape[1] == 0:
        rows = np.zeros((len(rows), 1), rows.dtype)
    over_threads(lambda start, stop: trees.add_margins(rows, start, stop, out), len(rows), n_jobs)


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
    return _expit(np.maximum(margin, lowest))


def _expit(margin: NDArray[Any]) -> NDArray[Any]:
    from scipy.special import expit  # late: it takes a quarter of a second, and labels do without

    return np.asarray(expit(margin))


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

__all__ = [
    "CATEGORY_RULES",
    "FEW_ROWS",
    "LINKS",
    "Door",
    "Margins",
    "Plan",
    "apply_link",
    "as_codes",
    "as_distributions",
    "as_probabilities",
    "as_rows",
    "decide",
    "find_leaves_of",
    "margins_by",
    "over_threads",
]
