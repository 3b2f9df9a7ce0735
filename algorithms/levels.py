"""Trees by levels: which ancestor a node has at a depth, what nodes take in bytes, trees of one output, trees of one leaf.

`PruneLevels` and `PruneDepth` look at a forest one depth after another; what they share is here.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.sizes import bytes_by_part

LARGEST_LEAF = 1e100
"""Where leaves are as large, the squares of sums over many rows may be no numbers any more."""


def ancestors_at(forest: Forest, level: int) -> NDArray[np.int64]:
    """For each node the ancestor at depth `level`, the node itself if it is no deeper, shape (n_nodes,).

    Parameters
    ----------
    forest : Forest
        Any forest.
    level : int
        Splits above the ancestor; 0 is the root.
    """
    node = np.arange(forest.n_nodes)
    depth = forest.depth
    # In pre-order the ancestor of a deeper node is the last one at that depth before it.
    last = np.maximum.accumulate(np.where(depth == level, node, 0)) if len(node) else node
    return np.where(depth <= level, node, last)


def fold_constants(forest: Forest) -> Forest:
    """The forest with trees of one leaf moved into the bias; sums may round otherwise.

    Parameters
    ----------
    forest : Forest
        An additive forest.
    """
    single = np.diff(forest.tree_start) == 1
    if not single.any():
        return forest
    bias = forest.bias.copy()
    values = forest.values[forest.nodes.leaf[forest.tree_start[:-1][single]]]
    if forest.values.shape[1] > 1:
        bias += values.sum(axis=0)
    else:
        np.add.at(bias, forest.tree_output[single], values[:, 0])
    return replace(forest.take(~single), bias=bias)


def split_outputs(forest: Forest) -> Forest:
    """The forest with a tree for each output in the place of trees whose leaves have a value for each.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    n_outputs, n_trees = forest.values.shape[1], forest.n_trees
    if n_outputs == 1:
        return forest
    shift = np.repeat(np.arange(n_outputs), forest.n_nodes)
    columns: Any = [np.tile(column, n_outputs) for column in forest.nodes]
    nodes = type(forest.nodes)(*columns)
    return replace(
        forest,
        nodes=nodes._replace(
            right=np.where(nodes.right < 0, -1, nodes.right + shift * forest.n_nodes),
            leaf=np.where(nodes.leaf < 0, -1, nodes.leaf + shift * len(forest.values)),
        ),
        tree_start=np.append(0, (forest.tree_start[1:] + forest.n_nodes * np.arange(n_outputs)[:, None])),
        tree_output=np.repeat(np.arange(n_outputs), n_trees),
        values=forest.values.T.reshape(-1, 1),
    )


class Rates(NamedTuple):
    """What the parts of a forest take in the tables of the C export, in bytes.

    Attributes
    ----------
    split : float
        A split: its test, and its share of the structure.
    codes : float
        What a split by categories takes besides.
    leaf : float
        A leaf and its value.
    """

    split: float
    codes: float
    leaf: float

    @classmethod
    def of(cls, forest: Forest) -> "Rates":
        """The rates of a forest; of one too large for these tables, as if by nodes of eight bytes.

        Parameters
        ----------
        forest : Forest
            Any forest.
        """
        try:
            parts = bytes_by_part(forest)
        except UnsupportedModelError:
            return cls(8.0, 8.0, 4.0 + 4.0 * forest.values.shape[1])
        n_splits, n_sets = forest.n_nodes - forest.n_leaves, int((forest.nodes.category_set >= 0).sum())
        return cls(
            max(parts["tests"] + parts["structure"], 1) / max(n_splits, 1),
            parts["sets"] / max(n_sets, 1),
            (parts["leaves"] + parts["values"]) / max(forest.n_leaves, 1),
        )

    def of_splits(self, forest: Forest) -> NDArray[np.float64]:
        """What each node takes as a split, 0 for leaves, shape (n_nodes,).

        Parameters
        ----------
        forest : Forest
            Any forest.
        """
        return np.where(forest.is_leaf, 0.0, self.split + self.codes * (forest.nodes.category_set >= 0))


def unit_of(forest: Forest) -> float:
    """What leaves are counted in so that their squares stay numbers: a power of two, 1 for most forests.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    largest = float(np.abs(forest.values).max(initial=0.0))
    return 1.0 if largest < LARGEST_LEAF else float(2.0 ** np.floor(np.log2(largest)))
