"""The arrays of a `Forest`: what they hold, what must be true of them, how they print.

Apart from `forest.py` so that each of the two files has one idea: here the arrays, there the noun.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import predict
from ensemble_compress.engines import structure, walk
from ensemble_compress.errors import ForestError


class Nodes(NamedTuple):
    """All nodes of a forest, one array a field, each of shape (n_nodes,).

    Attributes
    ----------
    feature : int32
        Column that a split tests; -1 at a leaf.
    threshold : float64
        `x <= threshold` goes left; 0 at a leaf and at a categorical split.
    right : int32
        The right child, numbered through the forest; -1 at a leaf.
    nan_left : bool
        Whether a missing value goes left.
    category_set : int32
        The set whose codes go left; -1 where the test is numeric, and at a leaf.
    leaf : int32
        The row of `Forest.values` at a leaf; -1 at a split.
    cover : float64
        Training weight that reached the node; 0 where unknown.
    node_id : int32
        The node's number within its tree as its source counts: what `Forest.apply` returns.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    right: NDArray[np.int32]
    nan_left: NDArray[np.bool_]
    category_set: NDArray[np.int32]
    leaf: NDArray[np.int32]
    cover: NDArray[np.float64]
    node_id: NDArray[np.int32]


class CategorySets(NamedTuple):
    """Sets of category codes as bits: code c is in set s when bit `c % 32` of word `start[s] + c // 32` is set.

    The code of x is x rounded down, unless `Forest.category_rule` says otherwise. Codes below zero and beyond the last word
    are in no set.
    """

    start: NDArray[np.int32]
    words: NDArray[np.uint32]


NO_SETS = CategorySets(np.zeros(1, np.int32), np.zeros(0, np.uint32))

NODE_DTYPES: Any = Nodes(*map(np.dtype, ("i4", "f8", "i4", "?", "i4", "i4", "f8", "i4")))  # type: ignore[arg-type]

FAULTS = {
    structure.BAD_RIGHT: "its right child does not begin where its left subtree ends",
    structure.BAD_END: "the tree does not end at its last node",
    structure.BAD_FEATURE: "it tests a feature that the model does not have",
    structure.BAD_VALUE: "it names a row of leaf values that does not exist (or a split names one)",
    structure.BAD_SET: "it names a category set that does not exist (or a leaf names one)",
    structure.BAD_THRESHOLD: "its threshold is NaN",
}


def check(forest: Any) -> None:
    """Raise `ForestError` unless the arrays of `forest` describe a forest."""
    n_nodes, n_outputs = forest.nodes.feature.size, forest.bias.size
    start = forest.tree_start
    rules = {
        "nodes must be arrays of one length": all(a.shape == (n_nodes,) for a in forest.nodes),
        "tree_start must rise from 0 to n_nodes": start.ndim == 1
        and len(start) >= 1
        and start[0] == 0
        and start[-1] == n_nodes
        and bool((np.diff(start) > 0).all()),
        "tree_output must have an entry a tree": forest.tree_output.shape == (len(start) - 1,),
        "bias must have one entry an output": forest.bias.ndim == 1 and n_outputs >= 1,
        "values must have 1 or n_outputs columns": forest.values.ndim == 2
        and forest.values.shape[1] in (1, n_outputs),
        "values and bias must be finite": bool(
            np.isfinite(forest.values).all() and np.isfinite(forest.bias).all()
        ),
        "divisor must be finite and positive": bool(np.isfinite(forest.divisor)) and forest.divisor > 0,
        f"link must be one of {', '.join(predict.LINKS)}": forest.link in predict.LINKS,
        "link_scale must be finite and positive, and 1 but for a sigmoid": 0 < forest.link_scale < np.inf
        and (forest.link == "sigmoid" or forest.link_scale == 1.0),
        f"category_rule must be one of {', '.join(predict.CATEGORY_RULES)}": forest.category_rule
        in predict.CATEGORY_RULES,
        "x_dtype must be float32 or float64": forest.x_dtype in ("float32", "float64"),
        f"n_features must lie between 0 and {walk.MAX_FEATURES - 1}": isinstance(
            forest.n_features, int | np.integer
        )
        and 0 <= forest.n_features < walk.MAX_FEATURES,
        "classes must fit the outputs": forest.classes is None
        or len(forest.classes) == n_outputs
        or (n_outputs == 1 and len(forest.classes) == 2),
        "tie_class must be 0 or 1": forest.tie_class in (0, 1),
        "cover must be finite": bool(np.isfinite(forest.nodes.cover).all()),
    }
    for rule, holds in (rules | _column_rules(forest)).items():
        if not holds:
            raise ForestError(f"not a forest: {rule}")
    lowest = 0 if forest.values.shape[1] == 1 and n_outputs > 1 else -1
    if ((forest.tree_output < lowest) | (forest.tree_output >= n_outputs)).any():
        t = int(((forest.tree_output < lowest) | (forest.tree_output >= n_outputs)).argmax())
        raise ForestError(
            f"not a forest: tree {t} adds to output {forest.tree_output[t]}; expected {lowest} to {n_outputs - 1}"
        )
    if forest.values.shape[1] > 1 and (forest.tree_output >= 0).any():
        raise ForestError("not a forest: leaves with a value for every output need tree_output -1")
    sets = forest.category_sets
    if (
        len(sets.start) == 0
        or sets.start[0] != 0
        or sets.start[-1] != len(sets.words)
        or (np.diff(sets.start) < 0).any()
    ):
        raise ForestError("not a forest: the category sets do not cover their words in order")
    fault, tree, node = structure.find_fault(
        forest.nodes, forest.tree_start, forest.n_features, len(forest.values), len(sets.start) - 1
    )
    if fault != structure.SOUND:
        where = f"tree {tree}, node {node - forest.tree_start[tree]} of {np.diff(start)[tree]}"
        raise ForestError(f"not a forest: {where}: {FAULTS[fault]}")
    if forest.category_rule != "floor":
        _check_columns_tested_one_way(forest)


