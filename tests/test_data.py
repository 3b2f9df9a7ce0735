"""The rows that a compressor judges by."""

from typing import Any

import numpy as np
import pytest

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 1, 0])
WEIGHT = np.array([1.0, 0.0, 2.5, 1.0])
TEACHER = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]])

BAD_DATA: list[tuple[dict[str, Any], str]] = [
    ({"X": X[:0]}, r"no rows to judge by: X has 0 sample\(s\)"),
    ({"y": Y[:3]}, "y has 3 rows and X has 4; they must have as many"),
    ({"weight": np.ones(5)}, "sample_weight has 5 rows and X has 4; they must have as many"),
    ({"teacher": TEACHER[:1]}, "teacher has 1 rows and X has 4; they must have as many"),
    ({"weight": -WEIGHT}, "sample_weight has negative or non-finite entries; expected finite ones >= 0"),
    ({"weight": WEIGHT * np.nan}, "sample_weight has negative or non-finite entries"),
    ({"weight": WEIGHT + np.inf}, "sample_weight has negative or non-finite entries"),
    ({"weight": WEIGHT * 0}, "sample_weight is zero for every row; at least one row must count"),
]


@pytest.mark.parametrize(("changes", "text"), BAD_DATA)
def test_data_that_does_not_fit_together_is_refused(changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"X": X, "y": Y, "weight": WEIGHT, "teacher": TEACHER}
    with pytest.raises(InputError, match=f"^{text}"):
        Data(**(arguments | changes))


@pytest.mark.parametrize("rows", [np.array([2, 0, 2]), np.array([True, False, True, False]), slice(1, 3)])
def test_take_chooses_the_same_rows_of_everything(rows: Any) -> None:
    taken = Data(X, Y, WEIGHT, TEACHER).take(rows)
    assert taken.n_rows == len(X[rows])
    for expected, actual in (
        (X, taken.X),
        (Y, taken.y),
        (WEIGHT, taken.weight),
        (TEACHER, taken.teacher),
    ):
        np.testing.assert_array_equal(expected[rows], actual)


def test_what_is_unknown_stays_unknown() -> None:
    taken = Data(X).take([0, 1])
    assert (taken.y, taken.weight, taken.teacher) == (None, None, None)


def test_taking_no_rows_is_refused() -> None:
    with pytest.raises(InputError, match="no rows to judge by"):
        Data(X, Y).take([])


def test_another_teacher_leaves_the_rest() -> None:
    data = Data(X, Y, WEIGHT)
    taught = data.with_teacher(TEACHER)
    assert data.teacher is None
    assert taught.teacher is TEACHER
    assert (taught.X, taught.y, taught.weight) == (data.X, data.y, data.weight)
    with pytest.raises(InputError, match="teacher has 3 rows and X has 4"):
        data.with_teacher(TEACHER[:3])
