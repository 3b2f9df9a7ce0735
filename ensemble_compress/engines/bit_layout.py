"""The layout of bit vectors: the tests of trees of at most 64 leaves, word by word, and what their kernels read beside them.

`engines.bitvector` tells what words and tests are. An oblivious tree (`engines.oblivious`) has a test a level, and may have
more leaves.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import Columns, find_columns
from ensemble_compress.engines.oblivious import find_levels

BLOCK = 256
"""Rows whose ranks lie together, column by column."""

WORD = 8
"""Leaves of a word."""

CHUNK = 128
"""Trees whose leaves are found before they are added up."""

MOST_LEAVES = 64
"""Of a tree that is no oblivious one: a bit each, in the words of `engines.one_row_bits` too."""

MOST_PAIRS = 4096
"""The ranks of a block take no more than 2 MB."""


class BitVectors(NamedTuple):
    """A run of trees laid out for this engine.

    Attributes
    ----------
    columns : Columns
        What the rows' keys are made of; the keys are int8 ranks.
    order : ndarray of shape (n_trees,) int32
        In which order trees are added up: within a chunk, those of one output side by side.
    word_start : ndarray of shape (n_trees + 1,) int32
        Where a tree's words begin.
    test_start : ndarray of shape (n_words + 1,) int32
        Where a word's tests begin. All tests of an oblivious tree are its first word's.
    levels : ndarray of shape (n_trees,) int32
        The levels of an oblivious tree, 0 of others.
    column, above, mask : ndarray of shape (n_tests,) int32
        A test: rows whose rank in the column is below `above` keep all bits of the word, others those of `mask`; in an
        oblivious tree others get the bits of `mask`. The column is its first rank's place in a block; the two others are there
        four times, in each of the four bytes.
    row : ndarray of shape (n_words * WORD,) int32
        The row of `values` of each leaf, at the number of its bit.
    leaf_value : ndarray of shape (n_words * WORD,)
        The first value of each leaf.
    node : ndarray of shape (n_words * WORD,) int32
        The node that each leaf is.
    tree_output, values : ndarray
        As in `Forest`.
    """

    columns: Columns
    order: NDArray[np.int32]
    word_start: NDArray[np.int32]
    test_start: NDArray[np.int32]
    levels: NDArray[np.int32]
    column: NDArray[np.int32]
    above: NDArray[np.int32]
    mask: NDArray[np.int32]
    row: NDArray[np.int32]
    leaf_value: NDArray[Any]
    node: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
) -> BitVectors | None:
    """The arrays of a forest as the kernels of `bitvector` want them; None where a tree is too large or columns are too many."""
    is_leaf = nodes.feature < 0
    leaves_before = np.append(0, np.cumsum(is_leaf, dtype=np.int64))
    first_leaf = leaves_before[tree_start]
    n_leaves, levels = np.diff(first_leaf), find_levels(nodes, tree_start)
    if n_leaves[levels == 0].max(initial=0) > MOST_LEAVES:
        return None
    splits = np.flatnonzero(~is_leaf)
    found = find_columns(nodes, sets, splits, np.int8, MOST_PAIRS)
    if found is None:
        return None
    columns, column, rank = found
    word_start = np.append(0, np.cumsum(-(-n_leaves // WORD)))
    tree = np.searchsorted(tree_start, splits, side="right") - 1
    # Nodes lie in pre-order: the leaves of a left subtree are those between the split and its right child.
    begin, end = (leaves_before[j] - first_leaf[tree] for j in (splits, nodes.right[splits]))
    of_levels = levels[tree]
    parts = (
        _tests(begin, np.where(of_levels > 0, begin, end), word_start[tree]),
        _tests_of_levels(splits - tree_start[tree], of_levels, word_start[tree]),
    )
    split, word, mask = (np.concatenate([part[k] for part in parts]) for k in range(3))
    # Tests of one column side by side: its ranks are in the nearest cache then.
    order = np.lexsort((column[split], word))
    split, word, mask = split[order], word[order], mask[order]
    place = _places(n_leaves, word_start)
    row, node = np.zeros(word_start[-1] * WORD, np.int32), np.zeros(word_start[-1] * WORD, np.int32)
    row[place], node[place] = nodes.leaf[is_leaf], np.flatnonzero(is_leaf)
    return BitVectors(
        columns,
        _order(tree_output),
        word_start.astype(np.int32),
        np.searchsorted(word, np.arange(word_start[-1] + 1)).astype(np.int32),
        levels,
        column[split] * np.int32(BLOCK),
        _four_times((rank[split] + 1).astype(np.int8)),
        _four_times(mask),
        row,
        np.ascontiguousarray(values[row, 0]) if len(values) else np.zeros(len(row), values.dtype),
        node,
        tree_output,
        values,
    )


def _tests_of_levels(
    number: NDArray[np.int64], levels: NDArray[np.int32], first_word: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int8]]:
    """(split, word, mask) of the tests of oblivious trees: the first node of each level, which in pre-order comes `number`-th."""
    split = np.flatnonzero(number < levels)
    bit = 1 << (levels[split] - 1 - number[split])
    return split, first_word[split], bit.astype(np.uint8).view(np.int8)


def _order(tree_output: NDArray[np.int32]) -> NDArray[np.int32]:
    """`order` of `BitVectors`. No output's sum sees it; trees that add to all outputs leave the others where they are."""
    tree = np.arange(len(tree_output), dtype=np.int32)
    if tree_output.min(initial=0) < 0:
        return tree
    return np.lexsort((tree, tree_output, tree // CHUNK)).astype(np.int32)


def _four_times(numbers: NDArray[np.int8]) -> NDArray[np.int32]:
    """Each number in every 8 bits of 32."""
    return np.repeat(numbers, 4).view(np.int32)


def _places(n_leaves: NDArray[np.int64], word_start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each leaf lies: a tree's leaves side by side, from its first word on."""
    first = np.repeat(np.append(0, np.cumsum(n_leaves))[:-1], n_leaves)
    return np.asarray(np.repeat(word_start[:-1] * WORD, n_leaves) + np.arange(n_leaves.sum()) - first)


def _tests(
    begin: NDArray[np.int64], end: NDArray[np.int64], first_word: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int8]]:
    """(split, word, mask) of every test: a split clears the leaves `begin` to `end`, which lie in one word or more."""
    found = []
    for k in range(MOST_LEAVES // WORD):
        low, high = np.clip(begin - WORD * k, 0, WORD), np.clip(end - WORD * k, 0, WORD)
        split = np.flatnonzero(high > low)
        cleared = (1 << high[split]) - (1 << low[split])
        found.append((split, first_word[split] + k, (0xFF & ~cleared).astype(np.uint8).view(np.int8)))
    split, word, mask = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return split, word, mask
