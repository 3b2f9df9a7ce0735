"""What the engines read through pointers, which no switch of the compiler checks: every place lies inside its array."""

from typing import Any
from unittest import mock

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import forests, large_forests

from ensemble_compress.engines import (
    bit_layout,
    heap_layout,
    one_row,
    one_row_bits,
    one_row_lists,
    packed_layout,
    plan,
)
from ensemble_compress.engines.columns import Columns
from ensemble_compress.forest import Forest

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="nothing is laid out without the compiler"
)

every_forest = st.one_of(forests(), large_forests(), large_forests(max_splits=15))


def run_of(forest: Forest) -> Any:
    return plan.Run(*forest._plan._arrays, forest.x_dtype, is_small=True)


def assert_inside(places: Any, end: Any) -> None:
    places = np.asarray(places, np.int64)
    assert (places >= 0).all()
    assert (places < end).all()


def assert_starts(start: Any, end: int) -> None:
    assert start[0] == 0
    assert start[-1] == end
    assert (np.diff(start) >= 0).all()


def assert_columns_are_sound(columns: Columns, forest: Forest) -> None:
    n_pairs = len(columns.feature)
    assert len(columns.category_set) == len(columns.has_below) == n_pairs
    assert_inside(columns.feature, forest.n_features)
    assert_inside(columns.category_set + 1, len(forest.category_sets.start))
    assert len(columns.cut_start) == n_pairs + 1
    assert_starts(columns.cut_start, len(columns.cuts))
    if len(columns.cuts):
        # The search halves what is a power of two and never reads behind it.
        size = np.diff(columns.cut_start)
        assert (size > 0).all()
        assert (size & (size - 1) == 0).all()
        assert len(columns.origin) == len(columns.scale) == len(columns.n_steps) == n_pairs
        assert_starts(columns.bucket_start, len(columns.bucket_low))
        assert (np.diff(columns.bucket_start) > 0).all()
        pair = np.repeat(np.arange(n_pairs), np.diff(columns.bucket_start))
        assert (columns.bucket_low >= columns.cut_start[pair]).all()
        assert (columns.bucket_low + (1 << columns.n_steps[pair]) - 1 <= columns.cut_start[pair + 1]).all()
    assert_starts(columns.set_start, len(columns.set_words))


@settings(max_examples=40)
@given(every_forest)
def test_nodes_of_a_packed_walk_name_places_of_their_own_tree_and_columns_of_a_block(forest: Forest) -> None:
    packed = run_of(forest).packed
    assert_columns_are_sound(packed.columns, forest)
    n_nodes, last_column = len(packed.record), packed_layout.BLOCK * 2 * len(packed.columns.feature)
    assert n_nodes == forest.n_nodes
    assert sorted(packed.node.tolist()) == list(range(n_nodes))
    assert_starts(packed.tree_start, n_nodes)
    upper, low = packed.record.view(np.uint64) >> np.uint64(32), packed.record & 0xFFFFFFFF
    column, child = (
        (upper & np.uint64(packed.column_mask)).astype(int),
        upper >> np.uint64(packed.child_shift),
    )
    assert (column % packed_layout.BLOCK == 0).all()
    assert_inside(column, last_column + 1)
    n_of_tree = np.diff(packed.tree_start)
    place = np.arange(n_nodes) - np.repeat(packed.tree_start[:-1], n_of_tree)
    is_leaf = forest.is_leaf[packed.node]
    assert (child[is_leaf] == place[is_leaf]).all()
    assert (child[~is_leaf] > place[~is_leaf]).all()
    assert_inside(child[~is_leaf] + np.uint64(1), np.repeat(n_of_tree, n_of_tree)[~is_leaf])
    # The last column is zero in every row.
    assert (column[is_leaf] == last_column).all()
    assert (column[~is_leaf] < last_column).all()
    assert_inside(low[is_leaf], len(packed.values))


