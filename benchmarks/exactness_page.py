"""Writes docs/exactness.md from results/exactness.json; a test keeps the two equal.

python benchmarks/exactness_page.py
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import load_rows

Row = Mapping[str, Any]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exactness.md"
COMMAND = "python benchmarks/exactness_page.py"
HEAD = """# Models of the usual size, on every row of real data

Written by `{command}` from what `benchmarks/exactness.py` found. [coverage.md](coverage.md) says which kinds of model are read; here some of them
are trained on whole data sets. A line is kept only where, on all its rows, every leaf is the library's own, and margins, predictions
and labels compare as coverage.md says; where the shared library gives the same margins to the bit and the compiled C header the
integers that Python expects; and where the naive oracle agrees on {n_oracle} of the rows, Treelite's GTIL on the last 10,000.

*rows*: those of the data set, and at least 50,000 with cells moved onto thresholds, their neighbours, NaN, infinities, zeros, denormals and strange
categories. *leaves*: rows times trees, each equal; XGBoost refuses infinities, so those rows are compared by margins. *margins*: the largest
difference from the library, in units of the last place of the sum's magnitude. *predictions*: the largest difference, in units of the last place
for XGBoost, otherwise absolute, relative above 1. *Treelite*: as margins; empty where the model is
too large to build it, or Treelite lacks the link.
"""
HEADINGS = {
    "data": ":--",
    "model": ":--",
    "trees": "--:",
    "nodes": "--:",
    "rows": "--:",
    "leaves": "--:",
    "margins": "--:",
    "predictions": "--:",
    "Treelite": "--:",
}


def make_page(rows: Sequence[Row]) -> str:
    """The whole page.

    Parameters
    ----------
    rows : sequence of dict
        From results/exactness.json.
    """
    n_oracle = max((row["n_oracle"] for row in rows), default=0)
    lines = [_line(HEADINGS), _line(HEADINGS.values()), *(_line(_cells(row)) for row in rows)]
    return "\n".join([HEAD.format(command=COMMAND, n_oracle=n_oracle), *lines, "", _conditions(rows), ""])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    data = (
        row["data"] + (", categories" if row["categories"] else "") + (", missing" if row["missing"] else "")
    )
    treelite = row["treelite_ulp"]
    return [
        data,
        row["model"],
        f"{row['trees']:,}",
        f"{row['nodes']:,}",
        f"{row['n_rows']:,}",
        f"{row['n_leaves']:,}",
        f"{row['margin_ulp']:.2g}",
        f"{row['prediction_error']:.2g}",
        "" if treelite is None else f"{treelite:.2g}",
    ]


def _conditions(rows: Sequence[Row]) -> str:
    """What was compared in all, on what, and with which versions."""
    total = sum(row["n_leaves"] for row in rows)
    runs = [row["run"] for row in rows]
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs)
    machines = dict.fromkeys(run["machine"]["processor"] for run in runs)
    commits = dict.fromkeys(str(run["commit"]) for run in runs)
    return (
        f"{len(rows)} models, {total:,} leaves. Run on {'; '.join(machines)} with {'; '.join(versions)}, at commit"
        f" {', '.join(commits)}."
    )


def main() -> int:
    """Write the page."""
    PAGE.write_text(make_page(load_rows("exactness")))
    print(f"wrote docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
