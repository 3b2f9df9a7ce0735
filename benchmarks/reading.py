"""How long `ec.read` takes and how much memory, beside the library's own load of the same file.

A random forest of 2.6 million nodes is read from the fitted estimator; it is set beside `pickle.loads` of the estimator,
scikit-learn's only own load. Boosters of 1,000 trees are read from their files. Before anything is timed, leaves and margins
on every test row are compared with the library's. The two loads take turns; memory is how far the largest resident size of a
process of its own grows while it reads (Linux only).

    python benchmarks/reading.py                 # into results/reading.json, two minutes
    python benchmarks/reading.py --quick         # small models, nothing is kept
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from environment import describe_run
from numpy.typing import NDArray

import ensemble_compress as ec
from ensemble_compress.forest import Forest

RESULTS = Path(__file__).resolve().parent / "results" / "reading.json"
SOURCES = {
    "random forest": ".pickle",
    "xgboost json": ".json",
    "xgboost ubjson": ".ubj",
    "lightgbm text": ".txt",
}
DATA = {"random forest": "adult", "xgboost json": "casp", "xgboost ubjson": "casp", "lightgbm text": "casp"}
FULL = {"forest_trees": 250, "trees": 1000, "depth": 6, "leaves": 31, "max_rows": None}
QUICK = {"forest_trees": 10, "trees": 20, "depth": 3, "leaves": 7, "max_rows": 1500}
SEED = 0


class WrongAnswerError(Exception):
    """A model that was read answers differently from the library that trained it."""


# -- the models ----------------------------------------------------------------------------------------------------


def train(source: str, size: dict[str, Any]) -> tuple[Any, NDArray[np.float32]]:
    """(a trained model, rows that it has not seen)."""
    X, y, X_test, _, _ = datasets.train_test(DATA[source], seed=SEED, max_rows=size["max_rows"])
    if source == "random forest":
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(size["forest_trees"], random_state=SEED, n_jobs=-1)
    elif source.startswith("xgboost"):
        import xgboost

        model = xgboost.XGBRegressor(n_estimators=size["trees"], max_depth=size["depth"], random_state=SEED)
    else:
        import lightgbm

        model = lightgbm.LGBMRegressor(
            n_estimators=size["trees"], num_leaves=size["leaves"], random_state=SEED, verbose=-1
        )
    return model.fit(X, y), X_test


def save(source: str, model: Any, path: Path) -> None:
    """The model in the form that its library loads."""
    if source == "random forest":
        path.write_bytes(pickle.dumps(model))
    elif source.startswith("xgboost"):
        model.save_model(path)
    else:
        model.booster_.save_model(path)


def load(path: Path) -> Any:
    """What the library's own load of the file gives."""
    if path.suffix == ".pickle":
        return pickle.loads(path.read_bytes())
    if path.suffix == ".txt":
        import lightgbm

        return lightgbm.Booster(model_file=str(path))
    import xgboost

    return xgboost.Booster(model_file=path)


def check(source: str, model: Any, forest: Forest, X: NDArray[np.float32]) -> None:
    """Compare leaves and margins with the library's to the bit; scikit-learn and LightGBM are asked on one thread."""
    if source == "random forest":
        leaves, margin = model.apply(X), model.set_params(n_jobs=1).predict_proba(X)
    elif source.startswith("xgboost"):
        leaves, margin = model.apply(X), model.predict(X, output_margin=True)
    else:
        leaves, margin = model.predict(X, pred_leaf=True), model.predict(X, raw_score=True)
    for what, expected, actual in (
        ("leaves", leaves, forest.apply(X)),
        ("margins", margin, forest.margin(X)),
    ):
        n_wrong = int((np.asarray(expected).reshape(actual.shape) != actual).any(axis=1).sum())
        if n_wrong:
            raise WrongAnswerError(f"{what} of the {source} differ on {n_wrong} of {len(X)} rows")


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(source: str, size: dict[str, Any], repeats: int) -> dict[str, Any]:
    """A row of the result."""
    model, X = train(source, size)
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        path = Path(folder, f"model{SOURCES[source]}")
        save(source, model, path)
        given = model if source == "random forest" else path
        forest = ec.read(given)
        check(source, model, forest, X)
        ours, theirs = take_turns([lambda: ec.read(given), lambda: load(path)], repeats)
        return {
            "source": source,
            "data": DATA[source],
            "size": size,
            "seed": SEED,
            "n_trees": forest.n_trees,
            "n_nodes": forest.n_nodes,
            "file_bytes": path.stat().st_size,
            "array_bytes": array_bytes(forest),
            "seconds": ours,
            "library_seconds": theirs,
            "peak_bytes": [peak_bytes(path, "ours") for _ in range(min(repeats, 3))],
            "library_peak_bytes": [peak_bytes(path, "library") for _ in range(min(repeats, 3))],
            "run": describe_run(),
        }


def take_turns(calls: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Seconds of each call, one after the other, over and over; the first round is not counted."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for found, call in zip(seconds, calls, strict=True):
            begin = time.perf_counter()
            call()
            found.append(round(time.perf_counter() - begin, 4))
    return [found[1:] for found in seconds]


def array_bytes(forest: Forest) -> int:
    """Bytes of all arrays of the forest."""
    arrays = (
        *forest.nodes,
        *forest.category_sets,
        forest.tree_start,
        forest.tree_output,
        forest.values,
        forest.bias,
    )
    return sum(array.nbytes for array in arrays)


def peak_bytes(path: Path, who: str) -> int:
    """How far the resident size of a fresh process grows at most while it reads."""
    command = [sys.executable, str(Path(__file__)), "--peak", who, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def print_peak(who: str, path: Path) -> None:
    """Load what reading needs, forget the largest size so far, read, and print by how much it grew."""
    from sklearn.tree import DecisionTreeRegressor

    ec.read(DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0]))  # the kernels
    given = load(path) if path.suffix == ".pickle" and who == "ours" else path
    if path.suffix != ".pickle" and who == "library":
        import lightgbm  # noqa: F401
        import xgboost  # noqa: F401
    read: Callable[[Any], Any] = ec.read if who == "ours" else load
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    kept = read(given)
    print(_status("VmHWM") - before)
    del kept


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


# -- results -------------------------------------------------------------------------------------------------------


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    return (
        f"{row['source']:15s} {row['n_trees']:5,} trees {row['n_nodes']:9,} nodes {row['file_bytes']:11,} bytes:"
        f" {np.median(row['seconds']):.3f} s (library {np.median(row['library_seconds']):.3f} s),"
        f" peak {np.median(row['peak_bytes']) / row['array_bytes']:.2f} times the arrays"
        f" (library {np.median(row['library_peak_bytes']) / row['array_bytes']:.2f} times)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure everything and keep it."""
    rows = []
    for source in arguments.source or SOURCES:
        rows.append(measure(source, QUICK if arguments.quick else FULL, arguments.repeats))
        print(in_words(rows[-1]), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Measure reading; see README.md beside this file.")
    parser.add_argument("--source", action="append", choices=list(SOURCES), help="default: all")
    parser.add_argument("--quick", action="store_true", help="small models")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="default: results/reading.json; with --quick nowhere")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    found = parser.parse_args(arguments)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


if __name__ == "__main__":
    chosen = parse()
    if chosen.peak:
        print_peak(chosen.peak[0], Path(chosen.peak[1]))
    else:
        run(chosen)
