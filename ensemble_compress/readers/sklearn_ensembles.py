"""scikit-learn's ensembles whose members may be any estimator, read where each member is one tree: Bagging, AdaBoost, IsolationForest.

A member may see only some columns of X and know only some classes; both are written back into the numbers of the ensemble.
A member that is itself a sum of trees is refused: the ensemble adds up sums, a forest its leaves, and the two round apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers.assemble import Tree, assemble
from ensemble_compress.readers.kinds import find_base, find_override
from ensemble_compress.readers.sklearn_trees import handles_nan, labels_of, names_of, to_tree

TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor")
"""ExtraTreeClassifier and ExtraTreeRegressor are built on them."""

AVERAGES = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
ANSWERS = ("predict", "predict_proba", "apply")


def read_bagging(model: Any) -> Forest:
    """The forest of a BaggingClassifier or BaggingRegressor of trees.

    Parameters
    ----------
    model : estimator
        Fitted; its members are single trees, or random forests of one tree.

    Raises
    ------
    UnsupportedModelError
        A member is another estimator.

    Notes
    -----
    Margins are the averages of scikit-learn to the bit where it adds the members one by one, as with `n_jobs=None`. With
    several jobs it adds up the members of each job first: the same numbers to within the rounding of a sum. Leaves are
    those that a member's own `apply` finds in its columns, `X[:, estimators_features_[t]]`.
    """
    is_classifier = hasattr(model, "classes_")
    members = [_tree_of(model, member, is_classifier) for member in model.estimators_]
    trees = []
    for member, tree, columns in zip(model.estimators_, members, model.estimators_features_, strict=True):
        values = tree.value[:, 0, :] if is_classifier else tree.value[:, :, 0]
        if is_classifier and len(member.classes_) < model.n_classes_:
            known, values = values, np.zeros((len(values), model.n_classes_))
            values[:, member.classes_] = known
        trees.append(_on_columns(to_tree(tree, values), columns))
    return assemble(
        trees,
        n_features=int(model.n_features_in_),
        bias=np.zeros(trees[0].values.shape[1]),
        where=type(model).__name__,
        divisor=float(len(trees)),
        classes=labels_of(model) if is_classifier else None,
        handles_nan=all(handles_nan(member) for member in model.estimators_),
        feature_names=names_of(model),
    )


def read_adaboost(model: Any) -> Forest:
    """The forest of an AdaBoostClassifier of trees: each tree votes for the class of its leaf, with its weight.

    Parameters
    ----------
    model : estimator
        Fitted; its members are single trees, or random forests of one tree.

    Raises
    ------
    UnsupportedModelError
        A member is another estimator, or the weights have no positive sum.

    Notes
    -----
    Margins are `decision_function` to the bit, and ties are decided alike: one output for two classes, where zero is the
    first class, otherwise one a class. The probabilities are the softmax of the margins over `n_classes - 1`.
    """
    labels, n_classes, weights = model.classes_, int(model.n_classes_), model.estimator_weights_
    total = float(weights.sum())
    if not (np.isfinite(total) and total > 0):
        raise UnsupportedModelError(
            f"{type(model).__name__} divides by the sum of its estimator_weights_, which is {total}; expected a positive"
            " number: fit it again with better members"
        )
    trees = []
    for member, weight in zip(model.estimators_, weights, strict=False):
        tree = _tree_of(model, member, is_classifier=True)
        voted = member.classes_[tree.value[:, 0, :].argmax(axis=1)]
        trees.append(to_tree(tree, _votes(voted[:, None] == labels, weight)))
    return assemble(
        trees,
        n_features=int(model.n_features_in_),
        bias=np.zeros(1 if n_classes == 2 else n_classes),
        where=type(model).__name__,
        divisor=1.0 if n_classes == 1 else total,
        link={1: "softmax", 2: "sigmoid"}.get(n_classes, "samme"),
        classes=labels_of(model),
        handles_nan=False,
        feature_names=names_of(model),
    )


def _votes(is_voted: NDArray[np.bool_], weight: Any) -> NDArray[np.float64]:
    """What a tree adds at each node, from whether it votes for each class there, shape (n_nodes, n_classes)."""
    n_classes = is_voted.shape[1]
    if n_classes == 1:
        return np.zeros(is_voted.shape)
    votes = np.where(is_voted, weight, -1 / (n_classes - 1) * weight)
    # scikit-learn sums both columns of two classes and takes their difference. The one is the other's negative, and
    # doubling is exact.
    return np.asarray(2 * votes[:, 1:] if n_classes == 2 else votes)


def read_isolation_forest(model: Any) -> Forest:
    """The forest of an IsolationForest, which predicts `score_samples`.

    Parameters
    ----------
    model : estimator
        Fitted.

    Notes
    -----
    `predict` gives `model.score_samples(X)`, the lower the more abnormal, not the labels of `model.predict`: those are -1
    where `forest.predict(X) - model.offset_ < 0` and 1 elsewhere. A leaf holds the length of its path and the length
    to be expected below it; the margin is their sum over the trees by the average length, to the bit where scikit-learn
    adds the trees one by one (which it does unless a joblib backend of threads is set around it).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> import ensemble_compress as ec
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = IsolationForest(n_estimators=20, contamination=0.1, random_state=0).fit(X)
    >>> labels = np.where(ec.read(model).predict(X) - model.offset_ < 0, -1, 1)
    >>> bool((labels == model.predict(X)).all())
    True
    """
    from sklearn.ensemble._iforest import _average_path_length

    expected = float(len(model.estimators_) * _average_path_length([model._max_samples])[0])
    trees = []
    for t, (member, columns) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        lengths = model._decision_path_lengths[t] + model._average_path_length_per_tree[t] - 1.0
        # Members that were fitted on one row know no lengths: their score is that of margin 1.
        lengths = lengths if expected else np.zeros(len(lengths))
        trees.append(_on_columns(to_tree(member.tree_, lengths[:, None]), columns))
    return assemble(
        trees,
        n_features=int(model.n_features_in_),
        bias=np.zeros(1) if expected else np.ones(1),
        where=type(model).__name__,
        divisor=expected or 1.0,
        link="isolation",
        feature_names=names_of(model),
    )


def _tree_of(model: Any, member: Any, is_classifier: bool) -> Any:
    """The arrays of the one tree that a member is."""
    base = find_base(member, "sklearn", (*TREES, *AVERAGES))
    is_tree = base is not None and base.__name__.endswith("Classifier") == is_classifier
    if not is_tree or find_override(member, base, ANSWERS):  # type: ignore[arg-type]
        raise UnsupportedModelError(
            f"{type(model).__name__} of {type(member).__name__} cannot be read; expected"
            f" {TREES[0 if is_classifier else 1]} as its estimator: fit it on that, or pass one of its estimators_"
        )
    trees = [member] if base.__name__ in TREES else member.estimators_  # type: ignore[union-attr]
    if len(trees) > 1:
        raise UnsupportedModelError(
            f"{type(model).__name__} of {type(member).__name__} cannot be read: it adds up sums of {len(trees)} trees,"
            " which rounds otherwise than adding up the trees; pass one of its estimators_, or fit one"
            f" {base.__name__} of all the trees"  # type: ignore[union-attr]
        )
    return trees[0].tree_


def _on_columns(tree: Tree, columns: NDArray[Any]) -> Tree:
    """The tree with its columns, positions in `columns`, as columns of X."""
    return tree._replace(feature=np.asarray(columns)[np.maximum(tree.feature, 0)])
