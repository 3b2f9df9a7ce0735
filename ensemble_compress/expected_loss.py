"""By how much a student's score falls short of its teacher's, as far as both of them together know what the labels will be.

Where two classifiers agree nothing is lost. On the few rows where they don't, the label that happened to be drawn says
little: with 150 such rows the loss of one percent of accuracy is a guess. What is likely to be drawn there says much more,
and the probabilities of both models tell it, once they are calibrated on all rows. The mean over rows of what is likely
varies less than the mean of what was drawn. It would be biased where the form of the calibration is wrong; so each
model's decision counts as well, by an amount that is held near zero until the labels insist: with many rows the
estimate becomes the plain one.

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

LEAST_PROBABILITY = 0.03
"""Smaller ones count as this: forests of few trees say 0 where they mean "seldom", and its logarithm would rule the fit."""

PRIOR_DEVIATIONS = np.array([1e3, 1e3, 0.2, 0.2])
"""Of the powers of both models' probabilities, and of what each one's decision adds to a class's log-probability."""

N_STEPS = 16


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
    fit = _calibrated(_evidence(teacher, student), codes, weight)
    said, every = (teacher[1], student[1]), np.arange(len(codes))
    share = np.bincount(codes, weights=weight, minlength=fit.likely.shape[1])
    gain = np.ones(len(share))
    if score == "balanced_accuracy":
        gain = np.where(share > 0, 1 / np.where(share > 0, share, 1.0), 0.0) / (share > 0).sum()
    worth = [fit.likely[every, of_model] * gain[of_model] for of_model in said]
    lost = worth[0] - worth[1]
    drop = float(weight @ lost)
    # A label moves the estimate by the factors that it pulls at, too, and by the share of its class.
    leverage = fit.slope(weight * worth[0], said[0]) - fit.slope(weight * worth[1], said[1])
    influence = lost - drop + fit.pull @ leverage
    if score == "balanced_accuracy":
        by_class = [np.bincount(said[m], weight * worth[m], minlength=len(share)) for m in range(2)]
        influence += drop - ((by_class[0] - by_class[1]) / np.where(share > 0, share, 1.0))[codes]
    # One row more on which they disagree, as in Judge.drop_error.
    unseen = (float(weight.max()) * float(gain.max())) ** 2
    return drop, float(np.sqrt(np.square(weight) @ np.square(influence) + unseen))


class _Calibration(NamedTuple):
    """What two models together say of the labels.

    Attributes
    ----------
    evidence : ndarray of shape (4, n_rows, n_classes)
        What speaks for each class.
    likely : ndarray of shape (n_rows, n_classes)
        The probability of each class.
    mean : ndarray of shape (4, n_rows)
        The mean of the evidence over what is likely.
    pull : ndarray of shape (n_rows, 4)
        How far each label moves the factors, per unit of its weight.
    """

    evidence: NDArray[np.float64]
    likely: NDArray[np.float64]
    mean: NDArray[np.float64]
    pull: NDArray[np.float64]

    def slope(self, worth: NDArray[np.float64], said: NDArray[Any]) -> NDArray[np.float64]:
        """How a sum of `worth`, which is in proportion to what is likely of the classes `said`, changes with the factors."""
        return np.asarray((self.evidence[:, np.arange(len(said)), said] - self.mean) @ worth)


def _evidence(*models: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[np.float64]:
    """What speaks for each class, shape (4, n_rows, n_classes): log-probabilities of both models, and their decisions."""
    logs = [np.log(np.maximum(values, LEAST_PROBABILITY)) for values, _ in models]
    decisions = [codes[:, None] == np.arange(values.shape[1]) for values, codes in models]
    return np.stack([*logs, *decisions]).astype(np.float64)


def _calibrated(
    evidence: NDArray[np.float64], codes: NDArray[Any], weight: NDArray[np.float64]
) -> _Calibration:
    """Of the evidence with those factors that make the labels likeliest, shrunk by the prior.

    By Newton's steps from zero, halved where they lead too far: sure models are steep.
    """
    penalty = 1 / np.square(PRIOR_DEVIATIONS) / len(codes)
    every, of_label = np.arange(len(codes)), evidence[:, np.arange(len(codes)), codes]
    factors, step = np.zeros(len(evidence)), np.zeros(len(evidence))
    found, best, flat = None, -np.inf, evidence.reshape(len(evidence), -1).T
    for _ in range(N_STEPS):
        likely = _softmax(np.tensordot(factors + step, evidence, 1))
        score = float(weight @ np.log(likely[every, codes]) - penalty @ np.square(factors + step) / 2)
        if found is not None and score < best - 1e-9:
            step /= 2
            continue
        factors, best = factors + step, score
        weighted = evidence * likely
        mean = weighted.sum(axis=2)
        square = (weighted * weight[:, None]).reshape(len(factors), -1) @ flat
        curvature = square - (mean * weight) @ mean.T + np.diag(penalty + 1e-9)
        found = _Calibration(evidence, likely, mean, np.linalg.solve(curvature, of_label - mean).T)
        step = np.linalg.solve(curvature, (of_label - mean) @ weight - penalty * factors)
        # Shortened as a whole: the direction has to stay one that leads up.
        step /= max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-4:
            break
    assert found is not None
    return found


def _softmax(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
