"""Bit vectors in the tables of the shared library: the arrays of `engines.bitvector`, of all runs, in C's order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bitvector
from ensemble_compress.engines.columns import BELOW_ALL, float32_below
from ensemble_compress.forest import Forest

MOST_COLUMNS = 512
"""The ranks of a block of rows lie on the stack: 64 kB of it."""

STEP_NS, TEST_NS, RANK_NS = 1.6, 1.3, 0.7
"""A row one node on; a test on a block of rows; a value one step on in the search for its rank (measured with AVX2)."""

MOST_ROWS = 2**31
"""So many rows are never there: a run of which they are asked is always walked."""

COLUMN = np.dtype(
    [("first_cut", "u4"), ("n_cuts", "u4"), ("feature", "u4"), ("set", "i4"), ("missing", "i4")]
)
TEST = np.dtype([("column", "u4"), ("above", "i2"), ("mask", "u2")])


def lay_out(arrays: Any) -> bitvector.BitVectors | None:
    """The layout of a run; None where it cannot be, or its ranks need too much room."""
    bits = bitvector.lay_out(*arrays)
    return bits if bits is not None and n_columns(bits) <= MOST_COLUMNS else None


def tables(
    forest: Forest, parts: list[tuple[int, bitvector.BitVectors | None]]
) -> dict[str, tuple[str, NDArray[Any]]]:
    """The arrays that bit vectors read, by their C macro with the C type of an element.

    Parameters
    ----------
    forest : Forest
        The forest.
    parts : list of (int, BitVectors or None)
        The number of trees of each run, and its layout; None where it is not run so.
    """
    n_words = [np.zeros(n, np.int64) if bits is None else np.diff(bits.word_start) for n, bits in parts]
    runs = [bits for _, bits in parts if bits is not None]
    n_tests = [np.diff(bits.test_start) for bits in runs]
    first_cuts = np.cumsum([0, *(len(bits.columns.cuts) for bits in runs)])
    columns = [_columns(bits, at) for bits, at in zip(runs, first_cuts[:-1], strict=True)]
    cuts = _joined(np.dtype("f8"), [bits.columns.cuts for bits in runs])
    items = _joined(np.dtype("u4"), [bits.row.astype(np.uint32) for bits in runs])
    arrays = {
        "COLUMNS": ("column_t", _joined(COLUMN, columns)),
        "TESTS": ("test_t", _joined(TEST, [_tests(bits) for bits in runs])),
        # Rounded down, they decide alike for every float32 value.
        "CUTS": ("VALUE", cuts if forest.x_dtype == "float64" else float32_below(cuts)),
        "WORD_START": ("uint32_t", _bounds(n_words)),
        "TEST_START": ("uint32_t", _bounds(n_tests)),
    }
    if forest.values.shape[1] == 1:
        arrays["PLACE_VALUES"] = "SUM", np.ascontiguousarray(forest.values[items, 0])
    else:
        arrays["PLACE_ITEMS"] = "uint32_t", items
    return arrays


def _bounds(sizes: list[NDArray[np.int64]]) -> NDArray[np.uint32]:
    """Where each of some parts begins that lie one behind the other, and where the last one ends."""
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])).astype(np.uint32)


def _joined(dtype: np.dtype[Any], parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def n_columns(bits: bitvector.BitVectors) -> int:
    """The columns that any test of a run reads."""
    return len(_used(bits))


def _used(bits: bitvector.BitVectors) -> NDArray[np.int32]:
    """The columns that any test reads."""
    return np.unique(bits.column // bitvector.BLOCK)


def _columns(bits: bitvector.BitVectors, first_cut: int) -> NDArray[Any]:
    pair, sends_left = np.divmod(_used(bits), 2)
    of_pair = bits.columns
    columns = np.empty(len(pair), COLUMN)
    columns["first_cut"] = of_pair.cut_start[pair] + first_cut
    columns["set"] = of_pair.category_set[pair]
    columns["n_cuts"] = np.where(columns["set"] >= 0, 1, np.diff(of_pair.cut_start)[pair])
    columns["feature"] = of_pair.feature[pair]
    columns["missing"] = np.where(sends_left, BELOW_ALL, of_pair.above_all[0])
    return columns


def _tests(bits: bitvector.BitVectors) -> NDArray[Any]:
    tests = np.empty(len(bits.column), TEST)
    tests["column"] = np.searchsorted(_used(bits), bits.column // bitvector.BLOCK)
    tests["above"], tests["mask"] = bits.above & 0xFFFF, bits.mask & 0xFFFF
    return tests


def fewest_rows(bits: bitvector.BitVectors, n_leaves: NDArray[np.int32]) -> int:
    """So many rows cost as much by bit vectors as walked, one after the other."""
    n_cuts = np.diff(bits.columns.cut_start)[_used(bits) // 2]
    row = STEP_NS * (1.3 * np.log2(n_leaves) + 1).sum() - RANK_NS * np.log2(n_cuts).sum()
    block = TEST_NS * len(bits.column)
    return max(2, int(np.ceil(block / row))) if row > block / MOST_ROWS else MOST_ROWS
