"""How a report is shown: as tables of text, which a terminal, a log file and a notebook draw each in its way."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from math import log1p
from typing import Any, NamedTuple

from rich.box import Box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ensemble_compress.wording import name, number, ratio, size

TEXT_WIDTH = 100

RULED = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""A rule of hyphens under the heading and nothing else, so that every terminal and log file can show it."""


SHOWN_POINTS = 12


class Table(NamedTuple):
    """A title, the headings and the rows of a table; the first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Point(NamedTuple):
    """A point of a curve: a size in bytes, a score, the score's standard error, and whether it was chosen."""

    bytes: float
    score: float
    error: float
    is_chosen: bool


def rich_table(table: Table) -> RichTable:
    """The table without its title (which Rich would fold to the table's width), alike with and without colour."""
    drawn = RichTable(
        box=RULED,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, heading in enumerate(table.columns):
        drawn.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def to_text(heading: Sequence[str], tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Lines, tables and notes as plain text: no colour, `TEXT_WIDTH` columns at most, whatever the terminal is.

    Parameters
    ----------
    heading : sequence of str
        Lines above the tables.
    tables : sequence of Table
        The tables; those without rows are left out.
    notes : sequence of str
        Lines below them.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=TEXT_WIDTH, force_terminal=False, color_system=None, legacy_windows=False, emoji=False
    )
    for line in heading:
        console.print(Text(line))
    for table in tables:
        if table.rows:
            console.print()
            if table.title:
                console.print(Text(table.title))
            console.print(rich_table(table))
    if notes:
        console.print()
    for note in notes:
        console.print(Text(f"- {note}"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


CELL = "padding:0.15em 0.8em;border:none;"
FONT = "font-family:system-ui,sans-serif;font-size:0.92em;line-height:1.35"


def to_html(heading: Sequence[str], tables: Sequence[Table], notes: Sequence[str], curve: str) -> str:
    """The same as HTML that stands alone: styles are inline, every text is escaped.

    Parameters
    ----------
    heading : sequence of str
        Lines above the tables; the first is the title.
    tables : sequence of Table
        The tables; those without rows are left out.
    notes : sequence of str
        Lines below them.
    curve : str
        SVG put between the tables and the notes, from `to_svg`; or nothing.
    """
    lines = [f"<div>{escape(line)}</div>" for line in heading[1:]]
    title = f'<div style="font-weight:600;font-size:1.1em">{escape(heading[0])}</div>' if heading else ""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    drawn = "".join(_html_table(table) for table in tables if table.rows)
    return (
        f'<div style="{FONT}">{title}{"".join(lines)}'
        f'<div style="display:flex;flex-wrap:wrap;gap:0 2em;align-items:flex-start">{drawn}{curve}</div>'
        f"{f'<ul>{listed}</ul>' if listed else ''}</div>"
    )


def _html_table(table: Table) -> str:
    head = "".join(_html_cell("th", place, text) for place, text in enumerate(table.columns))
    body = "".join(
        f"<tr>{''.join(_html_cell('td', place, text) for place, text in enumerate(row))}</tr>"
        for row in table.rows
    )
    return (
        '<table style="border-collapse:collapse;margin:0.6em 0">'
        f'<caption style="text-align:left;font-weight:600">{escape(table.title)}</caption>'
        f'<thead style="border-bottom:1px solid currentColor"><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _html_cell(tag: str, place: int, text: str) -> str:
    align = "right;font-variant-numeric:tabular-nums" if place else "left"
    return f'<{tag} style="{CELL}text-align:{align}">{escape(text)}</{tag}>'


WIDTH, HEIGHT, MARGIN = 420, 220, 46


def to_svg(points: Sequence[Point], score_name: str) -> str:
    """A small picture of score over bytes (on a logarithmic axis), the chosen point filled; nothing for < 2 points.

    Parameters
    ----------
    points : sequence of Point
        The points, in any order.
    score_name : str
        What the vertical axis shows.
    """
    if len(points) < 2:
        return ""
    ordered = sorted(points, key=lambda point: point.bytes)
    low, high = _limits([point.bytes for point in ordered])
    worst, best = _limits([point.score for point in ordered])

    def place(point: Point) -> tuple[float, float]:
        across = _log_ratio(point.bytes, low, high)
        up = (point.score - worst) / (best - worst)
        return (
            round(MARGIN + across * (WIDTH - 1.5 * MARGIN), 1),
            round(HEIGHT - MARGIN - up * (HEIGHT - 1.5 * MARGIN), 1),
        )

    line = " ".join(f"{x},{y}" for x, y in map(place, ordered))
    dots = "".join(_dot(*place(point), point) for point in ordered)
    base, style = HEIGHT - MARGIN, 'font-size="10" fill="currentColor"'
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" style="margin:0.6em 0">'
        f"<title>{escape(score_name)} over bytes</title>"
        f'<path d="M{MARGIN / 2},{base + 12}H{WIDTH - MARGIN / 2}" stroke="currentColor" stroke-width="0.5"/>'
        f'<polyline points="{line}" fill="none" stroke="#4c78a8" stroke-width="1.5"/>{dots}'
        f'<text x="{MARGIN / 2}" y="{base + 26}" {style}>{number(low)} bytes</text>'
        f'<text x="{WIDTH - MARGIN / 2}" y="{base + 26}" text-anchor="end" {style}>{number(high)} bytes</text>'
        f'<text x="4" y="12" {style}>{escape(score_name)}: {worst:.4g} to {best:.4g}</text></svg>'
    )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1.0)


def _log_ratio(value: float, low: float, high: float) -> float:
    return (log1p(value) - log1p(low)) / (log1p(high) - log1p(low))


def _dot(x: float, y: float, point: Point) -> str:
    fill = "#e45756" if point.is_chosen else "#4c78a8"
    words = f"{number(point.bytes)} bytes, {point.score:.5g} +- {point.error:.2g}"
    chosen = ", chosen" if point.is_chosen else ""
    return f'<circle cx="{x}" cy="{y}" r="{5 if point.is_chosen else 3}" fill="{fill}"><title>{words}{chosen}</title></circle>'


def report_heading(report: Any) -> list[str]:
    """The two lines that say what came out and what was asked for.

    Parameters
    ----------
    report : Report
        The report.
    """
    parts = []
    before, after = report.teacher.bytes.get("c_tables"), report.student.bytes.get("c_tables")
    if before and after:
        sizes = f"{size(before)} -> {size(after)} (C tables)"
        parts.append(f"{ratio(before, after, 'smaller', 'larger')}: {sizes}")
    if report.score is not None:
        scores = f"{number(report.score[0])} -> {number(report.score[1])}"
        parts.append(f"{report.scoring} {scores} ({report.reference})")
    asked = [f"target {report.target}"]
    if report.tolerance is not None:
        asked.append(f"tolerance {report.tolerance:g}")
    if report.max_bytes is not None:
        asked.append(f"at most {report.max_bytes:,} bytes")
    return [", ".join(parts) or "Report", ", ".join(asked)]


def report_tables(report: Any) -> list[Table]:
    """The report as tables of text: bytes, structure, scores, agreement, speed, classes, steps.

    Parameters
    ----------
    report : Report
        The report.
    """
    rows = f" on {report.n_rows:,} rows" if report.n_rows else ""
    teacher, student = report.teacher, report.student
    agreement = tuple((name(key), number(value)) for key, value in report.agreement.items())
    return [
        _compared("Bytes", teacher.bytes, student.bytes, ("smaller", "larger")),
        _compared("Structure", teacher.structure, student.structure, ("smaller", "larger")),
        _compared(f"Scores{rows} ({report.reference})", teacher.scores, student.scores, None),
        Table(f"Agreement{rows}", ("", "value"), agreement),
        _compared("Microseconds", teacher.speed_us, student.speed_us, ("faster", "slower")),
        _class_table(teacher.scores.get("per_class", ()), student.scores.get("per_class", ())),
        _step_table(report.steps),
    ]


def _class_table(teacher: Any, student: Any) -> Table:
    rows = tuple(
        (
            str(a["label"]),
            number(a["rows"]),
            number(a["f1"]),
            number(b["f1"]),
            _change(a["f1"], b["f1"], None),
        )
        for a, b in zip(teacher, student, strict=False)
    )
    return Table("F1 of each class", ("class", "rows", "teacher", "student", "change"), rows)


def _step_table(steps: Any) -> Table:
    rows = tuple(
        (s.name, s.parameters, number(s.bytes), number(s.n_leaves), number(s.score), f"{s.seconds:.2f}")
        for s in steps
    )
    return Table("Steps", ("step", "parameters", "bytes", "leaves", "score", "seconds"), rows)


def path_table(report: Any) -> Table:
    """The models that were judged, thinned where they are many; the chosen one always stays.

    Parameters
    ----------
    report : Report
        The report.
    """
    n_points = len(report.path)
    shown = {round(i * (n_points - 1) / (SHOWN_POINTS - 1)) for i in range(SHOWN_POINTS)}
    points = [p for i, p in enumerate(report.path) if i in shown or p.is_chosen]
    thinned = f" ({len(points)} of {n_points} points)" if len(points) < n_points else ""
    rows = tuple(
        ("chosen" if p.is_chosen else "", number(p.bytes), number(p.score), number(p.standard_error))
        for p in points
    )
    return Table(f"Path{thinned}", ("", "bytes", report.scoring, "standard error"), rows)


def _compared(
    title: str, teacher: Mapping[str, Any], student: Mapping[str, Any], words: tuple[str, str] | None
) -> Table:
    rows = tuple(
        (
            name(key),
            number(teacher.get(key)),
            number(student.get(key)),
            _change(teacher.get(key), student.get(key), words),
        )
        for key in {**teacher, **student}
        if key != "per_class"
    )
    return Table(title, ("", "teacher", "student", "change"), rows)


def _change(before: Any, after: Any, words: tuple[str, str] | None) -> str:
    """How many times smaller, or the signed difference where there are no words for a ratio."""
    if before is None or after is None:
        return ""
    if words is None:
        return f"{after - before:+.4f}"
    return ratio(before, after, *words) if before > 0 and after > 0 else ""
