"""The latency path of small trees: the splits of a column sorted by threshold, for one row; trees of at most 64 leaves.

As in `engines.bitvector` a tree is a word with one bit for each leaf, a split that sends the row to the right clears the
bits of its left subtree, and the lowest bit that is left is the leaf. For a single row there is nothing to fill vectors with
but trees. The splits of a column that send a value to the right are the first ones of the column's *list*, in the order of
thresholds, and a search says how many. Every so many splits the list has a *state*: the words of all trees after the splits
up to there. A row ANDs one state of each list, in vectors, and tries only the splits between a state and its value. A
missing value has splits of its own, those that send it to the right. No step waits for the one before it.

Source: Lucchese et al., "QuickScorer", SIGIR 2015, section 3 (bit vectors, sorted splits). The states are ours.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines import inlined, kernel
from ensemble_compress.engines.bit_layout import MOST_LEAVES
from ensemble_compress.engines.one_row_lists import (
    LEVELS,
    MOST_TREES,
    STAGGER,
    VECTOR,
    WAYS,
    Group,
    find_group,
    state_bytes,
    state_shift,
)
from ensemble_compress.engines.pointers import (
    float32_at,
    float64_at,
    int32_at,
    int64_at,
    stack_of,
    uint16_at,
    uint32_at,
    uint64_at,
)
from ensemble_compress.engines.walk import is_in_set

LISTS = 64
"""Lists whose states are ANDed together, whatever their number: what is known of them lies on the stack."""

SIZES = 8
"""Numbers in front of the addresses in a line of the table."""


class OneRowBits(NamedTuple):
    """A run of trees laid out for this engine: its kernel, its table, and the arrays that the table's addresses are of."""

    kernel: Any
    table: NDArray[np.int64]
    groups: tuple[Group, ...]


def lay_out(
    nodes: Any,
    sets: Any,
    tree_start: NDArray[np.int32],
    tree_output: NDArray[np.int32],
    values: NDArray[Any],
) -> OneRowBits | None:
    """The arrays of a forest as the kernel below wants them; None where a tree is too large for it."""
    if np.diff(tree_start).max(initial=1) >= 2 * MOST_LEAVES:
        return None
    trees = nodes, sets, tree_start, tree_output, values
    groups = tuple(find_group(*trees, first) for first in range(0, len(tree_output), MOST_TREES))
    n_fields = SIZES + len(Group._fields)
    table = np.array([_line(group) for group in groups], np.int64).reshape(-1, n_fields)
    kernel = _add_margins32 if values.dtype == np.float32 else _add_margins64
    return OneRowBits(kernel, table, groups)


def _line(group: Group) -> list[int]:
    """A group's line of the table: its sizes and the addresses of its arrays."""
    n_lists, n_trees, word = len(group.feature), len(group.tree_output), group.mask.itemsize
    n_bytes = state_bytes(n_trees, word)
    sizes = [n_lists, n_trees, word, n_bytes, state_shift(n_bytes), group.values.shape[1]]
    sizes += [len(group.set_start), len(group.set_words)]
    return [*sizes, *(array.ctypes.data for array in group)]


