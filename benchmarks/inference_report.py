"""The tables and the picture of what predictions take, from results/inference.json; where we miss a target it is bold, or red."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemble_compress.wording import number

Row = Mapping[str, Any]
Times = Mapping[str, Sequence[float | None]]

INK, QUIET, LINE = "#1f2933", "#7b8794", "#d5dbe1"
OURS, PEER, MISSED = "#0f766e", "#b8c4ce", "#c2410c"
OUR_NAMES = ("ours", "our .so")
MOST_BATCH = 60_000
THREADS_TARGET = 1.8


# -- numbers -------------------------------------------------------------------------------------------------------


def times(row: Row, n_rows: int) -> dict[str, float]:
    """The median microseconds a row of everybody, in calls of so many rows."""
    return {name: _median(found) for name, found in row["us"].get(str(n_rows), {}).items()}


def _median(found: Sequence[float | None]) -> float:
    return statistics.median(us for us in found if us is not None)


def peers_of(us: Mapping[str, Any]) -> list[str]:
    """Everybody but us."""
    return [name for name in us if name not in OUR_NAMES]


def ratios(us: Times) -> list[float]:
    """In each turn the time of the fastest peer of that turn by ours."""
    return [
        min(us[name][turn] for name in peers_of(us) if us[name][turn] is not None) / ours  # type: ignore[type-var]
        for turn, ours in enumerate(us["ours"])
        if ours is not None
    ]


def quartiles(found: Sequence[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third."""
    if len(found) == 1:
        return found[0], found[0], found[0]
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, middle, high


