"""The kinds of scikit-learn's models for the registry in `kinds.py`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from kinds import CLASSIFICATION, REGRESSION, Kind, NotOfferedError, Size, Task, labels_of


def sklearn_kind(
    name: str, tasks: Sequence[str], note: str = "", margin: str = "bits", **options: Any
) -> Kind:
    """An estimator of scikit-learn by its name; an option that is a function makes another estimator."""

    def fit(task: Task, size: Size) -> Any:
        from sklearn.utils import all_estimators

        kind = dict(all_estimators())[name]
        given = {key: value(size) if callable(value) else value for key, value in options.items()}
        if task.categorical:
            if "categorical_features" not in inspect.signature(kind).parameters:
                raise NotOfferedError(f"{name} has no parameter for categories")
            given["categorical_features"] = list(task.categorical)
        if given.get("monotonic_cst") is True:
            given["monotonic_cst"] = [1, *[0] * (task.X.shape[1] - 1)]
        return kind(**size.options(kind) | given).fit(task.X, labels_of(task))

    return Kind("scikit-learn", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks), margin)


def _make(name: str, **options: Any) -> Callable[[Size], Any]:
    """A function from a size to an estimator that is not fitted yet."""

    def make(size: Size) -> Any:
        from sklearn.utils import all_estimators

        kind = dict(all_estimators())[name]
        return kind(**size.options(kind) | options)

    return make


def _wrapped(name: str, tasks: Sequence[str], make: Callable[[Task, Size], Any]) -> Kind:
    """A model that holds another one; it knows no categories but those of the one inside."""

    def fit(task: Task, size: Size) -> Any:
        if task.categorical:
            raise NotOfferedError(f"{name} has no parameter for categories")
        return make(task, size)

    return Kind("scikit-learn", name, fit, tuple(tasks))


def _pipeline(task: Task, size: Size) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = "RandomForestRegressor" if task.name == "regression" else "RandomForestClassifier"
    return make_pipeline(StandardScaler(), _make(kind)(size)).fit(task.X, task.y)


def _frozen(task: Task, size: Size) -> Any:
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(_make("RandomForestClassifier")(size).fit(task.X, task.y))


def _searched(task: Task, size: Size) -> Any:
    from sklearn.model_selection import GridSearchCV

    return GridSearchCV(_make("RandomForestClassifier")(size), {"max_depth": [2]}, cv=2).fit(task.X, task.y)


def _together(name: str, inner: str, tasks: Sequence[str]) -> Kind:
    estimators = lambda size: [("forest", _make(f"RandomForest{inner}")(size)), ("tree", _make(f"DecisionTree{inner}")(size))]  # fmt: skip
    return sklearn_kind(name, tasks, estimators=estimators)


def sklearn_kinds() -> list[Kind]:
    """Every kind of scikit-learn."""
    several = (*CLASSIFICATION, "multi-class, several")
    one, number = ("binary", "multi-class"), ("regression",)
    kinds = []
    for name in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees"):
        kinds += [sklearn_kind(f"{name}Classifier", several), sklearn_kind(f"{name}Regressor", REGRESSION)]
    for criterion in ("absolute_error", "poisson"):
        kinds.append(sklearn_kind("DecisionTreeRegressor", ("counts",), criterion, criterion=criterion))
    kinds += [
        sklearn_kind("RandomForestClassifier", one, "class weights", class_weight="balanced"),
        sklearn_kind("RandomForestClassifier", ("binary",), "monotonic", monotonic_cst=True),
        sklearn_kind("RandomForestRegressor", number, "monotonic", monotonic_cst=True),
        sklearn_kind("RandomTreesEmbedding", number),
        sklearn_kind("IsolationForest", ("outliers",), margin="hidden"),
        sklearn_kind("BaggingClassifier", CLASSIFICATION, estimator=_make("DecisionTreeClassifier")),
        sklearn_kind("BaggingClassifier", ("binary",), "some of the columns", estimator=_make("DecisionTreeClassifier"), max_features=0.6),
        sklearn_kind("BaggingRegressor", REGRESSION, estimator=_make("DecisionTreeRegressor")),
        sklearn_kind("BaggingRegressor", number, "of other models", estimator=_make("Ridge")),
        sklearn_kind("AdaBoostClassifier", CLASSIFICATION, estimator=_make("DecisionTreeClassifier", max_depth=2)),
        sklearn_kind("AdaBoostRegressor", REGRESSION),
        sklearn_kind("GradientBoostingClassifier", CLASSIFICATION),
        sklearn_kind("GradientBoostingClassifier", ("binary",), "exponential", loss="exponential"),
        sklearn_kind("GradientBoostingClassifier", one, "init='zero'", init="zero"),
        sklearn_kind("GradientBoostingClassifier", ("binary",), "init fitted", init=_make("DecisionTreeClassifier")),
        sklearn_kind("GradientBoostingClassifier", ("binary",), "subsample", subsample=0.6),
        sklearn_kind("GradientBoostingRegressor", number, "init fitted", init=_make("DecisionTreeRegressor")),
        sklearn_kind("GradientBoostingRegressor", number, "init constant", init=_make("DummyRegressor", strategy="median")),
        *(sklearn_kind("GradientBoostingRegressor", number, loss, loss=loss) for loss in ("absolute_error", "huber", "quantile")),
        sklearn_kind("GradientBoostingRegressor", REGRESSION),
        sklearn_kind("HistGradientBoostingClassifier", CLASSIFICATION),
        sklearn_kind("HistGradientBoostingClassifier", ("binary",), "monotonic", monotonic_cst=True),
        sklearn_kind("HistGradientBoostingClassifier", ("binary",), "early stopping", early_stopping=True, max_iter=60, learning_rate=0.8, n_iter_no_change=2),
        sklearn_kind("HistGradientBoostingRegressor", REGRESSION),
        *(sklearn_kind("HistGradientBoostingRegressor", ("positive",), loss, loss=loss) for loss in ("absolute_error", "poisson", "gamma")),
        sklearn_kind("HistGradientBoostingRegressor", number, "quantile", loss="quantile", quantile=0.3),
        _together("VotingClassifier", "Classifier", one),
        _together("VotingRegressor", "Regressor", number),
        _together("StackingClassifier", "Classifier", one),
        _together("StackingRegressor", "Regressor", number),
        sklearn_kind("CalibratedClassifierCV", one, estimator=_make("RandomForestClassifier"), cv=2),
        sklearn_kind("MultiOutputClassifier", ("multi-label",), estimator=_make("GradientBoostingClassifier")),
        sklearn_kind("MultiOutputRegressor", ("regression, several",), estimator=_make("GradientBoostingRegressor")),
        sklearn_kind("OneVsRestClassifier", ("multi-class",), estimator=_make("RandomForestClassifier")),
        _wrapped("GridSearchCV", ("binary",), _searched),
        _wrapped("Pipeline", ("binary", "regression"), _pipeline),
        _wrapped("FrozenEstimator", one, _frozen),
    ]  # fmt: skip
    return kinds
