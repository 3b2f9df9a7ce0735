"""Somebody who answers in `inference.py`, and what everybody is asked."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from inference_worker import slices, time_calls
from numpy.typing import NDArray

SINGLE, DOUBLE = 2e-5, 1e-9
"""How far answers may be off: a thousand leaves added up in float32; the same leaves in another order in float64."""


@dataclass(frozen=True)
class Engine:
    """Somebody who answers.

    Attributes
    ----------
    name : str
        For people.
    run : callable
        The call that is timed.
    given : callable
        From rows to what `run` takes; not timed.
    dtype : str
        Of the rows.
    answer : str
        What `run` gives: "margin", "probability" (of each class, or of the last), or "" for that of another model.
    tolerance : float
        How far an answer may be from ours.
    may_differ : float
        The share of rows that may be off by more: those that its thresholds of float32 send to other leaves.
    most_rows : int, optional
        Of a call, where it takes no more.
    """

    name: str
    run: Callable[[Any], Any]
    given: Callable[[NDArray[Any]], Any] = field(default=lambda rows: rows)
    dtype: str = "float32"
    answer: str = "margin"
    tolerance: float = SINGLE
    may_differ: float = 0.0
    most_rows: int | None = None

    def ask(self, pool: NDArray[Any], n_rows: int) -> NDArray[Any]:
        """What it answers to the first rows of the pool, shape (n_rows, n_columns)."""
        rows = slices(pool, 0, n_rows, 1, self.dtype)[0]
        step = min(n_rows, self.most_rows or n_rows)
        parts = [np.array(self.run(self.given(rows[k : k + step]))) for k in range(0, n_rows, step)]
        return np.concatenate(
            [part.reshape(len(part), -1) if part.ndim else part.reshape(1, 1) for part in parts]
        )

    def seconds(self, pool: NDArray[Any], start: int, n_rows: int, calls: int) -> float:
        """Seconds of so many calls of so many rows each, from row `start` of the pool on."""
        return time_calls(
            self.run, [self.given(rows) for rows in slices(pool, start, n_rows, calls, self.dtype)]
        )


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; made where there is no such file yet."""
    if not path.exists():
        path.write_bytes(make())
    return path.read_bytes()


class Lleaves:
    """lleaves, compiled and timed by `inference_worker.py` in an environment of its own."""

    name = "lleaves"
    answer = "margin"
    tolerance = DOUBLE
    may_differ = 0.0
    most_rows = None

    def __init__(self, model: Path, pool: Path, n_threads: int, python: str) -> None:
        self._n_threads = n_threads
        command = [python, str(Path(__file__).with_name("inference_worker.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        cache = str(model.with_name("lleaves.bin"))
        self.versions = self._do("load", model=str(model), cache=cache, pool=str(pool))

    def _do(self, what: str, **arguments: Any) -> Any:
        """What the worker answers to a command."""
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")  # type: ignore[union-attr]
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError("the process in lleaves' environment ended; its own words are above")
        return json.loads(line)

    def ask(self, pool: NDArray[Any], n_rows: int) -> NDArray[Any]:
        """What it answers to the first rows of the pool, shape (n_rows, n_columns)."""
        with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
            into = Path(folder) / "answers.npy"
            self._do("answer", start=0, n_rows=n_rows, into=str(into))
            return np.asarray(np.load(into).reshape(n_rows, -1))

    def seconds(self, pool: NDArray[Any], start: int, n_rows: int, calls: int) -> float:
        """Seconds of so many calls of so many rows each, from row `start` of the pool on."""
        found = self._do("time", start=start, n_rows=n_rows, calls=calls, n_threads=self._n_threads)
        return float(found["seconds"])