@settings(max_examples=40)
@given(every_forest)
def test_uppermost_tests_of_a_packed_walk_read_a_block_and_enter_their_own_tree(forest: Forest) -> None:
    packed = run_of(forest).packed
    assert packed.entry.shape == (forest.n_trees, packed_layout.ENTRIES)
    n_tests = np.diff(packed.test_start)
    # Every row keeps a bit, and none behind the last entry that a test names.
    assert n_tests.max() < packed_layout.ENTRIES
    assert (n_tests[packed.depth > 0] == 0).all()
    assert_starts(packed.test_start, len(packed.test_at))
    assert len(packed.test_at) == len(packed.test_key) == len(packed.test_mask)
    assert_inside(packed.test_at, packed_layout.BLOCK * 2 * len(packed.columns.feature))
    assert (packed.test_at % packed_layout.BLOCK == 0).all()
    for t, n in enumerate(n_tests):
        assert_inside(packed.entry[t], packed.tree_start[t + 1] - packed.tree_start[t])
        for mask in packed.test_mask[packed.test_start[t] : packed.test_start[t + 1]]:
            cleared = ~int(mask) & 0xFFFFFFFF
            assert 0 < cleared < 1 << int(n)


@settings(max_examples=40)
@given(every_forest)
def test_complete_trees_lie_in_their_array_and_end_in_leaves_of_their_own_tree(forest: Forest) -> None:
    packed = run_of(forest).packed
    size = np.where(packed.depth > 0, 2 << packed.depth.astype(np.int64), 0)
    assert (packed.complete_start + size <= len(packed.complete)).all()
    assert len(packed.complete) == len(packed.complete_whole)
    n_keys = packed_layout.BLOCK * 2 * len(packed.columns.feature)
    for t in np.flatnonzero(packed.depth > 0):
        first, n_splits = packed.complete_start[t], (1 << int(packed.depth[t])) - 1
        for nodes in (packed.complete, packed.complete_whole):
            tree = nodes.view(np.uint64)[first : first + size[t]]
            upper, low = tree >> np.uint64(32), tree & np.uint64(0xFFFFFFFF)
            assert_inside(upper[:n_splits], max(n_keys, 1))
            # A row may stop only where a leaf is: follow all ways, those that no test ever takes but left.
            reached = np.array([0])
            for _ in range(packed.depth[t]):
                goes_on = reached[low[reached] < 0xFFFFFFFF]
                reached = np.concatenate([2 * reached + 1, 2 * goes_on + 2])
            assert_inside(reached, size[t])
            is_end = np.zeros(size[t], bool)
            is_end[reached] = True
            ends = reached[upper[reached] > 0] if forest.tree_start[t] > 0 else reached
            assert_inside(upper[ends].astype(int) - int(forest.tree_start[t]), np.diff(forest.tree_start)[t])
            assert_inside(low[ends], len(packed.values))
            assert len(ends) == len(reached)


