"""The rarer kinds of XGBoost and LightGBM models: `zoo.py` joins them to its own."""

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import xgboost as xgb

if TYPE_CHECKING:
    from zoo import Entry

PARALLEL = {"num_parallel_tree": 2, "subsample": 0.6, "colsample_bynode": 0.7, "seed": 4}
SAMPLED = {"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1}
ZERO = {"zero_as_missing": True, "num_leaves": 16}


def entries() -> dict[str, "Entry"]:
    """Models by name. Called while `zoo` is being imported, which therefore can't be imported above."""
    from zoo import Entry

    library = lambda name: "lightgbm" if name.startswith("lgb") else "xgboost"
    return {name: Entry(library(name), *row) for name, row in (_xgboost() | _lightgbm()).items()}


def gradient(y: Any, margin: Any) -> Any:
    """A user's own objective: squares."""
    return margin - y, np.ones_like(margin, dtype=float)


def _booster(task: str, rounds: int = 5, then: Any = None, **options: Any) -> tuple[Callable[[], Any], str]:
    """How to train a booster, and on what; `then` makes another one of it and of its data."""

    def make() -> Any:
        from zoo import data

        rows = xgb.DMatrix(*data(task))
        if options.get("objective") == "survival:aft":
            for name in ("label_lower_bound", "label_upper_bound"):
                rows.set_float_info(name, data(task).y)
        booster = xgb.train({"max_depth": 3, "nthread": 1, **options}, rows, rounds)
        return booster if then is None else then(booster, rows)

    return make, task


def _go_on(booster: Any, rows: Any) -> Any:
    options = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
    return xgb.train(options, rows, 3, xgb_model=booster)


def _fit(make: Callable[[], Any], task: str, missing: bool = False, **fit: Any) -> tuple[Any, ...]:
    def fitted() -> Any:
        from zoo import data

        return make().fit(*data(task, missing), **fit)

    return fitted, task, missing


def _early_xgboost() -> Any:
    from zoo import data

    X, y = data("multiclass")
    model = xgb.XGBClassifier(
        n_estimators=30, max_depth=3, learning_rate=1.0, n_jobs=1, early_stopping_rounds=2, **PARALLEL
    )
    return model.fit(X[:120], y[:120], eval_set=[(X[120:], y[120:])], verbose=False)


def _early_forest() -> Any:
    from zoo import QUIET, data

    X, y = data("regression")
    model = lgb.LGBMRegressor(**QUIET | SAMPLED | {"n_estimators": 30})
    stop = lgb.early_stopping(2, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 4.7 renames eval_set, older versions know no other
        return model.fit(X[:120], y[:120], eval_set=[(X[120:], y[120:])], callbacks=[stop])


def _xgboost() -> dict[str, tuple[Any, ...]]:
    vector = {"multi_strategy": "multi_output_tree"}
    softmax = {"objective": "multi:softmax", "num_class": 3}
    own = functools.partial(xgb.XGBRegressor, n_estimators=4, max_depth=3, n_jobs=1, objective=gradient)
    return {
        "xgb parallel trees": _booster("multiclass", 3, **softmax, **PARALLEL),
        "xgb parallel vector leaves": _booster("two columns", 3, **vector, **PARALLEL),
        "xgb stopped early in parallel": (_early_xgboost, "multiclass"),
        "xgb slice": _booster("multiclass", 8, lambda booster, _: booster[2:5], **softmax),
        "xgb slice of dart": _booster("regression", 8, lambda booster, _: booster[1:7:3], booster="dart", rate_drop=0.5, seed=3),
        "xgb continued binary:logistic": _booster("binary", 3, _go_on, objective="binary:logistic"),
        "xgb base scores": _booster("two columns", base_score=[0.1, -2.7]),
        "xgb base scores multiclass": _booster("multiclass", base_score=[0.1, 0.7, -0.2], **softmax),
        "xgb binary:hinge": _booster("binary", objective="binary:hinge"),
        "xgb quantiles": _booster("regression", objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
        "xgb vector leaves of quantiles": _booster("regression", objective="reg:quantileerror", quantile_alpha=[0.2, 0.8], **vector),
        "xgb survival:aft": _booster("positive", objective="survival:aft"),
        "xgb own objective": _fit(own, "regression", True),
    }  # fmt: skip


def _lightgbm() -> dict[str, tuple[Any, ...]]:
    from zoo import CATEGORICAL, QUIET

    def model(
        kind: Any, task: str, missing: bool = False, fit: Any = None, **options: Any
    ) -> tuple[Any, ...]:
        return _fit(functools.partial(kind, **QUIET | options), task, missing, **(fit or {}))

    def with_categories() -> Any:
        from zoo import data

        options = QUIET | ZERO | {"min_data_per_group": 5, "cat_smooth": 1}
        X, y = data("regression", True, True)
        return lgb.LGBMRegressor(**options).fit(X, y, categorical_feature=list(CATEGORICAL))

    regressor, classifier = lgb.LGBMRegressor, lgb.LGBMClassifier
    ranks = {"group": [60] * 4}
    return {
        "lgb zero as missing": model(regressor, "regression", True, **ZERO),
        "lgb zero as missing multiclass": model(classifier, "gaps", **ZERO),
        "lgb zero as missing categories": (with_categories, "regression", True, True),
        "lgb signed square": model(regressor, "regression", reg_sqrt=True),
        "lgb sigmoid of two": model(classifier, "text", sigmoid=2.0),
        "lgb sigmoid of 0.7": model(classifier, "text", sigmoid=0.7),
        "lgb one against all of 0.3": model(classifier, "multiclass", objective="multiclassova", sigmoid=0.3),
        "lgb lambdarank": model(lgb.LGBMRanker, "count", fit=ranks),
        "lgb rank_xendcg": model(lgb.LGBMRanker, "count", fit=ranks, objective="rank_xendcg"),
        "lgb own objective": model(regressor, "regression", objective=gradient),
        "lgb constants of a linear tree": model(regressor, "regression", True, linear_tree=True, n_estimators=1),
        "lgb random forest stopped early": (_early_forest, "regression"),
    }  # fmt: skip
