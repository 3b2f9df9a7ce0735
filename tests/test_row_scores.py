"""Scores that are means over rows are scikit-learn's, and their errors are those of other rows."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import get_scorer, r2_score

from ensemble_compress.data import Data
from ensemble_compress.judge import Judge, _stand_in
from ensemble_compress.row_scores import MEAN_SCORES, Answers, even

CLASSES = np.array(["no", "perhaps", "yes"])
OF_CLASSES = [name for name, score in MEAN_SCORES.items() if score.is_of_classes]
OF_VALUES = [name for name, score in MEAN_SCORES.items() if not score.is_of_classes]


def class_case(n_rows: int, seed: int, weighted: bool, n_known: int = 3) -> tuple[Data, Answers, Answers]:
    """Labels of the first `n_known` classes, and two models that are right of most of them."""
    random = np.random.default_rng(seed)
    y = random.integers(0, n_known, n_rows)
    models = []
    for share in (0.85, 0.75):
        codes = np.where(random.random(n_rows) < share, y, random.integers(0, 3, n_rows))
        models.append(Answers(np.eye(3)[codes], codes))
    return Data(np.zeros((n_rows, 1)), y, random.random(n_rows) if weighted else None), models[0], models[1]


def value_case(n_rows: int, seed: int, weighted: bool, n_outputs: int) -> tuple[Data, Answers, Answers]:
    random = np.random.default_rng(seed)
    y = random.normal(size=(n_rows, n_outputs)) * [1.0, 30.0][:n_outputs]
    models = [Answers(0.9 * y + noise * random.normal(size=y.shape), None) for noise in (0.3, 0.36)]
    target = y if n_outputs > 1 else y[:, 0]
    return (
        Data(np.zeros((n_rows, 1)), target, random.random(n_rows) if weighted else None),
        models[0],
        models[1],
    )


def expected_score(name: str, answers: Answers, data: Data) -> float:
    labels = data.y if answers.codes is None else CLASSES[data.y]
    classes = None if answers.codes is None else CLASSES
    return float(get_scorer(name)(_stand_in(classes, answers), data.X, labels, sample_weight=data.weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_known", [2, 3])
@pytest.mark.parametrize("name", OF_CLASSES)
def test_scores_of_classes_are_those_of_scikit_learn(name: str, n_known: int, weighted: bool) -> None:
    data, answers, _ = class_case(200, 0, weighted, n_known)
    with warnings.catch_warnings():
        # The models know a class that no row has.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        expected = expected_score(name, answers, data)
    assert_allclose(Judge(name, CLASSES).score(answers, data), expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("name", OF_VALUES)
def test_scores_of_values_are_those_of_scikit_learn(name: str, n_outputs: int, weighted: bool) -> None:
    data, answers, _ = value_case(200, 0, weighted, n_outputs)
    expected = expected_score(name, answers, data)
    assert_allclose(Judge(name, None).score(answers, data), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, score in MEAN_SCORES.items() if score.is_the_score])
def test_a_score_of_the_other_kind_is_left_to_scikit_learn(name: str) -> None:
    classes = None if name in OF_CLASSES else CLASSES
    assert not Judge(name, classes).tells_error


@pytest.mark.parametrize("weighted", [False, True])
def test_of_a_constant_output_a_row_that_is_met_is_not_enough(weighted: bool) -> None:
    y = np.column_stack([np.ones(4), [1.0, 2.0, 3.0, 5.0]])
    said = y + np.array([[0, 0.1], [0, 0], [0.5, 0], [0, 0.2]])
    weight = np.array([1.0, 2, 3, 4]) if weighted else None
    for values in (said, y + np.array([0, 0.3])):
        data, answers = Data(np.zeros((4, 1)), y, weight), Answers(values, None)
        expected = r2_score(y, values, sample_weight=weight)
        assert_allclose(Judge("r2", None).score(answers, data), expected, rtol=1e-12)


def test_rows_of_no_weight_count_for_nothing() -> None:
    data, answers, student = class_case(100, 0, True)
    weight = np.where(np.arange(100) < 60, data.weight, 0.0)
    first = np.arange(60)
    part = Data(data.X[first], data.y[first], data.weight[first])  # type: ignore[index]
    some = [Answers(a.values[first], a.codes[first]) for a in (answers, student)]  # type: ignore[index]
    for name in OF_CLASSES:
        judge, whole = Judge(name, CLASSES), Data(data.X, data.y, weight)
        assert_allclose(judge.score(some[0], part), judge.score(answers, whole), rtol=1e-12)
        assert_allclose(judge.drop_error(*some, part), judge.drop_error(answers, student, whole), rtol=1e-12)


def bootstrap(judge: Judge, teacher: Answers, student: Answers, data: Data) -> float:
    """The spread of the loss over resamples, each scored anew."""
    random, drops = np.random.default_rng(0), []
    for _ in range(400):
        rows = random.integers(0, data.n_rows, data.n_rows)
        part = data.take(rows)
        drawn = [
            Answers(a.values[rows], None if a.codes is None else a.codes[rows]) for a in (teacher, student)
        ]
        drops.append(judge.score(drawn[0], part) - judge.score(drawn[1], part))
    return float(np.std(drops))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OF_CLASSES)
def test_errors_of_classes_are_those_of_the_bootstrap(name: str, weighted: bool) -> None:
    data, teacher, student = class_case(800, 1, weighted)
    judge = Judge(name, CLASSES)
    # 400 resamples estimate a standard deviation to about four percent.
    assert judge.drop_error(teacher, student, data) == pytest.approx(bootstrap(judge, teacher, student, data), rel=0.12)  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OF_VALUES)
def test_errors_of_values_are_those_of_the_bootstrap(name: str, weighted: bool) -> None:
    data, teacher, student = value_case(800, 1, weighted, 1)
    judge = Judge(name, None)
    assert judge.drop_error(teacher, student, data) == pytest.approx(bootstrap(judge, teacher, student, data), rel=0.15)  # fmt: skip


def test_two_perfect_models_have_no_error_of_a_root() -> None:
    data, _, _ = value_case(50, 0, False, 1)
    perfect = Answers(np.asarray(data.y)[:, None], None)
    assert Judge("neg_root_mean_squared_error", None).drop_error(perfect, perfect, data) == 0.0


def test_weights_add_up_to_one() -> None:
    data, _, _ = class_case(30, 0, True)
    for name in OF_CLASSES:
        assert MEAN_SCORES[name].weight(data).sum() == pytest.approx(1.0)
    assert_allclose(np.full(30, 1 / 30), even(Data(data.X)))
