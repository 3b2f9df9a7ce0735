"""The first prediction of a process: what can be compiled ahead of it is compiled by predicting with small forests."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ensemble_compress.engines import (
    bitvector,
    heap_walk,
    one_row,
    one_row_bits,
    packed_walk,
    sparse,
    walk,
)
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

KINDS = (("float32", "float32"), ("float32", "float64"), ("float64", "float64"))
"""Dtypes of rows and of leaf values that the readers' forests have: XGBoost's, scikit-learn's, and all others."""

ENGINES: dict[str, Any] = {
    "walk": walk,
    "packed": packed_walk,
    "heaps": heap_walk,
    "bits": bitvector,
    "one_row": one_row,
    "one_row_bits": one_row_bits,
}
"""By the name that a run of trees has for what they run."""

N_TREES, N_ROWS = 8, 512


def warm_up() -> None:
    """Compile what a prediction needs and keep it on disk, so that the first one doesn't wait for it.

    For float32 and float64 rows, few and many, dense and sparse. It takes some seconds the first time, and a fraction of one
    in later processes. Where no directory can be written to, the compiled code lasts as long as the process.

    Examples
    --------
    >>> import ensemble_compress as ec
    >>> ec.warm_up()
    """
    for compile_part in parts():
        compile_part()


def parts(kinds: Sequence[tuple[str, str]] = KINDS) -> list[Callable[[], None]]:
    """What `warm_up` calls, in any order: several processes that begin at different ones share the work."""
    engines = [partial(_compile_engine, *kind, name) for kind in kinds for name in ENGINES]
    return [*engines, *(partial(_compile_sparse, x_dtype) for x_dtype in ("float32", "float64"))]


def _compile_engine(x_dtype: str, value_dtype: str, name: str) -> None:
    """Predict by one engine, called by the name of its layout in a run, where it can have the trees."""
    (run,) = _stumps(x_dtype, value_dtype)._plan.runs
    trees, engine = getattr(run, name), ENGINES[name]
    if trees is None:
        return
    rows = np.zeros((N_ROWS, 1), x_dtype)
    engine.add_margins(trees, rows, 0, 1, np.zeros((1, 1), value_dtype))
    if hasattr(engine, "find_leaves"):
        engine.find_leaves(trees, rows, 0, 1, np.zeros((1, N_TREES), np.int32))


def _compile_sparse(x_dtype: str) -> None:
    nothing = np.zeros(2, np.int64)
    sparse.dense_block(sparse.Rows(nothing, nothing[:0], np.zeros(0)), 0, 1, 1, x_dtype, 0.0)


def _stumps(x_dtype: str, value_dtype: str) -> Forest:
    """Trees of one split each."""
    columns: dict[str, list[Any]] = {
        "feature": [0, -1, -1],
        "threshold": [0.0, 0.0, 0.0],
        "right": [2, -1, -1],
        "nan_left": [False] * 3,
        "category_set": [-1] * 3,
        "leaf": [-1, 0, 1],
        "cover": [0.0] * 3,
        "node_id": [0, 1, 2],
    }
    nodes = Nodes(**{name: np.tile(column, N_TREES) for name, column in columns.items()})
    start = 3 * np.arange(N_TREES + 1, dtype=np.int32)
    right = np.where(nodes.right >= 0, nodes.right + np.repeat(start[:-1], 3), -1)
    values = np.zeros((2, 1), value_dtype)
    return Forest(
        nodes=nodes._replace(right=right),
        tree_start=start,
        tree_output=np.zeros(N_TREES, np.int32),
        values=values,
        bias=values[0],
        n_features=1,
        x_dtype=x_dtype,
    )
