"""Cutting the trees of a forest into runs of neighbours that suit the same engine: `engines.plan` and the shared library do so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bit_layout, oblivious

FEWEST_TREES = 8
"""Shorter runs of small trees are no gain to bit vectors: they are walked."""


def find_small(nodes: Any, tree_start: NDArray[np.int32]) -> NDArray[np.bool_]:
    """For each tree whether bit vectors may have it: it has few leaves, or is oblivious."""
    n_leaves = (np.diff(tree_start) + 1) // 2
    return (n_leaves <= bit_layout.MOST_LEAVES) | (oblivious.find_levels(nodes, tree_start) > 0)


def take_trees(arrays: Any, first: int, last: int) -> tuple[Any, Any, Any, Any, Any]:
    """Nodes, category sets, starts and outputs of trees, and values, of the trees from `first` to `last`."""
    nodes, sets, tree_start, tree_output, values = arrays
    start, stop = tree_start[first], tree_start[last]
    part = type(nodes)(*(_read_only(field[start:stop]) for field in nodes))
    right = np.where(part.right >= 0, part.right - start, -1).astype(np.int32)
    starts = _read_only(tree_start[first : last + 1] - start)
    return part._replace(right=_read_only(right)), sets, starts, _read_only(tree_output[first:last]), values


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Read-only arrays are another type to Numba, and those of a Forest are."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
