"""The command line `ensemble-compress`: the library's verbs over files.

Results go to the standard output, plain when it is piped; progress, notes and errors go to the standard error. Exit
code 2 is bad input, 1 a compression or a check that failed. What takes long to import is imported by the commands.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ensemble_compress import cli_output, displays
from ensemble_compress._version import __version__
from ensemble_compress.cli_output import is_watched, note, show, show_json, warnings_as_notes
from ensemble_compress.errors import BudgetError, EnsembleCompressError, ToolchainError

FAILURES = (BudgetError, ToolchainError)
"""Errors that are not the input's fault: exit code 1. The others are: exit code 2."""

SHOWS_TRACEBACK = ContextVar("SHOWS_TRACEBACK", default=False)

Command = TypeVar("Command", bound=Callable[..., Any])

app = typer.Typer(
    name="ensemble-compress",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Model file: .json (XGBoost, CatBoost), .ubj (XGBoost), .txt (LightGBM), .cbm (CatBoost), .tl (Treelite),"
        " .skops (scikit-learn), .forest (ours).",
    ),
]
DataOption = Annotated[
    Path, typer.Option("--data", "-d", help="Table: .csv or .parquet. Its heading names the columns.")
]
TargetColumn = Annotated[
    str, typer.Option("--target-column", "-t", help="Name of the column that holds the labels.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="The target column's labels in the order of the model's classes, parted by commas: for model files"
        " that store codes only."
    ),
]
Jobs = Annotated[int | None, typer.Option(help="Threads, as many as pay by default.")]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Load .pkl and .joblib files. Loading one runs code: do so only with your own.",
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(help="What the artefact is for: cpu, cortex-m0, cortex-m4, ... Bytes are counted for it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def command(function: Command) -> Command:
    """Make `function` a command whose errors of ours become one line and an exit code."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            with warnings_as_notes():
                return function(*arguments, **options)
        except (EnsembleCompressError, OSError) as error:
            if SHOWS_TRACEBACK.get():
                raise
            note(f"error: {' '.join(str(error).split())}", style="bold red")
            raise typer.Exit(1 if isinstance(error, FAILURES) else 2) from None

    app.command()(run)
    return function


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ensemble-compress {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="EC_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Compress trained tree ensembles under a stated tolerance or byte budget, and run them anywhere.

    Start with `ensemble-compress demo`. Then, with a model file and a table of your own:

        ensemble-compress inspect model.json

        ensemble-compress compress model.json --data rows.csv --target-column label -o small.forest -o model.h

        ensemble-compress compare model.json small.forest --data rows.csv --target-column label

    Tables need the extra `frames`: pip install "ensemble-compress[frames]".
    """
    SHOWS_TRACEBACK.set(debug)


@command
def demo(
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Keep the C headers and shared libraries in this folder (else they are thrown away)."
        ),
    ] = None,
) -> None:
    """Compress two models of handwritten digits and run what comes out. Needs no data; takes about a minute.

    Trains a random forest of 300 trees and a gradient-boosted model, compresses both under a loss of accuracy of at
    most 0.005, writes each as a C header and as a shared library, runs those, and checks that every test row gets the
    label that Python gives. Exit code 1 means that one did not. Without a C compiler the last part is skipped.
    """
    from ensemble_compress.demo import run_demo

    if not run_demo(output_dir):
        raise typer.Exit(1)


