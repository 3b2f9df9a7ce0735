"""Every kind of model that there is, whether it is read or not: the registry behind docs/coverage.md and the proof of exactness.

A `Kind` is a library's estimator trained in one way, on one or several tasks. Nothing here says whether a kind is read: that is
found by training it and reading it. To add one, add a line to a table below; `python benchmarks/coverage_table.py` does the rest.
"""

import functools
import inspect
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

SEED = 7
SEVERAL = ("multi-label", "multi-class, several", "regression, several")
"""Tasks with more than one column of targets."""
CLASSIFICATION = ("binary", "multi-class", "multi-label")
REGRESSION = ("regression", "regression, several")


class Task(NamedTuple):
    """What a model is trained on: rows, targets, and which columns hold category codes."""

    name: str
    X: NDArray[np.float64]
    y: NDArray[Any]
    missing: bool = False
    categorical: tuple[int, ...] = ()

    @property
    def is_several(self) -> bool:
        """Whether there is more than one column of targets."""
        return self.y.ndim > 1


class Size(NamedTuple):
    """How large a model is trained."""

    trees: int
    depth: int
    leaves: int
    least: int

    def options(self, kind: Any) -> dict[str, Any]:
        """The keyword arguments that say so to an estimator, as far as its signature has them."""
        known = inspect.signature(kind).parameters
        wanted = {
            "n_estimators": self.trees,
            "max_iter": self.trees,
            "max_depth": self.depth,
            "max_leaf_nodes": self.leaves,
            "min_samples_leaf": self.least,
            "random_state": 0,
            "n_jobs": 1,
        }
        found = {name: value for name, value in wanted.items() if name in known}
        if "max_depth" in known:
            found.pop("max_leaf_nodes", None)
        return found


SMALL = Size(trees=5, depth=4, leaves=8, least=4)


class NotOfferedError(Exception):
    """The library has no way to say the combination."""


class Kind(NamedTuple):
    """An estimator trained in one way.

    Attributes
    ----------
    library, name : str
        What the table says.
    fit : callable of (Task, Size)
        Trains the model; what the library refuses, it raises.
    tasks : tuple of str
        On what.
    margin : {"bits", "ulp", "hidden"}
        How its margins compare with the library's: equal, within 4 ulp of the sum's magnitude, or not, because it tells none.
    prediction : {"double", "single"}
        Whether the library computes its links in the type of its margins, or some of them in float32 whatever that type.
    """

    library: str
    name: str
    fit: Callable[[Task, Size], Any]
    tasks: tuple[str, ...]
    margin: str = "bits"
    prediction: str = "double"


# -- data --------------------------------------------------------------------------------------------------------


@functools.cache
def small_task(name: str, missing: bool = False, categorical: bool = False, n_rows: int = 300) -> Task:
    """Rows of adult: age, weight, capital gain and hours, in natural units with zeros and both signs, and two columns of text.

    Parameters
    ----------
    name : str
        What is predicted.
    missing : bool
        Whether some cells are NaN.
    categorical : bool
        Whether the last two columns are categories; they are numbers otherwise.
    n_rows : int
        How many.
    """
    X, income, info = datasets.load("adult")
    column = {name: f for f, name in enumerate(info["feature_names"])}
    random = np.random.default_rng(SEED)
    chosen = X[random.permutation(len(X))[:n_rows]].astype(np.float64)
    income = income[np.random.default_rng(SEED).permutation(len(X))[:n_rows]]
    age, weight, gain, hours = (
        chosen[:, column[c]] for c in ("age", "fnlwgt", "capital-gain", "hours-per-week")
    )
    rows = np.column_stack(
        [
            (age - 40) / 10,
            np.log(weight),
            np.log1p(gain),
            hours - 40,
            chosen[:, column["occupation"]],
            chosen[:, column["marital-status"]],
        ]
    )
    rows[:, 4] = np.nan_to_num(rows[:, 4], nan=random.integers(0, 5))
    if missing:
        rows[random.random(rows.shape) < 0.12] = np.nan
    y = _target(name, income, chosen[:, column["educational-num"]], chosen[:, column["gender"]], hours)
    return Task(name, rows, y, missing, (4, 5) if categorical else ())


def _target(
    name: str, income: NDArray[Any], school: NDArray[Any], gender: NDArray[Any], hours: NDArray[Any]
) -> NDArray[Any]:
    grade = np.digitize(school, [9, 11])
    return {
        "binary": income,
        "multi-class": grade,
        "multi-label": np.column_stack([income, gender.astype(int)]),
        "multi-class, several": np.column_stack([income, grade]),
        "regression": school + hours / 7,
        "regression, several": np.column_stack([school + hours / 7, hours / 3]),
        "counts": school,
        "positive": school / 3 + 0.1,
        "ranking": grade,
        "outliers": income,
    }[name]


