"""Bit vectors in the tables of the shared library: the arrays of `engines.bit_layout`, of all runs, in C's order.

A pair has a second column only where some test reads it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bit_layout
from ensemble_compress.engines.bit_layout import BLOCK, BitVectors
from ensemble_compress.forest import Forest
from ensemble_compress.writers.library_columns import Table, joined

MOST_COLUMNS = 512
"""The ranks of a block of rows lie on the stack: 128 kB of it."""

STEP_NS, TEST_NS, RANK_NS = 1.0, 1.3, 0.7
"""A row one node on; a test on a few rows; a value one step on in the search for its rank (measured with AVX2)."""

MOST_ROWS = 2**31
"""So many rows are never there: a run of which they are asked is always walked."""

TEST = np.dtype([("at", "u4"), ("above", "u4"), ("mask", "u4")])


def lay_out(arrays: Any) -> BitVectors | None:
    """The layout of a run; None where it cannot be, or its ranks need too much room."""
    bits = bit_layout.lay_out(*arrays)
    return bits if bits is not None and n_columns(bits) <= MOST_COLUMNS else None


def n_columns(bits: BitVectors) -> int:
    """The columns of a block of ranks."""
    return len(bits.columns.feature) + int(bits.columns.has_below.sum())


def columns(bits: BitVectors) -> tuple[NDArray[Any], NDArray[Any]]:
    """The number of each pair's first column, and of its second one; 0 where it has none."""
    has_below = bits.columns.has_below.astype(np.int64)
    above = np.arange(len(has_below)) + np.cumsum(has_below) - has_below
    return above, (above + 1) * has_below


def tables(forest: Forest, parts: list[tuple[int, BitVectors | None]]) -> dict[str, Table]:
    """The arrays that bit vectors read, by their C macro with the C type of an element.

    Parameters
    ----------
    forest : Forest
        The forest.
    parts : list of (int, BitVectors or None)
        The number of trees of each run, and its layout; None where it is not run so.
    """
    n_words = [np.zeros(n, np.int64) if bits is None else np.diff(bits.word_start) for n, bits in parts]
    levels = [np.zeros(n, np.int32) if bits is None else bits.levels for n, bits in parts]
    runs = [bits for _, bits in parts if bits is not None]
    items = joined(np.dtype("u4"), [bits.row.astype(np.uint32) for bits in runs])
    arrays = {
        "TESTS": ("test_t", joined(TEST, [_tests(bits) for bits in runs])),
        "LEVELS": ("int32_t", joined(np.dtype("i4"), levels)),
        "WORD_START": ("uint32_t", _bounds(n_words)),
        "TEST_START": ("uint32_t", _bounds([np.diff(bits.test_start) for bits in runs])),
    }
    if forest.values.shape[1] == 1:
        arrays["PLACE_VALUES"] = "SUM", np.ascontiguousarray(forest.values[items, 0])
        arrays["NEXT_OF_OUTPUT"] = "uint32_t", _next_of_output(forest.tree_output.clip(0))
    else:
        arrays["PLACE_ITEMS"] = "uint32_t", items
    return arrays


def _bounds(sizes: list[NDArray[np.int64]]) -> NDArray[np.uint32]:
    """Where each of some parts begins that lie one behind the other, and where the last one ends."""
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])).astype(np.uint32)


def _next_of_output(tree_output: NDArray[np.int32]) -> NDArray[np.uint32]:
    """For each tree the next one that adds to the same output; behind the last tree where there is none."""
    found = np.full(len(tree_output), len(tree_output), np.uint32)
    order = np.argsort(tree_output, kind="stable")
    is_same = tree_output[order[1:]] == tree_output[order[:-1]]
    found[order[:-1][is_same]] = order[1:][is_same]
    return found


def _tests(bits: BitVectors) -> NDArray[Any]:
    pair, is_second = np.divmod(bits.column // BLOCK, 2)
    tests = np.empty(len(bits.column), TEST)
    tests["at"] = BLOCK * (columns(bits)[0][pair] + is_second)
    tests["above"], tests["mask"] = bits.above.view(np.uint32), bits.mask.view(np.uint32)
    return tests


def fewest_rows(bits: BitVectors, n_leaves: NDArray[np.int32]) -> int:
    """So many rows cost as much by bit vectors as walked, one after the other."""
    row = STEP_NS * (1.3 * np.log2(n_leaves) + 1).sum() - RANK_NS * bits.columns.n_steps.sum()
    block = TEST_NS * len(bits.column)
    return max(2, int(np.ceil(block / row))) if row > block / MOST_ROWS else MOST_ROWS
