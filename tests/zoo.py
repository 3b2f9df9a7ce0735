"""The zoo: small trained models of every kind that the readers know, and what their own library answers.

A model is trained when it is first asked for and kept for the session. `rows` gives the training rows and, around every
threshold of the model, the values that could tell two readings of it apart.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np
import xgboost as xgb
import zoo_boost
import zoo_catboost
import zoo_sklearn
from numpy.typing import NDArray
from sklearn import ensemble, tree
from sklearn.dummy import DummyRegressor
from threadpoolctl import threadpool_limits

from ensemble_compress.forest import Forest
from ensemble_compress.readers import read

N_ROWS, N_FEATURES, CATEGORICAL = 240, 5, (3, 4)
LABELLED = ("binary", "text", "multiclass", "gaps")
QUIET = {"verbose": -1, "n_jobs": 1, "min_child_samples": 5, "num_leaves": 8, "n_estimators": 6}
SMALL = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1}


class Data(NamedTuple):
    """Training rows and targets."""

    X: NDArray[np.float64]
    y: NDArray[Any]


class Entry(NamedTuple):
    """A model of the zoo: how it is trained, and from which data."""

    library: str
    make: Callable[[], Any]
    task: str = "binary"
    missing: bool = False
    categorical: bool = False


@functools.cache
def data(task: str, missing: bool = False, categorical: bool = False) -> Data:
    """Rows with ties, zeros and both signs; categories in the last two columns where asked for."""
    random = np.random.default_rng(7)
    X = random.normal(size=(N_ROWS, N_FEATURES))
    X[:, 1] = np.round(X[:, 1] * 2) / 2
    X[:, 2] *= random.random(N_ROWS) < 0.5
    if categorical:
        X[:, 3], X[:, 4] = random.integers(0, 9, N_ROWS), random.choice([2, 3, 5, 40], N_ROWS)
    signal = (
        X[:, 0] + np.abs(X[:, 1]) - (X[:, 2] > 0) + np.where(X[:, 3] % 2 == 1, 1.0, -0.5) * (X[:, 4] > 2.5)
    )
    if missing:
        X[random.random(X.shape) < 0.15] = np.nan
    noisy = signal + random.normal(size=N_ROWS) * 0.3
    targets = {
        "regression": noisy,
        "count": np.floor(np.exp(np.clip(noisy, -2, 2))),
        "positive": np.exp(np.clip(noisy, -2, 2)),
        "binary": (noisy > 0.4).astype(int),
        "text": np.where(noisy > 0.4, "yes", "no"),
        "multiclass": np.digitize(noisy, [0.0, 1.2]),
        "gaps": np.array([7, -2, 30])[np.digitize(noisy, [0.0, 1.2])],
        "two columns": np.column_stack([noisy, X[:, 0] ** 2 if not missing else noisy**2]),
    }
    return Data(X, targets[task])


def _fit(model: Any, task: str, missing: bool = False, categorical: bool = False, **others: Any) -> Any:
    X, y = data(task, missing, categorical)
    return model.fit(X, y, **others)


def _early_xgboost() -> Any:
    X, y = data("binary")
    model = xgb.XGBClassifier(
        n_estimators=40, max_depth=3, learning_rate=1.0, early_stopping_rounds=2, n_jobs=1
    )
    return model.fit(X[:120], y[:120], eval_set=[(X[120:], y[120:])], verbose=False)


def _early_lightgbm() -> Any:
    X, y = data("binary")
    model = lgb.LGBMClassifier(**QUIET | {"n_estimators": 40, "learning_rate": 0.8})
    stop = lgb.early_stopping(2, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 4.7 renames eval_set, older versions know no other
        return model.fit(X[:120], y[:120], eval_set=[(X[120:], y[120:])], callbacks=[stop])


def _types() -> list[str]:
    return ["c" if f in CATEGORICAL else "q" for f in range(N_FEATURES)]


def _xgboost(task: str, missing: bool = False, categorical: bool = False, **options: Any) -> Entry:
    kind = xgb.XGBClassifier if task in ("binary", "multiclass") else xgb.XGBRegressor
    if categorical:
        options |= {"enable_categorical": True, "feature_types": _types()}
    make = lambda: _fit(kind(**SMALL | options), task, missing, categorical)
    return Entry("xgboost", make, task, missing, categorical)


def _booster(objective: str, task: str, **options: Any) -> Entry:
    def make() -> Any:
        X, y = data(task)
        parameters = {"objective": objective, "max_depth": 3, "nthread": 1, **options}
        return xgb.train(parameters, xgb.DMatrix(X, y), 5)

    return Entry("xgboost", make, task)


def _lightgbm(task: str, missing: bool = False, categorical: bool = False, **options: Any) -> Entry:
    kind = lgb.LGBMClassifier if task in ("binary", "text", "multiclass", "gaps") else lgb.LGBMRegressor
    fit = {"categorical_feature": list(CATEGORICAL)} if categorical else {}
    make = lambda: _fit(kind(**QUIET | options), task, missing, categorical, **fit)
    return Entry("lightgbm", make, task, missing, categorical)


def _sklearn(kind: Any, task: str, missing: bool = False, categorical: bool = False, **options: Any) -> Entry:
    if categorical:
        options["categorical_features"] = list(CATEGORICAL)
    make = lambda: _fit(kind(random_state=0, **options), task, missing, categorical)
    return Entry("sklearn", make, task, missing, categorical)


def _sklearn_entries() -> dict[str, Entry]:
    forest, boost = {"n_estimators": 5, "max_depth": 6}, {"n_estimators": 5, "max_depth": 3}
    hist = {"max_iter": 5, "max_leaf_nodes": 8, "min_samples_leaf": 5}
    gb_classifier, gb_regressor = ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor
    hgb_classifier, hgb_regressor = (
        ensemble.HistGradientBoostingClassifier,
        ensemble.HistGradientBoostingRegressor,
    )
    entries = {
        "tree binary": _sklearn(tree.DecisionTreeClassifier, "text"),
        "tree missing": _sklearn(tree.DecisionTreeClassifier, "multiclass", missing=True),
        "tree regression": _sklearn(tree.DecisionTreeRegressor, "regression", missing=True, max_depth=5),
        "tree two columns": _sklearn(tree.DecisionTreeRegressor, "two columns", max_depth=4),
        "tree absolute error": _sklearn(
            tree.DecisionTreeRegressor, "regression", criterion="absolute_error", max_depth=4
        ),
        "stump of one leaf": _sklearn(tree.DecisionTreeRegressor, "regression", min_samples_leaf=N_ROWS),
        "extra tree": _sklearn(tree.ExtraTreeClassifier, "gaps"),
        "extra tree regression": _sklearn(tree.ExtraTreeRegressor, "regression", max_depth=5),
        "random forest": _sklearn(ensemble.RandomForestClassifier, "binary", **forest),
        "random forest text": _sklearn(ensemble.RandomForestClassifier, "text", missing=True, **forest),
        "random forest gaps": _sklearn(ensemble.RandomForestClassifier, "gaps", **forest),
        "random forest regression": _sklearn(
            ensemble.RandomForestRegressor, "regression", missing=True, **forest
        ),
        "random forest two columns": _sklearn(ensemble.RandomForestRegressor, "two columns", **forest),
        "extra trees": _sklearn(ensemble.ExtraTreesClassifier, "multiclass", missing=True, **forest),
        "extra trees regression": _sklearn(ensemble.ExtraTreesRegressor, "regression", **forest),
        "boosting binary": _sklearn(gb_classifier, "text", **boost),
        "boosting exponential": _sklearn(gb_classifier, "binary", loss="exponential", **boost),
        "boosting multiclass": _sklearn(gb_classifier, "gaps", **boost),
        "boosting from zero": _sklearn(gb_classifier, "multiclass", init="zero", **boost),
        "boosting dummy": _sklearn(
            gb_regressor, "regression", init=DummyRegressor(strategy="median"), **boost
        ),
    }
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        entries[f"boosting {loss}"] = _sklearn(gb_regressor, "regression", loss=loss, **boost)
    for loss, task in {"squared_error": "regression", "absolute_error": "regression", "poisson": "count", "gamma": "positive"}.items():  # fmt: skip
        entries[f"hist {loss}"] = _sklearn(hgb_regressor, task, missing=True, loss=loss, **hist)
    entries["hist quantile"] = _sklearn(hgb_regressor, "regression", loss="quantile", quantile=0.3, **hist)
    entries["hist binary"] = _sklearn(hgb_classifier, "text", **hist)
    entries["hist multiclass missing"] = _sklearn(hgb_classifier, "gaps", missing=True, **hist)
    entries["hist categories"] = _sklearn(hgb_classifier, "binary", categorical=True, **hist)
    entries["hist categories missing"] = _sklearn(
        hgb_regressor, "regression", missing=True, categorical=True, **hist
    )
    return entries


def _xgboost_entries() -> dict[str, Entry]:
    entries = {
        "xgb binary": _xgboost("binary"),
        "xgb missing": _xgboost("binary", missing=True, base_score=0.23),
        "xgb multiclass": _xgboost("multiclass", missing=True),
        "xgb regression": _xgboost("regression", missing=True, n_estimators=30),
        "xgb one-hot": _xgboost("regression", categorical=True, max_cat_to_onehot=20),
        "xgb partitions": _xgboost("binary", missing=True, categorical=True, max_cat_to_onehot=1, max_depth=5),
        "xgb two columns": _xgboost("two columns"),
        "xgb vector leaves": _xgboost("two columns", multi_strategy="multi_output_tree"),
        "xgb deep": _xgboost("regression", max_depth=0, grow_policy="lossguide", max_leaves=60),
        "xgb random forest": Entry("xgboost", lambda: _fit(xgb.XGBRFClassifier(n_estimators=4, max_depth=4), "multiclass")),
        "xgb stopped early": Entry("xgboost", _early_xgboost),
        "xgb dart": _booster("reg:squarederror", "regression", booster="dart", rate_drop=0.5, seed=3),
        "xgb dart multiclass": _booster("multi:softmax", "multiclass", booster="dart", rate_drop=0.5, num_class=3),
        "xgb pruned": _booster("reg:squarederror", "regression", gamma=2.0, tree_method="exact"),
        "xgb binary:logitraw": _booster("binary:logitraw", "binary"),
        "xgb binary:logistic": _booster("binary:logistic", "binary"),
    }  # fmt: skip
    objectives = {
        "reg:logistic": "binary", "reg:absoluteerror": "regression", "reg:pseudohubererror": "regression",
        "reg:squaredlogerror": "positive", "count:poisson": "count", "reg:gamma": "positive",
        "reg:tweedie": "positive", "survival:cox": "positive", "rank:pairwise": "binary", "rank:ndcg": "binary",
    }  # fmt: skip
    return entries | {f"xgb {name}": _booster(name, task) for name, task in objectives.items()}


def _lightgbm_entries() -> dict[str, Entry]:
    sampled = {"subsample": 0.6, "subsample_freq": 1}
    entries = {
        "lgb binary": _lightgbm("text"),
        "lgb missing": _lightgbm("binary", missing=True),
        "lgb missing as zero": _lightgbm("binary", use_missing=False),
        "lgb multiclass": _lightgbm("gaps", missing=True),
        "lgb one against all": _lightgbm("multiclass", objective="multiclassova"),
        "lgb regression": _lightgbm("regression", missing=True, n_estimators=30),
        "lgb categories": _lightgbm("binary", categorical=True, min_data_per_group=5, cat_smooth=1),
        "lgb categories missing": _lightgbm("regression", missing=True, categorical=True, min_data_per_group=5, max_cat_to_onehot=2),
        "lgb dart": _lightgbm("regression", boosting_type="dart", drop_rate=0.5),
        "lgb goss": _lightgbm("binary", data_sample_strategy="goss"),
        "lgb random forest": _lightgbm("regression", boosting_type="rf", **sampled),
        "lgb random forest multiclass": _lightgbm("multiclass", boosting_type="rf", **sampled),
        "lgb leaves without splits": _lightgbm("regression", min_child_samples=N_ROWS),
        "lgb stopped early": Entry("lightgbm", _early_lightgbm),
    }  # fmt: skip
    objectives = {
        "regression_l1": "regression", "huber": "regression", "fair": "regression", "quantile": "regression",
        "mape": "positive", "poisson": "count", "gamma": "positive", "tweedie": "positive",
    }  # fmt: skip
    entries |= {f"lgb {name}": _lightgbm(task, objective=name) for name, task in objectives.items()}
    for name in ("cross_entropy", "cross_entropy_lambda"):
        make = lambda name=name: _fit(lgb.LGBMRegressor(**QUIET, objective=name), "binary")
        entries[f"lgb {name}"] = Entry("lightgbm", make)
    return entries


ENTRIES = _sklearn_entries() | zoo_sklearn.entries(_sklearn) | _xgboost_entries() | _lightgbm_entries()
ENTRIES |= zoo_boost.entries()
ENTRIES |= {name: Entry("catboost", *entry) for name, entry in zoo_catboost.entries(data).items()}


def names(library: str) -> list[str]:
    """The names of the models of one library."""
    return [name for name, entry in ENTRIES.items() if entry.library == library]


@functools.cache
def trained(name: str) -> Any:
    """The trained model."""
    with threadpool_limits(1):  # tiny models: threads that wait for each other take longer than the work
        return ENTRIES[name].make()


@functools.cache
def forest(name: str) -> Forest:
    """The model, read."""
    return read(trained(name))


@functools.cache
def rows(name: str) -> NDArray[Any]:
    """Training rows and adversarial ones, in the dtype in which the model compares."""
    entry, read_model = ENTRIES[name], forest(name)
    X = data(entry.task, entry.missing, entry.categorical).X
    hard = adversarial_rows(read_model, X, entry.categorical)
    rows = np.concatenate([X, hard]).astype(read_model.x_dtype)
    if entry.library == "catboost" and entry.categorical:
        rows = rows[
            ~(np.abs(rows[:, list(CATEGORICAL)]) > 2.0**62).any(axis=1)
        ]  # CatBoost's codes are integers
    return rows if read_model.handles_nan else rows[~np.isnan(rows).any(axis=1)]


def adversarial_rows(forest: Forest, X: NDArray[Any], categorical: bool) -> NDArray[Any]:
    """Copies of rows of X with one value replaced: by thresholds, their neighbours, zeros, NaN, unseen categories."""
    dtype, hard = np.dtype(forest.x_dtype), []
    tiny = np.finfo(dtype).smallest_subnormal
    usual = np.array(
        [0.0, -0.0, tiny, -tiny, 1e-35, -1e-35, 9e-36, -9e-36, 1e-34, 1e30, -1e30, np.nan]
    ).astype(dtype)
    codes = [0, -0.0, 1, 7, 8, 9, 31, 32, 40, 63, 64, 4000, 2.0**24, 3e9, 1e30, -1, -7, np.nan]
    for f in range(forest.n_features):
        if categorical and f in CATEGORICAL:
            values = np.array(codes, dtype)
        else:
            thresholds = np.unique(forest.nodes.threshold[forest.nodes.feature == f]).astype(dtype)[:150]
            thresholds = thresholds[np.abs(thresholds) < 1e30]
            neighbours = [np.nextafter(thresholds, dtype.type(way * np.inf)) for way in (-1, 1)]
            values = np.concatenate(
                [usual, thresholds, *neighbours, np.nextafter(neighbours[1], dtype.type(np.inf))]
            )
        block = X[np.arange(len(values)) % len(X)].astype(dtype)
        block[:, f] = values
        hard.append(block)
    return np.concatenate(hard)


def expected_leaves(name: str) -> NDArray[Any]:
    """The leaf of each row in each tree as the library itself tells it, shape (n_rows, n_trees)."""
    model, X = trained(name), rows(name)
    if ENTRIES[name].library == "catboost":
        return zoo_catboost.leaves(model, X)
    if ENTRIES[name].library == "xgboost":
        return np.asarray(_predict_xgboost(name, pred_leaf=True)).reshape(len(X), -1)
    if ENTRIES[name].library == "lightgbm":
        return np.asarray(model.predict(X, pred_leaf=True)).reshape(len(X), -1)
    if hasattr(model, "_predictors"):
        return _walk_hist(model, X)
    if (leaves := zoo_sklearn.leaves(model, X)) is not None:
        return leaves
    return np.asarray(model.apply(X)).reshape(len(X), -1)


def expected_margin(name: str) -> NDArray[Any]:
    """What the library sums up for each row, shape (n_rows, n_outputs)."""
    model, X = trained(name), rows(name)
    if ENTRIES[name].library == "xgboost":
        margin = _predict_xgboost(name, output_margin=True)
    elif ENTRIES[name].library == "lightgbm":
        margin = model.predict(X, raw_score=True)
        if model.get_params()["boosting_type"] == "rf":
            margin = margin / model.booster_.current_iteration()
    elif ENTRIES[name].library == "catboost":
        margin = zoo_catboost.margin(model, X)
    elif hasattr(model, "_raw_predict"):
        margin = model._raw_predict(X)
    elif (margin := zoo_sklearn.margin(model, X)) is not None:
        pass
    else:
        margin = (model.predict_proba if hasattr(model, "classes_") else model.predict)(X)
    return np.asarray(margin).reshape(len(X), -1)


def expected_prediction(name: str) -> NDArray[Any]:
    """What the model's own `predict` gives: labels of a classifier, otherwise values."""
    model, X = trained(name), rows(name)
    if isinstance(model, xgb.Booster):
        values = np.asarray(_predict_xgboost(name))
        return (values > (0 if "logitraw" in name else 0.5)).astype(int) if "binary:" in name else values
    if ENTRIES[name].library == "catboost":
        return zoo_catboost.prediction(model, X)
    return zoo_sklearn.prediction(model, X)


