"""What the library that trained a model answers itself: leaves, margins and linked predictions, by its own compiled code.

A reader that learns a new kind of model says here how that model's own library tells its leaves and sums.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from kinds import CLASSIFICATION, Kind, Task
from numpy.typing import NDArray


class Answers(NamedTuple):
    """What a library says of rows.

    Attributes
    ----------
    accepted : ndarray of shape (n_rows,) bool
        The rows that it takes at all; `leaves` and `linked` are of these.
    leaves : ndarray of shape (n_accepted, n_trees)
        As the library numbers them.
    margin : ndarray of shape (n_rows or n_accepted, n_outputs) or None
        The sums before the link; of all rows where some function of the library takes all. None where it tells none.
    linked : ndarray or None
        Probabilities of a classifier's classes, values of a regression; None where the library gives neither.
    labels : ndarray or None
        Labels of a classifier.
    """

    accepted: NDArray[np.bool_]
    leaves: NDArray[Any]
    margin: NDArray[Any] | None
    linked: NDArray[Any] | None
    labels: NDArray[Any] | None


def ask(kind: Kind, task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    """The answers of a model's own library.

    Parameters
    ----------
    kind : Kind
        What the model is.
    task : Task
        What it was trained on.
    model : Any
        The trained model.
    rows : ndarray of shape (n_rows, n_features)
        In the dtype in which the model compares.
    """
    return LIBRARIES[kind.library](task, model, rows)


def acceptance(kind: Kind, task: Task) -> Callable[[NDArray[Any]], NDArray[np.bool_]]:
    """A function that says which rows the model's library takes at all.

    Parameters
    ----------
    kind : Kind
        What the model is.
    task : Task
        What it was trained on.
    """
    found = {"XGBoost": _accepted_by_xgboost, "CatBoost": _accepted_by_catboost}.get(kind.library)
    return lambda rows: np.ones(len(rows), bool) if found is None else found(task, rows)


# -- scikit-learn ------------------------------------------------------------------------------------------------


def _ask_sklearn(task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    import sklearn

    while type(model).__name__ in ("Pipeline", "FrozenEstimator"):  # the forest is that of the last step
        model = model[-1] if type(model).__name__ == "Pipeline" else model.estimator
    # Infinities are refused by a check, which can be switched off, not by the trees.
    with sklearn.config_context(assume_finite=True):
        labels = np.asarray(model.predict(rows)) if hasattr(model, "classes_") else None
        linked = np.asarray(_linked_of(model, rows))
        margin = _margin_of(model, rows, linked)
        leaves = _leaves_of(model, rows)
    margin = None if margin is None else np.asarray(margin).reshape(len(rows), -1)
    return Answers(np.ones(len(rows), bool), leaves, margin, linked, labels)


def _linked_of(model: Any, rows: NDArray[Any]) -> Any:
    if type(model).__name__ == "IsolationForest":
        return model.score_samples(rows)
    return model.predict_proba(rows) if hasattr(model, "classes_") else model.predict(rows)


def _margin_of(model: Any, rows: NDArray[Any], linked: NDArray[Any]) -> Any:
    """What comes before the link; of averages the predictions themselves."""
    name = type(model).__name__
    if name.startswith(("GradientBoosting", "HistGradientBoosting")):
        return model._raw_predict(rows)
    if name == "AdaBoostClassifier":
        return model.decision_function(rows)
    return None if name == "IsolationForest" else linked


def _leaves_of(model: Any, rows: NDArray[Any]) -> NDArray[Any]:
    if hasattr(model, "_predictors"):
        return _leaves_of_predictors(model, rows)
    if hasattr(model, "apply"):
        return np.asarray(model.apply(rows)).reshape(len(rows), -1)
    return _leaves_of_estimators(model, rows)


def _leaves_of_estimators(model: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """Of estimators that hold trees, each of which sees some of the columns."""
    columns = getattr(model, "estimators_features_", [slice(None)] * len(model.estimators_))
    return np.column_stack(
        [tree.apply(rows[:, used]) for tree, used in zip(model.estimators_, columns, strict=True)]
    )


def _leaves_of_predictors(model: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """HistGradientBoosting has no `apply`: its own code, with each leaf's number in place of its value."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    X = rows if model._preprocessor is None else model._preprocessor.transform(rows)
    known, place = model._bin_mapper.make_known_categories_bitsets()
    X = np.ascontiguousarray(X, np.float64)
    found = []
    for predictor in (predictor for stage in model._predictors for predictor in stage):
        nodes = predictor.nodes.copy()
        nodes["value"] = np.arange(len(nodes))
        numbered = TreePredictor(nodes, predictor.binned_left_cat_bitsets, predictor.raw_left_cat_bitsets)
        found.append(numbered.predict(X, known, place, 1))
    return np.column_stack(found).astype(np.int64)


# -- XGBoost -----------------------------------------------------------------------------------------------------


