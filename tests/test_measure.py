"""Scores against counting by hand, sizes against the bytes themselves, speed against a clock that is told."""

import pickle
import tracemalloc

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from test_writer_c import small_forest

from ensemble_compress import measure, timing
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes, make_sets
from ensemble_compress.readers import read


def counted_scores(probabilities, y, weight, n_classes):
    """The definitions, by loops over pairs of rows."""
    codes = [int(np.argmax(p)) for p in probabilities]
    rows = range(len(y))
    hit = sum(weight[i] for i in rows if codes[i] == y[i])
    precision, recall, f1 = [], [], []
    for c in range(n_classes):
        both = sum(weight[i] for i in rows if codes[i] == c == y[i])
        said = sum(weight[i] for i in rows if codes[i] == c)
        true = sum(weight[i] for i in rows if y[i] == c)
        precision.append(both / said if said else 0.0)
        recall.append(both / true if true else 0.0)
        f1.append(2 * both / (said + true) if said + true else 0.0)
    areas = []
    for c in range(n_classes):
        pairs = [(i, j) for i in rows for j in rows if y[i] == c != y[j]]
        value = {True: 1.0, False: 0.0}
        won = sum(
            weight[i]
            * weight[j]
            * (
                0.5
                if probabilities[i][c] == probabilities[j][c]
                else value[bool(probabilities[i][c] > probabilities[j][c])]
            )
            for i, j in pairs
        )
        areas.append(won / sum(weight[i] * weight[j] for i, j in pairs))
    loss = -sum(weight[i] * np.log(probabilities[i][y[i]]) for i in rows) / sum(weight)
    return {
        "accuracy": hit / sum(weight),
        "balanced_accuracy": np.mean(recall),
        "precision": np.mean(precision),
        "recall": np.mean(recall),
        "f1": np.mean(f1),
        "roc_auc": areas[1] if n_classes == 2 else np.mean(areas),
        "log_loss": loss,
    }


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_classification_scores_are_those_counted_by_hand(n_classes, is_weighted):
    random = np.random.default_rng(n_classes)
    y = np.concatenate([np.arange(n_classes), random.integers(0, n_classes, 40)])
    probabilities = random.dirichlet(np.ones(n_classes), len(y)).round(2) + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    weight = random.uniform(0.1, 3, len(y)) if is_weighted else None
    expected = counted_scores(probabilities, y, np.ones(len(y)) if weight is None else weight, n_classes)
    actual = measure.scores(probabilities, y, weight, classes=list(range(n_classes)))
    assert {key: actual[key] for key in expected} == pytest.approx(expected, rel=1e-12)


def test_regression_scores_are_those_counted_by_hand():
    y, answers = np.array([1.0, 2.0, 4.0]), np.array([[1.0], [3.0], [2.0]])
    actual = measure.scores(answers, y, np.array([1.0, 1.0, 2.0]))
    mean = (1 + 2 + 4 + 4) / 4
    total = (1 - mean) ** 2 + (2 - mean) ** 2 + 2 * (4 - mean) ** 2
    expected = {"r2": 1 - (1 + 2 * 4) / total, "rmse": np.sqrt((1 + 2 * 4) / 4), "mae": (1 + 2 * 2) / 4}
    assert actual == pytest.approx(expected, rel=1e-12)


@given(
    st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**31), st.booleans()
)  # whatever is missing, no warning and no NaN
def test_scores_are_numbers_or_none_whatever_is_missing(n_classes, n_rows, seed, is_weighted):
    random = np.random.default_rng(seed)
    answers = random.normal(0, 1, (n_rows, n_classes)).round(1)
    weight = random.integers(0, 2, n_rows).astype(float) if is_weighted else None
    if weight is not None:
        weight[0] = 1.0
    classes = [f"label {c}" for c in range(n_classes)]
    found = measure.scores(answers, random.integers(0, n_classes, n_rows), weight, classes=classes)
    numbers = [value for key, value in found.items() if key != "per_class" and value is not None]
    assert all(type(value) is float and np.isfinite(value) for value in numbers)
    assert [row["label"] for row in found["per_class"]] == classes


