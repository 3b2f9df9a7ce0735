"""Checks that the algorithms make of what they are given, each with a message that says what was expected and found."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from ensemble_compress.data import Data
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.forest import Forest

LARGEST_SEED = 2**32 - 1


def check_range(
    owner: object, name: str, low: float, high: float, *, open_low: bool = False, whole: bool = False
) -> None:
    """Raise `ParameterError` unless `low <= owner.name <= high` (`low <` where the low end is open, `< inf`)."""
    value = getattr(owner, name)
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    is_open_high = high == float("inf")
    if (
        not is_number
        or not low <= value <= high
        or (open_low and value == low)
        or (is_open_high and value == high)
    ):
        interval = f"{'(' if open_low else '['}{low}, {high}{')' if is_open_high else ']'}"
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a {'whole ' * whole}number in {interval}"
        )


def check_seed(owner: object, name: str = "random_state") -> None:
    """Raise `ParameterError` unless `owner.name` can seed every random generator that the algorithms use."""
    check_range(owner, name, 0, LARGEST_SEED, whole=True)


def check_choice(owner: object, name: str, choices: tuple[Any, ...]) -> None:
    """Raise `ParameterError` unless `owner.name` is one of `choices`, which are texts or whole numbers."""
    value = getattr(owner, name)
    if not isinstance(value, (str, Integral)) or value not in choices:
        raise ParameterError(f"{type(owner).__name__}: {name} is {value!r}; expected one of {choices}")


def count_of(owner: object, name: str, total: int) -> int:
    """A parameter that is a whole number, or a share of `total` as a float in (0, 1], as a number from 1 to `total`."""
    value: Any = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0:
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a whole number >= 1 or a share in (0, 1]"
        )
    if not isinstance(value, Integral) and float(value) > 1:
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; a share must not exceed 1.0 (a count is an int)"
        )
    count = int(value) if isinstance(value, Integral) else round(float(value) * total)
    return max(1, min(count, total))


def rows_of(owner: object, forest: Forest, data: Data | None) -> Data:
    """`data` with its rows as `forest` reads them; raise `InputError` where there are none or they don't fit."""
    if data is None:
        raise InputError(
            f"{type(owner).__name__} needs rows to judge by: pass ensemble_compress.Data(X), with y where you know it"
        )
    rows = forest.rows(data.X)
    return data if rows is data.X else replace(data, X=rows)