def cells() -> list[tuple[bool, bool]]:
    """(missing, categorical), in the order of the table's columns."""
    return [(missing, categorical) for categorical, missing in itertools.product([False, True], repeat=2)]


# -- scikit-learn ------------------------------------------------------------------------------------------------


def _sklearn(name: str, tasks: Sequence[str], note: str = "", margin: str = "bits", **options: Any) -> Kind:
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
        return kind(**size.options(kind) | given).fit(task.X, _labels(task))

    return Kind("scikit-learn", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks), margin)


def _labels(task: Task) -> NDArray[Any]:
    """The targets; one column of classes as labels of text, or of numbers with gaps."""
    if task.name == "binary":
        return np.array(["no", "yes"])[task.y]
    return 9 * task.y - 2 if task.name == "multi-class" else task.y


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
    return _sklearn(name, tasks, estimators=estimators)


def _sklearn_kinds() -> list[Kind]:
    several = (*CLASSIFICATION, "multi-class, several")
    one, number = ("binary", "multi-class"), ("regression",)
    kinds = []
    for name in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees"):
        kinds += [_sklearn(f"{name}Classifier", several), _sklearn(f"{name}Regressor", REGRESSION)]
    for criterion in ("absolute_error", "poisson"):
        kinds.append(_sklearn("DecisionTreeRegressor", ("counts",), criterion, criterion=criterion))
    kinds += [
        _sklearn("RandomForestClassifier", one, "class weights", class_weight="balanced"),
        _sklearn("RandomForestClassifier", ("binary",), "monotonic", monotonic_cst=True),
        _sklearn("RandomForestRegressor", number, "monotonic", monotonic_cst=True),
        _sklearn("RandomTreesEmbedding", number),
        _sklearn("IsolationForest", ("outliers",), margin="hidden"),
        _sklearn("BaggingClassifier", CLASSIFICATION, estimator=_make("DecisionTreeClassifier")),
        _sklearn("BaggingClassifier", ("binary",), "some of the columns", estimator=_make("DecisionTreeClassifier"), max_features=0.6),
        _sklearn("BaggingRegressor", REGRESSION, estimator=_make("DecisionTreeRegressor")),
        _sklearn("BaggingRegressor", number, "of other models", estimator=_make("Ridge")),
        _sklearn("AdaBoostClassifier", CLASSIFICATION, estimator=_make("DecisionTreeClassifier", max_depth=2)),
        _sklearn("AdaBoostRegressor", REGRESSION),
        _sklearn("GradientBoostingClassifier", CLASSIFICATION),
        _sklearn("GradientBoostingClassifier", ("binary",), "exponential", loss="exponential"),
        _sklearn("GradientBoostingClassifier", one, "init='zero'", init="zero"),
        _sklearn("GradientBoostingClassifier", ("binary",), "init fitted", init=_make("DecisionTreeClassifier")),
        _sklearn("GradientBoostingClassifier", ("binary",), "subsample", subsample=0.6),
        _sklearn("GradientBoostingRegressor", number, "init fitted", init=_make("DecisionTreeRegressor")),
        _sklearn("GradientBoostingRegressor", number, "init constant", init=_make("DummyRegressor", strategy="median")),
        *(_sklearn("GradientBoostingRegressor", number, loss, loss=loss) for loss in ("absolute_error", "huber", "quantile")),
        _sklearn("GradientBoostingRegressor", REGRESSION),
        _sklearn("HistGradientBoostingClassifier", CLASSIFICATION),
        _sklearn("HistGradientBoostingClassifier", ("binary",), "monotonic", monotonic_cst=True),
        _sklearn("HistGradientBoostingClassifier", ("binary",), "early stopping", early_stopping=True, max_iter=60, learning_rate=0.8, n_iter_no_change=2),
        _sklearn("HistGradientBoostingRegressor", REGRESSION),
        *(_sklearn("HistGradientBoostingRegressor", ("positive",), loss, loss=loss) for loss in ("absolute_error", "poisson", "gamma")),
        _sklearn("HistGradientBoostingRegressor", number, "quantile", loss="quantile", quantile=0.3),
        _together("VotingClassifier", "Classifier", one),
        _together("VotingRegressor", "Regressor", number),
        _together("StackingClassifier", "Classifier", one),
        _together("StackingRegressor", "Regressor", number),
        _sklearn("CalibratedClassifierCV", one, estimator=_make("RandomForestClassifier"), cv=2),
        _sklearn("MultiOutputClassifier", ("multi-label",), estimator=_make("GradientBoostingClassifier")),
        _sklearn("MultiOutputRegressor", ("regression, several",), estimator=_make("GradientBoostingRegressor")),
        _sklearn("OneVsRestClassifier", ("multi-class",), estimator=_make("RandomForestClassifier")),
        _wrapped("GridSearchCV", ("binary",), _searched),
        _wrapped("Pipeline", ("binary", "regression"), _pipeline),
        _wrapped("FrozenEstimator", one, _frozen),
    ]  # fmt: skip
    return kinds


