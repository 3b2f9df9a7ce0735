"""Real tabular data sets, for benchmarks and tests, all in one form.

Six lie in `data/` beside this file (`data/ATTRIBUTION.md` names their creators and licence). The others come from the
folder that the environment variable EC_BENCHMARK_DATA names, or through scikit-learn's own downloads.
`python benchmarks/datasets.py` prints a line a set.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CARRIED = ("adult", "casp", "letter", "magic", "satimage", "spambase")
OPENML = {"compactiv": 197, "covertype": 1596, "diamonds": 42225, "electricity": 151, "phoneme": 1489}
"""Numbers of sets at OpenML. Its electricity has eight features, the extract in use elsewhere six of them."""

NAMES = tuple(sorted([*CARRIED, *OPENML, "california"]))

Dataset = tuple[NDArray[np.float32], NDArray[Any], dict[str, Any]]


def load(name: str) -> Dataset:
    """One data set as (X, y, info).

    Parameters
    ----------
    name : str
        One of `NAMES`, or a file `name.npz` in the folder EC_BENCHMARK_DATA.

    Returns
    -------
    X : ndarray of shape (n_rows, n_features) float32
        NaN is a missing cell; a categorical column holds codes from 0.
    y : ndarray of shape (n_rows,)
        int64 class codes, or float64.
    info : dict
        name, task ("binary", "multiclass", "regression"), n_rows, n_features, feature_names, categorical (a bool a
        column), categories (levels of a categorical column; a code is a position), classes, missing (NaN cells),
        source, licence (as the package states it that the file was made from), note.

    Raises
    ------
    FileNotFoundError
        The set is nowhere to be had.
    """
    for folder in _folders():
        if (folder / f"{name}.npz").is_file():
            return _read(folder / f"{name}.npz")
    if name not in NAMES:
        raise FileNotFoundError(f"no data set is called {name!r}; known are {', '.join(NAMES)}")
    try:
        return _download(name)
    except Exception as error:
        raise FileNotFoundError(
            f"data set {name!r} is not carried with the benchmarks, and downloading it failed ({error});"
            f" put {name}.npz into a folder and name that folder in the environment variable EC_BENCHMARK_DATA"
        ) from error


def train_test(
    name: str, test_fraction: float = 0.25, seed: int = 0, max_rows: int | None = None
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32], NDArray[Any], dict[str, Any]]:
    """A seeded shuffle into (X_train, y_train, X_test, y_test, info), of at most `max_rows` rows together."""
    X, y, info = load(name)
    order = np.random.default_rng(seed).permutation(len(y))[:max_rows]
    n_test = int(len(order) * test_fraction)
    test, train = order[:n_test], order[n_test:]
    return X[train], y[train], X[test], y[test], info


def _folders() -> list[Path]:
    named = os.environ.get("EC_BENCHMARK_DATA")
    return [Path(__file__).resolve().parent / "data", *([Path(named)] if named else [])]


def _read(path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as archive:
        return archive["X"].astype(np.float32, copy=False), archive["y"], json.loads(str(archive["info"]))


def _download(name: str) -> Dataset:
    from sklearn import datasets

    if name == "california":
        bunch, source = datasets.fetch_california_housing(as_frame=True), "fetch_california_housing"
    else:
        bunch = datasets.fetch_openml(data_id=OPENML[name], as_frame=True)
        source = f"fetch_openml(data_id={OPENML[name]})"
    return _convert(name, bunch.data, bunch.target, f"scikit-learn: {source}")


def _convert(name: str, frame: Any, target: Any, source: str) -> Dataset:
    """A DataFrame and its target in the form of the carried files."""
    import pandas as pd

    levels = {
        str(column): [str(level) for level in frame[column].cat.categories]
        for column in frame.columns
        if isinstance(frame[column].dtype, pd.CategoricalDtype)
    }
    columns = [_codes(frame[c]) if str(c) in levels else frame[c].to_numpy(np.float64) for c in frame.columns]
    X = np.column_stack(columns).astype(np.float32)
    is_regression = not isinstance(target.dtype, pd.CategoricalDtype)
    classes = [] if is_regression else [str(label) for label in target.cat.categories]
    y = target.to_numpy(np.float64) if is_regression else target.cat.codes.to_numpy(np.int64)
    info = {
        "name": name,
        "task": "regression" if is_regression else "binary" if len(classes) == 2 else "multiclass",
        "n_rows": len(X),
        "n_features": X.shape[1],
        "feature_names": [str(column) for column in frame.columns],
        "categorical": [str(column) in levels for column in frame.columns],
        "categories": levels,
        "classes": classes,
        "missing": int(np.isnan(X).sum()),
        "source": source,
        "licence": "",
        "note": "",
    }
    return X, y, info


def _codes(column: Any) -> NDArray[np.float64]:
    codes = column.cat.codes.to_numpy(np.float64)
    return np.where(codes < 0, np.nan, codes)


if __name__ == "__main__":
    for known in CARRIED:
        _, _, facts = load(known)
        print(
            f"{known:10s} {facts['n_rows']:6d} x {facts['n_features']:2d} {facts['task']:10s}"
            f" classes={len(facts['classes']):2d} categorical={sum(facts['categorical'])} missing={facts['missing']}"
        )
