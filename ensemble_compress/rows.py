"""X as a model reads it, block by block: arrays, DataFrames and sparse matrices go in, plain blocks of one dtype come out.

What has the right dtype and order already is handed out as it is. All else is cast a block at a time, so that predicting
from a file that is mapped into memory, or from a sparse matrix, takes no more than the answer and a block a thread.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import frames
from ensemble_compress.engines import sparse
from ensemble_compress.errors import InputError

BLOCK_ROWS = 4096
BLOCK_BYTES = 1 << 22
"""A block has so many rows or, where they are wide, so many bytes, whichever is less."""

C_ALIGNED = 0x101
WRITEABLE = 0x400
"""Bits of `ndarray.flags.num`; asking for the bits is four times faster than asking for the names."""


CATEGORY_RULES = ("floor", "truncate", "exact")
"""What the code of a category is, of a number that is no whole one: rounded down, rounded towards zero, or none."""


class MissingValueError(Exception):
    """A block holds NaN and the model has no rule for it; `Rows.refuse_missing` makes an `InputError` of it."""


@dataclass(frozen=True)
class Door:
    """What a model expects of X.

    Parameters
    ----------
    n_features : int
        Number of columns that the model was trained on.
    dtype : float32 or float64
        What the model casts X to before it compares.
    feature_names : sequence of str, optional
        The model's names of its columns.
    categories : sequence, optional
        For each feature the levels behind its codes, or None where a feature holds numbers already. A whole number
        in a column whose levels are texts stands for its text.
    handles_nan : bool
        Whether the model has a rule for missing values.
    levels_as_codes : bool
        Whether a DataFrame's column of categories whose levels the model doesn't know is read as its codes, or as the
        numbers that it holds.
    absent_is_missing : bool
        Whether an entry that a sparse matrix doesn't store is a missing value, or 0.
    category_rule : str
        What the code of a category is, of a number that is no whole one: one of `CATEGORY_RULES`.
    category_columns : sequence of int
        The columns that are tested as categories.
    """

    n_features: int
    dtype: Any
    feature_names: Sequence[str] | None = None
    categories: Sequence[Sequence[Any] | None] | None = None
    handles_nan: bool = True
    levels_as_codes: bool = True
    absent_is_missing: bool = False
    category_rule: str = "floor"
    category_columns: Sequence[int] = ()

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.dtype)
        return dtype

    @property
    def reads_as_it_is(self) -> bool:
        """Whether the engines, which round codes down, read categories by the model's own rule."""
        return self.category_rule == "floor" or not len(self.category_columns)

    @cached_property
    def few(self) -> Callable[[Any, int], NDArray[Any] | None]:
        """`few(X, most)`: fewer than `most` rows of a plain array, ready for the kernels; None where it takes a closer look.

        The quick door: an answer for one row is there in microseconds.
        """
        n_features, dtype, bits = self.n_features, self._dtype, C_ALIGNED | WRITEABLE
        reads_as_it_is, rule = self.reads_as_it_is, self.category_rule
        columns = np.asarray(self.category_columns, np.intp)
        array, handles_nan, widens = np.ndarray, self.handles_nan, dtype == np.float64

        def few(X: Any, most: int) -> NDArray[Any] | None:
            if type(X) is not array or len(shape := X.shape) != 2 or not shape[0] < most:
                return None
            if shape[1] != n_features or not n_features:
                return None
            if X.dtype != dtype or X.flags.num & bits != bits:
                if X.dtype.kind not in "fiub":
                    return None
                if (
                    widens and X.dtype.itemsize <= 8
                ):  # nothing overflows, and errstate takes longer than the cast
                    X = X.astype(dtype, order="C")
                else:
                    with np.errstate(over="ignore"):
                        X = X.astype(dtype, order="C")
            if not handles_nan and np.isnan(X).any():
                return None
            return X if reads_as_it_is else as_codes(X, columns, rule)

        return few

    def open(self, X: Any) -> "Rows":
        """X, checked as far as its shape and kind go.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features), DataFrame or sparse matrix
            Numbers. The columns of a DataFrame are matched by name where the model knows names.

        Raises
        ------
        InputError
            X has another shape, or holds what is no number.
        """
        if frames.is_frame(X):
            names, levels = self.feature_names, self.categories
            as_codes = self.levels_as_codes
            n_rows, take = frames.open_frame(X, self.n_features, names, levels, as_codes, self._dtype)
            return Rows(self, n_rows, take)
        if hasattr(X, "tocsr"):
            return self._open_sparse(X)
        return self._open_array(X)

    def _open_array(self, X: Any) -> "Rows":
        frames.check_real(X, "X")
        if isinstance(X, np.ma.MaskedArray):
            self._check_shape(X.shape)
            return Rows(self, len(X), lambda start, stop: _filled(X[start:stop], self._dtype))
        try:
            # Of lists a copy is made in any case; of tensors and the like there should be none.
            array = np.asarray(X) if hasattr(X, "__array__") else _cast(X, self._dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise _no_number(error) from error
        self._check_shape(array.shape)
        is_ready = (
            array.dtype == self._dtype and array.flags.num & C_ALIGNED == C_ALIGNED and self.reads_as_it_is
        )
        return Rows(self, len(array), lambda start, stop: array[start:stop], array if is_ready else None)

    def _open_sparse(self, X: Any) -> "Rows":
        frames.check_real(X, "X")
        self._check_shape(X.shape)
        compressed = X.tocsr()
        sparse_rows = sparse.Rows(compressed.indptr, compressed.indices, compressed.data)
        absent = np.nan if self.absent_is_missing else 0.0
        if not _is_sound(sparse_rows, X.shape):
            raise InputError(
                f"X is a damaged sparse matrix: its indices leave the shape {X.shape}; X.check_format() says where"
            )
        if not compressed.has_canonical_format:
            # An entry that is stored twice is the sum of both.
            compressed = compressed.copy()
            compressed.sum_duplicates()
            sparse_rows = sparse.Rows(compressed.indptr, compressed.indices, compressed.data)

        def take(start: int, stop: int) -> NDArray[Any]:
            return sparse.dense_block(sparse_rows, start, stop, self.n_features, self._dtype, absent)

        return Rows(self, X.shape[0], take)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise InputError(
                f"X has {len(shape)} dimension(s); expected a 2D array of shape (n_rows, {self.n_features})."
                " Reshape your data: X.reshape(1, -1) makes one row of a vector"
            )
        if shape[1] != self.n_features:
            raise InputError(
                f"X has {shape[1]} features, but the model is expecting {self.n_features} features as input"
            )


@dataclass(frozen=True)
class Rows:
    """X behind the door: `read` casts and checks some of its rows.

    Parameters
    ----------
    door : Door
        What the model expects.
    n_rows : int
        Number of rows.
    take : callable
        `take(start, stop)` gives some of the rows as an array of any dtype and order.
    ready : ndarray of shape (n_rows, n_features), optional
        All rows, where they are C-contiguous and of the model's dtype already.
    """

    door: Door
    n_rows: int
    take: Callable[[int, int], NDArray[Any]]
    ready: NDArray[Any] | None = None

    def __len__(self) -> int:
        return self.n_rows

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        row_bytes = max(1, self.door.n_features * self.door._dtype.itemsize)
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of one block after the other.

        Parameters
        ----------
        start, stop : int
            The rows to cover.
        """
        size = self.block_rows
        return ((first, min(first + size, stop)) for first in range(start, stop, size))

    def cast(self, start: int, stop: int) -> NDArray[Any]:
        """Some rows, C-contiguous and of the model's dtype, categories by its rule, NaN and all.

        Parameters
        ----------
        start, stop : int
            Which rows.
        """
        if self.ready is not None:
            return self.ready[start:stop]
        try:
            block = _cast(self.take(start, stop), self.door._dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise _no_number(error) from error
        return as_codes(block, np.asarray(self.door.category_columns, np.intp), self.door.category_rule)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Some rows as the model reads them.

        Parameters
        ----------
        start, stop : int
            Which rows.

        Raises
        ------
        MissingValueError
            There is NaN among them and the model has no rule for it.
        """
        block = self.cast(start, stop)
        # The least of several numbers is NaN where one of them is, and takes no memory.
        if not self.door.handles_nan and block.size and np.isnan(block.min()):
            raise MissingValueError
        return block

    def whole(self) -> NDArray[Any]:
        """All rows in one array, X itself where it is ready.

        Raises
        ------
        InputError
            X holds what is no number, or NaN where the model has no rule for it.
        """
        rows = self.cast(0, self.n_rows) if self.ready is None else self.ready
        if not self.door.handles_nan and any(
            np.isnan(rows[start:stop].min(initial=0)) for start, stop in self.blocks(0, self.n_rows)
        ):
            raise self.refuse_missing()
        return rows

    def refuse_missing(self) -> InputError:
        """The error that says how many rows hold NaN, and which is the first; it goes through all rows."""
        count, first = 0, -1
        for start, stop in self.blocks(0, self.n_rows):
            missing = np.isnan(self.cast(start, stop)).any(axis=1)
            if missing.any() and first < 0:
                first = start + int(missing.argmax())
            count += int(missing.sum())
        return InputError(
            f"X contains NaN in {count} row(s), the first is row {first}, and the model"
            " was trained without a rule for missing values; impute them as in training"
        )


def as_rows(X: Any, *, n_features: int, dtype: Any, **others: Any) -> NDArray[Any]:
    """X as a C-contiguous array of `dtype`, checked against the model that will read it.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features), DataFrame or sparse matrix
        Rows.
    n_features : int
        Number of columns that the model was trained on.
    dtype : float32 or float64
        What the model casts X to before it compares.
    **others
        Further fields of `Door`.

    Returns
    -------
    ndarray of shape (n_rows, n_features)

    Raises
    ------
    InputError
        X has another shape, holds what is no number, or NaN where the model has no rule for it.
    """
    return Door(n_features, dtype, **others).open(X).whole()


def as_codes(rows: NDArray[Any], columns: NDArray[np.intp], rule: str) -> NDArray[Any]:
    """Rows whose categories the engines, which round down, read by another rule; the same array where nothing differs.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Cast rows; they are not written to.
    columns : ndarray of int
        The columns that are tested as categories.
    rule : str
        One of `CATEGORY_RULES`.
    """
    if rule == "floor" or not len(columns):
        return rows
    numbers = rows[:, columns]
    if rule == "truncate":
        differs, code = (numbers > -1) & (numbers < 0), 0
    else:
        differs, code = (numbers != np.trunc(numbers)) & ~np.isnan(numbers), -1
    if not differs.any():
        return rows
    rows = rows.copy()
    rows[:, columns] = np.where(differs, rows.dtype.type(code), numbers)
    return rows


def for_kernels(rows: NDArray[Any]) -> NDArray[Any]:
    """The same memory as an array that may be written to, though no kernel does.

    To Numba an array that is read-only is of another type, for which it would compile every kernel once more.
    """
    return rows if rows.flags.writeable else np.asarray(_Lent(rows))


class _Lent:
    """An array's memory, by NumPy's protocol for that."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self._rows = rows
        interface = rows.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _cast(numbers: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.require(numbers, dtype, ["C", "A", "E"])


def _filled(masked: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.asarray(np.ma.filled(masked.astype(dtype), np.nan))


def _is_sound(rows: sparse.Rows, shape: tuple[int, ...]) -> bool:
    """Whether no index leaves the matrix: nothing else stands between a damaged one and memory that isn't ours."""
    start, column, value = rows
    return bool(
        len(start) == shape[0] + 1
        and start[0] == 0
        and (np.diff(start) >= 0).all()
        and start[-1] <= min(len(column), len(value))
        and column[: start[-1]].min(initial=0) >= 0
        and column[: start[-1]].max(initial=-1) < shape[1]
    )


def _no_number(error: Exception) -> InputError:
    return InputError(
        f"X holds something that is not a number ({error}); encode text columns as the model was trained on them"
    )
