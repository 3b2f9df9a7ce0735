"""Whether models of 100 trees of depth 6 answer as their own library does, on every row of real data and on rows made to hurt.

A row of the result is a data set and a kind of model. Compared are leaves, margins, predictions and labels with the library; and the
walk engine with the naive oracle (on some rows), the shared library, the integer C header, and Treelite by GTIL.

    python benchmarks/exactness.py --quick        # one small data set, small models; nothing is kept
    python benchmarks/exactness.py                # writes results/exactness.json
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import hard_rows
import kinds
import numpy as np
import proof
import source_answers
from environment import describe_run
from kinds import Kind, Size, Task

import ensemble_compress as ec
from ensemble_compress.errors import EnsembleCompressError
from ensemble_compress.forest import Forest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exactness.json"
DATA = {
    "adult": "binary",
    "spambase": "binary",
    "magic": "binary",
    "satimage": "multi-class",
    "california": "regression",
    "casp": "regression",
    "letter": "multi-class",
}
"""The data sets of the table, and their tasks."""
FULL = Size(trees=100, depth=6, leaves=31, least=5)
QUICK = Size(trees=10, depth=5, leaves=12, least=5)
N_HARD = {False: 50_000, True: 10_000}
MOST_TREELITE_NODES = 300_000
"""Treelite's model is built by a call a node."""
KINDS = {
    "binary": (
        *("RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"),
        *("HistGradientBoostingClassifier", "XGBClassifier", "LGBMClassifier", "LGBMClassifier, dart"),
        *("CatBoostClassifier, one-hot categories", "BaggingClassifier", "AdaBoostClassifier"),
    ),
    "regression": (
        *("RandomForestRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor"),
        *("HistGradientBoostingRegressor", "XGBRegressor", "Booster, reg:squarederror, dart"),
        *("LGBMRegressor", "LGBMRegressor, rf", "CatBoostRegressor, one-hot categories", "BaggingRegressor"),
    ),
}
KINDS["multi-class"] = KINDS["binary"]
FAILURES = (proof.WrongAnswerError, EnsembleCompressError, kinds.NotOfferedError, ValueError, RuntimeError)


def load_task(name: str, max_rows: int | None = None) -> Task:
    """A data set as a task; with its columns of text as categories.

    Parameters
    ----------
    name : str
        Of the data set.
    max_rows : int, optional
        How many rows; all where None.
    """
    X, y, info = datasets.load(name)
    order = np.random.default_rng(0).permutation(len(y))[:max_rows]
    task = {"binary": "binary", "multiclass": "multi-class", "regression": "regression"}[info["task"]]
    columns = tuple(np.flatnonzero(info["categorical"]).tolist())
    rows = X[order].astype(np.float64)
    return Task(task, rows, y[order], bool(np.isnan(rows).any()), columns)


def planned() -> dict[str, tuple[str, ...]]:
    """The kinds of model that the table is to have of each data set."""
    return {name: KINDS[task] for name, task in DATA.items()}


def kinds_for(task: Task) -> list[Kind]:
    """The kinds of model that are tried on a task."""
    by_name = {kind.name: kind for kind in kinds.all_kinds()}
    return [by_name[name] for name in KINDS[task.name]]


def prove(data: str, kind: Kind, task: Task, size: Size, n_hard: int) -> dict[str, Any]:
    """Train one model, compare everything, and say how far apart the answers were.

    Parameters
    ----------
    data : str
        Name of the data set.
    kind : Kind
        What to train.
    task : Task
        On what.
    size : Size
        How large.
    n_hard : int
        Hard rows at least.
    """
    begin = time.perf_counter()
    model, trained = _train(kind, task, size)
    forest = ec.read(model)
    hard = hard_rows.make_rows(
        forest,
        trained.X,
        trained.categorical,
        accepts=source_answers.acceptance(kind, trained),
        n_rows=len(trained.X) + n_hard,
    )
    found = proof.compare_with_source(kind, source_answers.ask(kind, trained, model, hard), forest, hard)
    return {
        "data": data,
        "library": kind.library,
        "model": kind.name,
        "size": size._asdict(),
        "n_real": len(trained.X),
        "categories": bool(trained.categorical),
        "missing": trained.missing,
        "nodes": forest.n_nodes,
        "trees": forest.n_trees,
        **found,
        **compare_backends(forest, hard),
        "seconds": round(time.perf_counter() - begin, 1),
        "run": describe_run(),
    }


