"""The kinds of XGBoost's, LightGBM's, CatBoost's and Treelite's models for the registry in `kinds.py`."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from kinds import CLASSIFICATION, REGRESSION, Kind, NotOfferedError, Size, Task, labels_of
from kinds_sklearn import sklearn_kind
from numpy.typing import NDArray

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
        _xgboost("XGBClassifier", ("binary",), "missing=0", missing=0),
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
            return model.fit(task.X, labels_of(task), **others)
        half, y = len(task.X) // 2, labels_of(task)
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
        _lightgbm("LGBMClassifier", ("binary",), "sigmoid=0.7", sigmoid=0.7),
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
        y = task.y if task.is_several else labels_of(task)
        others = {"group_id": np.arange(len(y)) // 20} if task.name == "ranking" else {}
        return getattr(catboost, name)(**given | options).fit(catboost_rows(task, task.X), y, **others)

    return Kind("CatBoost", f"{name}{', ' if note else ''}{note}", fit, tuple(tasks), whole_categories=True)


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
    kinds += [
        _catboost("CatBoostClassifier", ("multi-class",), "MultiClassOneVsAll", loss_function="MultiClassOneVsAll", **one_hot),
        _catboost("CatBoostClassifier", ("binary",), "Focal", loss_function="Focal:focal_alpha=0.5;focal_gamma=2", **one_hot),
        _catboost("CatBoostRegressor", ("regression",), "RMSEWithUncertainty", loss_function="RMSEWithUncertainty", **one_hot),
        _catboost("CatBoostRanker", ("ranking",), "one-hot categories", **one_hot),
        Kind("CatBoost", "CatBoostClassifier, text features", _catboost_of_text, ("binary",), whole_categories=True),
    ]  # fmt: skip
    return kinds


def _catboost_of_text(task: Task, size: Size) -> Any:
    """One more column: texts of one word or two."""
    import catboost

    rows = catboost_rows(task, task.X)
    rows["text"] = np.where(np.asarray(task.y) == np.arange(len(rows)) % 3 % 2, "low income", "high income")
    model = catboost.CatBoostClassifier(
        iterations=size.trees, depth=size.depth, thread_count=1, verbose=0, allow_writing_files=False
    )
    return model.fit(rows, labels_of(task), cat_features=list(task.categorical), text_features=["text"])


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
        *(
            sklearn_kind("RandomForestClassifier", CLASSIFICATION),
            sklearn_kind("RandomForestRegressor", REGRESSION),
        ),
        *(
            sklearn_kind("GradientBoostingClassifier", one),
            sklearn_kind("HistGradientBoostingRegressor", number),
        ),
        *(_xgboost("XGBClassifier", CLASSIFICATION), _xgboost("XGBRegressor", REGRESSION)),
        *(_lightgbm("LGBMClassifier", one), _lightgbm("LGBMRegressor", number)),
        _lightgbm("LGBMClassifier", ("binary",), "sigmoid=0.7", sigmoid=0.7),
    ]
    refused = [sklearn_kind("IsolationForest", ("outliers",))]
    built = Kind(
        "Treelite", "Model, built with a test for equality", _treelite_with_equality, ("regression",)
    )
    return [*(_treelite(source) for source in sources + refused), built]


def _treelite_with_equality(task: Task, size: Size) -> Any:
    """What no library trains and Treelite's builder makes."""
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    if task.categorical:
        raise NotOfferedError("has no parameter for categories")
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(
            num_feature=task.X.shape[1], task_type="kRegressor", average_tree_output=False,
            num_target=1, num_class=[1], leaf_vector_shape=(1, 1),
        ),
        tree_annotation=TreeAnnotation(num_tree=1, target_id=[0], class_id=[0]),
        postprocessor=PostProcessorFunc(name="identity"),
        base_scores=[0.0],
    )  # fmt: skip
    builder.start_tree()
    builder.start_node(0)
    builder.numerical_test(0, 0.5, default_left=True, opname="==", left_child_key=1, right_child_key=2)
    builder.end_node()
    for key in (1, 2):
        builder.start_node(key)
        builder.leaf(float(key))
        builder.end_node()
    builder.end_tree()
    return builder.commit()


def boosting_kinds() -> list[Kind]:
    """Every kind of XGBoost, LightGBM, CatBoost and Treelite."""
    return [*_xgboost_kinds(), *_lightgbm_kinds(), *_catboost_kinds(), *_treelite_kinds()]
