"""By how much a student's score falls short of its teacher's, as far as both of them together know what the labels will be.

Where two classifiers agree nothing is lost. On the few rows where they don't, the label that happened to be drawn says
little: with 150 such rows the loss of one percent of accuracy is a guess. What is likely to be drawn there says much more,
and the probabilities of both models tell it, once they are calibrated on all rows. The mean over rows of what is likely
varies up to four times less than the mean of what was drawn. It would be biased where the form of the calibration is wrong; so each
model's decision counts as well, by an amount that is held near zero until the labels insist: with many rows the
estimate becomes the plain one.

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

LEAST_PROBABILITY = 0.03
"""Smaller ones count as this: forests of few trees say 0 where they mean "seldom", and its logarithm would rule the fit."""

PRIOR_DEVIATIONS = np.array([1e3, 1e3, 0.2, 0.2])
"""Of the powers of both models' probabilities, and of what each one's decision adds to a class's log-probability."""

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
    likely = _calibrated(_evidence(teacher, student), codes, weight)
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


def _evidence(*models: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[np.float64]:
    """What speaks for each class, shape (4, n_rows, n_classes): log-probabilities of both models, and their decisions."""
    logs = [np.log(np.maximum(values, LEAST_PROBABILITY)) for values, _ in models]
    decisions = [codes[:, None] == np.arange(values.shape[1]) for values, codes in models]
    return np.stack([*logs, *decisions]).astype(np.float64)


def _calibrated(
    evidence: NDArray[np.float64], codes: NDArray[Any], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The probability of each class: of the evidence with those factors that make the labels likeliest, shrunk by the prior."""
    factors, every = np.array([0.5, 0.5, 0.0, 0.0]), np.arange(len(codes))
    penalty = 1 / np.square(PRIOR_DEVIATIONS) / len(codes)
    of_label = evidence[:, every, codes]
    for _ in range(N_STEPS):
        likely = _softmax(np.tensordot(factors, evidence, 1))
        weighted = evidence * likely
        mean = weighted.sum(axis=2)
        gradient = (of_label - mean) @ weight - penalty * factors
        square = np.einsum("anc,bnc,n->ab", weighted, evidence, weight, optimize=True)
        curvature = square - (mean * weight) @ mean.T + np.diag(penalty + 1e-9)
        step = np.clip(np.linalg.solve(curvature, gradient), -1, 1)
        factors = np.clip(factors + step, -4, 4)
        if np.abs(step).max() < 1e-4:
            break
    return _softmax(np.tensordot(factors, evidence, 1))


def _softmax(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