def test_a_score_without_a_value_is_none():
    one_class = measure.scores(np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 0]), classes=[0, 1])
    assert one_class["roc_auc"] is None
    assert one_class["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)
    assert measure.scores(np.array([[1.0]]), np.array([2.0]))["r2"] is None


def test_rows_that_weigh_nothing_do_not_count():
    answers, y = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]), np.array([0, 1, 1])
    expected = measure.scores(answers[:2], y[:2], classes=[0, 1])
    actual = measure.scores(answers, y, np.array([1.0, 1.0, 0.0]), classes=[0, 1])
    assert expected == actual


def test_the_label_that_the_model_decides_for_counts():
    answers = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = measure.scores(answers, np.array([1, 0]), classes=[0, 1], codes=np.array([1, 0]))
    assert found["accuracy"] == 1.0


def stump(threshold, values, **facts):
    """One split of feature 0."""
    nodes = Nodes(
        [0, -1, -1], [threshold, 0, 0], [2, -1, -1], [0] * 3, [-1] * 3, [-1, 0, 1], [0] * 3, [0, 1, 2]
    )
    values = np.asarray(values, float)
    bias = np.zeros(facts.pop("n_outputs", values.shape[1]))
    return Forest(nodes, [0, 3], [facts.pop("output", -1)], values, bias, 1, **facts)


def test_agreement_counts_equal_labels_and_the_largest_differences():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    teacher = stump(1.5, [[0.9, 0.1], [0.2, 0.8]], classes=["a", "b"])
    student = stump(0.5, [[0.8, 0.2], [0.2, 0.8]], classes=["a", "b"])
    actual = measure.agreement(teacher, student, teacher.margin(X), student.margin(X))
    expected = {
        "equal_labels": 0.75,
        "largest_margin_difference": 0.7,
        "largest_difference": 0.7,
        "mean_difference": (0.1 + 0.7) / 4,
    }
    assert actual == pytest.approx(expected)


@pytest.mark.parametrize("tie_class", [0, 1])
def test_equal_probabilities_from_elsewhere_are_decided_as_the_forest_decides(tie_class):
    forest = small_forest(link="sigmoid", tie_class=tie_class)
    answers = np.array([[0.5, 0.5], [0.6, 0.4], [0.4, 0.6]])
    assert measure.codes_of(forest, np.full((3, 1), 9.0), answers).tolist() == [tie_class, 0, 1]
    found = measure.agreement(forest, forest, *[np.zeros((3, 1))] * 2, answers, answers[[0, 2, 2]])
    assert found["equal_labels"] == pytest.approx(2 / 3)
    third = np.array([[0.4, 0.4, 0.2]])
    three = small_forest(classes=np.arange(3), bias=[0.0] * 3, values=np.eye(3)[:2], tree_output=[-1])
    assert measure.codes_of(three, np.zeros((1, 3)), third).tolist() == [0]


def test_agreement_of_regression_models_has_no_labels():
    X = np.array([[0.0], [2.0]])
    teacher, student = stump(1.0, [[1.0], [3.0]], link="exp"), stump(1.0, [[np.e], [np.e**3]])
    actual = measure.agreement(teacher, student, teacher.margin(X), student.margin(X))
    assert actual["equal_labels"] is None
    assert actual["largest_margin_difference"] is None  # a logarithm and a value cannot be subtracted
    assert actual["largest_difference"] == pytest.approx(0.0, abs=1e-12)


def test_structure_counts_what_the_trees_hold():
    nodes = Nodes(
        feature=[0, -1, 0, 1, -1, -1, -1, -1],
        threshold=[0.5, 0, 0.5, 0, 0, 0, 0, 0],
        right=[2, -1, 6, 5, -1, -1, -1, -1],
        nan_left=[False] * 8,
        category_set=[-1, -1, -1, 0, -1, -1, -1, -1],
        leaf=[-1, 0, -1, -1, 1, 2, 1, 0],
        cover=[0] * 8,
        node_id=range(8),
    )
    forest = Forest(
        nodes, [0, 7, 8], [0, 0], [[1.0], [2.0], [1.0]], [0.0], 3, category_sets=make_sets([[1, 4]])
    )
    expected = {
        "trees": 2,
        "nodes": 8,
        "leaves": 5,
        "depth": 3,
        "thresholds": 1,
        "features": 2,
        "leaf_values": 2,
    }
    assert expected == measure.structure(forest)


