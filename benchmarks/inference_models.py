"""The models that `inference.py` times, and the rows to time them on, trained once and kept in a folder.

A pool of rows that no model has seen lies beside each model: rows of the same distribution as those that trained it, so many
that a timed call need not see a row twice. Where a data set has too few, a new row takes each value from one of
two unseen rows of the same class.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

import ensemble_compress as ec
from ensemble_compress.forest import Forest

SEED = 0
Rows = NDArray[np.float32]
Data = tuple[Rows, NDArray[Any], Rows]


class Shape(NamedTuple):
    """One model to time.

    Attributes
    ----------
    title : str
        What it is, for people.
    library : str
        Who trains it.
    data : str
        Key of `DATA`.
    size : dict
        What the training is told; with `--quick` `quick` instead.
    targets : dict
        From the number of rows of a call to how many times the fastest peer we want to be.
    """

    title: str
    library: str
    data: str
    size: dict[str, Any]
    quick: dict[str, Any]
    targets: dict[int, float]


SHAPES = {
    "lightgbm": Shape(
        "LightGBM 1,000 x 31 leaves",
        "lightgbm",
        "synthetic",
        {"n_estimators": 1000, "num_leaves": 31},
        {"n_estimators": 20, "num_leaves": 31},
        {60_000: 4.0, 1: 1.3},
    ),
    "xgboost": Shape(
        "XGBoost 500 x depth 6",
        "xgboost",
        "synthetic",
        {"n_estimators": 500, "max_depth": 6, "learning_rate": 0.1},
        {"n_estimators": 20, "max_depth": 6, "learning_rate": 0.1},
        {60_000: 3.5},
    ),
    "letter": Shape(
        "XGBoost letter, 26 classes x 100 rounds",
        "xgboost",
        "letter",
        {"n_estimators": 100, "max_depth": 6},
        {"n_estimators": 3, "max_depth": 6},
        {60_000: 3.0},
    ),
    "forest10": Shape(
        "RandomForest 200 x depth 10",
        "forest",
        "synthetic",
        {"n_estimators": 200, "max_depth": 10},
        {"n_estimators": 10, "max_depth": 10},
        {60_000: 6.0, 1: 1.5},
    ),
    "forest": Shape(
        "RandomForest 200, fully grown",
        "forest",
        "synthetic",
        {"n_estimators": 200},
        {"n_estimators": 5},
        {60_000: 4.0},
    ),
    "hist": Shape(
        "HistGradientBoosting 300 x 31 leaves",
        "hist",
        "covertype",
        {"max_iter": 300, "max_leaf_nodes": 31, "early_stopping": False},
        {"max_iter": 10, "max_leaf_nodes": 31, "early_stopping": False},
        {60_000: 4.0},
    ),
    "catboost": Shape(
        "CatBoost 1,000 x depth 6",
        "catboost",
        "synthetic",
        {"iterations": 1000, "depth": 6},
        {"iterations": 20, "depth": 6},
        {},
    ),
}


# -- rows ----------------------------------------------------------------------------------------------------------


def synthetic(is_quick: bool) -> Data:
    """30 features, of which 18 inform, 2 classes of 6 clusters each."""
    from sklearn.datasets import make_classification

    n_train, n_pool = (3_000, 5_000) if is_quick else (60_000, 600_000)
    X, y = make_classification(
        n_train + n_pool,
        30,
        n_informative=18,
        n_redundant=4,
        n_clusters_per_class=6,
        flip_y=0.03,
        random_state=SEED,
    )
    X = X.astype(np.float32)
    return X[:n_train], y[:n_train], X[n_train:]


def letter(is_quick: bool) -> Data:
    """Letters of the alphabet by 16 whole numbers; the pool is mixed from a quarter of the rows."""
    X, y, X_test, y_test, _ = datasets.train_test("letter", seed=SEED, max_rows=3_000 if is_quick else None)
    return X, y, mixed(X_test, y_test, 5_000 if is_quick else 300_000)


def covertype(is_quick: bool) -> Data:
    """Whether the forest is of the second of seven kinds, by 54 features of the ground."""
    fraction = 0.6 if is_quick else 0.7
    X, y, X_test, _, _ = datasets.train_test(
        "covertype", fraction, seed=SEED, max_rows=8_000 if is_quick else None
    )
    return X, (y == 1).astype(np.int64), X_test


DATA: dict[str, Callable[[bool], Data]] = {"synthetic": synthetic, "letter": letter, "covertype": covertype}


def mixed(X: Rows, y: NDArray[Any], n_rows: int) -> Rows:
    """New rows: each value from one of two rows of the same class."""
    random = np.random.default_rng(SEED)
    order = np.argsort(y, kind="stable")
    start = np.searchsorted(y[order], y, side="left")
    count = np.searchsorted(y[order], y, side="right") - start
    one = random.integers(0, len(X), n_rows)
    other = order[start[one] + random.integers(0, count[one])]
    return np.where(random.random((n_rows, X.shape[1])) < 0.5, X[one], X[other])


# -- models --------------------------------------------------------------------------------------------------------


def _lightgbm(X: Rows, y: NDArray[Any], size: dict[str, Any]) -> Any:
    import lightgbm

    return lightgbm.LGBMClassifier(**size, random_state=SEED, n_jobs=-1, verbose=-1).fit(X, y)


def _xgboost(X: Rows, y: NDArray[Any], size: dict[str, Any]) -> Any:
    import xgboost

    return xgboost.XGBClassifier(**size, random_state=SEED, n_jobs=-1).fit(X, y)


def _forest(X: Rows, y: NDArray[Any], size: dict[str, Any]) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**size, random_state=SEED, n_jobs=-1).fit(X, y)


def _hist(X: Rows, y: NDArray[Any], size: dict[str, Any]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(**size, random_state=SEED).fit(X, y)


def _catboost(X: Rows, y: NDArray[Any], size: dict[str, Any]) -> Any:
    import catboost

    model = catboost.CatBoostClassifier(
        **size, random_seed=SEED, verbose=False, allow_writing_files=False, leaf_estimation_iterations=1
    )
    return model.fit(X, y)


TRAIN: dict[str, Callable[[Rows, NDArray[Any], dict[str, Any]], Any]] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "forest": _forest,
    "hist": _hist,
    "catboost": _catboost,
}


class Case(NamedTuple):
    """A shape with its trained model, the same read by us, and rows.

    Attributes
    ----------
    name : str
        Key of `SHAPES`.
    model : object
        As its library has it in memory.
    forest : Forest
        What `ec.read` makes of it.
    pool : ndarray of shape (n_rows, n_features) float32
        Unseen rows, mapped from a file.
    folder : Path
        Where the model lies, and what the peers make of it.
    is_quick : bool
        Whether it is a small one.
    """

    name: str
    model: Any
    forest: Forest
    pool: Rows
    folder: Path
    is_quick: bool


def prepare(name: str, folder: Path, is_quick: bool = False) -> Case:
    """The case, trained where it does not lie in the folder yet.

    Parameters
    ----------
    name : str
        Key of `SHAPES`.
    folder : Path
        Kept from one run to the next. It holds pickles of our own making: name no folder of others.
    is_quick : bool
        Small models on few rows.
    """
    shape = SHAPES[name]
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    pool, model_file = folder / f"{shape.data}.npy", own / "model.pickle"
    if not (pool.exists() and model_file.exists()):
        X, y, unseen = DATA[shape.data](is_quick)
        model = TRAIN[shape.library](X, y, shape.quick if is_quick else shape.size)
        model_file.write_bytes(pickle.dumps(model, protocol=5))
        if not pool.exists():
            np.save(pool, np.ascontiguousarray(unseen, np.float32))
    model = pickle.loads(model_file.read_bytes())
    if hasattr(model, "set_params") and shape.library in ("lightgbm", "xgboost", "forest"):
        model.set_params(n_jobs=1)
    return Case(name, model, ec.read(model), np.load(pool, mmap_mode="r"), own, is_quick)


def training_rows(case: Case, most: int) -> tuple[Rows, NDArray[Any]]:
    """The first rows that trained a model, for peers that can only run what they have trained themselves."""
    X, y, _ = DATA[SHAPES[case.name].data](case.is_quick)
    return X[:most], y[:most]
