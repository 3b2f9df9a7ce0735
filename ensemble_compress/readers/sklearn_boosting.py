"""scikit-learn's GradientBoosting and HistGradientBoosting.

Both start from a constant and add a tree a stage and output. GradientBoosting scales leaves by the learning rate as it
predicts; HistGradientBoosting has scaled them already, reads float64 and knows categories.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import make_sets
from ensemble_compress.readers.assemble import Tree, assemble
from ensemble_compress.readers.sklearn_trees import labels_of, names_of, to_tree

LINKS = {
    "IdentityLink": ("identity", 1.0),
    "LogLink": ("exp", 1.0),
    "LogitLink": ("sigmoid", 1.0),
    "HalfLogitLink": ("sigmoid", 2.0),
    "MultinomialLogit": ("softmax", 1.0),
}
"""The link of each of scikit-learn's, and its scale."""
CONSTANT_STRATEGIES = ("prior", "most_frequent", "uniform", "constant", "mean", "median", "quantile")
MAX_CODE = 65535
"""The largest raw category that keeps its own number as code: a set takes a bit for each code below its largest."""


def read_gradient_boosting(model: Any) -> Forest:
    """The forest of a GradientBoostingClassifier or GradientBoostingRegressor.

    Parameters
    ----------
    model : estimator
        Fitted.

    Notes
    -----
    Of two classes the second wins at a margin of exactly zero, as in scikit-learn, and only for this estimator.
    """
    _check_init(model)
    scale = np.float64(model.learning_rate)
    trees = [to_tree(tree.tree_, scale * tree.tree_.value[:, :, 0]) for tree in model.estimators_.ravel()]
    bias = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    return _assemble(model, trees, bias, handles_nan=False, tie_class=int(hasattr(model, "classes_")))


def read_hist_gradient_boosting(model: Any) -> Forest:
    """The forest of a HistGradientBoostingClassifier or HistGradientBoostingRegressor.

    Parameters
    ----------
    model : estimator
        Fitted.

    Notes
    -----
    A category that the model hasn't seen goes where missing values go, as in scikit-learn. Where the raw categories
    are whole numbers from 0 to 65535 they are the codes.
    """
    columns = np.arange(model.n_features_in_)
    codes: dict[int, list[int]] = {}
    others: dict[str, Any] = {"category_rule": "exact"}
    if model._preprocessor is not None:
        is_categorical = np.asarray(model.is_categorical_)
        columns = np.concatenate([np.flatnonzero(is_categorical), np.flatnonzero(~is_categorical)])
        levels: list[Any] = [None] * len(columns)
        for encoded, raw in enumerate(model._preprocessor.named_transformers_["encoder"].categories_):
            levels[columns[encoded]], codes[encoded] = _code(raw, columns[encoded], type(model).__name__)
        others["categories"] = tuple(levels)
    trees = [_to_tree(tree, columns, codes) for stage in model._predictors for tree in stage]
    bias = np.broadcast_to(np.ravel(model._baseline_prediction), (model.n_trees_per_iteration_,)).astype(
        np.float64
    )
    return _assemble(model, trees, bias, x_dtype="float64", **others)


def _assemble(model: Any, trees: list[Tree], bias: NDArray[np.float64], **others: Any) -> Forest:
    name = type(model).__name__
    link = type(model._loss.link).__name__
    if link not in LINKS:
        raise UnsupportedModelError(
            f"{name} has the loss {model.loss!r} with the link {link}, which cannot be read"
        )
    return assemble(
        trees,
        n_features=int(model.n_features_in_),
        bias=bias,
        where=name,
        levels_as_codes=False,
        link=LINKS[link][0],
        link_scale=LINKS[link][1],
        classes=labels_of(model) if hasattr(model, "classes_") else None,
        feature_names=names_of(model),
        **others,
    )


def _check_init(model: Any) -> None:
    init = model.init_
    if isinstance(init, str) and init == "zero":
        return
    is_dummy = type(init).__module__ == "sklearn.dummy"
    if not is_dummy or init.strategy not in CONSTANT_STRATEGIES:
        raise UnsupportedModelError(
            f"{type(model).__name__} starts from a fitted model, init={init!r}, which is no constant and so no part of"
            " a forest; fit it with init=None or init='zero'"
        )


def _code(raw: NDArray[Any], column: int, name: str) -> tuple[tuple[Any, ...], list[int]]:
    """(the levels of a categorical column, the code of each of its categories in scikit-learn's order)."""
    values = [value for value in raw.tolist() if value is not None and not _is_nan(value)]
    if all(isinstance(value, str | bool) for value in values):
        return tuple(values), list(range(len(values)))
    if all(
        isinstance(value, int | float) and value == int(value) and 0 <= value <= MAX_CODE for value in values
    ):
        codes = [int(value) for value in values]
        return tuple(range(max(codes, default=-1) + 1)), codes
    raise UnsupportedModelError(
        f"{name} has the categories {values[:3]}... in column {column}; expected strings, or whole numbers from 0 to"
        f" {MAX_CODE}: encode the column as 0, 1, 2, ... and fit again"
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _to_tree(tree: Any, columns: NDArray[np.intp], codes: dict[int, list[int]]) -> Tree:
    nodes = tree.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    is_categorical = nodes["is_categorical"].astype(bool) & ~is_leaf
    nan_left = nodes["missing_go_to_left"].astype(bool)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    # Unseen categories follow missing ones, and a set sends right what isn't in it: so missing goes right.
    swapped = is_categorical & nan_left
    category_set = np.full(len(nodes), -1)
    category_set[is_categorical] = np.arange(is_categorical.sum())
    sets = []
    for j in np.flatnonzero(is_categorical):
        known = codes[int(nodes["feature_idx"][j])]
        bits = np.unpackbits(
            tree.raw_left_cat_bitsets[nodes["bitset_idx"][j]].view(np.uint8), bitorder="little"
        )
        sets.append([code for position, code in enumerate(known) if bool(bits[position]) != swapped[j]])
    return Tree(
        left=np.where(is_leaf, -1, np.where(swapped, right, left)),
        right=np.where(is_leaf, -1, np.where(swapped, left, right)),
        feature=columns[np.where(is_leaf, 0, nodes["feature_idx"])],
        threshold=np.where(is_categorical, 0.0, nodes["num_threshold"]),
        nan_left=nan_left & ~is_categorical,
        values=nodes["value"].reshape(-1, 1),
        cover=nodes["count"].astype(np.float64),
        node_id=np.arange(len(nodes)),
        category_set=category_set,
        sets=make_sets(sets),
    )
