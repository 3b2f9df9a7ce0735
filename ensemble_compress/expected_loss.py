"""By how much a student's score falls short of its teacher's, as far as both of them together know what the labels will be.

Where two classifiers agree nothing is lost. On the few rows where they don't, the label that happened to be drawn says
little: with 150 such rows the loss of one percent of accuracy is a guess. What is likely to be drawn there says much more,
and the probabilities of both models tell it, once they are calibrated on all rows. The mean over rows of what is likely
varies two or three times less than the mean of what was drawn, at the price of trusting the form of the calibration; so it is
never farther from what was drawn than a standard error of that.

Source: a Rao-Blackwellised estimate in the sense of Owen, "Monte Carlo theory, methods and examples", 2013, section 8.7
(replace a draw by its expectation); the calibration is vector scaling with one temperature a model (Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SCORES = ("accuracy", "balanced_accuracy")
"""The scores that have such an estimate."""

MOST_ROWS = 20_000
"""Beyond so many rows an even share of them is used."""

LEAST_PROBABILITY = 1e-4

POWERS = (-2.0, 4.0)
"""The range of the powers."""

RIDGE, N_STEPS = 1e-6, 16

MOST_ERRORS = 1.0
"""Standard errors of what was drawn by which the estimate may differ from it: the calibration may be of the wrong form."""


def expected_drop(
    score: str,
    teacher: tuple[NDArray[Any], NDArray[Any]],
    student: tuple[NDArray[Any], NDArray[Any]],
    codes: NDArray[Any],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """(the expected loss of score, its standard error over other rows and other labels).

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
    fit = _calibrated(logs, codes, weight)
    said, every = (teacher[1], student[1]), np.arange(len(codes))
    share = np.bincount(codes, weights=weight, minlength=fit.likely.shape[1])
    gain = np.ones(len(share))
    if score == "balanced_accuracy":
        gain = np.where(share > 0, 1 / np.where(share > 0, share, 1.0), 0.0) / (share > 0).sum()
    worth = [fit.likely[every, of_model] * gain[of_model] for of_model in said]
    lost = worth[0] - worth[1]
    drop = float(weight @ lost)
    # A label moves the estimate by the powers that it pulls at, too, and by the share of its class.
    leverage = fit.slope(weight * worth[0], said[0]) - fit.slope(weight * worth[1], said[1])
    influence = lost - drop + fit.pull @ leverage
    if score == "balanced_accuracy":
        by_class = [np.bincount(said[m], weight * worth[m], minlength=len(share)) for m in range(2)]
        influence += drop - ((by_class[0] - by_class[1]) / np.where(share > 0, share, 1.0))[codes]
    # One row more on which they disagree, as in Judge.drop_error.
    unseen = (float(weight.max()) * float(gain.max())) ** 2
    drawn = ((said[0] == codes) * 1.0 - (said[1] == codes)) * gain[codes]
    surprise = float(weight @ (drawn - lost))
    leash = MOST_ERRORS * float(np.sqrt(np.square(weight) @ np.square(drawn - lost)))
    if abs(surprise) > leash:
        # The estimate is drawn along by the labels, and as unsure as they are.
        influence = drawn - weight @ drawn
        drop += surprise - float(np.copysign(leash, surprise))
    return drop, float(np.sqrt(np.square(weight) @ np.square(influence) + unseen))


class _Calibration(NamedTuple):
    """What two models together say of the labels.

    Attributes
    ----------
    logs : list of ndarray of shape (n_rows, n_classes)
        The log-probabilities of each model.
    likely : ndarray of shape (n_rows, n_classes)
        The probability of each class, of both with the powers that make the labels likeliest.
    means : ndarray of shape (2, n_rows)
        The mean of each model's log-probabilities under `likely`.
    pull : ndarray of shape (n_rows, 2)
        How far each label moves the powers, per unit of its weight.
    """

    logs: list[NDArray[Any]]
    likely: NDArray[np.float64]
    means: NDArray[np.float64]
    pull: NDArray[np.float64]

    def slope(self, worth: NDArray[np.float64], said: NDArray[Any]) -> NDArray[np.float64]:
        """How a sum of `worth`, which is in proportion to what is likely of the classes `said`, changes with the powers."""
        every = np.arange(len(said))
        return np.array([worth @ (self.logs[m][every, said] - self.means[m]) for m in range(2)])


def _calibrated(logs: list[NDArray[Any]], codes: NDArray[Any], weight: NDArray[np.float64]) -> _Calibration:
    """By Newton's steps from powers of zero, halved where they lead too far: sure models are steep."""
    powers, step, every = np.zeros(2), np.zeros(2), np.arange(len(codes))
    found, best = None, -np.inf
    for _ in range(N_STEPS):
        likely = _softmax((powers[0] + step[0]) * logs[0] + (powers[1] + step[1]) * logs[1])
        likelihood = float(weight @ np.log(likely[every, codes]))
        if found is not None and likelihood < best - 1e-9:
            step /= 2
            continue
        powers, best = powers + step, likelihood
        means = np.stack([np.einsum("ij,ij->i", likely, of_model) for of_model in logs])
        errors = np.stack([of_model[every, codes] for of_model in logs]) - means
        curvature = _curvature(likely, logs, means, weight)
        found = _Calibration(logs, likely, means, np.linalg.solve(curvature, errors).T)
        step = np.linalg.solve(curvature, errors @ weight - RIDGE * powers)
        step = np.clip(powers + step, *POWERS) - powers
        if np.abs(step).max() < 1e-4:
            break
    assert found is not None
    return found


def _curvature(
    likely: NDArray[np.float64],
    logs: list[NDArray[Any]],
    means: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """That of the labels' likelihood along the two powers, shape (2, 2)."""
    out = RIDGE * np.eye(2)
    for m, k in ((0, 0), (0, 1), (1, 1)):
        product = np.einsum("ij,ij,ij->i", likely, logs[m], logs[k])
        out[m, k] += weight @ (product - means[m] * means[k])
    out[1, 0] = out[0, 1]
    return out


def _softmax(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
