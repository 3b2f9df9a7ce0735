"""The trees of a forest as ONNX tree operators: `TreeEnsemble` of ai.onnx.ml 5, and its elders of ai.onnx.ml 3.

ONNX Runtime adds up leaves tree after tree from zero, in the dtype of its thresholds. The bias is a tree of one leaf in
front or behind, so that the sum is the forest's to the bit. A row's categories are asked for in columns of their own, behind
the columns of X: the operators compare codes for equality, so what `Forest.category_rule` drops of a number, rounding it
down or towards zero, is gone before; by the rule "exact" it is -1, which is in no set.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import float32_below
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import set_codes
from ensemble_compress.writers.onnx_graph import Graph, without_fractions

DOMAIN = "ai.onnx.ml"
LEQ, LT, EQ, MEMBER = 0, 1, 4, 6
MODES = {LEQ: "BRANCH_LEQ", LT: "BRANCH_LT", EQ: "BRANCH_EQ"}
SMALLEST_BIT = -149
"""The power of two of float32's smallest number."""


class Tests(NamedTuple):
    """What every node asks, as ONNX says it; one entry a node, leaves included."""

    feature: NDArray[np.int64]
    mode: NDArray[np.uint8]
    threshold: NDArray[Any]
    codes: list[NDArray[Any]]
    """The members of each category set, of the dtype of the thresholds."""


def operator_dtype(forest: Forest) -> np.dtype[Any]:
    """What the tree operator compares and adds up in."""
    both = forest.x_dtype == "float32" == str(forest.values.dtype)
    return np.dtype(np.float32 if both else np.float64)


def add_trees(graph: Graph, forest: Forest, opset: int) -> tuple[str, str | None]:
    """(the sums of bias and leaves of shape (n_rows, n_outputs), the class codes where the operator decides them)."""
    dtype = operator_dtype(forest)
    _check_sums(forest, dtype)
    tests = _tests(forest, dtype)
    rows = _add_rows(graph, forest, dtype)
    if opset == 3:
        return _add_trees_3(graph, forest, tests, rows)
    sums = graph.apply_all("TreeEnsemble", [rows], ["sums"], DOMAIN, **_tree_ensemble(forest, tests))
    return _as_values(graph, sums[0], dtype), None


def _as_values(graph: Graph, sums: str, dtype: np.dtype[Any]) -> str:
    return sums if dtype == graph.dtype else graph.cast(sums, graph.dtype)


def _check_sums(forest: Forest, dtype: np.dtype[Any]) -> None:
    if dtype != forest.values.dtype and not sums_are_exact(forest):
        raise UnsupportedModelError(
            "the forest compares float64 rows and adds up float32 values; an ONNX tree operator does both in one type,"
            " and its sums would round otherwise: export to .so"
        )


def sums_are_exact(forest: Forest) -> bool:
    """Whether no sum of leaves is ever rounded, in whatever order: all are multiples of one number that is not too small."""
    lowest, total = _lowest_bit(forest), _largest_sum(forest)
    return total < 2.0 ** min(lowest + np.finfo(forest.values.dtype).nmant, 1023)


def _lowest_bit(forest: Forest) -> int:
    """The largest power of two that all values and biases are multiples of."""
    numbers = np.concatenate([forest.values.ravel(), forest.bias]).astype(np.float64)
    mantissa, exponent = np.frexp(numbers[numbers != 0])
    whole = (mantissa * 2.0**53).astype(np.int64)
    bits = np.frexp((whole & -whole).astype(np.float64))[1] - 1 + exponent - 53
    return int(bits.min(initial=1000))


def _largest_sum(forest: Forest) -> float:
    """A bound on every sum of leaves and bias."""
    sizes = np.abs(forest.values.astype(np.float64)).max(axis=1, initial=0.0)[forest.nodes.leaf]
    sizes = np.where(forest.is_leaf, sizes, 0.0)
    trees = np.maximum.reduceat(sizes, forest.tree_start[:-1]) if forest.n_trees else np.zeros(0)
    with np.errstate(over="ignore"):
        return float(trees.sum() + np.abs(forest.bias.astype(np.float64)).max())


