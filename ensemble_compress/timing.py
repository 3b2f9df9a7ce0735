"""How long predictions take: of several predictors in turns, for a batch of rows and for one."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MAX_TIMED_ROWS = 10_000
"""Batches longer than this say nothing new about the time a row."""

MAX_REPEATS = 200


def speed_us(
    predictors: Mapping[str, Callable[[Any], Any]], X: Any, seconds: float = 0.2
) -> dict[str, dict[str, float]]:
    """Microseconds a row of several predictors, timed in turns so that a busy machine slows all of them alike.

    Parameters
    ----------
    predictors : mapping of str to callable
        Functions of rows.
    X : ndarray or DataFrame of shape (n_rows, n_features), or a mapping of str to such
        Rows, or each predictor's own form of the same rows. No more than `MAX_TIMED_ROWS` of them are used, fewer
        where a predictor is slow.
    seconds : float
        About how long each predictor may take for each of the two numbers.

    Returns
    -------
    dict
        For each name `batch` (many rows in one call, the time divided by their number) and `single` (one row a call),
        medians over the repeats.
    """
    forms = X if isinstance(X, Mapping) else dict.fromkeys(predictors, X)
    n_all = min(len(rows) for rows in forms.values())
    trial = min(n_all, 200)
    first = {name: _take(rows, 0, trial) for name, rows in forms.items()}
    for name, predict_rows in predictors.items():
        predict_rows(first[name])  # compiled kernels, warm caches
    slowest = max(_seconds(predictors[name], first[name]) for name in predictors)
    n_rows = int(np.clip(trial * seconds / 4 / slowest, trial, min(n_all, MAX_TIMED_ROWS)))
    batches = _medians(predictors, {name: [_take(forms[name], 0, n_rows)] for name in predictors}, seconds)
    alone = {name: [_take(rows, i, i + 1) for i in range(trial)] for name, rows in forms.items()}
    singles = _medians(predictors, alone, seconds)
    return {
        name: {"batch": 1e6 * batches[name] / n_rows, "single": 1e6 * singles[name]} for name in predictors
    }


def _take(X: Any, start: int, stop: int) -> Any:
    return X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]


def _seconds(predict_rows: Callable[[Any], Any], rows: Any) -> float:
    begin = time.perf_counter_ns()
    predict_rows(rows)
    return max(1, time.perf_counter_ns() - begin) / 1e9


def _medians(
    predictors: Mapping[str, Callable[[Any], Any]], inputs: Mapping[str, list[Any]], seconds: float
) -> dict[str, float]:
    """Median seconds of a call; each predictor is called at least 3 times, and until its seconds or repeats are spent."""
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    left = dict.fromkeys(predictors, seconds)
    for turn in range(MAX_REPEATS):
        going = [name for name in predictors if turn < 3 or left[name] > 0]
        for name in going:
            taken[name].append(_seconds(predictors[name], inputs[name][turn % len(inputs[name])]))
            left[name] -= taken[name][-1]
        if not going:
            break
    return {name: float(np.median(times)) for name, times in taken.items()}
