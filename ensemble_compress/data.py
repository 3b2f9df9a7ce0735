"""The rows that a compressor judges by, checked once at the door."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import InputError


@dataclass(frozen=True, eq=False)
class Data:
    """Calibration rows, with labels, weights and the teacher's answers where they are known.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64
        Rows, already cast as the forest wants them.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), optional
        Class codes (int64, positions in `Forest.classes`) or targets (float64).
    weight : ndarray of shape (n_rows,) float64, optional
        Weight of each row; None counts every row once.
    teacher : ndarray of shape (n_rows, n_outputs) float64, optional
        What the teacher predicts for each row, best where it did not see the row in training:
        one probability a class (two columns for two classes), or the regression value.

    Raises
    ------
    InputError
        The lengths disagree, a weight is negative or not finite, or there are no rows.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None = None
    weight: NDArray[np.float64] | None = None
    teacher: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if len(self.X) == 0:
            raise InputError(
                "no rows to judge by: X has 0 sample(s) (shape=(0, n)) while a minimum of 1 is required"
            )
        for name, array in (("y", self.y), ("sample_weight", self.weight), ("teacher", self.teacher)):
            if array is not None and len(array) != len(self.X):
                raise InputError(
                    f"{name} has {len(array)} rows and X has {len(self.X)}; they must have as many"
                )
        if self.weight is not None:
            if not np.isfinite(self.weight).all() or (self.weight < 0).any():
                raise InputError(
                    "sample_weight has negative or non-finite entries; expected finite ones >= 0"
                )
            if not self.weight.any():
                raise InputError("sample_weight is zero for every row; at least one row must count")

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.X)

    def take(self, rows: Any) -> "Data":
        """The chosen rows (an index array or a boolean mask)."""
        return Data(
            *(None if array is None else array[rows] for array in (self.X, self.y, self.weight, self.teacher))  # type: ignore[arg-type]
        )

    def with_teacher(self, teacher: NDArray[np.float64] | None) -> "Data":
        """The same rows with other answers of the teacher."""
        return replace(self, teacher=teacher)
