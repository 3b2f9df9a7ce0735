"""What kind of object a model is, told without importing the library that it comes from."""

from collections.abc import Iterable
from typing import Any


def find_base(model: Any, library: str, names: Any) -> type | None:
    """The nearest class of `model`, itself or a base, that `library` defines under one of `names`.

    Parameters
    ----------
    model : Any
        Any object.
    library : str
        Top-level package, such as "xgboost".
    names : container of str
        Class names.
    """
    for base in type(model).__mro__:
        if base.__module__.partition(".")[0] == library and base.__name__ in names:
            return base
    return None


def find_override(model: Any, base: type, names: Iterable[str]) -> tuple[type, str] | None:
    """The first class below `base` that defines one of `names` anew, with that name; None where `base` answers.

    Parameters
    ----------
    model : Any
        An instance of `base`.
    base : type
        A class.
    names : iterable of str
        Names of methods.
    """
    order = type(model).__mro__
    found = (
        (derived, name) for derived in order[: order.index(base)] for name in names if name in vars(derived)
    )
    return next(found, None)
