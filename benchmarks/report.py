"""Writes what the benchmarks found where people read it: the tables of the two README.md, and two pictures.

A table stands between `<!-- table: NAME -->` and `<!-- end -->` and is made from results/NAME.json; a test keeps the two
equal. No number is typed by hand.

    python benchmarks/report.py            # both README.md, docs/compression.svg and docs/inference.svg
"""

import itertools
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import inference_report
import protocol_report
from arm_report import arm_table
from building_report import building_table
from reading_report import fuzz_table, reading_table
from scale_report import scale_table

from ensemble_compress.wording import number, size

Row = Mapping[str, Any]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURE = ROOT / "docs" / "compression.svg"
INFERENCE_PICTURE = ROOT / "docs" / "inference.svg"
HEADINGS = {
    "data, model, way": ":--",
    "own file": "--:",
    "plain C": "--:",
    "after": "--:",
    "smaller": "--:",
    "leaves": "--:",
    "held-out score": "--:",
    "change": "--:",
    "seconds (CPU)": "--:",
    "µs a row": "--:",
}
DATA = ("adult", "spambase", "letter", "california")
WAYS = {"python": "Python", "cli": "command line"}
MODELS = {"random forest": "RandomForest", "xgboost": "XGBoost", "lightgbm": "LightGBM"}
INK, QUIET, LINE = "#1f2933", "#7b8794", "#d5dbe1"
COLORS = {"python": "#0f766e", "cli": "#d97706"}


def load_rows(name: str) -> list[dict[str, Any]]:
    """The rows of results/NAME.json; none where there is no such file."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


# -- tables ------------------------------------------------------------------------------------------------------


def compression_table(rows: Sequence[Row]) -> str:
    """A line a row, what they say together, and how they were measured, in Markdown."""
    if not rows:
        return "Not measured yet."
    heading = [_line(HEADINGS), _line(HEADINGS.values())]
    cells = [_line(_cells(row)) for row in rows]
    return "\n\n".join([summary(rows), "\n".join([*heading, *cells]), conditions(rows)])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    before, after = row["bytes_before"], row["bytes_after"]["c_tables"]
    speed = row["speed_us"]
    return [
        f"{row['data']}, {MODELS[row['model']]}, {WAYS[row['way']]}",
        size(own_file(row)),
        size(before["plain_c_tables"]),
        size(after),
        f"{before['plain_c_tables'] / after:,.0f}x",
        " → ".join(number(n) for n in row["leaves"]),
        f"{row['score_before']:.4f} → {row['score_after']:.4f}",
        _bold_if(change(row) < -row["tolerance"], f"{change(row):+.4f} ± {row['change_error']:.4f}"),
        f"{statistics.median(row['seconds']):.0f} ({statistics.median(row['cpu_seconds']):.0f})",
        _bold_if(speed["after"] > speed["before"], f"{_short(speed['before'])} → {_short(speed['after'])}"),
    ]


def own_file(row: Row) -> int:
    """Bytes of the model as its library keeps it: UBJSON, text, or a pickle where there is no format."""
    before = row["bytes_before"]
    found: int = before["library_file"] or before["pickle"]
    return found


def change(row: Row) -> float:
    """Score after less score before, on the test rows."""
    return float(row["score_after"] - row["score_before"])


def _bold_if(is_bold: bool, text: str) -> str:
    return f"**{text}**" if is_bold else text


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else number(value)


def summary(rows: Sequence[Row]) -> str:
    """What the rows say together, the bad news included."""
    ratios = sorted(row["bytes_before"]["plain_c_tables"] / row["bytes_after"]["c_tables"] for row in rows)
    worse = [row for row in rows if change(row) < -row["tolerance"]]
    slower = [row for row in rows if row["speed_us"]["after"] > row["speed_us"]["before"]]
    tolerance = rows[0]["tolerance"]
    size_line = (
        f"{len(rows)} compressions at a tolerance of {tolerance}: {ratios[0]:,.0f} to {ratios[-1]:,.0f} times smaller"
        f" than plain C tables, {statistics.median(ratios):,.0f} times in the median."
    )
    lines = [size_line]
    if worse:
        least = min(worse, key=change)
        clear = sum(change(row) + 2 * row["change_error"] < -tolerance for row in worse)
        lines.append(
            f"On rows that compression never saw, {len(worse)} of them lose more than the tolerance (bold), {clear} of"
            f" those by more than two standard errors; the worst is {_name(least)} with {change(least):+.4f}."
        )
    else:
        lines.append("On rows that compression never saw, none loses more than the tolerance.")
    if slower:
        lines.append(f"{len(slower)} predict more slowly than before (bold).")
    missing = [case for case in itertools.product(DATA, MODELS, WAYS) if case not in _cases(rows)]
    if missing:
        lines.append(
            f"Of the {len(DATA) * len(MODELS) * len(WAYS)} cases {len(missing)} are not measured yet."
        )
    return " ".join(lines)


def _cases(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    return [(row["data"], row["model"], row["way"]) for row in rows]


def _name(row: Row) -> str:
    return f"{row['data']}, {MODELS[row['model']]} ({WAYS[row['way']]})"


def conditions(rows: Sequence[Row]) -> str:
    """How the numbers came about, from the rows themselves."""
    machines = _distinct(
        f"{r['run']['machine']['processor']}, {r['run']['machine']['cores']} cores" for r in rows
    )
    versions = _distinct(
        ", ".join(f"{name} {text}" for name, text in r["run"]["versions"].items() if name != "pandas")
        for r in rows
    )
    commits = _distinct(str(r["run"]["commit"]) for r in rows)
    return (
        "*own file*: UBJSON of XGBoost, text of LightGBM, pickle of scikit-learn. *plain C*: 8 bytes a node, 4 for each further"
        " output of a leaf. *after*: all tables of the C header. *smaller*: plain C to after. *held-out score*: accuracy, R2 for"
        " california, on a quarter of the rows, ± the standard error of the paired difference. *seconds*: all of the"
        " compression by the clock, and those that the processors worked for it; on the command line with the start of Python"
        " and the reading of the files. *µs a row*: `predict` on a"
        " DataFrame of up to 10,000 rows, in the model's own library and in ours."
        f" Measured on {'; '.join(machines)} with {'; '.join(versions)}, at commit {', '.join(commits)},"
        f" by [benchmarks/compression.py](benchmarks/README.md)."
    )


def _distinct(texts: Any) -> list[str]:
    return list(dict.fromkeys(texts))


TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "compression": compression_table,
    "inference": inference_report.inference_table,
}
"""Those of the front page."""
OTHER_TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "scale": scale_table,
    "reading": reading_table,
    "fuzz": fuzz_table,
    "engines": inference_report.engines_table,
    "building": building_table,
    "arm": arm_table,
    **protocol_report.TABLES,
}
"""Those of the benchmarks' own page."""
SOURCES = {"engines": "inference", **protocol_report.SOURCES}
"""The results that a table is made from, where they have another name."""


