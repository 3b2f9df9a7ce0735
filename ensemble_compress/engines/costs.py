"""What an engine is likely to cost: nanoseconds, measured on an AVX2 processor at 3.4 GHz, of which only the ratios matter."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ensemble_compress.engines import bit_layout, bitvector, heap_layout, one_row_lists, packed_layout

CALL = 1500.0
"""The scratch of an engine that has some."""

PLAIN_STEP = 4.5
"""A row one level down a tree by the plain walk."""

PACKED_STEP = 0.8
"""The same by the packed walk, whose eight lanes wait for the slowest."""

PACKED_LEAF = 2.0
"""A row's way into a tree and its leaf's value, by the packed walk."""

HEAP_STEP = 0.4
"""A row one level down a tree by the heap walk."""

HEAP_LEAF = 2.0
"""A row's way through a tree's uppermost levels and its leaf's value, by the heap walk."""

TEST = 0.012
"""A row's share of a test by bit vectors."""

FEW_TIMES = 2.2
"""So many times that where few rows are a block."""

BITS_LEAF = 0.24
"""A row's leaf's value by bit vectors."""

KEY = 1.0
"""A value's key where nothing is searched for."""

SEARCH_STEP = 1.0
"""A value's bucket, or one step on in the search for its rank."""

ONE_STEP = 2.0
"""A row one level down a tree on the latency path, eight trees at a time."""

ONE_LEAF = 3.0
"""A row's way into a tree and its leaf's value, likewise."""

ONE_LIST = 16.0
"""A value's place in its list on the latency path of small trees."""

ONE_STATE = 0.013
"""A byte of a state, likewise."""

ONE_SPLIT = 0.8
"""A split that is tried, likewise."""

ONE_WORD = 1.2
"""A tree's leaf and its value, likewise."""


LAYOUT, LAYOUT_NODE = 1.4e6, 250.0
"""Trees laid out for another engine than the plain walk, and a node of them."""


def of_layout(n_nodes: int) -> float:
    """Trees laid out for another engine than the plain walk."""
    return LAYOUT + LAYOUT_NODE * n_nodes


def of_keys(columns: Any) -> float:
    """Finding the keys of a row."""
    if not len(columns.cuts):
        return KEY * len(columns.feature)
    return float((KEY + SEARCH_STEP * columns.n_steps).sum())


def of_walk(n_rows: int, n_steps: float, n_trees: int) -> float:
    """Rows that pass `n_steps` splits each, by the plain walk."""
    return n_rows * PLAIN_STEP * (n_steps + n_trees)


def of_packed(trees: Any, n_rows: int, n_steps: float, n_trees: int) -> float:
    """The same by the packed walk."""
    row = PACKED_STEP * n_steps + PACKED_LEAF * n_trees + of_keys(trees.columns)
    return CALL + _whole(n_rows, packed_layout.BLOCK) * row


def of_heaps(trees: Any, n_rows: int, n_steps: float, n_trees: int) -> float:
    """The same by the heap walk."""
    row = HEAP_STEP * n_steps + HEAP_LEAF * n_trees + of_keys(trees.columns)
    return CALL + _whole(n_rows, heap_layout.BLOCK) * row


def gain_of_heaps(trees: Any, n_steps: float, n_trees: int, *, of_bits: bool) -> float:
    """What a row gains by the heap walk over the packed walk, whose keys may be bits that nobody has to search for."""
    gained = (PACKED_STEP - HEAP_STEP) * n_steps + (PACKED_LEAF - HEAP_LEAF) * n_trees
    return gained - (of_keys(trees.columns) - KEY * len(trees.columns.feature) if of_bits else 0)


def of_bits(trees: Any, n_rows: int) -> float:
    """Rows by bit vectors."""
    row = TEST * len(trees.column) + BITS_LEAF * len(trees.tree_output) + of_keys(trees.columns)
    if n_rows <= bitvector.MOST_FEW:
        return CALL + _whole(n_rows, bitvector.FEW) * FEW_TIMES * row
    return CALL + _whole(n_rows, bit_layout.BLOCK) * row


def of_row(n_steps: float, n_trees: int) -> float:
    """A row on the latency path, whose keys are found already."""
    return ONE_STEP * n_steps + ONE_LEAF * n_trees


def of_lists(groups: Iterable[Any], n_rows: int) -> float:
    """Rows on the latency path of small trees."""
    return n_rows * sum(map(_of_group, groups))


def _of_group(group: Any) -> float:
    """The words and leaves of a row in a group of trees."""
    n_trees, n_splits = len(group.tree_output), np.diff(group.split_start)[::2]
    n_bytes = one_row_lists.state_bytes(n_trees, group.mask.itemsize)
    step = 1 << one_row_lists.state_shift(n_bytes)
    of_states = ONE_STATE * n_bytes * np.count_nonzero(n_splits >= step)
    of_splits = ONE_SPLIT * float(np.minimum(n_splits, step).sum()) / 2
    return float(ONE_LIST * len(n_splits) + of_states + of_splits + ONE_WORD * n_trees)


def _whole(n_rows: int, group: int) -> int:
    """`n_rows` made up to whole groups."""
    return -(-n_rows // group) * group
