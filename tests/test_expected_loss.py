"""The expected loss of score: true on average, steadier than the labels, nothing where nothing differs."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from ensemble_compress.expected_loss import expected_drop

Model = tuple[NDArray[Any], NDArray[Any]]


def softmax(margin: NDArray[Any]) -> NDArray[Any]:
    out = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def population(n_rows: int, n_classes: int, seed: int = 0) -> tuple[NDArray[Any], Model, Model]:
    """(the probability of each class, a teacher, a student), the truth a mixture of what both of them say.

    The teacher is surer than it ought to be, as ensembles of deep trees are, and the student says less than it does.
    """
    random = np.random.default_rng(seed)
    signal = random.normal(size=(n_rows, n_classes)) * 1.5
    coarse = np.round(signal) + 0.2 * random.normal(size=(n_rows, n_classes))
    true = softmax(0.8 * signal + 0.3 * coarse)
    teacher, student = softmax(2.0 * signal), softmax(coarse)
    return true, (teacher, teacher.argmax(axis=1)), (student, student.argmax(axis=1))


def draw(true: NDArray[Any], random: np.random.Generator) -> NDArray[np.intp]:
    """Labels, each of its row's probabilities."""
    return np.asarray((random.random((len(true), 1)) > np.cumsum(true, axis=1)[:, :-1]).sum(axis=1))


