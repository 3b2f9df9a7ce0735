"""LightGBM: boosters, wrappers and .txt files, read from the text of the model without LightGBM.

A booster is asked for its own text, which stops at the best iteration as its `predict` does. LightGBM's margin is the
sum of the trees in float64; a random forest (`boosting="rf"`) divides it by the number of iterations, which LightGBM's
`raw_score=True` leaves out.

Labels are those of the margins. LightGBM's wrapper compares probabilities, where margins that differ by less than their
rounding are a tie, which goes to the first class.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import as_texts
from ensemble_compress.readers.assemble import assemble
from ensemble_compress.readers.files import read_bytes
from ensemble_compress.readers.kinds import ask_fitted, find_base, refuse_subclass_answers
from ensemble_compress.readers.lightgbm_text import Model, parse
from ensemble_compress.readers.lightgbm_trees import read_tree

OBJECTIVES = {
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "lambdarank": "identity",
    "rank_xendcg": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "softplus",
    "multiclass": "softmax",
    "multiclassova": "sigmoid",
}
"""The link of each objective; a model that was trained on a function of the user's names none and gives margins."""

CLASSIFYING = ("binary", "multiclass", "multiclassova")
LABELLING = (*CLASSIFYING, "cross_entropy")
"""The objectives of which a classifier's labels are those of the largest margin."""


def accepts(model: Any) -> bool:
    """Whether the model is a booster, a wrapper, or a path to a .txt file.

    Parameters
    ----------
    model : Any
        Any object.
    """
    if isinstance(model, Path):
        return model.suffix.lower() == ".txt"
    return find_base(model, "lightgbm", ("Booster", "LGBMModel")) is not None


def read(model: Any) -> Forest:
    """The forest of a LightGBM model.

    Parameters
    ----------
    model : lightgbm.Booster, fitted wrapper, or Path
        Boosting `gbdt`, `dart`, `goss` or `rf`, with any objective of `OBJECTIVES`.

    Raises
    ------
    UnsupportedModelError
        Not fitted, or with something in it that cannot be read exactly.
    ModelFileError
        The file is damaged, truncated or of another kind.
    """
    if isinstance(model, Path):
        return _read_model(parse(_text_of(model), model.name), None)
    refuse_subclass_answers(model, "lightgbm")
    name = type(model).__name__
    if find_base(model, "lightgbm", ("LGBMModel",)) is None:
        forest = _read_model(parse(model.model_to_string(), name), None)
        _refuse_lost_digits(model, forest)
        return forest
    _refuse_early_stop(model)
    booster, labels = ask_fitted(model, lambda wrapper: wrapper.booster_), _labels_of(model)
    return _read_model(parse(booster.model_to_string(), name), labels)


