"""The protocols of the field: our compression beside peers written from their papers, on the same folds and teachers.

A is LOP's own (XGBoost, half a point of balanced accuracy); B compresses large models (a random forest of 300 grown trees,
LightGBM with 300 rounds of 31 leaves; half a point of accuracy, 2 % of the root mean squared error); C asks for the best score
within 1 to 32 kB of C tables. Every score is that of the artefact whose bytes are counted: of the sums of the integers in
the C tables, emulated.

    python benchmarks/protocols.py --protocol A --data spambase --fold 0 --method ours,lop,small
    python benchmarks/protocols.py --protocol B --teacher rf-300 --method ours,lop
    python benchmarks/protocols.py --protocol A --whatever-commit     # goes on where a run ended, though the commit is another

A row that is there already at the same commit is skipped; rows are merged one by one, and several processes may write to one file.
"""

import argparse
import fcntl
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from checks import WrongAnswerError
from environment import describe_run
from protocol_cases import N_FOLDS, PROTOCOLS, Case, Fold
from protocol_methods import METHODS, Found, can, compress
from protocol_problem import answers, artefact_answers, difference

from ensemble_compress import sizes
from ensemble_compress.errors import EnsembleCompressError

RESULTS = Path(__file__).resolve().parent / "results" / "protocols.json"
KEY = ("protocol", "data", "teacher", "fold", "method", "budget")
NO_TEACHER = "none"
"""The teacher of small models within a budget: they are the same whoever it is."""
FAILURES = (WrongAnswerError, EnsembleCompressError, RuntimeError, ValueError, MemoryError, TimeoutError)
"""What one compression may fail with while the others go on."""


# -- one row -----------------------------------------------------------------------------------------------------


def describe(case: Case, found: Found) -> dict[str, Any]:
    """Sizes and scores of both models, and the time."""
    before, after = case.forest, found.forest
    y = case.fold.y
    X = {part: before.rows(case.fold.X[part]) for part in ("valid", "test")}
    return {
        "before_of": case.name,
        "parameters": dict(case.teacher.parameters),
        "n_rows": {part: len(values) for part, values in y.items()},
        "scoring": case.goal.scoring,
        "tolerance": case.goal.tolerance,
        "relative": case.goal.relative,
        "leaves": [before.n_leaves, after.n_leaves],
        "trees": [before.n_trees, after.n_trees],
        "bytes_before": case.bytes_before,
        "bytes_after": {"c_tables": sizes.c_bytes(after), "plain_c_tables": sizes.plain_bytes(after)},
        "fits": found.fits,
        "score_before": {part: _score(case, answers(before, X[part]), part) for part in X},
        "score_after": {part: _score(case, artefact_answers(after, case.fold.X[part]), part) for part in X},
        "artefact_differs": difference(after, case.fold.X["test"]),
        "seconds": round(found.clock, 3),
        "cpu_seconds": round(found.cpu, 3),
        "steps": list(found.steps),
    }


def _score(case: Case, found: Any, part: str) -> float:
    return round(case.goal.score(case.fold.y[part], found), 6)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a row the same row as another one."""
    return tuple(row[name] for name in KEY)


def measure(
    names: dict[str, Any], case: Case, method: str, done: set[tuple[Any, ...]], run: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of a method on a case that are not done yet."""
    teacher = NO_TEACHER if method == "small" and case.protocol.budgets != (None,) else case.name
    heads = [
        {**names, "teacher": teacher, "method": method, "budget": budget} for budget in case.protocol.budgets
    ]
    if not can(method, case) or all(key_of(head) in done for head in heads):
        return
    for head, found in zip(heads, compress(method, case), strict=True):
        yield {**head, **describe(case, found), "run": run | {"time": describe_run()["time"]}}


# -- results -----------------------------------------------------------------------------------------------------


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else merges into the folder meanwhile."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def load(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no such file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def merge(path: Path, row: dict[str, Any], key: Sequence[str] = KEY) -> None:
    """Put a row into the results, in the place of an earlier one with the same key; a line a row."""
    with alone(path):
        others = [other for other in load(path) if any(other[name] != row[name] for name in key)]
        ordered = sorted(
            [*others, row], key=_order if key == KEY else lambda one: [one[name] for name in key]
        )
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text('{"rows": [\n' + ",\n".join(map(json.dumps, ordered)) + "\n]}\n")
        unfinished.replace(path)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """In the order of the protocol, not of the alphabet."""
    protocol = PROTOCOLS[row["protocol"]]
    names = {"data": protocol.data, "teacher": list(protocol.teachers), "method": list(METHODS)}
    places = [known.index(row[n]) if row[n] in known else len(known) for n, known in names.items()]
    return row["protocol"], *places[:2], row["fold"], places[2], row["budget"] or 0


