"""What the engines read through pointers, which no switch of the compiler checks: every place lies inside its array."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import forests, large_forests

from ensemble_compress.engines import bit_layout, one_row, packed_layout, plan
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
    assert table[:12].tolist() == [array.ctypes.data for array in arrays]
    assert all(array.flags.c_contiguous for array in arrays)
    assert table[12:16].tolist() == [
        forest.n_trees, packed.values.shape[1], packed.column_mask, packed.child_shift
    ]  # fmt: skip
    assert table[16:].tolist() == [len(array) for array in packed.columns]
    assert len(alone.starts) % one_row.LANES == 0
    assert len(alone.starts) >= forest.n_trees
    assert_inside(alone.starts, forest.n_nodes)


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
