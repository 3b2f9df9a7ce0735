"""How small the models that people train become, what that costs on rows that compression never saw, and how long it takes.

A row of the result is a data set, a model and a way: `python` is `ec.compress(model, X, y, tolerance=0.005)`, `cli` the
command line with a model file and a CSV, in a process of its own. Before anything is compressed, the library's leaves
and answers are compared with those of `ec.read` on every test row; afterwards the saved file, the shared library and the
C header are loaded or compiled, and have to answer as the compressed model does.

    python benchmarks/compression.py                                   # all 24 rows, into results/compression.json
    python benchmarks/compression.py --data spambase --model xgboost --way python --repeats 3
    python benchmarks/compression.py --quick                           # small models, half a minute, nothing is kept
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from checks import WrongAnswerError, check_artefacts, check_reading
from environment import describe_run
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score

import ensemble_compress as ec
from ensemble_compress import measure, sizes, timing
from ensemble_compress.errors import EnsembleCompressError
from ensemble_compress.forest import Forest

RESULTS = Path(__file__).resolve().parent / "results" / "compression.json"
DATA = ("adult", "spambase", "letter", "california")
MODELS = ("random forest", "xgboost", "lightgbm")
WAYS = ("python", "cli")
SUFFIXES = {"random forest": ".skops", "xgboost": ".json", "lightgbm": ".txt"}
TOLERANCE = 0.005
SEED = 0
TARGET = "target"
FULL = {"trees": 300, "depth": 6, "leaves": 31, "forest_depth": None}
QUICK = {"trees": 8, "depth": 3, "leaves": 7, "forest_depth": 6}
KEY = ("data", "model", "way")


@dataclass(frozen=True, eq=False)
class Rows:
    """A data set as two parts; compression sees the first one only.

    Attributes
    ----------
    X, X_test : DataFrame
        Columns by name; levels as text where the model takes them.
    y, y_test : ndarray
        Class codes or values.
    info : dict
        From `datasets.load`.
    """

    X: Any
    y: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    info: dict[str, Any]


def load_rows(name: str, model: str, seed: int = SEED, max_rows: int | None = None) -> Rows:
    """A seeded split, as DataFrames; text levels stay codes for the random forest, which knows no categories."""
    X, y, X_test, y_test, info = datasets.train_test(name, seed=seed, max_rows=max_rows)
    has_levels = model != "random forest"
    return Rows(as_frame(X, info, has_levels), y, as_frame(X_test, info, has_levels), y_test, info)


def as_frame(X: NDArray[Any], info: dict[str, Any], has_levels: bool) -> Any:
    """The array with names, in double precision: a CSV of it reads back to the same numbers."""
    import pandas as pd

    frame = pd.DataFrame(X.astype(np.float64), columns=info["feature_names"])
    for name, levels in info["categories"].items() if has_levels else ():
        codes = frame[name].fillna(-1).astype(int)
        frame[name] = pd.Categorical.from_codes(codes, levels)
    return frame


def make_model(name: str, task: str, size: dict[str, Any]) -> Any:
    """An untrained model with the library's own defaults, but for its size."""
    kind = "Regressor" if task == "regression" else "Classifier"
    if name == "random forest":
        from sklearn import ensemble

        make = getattr(ensemble, f"RandomForest{kind}")
        return make(size["trees"], max_depth=size["forest_depth"], random_state=SEED, n_jobs=-1)
    if name == "xgboost":
        import xgboost

        make = getattr(xgboost, f"XGB{kind}")
        return make(
            n_estimators=size["trees"], max_depth=size["depth"], enable_categorical=True, random_state=SEED
        )
    import lightgbm

    make = getattr(lightgbm, f"LGBM{kind}")
    return make(n_estimators=size["trees"], num_leaves=size["leaves"], random_state=SEED, verbose=-1)


def save_model(name: str, model: Any, folder: Path) -> Path:
    """The model in its library's own format, or .skops."""
    path = folder / f"teacher{SUFFIXES[name]}"
    if name == "random forest":
        import skops.io

        skops.io.dump(model, path)
    elif name == "xgboost":
        model.save_model(path)
    else:
        model.booster_.save_model(path)
    return path


FAILURES = (WrongAnswerError, EnsembleCompressError, RuntimeError, ValueError, OSError)
"""What one model may fail with while the others go on."""


# -- the two ways ------------------------------------------------------------------------------------------------