def _tests(forest: Forest, dtype: np.dtype[Any]) -> Tests:
    nodes, sets = forest.nodes, forest.category_sets
    is_set = nodes.category_set >= 0
    codes = [np.array(set_codes(sets, s), np.int64) for s in range(len(sets.start) - 1)]
    # A code that is no float32 is that of no float32 row; rounded it would be another code.
    members = [c[c.astype(dtype).astype(np.int64) == c].astype(dtype) for c in codes]
    sizes = np.array([len(m) for m in members] or [0])[nodes.category_set]
    threshold = float32_below(nodes.threshold) if dtype == np.float32 else nodes.threshold
    columns = np.unique(nodes.feature[is_set])
    place = forest.n_features + np.searchsorted(columns, nodes.feature)
    mode = np.where(is_set, np.where(sizes > 0, MEMBER, LT), LEQ)
    return Tests(
        np.where(is_set, place, np.maximum(nodes.feature, 0)).astype(np.int64),
        mode.astype(np.uint8),
        # Nothing is below minus infinity, as nothing is in an empty set, which ONNX Runtime cannot read.
        np.where(mode == LT, -np.inf, threshold).astype(dtype),
        members,
    )


def _add_rows(graph: Graph, forest: Forest, dtype: np.dtype[Any]) -> str:
    """X in the operator's dtype, with the columns of categories once more behind it, as codes."""
    rows = "X" if forest.x_dtype == dtype else graph.cast("X", dtype)
    columns = np.unique(forest.nodes.feature[forest.nodes.category_set >= 0])
    if not len(columns):
        return rows
    codes = graph.apply("Gather", rows, graph.constant(columns, np.int64), axis=1)
    return graph.apply("Concat", rows, without_fractions(graph, codes, forest.category_rule, dtype), axis=1)


def _has_constant(forest: Forest) -> bool:
    return bool(forest.bias.any()) or not forest.n_trees


# -- ai.onnx.ml 5 -------------------------------------------------------------------------------------------------


class Splits(NamedTuple):
    """Every split of every tree; a child is a number of a split, or where `is_leaf` says so of a leaf."""

    node: NDArray[np.int64]
    true: NDArray[np.int64]
    true_is_leaf: NDArray[np.bool_]
    false: NDArray[np.int64]
    false_is_leaf: NDArray[np.bool_]


def _tree_ensemble(forest: Forest, tests: Tests) -> dict[str, Any]:
    """The attributes of a TreeEnsemble operator.

    It knows leaves of one value only: trees of vector leaves are there once for each output.
    """
    splits, roots, leaves = _splits(forest)
    keys, place = np.unique(leaves, return_inverse=True)
    splits = _with_leaves(splits, place)
    output, row = np.divmod(keys, len(forest.values) + forest.n_outputs)
    column = output if forest.values.shape[1] > 1 else np.zeros_like(output)
    is_bias = row >= len(forest.values)
    weights = np.where(is_bias, forest.bias[output], forest.values[np.where(is_bias, 0, row), column])
    splits, twins = _apart(splits, roots, len(keys))
    return _attributes(
        forest, tests, splits, roots, np.append(output, output[twins]), np.append(weights, weights[twins])
    )