def _train(kind: Kind, task: Task, size: Size) -> tuple[Any, Task]:
    """The model and what it was trained on: without categories, or without missing values, where its library knows none."""
    plain = task._replace(categorical=())
    for attempt in (task, plain, plain._replace(X=np.nan_to_num(task.X, nan=-1.0), missing=False)):
        try:
            return kind.fit(attempt, size), attempt
        except (kinds.NotOfferedError, ValueError) as error:
            refusal = error
    raise refusal


def compare_backends(forest: Forest, rows: Any) -> dict[str, Any]:
    """The oracle on some rows, the shared library, the C header, and Treelite where the model is not too large.

    Parameters
    ----------
    forest : Forest
        What was read.
    rows : ndarray of shape (n_rows, n_features)
        Rows.
    """
    few = np.random.default_rng(1).permutation(rows)[: proof.N_ORACLE]
    proof.compare_oracle(_oracle(), forest, few)
    with tempfile.TemporaryDirectory(prefix="exactness_") as folder:
        proof.compare_shared_library(forest, rows, Path(folder))
    proof.compare_headers({"proof": (forest, rows)})
    is_small = forest.n_nodes <= MOST_TREELITE_NODES and proof.has_treelite_link(forest)
    return {
        "n_oracle": len(few),
        "treelite_ulp": proof.compare_treelite(forest, rows[-hard_rows.N_ROWS :]) if is_small else None,
    }


def _oracle() -> Any:
    """The naive twin, which lies with the tests."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    import oracle

    return oracle


# -- results -----------------------------------------------------------------------------------------------------


def merge(path: Path, row: dict[str, Any]) -> None:
    """Put a row into the results, in the place of an earlier one of the same data set and model.

    Parameters
    ----------
    path : Path
        The results.
    row : dict
        What `prove` found.
    """
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    others = [other for other in known if _key(other) != _key(row)]
    text = json.dumps({"rows": sorted([*others, row], key=_key)}, indent=1)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text + "\n")
    unfinished.replace(path)


def _key(row: dict[str, Any]) -> tuple[int, str, str]:
    names = list(DATA)
    order = names.index(row["data"]) if row["data"] in DATA else len(DATA)
    return order, row["library"], row["model"]


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    return (
        f"{row['data']:10s} {row['model']:40s} {row['trees']:6,} trees {row['nodes']:9,} nodes {row['n_rows']:8,} rows"
        f" {row['n_leaves']:12,} leaves equal, margins {row['margin_ulp']:.2g} ulp, predictions {row['prediction_error']:.2g},"
        f" {row['seconds']:.1f} s"
    )


def cases(arguments: argparse.Namespace) -> Iterator[tuple[str, Kind, Task]]:
    """(data set, kind, task) of everything that was asked for."""
    names = arguments.data or (["spambase"] if arguments.quick else DATA)
    for name in names:
        task = load_task(name, 1500 if arguments.quick else None)
        for kind in kinds_for(task):
            if arguments.model is None or kind.name in arguments.model:
                yield name, kind, task


def run(arguments: argparse.Namespace) -> bool:
    """Compare what was asked for; whether all of it answered right."""
    size, is_well = QUICK if arguments.quick else FULL, True
    for name, kind, task in cases(arguments):
        try:
            row = prove(name, kind, task, size, N_HARD[arguments.quick])
            print(in_words(row), flush=True)
            if arguments.output is not None:
                merge(arguments.output, row)
        except ec.errors.UnsupportedModelError as error:
            print(f"{name:10s} {kind.name:40s} refused: {error}", flush=True)
        except FAILURES:  # one model that fails must not cost the time spent on the others
            print(f"{name} {kind.name} failed", flush=True)
            traceback.print_exc()
            is_well = False
    return is_well


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process where None.
    """
    parser = argparse.ArgumentParser(
        description="Compare answers to the bit; see README.md beside this file."
    )
    parser.add_argument(
        "--data", action="append", help="default: all of the table; a set of EC_BENCHMARK_DATA too"
    )
    parser.add_argument("--model", action="append", help="the name of a kind, as in docs/coverage.md")
    parser.add_argument("--quick", action="store_true", help="small models on some rows of spambase")
    parser.add_argument("--output", type=Path, help="default: results/exactness.json; with --quick nowhere")
    found = parser.parse_args(arguments)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


if __name__ == "__main__":
    sys.exit(0 if run(parse()) else 1)