def _accepted_by_xgboost(task: Task, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """A DMatrix refuses infinities; inplace_predict takes them."""
    return ~np.isinf(rows).any(axis=1)


def _ask_xgboost(task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    import xgboost

    is_booster = isinstance(model, xgboost.Booster)
    booster = model if is_booster else model.get_booster()
    within = (0, 0) if is_booster else _best(booster)
    accepted = _accepted_by_xgboost(task, rows)
    kinds = ["c" if f in task.categorical else "q" for f in range(rows.shape[1])]
    matrix = xgboost.DMatrix(rows[accepted], feature_types=kinds, enable_categorical=bool(task.categorical))

    def predict(**what: Any) -> NDArray[Any]:
        return np.asarray(booster.predict(matrix, iteration_range=within, **what)).reshape(
            int(accepted.sum()), -1
        )

    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    margin, linked, labels = predict(output_margin=True), None, None
    if learner["gradient_booster"]["name"] != "dart":  # whose inplace_predict rounds once more
        whole = booster.inplace_predict(rows, iteration_range=within, predict_type="margin")
        whole = np.asarray(whole).reshape(len(rows), -1)
        np.testing.assert_array_equal(margin, whole[accepted])
        margin = whole
    if objective == "multi:softmax" and is_booster:
        labels = predict()[:, 0].astype(int)
    elif not is_booster and hasattr(model, "predict_proba"):
        linked, labels = model.predict_proba(rows[accepted]), model.predict(rows[accepted])
    elif objective != "binary:logitraw":
        linked = predict()
        linked = np.hstack([1 - linked, linked]) if objective.startswith("binary:") else linked
    return Answers(accepted, predict(pred_leaf=True), margin, linked, labels)


def _best(booster: Any) -> tuple[int, int]:
    found = booster.attr("best_iteration")
    return (0, 0) if found is None else (0, int(found) + 1)


# -- LightGBM ----------------------------------------------------------------------------------------------------


def _ask_lightgbm(task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    booster = getattr(model, "booster_", model)
    leaves = np.asarray(booster.predict(rows, pred_leaf=True)).reshape(len(rows), -1)
    margin = np.asarray(booster.predict(rows, raw_score=True)).reshape(len(rows), -1)
    if "average_output" in booster.model_to_string(num_iteration=1):
        margin = margin / (leaves.shape[1] // margin.shape[1])  # raw_score leaves the division out
    has_labels = hasattr(model, "predict_proba")
    linked = model.predict_proba(rows) if has_labels else booster.predict(rows)
    labels = model.predict(rows) if has_labels else None
    return Answers(np.ones(len(rows), bool), leaves, margin, np.asarray(linked), labels)


# -- CatBoost, Treelite ------------------------------------------------------------------------------------------


def _accepted_by_catboost(task: Task, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Categories are whole numbers, and never missing."""
    codes = rows[:, list(task.categorical)]
    return (np.abs(codes) < 2.0**31).all(axis=1) & (codes == np.floor(codes)).all(axis=1)


def _ask_catboost(task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    import catboost
    import pandas as pd

    accepted = _accepted_by_catboost(task, rows)
    frame = pd.DataFrame(rows[accepted])
    for f in task.categorical:
        frame[f] = frame[f].astype(int)
    pool = catboost.Pool(frame, cat_features=list(task.categorical))
    raw = {"prediction_type": "RawFormulaVal", "thread_count": 1}
    margin = np.asarray(catboost.CatBoost.predict(model, pool, **raw))  # a ranker's own predict takes no type
    leaves = np.asarray(model.calc_leaf_indexes(pool, thread_count=1))
    linked, labels = np.asarray(model.predict(pool, thread_count=1)), None
    if hasattr(model, "predict_proba"):
        labels, linked = linked.reshape(-1), np.asarray(model.predict_proba(pool, thread_count=1))
    return Answers(accepted, leaves, margin.reshape(len(frame), -1), linked, labels)


def _ask_treelite(task: Task, model: Any, rows: NDArray[Any]) -> Answers:
    import treelite

    rows = rows.astype(model.input_type, copy=False)
    leaves = np.asarray(treelite.gtil.predict_leaf(model, rows, nthread=1))
    margin = treelite.gtil.predict(model, rows, nthread=1, pred_margin=True).reshape(len(rows), -1)
    linked = treelite.gtil.predict(model, rows, nthread=1).reshape(len(rows), -1)
    if task.name == "binary":
        linked = np.hstack([1 - linked, linked]) if linked.shape[1] == 1 else linked
    # Treelite tells no labels: they are the likeliest of its classes, which it counts from 0.
    labels = linked.argmax(axis=1) if task.name in CLASSIFICATION else None
    return Answers(np.ones(len(rows), bool), leaves.reshape(len(rows), -1), margin, linked, labels)


LIBRARIES: dict[str, Callable[[Task, Any, NDArray[Any]], Answers]] = {
    "scikit-learn": _ask_sklearn,
    "XGBoost": _ask_xgboost,
    "LightGBM": _ask_lightgbm,
    "CatBoost": _ask_catboost,
    "Treelite": _ask_treelite,
}
