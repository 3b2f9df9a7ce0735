"""Hypothesis strategies: any valid Forest, and rows made to hurt it.

`forests()` draws forests of every kind that the invariants allow; its keywords narrow the kinds for parts of the
library that take fewer. `large_forests()` draws fewer kinds, but many and large trees. `rows_for(forest)` draws rows whose cells lie on the forest's thresholds, beside them, in and
out of its category sets, and at the ends of the number line.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ensemble_compress import predict
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import NO_SETS, Nodes, make_sets

THRESHOLDS = (
    *(0.0, -0.0, 0.5, 1.0, -1.0, 0.1, 1 / 3, float("inf"), float("-inf")),
    # Below float32's normal numbers, below all of its numbers, above them, and a hair's breadth off them.
    *(1e-40, -1e-40, 1.4e-45, 1e-46, -1e-46, 5e-324, -5e-324, 1e300, -1e300),
    *(1 + 2**-52, 1 - 2**-53, 16777217.0, 3.4028234663852886e38, 3.4028235677973366e38),
)
CODES = (0, 1, 2, 5, 30, 31, 32, 33, 63, 64, 70)
NUMBERS = (
    *(0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan")),
    *(1e-40, -1e-40, 1e-45, -1e-45, 5e-324, -5e-324, 3e38, -3e38, 1e300, -1e300),
    # Codes: fractional, negative, at the ends of words, beyond every integer type.
    *(0.5, -0.5, -0.99, -2.0, 1.999, 31.0, 32.0, 31.5, 2.0**31, 2.0**32, 2.0**63, 2.0**64, -(2.0**31), 1e20),
)


@st.composite
def forests(
    draw: st.DrawFn,
    *,
    max_trees: int = 6,
    max_features: int = 5,
    max_splits: int = 7,
    x_dtypes: tuple[str, ...] = ("float32", "float64"),
    value_dtypes: tuple[str, ...] = ("float32", "float64"),
    links: tuple[str, ...] = tuple(predict.LINKS),
    widths: tuple[str, ...] = ("one", "vector"),
    max_outputs: int = 3,
    categorical: bool = True,
    classifier: bool | None = None,
    handles_nan: bool | None = None,
    values: st.SearchStrategy[float] | None = None,
) -> Forest:
    """Any valid Forest of 1 to `max_trees` trees with 0 to `max_splits` splits each.

    `classifier` and `handles_nan` are drawn where None; `widths` says whether leaves hold one value or a value for
    each output; `values` draws leaf values and biases.
    """
    link = draw(st.sampled_from(links))
    n_features = draw(st.integers(1, max_features))
    n_outputs = draw(st.integers(1, max_outputs))
    width = n_outputs if draw(st.sampled_from(widths)) == "vector" else 1
    dtype = np.dtype(draw(st.sampled_from(value_dtypes)))
    sets = draw(st.lists(st.lists(st.sampled_from(CODES), max_size=6), max_size=3)) if categorical else []
    value_rows = draw(_value_rows(width, dtype, values))
    shapes = draw(st.lists(st.integers(0, max_splits), min_size=1, max_size=max_trees))
    columns, tree_start = _draw_trees(draw, shapes, n_features, len(sets), len(value_rows))
    return Forest(
        nodes=columns,
        tree_start=tree_start,
        tree_output=draw(_tree_outputs(len(shapes), width, n_outputs)),
        values=value_rows,
        bias=draw(_value_rows(n_outputs, dtype, values))[0],
        n_features=n_features,
        divisor=draw(st.sampled_from([1.0, 1.0, 3.0, 10.0, 0.3])),
        link=link,
        link_scale=draw(st.sampled_from([1.0, 2.0, 0.5])) if link == "sigmoid" else 1.0,
        x_dtype=draw(st.sampled_from(x_dtypes)),
        classes=draw(_classes(n_outputs, classifier)),
        category_sets=make_sets(sets) if sets else NO_SETS,
        category_rule=draw(_category_rules(columns)),
        handles_nan=draw(st.booleans()) if handles_nan is None else handles_nan,
        feature_names=draw(st.sampled_from([None, tuple(f"column {f}" for f in range(n_features))])),
        tie_class=draw(st.integers(0, 1)),
        bias_last=len(shapes) % 2 == 0,
    )


@st.composite
def large_forests(draw: st.DrawFn, *, max_trees: int = 80, max_splits: int = 70) -> Forest:
    """Forests of many trees and of trees of many splits, beside small ones: of one drawn seed, for speed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_trees, most = draw(st.integers(1, max_trees)), draw(st.integers(1, max_splits))
    n_outputs, is_wide = draw(st.integers(1, 3)), draw(st.booleans())
    dtype = draw(st.sampled_from(["float32", "float64"]))
    has_sets = draw(st.booleans())
    return Forest(
        *_grow_trees(rng, rng.integers(0, most + 1, n_trees), n_features=6, n_sets=3 * has_sets),
        np.full(n_trees, -1) if is_wide else rng.integers(0, n_outputs, n_trees),
        rng.normal(size=(40, n_outputs if is_wide else 1)).astype(dtype),
        rng.normal(size=n_outputs).astype(dtype),
        n_features=6,
        x_dtype=draw(st.sampled_from(["float32", "float64"])),
        category_sets=make_sets([rng.choice(CODES, k).tolist() for k in (0, 3, 8)]) if has_sets else NO_SETS,
    )