@settings(max_examples=40)
@given(every_forest, st.booleans())
def test_heaps_lie_in_their_array_and_every_way_down_ends_in_the_own_tree(
    forest: Forest, all_deep: bool
) -> None:
    with mock.patch.object(heap_layout, "PADDING", 0 if all_deep else heap_layout.PADDING):
        heaps = run_of(forest).heaps
    assert_columns_are_sound(heaps.columns, forest)
    n_keys = heap_layout.BLOCK * 2 * len(heaps.columns.feature)
    size = 1 << heaps.depth.astype(np.int64)
    assert (heaps.depth >= heap_layout.UPPER).all()
    assert heaps.heap_start.tolist() == [0, *np.cumsum(size)[:-1]]
    assert len(heaps.heap) == len(heaps.heap_whole) == len(heaps.below) == len(heaps.leaf_row) == size.sum()
    rows_end = np.append(heaps.value_start[1:], len(heaps.values))
    for t, (start, is_deep) in enumerate(zip(heaps.heap_start, heaps.is_deep, strict=True)):
        n_nodes = np.diff(forest.tree_start)[t]
        for nodes in (heaps.heap, heaps.heap_whole):
            tree = nodes[start : start + size[t]]
            assert_inside(tree[:, 1], n_keys + 1)
            assert (tree[:, 1] % heap_layout.BLOCK == 0).all()
            # No key is above 65,535: where that is a node's, no row goes to the right.
            reached = np.array([0])
            for _ in range(heaps.depth[t]):
                goes_on = reached[tree[reached, 0] < heap_layout.NEVER]
                reached = np.concatenate([2 * reached + 1, 2 * goes_on + 2])
            ends = start + reached - (size[t] - 1)
            if is_deep:
                assert_inside(heaps.below[ends], n_nodes)
            else:
                assert_inside(heaps.below[ends] - forest.tree_start[t], n_nodes)
                assert forest.is_leaf[heaps.below[ends]].all()
                assert_inside(heaps.value_start[t] + heaps.leaf_row[ends].astype(int), rows_end[t])


@settings(max_examples=40)
@given(every_forest)
def test_records_below_heaps_name_places_of_their_own_tree_and_columns_of_a_block(forest: Forest) -> None:
    with mock.patch.object(heap_layout, "PADDING", 0):
        heaps = run_of(forest).heaps
    assert heaps.is_deep.all()
    assert heaps.record_start.tolist() == forest.tree_start.tolist()
    assert len(heaps.record) == forest.n_nodes
    assert sorted(heaps.node.tolist()) == list(range(forest.n_nodes))
    key, column = heaps.record & 0xFFFF, heaps.record >> 16 & 0xFFFF
    child = heaps.record.view(np.uint64) >> np.uint64(32)
    zeros = heap_layout.BLOCK * 2 * len(heaps.columns.feature)
    n_of_tree = np.repeat(np.diff(forest.tree_start), np.diff(forest.tree_start))
    place = np.arange(forest.n_nodes) - np.repeat(forest.tree_start[:-1], np.diff(forest.tree_start))
    is_leaf = forest.is_leaf[heaps.node]
    assert (child[is_leaf] == place[is_leaf]).all()
    assert (child[~is_leaf] > place[~is_leaf]).all()
    assert_inside(child[~is_leaf] + np.uint64(1), n_of_tree[~is_leaf])
    # The last column is zero in every row.
    assert (column[is_leaf] == zeros).all()
    assert_inside(column[~is_leaf], zeros)
    tree = np.searchsorted(forest.tree_start, np.flatnonzero(is_leaf), side="right") - 1
    rows_end = np.append(heaps.value_start[1:], len(heaps.values))
    assert_inside(heaps.value_start[tree] + key[is_leaf], rows_end[tree])
    expected = forest.values[forest.nodes.leaf[heaps.node[is_leaf]]]
    assert expected.tobytes() == heaps.values[heaps.value_start[tree] + key[is_leaf]].tobytes()


@settings(max_examples=40)
@given(st.one_of(forests(), large_forests(max_splits=bit_layout.MOST_LEAVES - 1)))
def test_tests_and_leaves_of_bit_vectors_lie_in_their_arrays(forest: Forest) -> None:
    bits = run_of(forest).bits
    assume(bits is not None)
    assert_columns_are_sound(bits.columns, forest)
    n_words, n_tests = len(bits.test_start) - 1, len(bits.column)
    assert len(bits.word_start) == forest.n_trees + 1
    assert_starts(bits.word_start, n_words)
    assert (np.diff(bits.word_start) > 0).all()
    assert_starts(bits.test_start, n_tests)
    assert len(bits.above) == len(bits.mask) == n_tests
    n_ranks = 2 * len(bits.columns.feature) * bit_layout.BLOCK
    assert (bits.column % bit_layout.BLOCK == 0).all()
    assert_inside(bits.column + bit_layout.BLOCK - 1, n_ranks)
    for quads in (bits.above, bits.mask):
        bytes_of = quads.view(np.uint8).reshape(-1, 4)
        np.testing.assert_array_equal(np.repeat(bytes_of[:, :1], 4, axis=1), bytes_of)
    for chunk in range(0, forest.n_trees, bit_layout.CHUNK):
        of_chunk = bits.order[chunk : chunk + bit_layout.CHUNK]
        assert list(range(chunk, chunk + len(of_chunk))) == sorted(of_chunk.tolist())
    assert len(bits.row) == len(bits.node) == len(bits.leaf_value) == n_words * bit_layout.WORD
    assert_inside(bits.row, len(bits.values))
    assert_inside(bits.node, forest.n_nodes)