def compress_python(model: Any, path: Path, rows: Rows, folder: Path) -> Any:
    """Through the Python call, with the model in memory."""
    return ec.compress(model, rows.X, rows.y, tolerance=TOLERANCE)


def compress_cli(model: Any, path: Path, rows: Rows, folder: Path) -> Any:
    """Through the command line, with the model's file and a CSV of the training rows."""
    out = folder / "small.forest"
    files = [str(path), "--data", str(folder / "train.csv"), "--target-column", TARGET, "-o", str(out)]
    command = [_command(), "compress", *files, "--tolerance", str(TOLERANCE), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} gave exit code {done.returncode}: {done.stderr.strip()}")
    small = ec.load(out)
    printed = json.loads(done.stdout)["student"]["bytes"]["c_tables"]
    if printed != sizes.c_bytes(small.forest):
        raise WrongAnswerError(f"the command line said {printed} bytes, and {out.name} has others")
    return small


def _command() -> str:
    beside = shutil.which("ensemble-compress", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("ensemble-compress")
    if found is None:
        raise RuntimeError("the command ensemble-compress is not installed; run pip install -e . first")
    return found


COMPRESS: dict[str, Callable[[Any, Path, Rows, Path], Any]] = {"python": compress_python, "cli": compress_cli}


# -- measuring ---------------------------------------------------------------------------------------------------


def measure_case(
    data: str, model_name: str, ways: Iterable[str], size: dict[str, Any], repeats: int, max_rows: int | None
) -> Iterable[dict[str, Any]]:
    """Train one model and yield a row of the result for each way of compressing it."""
    rows = load_rows(data, model_name, max_rows=max_rows)
    begin = time.perf_counter()
    model = make_model(model_name, rows.info["task"], size).fit(rows.X, rows.y)
    seconds_to_train = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(prefix="benchmark_") as name:
        folder = Path(name)
        path = save_model(model_name, model, folder)
        rows.X.assign(**{TARGET: rows.y}).to_csv(folder / "train.csv", index=False)
        teacher = ec.read(model)
        check_reading(model_name, model, teacher, rows.X_test)
        before = {**measure.teacher_bytes(model, teacher), "model_file": path.stat().st_size}
        for way in ways:
            times, small = _timed(lambda way=way: COMPRESS[way](model, path, rows, folder), repeats)
            yield {
                "data": data,
                "model": model_name,
                "way": way,
                **describe_task(rows),
                "size": size,
                **describe_sizes(before, teacher, small.forest),
                **describe_scores(model, small, rows),
                **describe_report(small.report),
                "c_labels_that_differ": check_artefacts(small, rows.X_test, folder),
                "seconds_to_train": round(seconds_to_train, 2),
                "seconds": times.clock,
                "cpu_seconds": times.cpu,
                "speed_us": describe_speed(model, small, rows.X_test),
                "run": describe_run(),
            }


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat, by the clock and of processors; the latter mean something on a busy machine too."""

    clock: list[float]
    cpu: list[float]


def _timed(compress: Callable[[], Any], repeats: int) -> tuple[Times, Any]:
    """(how long each repeat took, the model), which has to be the same every time."""
    times, models = Times([], []), []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), _cpu_seconds()
        models.append(compress())
        times.clock.append(round(time.perf_counter() - clock, 2))
        times.cpu.append(round(_cpu_seconds() - cpu, 2))
    if any(model.forest != models[0].forest for model in models):
        raise WrongAnswerError("the same call gave different models")
    return times, models[0]


def _cpu_seconds() -> float:
    """Of all threads of this process, and of the processes that it has waited for."""
    return sum(os.times()[:4])


def describe_task(rows: Rows) -> dict[str, Any]:
    """What was asked for, of which rows."""
    return {
        "task": rows.info["task"],
        "tolerance": TOLERANCE,
        "seed": SEED,
        "n_train": len(rows.X),
        "n_test": len(rows.X_test),
        "n_features": rows.X.shape[1],
    }


def describe_sizes(before: dict[str, Any], teacher: Forest, student: Forest) -> dict[str, Any]:
    """Bytes and counts of both models."""
    after = {
        "plain_c_tables": sizes.plain_bytes(student),
        "c_tables": sizes.c_bytes(student),
        "pickle": measure.pickle_bytes(student),
    }
    return {
        "bytes_before": before,
        "bytes_after": after,
        "trees": [teacher.n_trees, student.n_trees],
        "leaves": [teacher.n_leaves, student.n_leaves],
    }


def describe_scores(model: Any, small: Any, rows: Rows) -> dict[str, Any]:
    """The score of both models on the test rows, and the standard error of their difference."""
    is_class = is_classifier(model)
    metric, y = accuracy_score if is_class else r2_score, rows.y_test
    before, after = np.asarray(model.predict(rows.X_test)), np.asarray(small.predict(rows.X_test))
    return {
        "scoring": "accuracy" if is_class else "R2",
        "score_before": float(metric(y, before)),
        "score_after": float(metric(y, after)),
        "change_error": change_error(y, before, after, is_class),
    }


def change_error(y: NDArray[Any], before: NDArray[Any], after: NDArray[Any], is_class: bool) -> float:
    """Standard error of the change of score, both models judged on the same rows.

    A score is a mean over rows: of hits, or of squared errors in units of the variance of y. So is the change.
    """
    if is_class:
        change = (after == y).astype(float) - (before == y)
    else:
        change = ((before - y) ** 2 - (after - y) ** 2) / np.var(y)
    return float(change.std(ddof=1) / np.sqrt(len(y)))


def describe_report(report: Any) -> dict[str, Any]:
    """What the compression itself said: how it judged, what it estimated, what it did."""
    estimated = report.score or (None, None)
    steps = [f"{step.name}({step.parameters})" for step in report.steps]
    return {"reference": report.reference, "estimated": list(estimated), "steps": steps}


def describe_speed(model: Any, small: Any, X: Any) -> dict[str, float]:
    """Microseconds a row in a batch: `predict` of the teacher in its own library and of the compressed model, in turns."""
    found = timing.speed_us({"before": model.predict, "after": small.predict}, X)
    return {name: round(times["batch"], 4) for name, times in found.items()}


# -- results -----------------------------------------------------------------------------------------------------


def merge(path: Path, row: dict[str, Any]) -> None:
    """Put a row into the results, in the place of an earlier one with the same key."""
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    others = [other for other in known if _key(other) != _key(row)]
    text = json.dumps({"rows": sorted([*others, row], key=_order)}, indent=1)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text + "\n")
    unfinished.replace(path)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _order(row: dict[str, Any]) -> tuple[int, ...]:
    """In the order of the table, not of the alphabet."""
    return tuple(
        names.index(row[name]) if row[name] in names else len(names)
        for name, names in zip(KEY, (DATA, MODELS, WAYS), strict=True)
    )


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    before, after = row["bytes_before"]["plain_c_tables"], row["bytes_after"]["c_tables"]
    change = row["score_after"] - row["score_before"]
    return (
        f"{row['data']:10s} {row['model']:13s} {row['way']:6s} {before:>11,} -> {after:>8,} bytes"
        f" ({before / after:6.1f}x) {row['scoring']} {row['score_before']:.4f} -> {row['score_after']:.4f}"
        f" ({change:+.4f} +- {row['change_error']:.4f}) {np.median(row['seconds']):7.1f} s, {np.median(row['cpu_seconds']):.1f} of CPU  {row['reference']}"
    )


def run(arguments: argparse.Namespace) -> bool:
    """Measure what was asked for; whether all of it went well."""
    size, max_rows = (QUICK, 1200) if arguments.quick else (FULL, None)
    names = (["spambase"] if arguments.quick else DATA) if arguments.data is None else arguments.data
    is_well = True
    for data, model in itertools.product(names, arguments.model or MODELS):
        try:
            for row in measure_case(data, model, arguments.way or WAYS, size, arguments.repeats, max_rows):
                print(in_words(row), flush=True)
                if arguments.output is not None:
                    merge(arguments.output, row)
        except FAILURES:  # one model that fails must not cost the time spent on the others
            print(f"{data} {model} failed", flush=True)
            traceback.print_exc()
            is_well = False
    return is_well


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Measure compression; see README.md beside this file.")
    parser.add_argument("--data", action="append", choices=datasets.NAMES, help="default: all of the table")
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--cli", dest="way", action="append_const", const="cli", help="short for --way cli")
    parser.add_argument("--repeats", type=int, default=1, help="compressions to time; all are recorded")
    parser.add_argument("--quick", action="store_true", help="small models on some rows of spambase")
    parser.add_argument("--output", type=Path, help="default: results/compression.json; with --quick nowhere")
    found = parser.parse_args(arguments)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


if __name__ == "__main__":
    sys.exit(0 if run(parse()) else 1)