def _grow_trees(
    rng: np.random.Generator, shapes: NDArray[Any], n_features: int, n_sets: int
) -> tuple[Nodes, list[int]]:
    """The nodes of trees with `shapes` splits each, and where the trees start; covers are counts of rows, or unknown."""
    columns: list[list[Any]] = []
    tree_start = [0]
    knows_cover = bool(rng.integers(2))
    pieces = np.append(rng.choice(THRESHOLDS, 5), rng.normal(size=20)).tolist()

    def grow(n_splits: int, cover: int) -> None:
        j = len(columns)
        if n_splits == 0:
            columns.append([-1, 0.0, -1, False, -1, rng.integers(40), cover * knows_cover, j])
            return
        s = rng.integers(-1, n_sets) if rng.random() < 0.5 else -1
        threshold = pieces[rng.integers(25)] if s < 0 else 0.0
        columns.append(
            [rng.integers(n_features), threshold, 0, rng.random() < 0.3, s, -1, cover * knows_cover, j]
        )
        n_left = rng.integers(n_splits)
        of_left = int(cover * (n_left + 1) / (n_splits + 1))
        grow(n_left, of_left)
        columns[j][2] = len(columns)
        grow(n_splits - 1 - n_left, cover - of_left)

    for n_splits in shapes.tolist():
        grow(n_splits, 1000)
        tree_start.append(len(columns))
    return Nodes(*(np.array(column) for column in zip(*columns, strict=True))), tree_start


def rows_for(forest: Forest, max_rows: int = 40) -> st.SearchStrategy[NDArray[Any]]:
    """Adversarial rows for `forest`, of its `x_dtype`; without NaN where it has no rule for it."""
    return st.builds(
        lambda n_rows, seed: hard_rows(forest, n_rows, seed),
        st.integers(0, max_rows),
        st.integers(0, 2**32 - 1),
    )


def hard_rows(forest: Forest, n_rows: int = 100, seed: int = 0) -> NDArray[Any]:
    """`n_rows` rows whose cells are picked at random from `hard_numbers` of their columns."""
    choose = np.random.default_rng(seed).choice
    columns = [choose(hard_numbers(forest, f), n_rows) for f in range(forest.n_features)]
    return np.column_stack(columns) if columns else np.empty((n_rows, 0), forest.x_dtype)