@settings(max_examples=40)
@given(every_forest)
def test_the_table_of_the_latency_path_has_the_addresses_and_sizes_of_its_arrays(forest: Forest) -> None:
    alone = run_of(forest).one_row
    packed, table = alone.packed, alone.table
    arrays = [alone.starts, packed.record, packed.tree_output, packed.values, *packed.columns]
    assert table[: one_row.SIZES].tolist() == [array.ctypes.data for array in arrays]
    assert all(array.flags.c_contiguous for array in arrays)
    assert table[one_row.SIZES : one_row.LENGTHS].tolist() == [
        forest.n_trees, packed.values.shape[1], packed.column_mask, packed.child_shift
    ]  # fmt: skip
    assert table[one_row.LENGTHS :].tolist() == [len(array) for array in packed.columns]
    # The order in which the kernel names them.
    kinds = "feature category_set has_below ends cuts cut_start origin scale bucket_low bucket_start n_steps set_start set_words"
    assert Columns._fields == tuple(kinds.split())
    expected = [
        np.dtype(kind)
        for kind in ["i4", "i4", "u1", "u4", "f8", "i4", "f8", "f8", "i4", "i4", "i4", "i4", "u4"]
    ]
    assert expected == [array.dtype for array in packed.columns]
    assert len(alone.starts) % one_row.LANES == 0
    assert len(alone.starts) >= forest.n_trees
    assert_inside(alone.starts, forest.n_nodes)


@settings(max_examples=60)
@given(st.one_of(forests(), large_forests(max_splits=one_row_bits.MOST_LEAVES - 1)))
def test_lists_of_the_latency_path_of_small_trees_name_places_that_there_are(forest: Forest) -> None:
    alone = run_of(forest).one_row_bits
    assert [len(group.tree_output) for group in alone.groups] == [
        min(one_row_lists.MOST_TREES, forest.n_trees - first)
        for first in range(0, forest.n_trees, one_row_lists.MOST_TREES)
    ]
    for line, group in zip(alone.table, alone.groups, strict=True):
        assert_group_is_sound(group, forest)
        n_bytes = one_row_lists.state_bytes(len(group.tree_output), group.mask.itemsize)
        assert line.tolist() == [
            len(group.feature),
            len(group.tree_output),
            group.mask.itemsize,
            n_bytes,
            one_row_lists.state_shift(n_bytes),
            forest.values.shape[1],
            len(group.set_start),
            len(group.set_words),
            *(array.ctypes.data for array in group),
        ]