def _splits(forest: Forest) -> tuple[Splits, NDArray[np.int64], NDArray[np.int64]]:
    """(the splits, the root of each tree, and of all children that are leaves the key of output and value).

    Children that are leaves hold their place among the keys. A tree of one leaf is a split whose children are that leaf.
    """
    n_keys = len(forest.values) + forest.n_outputs
    nodes, is_leaf, start = forest.nodes, forest.is_leaf, forest.tree_start[:-1]
    output = np.maximum(forest.tree_output, 0)[forest.tree_of_node].astype(np.int64)
    key = output * n_keys + nodes.leaf
    lone = start[is_leaf[start]].astype(np.int64)
    inner = np.flatnonzero(~is_leaf)
    number = np.zeros(forest.n_nodes, np.int64)
    number[inner], number[lone] = np.arange(len(inner)), len(inner) + np.arange(len(lone))
    at = np.concatenate([inner, lone])
    true, false = (
        np.concatenate([child, lone]).astype(np.int64) for child in (inner + 1, nodes.right[inner])
    )
    ends = [is_leaf[true], is_leaf[false]]
    n_copies = forest.values.shape[1]
    copies = [
        [np.where(end, key[child] + k * n_keys, number[child] + k * len(at)) for child, end in zip((true, false), ends, strict=True)]
        for k in range(n_copies)
    ]  # fmt: skip
    constants = _constant_keys(forest)
    total = n_copies * len(at)
    constant_roots = total + np.arange(len(constants))
    lone_ends = np.ones(len(constants), bool)
    both = [np.concatenate([*(copy[side] for copy in copies), constants]).astype(np.int64) for side in (0, 1)]
    ends = [np.concatenate([np.tile(end, n_copies), lone_ends]) for end in ends]
    roots = np.concatenate([number[start] + k * len(at) for k in range(n_copies)]).astype(np.int64)
    order = [roots, constant_roots] if forest.bias_last else [constant_roots, roots]
    node = np.concatenate([np.tile(at, n_copies), np.full(len(constants), -1)])
    found = Splits(node, both[0], ends[0], both[1], ends[1])
    leaves = np.concatenate([both[0][ends[0]], both[1][ends[1]]])
    return found, np.concatenate(order).astype(np.int64), leaves


def _constant_keys(forest: Forest) -> NDArray[np.int64]:
    """The keys of the biases, behind those of the values."""
    outputs = np.arange(forest.n_outputs if _has_constant(forest) else 0, dtype=np.int64)
    return outputs * (len(forest.values) + forest.n_outputs) + len(forest.values)


def _with_leaves(splits: Splits, place: NDArray[Any]) -> Splits:
    """The splits with the numbers of leaves in place of their keys."""
    true, false = splits.true.copy(), splits.false.copy()
    n_true = int(splits.true_is_leaf.sum())
    true[splits.true_is_leaf], false[splits.false_is_leaf] = place[:n_true], place[n_true:]
    return splits._replace(true=true, false=false)


def _apart(splits: Splits, roots: NDArray[np.int64], n_leaves: int) -> tuple[Splits, NDArray[np.int64]]:
    """(the splits, the leaves to put behind the others once more): no root has two children of the same number.

    ONNX Runtime takes such a root for a leaf: before 1.23 also where one child is a split (its issue 24679), and before
    1.30 for the leaf that has the root's own number.
    """
    clash = roots[splits.true[roots] == splits.false[roots]]
    number = splits.true[clash]
    # Two twins each: at least one of them has another number than the split.
    first = n_leaves + 2 * np.arange(len(clash))
    twin = np.where(first == number, first + 1, first)
    true, false = splits.true.copy(), splits.false.copy()
    moves_true = ~splits.false_is_leaf[clash]
    true[clash], false[clash] = np.where(moves_true, twin, number), np.where(moves_true, number, twin)
    return splits._replace(true=true, false=false), np.repeat(number, 2)


def _attributes(
    forest: Forest,
    tests: Tests,
    splits: Splits,
    roots: NDArray[np.int64],
    outputs: NDArray[np.int64],
    weights: NDArray[Any],
) -> dict[str, Any]:
    from onnx import numpy_helper

    def tensor(name: str, array: NDArray[Any], dtype: Any = tests.threshold.dtype) -> Any:
        return numpy_helper.from_array(np.asarray(array).astype(dtype), name)

    is_test = (splits.node >= 0) & ~np.append(forest.is_leaf, True)[splits.node]
    node = np.where(is_test, splits.node, 0)
    mode = np.where(is_test, tests.mode[node], LEQ) if forest.n_nodes else np.zeros(len(node))
    attributes = {
        "n_targets": forest.n_outputs,
        "tree_roots": roots.tolist(),
        "nodes_featureids": _where(is_test, tests.feature, node).tolist(),
        "nodes_modes": tensor("nodes_modes", mode, np.uint8),
        "nodes_splits": tensor("nodes_splits", _where(is_test, tests.threshold, node)),
        "nodes_truenodeids": splits.true.tolist(),
        "nodes_trueleafs": splits.true_is_leaf.astype(int).tolist(),
        "nodes_falsenodeids": splits.false.tolist(),
        "nodes_falseleafs": splits.false_is_leaf.astype(int).tolist(),
        "nodes_missing_value_tracks_true": _where(is_test, forest.nodes.nan_left, node).astype(int).tolist(),
        "leaf_targetids": outputs.tolist(),
        "leaf_weights": tensor("leaf_weights", weights),
    }
    members = [tests.codes[s] for s in forest.nodes.category_set[node[mode == MEMBER]].tolist()]
    if members:
        end = np.full(1, np.nan, tests.threshold.dtype)
        joined = np.concatenate([part for codes in members for part in (codes, end)])
        attributes["membership_values"] = tensor("membership_values", joined)
    return attributes