def find_done(rows: Iterable[dict[str, Any]], commit: str | None) -> set[tuple[Any, ...]]:
    """The keys of the rows that were measured at a commit; of all of them where it is None."""
    return {key_of(row) for row in rows if commit is None or row["run"]["commit"] == commit}


def in_words(row: dict[str, Any]) -> str:
    """A line about a row, for whoever waits."""
    change = row["score_after"]["test"] - row["score_before"]["test"]
    plain, after = row["bytes_before"]["plain_c_tables"], row["bytes_after"]["c_tables"]
    budget = "" if row["budget"] is None else f" {row['budget']:,}"
    return (
        f"{row['protocol']} {row['data']} {row['teacher']} {row['fold']} {row['method']}{budget}:"
        f" leaves {row['leaves'][0]:,} -> {row['leaves'][1]:,} ({row['leaves'][0] / max(row['leaves'][1], 1):.1f}x),"
        f" bytes {plain:,} -> {after:,} ({plain / after:.1f}x), valid {row['score_after']['valid']:.4f},"
        f" test {row['score_before']['test']:.4f} -> {row['score_after']['test']:.4f} ({change:+.4f}),"
        f" {row['seconds']:.1f} s, {row['cpu_seconds']:.1f} of CPU"
    )


# -- the run -----------------------------------------------------------------------------------------------------


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where it takes longer; 0 is no limit. What runs in a compiled function ends first."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(arguments: argparse.Namespace) -> bool:
    """Measure what was asked for; whether all of it went well."""
    protocol, described = PROTOCOLS[arguments.protocol], describe_run()
    commit = None if arguments.whatever_commit else described["commit"]
    is_well = True
    for data, number in itertools.product(arguments.data or protocol.data, arguments.fold or range(N_FOLDS)):
        fold = Fold.of(data, number, arguments.max_rows)
        for teacher in arguments.teacher or protocol.teachers:
            case = Case(protocol, fold, teacher)
            names = {"protocol": arguments.protocol, "data": data, "fold": number}
            for method in arguments.method or METHODS:
                done = find_done(load(arguments.output), commit)
                try:
                    with limited(arguments.limit):
                        for row in measure(names, case, method, done, described):
                            print(in_words(row), flush=True)
                            merge(arguments.output, row)
                except FAILURES:  # one that fails must not cost the time spent on the others
                    print(f"{names} {teacher} {method} failed", flush=True)
                    traceback.print_exc()
                    is_well = False
    return is_well


def _listed(names: Iterable[str]) -> Any:
    """A type of argparse: several of the names, with commas between them."""
    known = list(names)

    def parsed(text: str) -> list[str]:
        found = text.split(",")
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return found

    return parsed


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    teachers = [name for protocol in PROTOCOLS.values() for name in protocol.teachers]
    parser = argparse.ArgumentParser(
        description="Compression beside its peers; see README.md beside this file."
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument(
        "--data", action="extend", type=_listed(datasets.NAMES), help="default: all of the protocol"
    )
    parser.add_argument(
        "--teacher",
        action="extend",
        type=_listed(dict.fromkeys(teachers)),
        help="default: all of the protocol",
    )
    parser.add_argument(
        "--fold", action="extend", type=_listed(map(str, range(N_FOLDS))), help="default: all five"
    )
    parser.add_argument("--method", action="extend", type=_listed(METHODS), help="default: all")
    parser.add_argument(
        "--limit", type=float, default=0.0, help="seconds after which a method gives up on a model"
    )
    parser.add_argument("--max-rows", type=int, help="to see whether it works at all")
    parser.add_argument("--whatever-commit", action="store_true", help="skip rows of other commits too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: results/protocols.json")
    found = parser.parse_args(arguments)
    found.fold = None if found.fold is None else [int(number) for number in found.fold]
    known = PROTOCOLS[found.protocol]
    for name, names in (("teacher", list(known.teachers)), ("data", list(known.data))):
        others = [one for one in getattr(found, name) or () if one not in names]
        if others:
            parser.error(f"protocol {found.protocol} has no {name} {others[0]!r}; it has {', '.join(names)}")
    return found


if __name__ == "__main__":
    sys.exit(0 if run(parse()) else 1)
