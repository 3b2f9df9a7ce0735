"""What a user hands over: the model out of its pipeline, and the rows and labels as its forest reads them."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import Unwrapped, load_model, read, unwrap

LARGEST_NUMBER = 1e100


class Teacher(NamedTuple):
    """The model that is compressed.

    Attributes
    ----------
    model : Any
        As it was given; of a pipeline the last step.
    forest : Forest
        The model, read.
    unwrapped : Unwrapped
        What stood around it.
    """

    model: Any
    forest: Forest
    unwrapped: Unwrapped

    @property
    def trainable(self) -> Any:
        """What clones can be made of; the forest, of which none can, where the model is frozen."""
        return self.forest if self.unwrapped.is_frozen else self.model

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of a report has to know of the steps around the model."""
        notes = []
        if self.unwrapped.before:
            notes.append(
                f"the model is the last step of a pipeline; the compressed model takes rows that {self.unwrapped.names}"
                f" transformed: {self.unwrapped.how}"
            )
        if self.unwrapped.before and not self.unwrapped.is_frozen:
            notes.append(f"{self.unwrapped.names} stayed as fitted, also where the model was trained again")
        if self.unwrapped.is_frozen:
            notes.append("the model is frozen: it was not trained again")
        return tuple(notes)

    def transform(self, X: Any) -> Any:
        """Rows as the model takes them."""
        return None if X is None else self.unwrapped.transform(X)


def open_teacher(model: Any) -> Teacher:
    """Anything that `read` takes, as a teacher.

    Parameters
    ----------
    model : Any
        A fitted model, a pipeline that ends in one, a Forest or a path.
    """
    held = load_model(model) if isinstance(model, str | os.PathLike) else model
    found = unwrap(held)
    return Teacher(model if found.model is held else found.model, read(found.model), found)


def as_data(forest: Forest, X: Any, y: Any, weight: Any) -> Data:
    """Rows as the forest reads them, labels as codes or values, everything checked."""
    rows = forest.rows(X)
    return Data(rows, None if y is None else as_target(forest, y, len(rows)), _as_weight(weight, rows))


def _as_weight(weight: Any, rows: NDArray[Any]) -> NDArray[np.float64] | None:
    if weight is None:
        return None
    try:
        weights = np.asarray(weight, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight holds something that is not a number ({error})") from error
    if np.abs(weights).max(initial=0.0) > LARGEST_NUMBER:
        raise InputError(f"sample_weight holds numbers beyond {LARGEST_NUMBER:g}; rescale the weights")
    if weights.shape != (len(rows),):
        raise InputError(f"sample_weight has shape {weights.shape}; expected ({len(rows)},): a weight a row")
    return weights


def as_target(forest: Forest, y: Any, n_rows: int) -> NDArray[Any]:
    """Labels as codes of the forest's classes, or values, one for each row."""
    try:
        given = np.asarray(y)
    except ValueError as error:
        raise InputError(
            f"y has rows of different lengths ({error}); expected one label or value a row"
        ) from error
    if np.iscomplexobj(given):
        raise InputError("y holds complex numbers; expected real ones")
    if given.ndim == 0:
        raise InputError(
            f"y is {given.item()!r}; expected an array with one entry for each of the {n_rows} rows"
        )
    if len(given) != n_rows:
        raise InputError(f"y has {len(given)} rows and X has {n_rows}; they must have as many")
    if forest.classes is None:
        try:
            values = given.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"y holds something that is not a number ({error}); the model is a regression model"
            ) from error
        if not np.isfinite(values).all():
            raise InputError("y contains NaN or infinity; expected finite values")
        if np.abs(values).max() > LARGEST_NUMBER:
            raise InputError(f"y holds numbers beyond {LARGEST_NUMBER:g}; their squares overflow: rescale y")
        values = values.reshape(n_rows, -1)
        if values.shape[1] != forest.n_outputs:
            raise InputError(f"y has {values.shape[1]} columns; the model has {forest.n_outputs} output(s)")
        return values[:, 0] if values.shape[1] == 1 else values
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise InputError(f"y has shape {given.shape}; expected one label a row, shape ({n_rows},)")
    code_of = {label: code for code, label in enumerate(forest.classes.tolist())}
    unknown = [label for label in dict.fromkeys(given.tolist()) if label not in code_of]
    if unknown:
        raise InputError(
            f"y has the label(s) {unknown[:5]} that the model does not know; it knows {forest.classes.tolist()[:10]}"
        )
    return np.array([code_of[label] for label in given.tolist()], np.int64)


def indexable(given: Any, names: Sequence[str] | None = None) -> Any:
    """What rows can be taken from: a frame with its columns in the order of `names`, all else as an array."""
    if given is None or not hasattr(given, "iloc"):
        return None if given is None else np.asarray(given)
    found = [str(name) for name in getattr(given, "columns", ())]
    if names is None or not set(names) <= set(found) or found == list(names):
        return given
    return given.iloc[:, [found.index(name) for name in names]]
