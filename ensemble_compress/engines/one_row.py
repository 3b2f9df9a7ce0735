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

LANES = 8

FIRST_SIZE = 4 + len(Columns._fields)
"""Where the numbers begin behind the addresses of a table."""


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


def _pointer_to(pointee: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def as_pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        pointer: Any = types.CPointer(pointee)  # type: ignore[attr-defined, unused-ignore]
        return pointer(types.int64), generate

    return as_pointer


_int32_at, _uint32_at, _uint8_at = (
    _pointer_to(pointee) for pointee in (types.int32, types.uint32, types.uint8)
)
_float32_at, _float64_at = _pointer_to(types.float32), _pointer_to(types.float64)


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
    size = table[FIRST_SIZE + 4 :]
    return Columns(
        numba.carray(_int32_at(table[4]), size[0]),
        numba.carray(_int32_at(table[5]), size[1]),
        numba.carray(_uint8_at(table[6]), size[2]),
        numba.carray(_uint32_at(table[7]), size[3]),
        numba.carray(_float64_at(table[8]), size[4]),
        numba.carray(_int32_at(table[9]), size[5]),
        numba.carray(_float64_at(table[10]), size[6]),
        numba.carray(_float64_at(table[11]), size[7]),
        numba.carray(_int32_at(table[12]), size[8]),
        numba.carray(_int32_at(table[13]), size[9]),
        numba.carray(_int32_at(table[14]), size[10]),
        numba.carray(_int32_at(table[15]), size[11]),
        numba.carray(_uint32_at(table[16]), size[12]),
    )


@inlined
def _add_rows(table: NDArray[np.int64], values: Any, X: NDArray[Any], out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree."""
    n_trees, width = table[FIRST_SIZE], table[FIRST_SIZE + 1]
    mask, shift = table[FIRST_SIZE + 2], table[FIRST_SIZE + 3]
    columns, tree_output = _columns_of(table), _int32_at(table[2])
    scratch = np.empty(1, np.float64), np.empty(1, np.int32)
    keys = np.empty((2 * len(columns.feature) + 1, BLOCK), np.uint32)
    keys[2 * len(columns.feature), 0] = 0
    row = np.empty(LANES, np.int64)
    for i in range(len(X)):
        used = mask ^ BLOCK
        if find_keys(columns, X, i, 1, scratch, keys):
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
    _add_rows(table, _float32_at(table[3]), X, out)


@kernel
def _add_margins64(table: NDArray[np.int64], X: NDArray[Any], out: NDArray[np.float64]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, where the values are float64."""
    _add_rows(table, _float64_at(table[3]), X, out)


def add_margins(trees: OneRow, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    if stop - start < len(X):
        X, out = X[start:stop], out[start:stop]
    trees.kernel(trees.table, X, out)