def _check_columns_tested_one_way(forest: Any) -> None:
    """Rows are rewritten by the rule of categories, which a test of a threshold must not see."""
    feature, is_set = forest.nodes.feature, forest.nodes.category_set >= 0
    both = np.intersect1d(feature[is_set], feature[~is_set & (feature >= 0)])
    if len(both):
        raise ForestError(
            f"not a forest: column {both[0]} is tested as a number and as a category; only category_rule 'floor' allows"
            " that"
        )


def _column_rules(forest: Any) -> dict[str, bool]:
    """What must be true of the columns' names and levels."""
    return {
        "feature_names must have an entry a feature": forest.feature_names is None
        or len(forest.feature_names) == forest.n_features,
        "feature_names must be texts": forest.feature_names is None
        or all(isinstance(name, str) and _is_plain(name) for name in forest.feature_names),
        "categories must have an entry a feature": forest.categories is None
        or len(forest.categories) == forest.n_features,
        "categories must be numbers, texts or truth values, each once": forest.categories is None
        or all(levels is None or _are_levels(levels) for levels in forest.categories),
    }


def _are_levels(levels: Any) -> bool:
    """Whether a column of a DataFrame can be looked up in `levels`."""
    return all(map(_is_plain, levels)) and len(set(levels)) == len(levels)


def _is_plain(level: Any) -> bool:
    """Whether `level` is None, a number, a truth value, or a text that can be encoded: JSON can spell halves of characters."""
    if not isinstance(level, str):
        return level is None or isinstance(level, bool | int | float | np.generic)
    try:
        level.encode()
    except UnicodeEncodeError:
        return False
    return True