# -- kernel ------------------------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _count_below(typing_context: Any, cuts: Any, x: Any) -> Any:
    """How many of the `WAYS` cuts at an address are below x."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, index = ir.VectorType(ir.DoubleType(), WAYS), ir.IntType(32)
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, arguments[1], ir.Constant(index, 0))
        x = builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(index, WAYS), [0] * WAYS))
        cuts = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()), align=8)
        is_below = builder.bitcast(builder.fcmp_ordered("<", cuts, x), ir.IntType(WAYS))
        return builder.zext(builder.ctpop(is_below), ir.IntType(64))

    return types.int64(types.int64, types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _and_states(
    typing_context: Any, words: Any, states: Any, n_states: Any, n_bytes: Any, is_first: Any
) -> Any:
    """AND to `n_bytes` at the address `words` the states whose addresses lie at `states`; to ones where it is the first time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, states, n_states, n_bytes, is_first = arguments
        word = ir.IntType(64)
        vector = ir.VectorType(word, VECTOR // 8)
        ones = ir.Constant(vector, [-1] * (VECTOR // 8))
        bits = cgutils.alloca_once(builder, vector)  # becomes registers
        begin, step = ir.Constant(word, 0), ir.Constant(word, VECTOR)
        with cgutils.for_range_slice(builder, begin, n_bytes, step) as (at, _):
            here = builder.inttoptr(builder.add(words, at), vector.as_pointer())
            builder.store(builder.select(is_first, ones, builder.load(here, align=8)), bits)
            with cgutils.for_range(builder, n_states, intp=word) as loop:
                address = builder.add(builder.load(builder.gep(states, [loop.index])), at)
                state = builder.load(builder.inttoptr(address, vector.as_pointer()), align=8)
                builder.store(builder.and_(builder.load(bits), state), bits)
            builder.store(builder.load(bits), here, align=8)
        return context.get_dummy_value()

    return types.void(words, states, n_states, n_bytes, is_first), generate


@intrinsic  # type: ignore[untyped-decorator]
def _lowest(typing_context: Any, word: Any) -> Any:
    """The number of the lowest bit that is set; there is one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return number if word.bitwidth == 64 else builder.zext(number, ir.IntType(64))

    return types.int64(word), generate


class _Lists(NamedTuple):
    """The arrays of a `Group` that say which splits a value passes."""

    feature: Any
    category_set: Any
    level_start: Any
    below_start: Any
    n_below: Any
    split_start: Any
    state_start: Any
    nan_state: Any
    set_start: Any
    set_words: Any


@inlined
def _lists_of(table: NDArray[np.int64]) -> Any:
    return _Lists(
        int32_at(table[8]),
        int32_at(table[9]),
        int32_at(table[10]),
        int32_at(table[12]),
        int32_at(table[13]),
        int32_at(table[14]),
        int32_at(table[17]),
        int32_at(table[18]),
        numba.carray(int32_at(table[24]), table[6]),
        numba.carray(uint32_at(table[25]), table[7]),
    )


@inlined
def _rank(lists: Any, c: int, cuts: int, x: float) -> Any:
    """How many cuts of list c are below x; `cuts` is the address of all."""
    place = np.int64(0)
    for level in range(LEVELS * c, LEVELS * c + LEVELS):
        if lists.level_start[level] >= 0:
            at = lists.level_start[level] + WAYS * place
            place = WAYS * place + _count_below(cuts + 8 * at, x)
    return place


@inlined
def _find_splits(
    table: NDArray[np.int64], X: NDArray[Any], i: int, first: int, last: int, states: Any, splits: Any
) -> Any:
    """Find the splits that clear bits of row i, of the lists from `first` to `last`; returns how many states there are.

    Their addresses go to `states`; to `splits`, two numbers a list, go the first split behind the state and the end.
    """
    lists, shift, stride, n_states = _lists_of(table), table[4], table[3] + STAGGER, np.int64(0)
    for c in range(first, last):
        x, pair = np.float64(X[i, np.uint64(lists.feature[c])]), 2 * (c - first)
        begin, end = np.int64(lists.split_start[2 * c]), np.int64(lists.split_start[2 * c + 1])
        if np.isnan(x):
            splits[pair], splits[pair + 1] = end, np.int64(lists.split_start[2 * c + 2])
            if lists.nan_state[c] >= 0:
                splits[pair + 1] = end
                states[n_states] = table[19] + lists.nan_state[c] * stride
                n_states += 1
            continue
        s = np.int64(lists.category_set[c])
        if s >= 0:
            count = np.int64(0) if is_in_set(lists.set_start, lists.set_words, s, x) else end - begin
        else:
            count = np.int64(lists.n_below[lists.below_start[c] + _rank(lists, c, table[11], x)])
        k = count >> shift
        splits[pair], splits[pair + 1] = begin + (k << shift), begin + count
        states[n_states] = table[19] + (lists.state_start[c] + k - 1) * stride
        n_states += np.int64(k > 0)
    return n_states


@inlined
def _try_splits(n_lists: int, splits: Any, tree: Any, mask: Any, words: Any) -> None:
    for c in range(n_lists):
        for j in range(splits[2 * c], splits[2 * c + 1]):
            words[np.int64(tree[j])] &= mask[j]


@inlined
def _add_leaves(
    table: NDArray[np.int64], words: Any, leaf_value: Any, values: Any, out: NDArray[Any], i: int
) -> None:
    """Add to `out[i]` the leaf that each word has left, tree after tree."""
    n_trees, width = table[1], table[5]
    leaf_start, row, tree_output = int32_at(table[20]), int32_at(table[22]), int32_at(table[23])
    if out.shape[1] == 1:  # in a register, not in memory
        total = out[i, 0]
        for t in range(n_trees):
            total += leaf_value[leaf_start[t] + _lowest(words[t])]
        out[i, 0] = total
        return
    for t in range(n_trees):
        leaf, output = leaf_start[t] + _lowest(words[t]), np.int64(tree_output[t])
        if output >= 0:
            out[i, output] += leaf_value[leaf]
        else:
            v = np.int64(row[leaf]) * width
            for k in range(width):
                out[i, k] += values[v + k]


@inlined
def _add_group(
    table: NDArray[np.int64],
    scratch: Any,
    leaf_value: Any,
    values: Any,
    X: NDArray[Any],
    i: int,
    out: NDArray[Any],
) -> None:
    """Add to `out[i]` the leaves of a group of trees."""
    n_lists, is_narrow, n_bytes = table[0], table[2] == 4, table[3]
    words, states, splits = scratch[0], int64_at(scratch[1]), int64_at(scratch[2])
    tree = uint16_at(table[15])
    for first in range(0, max(n_lists, 1), LISTS):
        last = min(first + LISTS, n_lists)
        n_states = _find_splits(table, X, i, first, last, states, splits)
        _and_states(words, states, n_states, n_bytes, first == 0)
        if is_narrow:
            _try_splits(last - first, splits, tree, uint32_at(table[16]), uint32_at(words))
        else:
            _try_splits(last - first, splits, tree, uint64_at(table[16]), uint64_at(words))
    if is_narrow:
        _add_leaves(table, uint32_at(words), leaf_value, values, out, i)
    else:
        _add_leaves(table, uint64_at(words), leaf_value, values, out, i)


_words, _states, _splits = stack_of(8 * MOST_TREES), stack_of(8 * LISTS), stack_of(16 * LISTS)


@kernel
def _add_margins32(table: NDArray[np.int64], X: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, where the values are float32."""
    scratch = _words(), _states(), _splits()
    for i in range(len(X)):
        for group in table:
            values = float32_at(group[21]), float32_at(group[26])
            _add_group(group, scratch, values[0], values[1], X, i, out)


@kernel
def _add_margins64(table: NDArray[np.int64], X: NDArray[Any], out: NDArray[np.float64]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, where the values are float64."""
    scratch = _words(), _states(), _splits()
    for i in range(len(X)):
        for group in table:
            values = float64_at(group[21]), float64_at(group[26])
            _add_group(group, scratch, values[0], values[1], X, i, out)


def add_margins(trees: OneRowBits, X: NDArray[Any], start: int, stop: int, out: NDArray[Any]) -> None:
    """Add to `out[i]` the leaves of row i, tree after tree, for the rows from `start` to `stop`."""
    if stop - start < len(X):
        X, out = X[start:stop], out[start:stop]
    trees.kernel(trees.table, X, out)