def fill(text: str, tables: Mapping[str, str]) -> str:
    """The text with each table between its markers."""

    def replaced(found: re.Match[str]) -> str:
        if found["name"] not in tables:
            raise KeyError(f"no table is called {found['name']!r}; known are {', '.join(tables)}")
        return f"{found['begin']}\n{tables[found['name']]}\n{found['end']}"

    markers = r"(?P<begin><!-- table: (?P<name>[\w-]+) -->)\n.*?(?P<end><!-- end -->)"
    return re.sub(markers, replaced, text, flags=re.DOTALL)


def make_tables() -> dict[str, str]:
    """Every table by name, from the results beside this file."""
    tables = TABLES | OTHER_TABLES
    return {name: make(load_rows(SOURCES.get(name, name))) for name, make in tables.items()}


# -- the picture -------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row], path: Path) -> None:
    """Bytes before and after on a logarithmic scale, and beside it the change of the score.

    Parameters
    ----------
    rows : sequence of dict
        From results/compression.json.
    path : Path
        The picture; its suffix says in which format.
    """
    import matplotlib
    from matplotlib.figure import Figure

    places = _places(rows)
    settings = {
        "svg.hashsalt": "compression",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.color": INK,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(
            figsize=(10, 0.35 * max(places.values()) + 1.8), facecolor="white", layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.03)
        sizes, scores = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
        for axes in (sizes, scores):
            _style(axes, places)
        _draw_sizes(sizes, rows, places)
        _draw_scores(scores, rows, places)
        _legend(figure, rows)
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=160, metadata=metadata)


def _places(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """The height of each model, those of a data set close together."""
    places: dict[tuple[str, str], float] = {}
    at, last = -1.0, None
    for row in rows:
        key = row["data"], row["model"]
        if key not in places:
            at += 1.0 if last in (row["data"], None) else 1.6
            places[key], last = at, row["data"]
    return places


def _style(axes: Any, places: Mapping[tuple[str, str], float]) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, colors=INK, labelcolor=INK)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(max(places.values()) + 0.7, -0.95)
    axes.set_yticks(list(places.values()), [MODELS[model] for _, model in places])


