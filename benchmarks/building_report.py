"""The table of what shared libraries take to build, in Markdown, from results/building.json."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reading_report import measured_on

from ensemble_compress.wording import number, size

Row = Mapping[str, Any]
HEADING = ("model", "trees", "nodes", "library", "seconds", "peak of ours", "peak of the compiler")


def building_table(rows: Sequence[Row]) -> str:
    """A line a model: seconds and memory of a build."""
    if not rows:
        return "Not measured yet."
    lines = [f"| {' | '.join(HEADING)} |", f"| :-- |{' --: |' * (len(HEADING) - 1)}", *map(_line, rows)]
    goals, run = rows[0]["goals"], rows[0]["run"]
    note = (
        f"*seconds*: all of `write_shared_library`, the median of {len(rows[0]['seconds'])} fresh processes and (the fastest to the"
        " slowest). *peaks*: the largest resident size of that process, with Python and the forest itself, and that of the C"
        f" compiler, the largest of all. The goal for the fully grown forest: {goals['seconds']} s and {size(goals['peak_bytes'])} together;"
        " bold where one is missed."
        f" Measured on {measured_on(run)}, at commit {run['commit']}, by `building.py`."
    )  # fmt: skip
    return "\n".join([*lines, "", note])


def _line(row: Row) -> str:
    seconds, peaks = row["seconds"], [max(row["own_bytes"]), max(row["compiler_bytes"])]
    median = statistics.median(seconds)
    cells = [row["title"], number(row["n_trees"]), number(row["n_nodes"]), size(row["library_bytes"])]
    time = f"{median:.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
    cells.append(f"**{time}**" if median > row["goals"]["seconds"] else time)
    are_missed = sum(peaks) > row["goals"]["peak_bytes"]
    cells += [f"**{size(peak)}**" if are_missed else size(peak) for peak in peaks]
    return f"| {' | '.join(cells)} |"
