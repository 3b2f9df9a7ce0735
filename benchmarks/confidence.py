"""Whether `confidence=0.95` keeps its word: models trained on draws from a known population, the loss measured on all of it.

A run draws rows, trains a small model, compresses it under a tolerance at 95 %, and compares teacher and student on 200,000 further rows
of the population, on which a loss is known to a thousandth. At most 5 % of the runs should lose more than the tolerance; the
target leaves room for chance: 16 of 200. Models take turns: a random forest, LightGBM. Rows judge in two ways: "held-out rows" is
`validation=(X, y)`, "cross-fitted clones" is what happens without it.

    python benchmarks/confidence.py                                # 200 runs each way, into results/confidence.json
    python benchmarks/confidence.py --way "held-out rows" --runs 20 --output FILE

A run that is there already at the same commit is skipped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe_run
from numpy.typing import NDArray
from protocol_cases import Timed
from protocols import load, merge
from sklearn.metrics import accuracy_score

import ensemble_compress as ec
from ensemble_compress import sizes

RESULTS = Path(__file__).resolve().parent / "results" / "confidence.json"
KEY = ("way", "seed")
WAYS = ("held-out rows", "cross-fitted clones")
TOLERANCE, CONFIDENCE = 0.01, 0.95
N_RUNS, N_TRAIN, N_VALID, N_TEST, N_FEATURES = 200, 4000, 4000, 200_000, 8
TEST_SEED = 2**31
"""Of the rows that stand for the population; no run draws with it."""

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def draw(n_rows: int, seed: int) -> Rows:
    """Rows of the population: eight independent normal features, four of which say something about the class."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    odds = 4 * np.sin(2 * X[:, 0]) + 4 * X[:, 1] * X[:, 2] + 2 * X[:, 3]
    return X, (random.random(n_rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)


def train(seed: int, X: NDArray[Any], y: NDArray[Any]) -> Any:
    """A random forest for even seeds, LightGBM for odd ones."""
    if seed % 2 == 0:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(20, max_leaf_nodes=64, random_state=seed).fit(X, y)
    import lightgbm

    model = lightgbm.LGBMClassifier(
        n_estimators=30, num_leaves=8, learning_rate=0.3, random_state=seed, verbose=-1
    )
    return model.fit(X, y)


def one_run(way: str, seed: int, test: Rows) -> dict[str, Any]:
    """What one compression lost on the population."""
    X, y = draw(N_TRAIN, 2 * seed)
    model = train(seed, X, y)
    options = {"validation": draw(N_VALID, 2 * seed + 1)} if way == WAYS[0] else {}
    timed = Timed.of(
        lambda: ec.compress(
            model, X, y, tolerance=TOLERANCE, confidence=CONFIDENCE, random_state=seed, **options
        )
    )
    teacher, student = ec.read(model), timed.value.forest
    before = accuracy_score(test[1], teacher.predict(test[0]))
    after = accuracy_score(test[1], sizes.emulate_labels(student, test[0]))
    return {
        "way": way,
        "seed": seed,
        "model": type(model).__name__,
        "tolerance": TOLERANCE,
        "confidence": CONFIDENCE,
        "n_test": len(test[1]),
        "score": float(after),
        "loss": float(before - after),
        "leaves": [teacher.n_leaves, student.n_leaves],
        "bytes_before": {"plain_c_tables": sizes.plain_bytes(teacher)},
        "bytes_after": {"c_tables": sizes.c_bytes(student)},
        "seconds": round(timed.clock, 3),
        "cpu_seconds": round(timed.cpu, 3),
    }


def run(arguments: argparse.Namespace) -> None:
    """Make the runs that are not there yet."""
    described, test = describe_run(), draw(N_TEST, TEST_SEED)
    commit = None if arguments.whatever_commit else described["commit"]
    done = {
        (row["way"], row["seed"]) for row in load(arguments.output) if commit in (None, row["run"]["commit"])
    }
    for way in arguments.way or WAYS:
        for seed in range(arguments.runs):
            if (way, seed) not in done:
                row = one_run(way, seed, test)
                merge(arguments.output, row | {"run": described}, KEY)
                print(f"{way} {seed}: {row['model']}, loss {row['loss']:+.4f}, leaves {row['leaves']}, {row['seconds']} s", flush=True)  # fmt: skip


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(
        description="Count how often confidence=0.95 does not keep its tolerance."
    )
    parser.add_argument("--way", action="append", choices=WAYS, help="default: both")
    parser.add_argument("--runs", type=int, default=N_RUNS)
    parser.add_argument("--whatever-commit", action="store_true", help="skip runs of other commits too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: results/confidence.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(parse()))