# -- XGBoost -----------------------------------------------------------------------------------------------------


def _types(task: Task) -> list[str]:
    return ["c" if f in task.categorical else "q" for f in range(task.X.shape[1])]


def _xgboost(name: str, tasks: Sequence[str], note: str = "", **options: Any) -> Kind:
    """A wrapper of XGBoost by its name."""

    def fit(task: Task, size: Size) -> Any:
        import xgboost

        given = {"n_estimators": size.trees, "max_depth": size.depth, "n_jobs": 1, **options}
        if task.categorical:
            given |= {"enable_categorical": True, "feature_types": _types(task)}
        model = getattr(xgboost, name)(**given)
        others: dict[str, Any] = {}
        if task.name == "ranking":
            others["qid"] = np.arange(len(task.X)) // 20
        if "early_stopping_rounds" in options:
            half = len(task.X) // 2
            return model.fit(
                task.X[:half], task.y[:half], eval_set=[(task.X[half:], task.y[half:])], verbose=False
            )
        return model.fit(task.X, task.y, **others)

    return Kind("XGBoost", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks))


def _booster(objective: str, task_name: str, note: str = "", rounds: int = 1, **options: Any) -> Kind:
    """A booster of `xgboost.train`."""

    def fit(task: Task, size: Size) -> Any:
        import xgboost

        parameters = {"objective": objective, "nthread": 1, "seed": 1, **options}
        if options.get("booster") != "gblinear":
            parameters["max_depth"] = size.depth
        categories = {"feature_types": _types(task), "enable_categorical": True} if task.categorical else {}
        rows = xgboost.DMatrix(task.X, task.y, **categories)
        if objective == "survival:aft":
            rows.set_float_info("label_lower_bound", task.y)
            rows.set_float_info("label_upper_bound", task.y * 2)
        if objective.startswith("multi:"):
            parameters["num_class"] = int(task.y.max()) + 1
        return xgboost.train(parameters, rows, size.trees * rounds)

    return Kind("XGBoost", f"Booster, {objective}{', ' if note else ''}{note}", fit, (task_name,))


def _sliced(task: Task, size: Size) -> Any:
    whole = _booster("binary:logistic", "binary").fit(task, size)
    return whole[1 : size.trees - 1]


def _xgboost_kinds() -> list[Kind]:
    objectives = {
        "reg:squarederror": "regression", "reg:squaredlogerror": "positive", "reg:pseudohubererror": "regression",
        "reg:absoluteerror": "regression", "reg:logistic": "binary", "binary:logistic": "binary",
        "binary:logitraw": "binary", "binary:hinge": "binary", "multi:softmax": "multi-class",
        "multi:softprob": "multi-class", "count:poisson": "counts", "reg:gamma": "positive",
        "reg:tweedie": "positive", "survival:cox": "positive", "survival:aft": "positive",
        "rank:pairwise": "binary", "rank:ndcg": "binary", "rank:map": "binary",
    }  # fmt: skip
    dart = {"booster": "dart", "rate_drop": 0.5}
    vectors = {"multi_strategy": "multi_output_tree"}
    return [
        _xgboost("XGBClassifier", CLASSIFICATION),
        _xgboost("XGBClassifier", ("multi-class", "multi-label"), "vector leaves", **vectors),
        _xgboost("XGBClassifier", ("binary",), "one-hot categories", max_cat_to_onehot=50),
        _xgboost("XGBClassifier", ("binary",), "partitioned categories", max_cat_to_onehot=1),
        _xgboost("XGBClassifier", ("binary",), "base_score=0.23", base_score=0.23),
        _xgboost("XGBClassifier", ("binary",), "early stopping", n_estimators=60, learning_rate=1.0, early_stopping_rounds=2),
        _xgboost("XGBClassifier", ("binary", "multi-class"), "parallel trees", num_parallel_tree=3, subsample=0.7),
        _xgboost("XGBClassifier", ("binary",), "lossguide", grow_policy="lossguide", max_leaves=12),
        _xgboost("XGBClassifier", ("binary",), "exact", tree_method="exact"),
        _xgboost("XGBClassifier", ("binary",), "monotonic", monotone_constraints="(1,0,0,0,0,0)"),
        _xgboost("XGBRegressor", REGRESSION),
        _xgboost("XGBRegressor", ("regression, several",), "vector leaves", **vectors),
        _xgboost("XGBRFClassifier", ("binary", "multi-class")),
        _xgboost("XGBRFRegressor", ("regression",)),
        _xgboost("XGBRanker", ("ranking",)),
        *(_booster(objective, task) for objective, task in objectives.items()),
        _booster("reg:quantileerror", "regression", quantile_alpha=0.3),
        _booster("reg:quantileerror", "regression", "two quantiles", quantile_alpha=[0.2, 0.8]),
        _booster("reg:expectileerror", "regression", expectile_alpha=0.3),
        _booster("reg:squarederror", "regression", "dart", **dart),
        _booster("multi:softprob", "multi-class", "dart", **dart),
        _booster("reg:squarederror", "regression", "gblinear", booster="gblinear"),
        Kind("XGBoost", "Booster, sliced", _sliced, ("binary",)),
    ]  # fmt: skip


