"""The packed walk: rows go down a tree node by node, several at a time, over nodes of eight bytes; for trees of any depth.

One walk is a chain of dependent loads; independent walks hide each other's latency as long as no step branches on the
data. Values are compared as keys (`engines.columns`), so missing values and categories cost a step nothing;
`engines.steps` has the steps themselves. The uppermost splits of a deep tree, which many rows pass, are not walked: as
in `engines.bitvector`, all of them are tried on a block of rows at once, and the walk begins below them. A tree of few
levels is walked as a complete one, whose children need no pointers, and whose rows all take the same number of steps.

Rows go in chunks whose keys stay in the second cache, and a chunk passes all trees, so that a tree is loaded once a chunk.

Source: Asadi, Lin and de Vries, "Runtime Optimizations for Tree-based Machine Learning Models", TKDE 2014, section 3.3
(independent rows interleaved, no branches); pairs of siblings and complete trees as in other libraries' predictors.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel, steps
from ensemble_compress.engines.blocks import Arguments, on_block
from ensemble_compress.engines.columns import copy_below, find_keys
from ensemble_compress.engines.packed_layout import BLOCK, ENTRIES

LANES = 8
"""Rows that walk together: their places fill the registers."""

COMPLETE_LANES = 16
"""Rows that go down a complete tree together: its steps leave room for more."""

CHUNK_BYTES = 384 * 1024
MOST_BLOCKS = 256


def _walk_to(what: str) -> Any:
    """The walk that writes to `found` the leaves' "places" in the tree, or their "rows" of values."""

    def generate(builder: Any, given: Arguments) -> None:
        tests = [given.data(name) for name in ("test_at", "test_key", "test_mask")]
        start = given.at("test_start", given.tree)
        stop = given.at("test_start", builder.add(given.tree, steps.number(1)))
        entry = steps.try_tests(builder, BLOCK, tests, start, stop, given.first, given.column_mask)
        entries = builder.gep(given.data("entry"), [builder.mul(given.tree, steps.number(ENTRIES))])
        tree = builder.gep(given.data("record"), [given.at("tree_start", given.tree)])
        for half in range(0, BLOCK, LANES):
            lanes = range(half, half + LANES)
            chosen = [builder.extract_element(entry, ir.Constant(steps.KEY, q)) for q in lanes]
            starts = [builder.load(builder.gep(entries, [builder.zext(e, steps.PLACE)])) for e in chosen]
            starts = [builder.sext(begin, steps.PLACE) for begin in starts]
            trees, shift = [tree] * LANES, given.field("child_shift")
            places = steps.walk(builder, trees, given.first, lanes, given.column_mask, shift, starts)
            for q, place in zip(lanes, places, strict=True):
                found = place
                if what == "rows":
                    node = builder.load(builder.gep(tree, [place]))
                    found = builder.and_(node, steps.number(0xFFFFFFFF))
                builder.store(found, builder.gep(given.found, [steps.number(q)]))

    return on_block(generate)


def _descend_to(what: str) -> Any:
    """The way down a complete tree that writes to `found` the leaves' "nodes", or their "rows" of values."""

    def generate(builder: Any, given: Arguments) -> None:
        # The last bit of a column's number, in the mask where values are missing, says which of a pair it is.
        any_missing = builder.icmp_unsigned(
            "!=", builder.and_(given.column_mask, steps.number(BLOCK)), steps.number(0)
        )
        nodes = builder.select(any_missing, given.data("complete"), given.data("complete_whole"))
        tree = builder.gep(nodes, [given.at("complete_start", given.tree)])
        depth = given.at("depth", given.tree)
        for half in range(0, BLOCK, COMPLETE_LANES):
            lanes = range(half, half + COMPLETE_LANES)
            places = steps.descend(builder, tree, given.first, lanes, depth)
            for q, place in zip(lanes, places, strict=True):
                node = builder.load(builder.gep(tree, [place]))
                found = builder.lshr(node, steps.number(32))
                if what == "rows":
                    found = builder.and_(node, steps.number(0xFFFFFFFF))
                builder.store(found, builder.gep(given.found, [steps.number(q)]))

    return on_block(generate)


_descend_to_nodes, _descend_to_rows = _descend_to("nodes"), _descend_to("rows")
_walk_to_places, _walk_to_rows = _walk_to("places"), _walk_to("rows")


