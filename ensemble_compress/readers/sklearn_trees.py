"""scikit-learn's decision trees and the forests that average them.

A node's `value` already holds what `predict` or `predict_proba` adds up, so a forest's margin is the sum over its trees
divided by their number, in the order and dtype of scikit-learn.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import as_texts
from ensemble_compress.readers.assemble import Tree, assemble


def read_tree(model: Any) -> Forest:
    """The forest of one DecisionTree or ExtraTree.

    Parameters
    ----------
    model : estimator
        Fitted.
    """
    return _read_average(model, [model])


def read_forest(model: Any) -> Forest:
    """The forest of a RandomForest or ExtraTrees.

    Parameters
    ----------
    model : estimator
        Fitted.
    """
    return _read_average(model, model.estimators_)


def _read_average(model: Any, trees: Any) -> Forest:
    is_classifier = hasattr(model, "classes_")
    if is_classifier and model.n_outputs_ > 1:
        raise UnsupportedModelError(
            f"{type(model).__name__} was fitted on {model.n_outputs_} columns of labels; multi-output classification"
            " cannot be read: fit one classifier a column"
        )
    if not len(trees):
        raise UnsupportedModelError(f"this {type(model).__name__} has no trees left; fit it again")
    n_outputs = int(model.n_classes_) if is_classifier else int(model.n_outputs_)
    return assemble(
        [
            to_tree(tree.tree_, tree.tree_.value[:, 0, :] if is_classifier else tree.tree_.value[:, :, 0])
            for tree in trees
        ],
        n_features=int(model.n_features_in_),
        bias=np.zeros(n_outputs),
        where=type(model).__name__,
        levels_as_codes=False,
        divisor=float(len(trees)),
        classes=labels_of(model) if is_classifier else None,
        handles_nan=handles_nan(trees[0]),
        feature_names=names_of(model),
    )


def to_tree(tree: Any, values: NDArray[np.float64]) -> Tree:
    """One `tree_` with the leaf values given.

    Parameters
    ----------
    tree : sklearn.tree._tree.Tree
        The arrays of a fitted tree.
    values : ndarray of shape (n_nodes, width)
        A row a node.
    """
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature,
        threshold=tree.threshold,
        nan_left=tree.missing_go_to_left,
        values=values,
        cover=tree.weighted_n_node_samples,
        node_id=np.arange(tree.node_count),
    )


def handles_nan(tree: Any) -> bool:
    """Whether a tree, or a forest, takes rows with missing values: not all criteria and no monotonic constraints do.

    Parameters
    ----------
    tree : estimator
        Fitted.
    """
    return bool(tree.__sklearn_tags__().input_tags.allow_nan)


def labels_of(model: Any) -> NDArray[Any]:
    """The class labels; strings as an array of strings even where scikit-learn keeps them as objects.

    Parameters
    ----------
    model : estimator
        A fitted classifier.
    """
    labels = np.asarray(model.classes_)
    if labels.dtype != object:
        return labels
    if all(isinstance(label, str) for label in labels):
        return as_texts(labels)
    raise UnsupportedModelError(
        f"{type(model).__name__} has class labels of mixed types, {labels[:3].tolist()}...;"
        " expected numbers, booleans or strings: fit it on such labels"
    )


def names_of(model: Any) -> tuple[str, ...] | None:
    """The names of the columns that the model was fitted on, if it was fitted on a DataFrame.

    Parameters
    ----------
    model : estimator
        Fitted.
    """
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(str(name) for name in names)
