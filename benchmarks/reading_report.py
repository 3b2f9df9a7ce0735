"""The tables of what reading takes and of what hostile files came to, in Markdown, from results/reading.json and results/fuzz.json."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_compress.wording import number, size

Row = Mapping[str, Any]

SOURCES = {
    "random forest": "RandomForestClassifier, in memory",
    "xgboost json": "XGBoost `.json`",
    "xgboost ubjson": "XGBoost `.ubj`",
    "lightgbm text": "LightGBM `.txt`",
}


def reading_table(rows: Sequence[Row]) -> str:
    """A line a source: seconds and peak memory of `ec.read` and of the library's own load."""
    if not rows:
        return "Not measured yet."
    heading = [
        "source",
        "trees",
        "nodes",
        "file",
        "arrays",
        "`ec.read`",
        "own load",
        "peak",
        "peak of own load",
    ]
    lines = [
        _line(heading),
        _line([":--", *["--:"] * (len(heading) - 1)]),
        *map(_line, map(_reading_cells, rows)),
    ]
    run = rows[0]["run"]
    note = (
        "*`ec.read`*, *own load*: seconds, the median of"
        f" {len(rows[0]['seconds'])} turns and (the fastest to the slowest); bold where ours is slower. *own load*: `xgboost.Booster(model_file=)`,"
        " `lightgbm.Booster(model_file=)`, and for scikit-learn, which has none, `pickle.loads`. *arrays*: all arrays of the forest."
        " *peak*: how far the resident size of a fresh process grows, the median of"
        f" {len(rows[0]['peak_bytes'])}, as a multiple of the arrays. Measured on {measured_on(run)}, at commit {run['commit']}, by"
        " `reading.py`."
    )  # fmt: skip
    return "\n".join([*lines, "", note])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _reading_cells(row: Row) -> list[str]:
    ours, theirs = statistics.median(row["seconds"]), statistics.median(row["library_seconds"])
    return [
        SOURCES[row["source"]],
        number(row["n_trees"]),
        number(row["n_nodes"]),
        size(row["file_bytes"]),
        size(row["array_bytes"]),
        f"**{_seconds(row['seconds'])}**" if ours > theirs else _seconds(row["seconds"]),
        _seconds(row["library_seconds"]),
        *(f"{statistics.median(row[key]) / row['array_bytes']:.1f}x" for key in ("peak_bytes", "library_peak_bytes")),
    ]  # fmt: skip


def _seconds(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def fuzz_table(rows: Sequence[Row]) -> str:
    """A line a good file: what its damaged copies came to."""
    if not rows:
        return "Not measured yet."
    heading = [
        "good file",
        "bytes",
        "damaged copies",
        "refused",
        "read",
        "found",
        "slowest, s",
        "largest peak",
    ]
    lines = [
        _line(heading),
        _line([":--", *["--:"] * (len(heading) - 1)]),
        *map(_line, map(_fuzz_cells, rows)),
    ]
    total = {key: sum(row[key] for row in rows) for key in ("inputs", "refused", "read", "found")}
    run, commits = rows[0]["run"], ", ".join(dict.fromkeys(str(row["run"]["commit"]) for row in rows))
    note = (
        f"{number(total['inputs'])} files: {number(total['refused'])} refused with an error of ours, {number(total['read'])} read to a sound"
        f" forest that answers as the naive twin does, {number(total['found'])} anything else (a crash, a hang of a minute, another"
        " exception, a warning, a forest that breaks a rule). *largest peak*: bytes that Python and NumPy held at most while one of"
        f" the copies was read. Measured on {measured_on(run)}, at commit {commits}, by `fuzz.py`."
    )  # fmt: skip
    return "\n".join([*lines, "", note])


def _fuzz_cells(row: Row) -> list[str]:
    counts = [number(row[key]) for key in ("inputs", "refused", "read")]
    found = f"**{row['found']}**" if row["found"] else "0"
    slowest, largest = row["slowest"]["seconds"], row["largest"]["peak"]
    return [row["base"], number(row["bytes"]), *counts, found, f"{slowest:.2f}", size(largest)]


def measured_on(run: Row) -> str:
    """The machine and the versions of a run, in words."""
    versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items() if name != "pandas")
    return f"{run['machine']['processor']}, {run['machine']['cores']} cores with {versions}"