def frozen(array: Any, dtype: Any) -> NDArray[Any]:
    """A read-only contiguous array of its own."""
    given = np.asarray(array)
    if given.dtype == dtype and given.flags.c_contiguous and not given.flags.writeable and given.base is None:
        return given
    if np.issubdtype(dtype, np.integer) and given.size and given.dtype != dtype:
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise ForestError(f"not a forest: an array of {dtype} would hold {given.min()} to {given.max()}")
    copy = np.array(given, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


def take_trees(
    nodes: Nodes, tree_start: NDArray[np.int32], trees: NDArray[np.intp]
) -> tuple[Nodes, NDArray[np.int64]]:
    """(the nodes of the chosen trees, where those trees start)."""
    lengths = np.diff(tree_start)[trees]
    start = np.append(0, np.cumsum(lengths, dtype=np.int64))
    shift = np.repeat(tree_start[trees] - start[:-1], lengths)
    old = np.arange(start[-1]) + shift
    taken = Nodes(*(array[old] for array in nodes))
    return taken._replace(right=np.where(taken.right >= 0, taken.right - shift, -1)), start


def find_of_each(find: Callable[..., None], nodes: Nodes, start: int) -> NDArray[np.int32]:
    """What a kernel of `structure` writes for each node, over `start`."""
    out = np.full(len(nodes.feature), start, np.int32)
    find(nodes.feature, nodes.right, out)
    return out


def are_below(at: NDArray[np.int64], subtree_end: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each node has one of the nodes `at` above it."""
    inside = np.zeros(len(subtree_end) + 1, np.int64)
    np.add.at(inside, at + 1, 1)
    np.add.at(inside, subtree_end[at], -1)
    return np.asarray(np.cumsum(inside)[:-1] > 0)


def keep_some(nodes: Nodes, keep: NDArray[np.bool_], leaf: NDArray[np.int32]) -> Nodes:
    """The nodes that stay; `leaf` says of every node which row of values it has afterwards, -1 at a split."""
    place: NDArray[np.intp] = np.cumsum(keep) - keep
    old: Any = np.flatnonzero(keep)
    is_leaf = leaf[old] >= 0
    kept = Nodes(*(array[old] for array in nodes))
    return kept._replace(
        feature=np.where(is_leaf, -1, kept.feature),
        threshold=np.where(is_leaf, 0.0, kept.threshold),
        right=np.where(is_leaf, -1, place[nodes.right[old]]),
        nan_left=kept.nan_left & ~is_leaf,
        category_set=np.where(is_leaf, -1, kept.category_set),
        leaf=leaf[old],
    )


def renumber(index: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """(`index` counted over the values that occur, those values); -1 stays."""
    occurs = np.zeros(index.max(initial=-1) + 1, bool)
    occurs[index[index >= 0]] = True
    numbers = np.append(np.cumsum(occurs) - 1, -1).astype(np.int32)
    return numbers[index], np.flatnonzero(occurs)


def take_sets(sets: CategorySets, chosen: NDArray[np.intp]) -> CategorySets:
    """The chosen sets, in the order given."""
    lengths = np.diff(sets.start)[chosen]
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    words = np.arange(start[-1]) + np.repeat(sets.start[:-1][chosen] - start[:-1], lengths)
    return CategorySets(start, sets.words[words])


def distinct_rows(rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(where each row that is unlike the others first stands, the number of each row among those); equal to the bit.

    By a hash, which is checked: ten times faster than `np.unique` over an axis, and in no particular order.
    """
    bits = rows.view(f"i{rows.dtype.itemsize}").astype(np.int64)
    factors = np.random.default_rng(0).integers(1, 2**62, rows.shape[1]) | 1
    with np.errstate(over="ignore"):
        _, first, index = np.unique(bits @ factors, return_index=True, return_inverse=True)
    if not (bits[first][index] == bits).all():
        _, first, index = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return first, index.reshape(-1)


def count_thresholds(nodes: Nodes) -> int:
    """Number of distinct pairs of feature and threshold."""
    numeric = (nodes.feature >= 0) & (nodes.category_set < 0)
    return len(np.unique(np.stack([nodes.feature[numeric], nodes.threshold[numeric]]), axis=1).T)


def as_texts(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as an array of texts; as they are where that would lose one, as it loses a NUL at the end."""
    texts = labels.astype(str)
    return texts if texts.tolist() == [str(label) for label in labels] else labels


def same(a: Any, b: Any) -> bool:
    """Whether two fields of a forest are equal, arrays and tuples of them included."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return (
            a.dtype == b.dtype and a.shape == b.shape and (a.tobytes() == b.tobytes() or bool((a == b).all()))
        )
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return bool(a == b)


def summary(forest: Any) -> str:
    """A forest in one line."""
    is_classifier = forest.classes is not None
    kind = f"{len(forest.classes)} classes" if is_classifier else f"{forest.n_outputs} output(s)"
    return (
        f"Forest({forest.n_trees:,} trees, {forest.n_nodes:,} nodes, {forest.n_leaves:,} leaves, "
        f"{forest.n_features} features, {kind}, link={forest.link_text!r})"
    )


def to_text(forest: Any, max_nodes: int) -> str:
    """The trees as indented text, a line a node."""
    names = forest.feature_names or [f"x[{f}]" for f in range(forest.n_features)]
    lines, n_shown = [repr(forest)], 0
    for t in range(forest.n_trees):
        output = "" if forest.tree_output[t] < 0 else f" -> output {forest.tree_output[t]}"
        lines.append(f"tree {t}{output}")
        depth = {int(forest.tree_start[t]): 1}
        for j in range(forest.tree_start[t], forest.tree_start[t + 1]):
            if n_shown == max_nodes:
                return "\n".join([*lines, f"... {forest.n_nodes - n_shown:,} more nodes"])
            lines.append("  " * depth[j] + _node_text(forest, names, j))
            if forest.nodes.feature[j] >= 0:
                depth[j + 1] = depth[int(forest.nodes.right[j])] = depth[j] + 1
            n_shown += 1
    return "\n".join(lines)


def _node_text(forest: Any, names: Any, j: int) -> str:
    nodes = forest.nodes
    if nodes.feature[j] < 0:
        return "leaf " + " ".join(f"{v:.6g}" for v in forest.values[nodes.leaf[j]])
    missing = " or missing" if nodes.nan_left[j] else ""
    if nodes.category_set[j] >= 0:
        return (
            f"{names[nodes.feature[j]]} in {set_codes(forest.category_sets, nodes.category_set[j])}{missing}"
        )
    return f"{names[nodes.feature[j]]} <= {nodes.threshold[j]:.9g}{missing}"


def set_codes(sets: CategorySets, s: int) -> list[int]:
    """The codes in set `s`, rising."""
    words = sets.words[sets.start[s] : sets.start[s + 1]]
    return [int(c) for c in np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))]


def make_sets(codes: list[list[int]]) -> CategorySets:
    """The sets of the given lists of codes, each as short as its largest code allows."""
    lengths = [max(members, default=-1) // 32 + 1 for members in codes]
    start = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    members = np.array([code for members in codes for code in members], np.int64)
    if members.min(initial=0) < 0:
        raise ForestError(f"not a forest: category codes count from 0; found {members.min()}")
    place = np.repeat(start[:-1], [len(members) for members in codes]) + members // 32
    words = np.zeros(start[-1], np.uint32)
    np.bitwise_or.at(words, place, np.uint32(1) << (members % 32).astype(np.uint32))
    return CategorySets(start.astype(np.int32), words)
