"""Students: as large as they are allowed to be, of the teacher's tests alone, and like the teacher."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zoo
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import r2_score
from test_algorithms import labels_for, leaf_forest, stump

from ensemble_compress.algorithms import DistillForest, distill_forest, lessons
from ensemble_compress.algorithms.leaf_fit import LeafFit, targets, to_additive
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.sizes import c_bytes

MODELS = (
    "random forest text", "random forest gaps", "random forest two columns", "boosting multiclass", "tree missing",
    "xgb multiclass", "xgb vector leaves", "xgb rank:ndcg", "xgb partitions", "hist categories missing", "hist poisson",
    "lgb categories", "lgb binary", "lgb cross_entropy_lambda", "lgb one against all",
)  # fmt: skip
CATBOOST = tuple(name for name in zoo.names("catboost") if "categor" in name)[:2]


def asked_by(forest: Forest) -> set[tuple[int, float, tuple[int, ...]]]:
    """What the splits of a forest ask: (feature, threshold, codes)."""
    start, words = forest.category_sets
    split = ~forest.is_leaf
    asked = zip(forest.nodes.feature[split], forest.nodes.threshold[split], forest.nodes.category_set[split], strict=True)  # fmt: skip
    return {(int(f), float(t), tuple(words[start[s] : start[s + 1]].tolist()) if s >= 0 else ()) for f, t, s in asked}  # fmt: skip


def rows_and_labels(name: str) -> tuple[Forest, Data]:
    forest, X = zoo.forest(name), zoo.rows(name)[: zoo.N_ROWS]
    entry = zoo.ENTRIES[name]
    y = zoo.data(entry.task, entry.missing, entry.categorical).y
    return forest, Data(X, y if forest.classes is None else np.searchsorted(forest.classes, y))


def cancer(n_trees: int = 30) -> tuple[Forest, Data]:
    X, y = load_breast_cancer(return_X_y=True)
    forest = read(RandomForestClassifier(n_trees, random_state=0).fit(X, y))
    return forest, Data(forest.rows(X), y)


@pytest.mark.parametrize("max_leaves", [2, 7, 0.5])
@pytest.mark.parametrize("name", [*MODELS, *CATBOOST])
def test_a_student_has_no_more_leaves_than_allowed_and_no_tests_of_its_own(
    name: str, max_leaves: Any
) -> None:
    forest, X = zoo.forest(name), zoo.rows(name)[: zoo.N_ROWS]
    data = Data(X, labels_for(forest, np.random.default_rng(0), len(X)))
    small = DistillForest(max_leaves=max_leaves, n_transfer=1.0)(forest, data)
    assert small.n_leaves <= (round(max_leaves * forest.n_leaves) if max_leaves == 0.5 else max_leaves)
    assert asked_by(small) <= asked_by(forest)
    assert small.n_outputs == to_additive(forest).n_outputs


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("xgb rank:ndcg", "tree missing")])
def test_a_student_of_half_the_leaves_answers_as_the_teacher_does(name: str) -> None:
    forest, data = rows_and_labels(name)
    small = DistillForest(max_leaves=0.5, mix=1)(forest, Data(data.X))
    expected, actual = forest.predict(data.X), small.predict(data.X)
    if forest.is_classifier:
        assert (expected == actual).mean() > 0.9
    else:
        assert r2_score(expected, actual) > 0.85


def test_ranking_scores_are_taught_as_margins() -> None:
    forest, X = zoo.forest("xgb rank:ndcg"), zoo.rows("xgb rank:ndcg")[: zoo.N_ROWS]
    small = DistillForest(max_leaves=0.7)(forest, Data(X, np.zeros(len(X))))
    assert np.corrcoef(forest.margin(X)[:, 0], small.margin(X)[:, 0])[0, 1] > 0.9


def test_unseen_rows_are_answered_better_by_larger_students() -> None:
    X, y = load_digits(return_X_y=True)
    teacher = read(ExtraTreesClassifier(20, max_depth=8, random_state=0).fit(X[:800], y[:800]))
    data, new = Data(teacher.rows(X[:800]), y[:800]), teacher.rows(X[800:])
    students = DistillForest(n_transfer=1.0).path(teacher, data, [20, 80, 320])
    agreement = [float((student.predict(new) == teacher.predict(new)).mean()) for student in students]
    assert agreement == sorted(agreement)
    assert agreement[-1] > 0.8


@pytest.mark.parametrize("max_bytes", [60, 200, 900])
@pytest.mark.parametrize(
    "name", ["random forest text", "xgb multiclass", "hist categories missing", "lgb categories"]
)
def test_tables_are_no_larger_than_allowed(name: str, max_bytes: int) -> None:
    forest, data = rows_and_labels(name)
    small = DistillForest(max_bytes=max_bytes, n_transfer=1.0)(forest, data)
    assert c_bytes(small) <= max_bytes


def test_most_of_the_bytes_that_are_allowed_are_used() -> None:
    forest, data = cancer()
    for max_bytes in (150, 400):
        small = DistillForest(max_bytes=max_bytes)(forest, data)
        assert 0.75 * max_bytes <= c_bytes(small) <= max_bytes


def test_where_no_student_fits_it_is_the_one_without_any_test() -> None:
    forest, data = cancer()
    small = DistillForest(max_bytes=1)(forest, data)
    assert (small.n_trees, small.n_leaves) == (0, 0)


def test_a_teacher_that_is_allowed_is_returned_as_it_is() -> None:
    forest, data = cancer(2)
    for allowed in (
        DistillForest(max_leaves=1.0),
        DistillForest(max_leaves=10_000),
        DistillForest(max_bytes=c_bytes(forest)),
        DistillForest(max_bytes=c_bytes(forest), max_leaves=forest.n_leaves),
    ):
        assert allowed(forest, data) is forest


def test_leaves_and_bytes_are_both_kept() -> None:
    forest, data = cancer()
    small = DistillForest(max_leaves=9, max_bytes=2 * c_bytes(forest))(forest, data)
    assert 5 <= small.n_leaves <= 9
    small = DistillForest(max_leaves=0.9, max_bytes=100)(forest, data)
    assert c_bytes(small) <= 100


def test_unless_told_a_student_has_a_tenth_of_the_leaves() -> None:
    forest, data = cancer()
    expected = DistillForest(max_leaves=0.1)(forest, data)
    assert DistillForest()(forest, data) == expected
    assert DistillForest(max_leaves=10**6, max_bytes=500)(forest, data) == DistillForest(max_bytes=500)(
        forest, data
    )


def test_the_trees_that_grew_are_the_trees_of_the_student() -> None:
    """The table of leaves that the fit went by is where a walk of the student sends the rows."""
    for name in ("random forest gaps", "hist categories missing", "xgb partitions", "tree missing"):
        forest, data = rows_and_labels(name)
        growth = DistillForest(n_transfer=1.0)._begin(forest, data, forest.n_leaves)
        growth.grow(forest.n_leaves)
        student = growth.current()
        assert student.n_trees == len(growth.trees) > 0
        again = LeafFit.of(student, growth.data, growth.fit.target, growth.fit.penalty)
        for part in ("leaf", "start", "output", "value", "bias"):
            assert_array_equal(getattr(growth.fit, part), getattr(again, part))
        assert_allclose(growth.fit.margin().T, student.margin(growth.data.X))


def test_a_path_gives_each_size_what_it_asks_for() -> None:
    forest, data = cancer()
    sizes = [1, 2, 3, 10, 40]
    students = list(DistillForest(n_transfer=0).path(forest, data, sizes))
    assert len(students) == len(sizes)
    found = [student.n_leaves for student in students]
    assert found == sorted(found)
    assert all(n <= size for n, size in zip(found, sizes, strict=True))
    assert found[:2] == [0, 2]


def test_a_path_ends_where_nothing_is_left_to_gain() -> None:
    data = Data(np.arange(12.0, dtype=np.float32)[:, None] / 12)
    (only,) = DistillForest(n_transfer=0).path(leaf_forest(3, n_features=1), data, [2, 4, 8])
    assert only.n_trees == 0
    found = list(DistillForest(n_transfer=0, rate=1.0, penalty=0.0).path(stump(), data, [2, 4, 8, 16]))
    assert len(found) < 4
    assert_allclose(stump().margin(data.X), found[-1].margin(data.X))


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("link", ["identity", "sigmoid", "exp"])
def test_a_constant_teacher_has_a_student_without_any_test(link: str, penalty: float) -> None:
    X = load_diabetes().data
    forest = read(RandomForestRegressor(10, random_state=0).fit(X, X[:, 0]))
    for value in (0.1, -1 / 3):
        constant = replace(forest.with_values(np.full_like(forest.values, value), forest.bias), link=link)
        small = DistillForest(penalty=penalty, max_leaves=50)(constant, Data(forest.rows(X)))
        assert small.n_leaves == 0
        assert_allclose(constant.predict(X[:5]), small.predict(X[:5]), rtol=1e-3)


def test_rows_of_no_weight_teach_nothing() -> None:
    forest, data = cancer()
    random = np.random.default_rng(0)
    weight = np.where(random.random(data.n_rows) < 0.5, 1.0, 0.0)
    noise = replace(data, y=np.where(weight > 0, data.y, 1 - data.y), weight=weight)
    option = DistillForest(max_leaves=30, mix=0, n_transfer=0)
    assert option(forest, replace(data, weight=weight)).margin(data.X).tobytes() == option(forest, noise).margin(data.X).tobytes()  # fmt: skip


def test_a_row_of_double_weight_counts_as_two() -> None:
    forest, data = cancer()
    weight = 1.0 + (np.arange(data.n_rows) % 2)
    twice = data.take(np.repeat(np.arange(data.n_rows), weight.astype(int)))
    option = DistillForest(max_leaves=30, mix=0.5, n_transfer=0)
    expected = option(forest, twice)
    actual = option(forest, replace(data, weight=weight))
    assert_array_equal(expected.nodes.threshold, actual.nodes.threshold)
    assert_allclose(expected.values, actual.values, rtol=1e-6, atol=1e-9)


def test_one_row_teaches_a_constant() -> None:
    forest, data = cancer()
    small = DistillForest(max_leaves=10)(forest, data.take(np.arange(1)))
    assert small.n_trees == 0
    assert_array_equal(data.y[:1], small.predict(data.X[:1]))  # type: ignore[index]


def test_without_labels_the_teachers_answers_are_taught_and_with_them_the_mixture() -> None:
    forest, data = cancer()
    wrong = replace(data, y=1 - np.asarray(data.y))
    by_teacher = DistillForest(max_leaves=20, mix=1, n_transfer=0)
    assert by_teacher(forest, wrong) == replace(by_teacher, mix=0.5)(forest, Data(data.X))
    by_labels = replace(by_teacher, mix=0)(forest, wrong)
    assert (by_labels.predict(data.X) == wrong.y).mean() > 0.9


def test_the_teachers_answers_may_come_from_outside() -> None:
    forest, data = cancer()
    answers = np.stack([data.X[:, 0] > 15, data.X[:, 0] <= 15], axis=1).astype(float)
    small = DistillForest(max_leaves=20, mix=1, n_transfer=0)(forest, Data(data.X, teacher=answers))
    assert (small.predict_proba(data.X).argmax(axis=1) == answers.argmax(axis=1)).mean() > 0.97


def test_tests_that_are_asked_already_are_preferred() -> None:
    forest, data = cancer()
    asked = [len(asked_by(DistillForest(max_leaves=100, reuse=reuse)(forest, data))) for reuse in (1.0, 0.3)]
    assert asked[1] < asked[0]


def test_no_tree_is_larger_than_allowed() -> None:
    forest, data = cancer()
    for most in (2, 5):
        small = DistillForest(max_leaves=60, tree_leaves=most, worth=0.0)(forest, data)
        assert max(np.diff(small.tree_start)) == 2 * most - 1


def test_a_seed_says_which_rows_are_made_up_and_which_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, data = cancer()
    for table in (lessons.LARGEST_TABLE, 4000):
        monkeypatch.setattr(lessons, "LARGEST_TABLE", table)
        option = DistillForest(max_leaves=20)
        growth = option._begin(forest, data, 20)
        assert growth.data.n_rows == (
            11 * data.n_rows if table > 4000 else 4000 // (20 // distill_forest.LEAVES_OF_A_TREE + 1)
        )
        assert option(forest, data) == option(forest, data)
        assert option(forest, data) != replace(option, random_state=1)(forest, data)


def test_missing_values_go_where_the_answers_are_alike() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(600, 2))
    X[random.random(600) < 0.3, 0] = np.nan
    for like_the_large in (True, False):
        y = np.where(np.isnan(X[:, 0]), like_the_large, X[:, 0] > 0).astype(int)
        forest = read(RandomForestClassifier(10, random_state=0).fit(X, y))
        small = DistillForest(max_leaves=6, n_transfer=0)(forest, Data(forest.rows(X), y))
        assert_array_equal(y, small.predict(X))


def test_missing_values_that_no_row_shows_go_where_the_teacher_sends_them() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    forest = read(GradientBoostingClassifier(random_state=0).fit(X, y))
    for left in (True, False):
        nodes = forest.nodes._replace(nan_left=np.full(forest.n_nodes, left) & ~forest.is_leaf)
        teacher = replace(forest, nodes=nodes, handles_nan=True)
        small = DistillForest(max_leaves=20, n_transfer=0)(teacher, Data(teacher.rows(X), y))
        assert (small.nodes.nan_left[~small.is_leaf] == left).all()


def test_a_booster_of_a_hundred_trees_fits_a_few_leaves() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    forest = read(GradientBoostingClassifier(random_state=0).fit(X, y))
    small = DistillForest(max_leaves=40)(forest, Data(forest.rows(X), y))
    assert (small.predict(X) == y).mean() > 0.97


def additive_targets(forest: Forest, data: Data) -> NDArray[np.float64]:
    return targets(to_additive(forest), data, 0.5)


def test_a_tree_that_is_appended_is_fitted_like_one_that_was_there() -> None:
    forest, data = rows_and_labels("xgb regression")
    whole = LeafFit.of(forest, data, additive_targets(forest, data), 1.0)
    grown = LeafFit.of(forest.take([0]), data, whole.target, 1.0)
    for t in range(1, forest.n_trees):
        first, last = whole.start[t : t + 2]
        grown.append(whole.leaf[t] - first, whole.value[first:last, 0].copy(), int(whole.output[t]))
    for fit in (whole, grown):
        fit.sweep(2)
    for part in ("leaf", "start", "output", "value", "bias"):
        assert_array_equal(getattr(whole, part), getattr(grown, part))


def test_trees_may_be_appended_to_a_fit_of_some_of_the_rows() -> None:
    forest, data = rows_and_labels("xgb regression")
    fit = LeafFit.of(forest.take([0]), data, additive_targets(forest, data), 1.0)
    fit.append(np.zeros(data.n_rows, np.int32), np.array([1.0]), 0)
    part = fit.take(np.arange(5))
    part.append(np.zeros(5, np.int32), np.array([2.0]), 0)
    assert_array_equal(fit.leaf[:, :5], part.leaf[:2])
    assert (part.leaf.shape, fit.leaf.shape) == ((3, 5), (2, data.n_rows))
    assert_allclose(fit.margin()[:, :5] + 2.0, part.margin())