@inlined
def _chunk_rows(n_columns: int, n_rows: int) -> int:
    """Rows whose keys fill `CHUNK_BYTES`, in whole blocks; no more than there are.

    `n_columns` counts the first column of each pair only: where values are missing, the keys take up to twice the bytes.
    """
    n_blocks = min(MOST_BLOCKS, CHUNK_BYTES // (4 * BLOCK * n_columns), (n_rows + BLOCK - 1) // BLOCK)
    return BLOCK * max(1, n_blocks)


@inlined
def _find_keys_of_chunk(plan: Any, X: NDArray[Any], first: int, last: int, scratch: Any, keys: Any) -> Any:
    """Write to `keys[b]` the keys of the b-th block of rows from `first` to `last`; returns the mask of columns to read."""
    any_missing = False
    for i in range(first, last, BLOCK):
        of_block, n_rows = keys[(i - first) // BLOCK], min(BLOCK, last - i)
        any_missing |= find_keys(
            plan.columns, (0, len(plan.columns.feature)), X, i, n_rows, scratch, of_block
        )
    if not any_missing:
        # Then the two columns of a pair are one.
        return np.int64(plan.column_mask) ^ BLOCK
    for i in range(first, last, BLOCK):
        copy_below(plan.columns, min(BLOCK, last - i), keys[(i - first) // BLOCK])
    return np.int64(plan.column_mask)


@kernel
def add_margins(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    n_pairs, width, n_outputs = len(plan.columns.feature), plan.values.shape[1], out.shape[1]
    chunk = _chunk_rows(n_pairs + 1, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint32)
    sums = np.zeros((chunk, n_outputs), out.dtype)
    row = np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        # Loops: in place of arrays that are assigned, for which Numba compiles error messages, too.
        for i in range(last - first):
            for k in range(n_outputs):
                sums[i, k] = out[first + i, k]
        for t in range(len(plan.tree_output)):
            output = plan.tree_output[t]
            for i in range(0, last - first, BLOCK):
                block = np.int64(i * (2 * n_pairs + 1))
                if plan.depth[t] > 0:
                    _descend_to_rows(plan, np.int64(t), keys, block, column_mask, row)
                else:
                    _walk_to_rows(plan, np.int64(t), keys, block, column_mask, row)
                for q in range(BLOCK):
                    v = row[q]
                    if output >= 0:
                        sums[i + q, output] += plan.values[v, 0]
                    elif width == 2:  # of two classes: without a loop
                        sums[i + q, 0] += plan.values[v, 0]
                        sums[i + q, 1] += plan.values[v, 1]
                    else:
                        for k in range(width):
                            sums[i + q, k] += plan.values[v, k]
        for i in range(last - first):
            for k in range(n_outputs):
                out[first + i, k] = sums[i, k]


@kernel
def find_leaves(plan: Any, X: NDArray[Any], start: int, stop: int, out: NDArray[np.int32]) -> None:
    """Write to `out[i, t]` the node where row i ends in tree t, for the rows from `start` to `stop`."""
    n_pairs = len(plan.columns.feature)
    chunk = _chunk_rows(n_pairs + 1, stop - start)
    scratch = np.zeros(BLOCK, np.float64), np.zeros(BLOCK, np.int32)
    keys = np.zeros((chunk // BLOCK, 2 * n_pairs + 1, BLOCK), np.uint32)
    place = np.zeros(BLOCK, np.int64)
    for first in range(start, stop, chunk):
        last = min(stop, first + chunk)
        column_mask = _find_keys_of_chunk(plan, X, first, last, scratch, keys)
        for t in range(len(plan.tree_output)):
            root = plan.tree_start[t]
            for i in range(0, last - first, BLOCK):
                block, n_rows = np.int64(i * (2 * n_pairs + 1)), min(BLOCK, last - first - i)
                if plan.depth[t] > 0:
                    _descend_to_nodes(plan, np.int64(t), keys, block, column_mask, place)
                    for q in range(n_rows):
                        out[first + i + q, t] = place[q]
                    continue
                _walk_to_places(plan, np.int64(t), keys, block, column_mask, place)
                for q in range(n_rows):
                    out[first + i + q, t] = plan.node[root + place[q]]
