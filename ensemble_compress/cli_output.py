"""What the command line says: results on the standard output, notes and errors on the standard error."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from ensemble_compress import displays
from ensemble_compress.errors import InputError, PipelineWarning, SlowExportWarning
from ensemble_compress.wording import name, number


def note(text: str, style: str = "dim") -> None:
    """A line on the standard error, however long."""
    Console(stderr=True, soft_wrap=True).print(Text(text, style=style))


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Say our own warnings in one line, without a place in the code; what lies outside of a pipeline the commands say."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, SlowExportWarning):
                note(f"warning: {message}", style="yellow")
            else:
                others(message, category, *where, **more)

        warnings.simplefilter("ignore", PipelineWarning)
        warnings.simplefilter("always", SlowExportWarning)
        warnings.showwarning = say
        yield


def is_watched() -> bool:
    """Whether a person looks at the progress: the standard error is a terminal."""
    return sys.stderr.isatty()


def show(heading: Sequence[str], tables: Sequence[displays.Table], notes: Sequence[str] = ()) -> None:
    """Tables on the standard output: in colour on a terminal, plain text elsewhere."""
    if not sys.stdout.isatty():
        typer.echo(displays.to_text(heading, tables, notes))
        return
    console = Console(highlight=False)
    for line in heading:
        console.print(Text(line, style="bold"))
    for table in tables:
        if table.rows:
            console.print()
            if table.title:
                console.print(Text(table.title, style="bold"))
            console.print(displays.rich_table(table))
    for line in notes:
        console.print(Text(f"- {line}", style="dim"))


def show_json(value: Any) -> None:
    """JSON on the standard output."""
    typer.echo(json.dumps(value, indent=2))


def describe(path: Path, forest: Any) -> dict[str, dict[str, Any]]:
    """What `inspect` shows of a model file, by title."""
    from ensemble_compress import measure, sizes

    classes = None if forest.classes is None else forest.classes.tolist()
    model = {
        "task": "regression" if classes is None else "classification",
        "columns": forest.n_features,
        "outputs": forest.n_outputs,
        "classes": classes,
        "link": forest.link_text,
        "input": forest.x_dtype,
        "missing values": "by a rule" if forest.handles_nan else "refused",
        "names of columns": None if forest.feature_names is None else list(forest.feature_names),
    }
    return {
        "Model": model,
        "Structure": measure.structure(forest),
        "Bytes": {
            "file": path.stat().st_size,
            "plain_c_tables": sizes.plain_bytes(forest),
            "c_tables": sizes.c_bytes(forest),
        },
        "Bytes of the C tables by part": sizes.bytes_by_part(forest),
    }


def facts_table(title: str, facts: Mapping[str, Any]) -> displays.Table:
    """Facts by name as a table."""
    rows = tuple(
        (name(key), _some(value) if isinstance(value, list) else number(value))
        for key, value in facts.items()
    )
    return displays.Table(title, ("", "value"), rows)


def _some(values: list[Any]) -> str:
    """The first few of the values, as text; JSON has them all."""
    shown = ", ".join(str(value) for value in values[:NAMES_SHOWN])
    return shown if len(values) <= NAMES_SHOWN else f"{shown}, ... ({len(values)})"


NAMES_SHOWN = 4
SCORES_SHOWN = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "r2", "rmse", "mae")


def compare(models: Sequence[Any], labelled: Sequence[tuple[Any, Any, Any]]) -> dict[str, dict[str, Any]]:
    """Bytes, scores and microseconds a row of each model by its path, all timed in turns."""
    if len({model.forest.is_classifier for model in models}) > 1:
        raise InputError(
            "a classifier and a regression model have no score in common; compare like with like"
        )
    from ensemble_compress import measure, sizes, timing

    rows = {str(m.path): m.forest.rows(m.transform(X)) for m, (X, _, _) in zip(models, labelled, strict=True)}
    timed = {
        str(m.path): timing.speed_us({"it": m.forest.prepare().predict}, rows[str(m.path)])["it"]
        for m in models
    }
    found = {}
    for model, (_, y, _) in zip(models, labelled, strict=True):
        forest, path = model.forest, str(model.path)
        scores = measure.label_scores(forest, rows[path], y)
        found[path] = {
            "file": model.path.stat().st_size,
            "c_tables": sizes.c_bytes(forest),
            "trees": forest.n_trees,
            "leaves": forest.n_leaves,
            **{key: scores[key] for key in SCORES_SHOWN if key in scores},
            **{f"{key}_us": value for key, value in timed[path].items()},
        }
    return found


def comparison_table(found: Mapping[str, Mapping[str, Any]]) -> displays.Table:
    """The models side by side: a column each, as long as they are few enough to fit."""
    keys = list(next(iter(found.values())))
    rows = tuple((name(key), *(number(values[key]) for values in found.values())) for key in keys)
    return displays.Table("", ("", *found), rows)


def show_comparison(found: Mapping[str, Mapping[str, Any]], heading: str, as_json: bool) -> None:
    """The models side by side, as a table or as JSON."""
    if as_json:
        show_json(found)
    else:
        show([heading], [comparison_table(found)])
