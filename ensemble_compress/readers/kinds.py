"""What kind of object a model is, told without importing the library that it comes from."""

from collections.abc import Callable, Iterable
from typing import Any

from ensemble_compress.errors import UnsupportedModelError

ANSWERS = ("predict", "predict_proba", "decision_function", "score_samples")
"""The methods by which a model answers."""


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


def refuse_override(model: Any, base: type, names: Iterable[str] = ANSWERS, advice: str = "") -> None:
    """Refuse a model that may not answer as `base` does.

    Parameters
    ----------
    model : Any
        An instance of `base`.
    base : type
        The class whose answers are read.
    names : iterable of str
        Names of the methods that answer.
    advice : str, optional
        What to do; by default to pass an instance of `base`.

    Raises
    ------
    UnsupportedModelError
        A class below `base` defines one of `names` anew.
    """
    changed = find_override(model, base, names)
    if changed:
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be read: {changed[0].__name__} has a {changed[1]} of its own, so it may not"
            f" answer as {base.__name__} does; {advice or f'pass a fitted {base.__name__}'}"
        )


def refuse_subclass_answers(model: Any, library: str) -> None:
    """Refuse a model whose answers are not those of the nearest class that `library` defines.

    Parameters
    ----------
    model : Any
        An instance of a class of `library`.
    library : str
        Top-level package.

    Raises
    ------
    UnsupportedModelError
        A class below the library's answers in a way of its own.
    """
    order = type(model).__mro__
    refuse_override(model, next(base for base in order if base.__module__.partition(".")[0] == library))


def ask_fitted(model: Any, question: Callable[[Any], Any]) -> Any:
    """What a fitted model answers.

    Parameters
    ----------
    model : estimator
        Fitted or not.
    question : callable
        Takes the model, and raises scikit-learn's NotFittedError where it is not fitted.

    Raises
    ------
    UnsupportedModelError
        The model is not fitted.
    """
    from sklearn.exceptions import NotFittedError

    try:
        return question(model)
    except NotFittedError as error:
        raise UnsupportedModelError(f"this {type(model).__name__} is not fitted; call fit first") from error
