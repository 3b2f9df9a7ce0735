"""How long a prediction takes: our two engines beside every library that runs the same model.

Answers are compared before anything is timed. Then the engines take turns, on rows that none of them has seen: the processor
learns the branches of a block that comes again. All engines of a turn get the same rows, the order changes from turn to turn, and a ratio
is one of the same turn. On one thread the process is bound to one core, so that no library can use two.

    python benchmarks/inference.py --quick                        # does it work at all? two minutes, nothing is kept
    python benchmarks/inference.py --models DIR --prepare         # trains and converts, about twenty minutes, once
    python benchmarks/inference.py --models DIR                   # into results/inference.json, about a quarter of an hour
    python benchmarks/inference.py --models DIR --shape lightgbm --threads 1 --output FILE

EC_LLEAVES_PYTHON names the Python of an environment with lleaves; EC_BENCHMARK_DATA the folder with covertype.npz.
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

import environment
import inference_limits
import inference_peers
import numpy as np
from inference_models import SHAPES, Case, prepare
from numpy.typing import NDArray

RESULTS = Path(__file__).resolve().parent / "results" / "inference.json"
THREADS = (1, 2)
BATCHES = (1, 32, 1_000, 60_000)
QUICK_BATCHES = (1, 32, 1_000)
SECONDS_OF_A_TURN = 0.05
"""Short calls are repeated, on other rows each, until they take about so long together."""

MOST_CALLS = 1_000
SLOW = 4.0
"""A peer so many times slower than the fastest is timed in each third turn only."""

HOPELESS = 10.0
"""A peer so many times slower than the fastest in calls of 1,000 rows is not asked for larger ones, unless it trained the model."""

TRAINERS = ("scikit-learn", "XGBoost", "LightGBM", "CatBoost")
LARGE = 10_000
ROWS_TO_COMPARE = 2_000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")  # fmt: skip
PEER_PACKAGES = ("onnxruntime", "onnxmltools", "skl2onnx", "ydf", "scikit-learn-intelex", "daal")


class WrongAnswerError(Exception):
    """A peer answers differently from us."""


# -- answers -------------------------------------------------------------------------------------------------------


def compare(case: Case, engine: Any) -> dict[str, Any]:
    """How far the answers of an engine are from those of `Forest.margin` on one thread.

    Raises
    ------
    WrongAnswerError
        Further than its tolerance, on more rows than may differ.
    """
    if not engine.answer:
        return {"compared": "nothing: another model"}
    rows = np.ascontiguousarray(case.pool[:ROWS_TO_COMPARE])
    margin = case.forest.margin(rows, n_jobs=1)
    expected = margin if engine.answer == "margin" else case.forest.probabilities(margin)
    found = engine.ask(case.pool, len(rows))
    difference = np.abs(found - expected[:, -found.shape[1] :]).max(axis=1)
    largest = max(1.0, float(np.abs(expected).max()))
    n_differ = int((~(difference <= engine.tolerance * largest)).sum())
    if n_differ > engine.may_differ * len(rows):
        raise WrongAnswerError(
            f"{engine.name} differs from us on {n_differ} of {len(rows)} rows of {case.name},"
            f" by {float(difference.max()):.3g} at most; expected {engine.tolerance * largest:.3g} at most"
        )
    return {
        "compared": engine.answer,
        "largest_difference": float(difference.max()),
        "tolerance": engine.tolerance * largest,
        "rows_that_differ": n_differ,
        "rows": len(rows),
    }


def compare_all(case: Case, engines: Sequence[Any]) -> tuple[list[Any], dict[str, Any], dict[str, str]]:
    """(the engines that answer right, what the comparisons found, what is wrong with the other peers).

    Raises
    ------
    WrongAnswerError
        One of ours is wrong.
    """
    right, compared, wrong = [], {}, {}
    for engine in engines:
        try:
            compared[engine.name] = compare(case, engine)
            right.append(engine)
        except WrongAnswerError as error:
            if is_ours(engine.name):
                raise
            wrong[engine.name] = str(error)
    return right, compared, wrong


# -- times ---------------------------------------------------------------------------------------------------------


class Cursor:
    """Hands out places in the pool, so that rows come again as late as can be."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows, self._at = n_rows, ROWS_TO_COMPARE

    def take(self, n_rows: int) -> int:
        """Where the next `n_rows` rows begin."""
        if self._at + n_rows > self._n_rows:
            # Later rounds begin elsewhere: the blocks are other ones.
            self._at = self._at * 7919 % max(1, self._n_rows // 16)
        start, self._at = self._at, self._at + n_rows
        return start


def calls_of(seconds: float) -> int:
    """How many calls take about as long as a turn should."""
    return int(np.clip(SECONDS_OF_A_TURN / max(seconds, 1e-9), 1, MOST_CALLS))


def take_turns(pool: NDArray[Any], engines: Sequence[Any], n_rows: int, repeats: int, cursor: Cursor) -> Any:
    """For each engine the microseconds a row in every turn; None in turns that it sat out."""
    takers = [engine for engine in engines if n_rows <= (engine.most_rows or n_rows)]
    first = {engine.name: _settled(pool, engine, n_rows, cursor) for engine in takers}
    peers = [seconds for name, seconds in first.items() if not is_ours(name)]
    found: dict[str, list[float | None]] = {engine.name: [] for engine in takers}
    for turn in range(repeats):
        calls = {name: calls_of(seconds) for name, seconds in first.items()}
        start = cursor.take(n_rows * max(calls.values()))
        for engine in [*takers[turn % len(takers) :], *takers[: turn % len(takers)]]:
            is_slow = not is_ours(engine.name) and first[engine.name] > SLOW * min(peers)
            if is_slow and turn % 3:
                found[engine.name].append(None)
                continue
            n_calls = calls[engine.name]
            seconds = engine.seconds(pool, start, n_rows, n_calls)
            found[engine.name].append(round(seconds / (n_rows * n_calls) * 1e6, 5))
    return found


def hopeful(engines: Sequence[Any], us: dict[str, list[float | None]]) -> list[Any]:
    """We, the libraries that trained the model, and the peers that are not hopelessly slow in calls of 1,000 rows."""
    medians = {name: np.median([x for x in found if x is not None]) for name, found in us.items()}
    fastest = min(median for name, median in medians.items() if not is_ours(name))
    return [
        engine
        for engine in engines
        if is_ours(engine.name)
        or engine.name in TRAINERS
        or medians.get(engine.name, np.inf) <= HOPELESS * fastest
    ]


def _settled(pool: NDArray[Any], engine: Any, n_rows: int, cursor: Cursor) -> float:
    """Seconds of a call, after one that was not counted; before large calls come smaller ones."""
    calls = 20 if n_rows == 1 else 1
    if n_rows <= LARGE:
        engine.seconds(pool, cursor.take(n_rows * calls), n_rows, calls)
    return float(engine.seconds(pool, cursor.take(n_rows * calls), n_rows, calls)) / calls


def is_ours(name: str) -> bool:
    """Whether an engine of this name is one of ours."""
    return name.startswith("our")


def measure(name: str, n_threads: int, models: Path, repeats: int, is_quick: bool) -> dict[str, Any]:
    """A row of the result: a shape on so many threads."""
    case = prepare(name, models, is_quick)
    engines, absent = inference_peers.engines(case, n_threads)
    engines, compared, wrong = compare_all(case, engines)
    limit = inference_limits.limit(case.forest, np.ascontiguousarray(case.pool[:ROWS_TO_COMPARE]))
    cursor, us, asked = Cursor(len(case.pool)), {}, engines
    for n_rows in QUICK_BATCHES if is_quick else BATCHES:
        if n_rows > LARGE:
            asked = hopeful(engines, us["1000"])
        us[str(n_rows)] = take_turns(case.pool, asked, n_rows, repeats, cursor)
    lleaves = next((engine.versions for engine in engines if engine.name == "lleaves"), {})
    return {
        "shape": name,
        "title": SHAPES[name].title,
        "threads": n_threads,
        "size": SHAPES[name].quick if is_quick else SHAPES[name].size,
        "targets": {str(n_rows): target for n_rows, target in SHAPES[name].targets.items()},
        "data": SHAPES[name].data,
        "pool_rows": len(case.pool),
        "n_features": case.forest.n_features,
        "n_outputs": case.forest.n_outputs,
        "n_trees": case.forest.n_trees,
        "n_nodes": case.forest.n_nodes,
        "answers": compared,
        "absent": absent | wrong,
        "us": us,
        "limit": limit,
        "run": describe_run() | {"lleaves": lleaves},
    }


def describe_run() -> dict[str, Any]:
    """As in the other results, with the peers' versions."""
    run = environment.describe_run()
    return run | {"versions": environment.versions((*environment.PACKAGES, *PEER_PACKAGES))}


# -- one process a row ---------------------------------------------------------------------------------------------


def bind(n_threads: int) -> None:
    """Keep this process on so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n_threads:])


def in_own_process(name: str, n_threads: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """A row of the result, measured by a process that can use so many threads and no more; None if it failed."""
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        into = Path(folder) / "row.json"
        command = [sys.executable, __file__, "--one", str(into), "--shape", name, "--threads", str(n_threads)]
        command += ["--models", str(arguments.models), "--repeats", str(arguments.repeats)]
        command += ["--quick"] if arguments.quick else []
        limits = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
        done = subprocess.run(command, env=os.environ | limits, check=False)
        found: dict[str, Any] | None = json.loads(into.read_text()) if done.returncode == 0 else None
    return found


def merge(path: Path, row: dict[str, Any]) -> None:
    """Put a row into the results in the place of an older one of the same shape and threads."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [old for old in rows if (old["shape"], old["threads"]) != (row["shape"], row["threads"])] + [row]
    rows.sort(key=lambda each: (list(SHAPES).index(each["shape"]), each["threads"]))
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def in_words(row: dict[str, Any]) -> str:
    """Some lines about a row, for whoever waits."""
    lines = [f"{row['shape']}, {row['threads']} thread(s); limit {row['limit']['us']:.3f} us a row"]
    for n_rows, us in row["us"].items():
        medians = {name: np.median([x for x in found if x is not None]) for name, found in us.items()}
        texts = [f"{name} {medians[name]:.2f}" for name in sorted(medians, key=lambda name: medians[name])]
        lines.append(f"  {int(n_rows):6,} rows: {', '.join(texts)}")
    lines += [f"  absent: {name}: {why}" for name, why in row["absent"].items()]
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> bool:
    """Measure all rows and keep them; False if one failed."""
    is_good = True
    for name in arguments.shape or SHAPES:
        for n_threads in arguments.threads or THREADS:
            begin = time.perf_counter()
            row = in_own_process(name, n_threads, arguments)
            if row is None:
                is_good = False
                print(f"{name} on {n_threads} thread(s) failed", flush=True)
                continue
            print(f"{in_words(row)}\n  {time.perf_counter() - begin:.0f} s", flush=True)
            if arguments.output is not None:
                merge(arguments.output, row)
    return is_good


def prepare_all(arguments: argparse.Namespace) -> None:
    """Train every model and convert it for every peer."""
    for name in arguments.shape or SHAPES:
        begin = time.perf_counter()
        _, absent = inference_peers.engines(prepare(name, arguments.models, arguments.quick), 1)
        print(f"{name}: {time.perf_counter() - begin:.0f} s; absent: {absent or 'nobody'}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Measure predictions; see README.md beside this file.")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="default: all")
    parser.add_argument("--threads", action="append", type=int, help="default: 1 and 2")
    parser.add_argument("--models", type=Path, help="where models are kept from one run to the next")
    parser.add_argument("--prepare", action="store_true", help="train and convert, time nothing")
    parser.add_argument("--quick", action="store_true", help="small models")
    parser.add_argument("--repeats", type=int, help="turns; default: 7, with --quick 3")
    parser.add_argument("--output", type=Path, help="default: results/inference.json; with --quick nowhere")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args(arguments)
    found.repeats = found.repeats or (3 if found.quick else 7)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


def main(arguments: argparse.Namespace) -> bool:
    """What the command line asks for; False if a row failed."""
    if arguments.models is None:
        with tempfile.TemporaryDirectory(prefix="benchmark_models_") as folder:
            return main(argparse.Namespace(**vars(arguments) | {"models": Path(folder)}))
    arguments.models.mkdir(parents=True, exist_ok=True)
    if arguments.prepare:
        prepare_all(arguments)
        return True
    if arguments.one:
        (name,), (n_threads,) = arguments.shape, arguments.threads
        bind(n_threads)
        row = measure(name, n_threads, arguments.models, arguments.repeats, arguments.quick)
        arguments.one.write_text(json.dumps(row))
        return True
    return run(arguments)


if __name__ == "__main__":
    sys.exit(0 if main(parse()) else 1)
