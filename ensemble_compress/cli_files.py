"""Files of the command line: tables in, predictions out, checked at the door with the file named."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.cli_models import Model
from ensemble_compress.errors import InputError, MissingPackageError, ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.writers import check_export

OUTPUTS = (".forest", ".h", ".c", ".treelite.so", ".so", ".onnx")
"""Suffixes that a compressed model can be written to; the longest match counts."""

FRAMES = 'pip install "ensemble-compress[frames]"'


def open_table(path: Path) -> Any:
    """A CSV or Parquet file as a pandas DataFrame.

    Parameters
    ----------
    path : Path
        The file; `.csv`, `.csv.gz` and so on, or `.parquet`.
    """
    pandas = _pandas()
    if path.is_dir():
        raise InputError(f"{path} is a directory; expected a table (.csv or .parquet)")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table (.csv or .parquet)")
    is_parquet = _is_parquet(path)
    try:
        table = pandas.read_parquet(path) if is_parquet else pandas.read_csv(path, **_exactly(pandas))
    except ImportError as error:
        raise MissingPackageError(f"{path}: reading Parquet needs pyarrow: {FRAMES}") from error
    except (ValueError, OSError) as error:  # pandas' and Arrow's parser errors are ValueErrors
        kind = "Parquet" if is_parquet else "CSV"
        raise InputError(f"{path} cannot be read as {kind}: {str(error).splitlines()[0]}") from error
    if len(table) == 0:
        raise InputError(f"{path} has no rows below its heading")
    return table


def _exactly(pandas: Any) -> dict[str, str]:
    """Make CSV's numbers the nearest floats: one unit off is enough to cross a threshold. Needless since pandas 3.1."""
    version = tuple(int(part) for part in pandas.__version__.split(".")[:2])
    return {"float_precision": "round_trip"} if version < (3, 1) else {}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError(f"reading and writing tables needs pandas: {FRAMES}") from error
    return pandas


def _is_parquet(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] in ([".parquet"], [".pq"]):
        return True
    if ".csv" in suffixes:
        return False
    raise InputError(f"{path}: expected a file that ends in .csv or .parquet")


def column(table: Any, name: str, path: Path) -> Any:
    """One column of a table by name.

    Parameters
    ----------
    table : DataFrame
        The table.
    name : str
        The column.
    path : Path
        The table's file, for the message.
    """
    require_column(table, name, path)
    if table[name].isna().any():
        raise InputError(
            f"column {name!r} of {path} is empty in {int(table[name].isna().sum())} row(s); drop those rows"
        )
    return table[name]


def require_column(table: Any, name: str, path: Path) -> str:
    """The name of a column that the table has."""
    if name not in table.columns:
        raise InputError(f"{path} has no column {name!r}; it has {_some(list(table.columns))}")
    return name


def rows(table: Any, model: Model, path: Path) -> Any:
    """The columns that the model reads, under the model's names; an array where it knows neither names nor levels.

    A pipeline's own columns as they are: its steps transform them.

    Parameters
    ----------
    table : DataFrame
        The table, without target and weight.
    model : Model
        The model.
    path : Path
        The table's file, for messages.
    """
    names = model.column_names
    if names is not None and not set(names) <= set(table.columns):
        underscored = table.set_axis([str(c).replace(" ", "_") for c in table.columns], axis=1)
        table = (
            underscored if set(names) <= set(underscored.columns) else table
        )  # LightGBM's names have no blanks
    if names is not None and set(names) <= set(table.columns):
        table = table[list(names)]
    elif names is not None and not _are_made_up(names):
        lacking = [name for name in names if name not in table.columns]
        raise InputError(
            f"{path} lacks the column(s) {_some(lacking)} that the model was trained on; it has {_some(list(table.columns))}"
        )
    if table.shape[1] != model.n_columns:
        raise InputError(
            f"{path} has {table.shape[1]} columns besides the target, and the model was trained on {model.n_columns}"
            f" without storing their names; keep those {model.n_columns} columns, in the order of training"
        )
    if model.is_pipeline:
        return table if names is not None else table.to_numpy()
    forest = model.forest
    _check_text(table, forest, path)
    if names is not None:
        return table.set_axis(list(names), axis=1)
    return table if forest.categories is not None else table.to_numpy(np.float64, na_value=np.nan)


def _are_made_up(names: Sequence[str]) -> bool:
    """Whether a library invented the names, as LightGBM does where it was given an array."""
    return any(
        list(names) == [f"{stem}{f}" for f in range(len(names))] for stem in ("Column_", "f", "x", "feature_")
    )


def _check_text(table: Any, forest: Forest, path: Path) -> None:
    pandas = _pandas()
    for f, name in enumerate(table.columns):
        known = forest.categories is not None and forest.categories[f] is not None
        values = table.iloc[:, f]
        if known or pandas.api.types.is_numeric_dtype(values) or values.isna().all():
            continue
        if not isinstance(values.dtype, pandas.CategoricalDtype):
            raise InputError(
                f"column {name!r} of {path} holds text ({str(values.dropna().iloc[0])!r}) and the model has no levels"
                " for it; replace the text by the numbers that the model was trained on"
            )


