"""The demonstration behind `ensemble-compress demo`: two models of handwritten digits, compressed, exported and run.

It needs nothing but the library's own requirements, and it is a check as well: what the C code and the shared library
answer is compared with what Python answers, row by row.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import ensemble_compress as ec
from ensemble_compress import emulate, measure, sizes, timing
from ensemble_compress.cli_output import show
from ensemble_compress.displays import Table
from ensemble_compress.errors import ToolchainError
from ensemble_compress.wording import number, ratio
from ensemble_compress.writers import toolchain
from ensemble_compress.writers.shared_library import SharedLibrary

TOLERANCE = 0.005


@dataclass(frozen=True, eq=False)
class Pair:
    """A model, what it was compressed to, and the seconds that took."""

    name: str
    teacher: Any
    small: Any
    seconds: float


@dataclass(frozen=True)
class Check:
    """A file that was exported and run: on how many rows its label is Python's."""

    file: Path
    n_equal: int
    n_bytes: int = 0


def run_demo(output_dir: Path | None) -> bool:
    """Run the demonstration; whether every row got the same label everywhere.

    Parameters
    ----------
    output_dir : Path, optional
        Where the exported files stay; thrown away where None.
    """
    X_train, X_test, y_train, y_test = _digits()
    pairs = [_compress(name, model, X_train, y_train) for name, model in _models().items()]
    heading = [
        f"Handwritten digits: {len(X_train):,} rows to train on, {len(X_test)} to test on, tolerance {TOLERANCE}"
    ]
    show(heading, [_comparison(pair, X_test, y_test) for pair in pairs])
    try:
        toolchain.find_compiler()
    except ToolchainError as error:
        show(["", f"Skipped: compiling and running the exported models ({error})."], [])
        return True
    kept = tempfile.TemporaryDirectory() if output_dir is None else contextlib.nullcontext(output_dir)
    with kept as folder, _working("compiling and running the exported models"):
        checks = _run_exports(pairs, Path(folder), X_test)
    return _show_checks(checks, len(X_test))


def _digits() -> Any:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)


def _models() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    return {
        "random forest": RandomForestClassifier(300, random_state=0),
        "gradient boosting": GradientBoostingClassifier(
            n_estimators=40, learning_rate=0.3, max_features="sqrt", random_state=0
        ),
    }


@contextlib.contextmanager
def _working(what: str) -> Iterator[None]:
    """A spinner on the standard error where someone looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(f"{what} ..."):
        yield


def _compress(name: str, model: Any, X: NDArray[Any], y: NDArray[Any]) -> Pair:
    with _working(f"training the {name}"):
        teacher = model.fit(X, y)
    with _working(f"compressing the {name}"):
        begin = time.perf_counter()
        small = ec.compress(teacher, X, y, tolerance=TOLERANCE)
        return Pair(name, teacher, small, time.perf_counter() - begin)


def _comparison(pair: Pair, X: NDArray[Any], y: NDArray[Any]) -> Table:
    """Bytes, accuracy, agreement and speed of a model and its compressed form on rows that neither has seen."""
    teacher, student = ec.read(pair.teacher), pair.small.forest
    with _working(f"timing the {pair.name}"):
        student.prepare()
        speed = timing.speed_us({"teacher": pair.teacher.predict, "student": pair.small.predict}, X)
    before, after = pair.teacher.predict(X), pair.small.predict(X)
    c_bytes = sizes.c_bytes(teacher), sizes.c_bytes(student)
    rows = [
        ("bytes, pickle", measure.pickle_bytes(pair.teacher), measure.pickle_bytes(student)),
        ("bytes, plain C tables", sizes.plain_bytes(teacher), sizes.plain_bytes(student)),
        ("bytes, C tables", *c_bytes),
        ("trees", teacher.n_trees, student.n_trees),
        ("leaves", teacher.n_leaves, student.n_leaves),
        ("accuracy", float(np.mean(before == y)), float(np.mean(after == y))),
        ("labels equal to the model's", 1.0, float(np.mean(before == after))),
        ("microseconds a row, many rows", speed["teacher"]["batch"], speed["student"]["batch"]),
        ("microseconds, one row", speed["teacher"]["single"], speed["student"]["single"]),
    ]
    title = f"{pair.name}: {ratio(*c_bytes, 'smaller', 'larger')}, compressed in {pair.seconds:.1f} s"
    cells = tuple((label, number(a), number(b)) for label, a, b in rows)
    return Table(title, ("", "model", "compressed"), cells)


def _run_exports(pairs: list[Pair], folder: Path, X: NDArray[Any]) -> list[Check]:
    """Write each model as a C header and as a shared library, run both, and compare their labels with Python's."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {_stem(pair): pair.small.predict(X) for pair in pairs}
    headers, checks = {}, []
    for pair in pairs:
        stem, forest = _stem(pair), pair.small.forest
        library = folder / f"{stem}.so"
        pair.small.export(library)
        labels = forest.classes[forest.decide(SharedLibrary(library).margin(X))]
        checks.append(Check(library, int((labels == expected[stem]).sum())))
        pair.small.export(folder / f"{stem}.h", name=stem)
        text = (folder / f"{stem}.h").read_text("ascii")
        headers[stem] = (forest, text, emulate.cast_rows(forest, X, "float"))
    for stem, answered in emulate.run_headers(headers).items():
        labels = headers[stem][0].classes[answered.labels]
        checks.append(Check(folder / f"{stem}.h", int((labels == expected[stem]).sum())))
    return [Check(check.file, check.n_equal, check.file.stat().st_size) for check in checks]


def _stem(pair: Pair) -> str:
    return pair.name.replace(" ", "_")


def _show_checks(checks: list[Check], n_rows: int) -> bool:
    is_equal = all(check.n_equal == n_rows for check in checks)
    verdict = (
        "Every test row gets the label that Python gives."
        if is_equal
        else "Some labels differ from Python's: please report this."
    )
    cells = tuple((c.file.name, number(c.n_bytes), f"{c.n_equal} of {n_rows}") for c in checks)
    title = "Exported, compiled and run on this machine"
    show([], [Table(title, ("file", "bytes", "labels equal to Python's"), cells)])
    show(["", verdict], [])
    return is_equal