X = np.random.default_rng(0).normal(size=(200, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)


def test_the_scores_of_a_forest_are_those_of_its_model():
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(X, np.array(["no", "yes"])[Y])
    found = measure.label_scores(read(model), X, np.array(["no", "yes"])[Y])
    assert found["accuracy"] == model.score(X, np.array(["no", "yes"])[Y])
    regression = RandomForestRegressor(5, max_depth=3, random_state=0).fit(X, X[:, 0])
    assert measure.label_scores(read(regression), X, X[:, 0])["r2"] == pytest.approx(
        regression.score(X, X[:, 0]), abs=1e-12
    )


def test_pickle_bytes_are_those_of_the_pickle():
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    assert len(pickle.dumps(model, protocol=5)) == measure.pickle_bytes(model)


def test_pickling_to_count_keeps_no_bytes():
    array = np.zeros(5_000_000)
    tracemalloc.start()
    n_bytes = measure.pickle_bytes({"array": array})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_bytes > array.nbytes
    assert peak < array.nbytes / 10


def test_what_cannot_be_pickled_has_no_pickle_bytes():
    assert measure.pickle_bytes(lambda: 0) is None


def test_teacher_bytes_of_a_file_are_the_file(tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1, n_jobs=1).fit(X, Y)
    path = tmp_path / "model.txt"
    model.booster_.save_model(path)
    from_model, from_file = measure.teacher_bytes(model, read(model)), measure.teacher_bytes(path, read(path))
    assert path.stat().st_size == from_file["library_file"]
    assert len(model.booster_.model_to_string().encode()) == from_model["library_file"]
    assert from_file["pickle"] is None
    assert from_file["c_tables"] == from_model["c_tables"] < from_model["plain_c_tables"]


def test_teacher_bytes_of_xgboost_are_its_ubjson(tmp_path):
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(X, Y)
    path = tmp_path / "model.ubj"
    model.get_booster().save_model(path)
    assert path.stat().st_size == measure.teacher_bytes(model, read(model))["library_file"]


def test_teacher_bytes_of_scikit_learn_are_its_pickle():
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    found = measure.teacher_bytes(model, read(model))
    assert found["library_file"] is None
    assert len(pickle.dumps(model, protocol=5)) == found["pickle"]


class Clock:
    """A clock that moves only when a predictor says so."""

    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns

    def predictor(self, us_a_call, us_a_row):
        def predict_rows(rows):
            self.ns += int(1000 * (us_a_call + us_a_row * len(rows)))

        return predict_rows


def test_speed_is_time_over_rows(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter_ns", clock)
    found = timing.speed_us(
        {"slow": clock.predictor(100, 50), "fast": clock.predictor(0, 2)}, np.zeros((1000, 3))
    )
    n_rows = 0.2 / 4 / ((100 + 50 * 200) / 200 * 1e-6)  # a call of the slow one takes a quarter of the time
    assert found["slow"]["batch"] == pytest.approx(50 + 100 / int(n_rows))
    assert found == {
        "slow": {"batch": found["slow"]["batch"], "single": 150.0},
        "fast": {"batch": 2.0, "single": 2.0},
    }


def test_speed_takes_about_the_time_that_it_is_given(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter_ns", clock)
    timing.speed_us({"it": clock.predictor(10, 5)}, np.zeros((500, 1)), seconds=0.5)
    assert 0.5e9 <= clock.ns <= 1.1e9  # half a second for batches; a thousand single rows take less


def test_each_predictor_may_have_its_own_form_of_the_rows(monkeypatch):
    clock, seen = Clock(), set()
    monkeypatch.setattr(timing.time, "perf_counter_ns", clock)

    def remember(rows):
        seen.add(rows.dtype.name)
        clock.predictor(1, 1)(rows)

    rows = {"a": np.zeros((30, 1), np.float32), "b": np.zeros((30, 1))}
    found = timing.speed_us({"a": remember, "b": remember}, rows, seconds=0.001)
    assert seen == {"float32", "float64"}
    assert set(found) == {"a", "b"}
