"""What a compression costs as rows and leaves grow, up to 581,012 rows of covertype and a forest of 7 million nodes.

Every case runs in a process of its own: it trains a random forest, compresses it with `tolerance=0.005`, and tells the seconds
and the peak of its resident memory (Linux: of the whole process, the training included). Seconds of the processor stand
beside those of the clock, which other work on the machine makes longer.

    python benchmarks/scale.py                    # into results/scale.json, half an hour
    python benchmarks/scale.py --only large       # the largest case alone; the others are kept
    python benchmarks/scale.py --quick            # small cases, nothing is kept
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from environment import describe_run
from sklearn.ensemble import RandomForestClassifier

import ensemble_compress as ec

RESULTS = Path(__file__).resolve().parent / "results" / "scale.json"
SEED = 0
TOLERANCE = 0.005
N_TEST = 20_000
"""Rows that neither the forest nor the compression sees, where there are so many left."""

Case = dict[str, Any]

ROWS = [
    {"axis": "rows", "n_rows": n_rows, "n_trees": 60, "tree_leaves": 1000, "max_samples": None}
    for n_rows in (36_000, 72_000, 145_000, 290_000, 560_000)
]
LEAVES = [
    {"axis": "leaves", "n_rows": 145_000, "n_trees": 60, "tree_leaves": n_leaves, "max_samples": None}
    for n_leaves in (250, 500, 2000, 4000, 8000)
]
LARGE = [{"axis": "large", "n_rows": None, "n_trees": 300, "tree_leaves": None, "max_samples": 0.1}]
QUICK = [{"axis": "quick", "n_rows": 3000, "n_trees": 25, "tree_leaves": 50, "max_samples": None}]
CASES: dict[str, list[Case]] = {"rows": ROWS, "leaves": LEAVES, "large": LARGE}


def measure(case: Mapping[str, Any]) -> Case:
    """Train, compress and measure one case, in this process."""
    X, y = shuffled(SEED)
    n_rows = len(y) if case["n_rows"] is None else case["n_rows"]
    model = RandomForestClassifier(
        case["n_trees"],
        max_leaf_nodes=case["tree_leaves"],
        max_samples=case["max_samples"],
        random_state=SEED,
        n_jobs=-1,
    ).fit(X[:n_rows], y[:n_rows])
    ec.warm_up()
    before = peak_bytes()
    began, on_processor = time.perf_counter(), time.process_time()
    small = ec.compress(model, X[:n_rows], y[:n_rows], tolerance=TOLERANCE)
    seconds, processor = time.perf_counter() - began, time.process_time() - on_processor
    X_test, y_test = X[n_rows:][:N_TEST], y[n_rows:][:N_TEST]
    teacher, student, forest = small.report.teacher, small.report.student, ec.read(model)
    scores = small.report.score or (None, None)
    return {
        **case,
        "n_rows": n_rows,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "peak_bytes": peak_bytes(),
        "peak_before": before,
        "reference": small.report.reference,
        "n_nodes": forest.n_nodes,
        "n_leaves": forest.n_leaves,
        "student_leaves": small.n_leaves,
        "bytes": teacher.bytes["c_tables"],
        "student_bytes": student.bytes["c_tables"],
        "score": scores[0],
        "student_score": scores[1],
        "test_rows": len(y_test),
        "test_score": float((model.predict(X_test) == y_test).mean()) if len(y_test) else None,
        "student_test_score": float((small.predict(X_test) == y_test).mean()) if len(y_test) else None,
    }


def shuffled(seed: int) -> tuple[Any, Any]:
    """All rows of covertype in a random order."""
    X, y, _ = datasets.load("covertype")
    order = np.random.default_rng(seed).permutation(len(y))
    return X[order], y[order]


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_apart(case: Mapping[str, Any]) -> Case:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Case = json.loads(done.stdout.splitlines()[-1])
    return found


def keep(path: Path, rows: Sequence[Case]) -> None:
    """Put the rows in the place of those of the same cases in the file, in the order of `CASES`."""
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    known = {_name(row): row for row in [*kept, *rows]}
    names = [_name(case) for cases in CASES.values() for case in cases]
    order = [name for name in names if name in known]
    path.write_text(json.dumps({"rows": [known[name] for name in order]}, indent=1) + "\n")


def _name(row: Mapping[str, Any]) -> tuple[Any, ...]:
    # Of the largest case the rows are known only when they have been read.
    n_rows = None if row["axis"] == "large" else row["n_rows"]
    return row["axis"], n_rows, row["n_trees"], row["tree_leaves"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help="measure this one (JSON) in this process, and print it")
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(measure(json.loads(options.case))))
        return
    groups = ["quick"] if options.quick else [options.only] if options.only else list(CASES)
    for case in [case for group in groups for case in (CASES | {"quick": QUICK})[group]]:
        row = measure_apart(case) | {"run": describe_run()}
        print(json.dumps({name: value for name, value in row.items() if name != "run"}), flush=True)
        if not options.quick:
            keep(RESULTS, [row])


if __name__ == "__main__":
    main()