def _text_of(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(
            f"{path.name}: no text (byte {error.start}); expected a model that LightGBM saved with save_model"
        ) from error


def _refuse_early_stop(model: Any) -> None:
    if str(model.get_params().get("pred_early_stop")).lower() not in ("none", "false", "-"):
        raise UnsupportedModelError(
            f"this {type(model).__name__} has pred_early_stop, so it may leave out trees when it predicts, and a forest adds"
            " them all up; call set_params(pred_early_stop=False), or pass model.booster_"
        )


def _refuse_lost_digits(booster: Any, forest: Forest) -> None:
    """A booster that can still be trained multiplies by the number that it was given, of which its text has six digits."""
    given = float((getattr(booster, "params", None) or {}).get("sigmoid", forest.link_scale))
    is_in_training = getattr(booster, "train_set", None) is not None
    if forest.link == "sigmoid" and is_in_training and given != forest.link_scale:
        raise UnsupportedModelError(
            f"this Booster was trained with sigmoid={given!r}, and LightGBM writes it down as {forest.link_scale!r}; read the"
            " model as it is saved, lightgbm.Booster(model_str=booster.model_to_string())"
        )


def _labels_of(model: Any) -> NDArray[Any]:
    """The labels of a classifier; none, as an empty array, of any other wrapper."""
    if find_base(model, "lightgbm", ("LGBMClassifier",)) is None:
        return np.zeros(0)
    if callable(model.objective):
        raise UnsupportedModelError(
            "this LGBMClassifier was fitted with an objective function of its own, so its predict gives margins and no"
            " labels; fit it with a named objective, or pass model.booster_ to read it as a regression"
        )
    labels = np.asarray(model.classes_)
    return as_texts(labels) if labels.dtype == object else labels


def _read_model(model: Model, labels: NDArray[Any] | None) -> Forest:
    n_outputs = model.count("num_tree_per_iteration")
    n_features = model.count("max_feature_idx") + 1
    objective = model.header.get("objective", "").split()
    link, link_scale = _link_of(objective, model), _scale_of(objective, model)
    if not 1 <= n_outputs <= max(1, len(model.trees)) or len(model.trees) % n_outputs:
        raise model.error(
            f"{len(model.trees)} trees do not make iterations of {n_outputs} (num_tree_per_iteration)"
        )
    trees = [read_tree(tree) for tree in model.trees]
    averages = "average_output" in model.header
    classes = _classes_of(objective, labels, n_outputs, model)
    if classes is not None and len(classes) == n_outputs == 1:
        link, link_scale = "softmax", 1.0  # a classifier that has seen one class: it is certain
    return assemble(
        trees,
        n_features=n_features,
        bias=np.zeros(n_outputs),
        where=model.where,
        link=link,
        link_scale=link_scale,
        divisor=float(max(1, len(trees) // n_outputs)) if averages else 1.0,
        x_dtype="float64",
        category_rule="truncate",
        classes=classes,
        feature_names=_names_of(model, n_features),
        categories=_levels_of(model, n_features),
    )


def _link_of(objective: list[str], model: Model) -> str:
    if not objective or objective[0] == "custom":
        return "identity"
    name, *options = objective
    if name not in OBJECTIVES:
        raise UnsupportedModelError(
            f"{model.where}: the objective {name[:40]!r} cannot be read; expected one of {', '.join(OBJECTIVES)}"
        )
    if "sqrt" in options:
        return "signed_square"
    return OBJECTIVES[name]


def _scale_of(objective: list[str], model: Model) -> float:
    """What the objective multiplies the margin by, as far as the text tells it: to six digits."""
    texts = [option.removeprefix("sigmoid:") for option in objective[1:] if option.startswith("sigmoid:")]
    if not texts or OBJECTIVES[objective[0]] != "sigmoid":
        return 1.0
    try:
        scale = float(texts[-1])
    except ValueError:
        scale = 0.0
    if not 0 < scale < np.inf:
        raise model.error(f"the objective has sigmoid:{texts[-1][:20]}; expected a number above 0")
    return scale


def _classes_of(
    objective: list[str], labels: NDArray[Any] | None, n_outputs: int, model: Model
) -> NDArray[Any] | None:
    if labels is not None and len(labels):
        name = objective[0] if objective else "custom"
        if name not in LABELLING:
            raise UnsupportedModelError(
                f"{model.where}: a classifier with the objective {name!r} cannot be read, as its labels compare a"
                f" prediction with 0.5; fit it with one of {', '.join(LABELLING)}"
            )
        return labels
    if labels is not None:
        return None
    if not objective or objective[0] not in CLASSIFYING:
        return None
    expected = 1 if objective[0] == "binary" else model.count("num_class")
    if expected != n_outputs:
        raise model.error(
            f"num_tree_per_iteration is {n_outputs}; the objective {objective[0]} needs {expected}"
        )
    return np.arange(2 if objective[0] == "binary" else n_outputs)


def _names_of(model: Model, n_features: int) -> tuple[str, ...] | None:
    """The names of the columns; None where LightGBM made them up."""
    names = model.header.get("feature_names", "").split(" ")
    if len(names) != n_features:
        raise model.error(f"feature_names has {len(names)} entries; max_feature_idx says {n_features}")
    return None if names == [f"Column_{f}" for f in range(n_features)] else tuple(names)


def _levels_of(model: Model, n_features: int) -> tuple[tuple[Any, ...] | None, ...] | None:
    """The levels of the categorical columns of a DataFrame; the text lists them without saying which columns they are."""
    if not model.pandas_levels:
        return None
    given = model.parameters.get("categorical_feature", "")
    columns = [int(c) for c in given.split(",") if c.isascii() and c.isdigit() and len(c) < 9]
    if len(columns) != len(model.pandas_levels) or max(columns) >= n_features:
        raise UnsupportedModelError(
            f"{model.where}: it was trained on a DataFrame with {len(model.pandas_levels)} columns of levels, and"
            f" categorical_feature={given[:40]!r} does not say which; name every such column in"
            " categorical_feature=[...], or make ordered categories unordered (column.cat.as_unordered())"
        )
    levels: list[tuple[Any, ...] | None] = [None] * n_features
    for column, found in zip(columns, model.pandas_levels, strict=True):
        levels[column] = tuple(found)
    return tuple(levels)
