"""How long a fresh process waits: for the import, for a model file, for its first prediction; with kernels on disk and without.

A small and a large model of each of two kinds are saved as `.forest` files. A process of its own then imports the package,
loads one, predicts one row and 1,000 rows, and says when each was done; what it answers is compared with the answers of the
process that saved the model. Without a cache, every process is given an empty directory for compiled code.

    python benchmarks/cold_start.py              # into results/cold_start.json, two minutes
    python benchmarks/cold_start.py --quick      # one repeat, nothing is kept
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe_run

import ensemble_compress as ec

RESULTS = Path(__file__).resolve().parent / "results" / "cold_start.json"
SEED = 0
N_FEATURES, N_ROWS = 30, 1000
GOALS = {"import": 0.6, "warm": 1.0, "without": 8.0}
"""Seconds: the import; the first answer after the start of Python with kernels on disk, and without."""


class WrongAnswerError(Exception):
    """A fresh process answers differently from the one that saved the model."""


def train() -> dict[str, Any]:
    """Models by name: what scikit-learn and LightGBM train on made-up rows."""
    import lightgbm
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(2000, N_FEATURES))
    y = (X[:, :5].sum(axis=1) + rng.normal(size=len(X)) > 0).astype(int)
    lightgbm_options = {"num_leaves": 31, "random_state": SEED, "verbose": -1}
    return {
        "random forest of 10 trees": RandomForestClassifier(10, max_depth=6, random_state=SEED).fit(X, y),
        "random forest of 200 trees": RandomForestClassifier(200, random_state=SEED).fit(X, y),
        "LightGBM of 1,000 trees": lightgbm.LGBMRegressor(n_estimators=1000, **lightgbm_options).fit(X, y),
    }


def rows(dtype: str) -> Any:
    """The rows to predict."""
    return np.random.default_rng(SEED + 1).normal(size=(N_ROWS, N_FEATURES)).astype(dtype)


# -- the fresh process -----------------------------------------------------------------------------------------------


def be_timed(path: str, begin: float) -> None:
    """Load, predict, and print how long each took and what came out; `begin` is when the process was asked for.

    The package loads its parts when they are first used: most of the imports count as part of `load`.
    """
    started = time.time()
    forest = ec.load(path).forest
    loaded = time.time()
    X = rows(forest.x_dtype)
    given = time.time()
    one = forest.margin(X[:1])
    first = time.time()
    many = forest.margin(X)
    second = time.time()
    seconds = {
        "python": started - begin,
        "load": loaded - started,
        "first": first - given,
        "thousand": second - first,
        "all": second - begin - (given - loaded),
    }
    answers = [part.tobytes().hex() for part in (one, many)]
    print(json.dumps({"seconds": {key: round(s, 4) for key, s in seconds.items()}, "answers": answers}))


def run_fresh(path: Path, cache: Path) -> dict[str, Any]:
    """What a fresh process prints."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, str(Path(__file__)), "--fresh", str(path), str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- measuring -------------------------------------------------------------------------------------------------------


def measure(name: str, model: Any, repeats: int, folder: Path) -> dict[str, Any]:
    """A row of the result."""
    packed = ec.pack(model)
    path = folder / "model.forest"
    packed.save(path)
    X = rows(packed.forest.x_dtype)
    expected = [packed.forest.margin(part).tobytes().hex() for part in (X[:1], X)]
    times: dict[str, list[dict[str, float]]] = {"without": [], "warm": []}
    for k in range(repeats):
        cache = folder / f"cache {name} {k}"
        for kind, seconds in times.items():  # the first process fills the cache of the second
            found = run_fresh(path, cache)
            if found["answers"] != expected:
                raise WrongAnswerError(f"the {name}, {kind}: margins differ")
            seconds.append(found["seconds"])
    return {
        "model": name,
        "n_trees": packed.forest.n_trees,
        "n_nodes": packed.forest.n_nodes,
        "file_bytes": path.stat().st_size,
        "median": {kind: medians(found) for kind, found in times.items()},
        "seconds": times,
        "goals": GOALS,
        "run": describe_run(),
    }


def medians(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of every duration."""
    return {key: round(float(np.median([one[key] for one in found])), 4) for key in found[0]}


def measure_imports(repeats: int) -> dict[str, Any]:
    """How long the imports that cannot be avoided take, each in fresh processes."""
    code = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
    found: dict[str, list[float]] = {
        "numpy": [],
        "numba": [],
        "ensemble_compress": [],
        "ensemble_compress.forest": [],
    }
    for _ in range(repeats):
        for module, seconds in found.items():
            command = [sys.executable, "-c", code.format(module)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(round(float(done.stdout), 4))
    median = {module: float(np.median(seconds)) for module, seconds in found.items()}
    return {"model": None, "median": median, "seconds": found, "goals": GOALS, "run": describe_run()}


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    median = row["median"]
    if row["model"] is None:
        return "imports: " + ", ".join(f"{module} {seconds:.3f} s" for module, seconds in median.items())
    return f"{row['model']:27s} " + "; ".join(
        f"{kind}: load {m['load']:.2f} s, first row {m['first']:.3f} s, 1,000 rows {m['thousand']:.3f} s, all {m['all']:.2f} s"
        for kind, m in median.items()
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure everything and keep it."""
    repeats = 1 if arguments.quick else arguments.repeats
    found = [measure_imports(repeats)]
    print(in_words(found[0]), flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        for name, model in train().items():
            found.append(measure(name, model, repeats, Path(folder)))
            print(in_words(found[-1]), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"rows": found}, indent=1) + "\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Measure cold starts; see README.md beside this file.")
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="default: results/cold_start.json; with --quick nowhere")
    found = parser.parse_args(arguments)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fresh"]:
        be_timed(sys.argv[2], float(sys.argv[3]))
    else:
        run(parse())
