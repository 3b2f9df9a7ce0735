"""DataFrames as rows: columns by name, levels as the codes that the model was trained on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import InputError, MissingPackageError


def is_frame(X: Any) -> bool:
    """Whether X is a DataFrame: of pandas, or a table that turns into one (polars, Arrow).

    Parameters
    ----------
    X : Any
        Any object.
    """
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "to_pandas"))


def as_pandas(X: Any) -> Any:
    """A frame of pandas; anything but a frame as it is.

    Parameters
    ----------
    X : Any
        Any object.
    """
    if not is_frame(X) or hasattr(X, "iloc"):
        return X
    try:
        return X.to_pandas()
    except ImportError as error:
        raise MissingPackageError(
            f"reading a {type(X).__module__.partition('.')[0]} table needs pandas and pyarrow ({error}):"
            ' pip install "ensemble-compress[frames]"'
        ) from error


def check_real(numbers: Any, name: str) -> None:
    """Refuse complex numbers, of which NumPy would drop a part with no more than a warning, and dates, whose unit is lost.

    Parameters
    ----------
    numbers : Any
        An array, or anything.
    name : str
        What it is, for the message.
    """
    if hasattr(numbers, "dtype") and np.iscomplexobj(numbers):
        raise InputError(f"Complex data not supported: {name} holds complex numbers; expected real ones")
    if getattr(getattr(numbers, "dtype", None), "kind", "") in ("m", "M"):
        raise InputError(
            f"{name} holds dates or times; turn them into numbers as the model was trained on them"
        )


def open_frame(
    X: Any,
    n_features: int,
    feature_names: Sequence[str] | None,
    categories: Sequence[Sequence[Any] | None] | None,
    levels_as_codes: bool,
    dtype: Any,
) -> tuple[int, Callable[[int, int], NDArray[Any]]]:
    """The number of rows, and a function that gives the rows from `start` to `stop` as the model reads them.

    The columns come in the model's order, levels replaced by their codes (unknown levels by NaN). Each number is rounded once:
    an int64 of a column goes to float32 without being a float64 in between, as it does in an array.

    Parameters
    ----------
    X : DataFrame
        Of pandas, or a table that turns into one; it is turned a part at a time where its parts have the same levels.
    n_features : int
        Columns that the model was trained on.
    feature_names : sequence of str, optional
        Their names.
    categories : sequence, optional
        For each feature the levels behind its codes, or None.
    levels_as_codes : bool
        What a column of categories without known levels is read as: its codes, or the numbers in it.
    dtype : float32 or float64
        What the model casts X to.
    """
    import pandas as pd

    is_table = not hasattr(X, "iloc") and hasattr(X, "slice")
    sample = as_pandas(X.slice(0, 0) if is_table else X).iloc[:0]
    if is_table and any(isinstance(dtype, pd.CategoricalDtype) for dtype in sample.dtypes):
        is_table = False
    frame = X if is_table else as_pandas(X)
    order = _order(sample, n_features, feature_names)
    levels_of = [None] * n_features if categories is None else list(categories)
    kinds = [getattr(dtype, "kind", "O") for dtype in sample.dtypes.iloc[order]]
    is_plain = all(isinstance(dtype, np.dtype) for dtype in sample.dtypes.iloc[order])
    is_plain = is_plain and {*kinds} <= {*"iuf"} and not any(levels is not None for levels in levels_of)

    def take(start: int, stop: int) -> NDArray[Any]:
        part = as_pandas(frame.slice(start, stop - start)) if is_table else frame.iloc[start:stop]
        if order != list(range(part.shape[1])):
            part = part.iloc[:, order]
        with np.errstate(over="ignore"):
            if is_plain and not is_table:
                return np.asarray(part.to_numpy(dtype=dtype))
            return _read(part, levels_of, levels_as_codes, dtype)

    return len(frame), take


def _read(
    part: Any, levels_of: Sequence[Sequence[Any] | None], levels_as_codes: bool, dtype: Any
) -> NDArray[Any]:
    """The columns of a frame, one by one."""
    import pandas as pd

    columns = []
    for f, levels in enumerate(levels_of):
        column = part.iloc[:, f]
        is_categorical = isinstance(column.dtype, pd.CategoricalDtype)
        if levels is not None:
            columns.append(_codes_of(column, levels))
        elif is_categorical and levels_as_codes:
            codes = column.cat.codes.to_numpy().astype(np.float64)
            columns.append(np.where(codes < 0, np.nan, codes))
        else:
            columns.append(_numbers_of(column.astype(object) if is_categorical else column, dtype))
    return np.column_stack(columns) if columns else np.empty((len(part), 0))


def _order(frame: Any, n_features: int, feature_names: Sequence[str] | None) -> list[int]:
    """The places of the model's columns in the frame."""
    found = [" ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InputError(f"X has the column {twice!r} more than once; give each column a name of its own")
    order = list(range(len(found)))
    if feature_names is not None and found != list(feature_names):
        if not set(feature_names) <= set(found):
            # LightGBM writes blanks in names as underscores.
            found = [name.replace(" ", "_") for name in found]
        absent = [name for name in feature_names if name not in found]
        if absent:
            raise InputError(
                f"X lacks the feature(s) {absent[:5]} that the model was trained on; it has {found[:5]}"
                f"{' ...' if len(found) > 5 else ''}"
            )
        order = [found.index(name) for name in feature_names]
    if len(order) != n_features:
        raise InputError(
            f"X has {len(order)} features, but the model is expecting {n_features} features as input"
        )
    return order


def _codes_of(column: Any, levels: Sequence[Any]) -> NDArray[np.float64]:
    """The place of each value among the levels, NaN where it has none."""
    import pandas as pd

    if getattr(column.dtype, "categories", column).dtype == bool and not (
        len(levels) and isinstance(levels[0], bool)
    ):
        # scikit-learn writes the levels of a column of truth values as the numbers 0 and 1.
        column = column.astype(object).map({False: 0, True: 1})
    index = pd.Index(list(levels))
    codes = index.get_indexer(column).astype(np.float64)
    lost = np.flatnonzero(codes < 0)
    if len(lost) and len(levels) and isinstance(levels[0], str):
        spelled = [_spelled(value, column.name) for value in column.iloc[lost]]
        codes[lost] = index.get_indexer(pd.Index(spelled, dtype=object))
    return np.where(codes < 0, np.nan, codes)


def _spelled(value: Any, name: Any) -> Any:
    """A value as the text that it stands for in a column of texts: to CatBoost 3 and "3" are one category."""
    import pandas as pd

    if isinstance(value, str) or pd.isna(value):
        return value
    if isinstance(value, (float, np.floating)):
        if not float(value).is_integer():
            raise InputError(
                f"column {name!r} of X holds the number {value}, and the model knows texts or whole numbers there;"
                " turn the column into text or whole numbers as in training"
            )
        return str(int(value))
    return str(value)


def _numbers_of(column: Any, dtype: Any) -> NDArray[Any]:
    check_real(column, f"column {column.name!r} of X")
    try:
        return np.asarray(column.to_numpy(dtype=dtype, na_value=np.nan))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"column {column.name!r} of X holds something that is not a number ({error});"
            " encode it as the model was trained on it"
        ) from error


__all__ = ["as_pandas", "check_real", "is_frame", "open_frame"]
