"""The meta-estimators keep every promise of a scikit-learn estimator, and compress."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import ensemble_compress as ec
from ensemble_compress.algorithms import PruneTrees, QuantizeLeaves
from ensemble_compress.errors import BudgetError, InputError, ParameterError, UnsupportedModelError

SMALL: dict[str, Any] = {"random_state": 0, "max_leaf_nodes": 8}


@parametrize_with_checks(
    [
        ec.CompressedClassifier(ExtraTreesClassifier(3, random_state=0, max_leaf_nodes=6)),
        ec.CompressedRegressor(
            ExtraTreesRegressor(4, random_state=0, max_leaf_nodes=8),
            steps=[PruneTrees(n_trees=3), QuantizeLeaves()],
            tolerance=0.02,
        ),
    ]
)
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Any) -> None:
    check(estimator)


def test_it_can_be_constructed_without_an_estimator() -> None:
    X, y = load_iris(return_X_y=True)
    rows = np.arange(0, 150, 5)
    model = ec.CompressedClassifier().fit(X[rows], y[rows])
    assert isinstance(model.estimator_, ExtraTreesClassifier)
    assert model.estimator is None
    assert isinstance(ec.CompressedRegressor()._teacher(), ExtraTreesRegressor)


@pytest.mark.parametrize("kind", [ec.CompressedClassifier, ec.CompressedRegressor])
def test_the_parameters_are_those_of_the_compressor(kind: Any) -> None:
    parameters = kind().get_params()
    assert parameters.pop("estimator") is None
    assert parameters == ec.Compressor().get_params()


def test_the_estimator_is_trained_on_all_rows_and_left_alone() -> None:
    X, y = load_iris(return_X_y=True)
    given = RandomForestClassifier(8, **SMALL)
    model = ec.CompressedClassifier(given, tolerance=0.02).fit(X, y)
    assert not hasattr(given, "estimators_")
    expected = clone(given).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(expected, model.estimator_.predict_proba(X))
    assert model.compressed_.n_leaves < ec.read(model.estimator_).n_leaves
    assert model.report_ is model.compressed_.report
    np.testing.assert_array_equal([0, 1, 2], model.classes_)


def test_the_lossless_form_answers_as_the_estimator_does() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = ec.CompressedClassifier(RandomForestClassifier(8, random_state=0), steps="lossless").fit(X, y)
    np.testing.assert_array_equal(model.estimator_.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(model.estimator_.predict(X), model.predict(X))


def test_it_works_at_the_end_of_a_pipeline_with_frames() -> None:
    data = load_iris(as_frame=True)
    X, y = data.data.iloc[::2], data.target_names[data.target.iloc[::2]]
    last = ec.CompressedClassifier(RandomForestClassifier(6, **SMALL), tolerance=0.05)
    pipeline = make_pipeline(StandardScaler(), last).set_output(transform="pandas").fit(X, y)
    assert list(X.columns) == list(pipeline[-1].feature_names_in_)
    assert list(X.columns) == list(pipeline[-1].compressed_.feature_names_in_)
    assert pipeline.score(X, y) > 0.9
    assert set(pipeline.predict(X)) == {"setosa", "versicolor", "virginica"}


def test_frames_whose_columns_are_named_otherwise_are_refused() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = ec.CompressedClassifier(RandomForestClassifier(4, **SMALL), steps="lossless").fit(X, y)
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        model.predict(X.rename(columns=str.upper))


def test_a_grid_search_reaches_the_estimator_and_the_tolerance() -> None:
    X, y = load_iris(return_X_y=True)
    model = ec.CompressedClassifier(GradientBoostingClassifier(n_estimators=2, random_state=0))
    grid = {"estimator__max_depth": [1, 2], "tolerance": [0.02]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.estimator_.max_depth == search.best_params_["estimator__max_depth"]
    assert search.best_estimator_.report_.tolerance == 0.02


def test_cross_validation_scores_the_compressed_model() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = ec.CompressedRegressor(RandomForestRegressor(8, **SMALL), max_bytes=600)
    scores = cross_val_score(model, X[:240], y[:240], cv=2)
    assert scores.min() > 0.2


def test_a_clone_has_the_parameters_and_nothing_learnt() -> None:
    X, y = load_iris(return_X_y=True)
    steps = [QuantizeLeaves(bits=4)]
    model = ec.CompressedClassifier(DecisionTreeClassifier(random_state=0), steps=steps, max_bytes=4000)
    model.fit(X, y)
    copy = clone(model)
    assert copy.max_bytes == 4000
    assert copy.steps == steps
    with pytest.raises(NotFittedError, match="not fitted yet"):
        copy.predict(X)
    with pytest.raises(AttributeError, match="no classes_ yet"):
        _ = copy.classes_


def test_weights_train_and_judge() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    weight = np.where(y == 1, 1.0, 0.0)
    weight[:30] = 1.0
    model = ec.CompressedClassifier(DecisionTreeClassifier(random_state=0, max_leaf_nodes=8))
    model.fit(X, y, sample_weight=weight)
    assert int((weight > 0).sum()) == model.report_.n_rows


def test_several_outputs_are_compressed_together() -> None:
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, X[:, 2] * 100])
    model = ec.CompressedRegressor(RandomForestRegressor(6, **SMALL), tolerance=0.05).fit(X[:200], Y[:200])
    assert model.predict(X).shape == Y.shape


def test_a_budget_that_nothing_fits_is_an_error_of_fit() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(BudgetError, match="no model fits max_bytes=1"):
        ec.CompressedClassifier(RandomForestClassifier(3, **SMALL), max_bytes=1).fit(X, y)


def test_a_bad_parameter_is_refused_before_training() -> None:
    X, y = load_iris(return_X_y=True)
    model = ec.CompressedClassifier(RandomForestClassifier(3, **SMALL), tolerance=-1)
    with pytest.raises(ParameterError, match="tolerance is -1; expected a number >= 0"):
        model.fit(X, y)
    assert not hasattr(model, "estimator_")


def test_the_wrong_kind_of_estimator_is_named() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(UnsupportedModelError, match="RandomForestRegressor is no classifier; use Compre"):
        ec.CompressedClassifier(RandomForestRegressor(2)).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="RandomForestClassifier is a classifier; use Compr"):
        ec.CompressedRegressor(RandomForestClassifier(2)).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="LogisticRegression cannot be read"):
        ec.CompressedClassifier(LogisticRegression(max_iter=1000)).fit(X, y)


class _WithoutWeights(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, X: Any, y: Any) -> Any:
        return self


def test_weights_for_an_estimator_that_takes_none_are_refused() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(InputError, match=r"_WithoutWeights\.fit takes no sample_weight; leave it out"):
        ec.CompressedClassifier(_WithoutWeights()).fit(X, y, np.ones(len(y)))


def test_a_missing_target_is_refused() -> None:
    X, _ = load_iris(return_X_y=True)
    with pytest.raises(InputError, match="requires y to be passed, but the target y is None"):
        ec.CompressedClassifier(DecisionTreeClassifier()).fit(X, None)
