"""The trees of a CatBoost export.

CatBoost's "yes" (`x > border`) is its right child, so that numeric splits keep their sides; a one-hot split's "yes"
(`x == category`) is our left one. A symmetric tree asks one question a level: the first is the lowest bit of the leaf's
number. So the last comes to the root here, and the leaves stand in the order of their numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.nodes import make_sets
from ensemble_compress.readers.assemble import Tree
from ensemble_compress.readers.catboost_features import Features, Test
from ensemble_compress.readers.document import Section, as_section

MAX_DEPTH = 30


def read_trees(document: Section, features: Features, model: Any = None) -> list[Tree]:
    """All trees of an export, each leaf as many values as the model has outputs.

    Parameters
    ----------
    document : Section
        The export.
    features : Features
        What its splits may test.
    model : CatBoost, optional
        The object that the export comes from. Other than symmetric trees number their leaves as they grew, which an
        export does not keep; read from a file they are numbered as CatBoost does that loads the file: from left to right.
    """
    if "oblivious_trees" in document:
        trees = _list_of(document, "oblivious_trees")
        return [read_symmetric(tree, features) for tree in trees]
    trees = _list_of(document, "trees")
    numbers = [None if model is None else leaf_numbers(model, t) for t in range(len(trees))]
    return [read_nested(tree, features, number) for tree, number in zip(trees, numbers, strict=True)]


def _list_of(document: Section, name: str) -> list[Section]:
    return [] if document.values.get(name, ()) is None else document.sections(name)


def read_symmetric(section: Section, features: Features) -> Tree:
    """A tree that asks the same question at all nodes of a level.

    Parameters
    ----------
    section : Section
        An entry of `oblivious_trees`.
    features : Features
        What its splits may test.
    """
    tests = [features.read_test(split) for split in _list_of(section, "splits")][::-1]
    if len(tests) > MAX_DEPTH:
        raise section.error(f"splits has {len(tests)} entries; expected at most {MAX_DEPTH}")
    n_leaves = 1 << len(tests)
    values = section.numbers("leaf_values", np.float64)
    if not len(values) or len(values) % n_leaves:
        raise section.error(
            f"leaf_values has {len(values)} entries; {len(tests)} splits make {n_leaves} leaves"
        )
    values = values.reshape(n_leaves, -1)
    n_splits = n_leaves - 1
    level = np.repeat(np.arange(len(tests)), 1 << np.arange(len(tests)))
    first = 2 * np.arange(n_splits) + 1
    nodes = _nodes_of(tests, level)
    is_swapped = nodes["category_set"] >= 0
    return _tree(
        nodes,
        left=first + is_swapped,
        right=first + ~is_swapped,
        values=values,
        cover=_symmetric_cover(section, n_leaves),
        number=np.arange(n_leaves),
        tests=tests,
    )


def _symmetric_cover(section: Section, n_leaves: int) -> NDArray[np.float64]:
    """The weight that reached each node, level after level."""
    if section.values.get("leaf_weights") is None:
        return np.zeros(2 * n_leaves - 1)
    levels = [section.numbers("leaf_weights", np.float64, n_leaves)]
    while len(levels[0]) > 1:
        levels.insert(0, levels[0].reshape(-1, 2).sum(axis=1))
    return np.concatenate(levels)


def read_nested(section: Section, features: Features, number: NDArray[np.int64] | None = None) -> Tree:
    """A tree whose nodes hold their children.

    Parameters
    ----------
    section : Section
        An entry of `trees`.
    features : Features
        What its splits may test.
    number : ndarray of shape (n_leaves,), optional
        CatBoost's number of each leaf, from left to right; 0, 1, ... where None.
    """
    splits, pairs, leaves = _flatten(section)
    tests = [features.read_test(split) for split in splits]
    children = np.array(pairs, np.int64).reshape(-1, 2)
    # Splits come first, then leaves.
    children = np.where(children >= 0, children, len(tests) - 1 - children)
    nodes = _nodes_of(tests, np.arange(len(tests)))
    is_swapped = nodes["category_set"] >= 0
    weights = [leaf.get("weight", 0) for leaf in leaves]
    cover = Section({"weight": weights}, section.where).numbers("weight", np.float64)
    whole = np.concatenate([np.zeros(len(tests)), cover])
    for j in range(len(tests) - 1, -1, -1):
        whole[j] = whole[children[j, 0]] + whole[children[j, 1]]
    if number is not None and not np.array_equal(np.sort(number), np.arange(len(leaves))):
        raise section.error("CatBoost numbers its leaves otherwise than its export has them")
    return _tree(
        nodes,
        left=np.where(is_swapped, children[:, 1], children[:, 0]),
        right=np.where(is_swapped, children[:, 0], children[:, 1]),
        values=_values_of(section, leaves),
        cover=whole,
        number=np.arange(len(leaves)) if number is None else number,
        tests=tests,
    )


def _flatten(section: Section) -> tuple[list[Section], list[list[int]], list[dict[str, Any]]]:
    """(the splits in pre-order, their children, the leaves from left to right); leaf k is written -1 - k."""
    splits: list[Section] = []
    children: list[list[int]] = []
    leaves: list[dict[str, Any]] = []
    waiting: list[tuple[Any, int]] = [(section.values, -1)]
    place = f"{section.where}, split"
    while waiting:
        node, parent = waiting.pop()
        if not isinstance(node, dict):
            raise section.error(f"the left or right child of a split is {str(node)[:40]}; expected an object")
        if "split" in node:
            at = len(splits)
            splits.append(as_section(node["split"], place))
            children.append([])
            waiting += [(node.get(side), at) for side in ("right", "left")]
        else:
            at = -1 - len(leaves)
            leaves.append(node)
        if parent >= 0:
            children[parent].append(at)
    return splits, children, leaves


def _values_of(section: Section, leaves: list[dict[str, Any]]) -> NDArray[np.float64]:
    found = [leaf.get("value") for leaf in leaves]
    rows = [value if isinstance(value, list) else [value] for value in found]
    width = len(rows[0])
    if not width or any(len(row) != width for row in rows):
        raise section.error(f"its leaves do not all have {width or 'any'} values")
    flat = Section({"value": [number for row in rows for number in row]}, section.where)
    return flat.numbers("value", np.float64).reshape(-1, width)


def leaf_numbers(model: Any, t: int) -> NDArray[np.int64]:
    """CatBoost's number of each leaf of tree t of an object, from left to right.

    Parameters
    ----------
    model : CatBoost
        A model of other than symmetric trees.
    t : int
        The tree.
    """
    # What plot_tree draws by: how far on the children stand (0: there is none, and the node itself is a leaf).
    steps, leaf_of_node = model._get_tree_step_nodes(t), model._get_tree_node_to_leaf(t)
    numbers, waiting = [], [(0, False)]
    while waiting:
        node, is_leaf = waiting.pop()
        left, right = steps[node]
        if is_leaf or not (left or right):
            numbers.append(leaf_of_node[node])
        else:
            waiting += [(node + right, not right), (node + left, not left)]
    return np.array(numbers, np.int64)


def _nodes_of(tests: list[Test], at: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The fields of the splits, where split j asks test `at[j]`."""
    is_set = np.array([test.codes is not None for test in tests], bool)
    columns = {
        "feature": np.array([test.feature for test in tests], np.int64),
        "threshold": np.array([test.threshold for test in tests], np.float64),
        "nan_left": np.array([test.nan_left for test in tests], bool),
        "category_set": np.where(is_set, np.cumsum(is_set) - 1, -1),
    }
    return {name: column[at] for name, column in columns.items()}


def _tree(
    nodes: dict[str, NDArray[Any]],
    *,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    values: NDArray[np.float64],
    cover: NDArray[np.float64],
    number: NDArray[np.int64],
    tests: list[Test],
) -> Tree:
    """The tree of the given splits and, behind them, leaves."""
    n_leaves, n_splits = len(values), len(left)

    def then(array: NDArray[Any], leaf: Any) -> NDArray[Any]:
        return np.concatenate([array, np.full(n_leaves, leaf, array.dtype)])

    return Tree(
        left=then(left, -1),
        right=then(right, -1),
        feature=then(nodes["feature"], 0),
        threshold=then(nodes["threshold"], 0.0),
        nan_left=then(nodes["nan_left"], False),
        values=np.concatenate([np.zeros((n_splits, values.shape[1])), values]),
        cover=cover,
        node_id=np.concatenate([n_leaves + np.arange(n_splits), number]),
        category_set=then(nodes["category_set"], -1),
        sets=make_sets([test.codes for test in tests if test.codes is not None]),
    )