# -- LightGBM ----------------------------------------------------------------------------------------------------


def _lightgbm(name: str, tasks: Sequence[str], note: str = "", **options: Any) -> Kind:
    """A wrapper of LightGBM by its name."""

    def fit(task: Task, size: Size) -> Any:
        import lightgbm

        given = {
            "n_estimators": size.trees,
            "num_leaves": size.leaves,
            "min_child_samples": size.least,
            "n_jobs": 1,
            "verbose": -1,
            "random_state": 0,
            "min_data_per_group": size.least,
            "cat_smooth": 1,
        }
        model = getattr(lightgbm, name)(**given | options)
        others: dict[str, Any] = {"categorical_feature": list(task.categorical)} if task.categorical else {}
        if task.name == "ranking":
            others["group"] = [20] * (len(task.X) // 20)
        if note != "early stopping":
            return model.fit(task.X, _labels(task), **others)
        half, y = len(task.X) // 2, _labels(task)
        others["callbacks"] = [lightgbm.early_stopping(2, verbose=False)]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # 4.7 renames eval_set; older versions know no other
            return model.fit(task.X[:half], y[:half], eval_set=[(task.X[half:], y[half:])], **others)

    return Kind("LightGBM", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks))


def _lightgbm_kinds() -> list[Kind]:
    one, number, sampled = ("binary", "multi-class"), ("regression",), {"subsample": 0.6, "subsample_freq": 1}
    objectives = {
        "regression_l1": "regression", "huber": "regression", "fair": "regression", "quantile": "regression",
        "mape": "positive", "poisson": "counts", "gamma": "positive", "tweedie": "positive",
        "cross_entropy": "outliers", "cross_entropy_lambda": "outliers",
    }  # fmt: skip
    return [
        _lightgbm("LGBMClassifier", CLASSIFICATION),
        _lightgbm("LGBMClassifier", ("multi-class",), "multiclassova", objective="multiclassova"),
        _lightgbm("LGBMClassifier", one, "dart", boosting_type="dart", drop_rate=0.5),
        _lightgbm("LGBMClassifier", one, "goss", data_sample_strategy="goss"),
        _lightgbm("LGBMClassifier", one, "rf", boosting_type="rf", **sampled),
        _lightgbm("LGBMClassifier", one, "early stopping", n_estimators=60, learning_rate=0.8),
        _lightgbm("LGBMClassifier", one, "use_missing=False", use_missing=False),
        _lightgbm("LGBMClassifier", ("binary",), "zero_as_missing", zero_as_missing=True),
        _lightgbm("LGBMClassifier", ("binary",), "sigmoid=2", sigmoid=2.0),
        _lightgbm("LGBMClassifier", ("binary",), "one-hot categories", max_cat_to_onehot=50),
        _lightgbm("LGBMClassifier", ("binary",), "monotonic", monotone_constraints=[1, 0, 0, 0, 0, 0]),
        _lightgbm("LGBMClassifier", ("binary",), "extra trees", extra_trees=True),
        _lightgbm("LGBMClassifier", ("binary",), "linear leaves", linear_tree=True),
        _lightgbm("LGBMRegressor", REGRESSION),
        _lightgbm("LGBMRegressor", number, "dart", boosting_type="dart", drop_rate=0.5),
        _lightgbm("LGBMRegressor", number, "rf", boosting_type="rf", **sampled),
        _lightgbm("LGBMRegressor", number, "linear leaves", linear_tree=True),
        _lightgbm("LGBMRegressor", number, "zero_as_missing", zero_as_missing=True),
        _lightgbm("LGBMRegressor", ("positive",), "reg_sqrt", reg_sqrt=True),
        *(_lightgbm("LGBMRegressor", (task,), name, objective=name) for name, task in objectives.items()),
        _lightgbm("LGBMRanker", ("ranking",)),
        _lightgbm("LGBMRanker", ("ranking",), "rank_xendcg", objective="rank_xendcg"),
    ]


