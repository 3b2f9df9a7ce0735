"""Checks that the algorithms make of their parameters, each with a message that says what was expected and found."""

from typing import Any

from ensemble_compress.errors import ParameterError


def check_range(owner: object, name: str, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise `ParameterError` unless `low <= owner.name <= high` (`low <` where the low end is open)."""
    value = getattr(owner, name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (open_low and value == low):
        bracket = "(" if open_low else "["
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a number in {bracket}{low}, {high}]"
        )


def check_choice(owner: object, name: str, choices: tuple[Any, ...]) -> None:
    """Raise `ParameterError` unless `owner.name` is one of `choices`."""
    value = getattr(owner, name)
    if value not in choices:
        raise ParameterError(f"{type(owner).__name__}: {name} is {value!r}; expected one of {choices}")


def count_of(owner: object, name: str, total: int) -> int:
    """A parameter that is a whole number, or a share of `total` as a float in (0, 1], as a number from 1 to `total`."""
    value = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a whole number >= 1 or a share in (0, 1]"
        )
    if isinstance(value, float) and value > 1:
        raise ParameterError(
            f"{type(owner).__name__}: {name} is {value!r}; a share must not exceed 1.0 (a count is an int)"
        )
    count = round(value * total) if isinstance(value, float) else value
    return max(1, min(count, total))
