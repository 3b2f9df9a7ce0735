"""Reads thousands of damaged model files of every format, and says what came of it.

Each input is a good file (tests/mutations.py names them) with a damage that its number decides. Reading it has to end in an
error of ours or in a sound forest that answers as the naive twin does. Workers in processes of their own read them, so that
a crash or an endless loop is a find like any other.

    python benchmarks/fuzz.py                                   # 20,000 inputs, into results/fuzz.json
    python benchmarks/fuzz.py --only .json --inputs 2000 --first 100000 --output found.json
"""

import argparse
import faulthandler
import json
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from environment import describe_run

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
INPUTS = 20_000
SECONDS_TO_HANG = 60
sys.path.insert(0, str(ROOT / "tests"))

Found = dict[str, Any]


# -- in a worker ---------------------------------------------------------------------------------------------------


def work(base_name: str, first: int, stop: int) -> None:
    """Print a line when an input begins, and one with what came of it."""
    import mutations

    base = next(base for base in mutations.BASES if str(base) == base_name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{base.suffix}")
        path.write_bytes(mutations.good(base))
        mutations.read_safely(path)
        print(json.dumps({"size": path.stat().st_size}), flush=True)
        for seed in range(first, stop):
            path.write_bytes(mutations.damaged(base, seed))
            print(json.dumps({"begins": seed}), flush=True)
            print(json.dumps({"seed": seed, **_try(path)}), flush=True)


def _try(path: Path) -> Found:
    import mutations

    faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
    tracemalloc.start()
    begin = time.perf_counter()
    result: Found = {"bytes": path.stat().st_size}
    try:
        forest = mutations.read(path)
        result["outcome"] = "refused" if isinstance(forest, str) else "read"
        result["seconds"] = time.perf_counter() - begin
        result["peak"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if not isinstance(forest, str):
            mutations.check(forest)
    except BaseException as error:  # noqa: BLE001, whatever it is, it is what this run looks for
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error}"[:200]
        result |= {"outcome": "found", "what": f"{text} ({Path(place.filename).name}:{place.lineno})"}
    tracemalloc.stop()
    faulthandler.cancel_dump_traceback_later()
    return result


# -- around the workers --------------------------------------------------------------------------------------------


def read_damaged(base_name: str, first: int, stop: int) -> Iterator[Found]:
    """What came of each input; a worker that dies is a find, and another one goes on behind the input that killed it."""
    while first < stop:
        command = [sys.executable, str(Path(__file__)), "--worker", base_name, str(first), str(stop)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        yield from (line for line in lines if "outcome" in line or "size" in line)
        if done.returncode == 0:
            return
        begun = [line["begins"] for line in lines if "begins" in line]
        if not begun:
            raise RuntimeError(f"the worker of {base_name} cannot start: {done.stderr[-2000:]}")
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        yield {
            "seed": begun[-1],
            "outcome": "found",
            "what": f"exit code {done.returncode}: {' '.join(last)[:200]}",
        }
        first = begun[-1] + 1


def summarise(base_name: str, found: Sequence[Found]) -> Found:
    """A row of the result: how often what came of the inputs made from one file, the slowest and the largest of them."""
    size = next(line["size"] for line in found if "size" in line)
    inputs = [line for line in found if "outcome" in line]
    done = [line for line in inputs if "peak" in line]
    slowest = max(done, key=lambda line: line["seconds"])
    largest = max(done, key=lambda line: line["peak"])
    return {
        "base": base_name,
        "bytes": size,
        "inputs": len(inputs),
        **{
            outcome: sum(line["outcome"] == outcome for line in inputs)
            for outcome in ("read", "refused", "found")
        },
        "slowest": {"seed": slowest["seed"], "seconds": round(slowest["seconds"], 4)},
        "largest": {name: largest[name] for name in ("seed", "bytes", "peak")},
        "finds": [{"seed": l["seed"], "what": l["what"]} for l in inputs if l["outcome"] == "found"],
    }


def run(arguments: argparse.Namespace) -> bool:
    """Whether nothing was found."""
    import mutations

    names = [str(base) for base in mutations.BASES if arguments.only in str(base)]
    share = -(-arguments.inputs // len(names))
    rows = []
    for name in names:
        found = list(read_damaged(name, arguments.first, arguments.first + share))
        rows.append(summarise(name, found) | {"first_seed": arguments.first, "run": describe_run()})
        print(in_words(rows[-1]), flush=True)
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return not any(row["found"] for row in rows)


def in_words(row: Found) -> str:
    """A line about a row and one about each find, for whoever waits."""
    line = (
        f"{row['base']:30s} {row['read']:6,} read {row['refused']:6,} refused {row['found']:4,} found;"
        f" slowest {row['slowest']['seconds']:.2f} s, peak {row['largest']['peak']:,} bytes"
    )
    return "\n".join([line, *(f"    {find['seed']}: {find['what']}" for find in row["finds"][:20])])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Read damaged model files; see README.md beside this file.")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="over all files")
    parser.add_argument("--only", default="", help="files whose name holds this text")
    parser.add_argument("--first", type=int, default=0, help="number of the first damage of each file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = parse()
    if chosen.worker:
        work(chosen.worker[0], int(chosen.worker[1]), int(chosen.worker[2]))
        sys.exit(0)
    sys.exit(0 if run(chosen) else 1)
