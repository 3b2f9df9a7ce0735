"""What pruning at random costs, for methods that claim to choose better: on real data, by the loss of held-out rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from ensemble_compress.data import Data
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read

TEACHERS = {
    "boosting": GradientBoostingClassifier(max_depth=4, random_state=0),
    "forest": RandomForestClassifier(40, max_leaf_nodes=16, random_state=0),
}


def trained(kind: str) -> tuple[Forest, Data, Data]:
    """(a teacher of benign and malignant tumours, the rows it was trained on, other rows)."""
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_other, y_train, y_other = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    forest = read(TEACHERS[kind].fit(X_train, y_train))
    return forest, Data(forest.rows(X_train), y_train), Data(forest.rows(X_other), y_other)


def loss_of(forest: Forest, data: Data) -> float:
    """The cross-entropy of the labels."""
    return float(log_loss(np.asarray(data.y), forest.predict_proba(data.X)))


def cut_at_random(forest: Forest, seed: int) -> Iterator[Forest]:
    """Ever smaller forests: splits in random order become leaves of their leaves' mean by cover."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~forest.is_leaf))
    means = np.array([mean_below(forest, int(j)) for j in order])
    for n in np.unique(np.geomspace(20, len(order), 25).astype(int)):
        yield forest.replace_subtrees(order[:n], means[:n])


def mean_below(forest: Forest, node: int) -> NDArray[np.float64]:
    """The mean of the leaves below a node by their cover, where the forest knows it."""
    below = np.arange(node, forest.subtree_end[node])
    below = below[forest.is_leaf[below]]
    values = forest.values[forest.nodes.leaf[below]].astype(np.float64)
    cover = forest.nodes.cover[below]
    return np.asarray(np.average(values, axis=0, weights=cover if cover.any() else None))


def fewest_leaves(forests: Iterator[Forest], data: Data, largest_loss: float) -> int:
    """The leaves of the smallest forest whose loss is no larger."""
    return min(each.n_leaves for each in forests if loss_of(each, data) <= largest_loss)
