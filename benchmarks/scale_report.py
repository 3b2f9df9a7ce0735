"""The table of what a compression costs as rows and leaves grow, in Markdown, from results/scale.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from reading_report import measured_on

from ensemble_compress.wording import number, size

Row = Mapping[str, Any]

HEADING = [
    "rows",
    "trees",
    "leaves",
    "seconds",
    "of the processor",
    "peak memory",
    "before",
    "bytes",
    "smaller",
    "score",
    "loss",
    "loss on fresh rows",
]


def scale_table(rows: Sequence[Row]) -> str:
    """A line a case, first by rows, then by leaves, the largest last.

    Parameters
    ----------
    rows : sequence of mapping
        What `scale.py` kept.
    """
    if not rows:
        return "Not measured yet."
    lines = [_line(HEADING), _line(["--:"] * len(HEADING)), *(_line(_cells(row)) for row in rows)]
    run = rows[-1]["run"]
    note = (
        "*leaves*: of the forest. *seconds*, *of the processor*: of `compress(model, X, y, tolerance=0.005)`, by the clock and of all"
        " threads. *peak memory*: the largest resident size of the process, in which the forest was trained as well;"
        " *before*: that size when the compression began. *score*: the teacher's accuracy on out-of-bag rows, *loss*: what the student"
        " loses there, *loss on fresh rows*: what it loses on rows that neither has seen, where there are any left. Measured on"
        f" {measured_on(run)}, at commit {run['commit']}, by `scale.py`."
    )  # fmt: skip
    return "\n".join([*lines, "", note])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    fresh = "-" if row["test_score"] is None else f"{row['test_score'] - row['student_test_score']:.4f}"
    return [
        number(row["n_rows"]),
        number(row["n_trees"]),
        number(row["n_leaves"]),
        f"{row['seconds']:.0f}",
        f"{row['processor_seconds']:.0f}",
        size(row["peak_bytes"]),
        size(row["peak_before"]),
        size(row["student_bytes"]),
        f"{row['bytes'] / row['student_bytes']:.1f}x",
        f"{row['score']:.4f}",
        f"{row['score'] - row['student_score']:.4f}",
        fresh,
    ]
