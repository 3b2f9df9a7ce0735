"""Times an engine on slices of a pool of rows; started as a process of its own, lleaves in its own environment.

lleaves wants an older llvmlite than Numba does, so that no process can have both. This file runs in lleaves' environment, reads one
command a line from standard input, works on the same file of rows as its parent, and answers with one line of JSON. It
imports nothing of ours.

    {"do": "load", "model": "model.txt", "cache": "lleaves.bin", "pool": "rows.npy"}
    {"do": "answer", "start": 0, "n_rows": 100, "into": "answers.npy"}
    {"do": "time", "start": 0, "n_rows": 32, "calls": 10, "n_threads": 1}
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def slices(pool: NDArray[Any], start: int, n_rows: int, calls: int, dtype: str) -> list[NDArray[Any]]:
    """Rows for `calls` calls, one slice after the other from `start` on; behind the pool's end it goes on at its beginning."""
    stop = start + n_rows * calls
    chosen = pool[start:stop] if stop <= len(pool) else pool[np.arange(start, stop) % len(pool)]
    whole = np.ascontiguousarray(chosen, dtype)
    return [whole[k * n_rows : (k + 1) * n_rows] for k in range(calls)]


def time_calls(run: Callable[[Any], Any], given: Sequence[Any]) -> float:
    """Seconds of all the calls together."""
    begin = time.perf_counter()
    for one in given:
        run(one)
    return time.perf_counter() - begin


class Worker:
    """What the commands work on."""

    def __init__(self) -> None:
        self.model: Any = None
        self.pool: NDArray[Any] = np.empty((0, 0))

    def load(self, model: str, cache: str, pool: str) -> dict[str, Any]:
        """Compile the model, or load what was compiled before."""
        from importlib.metadata import version

        import lleaves

        self.model = lleaves.Model(model_file=model)
        self.model.compile(cache=cache, raw_score=True)
        self.pool = np.load(pool, mmap_mode="r")
        return {name: version(name) for name in ("lleaves", "llvmlite", "numpy")}

    def answer(self, start: int, n_rows: int, into: str) -> dict[str, Any]:
        """Keep the raw scores of some rows in a file."""
        rows = slices(self.pool, start, n_rows, 1, "float64")[0]
        np.save(into, self.model.predict(rows, n_jobs=1))
        return {}

    def time(self, start: int, n_rows: int, calls: int, n_threads: int) -> dict[str, Any]:
        """Seconds of all the calls together."""
        given = slices(self.pool, start, n_rows, calls, "float64")
        return {"seconds": time_calls(lambda rows: self.model.predict(rows, n_jobs=n_threads), given)}


def main() -> None:
    """Answer commands until there are no more."""
    worker = Worker()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        found = getattr(worker, command.pop("do"))(**command)
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