def _draw_sizes(axes: Any, rows: Sequence[Row], places: Mapping[tuple[str, str], float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    for row in rows:
        y, color = places[row["data"], row["model"]], COLORS[row["way"]]
        before, after = row["bytes_before"]["plain_c_tables"], row["bytes_after"]["c_tables"]
        shift = _shift(row)
        axes.plot([after, before], [y + shift, y], color=color, linewidth=1.2, alpha=0.45, zorder=2)
        axes.plot(own_file(row), y, "o", markersize=5.5, color="white", markeredgecolor=QUIET, zorder=3)
        axes.plot(before, y, "o", markersize=6.5, color=QUIET, zorder=4)
        axes.plot(after, y + shift, "o", markersize=6.5, color=color, zorder=5)
        label = f"{before / after:,.0f}x"
        axes.annotate(
            label,
            (after, y + shift),
            (-7, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=color,
        )
    _name_data_sets(axes, places)
    low = min(row["bytes_after"]["c_tables"] for row in rows)
    high = max(own_file(row) for row in rows)
    axes.set_xlim(low / 8, high * 2)
    axes.xaxis.set_major_locator(LogLocator(numticks=20))
    axes.xaxis.set_major_formatter(lambda value, _: size(value).replace("bytes", "B"))
    axes.xaxis.set_minor_locator(NullLocator())
    _title(axes, "Bytes, before and after", "logarithmic scale; so many times smaller than plain C tables")


def _shift(row: Row) -> float:
    """The two ways lie a little above and below the line of their model."""
    return -0.19 if row["way"] == "python" else 0.19


def _name_data_sets(axes: Any, places: Mapping[tuple[str, str], float]) -> None:
    first: dict[str, float] = {}
    for (data, _), y in places.items():
        first.setdefault(data, y)
    for data, y in first.items():
        axes.annotate(
            data,
            (0, y - 0.62),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontweight="bold",
            fontsize=9.5,
        )


def _title(axes: Any, text: str, below: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", pad=22)
    note = axes.annotate(
        below, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color=INK
    )
    note.set_in_layout(False)


def _legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    def mark(color: str, label: str, edge: str | None = None) -> Any:
        return Line2D(
            [], [], marker="o", linestyle="", color=color, markeredgecolor=edge or color, label=label
        )

    handles = [mark("white", "the library's own file", QUIET), mark(QUIET, "plain C tables")]
    ways = [way for way in WAYS if any(row["way"] == way for row in rows)]
    texts = {"python": "compressed from Python", "cli": "compressed on the command line"}
    handles += [mark(COLORS[way], texts[way]) for way in ways]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9, handletextpad=0.1
    )


def _draw_scores(axes: Any, rows: Sequence[Row], places: Mapping[tuple[str, str], float]) -> None:
    from matplotlib.ticker import MaxNLocator

    tolerance = rows[0]["tolerance"]
    axes.axvspan(-tolerance, 0, color="#e6f2f0", zorder=0)
    axes.axvline(0, color=QUIET, linewidth=0.9, zorder=1)
    for row in rows:
        y, color = places[row["data"], row["model"]] + _shift(row), COLORS[row["way"]]
        axes.errorbar(
            change(row),
            y,
            xerr=row["change_error"],
            fmt="o",
            markersize=5.5,
            color=color,
            elinewidth=1.1,
            zorder=3,
        )
    reach = max(abs(change(row)) + row["change_error"] for row in rows) * 1.1
    reach = max(reach, 2 * tolerance)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if abs(value) > 1e-9 else "0")
    _title(
        axes,
        "Score on unseen rows, the change",
        f"accuracy, R2 for california; shaded: tolerance {tolerance}",
    )


def main() -> int:
    """Write the tables and the picture."""
    for readme in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        readme.write_text(fill(readme.read_text(), make_tables()))
        print(f"wrote {readme.relative_to(ROOT)}")
    if rows := load_rows("compression"):
        PICTURE.parent.mkdir(exist_ok=True)
        draw(rows, PICTURE)
        print(f"wrote {PICTURE.relative_to(ROOT)}")
    if times := load_rows("inference"):
        inference_report.draw(times, INFERENCE_PICTURE)
        print(f"wrote {INFERENCE_PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
