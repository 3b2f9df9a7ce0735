"""A compressed model is a fitted scikit-learn predictor."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from sklearn.base import is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

import ensemble_compress as ec
from ensemble_compress import predict
from ensemble_compress.errors import InputError, ModelFileError, ParameterError, UnsupportedModelError


def test_scikit_learn_takes_it_for_a_fitted_classifier() -> None:
    model = ec.pack(zoo.trained("random forest text"))
    check_is_fitted(model)
    assert is_classifier(model)
    assert not is_regressor(model)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.n_features_in_ == zoo.N_FEATURES
    given = zoo.data("text", True)
    assert model.score(given.X, given.y) == accuracy_score(given.y, model.predict(given.X))


def test_scikit_learn_takes_it_for_a_fitted_regression_model() -> None:
    model = ec.pack(zoo.trained("xgb regression"))
    assert is_regressor(model)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "classes_")
    given = zoo.data("regression", True)
    weight = np.linspace(0, 1, zoo.N_ROWS)
    expected = r2_score(given.y, model.predict(given.X), sample_weight=weight)
    assert model.score(given.X, given.y, weight) == pytest.approx(expected)


def test_the_number_of_jobs_reaches_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def over_threads(work: Any, n_rows: int, n_jobs: int | None) -> None:
        asked.append(n_jobs)
        work(0, n_rows)

    monkeypatch.setattr(predict, "over_threads", over_threads)
    given = zoo.data("binary", True)
    rows = np.resize(np.asarray(given.X, np.float32), (predict.FEW_ROWS, zoo.N_FEATURES))
    model = ec.pack(zoo.trained("random forest"))
    fitted = ec.CompressedClassifier(zoo.trained("random forest"), steps="lossless", n_jobs=5)
    fitted.fit(given.X, given.y)
    asked.clear()
    for answer in (model.predict, model.predict_proba, model.forest.predict, model.forest.apply):
        answer(rows)
        answer(rows, n_jobs=3)
    fitted.predict(rows)
    fitted.predict_proba(rows)
    assert asked == [None, 3] * 4 + [5, 5]


@pytest.mark.parametrize("n_rows", [1, predict.FEW_ROWS])
def test_a_number_of_jobs_that_is_none_is_refused(n_rows: int) -> None:
    model = ec.pack(zoo.trained("random forest"))
    rows = np.zeros((n_rows, zoo.N_FEATURES), np.float32)
    for answer in (model.predict, model.predict_proba):
        with pytest.raises(ParameterError, match="n_jobs is 0; expected None or a whole number but 0"):
            answer(rows, n_jobs=0)


def test_it_works_where_fitted_estimators_do() -> None:
    X, y = load_iris(return_X_y=True)
    scaled = StandardScaler().fit(X)
    model = ec.pack(RandomForestClassifier(5, random_state=0).fit(scaled.transform(X), y))
    pipeline = make_pipeline(scaled, FrozenEstimator(model)).fit(X, y)
    assert pipeline.score(X, y) > 0.95
    vote = VotingClassifier([("one", FrozenEstimator(model))]).fit(scaled.transform(X), y)
    np.testing.assert_array_equal(model.predict(scaled.transform(X)), vote.predict(scaled.transform(X)))
    importance = permutation_importance(model, scaled.transform(X), y, n_repeats=2, random_state=0)
    assert importance.importances_mean[2:].max() > importance.importances_mean[:2].max()


def test_it_cannot_be_trained_again() -> None:
    with pytest.raises(UnsupportedModelError, match="cannot be trained again; train a CompressedClassifier"):
        ec.pack(zoo.trained("xgb binary")).fit([[0.0]], [0])


def test_names_are_there_only_where_the_teacher_knew_them() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    named = ec.pack(RandomForestClassifier(3, random_state=0).fit(X, y))
    assert named.feature_names_in_.tolist() == list(X.columns)
    assert not hasattr(ec.pack(zoo.trained("random forest gaps")), "feature_names_in_")
    with pytest.raises(InputError, match="X lacks the feature"):
        named.predict(X.drop(columns=X.columns[0]))


def test_pickling_keeps_every_bit() -> None:
    model = ec.pack(zoo.trained("lgb categories missing"))
    copy = pickle.loads(pickle.dumps(model))
    assert copy.forest == model.forest
    assert copy.report.to_dict() == model.report.to_dict()


def test_saving_keeps_the_model_and_its_report(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    model = ec.compress(RandomForestClassifier(5, random_state=0).fit(X, y), X, y, tolerance=0.05)
    model.save(tmp_path / "iris.forest")
    loaded = ec.load(tmp_path / "iris.forest")
    assert loaded.forest == model.forest
    assert loaded.report.to_dict() == model.report.to_dict()
    np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))


def test_a_model_without_a_report_can_be_saved(tmp_path: Path) -> None:
    model = ec.CompressedModel(zoo.forest("xgb binary"))
    model.save(tmp_path / "model.forest")
    assert ec.load(tmp_path / "model.forest").report is None


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.forest"
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"model\.forest"):
        ec.load(path)


def test_its_text_says_what_is_inside() -> None:
    assert repr(ec.pack(zoo.trained("random forest gaps"))).startswith("CompressedModel(Forest(5 trees, ")


def test_the_report_knows_the_bytes_of_what_was_exported(tmp_path: Path) -> None:
    model = ec.pack(zoo.trained("random forest text"))
    files = [*model.export(tmp_path / "small_one.c"), *model.export(tmp_path / "other.h")]
    assert len(files) == 3
    for file in files:
        assert model.report.student.bytes[file.name] == file.stat().st_size
        assert f"{file.name} " in str(model.report)
