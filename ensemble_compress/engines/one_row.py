"""The latency path: one row through many trees, eight trees at a time, with as little around it as can be.

For a single row the work of a call is small against what surrounds it: here an array argument costs as much as a few dozen
steps. So a call has three arguments: the addresses of a packed walk's arrays (`engines.packed_walk`) in one table, the rows,
and the sums. What hides the latency of a step is not other rows but other trees; their leaves are then added in tree order.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel, steps
from ensemble_compress.engines.columns import Columns, copy_below, find_keys
from ensemble_compress.engines.packed_layout import BLOCK, Packed
from ensemble_compress.engines.pointers import (
    float32_at,
    float64_at,
    int32_at,
    int64_at,
    stack_of,
    uint8_at,
    uint32_at,
)

LANES = 8
STACK_BYTES = 1 << 15
"""The keys of a row lie on the stack, as far as they take no more."""

COLUMNS = 4
SIZES = COLUMNS + len(Columns._fields)
LENGTHS = SIZES + 4
"""Where in the table the addresses of the columns begin, the sizes, and the lengths of the columns."""


class OneRow(NamedTuple):
    """A run of trees laid out for this engine: its kernel, its table, and the arrays that the table's addresses are of."""

    kernel: Any
    table: NDArray[np.int64]
    starts: NDArray[np.int64]
    packed: Packed


def lay_out(packed: Packed) -> OneRow:
    """The table of a packed walk; the trees are shared with it, not copied."""
    n_trees = len(packed.tree_output)
    starts = np.full(-(-n_trees // LANES) * LANES, 0, np.int64)
    starts[:n_trees] = packed.tree_start[:-1]
    arrays: list[Any] = [starts, packed.record, packed.tree_output, packed.values, *packed.columns]
    sizes = [n_trees, packed.values.shape[1], packed.column_mask, packed.child_shift]
    sizes += [len(array) for array in packed.columns]
    table = np.array([*(array.ctypes.data for array in arrays), *sizes], np.int64)
    kernel = _add_margins32 if packed.values.dtype == np.float32 else _add_margins64
    return OneRow(kernel, table, starts, packed)


@intrinsic  # type: ignore[untyped-decorator]
def _walk_trees(
    typing_context: Any, starts: Any, record: Any, keys: Any, mask: Any, shift: Any, row: Any
) -> Any:
    """Write to `row` the rows of `values` of the leaves that a row ends in, in the `LANES` trees that begin at `starts`.

    `starts` and `record` are addresses.
    """
    signature = types.void(starts, record, keys, mask, shift, row)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, record = (builder.inttoptr(arguments[k], steps.PLACE.as_pointer()) for k in (0, 1))
        keys, row = (steps.array_data(context, builder, signature, arguments, k) for k in (2, 5))
        trees = [
            builder.gep(record, [builder.load(builder.gep(first, [steps.number(q)]))]) for q in range(LANES)
        ]
        roots = [steps.number(0)] * LANES
        places = steps.walk(builder, trees, keys, [0] * LANES, arguments[3], arguments[4], roots)
        for q, place in enumerate(places):
            node = builder.load(builder.gep(trees[q], [place]))
            builder.store(builder.and_(node, steps.number(0xFFFFFFFF)), builder.gep(row, [steps.number(q)]))
        return context.get_dummy_value()

    return signature, generate


@inlined
def _columns_of(table: NDArray[np.int64]) -> Any:
    at, n = table[COLUMNS:], table[LENGTHS:]
    return Columns(
        feature=numba.carray(int32_at(at[0]), n[0]),
        category_set=numba.carray(int32_at(at[1]), n[1]),
        has_below=numba.carray(uint8_at(at[2]), n[2]),
        ends=numba.carray(uint32_at(at[3]), n[3]),
        cuts=numba.carray(float64_at(at[4]), n[4]),
        cut_start=numba.carray(int32_at(at[5]), n[5]),
        origin=numba.carray(float64_at(at[6]), n[6]),
        scale=numba.carray(float64_at(at[7]), n[7]),
        bucket_low=numba.carray(int32_at(at[8]), n[8]),
        bucket_start=numba.carray(int32_at(at[9]), n[9]),
        n_steps=numba.carray(int32_at(at[10]), n[10]),
        set_start=numba.carray(int32_at(at[11]), n[11]),
        set_words=numba.carray(uint32_at(at[12]), n[12]),
    )


_keys, _row, _value, _place = stack_of(STACK_BYTES), stack_of(8 * LANES), stack_of(8), stack_of(8)


@inlined
def _add_rows(table: NDArray[np.int64], values: Any, X: NDArray[Any], out: NDArray[Any], stack: Any) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree."""
    n_trees, width, mask, shift = table[SIZES], table[SIZES + 1], table[SIZES + 2], table[SIZES + 3]
    columns, tree_output = _columns_of(table), int32_at(table[2])
    n_columns = 2 * len(columns.feature) + 1
    if n_columns * BLOCK * 4 <= STACK_BYTES:
        keys = numba.carray(uint32_at(stack[0]), (n_columns, BLOCK))
    else:
        keys = np.empty((n_columns, BLOCK), np.uint32)
    keys[2 * len(columns.feature), 0] = 0
    row = numba.carray(int64_at(stack[1]), LANES)
    scratch = numba.carray(float64_at(stack[2]), 1), numba.carray(int32_at(stack[3]), 1)
    for i in range(len(X)):
        used = mask ^ BLOCK
        if find_keys(columns, (0, len(columns.feature)), X, i, 1, scratch, keys):
            copy_below(columns, 1, keys)
            used = mask
        total = out[i, 0]
        for first in range(0, n_trees, LANES):
            _walk_trees(table[0] + 8 * first, table[1], keys, used, shift, row)
            n_lanes = min(LANES, n_trees - first)
            if out.shape[1] == 1:  # in a register, not in memory
                for q in range(n_lanes):
                    total += values[row[q]]
                continue
            for q in range(n_lanes):
                output, v = tree_output[first + q], row[q] * width
                if output >= 0:
                    out[i, output] += values[v]
                else:
                    for k in range(width):
                        out[i, k] += values[v + k]
        if out.shape[1] == 1:
            out[i, 0] = total


@kernel
def _add_margins32(table: NDArray[np.int64], X: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, where the values are float32."""
    stack = _keys(), _row(), _value(), _place()
    _add_rows(table, float32_at(table[3]), X, out, stack)


@kernel
def _add_margins64(table: NDArray[np.int64], X: NDArray[Any], out: NDArray[np.float64]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, where the values are float64."""
    stack = _keys(), _row(), _value(), _place()
    _add_rows(table, float64_at(table[3]), X, out, stack)


def add_margins(trees: OneRow, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    if stop - start < len(X):
        X, out = X[start:stop], out[start:stop]
    trees.kernel(trees.table, X, out)
