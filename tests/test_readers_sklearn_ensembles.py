"""Bagging, AdaBoost and isolation forests are read exactly or refused, and every estimator's ties are decided as it decides them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import zoo
from numpy.typing import NDArray
from sklearn import ensemble, neighbors, tree
from sklearn.dummy import DummyClassifier

import ensemble_compress as ec
from ensemble_compress import emulate
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.fixed_point import emulate_scores, fixed_point
from ensemble_compress.readers import read
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library
from ensemble_compress.writers.treelite import to_treelite

STUMP = tree.DecisionTreeClassifier(max_depth=1)
CONSTANT = np.zeros((8, 1))
HALVES = np.arange(8) % 2


class Unweighted(tree.DecisionTreeClassifier):  # type: ignore[misc]
    """Bagging hands such members the drawn rows instead of weights, so that they miss classes."""

    def fit(self, X: Any, y: Any) -> Any:
        return super().fit(X, y)


def ulps(expected: NDArray[Any], actual: NDArray[Any], magnitude: NDArray[Any]) -> float:
    """The largest difference in units of the last place of `magnitude`."""
    return float((np.abs(expected - actual) / np.spacing(np.abs(magnitude))).max())


# -- bagging ----------------------------------------------------------------------------------------------------


def test_members_that_know_some_classes_only_are_spread_over_all() -> None:
    X, y = zoo.data("gaps")
    model = ensemble.BaggingClassifier(Unweighted(max_depth=3), 12, max_samples=4, random_state=1).fit(X, y)
    assert {1, 2, 3} >= {len(member.classes_) for member in model.estimators_} != {3}
    forest = read(model)
    np.testing.assert_array_equal(model.predict_proba(X), forest.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), forest.predict(X))
    assert forest.classes is not None
    assert forest.classes.tolist() == [-2, 7, 30]


def test_columns_of_members_are_columns_of_the_rows() -> None:
    model, forest = zoo.trained("bagging gaps"), zoo.forest("bagging gaps")
    assert any(len(set(columns)) < len(columns) for columns in model.estimators_features_)
    for t, columns in enumerate(model.estimators_features_):
        tested = forest.nodes.feature[forest.tree_start[t] : forest.tree_start[t + 1]]
        assert set(tested[tested >= 0].tolist()) <= set(columns.tolist())


@pytest.mark.parametrize("name", ["bagging", "bagging regression"])
def test_jobs_of_bagging_move_a_sum_by_its_rounding_only(name: str) -> None:
    X = zoo.rows(name)
    before = zoo.expected_margin(name)
    model = zoo.trained(name)
    model.set_params(n_jobs=3)
    try:
        with joblib.parallel_config("threading"):
            in_jobs = zoo.expected_margin(name)
    finally:
        model.set_params(n_jobs=None)
    forest = zoo.forest(name)
    np.testing.assert_array_equal(before, forest.margin(X))
    magnitude = np.abs(forest.values[forest.nodes.leaf[forest.find_leaves(X)]]).sum(axis=1) / forest.divisor
    assert ulps(in_jobs, forest.margin(X), np.maximum(magnitude, 1e-300)) <= 4


def _fit(model: Any, task: str = "binary") -> Any:
    return model.fit(*zoo.data(task))


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (
            ensemble.BaggingClassifier(ensemble.RandomForestClassifier(2), 2), "binary",
            "RandomForestClassifier cannot be read: it adds up sums of 2 trees, .*fit one RandomForestClassifier of all the trees",
        ),
        (
            ensemble.BaggingRegressor(ensemble.HistGradientBoostingRegressor(max_iter=2), 2), "regression",
            "BaggingRegressor of HistGradientBoostingRegressor cannot be read; expected DecisionTreeRegressor as its estimator",
        ),
        (
            ensemble.BaggingClassifier(neighbors.KNeighborsClassifier(), 2), "binary",
            "BaggingClassifier of KNeighborsClassifier cannot be read; expected DecisionTreeClassifier",
        ),
        (
            ensemble.BaggingRegressor(tree.DecisionTreeClassifier(), 2), "multiclass",
            "BaggingRegressor of DecisionTreeClassifier cannot be read; expected DecisionTreeRegressor",
        ),
        (
            ensemble.AdaBoostClassifier(ensemble.ExtraTreesClassifier(3, max_depth=1), n_estimators=2), "binary",
            "AdaBoostClassifier of ExtraTreesClassifier cannot be read: it adds up sums of 3 trees",
        ),
        (
            ensemble.AdaBoostRegressor(n_estimators=2), "regression",
            "AdaBoostRegressor cannot be read: it predicts a weighted median of its trees",
        ),
        (
            ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier())]), "binary",
            "VotingClassifier cannot be read: it averages other models: pass one of its estimators_",
        ),
        (
            ensemble.VotingRegressor([("a", tree.DecisionTreeRegressor())]), "regression",
            "VotingRegressor cannot be read: it averages other models: pass one of its estimators_",
        ),
        (
            ensemble.StackingClassifier([("a", STUMP)], final_estimator=STUMP), "binary",
            "StackingClassifier cannot be read: .*pass one of its estimators_",
        ),
        (
            ensemble.StackingRegressor([("a", tree.DecisionTreeRegressor())], tree.DecisionTreeRegressor()), "regression",
            "StackingRegressor cannot be read: .*pass one of its estimators_",
        ),
        (
            ensemble.GradientBoostingClassifier(n_estimators=1, init=DummyClassifier(strategy="stratified")), "binary",
            r"starts from a fitted model, init=DummyClassifier\(strategy='stratified'\), which is no constant",
        ),
    ],
)  # fmt: skip
def test_what_no_forest_can_say_is_refused_by_name(model: Any, task: str, message: str) -> None:
    fitted = _fit(model, task)
    with pytest.raises(UnsupportedModelError, match=message):
        read(fitted)


def test_a_member_that_predicts_in_a_way_of_its_own_is_refused() -> None:
    class Shifted(tree.DecisionTreeRegressor):  # type: ignore[misc]
        def predict(self, X: Any, check_input: bool = True) -> Any:
            return super().predict(X, check_input) + 1

    with pytest.raises(UnsupportedModelError, match="BaggingRegressor of Shifted cannot be read; expected"):
        read(_fit(ensemble.BaggingRegressor(Shifted(), 2), "regression"))


# -- AdaBoost -----------------------------------------------------------------------------------------------------


def test_adaboost_of_one_class_always_says_it() -> None:
    model = ensemble.AdaBoostClassifier(n_estimators=3).fit(CONSTANT, np.full(8, "only"))
    forest = read(model)
    np.testing.assert_array_equal(model.decision_function(CONSTANT), forest.margin(CONSTANT))
    np.testing.assert_array_equal(model.predict_proba(CONSTANT), forest.predict_proba(CONSTANT))
    assert forest.predict([[3.0]]).tolist() == ["only"]


def test_adaboost_without_weights_is_refused() -> None:
    model = _fit(ensemble.AdaBoostClassifier(n_estimators=2))
    model.estimator_weights_ = np.zeros(2)
    with pytest.raises(
        UnsupportedModelError, match=r"divides by the sum of its estimator_weights_, which is 0\.0"
    ):
        read(model)


def test_adaboost_is_refit_and_pruned_as_the_softmax_that_it_is() -> None:
    forest, X = zoo.forest("adaboost gaps"), zoo.data("gaps").X
    data = ec.Data(forest.rows(X))
    refit = ec.algorithms.RefitLeaves(mix=1.0)(forest, data)
    assert (refit.link, refit.n_outputs) == ("softmax", 3)
    agreement = np.mean(refit.predict(X) == forest.predict(X))
    assert agreement > 0.9
    assert ec.algorithms.PruneTrees(n_trees=3)(forest, data).n_trees == 3


# -- isolation forests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isolation forest", "isolation forest columns"])
def test_labels_of_an_isolation_forest_come_from_its_offset(name: str) -> None:
    model, X = zoo.trained(name), zoo.rows(name)
    expected = model.predict(X)
    assert {-1, 1} == set(expected.tolist())
    labels = np.where(zoo.forest(name).predict(X) - model.offset_ < 0, -1, 1)
    np.testing.assert_array_equal(expected, labels)


def test_an_isolation_forest_of_single_rows_scores_one_half() -> None:
    X = zoo.data("regression").X
    model = ensemble.IsolationForest(n_estimators=3, max_samples=1, random_state=0).fit(X)
    np.testing.assert_array_equal(model.score_samples(X), read(model).predict(X))
    assert read(model).margin(X[:1]).tolist() == [[1.0]]


def test_an_isolation_forest_is_written_as_c_and_as_a_library_but_not_for_treelite(tmp_path: Path) -> None:
    forest, X = zoo.forest("isolation forest"), zoo.rows("isolation forest")
    answers = emulate.run_c(forest, X)
    np.testing.assert_array_equal(emulate_scores(forest, X), answers.scores)
    point = fixed_point(forest)
    scores = answers.scores * 2.0**point.exponent / forest.divisor
    np.testing.assert_allclose(scores, forest.margin(X), atol=point.bound / forest.divisor + 1e-12)
    library = write_shared_library(forest, tmp_path / "model.so")
    np.testing.assert_array_equal(forest.margin(X), SharedLibrary(library).margin(X))
    with pytest.raises(UnsupportedModelError, match=r"Treelite has no link 'isolation' for 1 output\(s\)"):
        to_treelite(forest)


def test_several_classes_of_adaboost_are_written_as_c_but_not_for_treelite() -> None:
    forest, X = zoo.forest("adaboost gaps"), zoo.rows("adaboost gaps")
    assert forest.classes is not None
    labels = emulate.run_c(forest, X).labels
    assert np.mean(forest.classes[labels] == forest.predict(X)) > 0.999  # leaves are rounded to 32 bits
    with pytest.raises(
        UnsupportedModelError, match=r"Treelite has no link 'samme' for 3 output\(s\) of a classifier"
    ):
        to_treelite(forest)


def test_an_isolation_forest_is_compressed_by_its_own_scores() -> None:
    X = zoo.data("regression").X
    model = ensemble.IsolationForest(n_estimators=8, max_samples=32, random_state=0).fit(X)
    small = ec.compress(model, X, steps=[ec.algorithms.PruneTrees(n_trees=4)])
    assert small.forest.n_trees == 4
    assert np.corrcoef(small.predict(X), model.score_samples(X))[0, 1] > 0.8
    np.testing.assert_array_equal(model.score_samples(X), ec.pack(model).predict(X))


# -- ties ---------------------------------------------------------------------------------------------------------


def _cancelling_boosting(**options: Any) -> Any:
    """Two trees whose leaves cancel to the bit for half of the rows, from zero."""
    X = np.arange(8.0).reshape(-1, 1)
    model = ensemble.GradientBoostingClassifier(n_estimators=2, max_depth=1, init="zero", **options).fit(
        X, HALVES
    )
    for stage, sign in zip(model.estimators_[:, 0], (1, -1), strict=True):
        values = np.zeros((stage.tree_.node_count, 1, 1))
        values[stage.tree_.children_left < 0] = sign * 0.3
        stage.tree_.value[:] = values
    return model


def _two_votes(n_classes: int) -> Any:
    """Two trees of equal weight that vote for the last class and for the one before."""
    X, y = np.arange(9.0).reshape(-1, 1), np.array([0, 0, 1, 0, 1, 1, 2, 2, 1])[:9] % n_classes
    model = ensemble.AdaBoostClassifier(STUMP, n_estimators=2, random_state=0).fit(X, y)
    assert len(model.estimators_) == 2
    model.estimator_weights_[:] = 0.7
    for t, member in enumerate(model.estimators_):
        member.tree_.value[:] = np.eye(n_classes)[n_classes - 1 - t]
    return model


def _two_opinions(kind: Any, member: Any) -> Any:
    model = kind(member, n_estimators=2, bootstrap=False).fit(CONSTANT, HALVES)
    for t, estimator in enumerate(model.estimators_):
        estimator.tree_.value[:] = [[[float(t == 0), float(t == 1)]]]
    return model


TIED: dict[str, Callable[[], Any]] = {
    "boosting prior": lambda: ensemble.GradientBoostingClassifier(n_estimators=2).fit(CONSTANT, HALVES),
    "boosting exponential": lambda: ensemble.GradientBoostingClassifier(n_estimators=2, loss="exponential").fit(CONSTANT, HALVES),
    "boosting text": lambda: ensemble.GradientBoostingClassifier(n_estimators=2).fit(CONSTANT, np.where(HALVES, "yes", "no")),
    "boosting cancelling": _cancelling_boosting,
    "boosting cancelling exponential": lambda: _cancelling_boosting(loss="exponential"),
    "boosting multiclass": lambda: ensemble.GradientBoostingClassifier(n_estimators=2, init="zero").fit(CONSTANT[:6], np.arange(6) % 3),
    "hist": lambda: ensemble.HistGradientBoostingClassifier(max_iter=2).fit(CONSTANT, HALVES),
    "hist multiclass": lambda: ensemble.HistGradientBoostingClassifier(max_iter=2).fit(CONSTANT[:6], np.arange(6) % 3),
    "tree": lambda: tree.DecisionTreeClassifier().fit(CONSTANT, HALVES),
    "extra tree": lambda: tree.ExtraTreeClassifier().fit(CONSTANT, HALVES),
    "random forest": lambda: ensemble.RandomForestClassifier(3, bootstrap=False).fit(CONSTANT, HALVES),
    "extra trees": lambda: ensemble.ExtraTreesClassifier(3).fit(CONSTANT, HALVES),
    "bagging": lambda: _two_opinions(ensemble.BaggingClassifier, tree.DecisionTreeClassifier()),
    "adaboost": lambda: _two_votes(2),
    "adaboost multiclass": lambda: _two_votes(3),
}  # fmt: skip
SECOND_WINS = [name for name in TIED if name.startswith("boosting") and name != "boosting multiclass"]


@pytest.mark.parametrize("name", TIED)
def test_a_tie_goes_to_the_class_that_scikit_learn_gives_it(name: str) -> None:
    model = TIED[name]()
    rows = np.arange(-1.0, 9.0, 0.5).reshape(-1, 1)
    forest = read(model)
    margin = forest.margin(rows)
    top = np.sort(np.hstack([np.zeros_like(margin), margin]) if margin.shape[1] == 1 else margin, axis=1)
    tied = top[:, -1] == top[:, -2] if margin.shape[1] > 1 else margin[:, 0] == 0
    assert tied.any(), "this model has no ties: it tests nothing"
    np.testing.assert_array_equal(model.predict(rows), forest.predict(rows))
    second_wins = (forest.predict(rows[tied]) == model.classes_[-1]).all()
    assert (name in SECOND_WINS) == second_wins


@pytest.mark.parametrize("name", ["boosting cancelling", "hist", "adaboost"])
def test_ties_travel_with_the_model(name: str, tmp_path: Path) -> None:
    model = TIED[name]()
    rows = np.arange(-1.0, 9.0, 0.5).reshape(-1, 1)
    packed = ec.pack(model)
    packed.save(tmp_path / "model.forest")
    np.testing.assert_array_equal(model.predict(rows), packed.predict(rows))
    np.testing.assert_array_equal(model.predict(rows), ec.load(tmp_path / "model.forest").predict(rows))
    labels = emulate.run_c(packed.forest, rows).labels
    np.testing.assert_array_equal(model.predict(rows), model.classes_[labels])
