"""The rows and labels that a user hands over, as the forest reads them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest


def as_data(forest: Forest, X: Any, y: Any, weight: Any) -> Data:
    """Rows as the forest reads them, labels as codes or values, everything checked."""
    rows = forest.rows(X)
    return Data(rows, None if y is None else as_target(forest, y, len(rows)), _as_weight(weight, rows))


def _as_weight(weight: Any, rows: NDArray[Any]) -> NDArray[np.float64] | None:
    try:
        return None if weight is None else np.asarray(_check_sample_weight(weight, rows, dtype=np.float64))
    except ValueError as error:
        raise InputError(f"sample_weight does not fit the {len(rows)} rows of X: {error}") from error


def as_target(forest: Forest, y: Any, n_rows: int) -> NDArray[Any]:
    given = np.asarray(y)
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
        values = values.reshape(n_rows, -1)
        if values.shape[1] != forest.n_outputs:
            raise InputError(f"y has {values.shape[1]} columns; the model has {forest.n_outputs} output(s)")
        return values[:, 0] if values.shape[1] == 1 else values
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    code_of = {label: code for code, label in enumerate(forest.classes.tolist())}
    unknown = [label for label in dict.fromkeys(given.tolist()) if label not in code_of]
    if unknown:
        raise InputError(
            f"y has the label(s) {unknown[:5]} that the model does not know; it knows {forest.classes.tolist()[:10]}"
        )
    return np.array([code_of[label] for label in given.tolist()], np.int64)
