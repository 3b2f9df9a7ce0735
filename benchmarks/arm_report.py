"""The table of what the kernels do on ARM, in Markdown, from results/arm.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_compress.wording import number

Row = Mapping[str, Any]


def arm_table(rows: Sequence[Row]) -> str:
    """A line a model: rows compared, and how many of them differ from x86-64."""
    if not rows:
        return "Not measured yet."
    heading = [
        "model",
        "trees",
        "rows",
        "leaves that differ",
        "margins that differ",
        "bit vectors that differ",
    ]
    lines = [f"| {' | '.join(heading)} |", f"| :-- |{' --: |' * (len(heading) - 1)}", *map(_line, rows)]
    run, arm = rows[0]["run"], rows[0]["arm"]
    note = (
        f"Rows whose bits differ between {run['machine']['system']} and {arm['machine']} ({arm['emulator']}, processor {arm['processor']!r}, vectors"
        f" of {arm['vector_bits']} bits) with python {arm['python']}, numpy {arm['numpy']}, numba {arm['numba']}, at commit {run['commit']}, by `arm.py`."
        " *leaves*: of `Forest.find_leaves`; *margins*: of `Forest.margin` on all rows and on each of the first rows alone, and of every other engine that"
        " can have the trees, one by one; *bit vectors*: of that engine, whatever `Forest.margin` would choose; empty where trees are too large for it."
    )  # fmt: skip
    return "\n".join([*lines, "", note])


def _line(row: Row) -> str:
    found = [row["leaves_that_differ"], row["margins_that_differ"], row["bits_that_differ"]]
    cells = [row["model"], number(row["n_trees"]), number(row["n_rows"])]
    cells += ["" if n is None else f"**{n}**" if n else "0" for n in found]
    return f"| {' | '.join(cells)} |"
