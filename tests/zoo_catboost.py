"""The zoo's models of CatBoost, and what CatBoost answers for rows as the zoo makes them."""

from collections.abc import Callable
from typing import Any

import catboost as cb
import numpy as np
from numpy.typing import NDArray

CATEGORICAL = (3, 4)
QUIET = {
    "iterations": 8,
    "depth": 3,
    "thread_count": 1,
    "logging_level": "Silent",
    "allow_writing_files": False,
}
CLASSIFIED = ("binary", "text", "multiclass", "gaps")
GROUPS = np.repeat(np.arange(24), 10)

Made = tuple[Callable[[], Any], str, bool, bool]
"""How a model is trained, on which task, whether with missing values, whether with categories."""


def as_catboost(X: NDArray[Any], categorical: bool) -> NDArray[Any]:
    """The rows as CatBoost takes them: categories have to be whole numbers or texts; NaN becomes an unseen text."""
    if not categorical:
        return X
    mixed = X.astype(object)
    for f in CATEGORICAL:
        mixed[:, f] = ["missing" if np.isnan(x) else int(x) for x in X[:, f]]
    return mixed


def entries(data: Callable[..., Any]) -> dict[str, Made]:
    """Every model by its name; `data` gives the rows and targets of a task."""

    def made(
        task: str, missing: bool = False, categorical: bool = False, kind: Any = None, **options: Any
    ) -> Made:
        if kind is None:
            kind = cb.CatBoostClassifier if task in CLASSIFIED else cb.CatBoostRegressor
        if categorical:
            options |= {"cat_features": list(CATEGORICAL), "one_hot_max_size": 50}

        def make() -> Any:
            X, y = data(task, missing, categorical)
            groups = {"group_id": GROUPS} if kind is cb.CatBoostRanker else {}
            return kind(**QUIET | options).fit(as_catboost(X, categorical), y, **groups)

        return make, task, missing, categorical

    depthwise, lossguide = (
        {"grow_policy": "Depthwise", "depth": 5},
        {"grow_policy": "Lossguide", "max_leaves": 12},
    )
    found = {
        "cat binary": made("text"),
        "cat missing": made("binary", missing=True),
        "cat missing last": made("binary", missing=True, nan_mode="Max"),
        "cat missing forbidden": made("regression", nan_mode="Forbidden"),
        "cat multiclass": made("gaps", missing=True),
        "cat one against all": made("multiclass", loss_function="MultiClassOneVsAll"),
        "cat regression": made("regression", missing=True, iterations=30),
        "cat depthwise": made("regression", missing=True, nan_mode="Max", **depthwise),
        "cat depthwise multiclass": made("multiclass", missing=True, **depthwise),
        "cat lossguide": made("binary", missing=True, **lossguide),
        "cat lossguide two columns": made("two columns", loss_function="MultiRMSE", **lossguide),
        "cat two columns": made("two columns", loss_function="MultiRMSE"),
        "cat one-hot": made("regression", categorical=True),
        "cat one-hot depthwise": made("multiclass", categorical=True, **depthwise),
        "cat ordered": made("regression", boosting_type="Ordered", has_time=True),
        "cat deep": made("regression", depth=9, iterations=3),
        "cat without splits": made("regression", depth=0),
        "cat langevin": made("regression", langevin=True, model_shrink_rate=0.1),
        "cat stopped early": (lambda: _stopped_early(data), "binary", False, False),
        "cat shrunk": (lambda: _shrunk(data), "regression", False, False),
        "cat sum": (lambda: _sum(data), "binary", True, False),
    }
    losses = {
        "MAE": "regression", "Quantile:alpha=0.3": "regression", "LogLinQuantile": "positive", "MAPE": "positive",
        "Lq:q=3": "regression", "Huber:delta=1": "regression", "Expectile:alpha=0.3": "regression",
        "LogCosh": "regression", "MultiQuantile:alpha=0.2,0.8": "regression", "Poisson": "count",
        "Tweedie:variance_power=1.5": "positive", "RMSPE": "positive", "Cox": "positive",
        "CrossEntropy": "binary", "Focal:focal_alpha=0.3;focal_gamma=2": "binary",
    }  # fmt: skip
    found |= {f"cat {loss}": made(task, loss_function=loss) for loss, task in losses.items()}
    for loss in ("YetiRank", "PairLogit", "QueryRMSE", "QuerySoftMax", "StochasticRank:metric=NDCG"):
        found[f"cat {loss}"] = made("binary", kind=cb.CatBoostRanker, loss_function=loss)
    return found


def _stopped_early(data: Any) -> Any:
    X, y = data("binary")
    model = cb.CatBoostClassifier(**QUIET | {"iterations": 60, "learning_rate": 0.8})
    return model.fit(X[:120], y[:120], eval_set=(X[120:], y[120:]), early_stopping_rounds=3)


def _shrunk(data: Any) -> Any:
    model = cb.CatBoostRegressor(**QUIET).fit(*data("regression"))
    model.shrink(6, 2)
    return model


def _sum(data: Any) -> Any:
    X, y = data("binary", True)
    parts = [cb.CatBoostClassifier(**QUIET, random_seed=seed, rsm=0.5).fit(X, y) for seed in (1, 2)]
    return cb.sum_models(parts, weights=[0.3, 0.7])


def _has_categories(model: Any) -> bool:
    return len(model._get_cat_feature_indices()) > 0


def leaves(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(model.calc_leaf_indexes(as_catboost(X, _has_categories(model)))).reshape(len(X), -1)


def margin(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    rows = as_catboost(X, _has_categories(model))
    return np.asarray(cb.CatBoost.predict(model, rows, prediction_type="RawFormulaVal"))


def prediction(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """Labels in one dimension, which CatBoost gives for two classes only."""
    rows = as_catboost(X, _has_categories(model))
    if type(model) is cb.CatBoost and len(model.classes_):
        return np.asarray(model.predict(rows, prediction_type="Class"))
    answer = np.asarray(model.predict(rows))
    return answer[:, 0] if isinstance(model, cb.CatBoostClassifier) and answer.ndim == 2 else answer