def _where(is_test: NDArray[np.bool_], array: NDArray[Any], node: NDArray[Any]) -> NDArray[Any]:
    """The entries of the splits that ask something, 0 at the others."""
    return (
        np.where(is_test, array[node], array.dtype.type(0))
        if len(array)
        else np.zeros(len(node), array.dtype)
    )


# -- ai.onnx.ml 3 -------------------------------------------------------------------------------------------------


def _add_trees_3(graph: Graph, forest: Forest, tests: Tests, rows: str) -> tuple[str, str | None]:
    dtype = tests.threshold.dtype
    decides = forest.is_classifier and forest.n_outputs > 1 and dtype == np.float64
    _check_opset_3(forest, tests, dtype, decides)
    attributes = _nodes_3(forest, tests)
    if not decides:
        attributes |= _leaves_3(forest, dtype, "target", forest.n_outputs)
        attributes["n_targets"] = forest.n_outputs
        sums = graph.apply_all("TreeEnsembleRegressor", [rows], ["sums"], DOMAIN, **attributes)
        return _as_values(graph, sums[0], np.dtype(np.float32)), None
    # The labels are decided in double precision, before the sums are rounded to float32. Of two classes the operator
    # makes a case of its own that looks at one score only; a third that cannot win keeps it from that.
    n_classes = max(forest.n_outputs, 3)
    attributes |= _leaves_3(forest, dtype, "class", n_classes)
    attributes["classlabels_int64s"] = list(range(n_classes))
    code, sums_name = graph.apply_all(
        "TreeEnsembleClassifier", [rows], ["code", "sums"], DOMAIN, **attributes
    )
    if n_classes > forest.n_outputs:
        sums_name = graph.apply("Gather", sums_name, graph.constant([0, 1], np.int64), axis=1)
    return _as_values(graph, sums_name, np.dtype(np.float32)), code


def _check_opset_3(forest: Forest, tests: Tests, dtype: np.dtype[Any], decides: bool) -> None:
    advice = "use opset=5"
    sizes = [len(tests.codes[s]) for s in np.unique(forest.nodes.category_set) if s >= 0]
    if max(sizes, default=0) > 1:
        raise UnsupportedModelError(
            f"ai.onnx.ml 3 has no test for a set of categories, and a split has {max(sizes)} of them; {advice}"
        )
    if dtype == np.float32:
        return
    if _largest_sum(forest) >= float(np.finfo(np.float32).max):
        raise UnsupportedModelError(
            f"ai.onnx.ml 3 gives sums as float32, and those of this model may be as large as {_largest_sum(forest):.3g}; {advice}"
        )
    if decides and forest.divisor != 1.0 and not sums_are_exact(forest):
        raise UnsupportedModelError(
            f"the sums of this model are divided by {forest.divisor:g}, after which classes can tie; the classifier of"
            f" ai.onnx.ml 3 decides before: {advice}"
        )
    if forest.is_classifier and not decides and _lowest_bit(forest) < SMALLEST_BIT:
        raise UnsupportedModelError(
            "ai.onnx.ml 3 gives sums as float32, and the leaves of this model are so small that a sum which decides for a"
            f" class could become zero; {advice}"
        )