def cases(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """(row, rows of a call) of everything that has a target, and of the largest calls of the others; one thread."""
    single = [row for row in rows if row["threads"] == 1]
    large = [(row, max(map(int, row["us"]))) for row in single]
    small = [(row, 1) for row in single if "1" in row["targets"]]
    return large + small


def target(row: Row, n_rows: int) -> float | None:
    """How many times the fastest peer we want to be."""
    return row["targets"].get(str(n_rows))


def is_missed(row: Row, n_rows: int) -> bool:
    """Whether the ratio lies below its target; below one where there is none."""
    return quartiles(ratios(row["us"][str(n_rows)]))[1] < (target(row, n_rows) or 1.0)


# -- tables --------------------------------------------------------------------------------------------------------


def inference_table(rows: Sequence[Row]) -> str:
    """A line a target: us, the fastest peer, how many times, and how far from what the core could do."""
    if not rows:
        return "Not measured yet."
    heading = ["shape", "ours", "our .so", "fastest peer", "times as fast", "target", "two threads", "limit"]
    lines = [_line(heading), _line([":--", *["--:"] * (len(heading) - 1)])]
    lines += [_line(_cells(rows, row, n_rows)) for row, n_rows in cases(rows)]
    return "\n\n".join([_summary(rows), "\n".join(lines), _note(rows)])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(rows: Sequence[Row], row: Row, n_rows: int) -> list[str]:
    us = times(row, n_rows)
    peer = min(peers_of(us), key=lambda name: us[name])
    low, middle, high = quartiles(ratios(row["us"][str(n_rows)]))
    ratio, wanted = f"{middle:.2f} ({low:.2f} to {high:.2f})", target(row, n_rows)
    return [
        row["title"] if n_rows > 1 else f"one row, {row['title']}",
        f"{us['ours']:.2f}",
        _bold_if(n_rows > 1 and us["our .so"] > us["ours"], f"{us['our .so']:.2f}"),
        f"{peer} {us[peer]:.2f}",
        _bold_if(is_missed(row, n_rows), ratio),
        f"{wanted:g}" if wanted else "",
        _two_threads(rows, row, n_rows),
        f"{row['limit']['us']:.2f} ({row['limit']['kind']}), {us['ours'] / row['limit']['us']:.1f}x" if n_rows > 1 else "",
    ]  # fmt: skip


def _two_threads(rows: Sequence[Row], row: Row, n_rows: int) -> str:
    pair = next((other for other in rows if (other["shape"], other["threads"]) == (row["shape"], 2)), None)
    if pair is None or n_rows == 1:
        return ""
    gain = times(row, n_rows)["ours"] / times(pair, n_rows)["ours"]
    return _bold_if(gain < THREADS_TARGET, f"{gain:.2f}x")


def _bold_if(is_bold: bool, text: str) -> str:
    return f"**{text}**" if is_bold else text


def _summary(rows: Sequence[Row]) -> str:
    found = [(row, n_rows) for row, n_rows in cases(rows) if target(row, n_rows)]
    missed = [(row, n_rows) for row, n_rows in found if is_missed(row, n_rows)]
    slower = [case for case in cases(rows) if quartiles(ratios(case[0]["us"][str(case[1])]))[1] < 1]
    text = f"Of {len(found)} targets {len(found) - len(missed)} are met, {len(missed)} missed (bold)."
    return f"{text} {_slower_in_words(slower)}"


def _slower_in_words(slower: Sequence[tuple[Row, int]]) -> str:
    if not slower:
        return "Nowhere here is a peer faster."
    names = [("one row, " if n_rows == 1 else "") + row["title"] for row, n_rows in slower]
    return f"A peer is faster at: {'; '.join(names)}."


def _note(rows: Sequence[Row]) -> str:
    turns = len(rows[0]["us"][max(rows[0]["us"], key=int)]["ours"])
    large = max(int(n_rows) for n_rows in rows[0]["us"])
    return (
        f"*ours*, *our .so*, *fastest peer*: microseconds a row on one core, calls of {number(large)} rows that nobody has seen, medians of"
        f" {turns} turns; bold where our .so is slower than `Forest.margin`. *times as fast*: the fastest peer's time by ours, of the same turn: median and"
        " quartiles; bold below the target, or below 1 where there is none. *two threads*: against one; bold below"
        f" {THREADS_TARGET}. *limit*: what the core could do at best by the formula in `inference_limits.py`, and how many times that we take. Everybody"
        f" and all sizes of calls: [benchmarks/README.md](benchmarks/README.md). {_conditions(rows)}"
    )  # fmt: skip


def _conditions(rows: Sequence[Row]) -> str:
    runs = [row["run"] for row in rows]
    machines = _distinct(f"{run['machine']['processor']}, {run['machine']['cores']} core(s)" for run in runs)
    versions = _distinct(
        f"{name} {text}"
        for run in runs
        for name, text in {**run["versions"], **run.get("lleaves", {})}.items()
    )
    commits = _distinct(str(run["commit"]) for run in runs)
    return f"Measured on {'; '.join(machines)} with {', '.join(versions)}, at commit {', '.join(commits)}, by `inference.py`."


def _distinct(texts: Any) -> list[str]:
    return list(dict.fromkeys(texts))


def engines_table(rows: Sequence[Row]) -> str:
    """A line an engine of a shape: all sizes of calls on one thread and on two, and how far its answers are from ours."""
    if not rows:
        return "Not measured yet."
    batches = [int(n_rows) for n_rows in rows[0]["us"]]
    heading = ["shape", "engine", *(f"{number(n)} rows" for n in batches), f"2 threads, {number(max(batches))} rows", "answers"]  # fmt: skip
    lines = [_line(heading), _line([":--", ":--", *["--:"] * (len(batches) + 1), ":--"])]
    for row in [row for row in rows if row["threads"] == 1]:
        lines += _engine_lines(rows, row, batches)
    absent = [_absent(row) for row in rows if row["absent"] and row["threads"] == 1]
    note = (
        "Microseconds a row, medians and (quartiles). *answers*: the largest difference from `Forest.margin` on"
        " 2,000 rows before anything was timed; so many rows off by more are those that thresholds rounded to float32 send to other leaves."
    )
    return "\n\n".join(["\n".join(lines), note, *absent])


def _engine_lines(rows: Sequence[Row], row: Row, batches: Sequence[int]) -> list[str]:
    pair = next((other for other in rows if (other["shape"], other["threads"]) == (row["shape"], 2)), None)
    names = sorted(row["answers"], key=lambda name: _median(row["us"][str(_most(row, name))][name]))
    return [
        _line(
            [
                row["title"],
                name,
                *(_spread(row, name, n_rows) for n_rows in batches),
                _spread(pair, name, max(batches)) if pair else "",
                _answers(row["answers"][name]),
            ]
        )
        for name in names
    ]


def _most(row: Row, name: str) -> int:
    return max(int(n_rows) for n_rows, us in row["us"].items() if name in us)


def _spread(row: Row, name: str, n_rows: int) -> str:
    found = [us for us in row["us"].get(str(n_rows), {}).get(name, []) if us is not None]
    if not found:
        return ""
    low, middle, high = quartiles(found)
    return f"{_short(middle)} ({_short(low)} to {_short(high)})"


def _short(us: float) -> str:
    return f"{us:.3g}" if us < 1000 else number(round(us))


def _answers(compared: Row) -> str:
    if "largest_difference" not in compared:
        return "another model"
    off = f", {compared['rows_that_differ']} rows off" if compared["rows_that_differ"] else ""
    return f"{compared['largest_difference']:.1g} ({compared['compared']}){off}"


def _absent(row: Row) -> str:
    return f"{row['title']}, not there: " + "; ".join(
        f"{name} ({why})" for name, why in row["absent"].items()
    )


# -- the picture ---------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row], path: Path) -> None:
    """For every target a line of points: ours, our .so and the peers, microseconds a row on a logarithmic scale.

    Parameters
    ----------
    rows : sequence of dict
        From results/inference.json.
    path : Path
        The picture; its suffix says in which format.
    """
    import matplotlib
    from matplotlib.figure import Figure

    chosen = cases(rows)
    settings = {
        "svg.hashsalt": "inference",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.color": INK,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(10, 0.62 * len(chosen) + 1.5), facecolor="white", layout="constrained")
        axes = figure.subplots()
        _style(axes, chosen)
        for y, (row, n_rows) in enumerate(chosen):
            _draw_case(axes, y, row, n_rows)
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=160, metadata=metadata)


def _style(axes: Any, chosen: Sequence[tuple[Row, int]]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, colors=INK, labelcolor=INK)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(len(chosen) - 0.4, -0.7)
    labels = [("one row, " if n_rows == 1 else "") + row["title"] for row, n_rows in chosen]
    axes.set_yticks(range(len(chosen)), labels)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=20))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} µs")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(
        "Microseconds a row, one core: ours, our .so (ring), the peers (grey), the limit (bar)",
        loc="left",
        fontsize=11,
        fontweight="bold",
        pad=12,
    )


def _draw_case(axes: Any, y: int, row: Row, n_rows: int) -> None:
    us = times(row, n_rows)
    color = MISSED if is_missed(row, n_rows) else OURS
    peers = sorted(peers_of(us), key=lambda name: us[name])
    axes.plot([us[name] for name in peers], [y] * len(peers), "o", markersize=6, color=PEER, zorder=3)
    axes.plot(us["our .so"], y, "o", markersize=8, color="none", markeredgecolor=color, zorder=4)
    axes.plot(us["ours"], y, "o", markersize=7, color=color, zorder=5)
    if n_rows > 1:
        axes.plot(row["limit"]["us"], y, "|", markersize=14, color=QUIET, zorder=2)
    ratio, wanted = quartiles(ratios(row["us"][str(n_rows)]))[1], target(row, n_rows)
    text = f"{ratio:.1f}x" + (f", target {wanted:g}x" if wanted else "")
    _annotate(axes, us["ours"], y, text, color, 11)
    _annotate(axes, us[peers[0]], y, peers[0], QUIET, -11)


def _annotate(axes: Any, x: float, y: float, text: str, color: str, shift: int) -> None:
    axes.annotate(
        text,
        (x, y),
        (0, shift),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=7.5,
        color=color,
    )