def gain_of_classes(score: str, true: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """What a hit counts, by class."""
    n_classes = true.shape[1]
    return np.ones(n_classes) if score == "accuracy" else 1 / (weight @ true) / n_classes


def true_drop(score: str, true: NDArray[Any], teacher: Model, student: Model, weight: NDArray[Any]) -> float:
    gain, every = gain_of_classes(score, true, weight), np.arange(len(true))
    worth = [true[every, codes] * gain[codes] for _, codes in (teacher, student)]
    return float(weight @ (worth[0] - worth[1]))


def drop_of_labels(codes: NDArray[Any], teacher: Model, student: Model, weight: NDArray[Any]) -> float:
    return float(weight @ ((teacher[1] == codes) * 1.0 - (student[1] == codes)))


def even(n_rows: int) -> NDArray[np.float64]:
    return np.full(n_rows, 1 / n_rows)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_estimate_is_within_its_error_of_the_truth(n_classes: int, score: str, weighted: bool) -> None:
    misses = []
    for seed in range(30):
        true, teacher, student = population(1500, n_classes, seed)
        random = np.random.default_rng(seed)
        weight = random.random(1500) if weighted else np.ones(1500)
        weight /= weight.sum()
        found, error = expected_drop(score, teacher, student, draw(true, random), weight)
        misses.append((found - true_drop(score, true, teacher, student, weight)) / error)
    assert np.abs(misses).max() < 4
    assert abs(np.mean(misses)) < 1


@pytest.mark.parametrize("n_classes", [2, 5])
def test_it_varies_far_less_than_what_the_labels_say(n_classes: int) -> None:
    true, teacher, student = population(600, n_classes)
    random, weight = np.random.default_rng(1), even(600)
    draws = [draw(true, random) for _ in range(200)]
    by_labels = [drop_of_labels(codes, teacher, student, weight) for codes in draws]
    estimates = [expected_drop("accuracy", teacher, student, codes, weight) for codes in draws]
    found = [drop for drop, _ in estimates]
    assert np.var(found) < np.var(by_labels) / 2
    truth = true_drop("accuracy", true, teacher, student, weight)
    # Both are right on average; what is left is the luck of 200 draws, and of the form of the calibration.
    assert_allclose(truth, np.mean(by_labels), atol=4 * np.std(by_labels) / np.sqrt(200))
    assert abs(truth - np.mean(found)) < np.mean([error for _, error in estimates])


def test_the_error_is_that_of_other_rows() -> None:
    """Over populations of other rows and labels, the estimates spread as the error says."""
    found, errors = [], []
    for seed in range(200):
        true, teacher, student = population(400, 3, seed)
        drop, error = expected_drop("accuracy", teacher, student, draw(true, np.random.default_rng(seed)), even(400))  # fmt: skip
        found.append(drop)
        errors.append(error)
    # The error leaves the calibration out, and counts a row that was not seen.
    assert 0.8 < np.std(found) / np.mean(errors) < 1.3


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy"])
def test_where_both_agree_everywhere_nothing_is_lost_and_a_row_is_unsure(score: str) -> None:
    true, teacher, student = population(300, 3)
    codes = draw(true, np.random.default_rng(0))
    alike = (student[0], teacher[1])
    drop, error = expected_drop(score, teacher, alike, codes, even(300))
    counts = np.bincount(codes)
    expected = 1 / 300 if score == "accuracy" else 1 / counts.min() / 3
    assert (drop, error) == (0.0, pytest.approx(expected))


def test_the_loss_of_one_is_the_gain_of_the_other() -> None:
    true, teacher, student = population(300, 3)
    codes = draw(true, np.random.default_rng(0))
    one = expected_drop("accuracy", teacher, student, codes, even(300))
    other = expected_drop("accuracy", student, teacher, codes, even(300))
    assert_allclose([-one[0], one[1]], other, rtol=1e-9)


def test_a_row_of_double_weight_counts_as_two() -> None:
    true, teacher, student = population(300, 3)
    codes, weight = draw(true, np.random.default_rng(0)), 1.0 + np.arange(300) % 2
    again = np.repeat(np.arange(300), weight.astype(int))
    for score in ("accuracy", "balanced_accuracy"):
        twice = [(values[again], decided[again]) for values, decided in (teacher, student)]
        expected, _ = expected_drop(score, *twice, codes[again], even(len(again)))
        actual, _ = expected_drop(score, teacher, student, codes, weight / weight.sum())
        # The prior counts rows, not weights.
        assert_allclose(expected, actual, rtol=0.1)


def test_a_class_that_nobody_has_counts_for_nothing() -> None:
    true, teacher, student = population(400, 3)
    codes = draw(true[:, :2] / true[:, :2].sum(axis=1, keepdims=True), np.random.default_rng(0))
    drop, error = expected_drop("balanced_accuracy", teacher, student, codes, even(400))
    assert np.isfinite([drop, error]).all()
    # To decide for the class that is missing is worth nothing: a student that never does can't lose by it.
    never = student[0] * [1.0, 1.0, 0.0]
    better, _ = expected_drop(
        "balanced_accuracy", teacher, (student[0], never.argmax(axis=1)), codes, even(400)
    )
    assert better < drop


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_nothing_and_of_one_are_no_certainty(dtype: Any) -> None:
    """Trees that know their rows by heart say 0 and 1; where they err the estimate has to stay a number."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 500)
    wrong = np.where(random.random(500) < 0.1, 1 - codes, codes)
    flipped = np.where(random.random(500) < 0.1, 1 - wrong, wrong)
    teacher, student = [(np.eye(2, dtype=dtype)[said], said) for said in (wrong, flipped)]
    drop, error = expected_drop("accuracy", teacher, student, codes, even(500))
    assert abs(drop - drop_of_labels(codes, teacher, student, even(500))) < 2 * error
    assert 0.0 < error < 0.05


def test_models_that_are_always_right_leave_nothing_to_calibrate() -> None:
    codes = np.arange(50) % 2
    model = (np.eye(2)[codes], codes)
    drop, error = expected_drop("accuracy", model, model, codes, even(50))
    assert (drop, error) == (0.0, pytest.approx(1 / 50))


def test_models_that_say_nothing_are_no_error() -> None:
    nothing = (np.full((60, 3), 1 / 3), np.zeros(60, int))
    other = (np.full((60, 3), 1 / 3), np.ones(60, int))
    drop, _ = expected_drop("accuracy", nothing, other, np.arange(60) % 3, even(60))
    assert drop == pytest.approx(0.0)


def test_where_the_calibration_is_of_the_wrong_form_the_labels_lead() -> None:
    """Both models are calibrated where they agree, and the student is always wrong, though as sure, where they don't."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 2000)
    sure = random.random(2000) < 0.7
    teacher = np.where(sure | (random.random(2000) < 0.5), codes, 1 - codes)
    student = np.where(sure | (teacher != codes), teacher, 1 - codes)
    probability = np.where(sure, 0.98, 0.52)
    models = [(np.where(np.eye(2)[said] > 0, probability[:, None], 1 - probability[:, None]), said) for said in (teacher, student)]  # fmt: skip
    drop, error = expected_drop("accuracy", *models, codes, even(2000))
    by_labels = drop_of_labels(codes, *models, even(2000))
    assert by_labels > 0.1
    assert abs(drop - by_labels) < max(3 * error, by_labels / 3)