def _predict_xgboost(name: str, **what: Any) -> Any:
    model, X = trained(name), rows(name)
    options = {"feature_types": _types(), "enable_categorical": True} if ENTRIES[name].categorical else {}
    if isinstance(model, xgb.Booster):
        return model.predict(xgb.DMatrix(X, **options), **what)
    best = model.best_iteration if model.early_stopping_rounds else None
    within = (0, 0) if best is None else (0, best + 1)
    return model.get_booster().predict(xgb.DMatrix(X, **options), iteration_range=within, **what)


def _walk_hist(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """HistGradientBoosting has no `apply`: its own rule, row by row, on its own arrays."""
    if model._preprocessor is not None:
        X = model._preprocessor.transform(X)
    known, place = model._bin_mapper.make_known_categories_bitsets()
    predictors = [predictor for stage in model._predictors for predictor in stage]
    return np.array([[_hist_leaf(p, row, known, place) for p in predictors] for row in X])


def _hist_leaf(predictor: Any, row: NDArray[Any], known: Any, place: Any) -> int:
    def has(bits: Any, code: int) -> bool:
        return bool(bits[code // 32] >> np.uint32(code % 32) & np.uint32(1))

    at = 0
    while not predictor.nodes[at]["is_leaf"]:
        node = predictor.nodes[at]
        x = row[node["feature_idx"]]
        if np.isnan(x):
            left = node["missing_go_to_left"]
        elif not node["is_categorical"]:
            left = x <= node["num_threshold"]
        elif has(predictor.raw_left_cat_bitsets[node["bitset_idx"]], int(x)):
            left = True
        else:
            left = node["missing_go_to_left"] and not has(known[place[node["feature_idx"]]], int(x))
        at = int(node["left"] if left else node["right"])
    return at
