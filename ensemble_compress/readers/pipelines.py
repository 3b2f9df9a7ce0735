"""scikit-learn's Pipeline and FrozenEstimator: the model inside, and the steps before it, which no forest can say.

`unwrap` takes any model apart, whichever library the last step comes from; what is no wrapper comes back as it is.
"""

from typing import Any, NamedTuple

from ensemble_compress.errors import InputError, UnsupportedModelError
from ensemble_compress.readers.kinds import find_base, find_override

WRAPPERS = ("Pipeline", "FrozenEstimator")
ANSWERS = ("predict", "predict_proba", "decision_function", "transform")


class Unwrapped(NamedTuple):
    """A model out of its wrappers.

    Attributes
    ----------
    model : Any
        The last step, whatever it is.
    before : tuple of Pipeline
        What rows pass before they reach it, the outermost first; empty where nothing changes them.
    how : str
        How to transform rows X by hand: Python for what stands in `pipeline`.
    is_frozen : bool
        Whether the model must not be trained again.
    """

    model: Any
    before: tuple[Any, ...] = ()
    how: str = "X"
    is_frozen: bool = False

    @property
    def names(self) -> str:
        """The kinds of the steps before the model, as text."""
        steps = [step for part in self.before for _, step in part.steps if _does_something(step)]
        inner = [step.estimator if _kind(step) == "FrozenEstimator" else step for step in steps]
        return ", ".join(type(step).__name__ for step in inner)

    def describe(self) -> str:
        """What stays outside, in a sentence, and what to do."""
        return (
            f"only the last step of the pipeline was read, {type(self.model).__name__}; what comes before it,"
            f" {self.names}, stays outside: give the model that you get {self.how}"
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
                    f"the steps before the model, {self.names}, cannot transform X ({error}); expected rows as the pipeline"
                    " takes them"
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
    >>> found.model, found.names, found.how
    (DecisionTreeClassifier(), 'StandardScaler', 'pipeline[:-1].transform(X)')
    """
    before: list[Any] = []
    is_frozen, how, at = False, "X", "pipeline"
    while (kind := _kind(model)) is not None:
        if kind == "FrozenEstimator":
            is_frozen, model = True, model.estimator
            continue
        last = _last_step(model)
        if any(_does_something(step) for _, step in model.steps[:-1]):
            before.append(model[:-1])
            how = f"{at}[:-1].transform({how})"
        model, at = last, f"{at}[-1]"
    return Unwrapped(model, tuple(before), how, is_frozen)


def _kind(model: Any) -> str | None:
    """Which wrapper a model is, None for all else."""
    base = find_base(model, "sklearn", WRAPPERS)
    if base is None:
        return None
    changed = find_override(model, base, ANSWERS)
    if changed:
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be read: {changed[0].__name__} has a {changed[1]} of its own, so it may not"
            f" answer as {base.__name__} does; pass its last step"
        )
    return base.__name__


def _last_step(pipeline: Any) -> Any:
    last = pipeline.steps[-1][1] if pipeline.steps else None
    if not _does_something(last):
        raise UnsupportedModelError(
            f"{type(pipeline).__name__} cannot be read: its last step is {last!r}; expected a tree ensemble there"
        )
    return last


def _does_something(step: Any) -> bool:
    """Whether a step is more than "passthrough"."""
    return step is not None and not isinstance(step, str)


def weight_parameter(model: Any) -> str | None:
    """What `fit` calls the weights of rows for the model inside; None where it takes none.

    Parameters
    ----------
    model : estimator
        Fitted or not.
    """
    from sklearn.utils.validation import has_fit_parameter

    kind = _kind(model)
    if kind == "Pipeline":
        inner = weight_parameter(_last_step(model))
        return None if inner is None else f"{model.steps[-1][0]}__{inner}"
    # A frozen estimator takes anything, and does nothing with it.
    return "sample_weight" if kind or has_fit_parameter(model, "sample_weight") else None