def _nodes_3(forest: Forest, tests: Tests) -> dict[str, Any]:
    from onnx import numpy_helper

    nodes, is_leaf, dtype = forest.nodes, forest.is_leaf, tests.threshold.dtype
    tree, place = forest.tree_of_node, np.arange(forest.n_nodes)
    place = place - forest.tree_start[tree]
    member = np.array([c[0] if len(c) else 0 for c in tests.codes] or [0], dtype)[nodes.category_set]
    is_equal = tests.mode == MEMBER
    mode = np.where(
        is_leaf,
        "LEAF",
        np.array([MODES.get(m, "") for m in range(MEMBER + 1)])[np.where(is_equal, EQ, tests.mode)],
    )
    columns: dict[str, NDArray[Any]] = {
        "treeids": tree + _shift(forest),
        "nodeids": place,
        "featureids": np.where(is_leaf, 0, tests.feature),
        "truenodeids": np.where(is_leaf, 0, place + 1),
        "falsenodeids": np.where(is_leaf, 0, place + nodes.right - np.arange(forest.n_nodes)),
        "missing_value_tracks_true": nodes.nan_left.astype(int),
        "modes": mode,
        "values": np.where(is_equal, member, np.where(is_leaf, 0, tests.threshold)).astype(dtype),
    }
    constant = {"treeids": _constant_tree(forest), "modes": "LEAF"}
    joined = {
        f"nodes_{name}": _join(forest, array, [constant.get(name, 0)]) for name, array in columns.items()
    }
    values = joined.pop("nodes_values")
    lists: dict[str, Any] = {name: array.tolist() for name, array in joined.items()}
    return lists | _numbers("nodes_values", values, dtype, numpy_helper)


def _shift(forest: Forest) -> int:
    """The number of the first tree: that of the bias stands in front, unless it is added last."""
    return 0 if forest.bias_last else 1


def _constant_tree(forest: Forest) -> int:
    return forest.n_trees if forest.bias_last else 0


def _join(forest: Forest, array: NDArray[Any], constant: Any) -> NDArray[Any]:
    """The entries of the trees and of the constant tree, which is always there: it gives every class a score."""
    constant = np.asarray(constant, array.dtype)
    return np.concatenate([array, constant] if forest.bias_last else [constant, array])


def _numbers(name: str, array: NDArray[Any], dtype: np.dtype[Any], numpy_helper: Any) -> dict[str, Any]:
    """An attribute of floats, or the tensor of doubles that stands beside it."""
    if dtype == np.float32:
        return {name: array.tolist()}
    return {f"{name}_as_tensor": numpy_helper.from_array(array.astype(dtype), f"{name}_as_tensor")}


def _leaves_3(forest: Forest, dtype: np.dtype[Any], kind: str, n_columns: int) -> dict[str, Any]:
    """Attributes that say what each leaf adds to which output; outputs beyond the forest's get the lowest number."""
    from onnx import numpy_helper

    width, leaf = forest.values.shape[1], np.flatnonzero(forest.is_leaf)
    tree = forest.tree_of_node[leaf]
    place, values = leaf - forest.tree_start[tree], forest.values[forest.nodes.leaf[leaf]]
    ids = np.tile(np.arange(width), (len(leaf), 1))
    if width == 1:
        ids = ids + np.maximum(forest.tree_output, 0)[tree][:, None]
    lowest = np.full(n_columns - forest.n_outputs, np.finfo(dtype).min)
    columns = {
        "treeids": (np.repeat(tree + _shift(forest), width), np.full(n_columns, _constant_tree(forest))),
        "nodeids": (np.repeat(place, width), np.zeros(n_columns, int)),
        "ids": (ids.ravel(), np.arange(n_columns)),
    }
    lists = {f"{kind}_{name}": _join(forest, *parts).tolist() for name, parts in columns.items()}
    weights = _join(forest, values.ravel().astype(dtype), np.concatenate([forest.bias.astype(dtype), lowest]))
    return lists | _numbers(f"{kind}_weights", weights, dtype, numpy_helper)
