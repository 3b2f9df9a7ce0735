"""By how much a student's score falls short of its teacher's, as far as both of them together know what the labels will be.

Where two classifiers agree nothing is lost. On the few rows where they don't, the label that happened to be drawn says
little: with 150 such rows the loss of one percent of accuracy is a guess. What is likely to be drawn there says much more,
and the probabilities of both models tell it, once they are calibrated on all rows. The mean over rows of what is likely
varies three or four times less than the mean of what was drawn (benchmarks/README.md), at the price of trusting the form of the calibration.

Source: a Rao-Blackwellised estimate in the sense of Owen, "Monte Carlo theory, methods and examples", 2013, section 8.7
(replace a draw by its expectation); the calibration is vector scaling with one temperature a model (Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES = ("accuracy", "balanced_accuracy")
"""The scores that have such an estimate."""

MOST_ROWS = 20_000
"""Beyond so many rows an even share of them is used."""

LEAST_PROBABILITY = 1e-4
N_STEPS = 8


def expected_drop(
    score: str,
    teacher: tuple[NDArray[Any], NDArray[Any]],
    student: tuple[NDArray[Any], NDArray[Any]],
    codes: NDArray[Any],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """(the expected loss of score, its standard error).

    Parameters
    ----------
    score : {"accuracy", "balanced_accuracy"}
        What is lost.
    teacher, student : (ndarray of shape (n_rows, n_classes), ndarray of shape (n_rows,))
        Probabilities and class codes.
    codes : ndarray of shape (n_rows,)
        The labels, as class codes.
    weight : ndarray of shape (n_rows,)
        Weights of the rows, which add up to 1.

    Notes
    -----
    Cost: O(n_rows * n_classes), a few passes.
    """
    logs = [np.log(np.maximum(answers[0], LEAST_PROBABILITY)) for answers in (teacher, student)]
    likely = _calibrated(logs, codes, weight)
    gain = np.ones(likely.shape[1])
    if score == "balanced_accuracy":
        share = np.bincount(codes, weights=weight, minlength=likely.shape[1])
        gain = np.where(share > 0, 1 / np.where(share > 0, share, 1.0), 0.0) / max((share > 0).sum(), 1)
    every = np.arange(len(codes))
    worth = [likely[every, answers[1]] * gain[answers[1]] for answers in (teacher, student)]
    lost = worth[0] - worth[1]
    drop = float(weight @ lost)
    # One row more on which they disagree, as in Judge.drop_error.
    unseen = (float(weight.max()) * float(gain.max())) ** 2
    return drop, float(np.sqrt(np.square(weight) @ np.square(lost - drop) + unseen))


def _calibrated(
    logs: list[NDArray[np.float64]], codes: NDArray[Any], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The probability of each class, of both models' log-probabilities with the powers that make the labels likeliest."""
    powers, every = np.full(2, 0.5), np.arange(len(codes))
    for _ in range(N_STEPS):
        likely = _softmax(powers[0] * logs[0] + powers[1] * logs[1])
        means = [np.einsum("ij,ij->i", likely, of_model) for of_model in logs]
        gradient = np.array([weight @ (logs[m][every, codes] - means[m]) for m in range(2)])
        curvature = np.empty((2, 2))
        for m in range(2):
            for k in range(m, 2):
                product = np.einsum("ij,ij,ij->i", likely, logs[m], logs[k])
                curvature[m, k] = curvature[k, m] = weight @ (product - means[m] * means[k])
        step = np.linalg.solve(curvature + 1e-6 * np.eye(2), gradient - 1e-6 * powers)
        powers = np.clip(powers + np.clip(step, -1, 1), -2, 4)
        if np.abs(step).max() < 1e-4:
            break
    return _softmax(powers[0] * logs[0] + powers[1] * logs[1])


def _softmax(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
