"""scikit-learn's Pipeline and FrozenEstimator: the model inside, and the steps before it, which no forest can say.

`unwrap` takes any model apart, whichever library the last step comes from; what is no wrapper comes back as it is.
"""

from typing import Any, NamedTuple

from ensemble_compress.errors import InputError, UnsupportedModelError
from ensemble_compress.readers.kinds import find_base, find_override

ANSWERS = ("predict", "predict_proba", "decision_function", "transform")
NOTHING = ("passthrough", None)


class Unwrapped(NamedTuple):
    """A model out of its wrappers.

    Attributes
    ----------
    model : Any
        The last step, whatever it is.
    before : tuple of Pipeline
        What rows pass before they reach it, the outermost first; empty where nothing changes them.
    is_frozen : bool
        Whether the model must not be trained again.
    """

    model: Any
    before: tuple[Any, ...] = ()
    is_frozen: bool = False

    @property
    def names(self) -> list[str]:
        """The kinds of the steps before the model."""
        return [type(step).__name__ for part in self.before for _, step in part.steps if step not in NOTHING]

    def describe(self) -> str:
        """What stays outside, in a sentence, and what to do."""
        return (
            f"only the last step of the pipeline was read, {type(self.model).__name__}; {', '.join(self.names)} before it"
            " stay outside: rows have to be transformed by the pipeline's own steps first,"
            " pipeline[:-1].transform(X)"
        )

    def transform(self, X: Any) -> Any:
        """The rows as the model takes them; sparse ones made dense.

        Parameters
        ----------
        X : array-like
            Rows as the pipeline takes them.

        Raises
        ------
        InputError
            A step does not take them.
        """
        for part in self.before:
            try:
                X = part.transform(X)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"the steps before the model, {', '.join(self.names)}, cannot transform X ({error}); expected rows as"
                    " the pipeline takes them"
                ) from error
        return X.toarray() if self.before and hasattr(X, "toarray") else X


def unwrap(model: Any) -> Unwrapped:
    """The model inside of pipelines and frozen estimators, however they are nested.

    Parameters
    ----------
    model : Any
        Any object.

    Raises
    ------
    UnsupportedModelError
        A pipeline of a subclass that predicts in another way, or one that ends in no model.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> found = unwrap(make_pipeline(StandardScaler(), DecisionTreeClassifier()))
    >>> found.model, found.names
    (DecisionTreeClassifier(), ['StandardScaler'])
    """
    before: list[Any] = []
    is_frozen = False
    while (base := find_base(model, "sklearn", ("Pipeline", "FrozenEstimator"))) is not None:
        changed = find_override(model, base, ANSWERS)
        if changed:
            raise UnsupportedModelError(
                f"{type(model).__name__} cannot be read: {changed[0].__name__} has a {changed[1]} of its own, so it may not"
                f" answer as {base.__name__} does; pass its last step"
            )
        if base.__name__ == "FrozenEstimator":
            is_frozen, model = True, model.estimator
            continue
        last = model.steps[-1][1] if model.steps else None
        if last is None or last == "passthrough":
            raise UnsupportedModelError(
                f"{type(model).__name__} cannot be read: its last step is {last!r}; expected a tree ensemble there"
            )
        if any(step not in NOTHING for _, step in model.steps[:-1]):
            before.append(model[:-1])
        model = last
    return Unwrapped(model, tuple(before), is_frozen)


def fit_parameter(model: Any, name: str = "sample_weight") -> str | None:
    """What `fit` calls the weights of rows for the model inside; None where its `fit` takes none.

    Parameters
    ----------
    model : estimator
        Fitted or not.
    name : str
        The parameter's name for the model itself.
    """
    from sklearn.utils.validation import has_fit_parameter

    if find_base(model, "sklearn", ("Pipeline",)) is None:
        return name if has_fit_parameter(model, name) else None
    step, last = model.steps[-1]
    inner = fit_parameter(last, name)
    return None if inner is None else f"{step}__{inner}"