def targets(values: Any, forest: Forest, path: Path, labels: str | None = None) -> NDArray[Any]:
    """The target column as the model's own labels, or as numbers for regression.

    Parameters
    ----------
    values : Series
        The target column.
    forest : Forest
        The model.
    path : Path
        The table's file, for messages.
    labels : str, optional
        The column's labels in the order of the model's classes, parted by commas.
    """
    if forest.classes is None:
        if not _pandas().api.types.is_numeric_dtype(values):
            raise InputError(
                f"the target {values.name!r} of {path} holds {_some(list(values.unique()))}; the model predicts numbers"
            )
        return np.asarray(values, np.float64)
    classes = forest.classes.tolist()
    order = [str(c) for c in classes] if labels is None else [part.strip() for part in labels.split(",")]
    if len(order) != len(classes):
        raise ParameterError(f"--labels names {len(order)} labels; the model has {len(classes)} classes")
    code = {text: c for c, text in enumerate(order)}
    found = {value: code.get(_label_text(value, code), -1) for value in values.unique()}
    strange = [value for value, c in found.items() if c < 0]
    if strange:
        raise InputError(
            f"the target {values.name!r} of {path} holds {_some(strange)}, which the model does not know; its classes"
            f" are {_some(order)}. A model file that stores codes needs --labels: the labels in the order of the codes"
        )
    return np.asarray(forest.classes[values.map(found).to_numpy(np.intp)])


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are, besides those that the model reads."""

    target: str
    weight: str | None = None
    labels: str | None = None


def labelled_rows(path: Path, columns: Columns, model: Model) -> tuple[Any, NDArray[Any], Any]:
    """(rows, labels, weights or None) from a file.

    Parameters
    ----------
    path : Path
        The table.
    columns : Columns
        Which columns are what.
    model : Model
        The model that will read the rows.
    """
    if columns.weight == columns.target:
        raise ParameterError(
            f"column {columns.target!r} cannot be both the target and the weight; name two columns"
        )
    table = open_table(path)
    y = targets(column(table, columns.target, path), model.forest, path, columns.labels)
    others = table.drop(columns=columns.target)
    if columns.weight is None:
        return rows(others, model, path), y, None
    weight = _numbers(column(table, columns.weight, path), path)
    return rows(others.drop(columns=columns.weight), model, path), y, weight


def _numbers(values: Any, path: Path) -> NDArray[np.float64]:
    if not _pandas().api.types.is_numeric_dtype(values):
        raise InputError(
            f"the weight {values.name!r} of {path} holds {_some(list(values.unique()))}; expected numbers"
        )
    return np.asarray(values, np.float64)


def validation_rows(text: str | None, columns: Columns, model: Model) -> Any:
    """The value of `--validation`: None, a fraction, or the rows and labels of another table.

    Parameters
    ----------
    text : str, optional
        What was given.
    columns : Columns
        Which columns of that table are what.
    model : Model
        The model.
    """
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return labelled_rows(Path(text), columns, model)[:2]


def _label_text(value: Any, known: dict[str, int]) -> str:
    """A label as text: 1.0 and True are 1 where the model says 1."""
    if str(value) not in known and isinstance(value, (bool, float, np.bool_, np.floating)):
        return str(int(value)) if float(value).is_integer() else str(value)
    return str(value)


def _some(values: list[Any]) -> str:
    """The first few values, as text."""
    return ", ".join(repr(str(v)) for v in values[:6]) + (" ..." if len(values) > 6 else "")


def predictions(forest: Forest, margin: NDArray[Any], proba: bool) -> dict[str, NDArray[Any]]:
    """The columns that `predict` writes: `prediction`, and `probability_LABEL` for each class where asked for.

    Parameters
    ----------
    forest : Forest
        The model.
    margin : ndarray of shape (n_rows, n_outputs)
        Its margins.
    proba : bool
        Whether probabilities are wanted.
    """
    if forest.classes is not None:
        columns = {"prediction": forest.classes[forest.decide(margin)]}
        if proba:
            table = forest.probabilities(margin)
            columns.update({f"probability_{c}": table[:, k] for k, c in enumerate(forest.classes.tolist())})
        return columns
    if proba:
        raise ParameterError("--proba needs a classifier; this is a regression model")
    values = forest.linked(margin)
    if forest.n_outputs == 1:
        return {"prediction": values[:, 0]}
    return {f"prediction_{k}": values[:, k] for k in range(forest.n_outputs)}


def write_table(columns: dict[str, Any], path: Path | None) -> None:
    """Write columns as CSV or Parquet, or as CSV to the standard output.

    Parameters
    ----------
    columns : dict of str to ndarray
        The columns.
    path : Path, optional
        The file; None is the standard output.
    """
    pandas = _pandas()
    table = pandas.DataFrame(columns)
    if path is None:
        print(table.to_csv(index=False, lineterminator="\n"), end="")
    elif _is_parquet(path):
        try:
            table.to_parquet(path, index=False)
        except ImportError as error:
            raise MissingPackageError(f"{path}: writing Parquet needs pyarrow: {FRAMES}") from error
    else:
        table.to_csv(path, index=False)


def check_outputs(paths: Sequence[Path], target: str, name: str, opset: int = 5) -> None:
    """Refuse what cannot be written before the work begins.

    Parameters
    ----------
    paths : sequence of Path
        Files to be written.
    target : str
        What they have to run on.
    name : str
        Prefix of the C names.
    opset : int
        The opset of an ONNX model's trees.
    """
    for path in paths:
        if not path.name.lower().endswith(OUTPUTS):
            raise ParameterError(f"{path}: expected a name that ends in {', '.join(OUTPUTS)}")
        if not path.parent.is_dir():
            raise ParameterError(f"{path}: the folder {path.parent} does not exist; make it first")
        if not os.access(path.parent, os.W_OK):
            raise ParameterError(f"{path}: the folder {path.parent} cannot be written to")
        if path.is_dir():
            raise ParameterError(f"{path} is a folder; expected the name of a file")
        if path.suffix.lower() != ".forest":
            check_export(path, target, name, opset)
