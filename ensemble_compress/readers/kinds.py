"""What kind of object a model is, told without importing the library that it comes from."""

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
