"""How long the shared library of a forest takes to build, and how much memory.

Each build runs in a fresh process, which first loads the forest from a `.forest` file and builds the library of a small one:
the kernels that lay trees out are compiled and on disk by then. Memory is the largest resident size of that process, with
Python and the forest itself, and that of the C compiler on top of it. The library has to give the forest's margins to the bit
before a row is kept (Linux only).

    python benchmarks/building.py --models DIR           # into results/building.json; the models of inference.py --prepare
    python benchmarks/building.py --models DIR --quick   # small models, nothing is kept
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe_run
from inference_models import SHAPES, prepare

import ensemble_compress as ec
from ensemble_compress.forest import Forest
from ensemble_compress.writers.shared_library import SharedLibrary, write_shared_library
from ensemble_compress.writers.toolchain import find_compiler

RESULTS = Path(__file__).resolve().parent / "results" / "building.json"
CHOSEN = ("forest", "forest10", "lightgbm", "letter")
GOALS = {"seconds": 10, "peak_bytes": 2_000_000_000}
"""Of the fully grown forest."""

ROWS_TO_COMPARE = 2_000
WATCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as note:
    note.write(str(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Stands in for the compiler and keeps its largest size: what a large process starts itself would count that one's size too."""


class WrongAnswerError(Exception):
    """A library answers differently from the forest that it was built from."""


# -- one build, in a process of its own --------------------------------------------------------------------------------


def build(path: Path, library: Path) -> None:
    """Build the library of a saved forest, and print the seconds and the largest sizes of this process and of the compiler."""
    forest = ec.load(path).forest
    write_shared_library(forest.take([0]), library)
    begin = time.perf_counter()
    write_shared_library(forest, library)
    seconds = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text().splitlines()
    own = 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    print(json.dumps({"seconds": round(seconds, 4), "own_bytes": own, "compiler_bytes": largest(library)}))


def note_of(library: Path) -> Path:
    """Where the compiler's largest size is kept while a library is built."""
    return library.with_suffix(".compiler")


def largest(library: Path) -> int:
    """What `watch` kept."""
    return int(note_of(library).read_text())


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(name: str, models: Path, repeats: int, is_quick: bool = False) -> dict[str, Any]:
    """A row of the result."""
    case = prepare(name, models, is_quick)
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        saved, library = Path(folder, "model.forest"), Path(folder, "model.so")
        ec.pack(case.forest).save(saved)
        command = [sys.executable, str(Path(__file__)), "--build", str(saved), str(library)]
        watcher = [sys.executable, "-S", "-c", WATCHER, str(note_of(library)), *find_compiler()]
        launcher = Path(folder, "compiler")
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join(watcher)} "$@"\n')
        launcher.chmod(0o700)
        found = []
        for _ in range(repeats):
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=os.environ | {"CC": str(launcher)}
            )
            found.append(json.loads(done.stdout))
        compare(case.forest, library, np.ascontiguousarray(case.pool[:ROWS_TO_COMPARE]))
        return {
            "shape": name,
            "title": SHAPES[name].title,
            "is_quick": is_quick,
            "n_trees": case.forest.n_trees,
            "n_nodes": case.forest.n_nodes,
            "library_bytes": library.stat().st_size,
            **{key: [one[key] for one in found] for key in found[0]},
            "goals": GOALS,
            "run": describe_run(),
        }


def compare(forest: Forest, library: Path, rows: Any) -> None:
    """Compare the margins of a library with the forest's.

    Raises
    ------
    WrongAnswerError
        A bit differs.
    """
    expected, actual = forest.margin(rows), SharedLibrary(library).margin(rows)
    n_wrong = int((expected != actual).any(axis=1).sum())
    if n_wrong:
        raise WrongAnswerError(f"margins of the library differ on {n_wrong} of {len(rows)} rows")


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    return (
        f"{row['title']:40s} {row['n_nodes']:9,} nodes: {np.median(row['seconds']):.2f} s,"
        f" {max(row['own_bytes']) / 1e6:.0f} MB and the compiler {max(row['compiler_bytes']) / 1e6:.0f} MB"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure everything and keep it."""
    rows = []
    for name in arguments.shape or CHOSEN:
        rows.append(measure(name, arguments.models, arguments.repeats, arguments.quick))
        print(in_words(rows[-1]), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Measure builds; see README.md beside this file.")
    parser.add_argument(
        "--models", type=Path, help="the folder of inference.py; it holds pickles of our own making"
    )
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="default: four of them")
    parser.add_argument("--quick", action="store_true", help="small models")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="default: results/building.json; with --quick nowhere")
    parser.add_argument("--build", nargs=2, type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args(arguments)
    if found.models is None and found.build is None:
        parser.error("--models is missing: the folder that inference.py --models DIR --prepare has filled")
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


if __name__ == "__main__":
    chosen = parse()
    if chosen.build:
        build(*chosen.build)
    else:
        run(chosen)
