"""A forest as a linear model: a column of zeros and ones for each leaf, and the forest of new numbers for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ensemble_compress.algorithms.leaf_fit import to_additive
from ensemble_compress.algorithms.levels import fold_constants
from ensemble_compress.forest import Forest


def leaf_numbers(forest: Forest, X: NDArray[Any]) -> NDArray[np.int32]:
    """The leaf of each row in each tree, counted through the forest, shape (n_rows, n_trees)."""
    number = np.cumsum(forest.is_leaf, dtype=np.int32) - 1
    return np.asarray(number[forest.find_leaves(X)])


def leaf_columns(forest: Forest, X: NDArray[Any]) -> csr_array:
    """A row of X as a sparse row with a one for each tree, shape (n_rows, n_leaves)."""
    column = leaf_numbers(forest, X)
    start = np.arange(0, column.size + 1, max(forest.n_trees, 1), dtype=np.int32)
    return csr_array((np.ones(column.size), column.ravel(), start), shape=(len(X), forest.n_leaves))


def additive(forest: Forest) -> Forest:
    """The forest as a sum of scores in which every leaf has a number for each output, trees of one leaf in the bias.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    whole = fold_constants(to_additive(forest))
    if whole.values.shape[1] == whole.n_outputs:
        return whole
    values = np.zeros((whole.n_leaves, whole.n_outputs))
    output = whole.tree_output[whole.tree_of_node[whole.is_leaf]]
    values[np.arange(len(values)), output] = whole.values[whole.nodes.leaf[whole.is_leaf], 0]
    return whole.with_values(values, tree_output=np.full(whole.n_trees, -1))
