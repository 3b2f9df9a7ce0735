"""The naive twin: what a forest answers, by the most obvious walk over Python lists.

It imports nothing of the library and reads a forest by the names of its fields alone, so it cannot share a mistake
with the engines. Slow on purpose: no arrays, no tricks.
"""

import math
from typing import Any

import numpy as np


def codes_of_set(forest: Any, s: int) -> set[int]:
    """The codes of category set `s`, bit by bit."""
    start, words = forest.category_sets
    codes = set()
    for w, word in enumerate(words[start[s] : start[s + 1]].tolist()):
        codes |= {32 * w + bit for bit in range(32) if word & (1 << bit)}
    return codes


def code_of(rule: str, x: float) -> float:
    """The code of a category that `x` says; one below zero is in no set."""
    if math.isinf(x):
        return -1
    return {"floor": math.floor, "truncate": math.trunc, "exact": float}[rule](x)


def goes_left(forest: Any, j: int, x: float) -> bool:
    """Whether a row with the value `x` in the tested column goes left at split `j`."""
    if math.isnan(x):
        return bool(forest.nodes.nan_left[j])
    s = int(forest.nodes.category_set[j])
    if s >= 0:
        return code_of(forest.category_rule, x) in codes_of_set(forest, s)
    return x <= float(forest.nodes.threshold[j])


def children(forest: Any, j: int) -> tuple[int, int]:
    return j + 1, int(forest.nodes.right[j])


def is_split(forest: Any, j: int) -> bool:
    return int(forest.nodes.feature[j]) >= 0


def leaf_below(forest: Any, j: int, row: list[float]) -> int:
    """The node where `row` ends when it starts at node `j`."""
    while is_split(forest, j):
        left, right = children(forest, j)
        j = left if goes_left(forest, j, row[int(forest.nodes.feature[j])]) else right
    return j


def cast(forest: Any, X: Any) -> list[list[float]]:
    """The rows as Python floats, rounded as the forest says."""
    with np.errstate(over="ignore"):
        return np.asarray(X, dtype=forest.x_dtype).astype(np.float64).tolist()


def roots(forest: Any) -> list[int]:
    return forest.tree_start.tolist()[:-1]


def leaves(forest: Any, X: Any) -> np.ndarray:
    """The node where each row ends in each tree, shape (n_rows, n_trees)."""
    rows = cast(forest, X)
    ends = [[leaf_below(forest, root, row) for root in roots(forest)] for row in rows]
    return np.array(ends, np.int32).reshape(len(rows), len(roots(forest)))


def margins(forest: Any, X: Any) -> np.ndarray:
    """(bias + the leaves in tree order) / divisor, every step rounded to the dtype of the values; the bias may come last."""
    number = forest.values.dtype.type
    ends = leaves(forest, X)
    answer = np.empty((len(ends), len(forest.bias)), forest.values.dtype)
    for i, row in enumerate(ends.tolist()):
        sums = [number(0) if forest.bias_last else number(b) for b in forest.bias]
        for t, j in enumerate(row):
            value = forest.values[int(forest.nodes.leaf[j])]
            column = int(forest.tree_output[t])
            if column >= 0:
                sums[column] = number(sums[column] + value[0])
            else:
                sums = [number(s + v) for s, v in zip(sums, value, strict=True)]
        if forest.bias_last:
            sums = [number(s + b) for s, b in zip(sums, forest.bias, strict=True)]
        answer[i] = [number(s / number(forest.divisor)) for s in sums]
    return answer


def sigmoid(m: float) -> float:
    return 1 / (1 + math.exp(-m)) if m >= 0 else math.exp(m) / (1 + math.exp(m))


def softplus(m: float) -> float:
    return max(m, 0.0) + math.log1p(math.exp(-abs(m)))


def exponential(m: float) -> float:
    try:
        return math.exp(m)
    except OverflowError:
        return math.inf


def isolation(m: float) -> float:
    try:
        return -math.pow(2.0, -m)
    except OverflowError:
        return -math.inf


ONE_BY_ONE = {
    "identity": lambda m: m,
    "sigmoid": sigmoid,
    "exp": exponential,
    "softplus": softplus,
    "signed_square": lambda m: math.copysign(m * m, m),
    "step": lambda m: 1.0 if m > 0 else 0.0,
    "isolation": isolation,
}


def link(name: str, margin: list[float], scale: float = 1.0) -> list[float]:
    """The prediction from one row of margins, in double precision."""
    margin = [scale * m for m in margin]
    if name == "samme":
        return link("softmax", [m / max(len(margin) - 1, 1) for m in margin])
    if name == "softmax":
        powers = [math.exp(m - max(margin)) for m in margin]
        return [p / math.fsum(powers) for p in powers]
    return [ONE_BY_ONE[name](m) for m in margin]


def side_of_zero(forest: Any, margin: float) -> int:
    return int(forest.tie_class) if margin == 0 else int(margin > 0)


def class_codes(forest: Any, margin: np.ndarray) -> list[int]:
    """The code of the class that each row of margins decides for."""
    codes = []
    for row in margin.tolist():
        if len(row) == 1:
            codes.append(side_of_zero(forest, row[0]) if len(forest.classes) == 2 else 0)
        else:
            codes.append(row.index(max(row)))
    return codes


def tree_as_lists(forest: Any, j: int, edited: Any = None) -> Any:
    """The subtree at node `j`, nested: (test, node_id, cover, left, right), or (value, node_id, cover) of a leaf.

    `edited` holds for some nodes what they are instead: a leaf's value, or "left" or "right" for the child that takes
    the node's place.
    """
    nodes, edit = forest.nodes, (edited or {}).get(j)
    carried = int(nodes.node_id[j]), float(nodes.cover[j])
    if edit in ("left", "right"):
        return tree_as_lists(forest, children(forest, j)[edit == "right"], edited)
    if edit is not None:
        return edit, *carried
    if not is_split(forest, j):
        return tuple(forest.values[int(nodes.leaf[j])].tolist()), *carried
    s = int(nodes.category_set[j])
    codes = None if s < 0 else sorted(codes_of_set(forest, s))
    test = int(nodes.feature[j]), float(nodes.threshold[j]), bool(nodes.nan_left[j]), codes
    return test, *carried, *(tree_as_lists(forest, child, edited) for child in children(forest, j))


def as_lists(forest: Any, edited: Any = None) -> list[Any]:
    """Every tree as (output, nested tuples): all that decides an answer, however the arrays say it."""
    outputs = forest.tree_output.tolist()
    return [
        (output, tree_as_lists(forest, root, edited))
        for output, root in zip(outputs, roots(forest), strict=True)
    ]