def assert_group_is_sound(group: one_row_lists.Group, forest: Forest) -> None:
    kinds = [
        "i4",
        "i4",
        "i4",
        "f8",
        "i4",
        "i4",
        "i4",
        "u2",
        "mask",
        "i4",
        "i4",
        "u1",
        "i4",
        "values",
        "i4",
        "i4",
        "i4",
        "u4",
        "values",
    ]
    given = {"mask": group.mask.dtype, "values": forest.values.dtype}
    assert [np.dtype(given.get(kind, kind)) for kind in kinds] == [array.dtype for array in group]
    assert group.mask.dtype in (np.uint32, np.uint64)
    assert all(array.flags.c_contiguous for array in group)
    n_lists, n_trees, n_splits = len(group.feature), len(group.tree_output), len(group.tree)
    assert_inside(group.feature, forest.n_features)
    assert_inside(group.category_set + 1, len(group.set_start))
    assert_starts(group.split_start, n_splits)
    assert len(group.split_start) == 2 * n_lists + 1
    assert len(group.mask) == n_splits
    assert_inside(group.tree, n_trees)
    assert len(group.leaf_start) == n_trees
    assert_inside(group.leaf_start, len(group.leaf_value))
    assert len(group.leaf_value) == len(group.row)
    assert_inside(group.row, len(group.values))
    assert_searches_end_in_counts(group)
    assert_states_are_those_of_their_splits(group)


def assert_searches_end_in_counts(group: one_row_lists.Group) -> None:
    ways = one_row_lists.WAYS
    for c, levels in enumerate(group.level_start.tolist()):
        is_there = [level >= 0 for level in levels]
        assert is_there == sorted(is_there)
        assert is_there[-1]
        n_splits = int(group.split_start[2 * c + 1] - group.split_start[2 * c])
        places = []
        # A search that never goes right, and one that does wherever there is a number.
        for x in (-np.inf, np.inf):
            place = 0
            for level in [level for level in levels if level >= 0]:
                begin = level + ways * place
                assert begin + ways <= len(group.cuts)
                place = ways * place + int((group.cuts[begin : begin + ways] < x).sum())
            places.append(place)
        counts = group.n_below[group.below_start[c] :][: places[1] + 1].tolist()
        assert places[0] == 0
        assert len(counts) == places[1] + 1
        assert counts == sorted(counts)
        assert (counts[0], max(counts) <= n_splits) == (0, True)


def assert_states_are_those_of_their_splits(group: one_row_lists.Group) -> None:
    n_bytes = one_row_lists.state_bytes(len(group.tree_output), group.mask.itemsize)
    step, stride = 1 << one_row_lists.state_shift(n_bytes), n_bytes + one_row_lists.STAGGER
    states = group.states.reshape(-1, stride).view(group.mask.dtype)
    assert not group.states.size or group.states.ctypes.data % 64 == 0
    named = []
    for c in range(len(group.feature)):
        begin, middle, end = group.split_start[2 * c : 2 * c + 3].tolist()
        parts = [(begin, begin + k * step) for k in range(1, (middle - begin) // step + 1)]
        places = [int(group.state_start[c]) + k for k in range(len(parts))]
        assert (group.nan_state[c] >= 0) == (end - middle >= step)
        if group.nan_state[c] >= 0:
            parts, places = [*parts, (middle, end)], [*places, int(group.nan_state[c])]
        for place, (first, last) in zip(places, parts, strict=True):
            words = [int(np.iinfo(group.mask.dtype).max)] * states.shape[1]
            for tree, mask in zip(
                group.tree[first:last].tolist(), group.mask[first:last].tolist(), strict=True
            ):
                words[tree] &= mask
            assert states[place].tolist() == words
        named += places
    assert named == list(range(len(states)))


@settings(max_examples=40)
@given(every_forest)
def test_nodes_of_the_plain_walk_name_features_sets_and_children_that_there_are(forest: Forest) -> None:
    found = run_of(forest).walk
    test, is_leaf = found.record["test"], forest.is_leaf
    assert_inside(test & ((1 << 24) - 1), forest.n_features)
    is_set = test >> 25 != 0
    assert_inside(found.record["threshold"][is_set], len(found.set_start) - 1)
    assert_starts(found.set_start, len(found.set_words))
    end = np.repeat(forest.tree_start[1:], np.diff(forest.tree_start))
    assert_inside(found.record["right"], end)
    own = np.arange(forest.n_nodes)
    assert (found.record["right"][is_leaf] == own[is_leaf]).all()
    assert_inside(found.leaf[is_leaf], len(found.values))
