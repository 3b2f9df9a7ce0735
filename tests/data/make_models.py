"""Train tiny models with the XGBoost or LightGBM that is installed, and write down what it answers on hard rows.

Run in an environment with the version wanted: `python tests/data/make_models.py xgboost`, or `lightgbm`. The files go to
a folder of the library's name and version beside this script. `answers.json` holds for each model its rows, the leaf of
each row in each tree and the sum of the leaves. The newest versions need no files: the zoo trains with them.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

N_ROWS, TYPES = 160, ["q", "q", "c"]
SMALL = {"max_depth": 3, "eta": 0.5, "nthread": 1, "min_child_weight": 2, "seed": 0}
QUIET = {"num_leaves": 6, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1, "seed": 0}
XGBOOST: dict[str, tuple[str, dict[str, Any]]] = {
    "binary.json": ("binary", {"objective": "binary:logistic"}),
    "multiclass.ubj": ("multiclass", {"objective": "multi:softprob", "num_class": 3, "max_depth": 2}),
    "regression.json": ("regression", {"objective": "reg:squarederror", "base_score": 0.3}),
    "count.ubj": ("multiclass", {"objective": "count:poisson", "num_parallel_tree": 2, "subsample": 0.7}),
    "one_hot.json": ("binary", {"objective": "binary:logistic", "tree_method": "hist", "max_cat_to_onehot": 20}),
    "partition.ubj": ("regression", {"tree_method": "hist", "max_cat_to_onehot": 1}),
    "dart.json": ("regression", {"booster": "dart", "rate_drop": 0.6, "max_depth": 2}),
    "vector.ubj": ("columns", {"tree_method": "hist", "multi_strategy": "multi_output_tree"}),
}  # fmt: skip
LIGHTGBM: dict[str, tuple[str, dict[str, Any]]] = {
    "multiclass.txt": ("multiclass", {"objective": "multiclass", "num_class": 3}),
    "zero.txt": ("regression", {"objective": "regression", "zero_as_missing": True, "num_leaves": 9}),
    "category.txt": ("binary", {"objective": "binary", "min_data_per_group": 5, "max_cat_to_onehot": 2}),
    "forest.txt": ("binary", {"objective": "binary", "boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1}),
}  # fmt: skip


def training_data(task: str) -> tuple[Any, Any]:
    random = np.random.default_rng(5)
    X = np.round(random.normal(size=(N_ROWS, 3)), 3)
    X[:, 1] = np.round(X[:, 1])
    X[:, 2] = random.integers(0, 6, N_ROWS)
    signal = X[:, 0] + np.abs(X[:, 1]) + np.where(X[:, 2] % 2 == 1, 1.0, -0.5)
    X[random.random(X.shape) < 0.1] = np.nan
    targets = {
        "regression": signal,
        "binary": (signal > 0.6).astype(int),
        "multiclass": np.digitize(signal, [0.2, 1.5]),
        "columns": np.column_stack([signal, np.abs(signal)]),
    }
    return X, targets[task]


def hard_rows(thresholds: list[tuple[int, float]], X: Any, dtype: Any) -> Any:
    """Rows of X with one value replaced: by a threshold, its neighbours, zeros, NaN, or an unseen category."""
    infinity = dtype(np.inf)
    values: dict[int, list[Any]] = {f: [0.0, -0.0, 1e-35, -1e-35, 1e-34, 1e30, np.nan] for f in (0, 1)}
    for f, threshold in sorted(set(thresholds)):
        at = dtype(threshold)
        values.setdefault(f, []).extend([at, np.nextafter(at, -infinity), np.nextafter(at, infinity)])
    values[2] = [0, 1, 2, 3, 4, 5, 6, 31, 32, 77, 2.75, -1, 3e9, np.nan]
    rows = []
    for f, column in values.items():
        for value in column:
            rows.append(X[len(rows)].astype(dtype))
            rows[-1][f] = value
    return np.array(rows)


def make_xgboost(folder: Path, xgb: Any) -> dict[str, Any]:
    answers = {}
    for name, (task, options) in XGBOOST.items():
        if task == "columns" and int(xgb.__version__.split(".")[0]) < 2:
            continue
        X, y = training_data(task)
        types = {"feature_types": TYPES, "enable_categorical": True} if "max_cat_to_onehot" in options else {}
        booster = xgb.train({**SMALL, **options}, xgb.DMatrix(X, y, **types), 3 if "dart" in name else 2)
        booster.save_model(str(folder / name))
        thresholds = []
        for tree in (
            json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
            .get("model", {})
            .get("trees", [])
        ):
            split = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
            thresholds += [(f, t) for left, f, t in split if left != -1 and (f < 2 or not types)]
        rows = hard_rows(thresholds, X, np.float32)
        matrix = xgb.DMatrix(rows, **types)
        leaves, margin = booster.predict(matrix, pred_leaf=True), booster.predict(matrix, output_margin=True)
        answers[name] = as_answers(rows, leaves, margin)
        if name == "binary.json" and xgb.__version__ < "2.1":
            booster.save_model(str(folder / "binary.model"))
    return answers


def make_lightgbm(folder: Path, lgb: Any) -> dict[str, Any]:
    answers = {}
    for name, (task, options) in LIGHTGBM.items():
        X, y = training_data(task)
        columns = {"categorical_feature": [2]} if "max_cat_to_onehot" in options else {}
        booster = lgb.train({**QUIET, **options}, lgb.Dataset(X, y, **columns), 2)
        booster.save_model(str(folder / name))
        thresholds = []
        for line in booster.model_to_string().split("\n"):
            key, _, numbers = line.partition("=")
            if key == "split_feature":
                features = [int(f) for f in numbers.split()]
            elif key == "threshold":
                pairs = zip(features, map(float, numbers.split()), strict=True)
                thresholds += [(f, t) for f, t in pairs if f < 2 or not columns]
        rows = hard_rows(thresholds, X, np.float64)
        answers[name] = as_answers(
            rows, booster.predict(rows, pred_leaf=True), booster.predict(rows, raw_score=True)
        )
    return answers


def as_answers(rows: Any, leaves: Any, margin: Any) -> dict[str, Any]:
    n_rows = len(rows)
    return {
        "rows": shortest(rows),
        "leaves": np.asarray(leaves).reshape(n_rows, -1).astype(int).tolist(),
        "margin": shortest(np.asarray(margin).reshape(n_rows, -1)),
    }


def shortest(numbers: Any) -> list[list[float]]:
    """The shortest decimals that give the same float32 or float64 again."""
    return [[float(str(number)) for number in row] for row in numbers]


def main() -> None:
    library = import_module(sys.argv[1])
    folder = Path(__file__).parent / f"{sys.argv[1]}-{library.__version__}"
    folder.mkdir(exist_ok=True)
    make = {"xgboost": make_xgboost, "lightgbm": make_lightgbm}[sys.argv[1]]
    text = json.dumps(make(folder, library), separators=(",", ":"))
    (folder / "answers.json").write_text(text.replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
