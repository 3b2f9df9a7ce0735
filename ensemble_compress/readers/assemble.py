"""From trees as their library numbers them to one Forest in pre-order.

A reader hands over one `Tree` after the other, with children anywhere in the tree, and this file lays the nodes out.
What a damaged file can get wrong about a tree is found here, before anything is built on it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel
from ensemble_compress.errors import ForestError, ModelFileError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import NO_SETS, NODE_DTYPES, CategorySets, Nodes

SOUND, BAD_CHILD, SHARED_CHILD = range(3)


class Tree(NamedTuple):
    """One tree, its nodes numbered from 0, the root, in any order; nodes that the root doesn't reach are left out.

    Attributes
    ----------
    left, right : int64 of shape (n_nodes,)
        Children; `left` is -1 at a leaf, where `right` isn't read.
    feature : int of shape (n_nodes,)
        Column that a split tests.
    threshold : float64 of shape (n_nodes,)
        `x <= threshold` goes left.
    nan_left : bool of shape (n_nodes,)
        Whether a missing value goes left.
    values : float of shape (n_nodes, width)
        Leaf values; the rows of splits aren't read.
    cover : float64 of shape (n_nodes,)
        Training weight that reached the node.
    node_id : int of shape (n_nodes,)
        The library's number of the node.
    category_set : int of shape (n_nodes,), optional
        The set in `sets` whose codes go left, -1 where the test is numeric; None without categorical splits.
    sets : CategorySets
        The tree's own sets.
    """

    left: NDArray[Any]
    right: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    nan_left: NDArray[Any]
    values: NDArray[Any]
    cover: NDArray[Any]
    node_id: NDArray[Any]
    category_set: NDArray[Any] | None = None
    sets: CategorySets = NO_SETS


def assemble(
    trees: Iterable[Tree], *, n_features: int, bias: NDArray[Any], where: str, **others: Any
) -> Forest:
    """The forest of `trees`, O(nodes) whatever their depth.

    Trees are laid out one at a time and no array is held twice but the one that is being joined, so the peak is a
    little above the size of the forest, next to what `trees` itself keeps.

    Parameters
    ----------
    trees : iterable of Tree
        The trees in the order in which the library sums them.
    n_features : int
        Columns of X.
    bias : ndarray of shape (n_outputs,)
        What the sums start from; its dtype is that of the leaf values.
    where : str
        What is being read, for error messages: a file's name, or the model's kind.
    **others
        Further fields of `Forest`; `tree_output` is round-robin unless given, -1 for leaves with several values.

    Raises
    ------
    ModelFileError
        A child is out of range, has two parents or closes a cycle; a feature, threshold or leaf value is impossible.
    """
    pieces = _lay_out(trees, n_features, where)
    width = pieces["values"][0].shape[1] if pieces["values"] else 1
    start = np.cumsum([0, *map(len, pieces["feature"])])
    if "tree_output" not in others:
        n_trees = len(start) - 1
        others["tree_output"] = np.arange(n_trees) % len(bias) if width == 1 else np.full(n_trees, -1)
    try:
        return Forest(
            nodes=Nodes(*(_join(pieces.pop(name), d) for name, d in NODE_DTYPES._asdict().items())),
            tree_start=start,
            values=_join([np.zeros((0, width), bias.dtype), *pieces.pop("values")]),
            bias=bias,
            n_features=n_features,
            category_sets=_join_sets(pieces.pop("sets")),
            **others,
        )
    except ForestError as error:
        raise ModelFileError(f"{where}: {error}") from error


def _lay_out(trees: Iterable[Tree], n_features: int, where: str) -> dict[str, list[Any]]:
    """For each array of a forest its pieces, one a tree, with nodes, leaves and sets counted through the forest."""
    pieces: dict[str, list[Any]] = {name: [] for name in (*Nodes._fields, "values", "sets")}
    n_nodes, n_leaves, n_sets = 0, 0, 0
    for t, tree in enumerate(trees):
        nodes, values = _in_preorder(tree, n_features, f"{where}: tree {t}")
        width = pieces["values"][0].shape[1] if pieces["values"] else values.shape[1]
        if values.shape[1] != width:
            raise ModelFileError(
                f"{where}: tree {t}: its leaves hold {values.shape[1]} values, those of tree 0 hold {width}"
            )
        for array, shift in ((nodes.right, n_nodes), (nodes.leaf, n_leaves), (nodes.category_set, n_sets)):
            np.add(array, shift, out=array, where=array >= 0)
        n_nodes, n_leaves = n_nodes + len(nodes.feature), n_leaves + len(values)
        n_sets += len(tree.sets.start) - 1
        if max(n_nodes, n_sets) > np.iinfo(np.int32).max:
            raise ModelFileError(
                f"{where}: more than {np.iinfo(np.int32).max:,} nodes or sets; a forest holds no more"
            )
        for column, piece in zip(pieces.values(), (*nodes, values, tree.sets), strict=True):
            column.append(piece)
    return pieces


def _in_preorder(tree: Tree, n_features: int, where: str) -> tuple[Nodes, NDArray[Any]]:
    """The nodes of one tree in pre-order, children, leaves and sets counted from 0, and the rows of its leaves."""
    order, right = find_order(tree, where)
    is_leaf = right < 0
    feature = np.where(is_leaf, -1, tree.feature[order])
    threshold = np.where(is_leaf, 0.0, tree.threshold[order])
    cover, values = tree.cover[order], tree.values[order[is_leaf]]
    _check_tests(
        tree, order, ~is_leaf & ((feature < 0) | (feature >= n_features)), where, "tests feature", feature
    )
    _check_tests(tree, order, np.isnan(threshold), where, "has the threshold", threshold)
    _check_tests(tree, order, ~np.isfinite(cover), where, "has the training weight", cover)
    if not np.isfinite(values).all():
        leaf = order[is_leaf][(~np.isfinite(values)).any(axis=1).argmax()]
        raise ModelFileError(
            f"{where}, node {tree.node_id[leaf]}: its leaf value is {tree.values[leaf]}, not finite"
        )
    category_set = np.full(len(order), -1) if tree.category_set is None else tree.category_set[order]
    fields: dict[str, Any] = {
        "feature": feature,
        "threshold": np.where(category_set >= 0, 0.0, threshold),
        "right": right,
        "nan_left": tree.nan_left[order].astype(bool) & ~is_leaf,
        "category_set": np.where(is_leaf, -1, category_set),
        "leaf": np.where(is_leaf, np.cumsum(is_leaf) - 1, -1),
        "cover": cover,
        "node_id": tree.node_id[order],
    }
    return Nodes(*(fields[name].astype(dtype) for name, dtype in NODE_DTYPES._asdict().items())), values


def find_order(tree: Tree, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nodes of a tree in pre-order, and where in it the right child of each lies, -1 at a leaf.

    Parameters
    ----------
    tree : Tree
        The tree.
    where : str
        File and tree, for error messages.

    Raises
    ------
    ModelFileError
        A child is out of range, has two parents or closes a cycle.
    """
    n_nodes = len(tree.left)
    if n_nodes == 0:
        raise ModelFileError(f"{where} has no nodes; expected at least a leaf")
    left, right = np.ascontiguousarray(tree.left, np.int64), np.ascontiguousarray(tree.right, np.int64)
    order, place, waiting = (
        np.empty(n_nodes, np.int64),
        np.full(n_nodes, -1),
        np.empty((n_nodes, 2), np.int64),
    )
    fault, found = order_nodes(left, right, order, place, waiting, np.zeros(n_nodes, np.bool_))
    if fault != SOUND:
        what = {
            BAD_CHILD: f"one of its children, {left[found]} and {right[found]}, is none of the tree's {n_nodes} nodes",
            SHARED_CHILD: f"one of its children, {left[found]} and {right[found]}, has another parent or is the root",
        }[fault]
        raise ModelFileError(
            f"{where}, node {tree.node_id[found]}: {what}; the model is damaged: save it again"
        )
    return order[:found], place[:found]