@command
def inspect(
    model: ModelArgument,
    dump: Annotated[int, typer.Option(metavar="NODES", help="Print this many nodes as text, too.")] = 0,
    as_json: AsJson = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Show what a model file holds: trees, thresholds, classes, and its bytes in several forms.

    Examples:

        ensemble-compress inspect model.txt

        ensemble-compress inspect small.forest --dump 20
    """
    from ensemble_compress import cli_models

    opened = cli_models.open_last_step(model, trust_pickle)
    forest = opened.forest
    facts = cli_output.describe(model, forest)
    report = opened.held.report if opened.is_compressed else None
    if as_json:
        show_json({**facts, "report": None if report is None else report.to_dict()})
        return
    show([str(model)], [cli_output.facts_table(title, values) for title, values in facts.items()])
    if report is not None:
        typer.echo(f"\nHow it was compressed\n\n{report}")
    if dump:
        typer.echo("\n" + forest.to_text(dump))


@command
def compress(
    model: ModelArgument,
    data: DataOption,
    target_column: TargetColumn,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; may be given several times. The suffix decides: .forest (ours), .h or .c (C99),"
            " .so (shared library), .treelite.so (TL2cgen), .onnx.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest loss of score allowed; 0.005 where no budget is given either."),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(help="Byte budget of the artefact. Exit code 1 if nothing fits.")
    ] = None,
    target: TargetOption = "cpu",
    relative: Annotated[
        bool, typer.Option("--relative", help="The tolerance is a fraction of the teacher's score.")
    ] = False,
    scoring: Annotated[
        str | None, typer.Option(help="A scikit-learn scorer; accuracy or r2 by default.")
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            help="auto, lossless, or algorithms as in Python: 'Simplify(), QuantizeLeaves(bits=8)'."
        ),
    ] = "auto",
    validation: Annotated[
        str | None, typer.Option(help="Rows to judge on: a fraction such as 0.2, or another table.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Keep the tolerance with this probability, e.g. 0.95, on held-out rows."),
    ] = None,
    weight_column: Annotated[
        str | None, typer.Option(help="Name of the column that holds row weights.")
    ] = None,
    labels: Labels = None,
    name: Annotated[str, typer.Option(help="Prefix of the C names.")] = "model",
    random_state: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    n_jobs: Jobs = None,
    as_json: AsJson = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Make a model smaller, within a tolerance or a byte budget, and say what that cost.

    The table should hold rows like those that the model was trained on: best the training rows themselves, with
    the rows it never saw as `--validation`.

    Examples:

        ensemble-compress compress model.json -d train.csv -t income -o small.forest

        ensemble-compress compress model.txt -d train.csv -t income --max-bytes 8000 -o model.h

        ensemble-compress compress forest.skops -d train.csv -t income --tolerance 0.01 --validation test.csv
    """
    import ensemble_compress as ec
    from ensemble_compress import cli_files, cli_models
    from ensemble_compress.cli_steps import parse_steps

    outputs = output or []
    cli_files.check_outputs(outputs, target, name)
    chosen_steps = parse_steps(steps)
    opened = cli_models.open_last_step(model, trust_pickle)
    columns = cli_files.Columns(target_column, weight_column, labels)
    X, y, weight = cli_files.labelled_rows(data, columns, opened)
    small = ec.compress(
        opened.forest if opened.is_compressed else opened.held,
        X,
        y,
        sample_weight=weight,
        tolerance=tolerance,
        relative=relative,
        scoring=scoring,
        max_bytes=max_bytes,
        target=target,
        steps=chosen_steps,
        validation=cli_files.validation_rows(validation, columns, opened),
        confidence=confidence,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=is_watched(),
    )
    report: Any = small.report
    if as_json:
        show_json(report.to_dict())
    else:
        tables = [*displays.report_tables(report), displays.path_table(report)]
        show(displays.report_heading(report), tables, report.notes)
    for path in outputs:
        _write(small, path, target=target, name=name)


def _write(small: Any, path: Path, **options: Any) -> None:
    if path.suffix.lower() == ".forest":
        small.save(path)
        files = [path]
    else:
        files = small.export(path, **options)
    for file in files:
        note(f"wrote {file}, {file.stat().st_size:,} bytes")


@command
def export(
    model: ModelArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write: .h or .c (C99), .so, .treelite.so, .onnx, or .forest."
        ),
    ],
    target: TargetOption = "cpu",
    name: Annotated[
        str, typer.Option(help="Prefix of the C names, e.g. `model` for model_predict.")
    ] = "model",
    optimize: Annotated[str, typer.Option(help="What the C code is made for: size or speed.")] = "size",
    float_input: Annotated[
        bool,
        typer.Option(
            "--float-input/--no-float-input", help="Whether the C code takes float or integer rows."
        ),
    ] = True,
    opset: Annotated[int, typer.Option(help="Opset of ai.onnx.ml for an ONNX model: 5 or 3.")] = 5,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compile and run what was written, and compare the answers.")
    ] = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Write a model as C, as a shared library, as an ONNX model or as a .forest file, without changing its answers.

    Examples:

        ensemble-compress export small.forest -o model.h --target cortex-m4

        ensemble-compress export model.txt -o model.so --verify
    """
    from ensemble_compress import cli_files, cli_models

    cli_files.check_outputs([output], target, name, opset)
    opened = cli_models.open_last_step(model, trust_pickle)
    _write(
        cli_models.as_compressed(opened),
        output,
        target=target,
        name=name,
        optimize=optimize,
        float_input=float_input,
        opset=opset,
        verify=verify,
    )


@command
def predict(
    model: ModelArgument,
    data: DataOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Table to write, .csv or .parquet; the standard output if none."),
    ] = None,
    target_column: Annotated[
        str | None, typer.Option("--target-column", "-t", help="A column to leave out.")
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="Add a column with the probability of each class.")
    ] = False,
    n_jobs: Jobs = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Predict the rows of a table with a model of any kind; no machine-learning library need be installed.

    Examples:

        ensemble-compress predict small.forest -d rows.csv -o predictions.csv --proba

        ensemble-compress predict model.txt -d rows.parquet | head
    """
    from ensemble_compress import cli_files, cli_models

    opened = cli_models.open_model(model, trust_pickle)
    table = cli_files.open_table(data)
    if target_column is not None:
        table = table.drop(columns=cli_files.require_column(table, target_column, data))
    margin = opened.forest.margin(opened.transform(cli_files.rows(table, opened, data)), n_jobs)
    columns = cli_files.predictions(opened.forest, margin, proba)
    cli_files.write_table(columns, output)
    if output is not None:
        note(f"wrote {output}, {len(margin):,} rows")


@command
def compare(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Two or more model files.")],
    data: DataOption,
    target_column: TargetColumn,
    labels: Labels = None,
    as_json: AsJson = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Put models side by side: bytes, scores and speed on the rows of one table.

    Example:

        ensemble-compress compare model.json small.forest tiny.forest -d test.csv -t income
    """
    from ensemble_compress import cli_files, cli_models

    opened = [cli_models.open_model(path, trust_pickle) for path in models]
    columns = cli_files.Columns(target_column, labels=labels)
    labelled = [cli_files.labelled_rows(data, columns, model) for model in opened]
    cli_output.show_comparison(
        cli_output.compare(opened, labelled), f"{len(labelled[0][1]):,} rows of {data}", as_json
    )


def main() -> None:
    """Run the command line."""
    app()