# -- CatBoost, Treelite ------------------------------------------------------------------------------------------


def catboost_rows(task: Task, X: NDArray[Any]) -> Any:
    """Rows as CatBoost takes them: a frame whose categorical columns hold whole numbers."""
    import pandas as pd

    frame = pd.DataFrame(X)
    for f in task.categorical:
        if frame[f].isna().any():
            raise NotOfferedError("CatBoost takes no missing value in a column of categories")
        frame[f] = frame[f].astype(int)
    return frame


def _catboost(name: str, tasks: Sequence[str], note: str = "", **options: Any) -> Kind:
    """A wrapper of CatBoost by its name."""

    def fit(task: Task, size: Size) -> Any:
        import catboost

        several = {"multi-label": "MultiLogloss", "regression, several": "MultiRMSE"}.get(task.name)
        given = {
            "iterations": size.trees,
            "depth": size.depth,
            "random_seed": 0,
            "thread_count": 1,
            "verbose": 0,
            "allow_writing_files": False,
            "cat_features": list(task.categorical),
            **({"loss_function": several} if several else {}),
        }
        y = task.y if task.is_several else _labels(task)
        return getattr(catboost, name)(**given | options).fit(catboost_rows(task, task.X), y)

    return Kind("CatBoost", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks))


def _catboost_kinds() -> list[Kind]:
    one_hot = {"one_hot_max_size": 255}
    kinds = [
        _catboost("CatBoostClassifier", CLASSIFICATION, "one-hot categories", **one_hot),
        _catboost("CatBoostClassifier", ("binary",), "hashed and counted categories", one_hot_max_size=1),
        _catboost("CatBoostRegressor", REGRESSION, "one-hot categories", **one_hot),
    ]
    for policy in ("Depthwise", "Lossguide"):
        kinds.append(_catboost("CatBoostClassifier", ("binary",), policy, grow_policy=policy, **one_hot))
    for mode in ("Min", "Max"):
        kinds.append(
            _catboost("CatBoostRegressor", ("regression",), f"nan_mode={mode}", nan_mode=mode, **one_hot)
        )
    for loss in ("Poisson", "Tweedie:variance_power=1.5", "Quantile"):
        kinds.append(_catboost("CatBoostRegressor", ("positive",), loss, loss_function=loss, **one_hot))
    return kinds


def _treelite(source: Kind) -> Kind:
    def fit(task: Task, size: Size) -> Any:
        import treelite

        model = source.fit(task, size)
        if source.library == "scikit-learn":
            import treelite.sklearn

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # it casts a missing category to an integer
                return treelite.sklearn.import_model(model)
        if source.library == "LightGBM":
            return treelite.frontend.from_lightgbm(model.booster_)
        return treelite.frontend.from_xgboost(model.get_booster())

    # Treelite adds base scores after the trees. Those of random forests and of LightGBM are 0.
    has_base = "Forest" not in source.name and not source.name.startswith("LGBM")
    return Kind(
        "Treelite", f"Model, from {source.name}", fit, source.tasks, "ulp" if has_base else "bits", "single"
    )


def _treelite_kinds() -> list[Kind]:
    one, number = ("binary", "multi-class"), ("regression",)
    sources = [
        *(_sklearn("RandomForestClassifier", one), _sklearn("RandomForestRegressor", REGRESSION)),
        *(_sklearn("GradientBoostingClassifier", one), _sklearn("HistGradientBoostingRegressor", number)),
        *(_xgboost("XGBClassifier", one), _xgboost("XGBRegressor", REGRESSION)),
        *(_lightgbm("LGBMClassifier", one), _lightgbm("LGBMRegressor", number)),
    ]
    return [_treelite(source) for source in sources]


@functools.cache
def all_kinds() -> tuple[Kind, ...]:
    """Every kind, in the order of the table."""
    return (
        *_sklearn_kinds(),
        *_xgboost_kinds(),
        *_lightgbm_kinds(),
        *_catboost_kinds(),
        *_treelite_kinds(),
    )