def _check_tests(
    tree: Tree,
    order: NDArray[np.int64],
    is_bad: NDArray[np.bool_],
    where: str,
    what: str,
    values: NDArray[Any],
) -> None:
    if is_bad.any():
        j = int(is_bad.argmax())
        raise ModelFileError(
            f"{where}, node {tree.node_id[order[j]]} {what} {values[j]}, which cannot be; the model is damaged: save it again"
        )


def _join(pieces: list[NDArray[Any]], dtype: Any = None) -> NDArray[Any]:
    """The pieces one behind the other, read-only, so that the forest keeps the array instead of copying it."""
    joined = np.concatenate(pieces or [np.zeros(0, dtype)])
    joined.setflags(write=False)
    return joined


def _join_sets(sets: Sequence[CategorySets]) -> CategorySets:
    """All sets one behind the other."""
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(s.start) for s in sets)])
    words = np.concatenate([np.zeros(0, np.uint32), *(s.words for s in sets)])
    return CategorySets(np.concatenate([[0], np.cumsum(lengths)]), words)


@kernel
def order_nodes(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    order: NDArray[np.int64],
    place: NDArray[np.int64],
    waiting: NDArray[np.int64],
    seen: NDArray[np.bool_],
) -> tuple[int, int]:
    """Write to `order` the nodes as a walk from the root meets them and to `place` where the right child of each lies.

    Return (SOUND, number of nodes met), or the fault and the node that has it. Every node is pushed at most once, as
    `seen` refuses a second parent, so that the walk ends whatever the children say.
    """
    n_nodes = len(left)
    waiting[0, 0], waiting[0, 1] = 0, -1
    seen[0] = True
    n_waiting, n_met = 1, 0
    while n_waiting > 0:
        n_waiting -= 1
        j, parent = waiting[n_waiting, 0], waiting[n_waiting, 1]
        order[n_met] = j
        if parent >= 0:
            place[parent] = n_met
        if left[j] != -1:
            for child in (right[j], left[j]):
                if child < 0 or child >= n_nodes:
                    return BAD_CHILD, j
                if seen[child]:
                    return SHARED_CHILD, j
                seen[child] = True
                waiting[n_waiting, 0] = child
                waiting[n_waiting, 1] = n_met if child == right[j] else -1
                n_waiting += 1
        n_met += 1
    return SOUND, n_met
