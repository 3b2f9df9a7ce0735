"""More of scikit-learn for the zoo: ensembles of members, constraints and weights, and what such ensembles answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble, tree
from sklearn.dummy import DummyClassifier
from sklearn.ensemble._iforest import _average_path_length


def entries(entry: Callable[..., Any]) -> dict[str, Any]:
    """The models by name; `entry` is `zoo._sklearn`, which this module cannot import."""
    some_columns = {"n_estimators": 5, "max_features": 0.6}
    small_tree, small_regressor = (
        tree.DecisionTreeClassifier(max_depth=5),
        tree.DecisionTreeRegressor(max_depth=5),
    )
    hist = {"max_iter": 4, "max_leaf_nodes": 6, "min_samples_leaf": 5}
    rising, binary = [1, 0, 0, -1, 0], {"class_weight": {0: 1.0, 1: 3.5}, "max_depth": 5}
    return {
        "bagging": entry(ensemble.BaggingClassifier, "text", estimator=small_tree, **some_columns),
        "bagging gaps": entry(
            ensemble.BaggingClassifier, "gaps", missing=True, max_samples=0.3, n_estimators=7, bootstrap_features=True
        ),
        "bagging one-tree forests": entry(
            ensemble.BaggingClassifier,
            "multiclass",
            estimator=ensemble.RandomForestClassifier(1, max_depth=4),
            n_estimators=3,
        ),
        "bagging regression": entry(
            ensemble.BaggingRegressor, "regression", missing=True, estimator=small_regressor, **some_columns
        ),
        "bagging two columns": entry(
            ensemble.BaggingRegressor, "two columns", estimator=tree.ExtraTreeRegressor(max_depth=4), n_estimators=3
        ),
        "adaboost binary": entry(ensemble.AdaBoostClassifier, "text", n_estimators=9),
        "adaboost gaps": entry(
            ensemble.AdaBoostClassifier, "gaps", estimator=small_tree, n_estimators=6, learning_rate=0.7
        ),
        "adaboost extra trees": entry(
            ensemble.AdaBoostClassifier, "multiclass", estimator=tree.ExtraTreeClassifier(max_depth=3), n_estimators=8
        ),
        "isolation forest": entry(ensemble.IsolationForest, "regression", n_estimators=9, max_samples=60),
        "isolation forest columns": entry(
            ensemble.IsolationForest, "regression", missing=True, n_estimators=5, max_features=3, contamination=0.1
        ),
        "tree monotonic": entry(tree.DecisionTreeRegressor, "regression", monotonic_cst=rising, max_depth=5),
        "random forest monotonic": entry(
            ensemble.RandomForestClassifier, "binary", monotonic_cst=rising, n_estimators=3, max_depth=5
        ),
        "hist monotonic": entry(ensemble.HistGradientBoostingRegressor, "regression", missing=True, monotonic_cst=rising, **hist),
        "tree class weight": entry(tree.DecisionTreeClassifier, "binary", **binary),
        "extra trees class weight": entry(
            ensemble.ExtraTreesClassifier, "gaps", class_weight="balanced_subsample", bootstrap=True, n_estimators=3
        ),
        "hist class weight": entry(
            ensemble.HistGradientBoostingClassifier, "gaps", class_weight="balanced", interaction_cst="pairwise", **hist
        ),
        "boosting uniform": entry(
            ensemble.GradientBoostingClassifier, "gaps", init=DummyClassifier(strategy="uniform"), n_estimators=3
        ),
        "boosting stopped early": entry(
            ensemble.GradientBoostingClassifier, "binary", n_estimators=60, n_iter_no_change=2, learning_rate=0.8
        ),
    }  # fmt: skip


def leaves(model: Any, X: NDArray[Any]) -> NDArray[Any] | None:
    """The leaf of each row in each member, by the members' own `apply`; None where the model has members' rows itself."""
    members = _members(model)
    if members is None:
        return None
    columns = getattr(model, "estimators_features_", [slice(None)] * len(members))
    found = [m.apply(X[:, c], **_unchecked(m)) for m, c in zip(members, columns, strict=True)]
    return np.column_stack(found)


def margin(model: Any, X: NDArray[Any]) -> NDArray[Any] | None:
    """What an AdaBoost or an isolation forest sums up for each row; None for other models."""
    if isinstance(model, ensemble.AdaBoostClassifier):
        return np.asarray(model.decision_function(X))
    if not isinstance(model, ensemble.IsolationForest):
        return None
    lengths = np.zeros(len(X))
    for member, columns in zip(model.estimators_, model.estimators_features_, strict=True):
        path = np.asarray(member.decision_path(X[:, columns], check_input=False).sum(axis=1)).ravel()
        n_samples = member.tree_.n_node_samples[member.apply(X[:, columns], check_input=False)]
        lengths += path + _average_path_length(n_samples) - 1.0
    return lengths / (len(model.estimators_) * _average_path_length([model.max_samples_])[0])


def prediction(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """What the model answers: the scores of an isolation forest, `predict` of the others."""
    answer = model.score_samples if isinstance(model, ensemble.IsolationForest) else model.predict
    return np.asarray(answer(X))


def _members(model: Any) -> Any:
    kinds = (
        ensemble.BaggingClassifier,
        ensemble.BaggingRegressor,
        ensemble.AdaBoostClassifier,
        ensemble.IsolationForest,
    )
    return model.estimators_ if isinstance(model, kinds) else None


def _unchecked(member: Any) -> dict[str, bool]:
    """Isolation forests give their members missing values whether these were trained on some or not."""
    return {"check_input": False} if isinstance(member, tree.ExtraTreeRegressor) else {}
