"""scikit-learn: which estimators are read, and what to do about those that are not."""

from collections.abc import Callable
from typing import Any

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers.kinds import find_base, find_override
from ensemble_compress.readers.sklearn_boosting import read_gradient_boosting, read_hist_gradient_boosting
from ensemble_compress.readers.sklearn_ensembles import read_adaboost, read_bagging, read_isolation_forest
from ensemble_compress.readers.sklearn_trees import read_forest, read_tree

READ: dict[str, Callable[[Any], Forest]] = {
    "DecisionTreeClassifier": read_tree,
    "DecisionTreeRegressor": read_tree,
    "ExtraTreeClassifier": read_tree,
    "ExtraTreeRegressor": read_tree,
    "RandomForestClassifier": read_forest,
    "RandomForestRegressor": read_forest,
    "ExtraTreesClassifier": read_forest,
    "ExtraTreesRegressor": read_forest,
    "BaggingClassifier": read_bagging,
    "BaggingRegressor": read_bagging,
    "AdaBoostClassifier": read_adaboost,
    "IsolationForest": read_isolation_forest,
    "GradientBoostingClassifier": read_gradient_boosting,
    "GradientBoostingRegressor": read_gradient_boosting,
    "HistGradientBoostingClassifier": read_hist_gradient_boosting,
    "HistGradientBoostingRegressor": read_hist_gradient_boosting,
}
SEARCHED = "pass the model that it chose, search.best_estimator_"
VOTED = "it averages other models: pass one of its estimators_"
REFUSED = {
    "GridSearchCV": SEARCHED,
    "RandomizedSearchCV": SEARCHED,
    "HalvingGridSearchCV": SEARCHED,
    "HalvingRandomSearchCV": SEARCHED,
    "VotingClassifier": VOTED,
    "VotingRegressor": VOTED,
    "StackingClassifier": VOTED,
    "StackingRegressor": VOTED,
    "AdaBoostRegressor": "it predicts a weighted median of its trees, which no sum gives: use GradientBoosting instead",
    "RandomTreesEmbedding": "it predicts nothing: compress a classifier or regressor",
    "CalibratedClassifierCV": "calibration comes after the trees: pass its estimator, and calibrate the compressed model",
    "MultiOutputClassifier": "pass one of its estimators_",
    "MultiOutputRegressor": "pass one of its estimators_",
    "OneVsRestClassifier": "pass one of its estimators_",
}
ANSWERS = ("predict", "predict_proba", "decision_function", "score_samples")


def accepts(model: Any) -> bool:
    """Whether the model is an estimator of scikit-learn or built on one.

    Parameters
    ----------
    model : Any
        Any object.
    """
    return any(base.__module__.partition(".")[0] == "sklearn" for base in type(model).__mro__)


def read(model: Any) -> Forest:
    """The forest of a fitted tree, forest or boosting estimator.

    Parameters
    ----------
    model : estimator
        One of the keys of `READ`, or a subclass that predicts as they do.

    Raises
    ------
    UnsupportedModelError
        Another estimator, or one that isn't fitted.
    """
    name = type(model).__name__
    base = find_base(model, "sklearn", READ)
    if base is None:
        refused = find_base(model, "sklearn", REFUSED)
        advice = REFUSED[refused.__name__] if refused else f"expected one of {', '.join(READ)}"
        raise UnsupportedModelError(f"{name} cannot be read: {advice}")
    changed = find_override(model, base, ANSWERS)
    if changed:
        raise UnsupportedModelError(
            f"{name} cannot be read: {changed[0].__name__} has a {changed[1]} of its own, so it may not answer as"
            f" {base.__name__} does; pass a {base.__name__}"
        )
    _check_fitted(model)
    return READ[base.__name__](model)


def _check_fitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise UnsupportedModelError(f"this {type(model).__name__} is not fitted; call fit first") from error