def hard_numbers(forest: Forest, f: int) -> NDArray[Any]:
    """Numbers where column `f` decides: thresholds and their neighbours in `x_dtype`, codes, the ends of the line."""
    dtype = np.dtype(forest.x_dtype)
    tests = forest.nodes.feature == f
    numeric = tests & (forest.nodes.category_set < 0)
    with np.errstate(over="ignore"):
        at = np.unique(forest.nodes.threshold[numeric]).astype(dtype)
        numbers = np.array(NUMBERS).astype(dtype)
        below, above = (np.nextafter(at, dtype.type(end)) for end in (-np.inf, np.inf))
    codes = np.array(CODES if (tests & ~numeric).any() else (), dtype)
    hard = np.concatenate([at, below, above, numbers, codes, codes + dtype.type(0.75), -codes])
    return hard if forest.handles_nan else hard[~np.isnan(hard)]


def _draw_trees(
    draw: st.DrawFn, shapes: list[int], n_features: int, n_sets: int, n_values: int
) -> tuple[Nodes, list[int]]:
    """The nodes of trees with `shapes` splits each, and where the trees start."""
    knows_cover = draw(st.booleans())
    columns: list[list[Any]] = []
    tree_start = [0]

    def grow(n_splits: int) -> float:
        """Append a subtree, left before right, and return its cover."""
        j = len(columns)
        if n_splits == 0:
            cover = float(draw(st.integers(1, 9))) if knows_cover else 0.0
            columns.append([-1, 0.0, -1, False, -1, draw(st.integers(0, n_values - 1)), cover])
            return cover
        s = draw(st.integers(-1, n_sets - 1))
        threshold = draw(_thresholds) if s < 0 else 0.0
        columns.append([draw(st.integers(0, n_features - 1)), threshold, 0, draw(st.booleans()), s, -1, 0.0])
        n_left = draw(st.integers(0, n_splits - 1))
        cover = grow(n_left)
        columns[j][2] = len(columns)
        columns[j][6] = cover + grow(n_splits - 1 - n_left)
        return float(columns[j][6])

    for n_splits in shapes:
        grow(n_splits)
        tree_start.append(len(columns))
    # Source libraries number nodes as they like; any numbers will do as long as they are carried along.
    node_id = [draw(st.integers(0, 3)) + 7 * (len(columns) - j) for j in range(len(columns))]
    return Nodes(*(np.array(column) for column in zip(*columns, strict=True)), np.array(node_id)), tree_start


_thresholds = st.one_of(
    st.sampled_from(THRESHOLDS),
    st.integers(-4, 4).map(float),
    st.floats(-10, 10),
    st.floats(allow_nan=False),
)

_leaf_values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 1e-30, -1e30, 1e-45]),
    st.floats(-100, 100),
)


def _value_rows(
    width: int, dtype: np.dtype[Any], values: st.SearchStrategy[float] | None
) -> st.SearchStrategy[NDArray[Any]]:
    """One to five rows of values; few, so that leaves share them."""
    row = st.lists(_leaf_values if values is None else values, min_size=width, max_size=width)
    return st.lists(row, min_size=1, max_size=5).map(lambda rows: np.array(rows, dtype))


def _tree_outputs(n_trees: int, width: int, n_outputs: int) -> st.SearchStrategy[list[int]]:
    if width > 1:
        return st.just([-1] * n_trees)
    lowest = 0 if n_outputs > 1 else -1
    return st.lists(st.integers(lowest, n_outputs - 1), min_size=n_trees, max_size=n_trees)


def _category_rules(nodes: Nodes) -> st.SearchStrategy[str]:
    """Any rule; the first where a column is tested both ways."""
    is_set, is_split = nodes.category_set >= 0, nodes.feature >= 0
    both = set(nodes.feature[is_set]) & set(nodes.feature[is_split & ~is_set])
    return st.sampled_from(predict.CATEGORY_RULES[:1] if both else predict.CATEGORY_RULES)


def _classes(n_outputs: int, classifier: bool | None) -> st.SearchStrategy[NDArray[Any] | None]:
    n_classes = max(n_outputs, 2)
    labels = (
        np.arange(n_classes),
        np.array([10, 20, 35][:n_classes]),
        np.array(["ant", "bee", "cicada"][:n_classes]),
        np.array([0.5, 1.5, 2.5][:n_classes]),
    )
    kinds = {True: labels, False: (None,), None: (None, *labels)}[classifier]
    return st.sampled_from(kinds)
