"""The kernels against the naive twin, to the bit; with the compiler on, off, and with the indices of arrays checked."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numba
import numpy as np
import oracle
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import forests, hard_rows, large_forests, rows_for
from test_writer_c import draw_forests

from ensemble_compress import predict
from ensemble_compress.engines import (
    bit_layout,
    bitvector,
    heap_layout,
    heap_walk,
    one_row,
    one_row_bits,
    one_row_lists,
    packed_layout,
    packed_walk,
    plan,
    structure,
    walk,
)
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes
from ensemble_compress.readers import read

needs_the_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="its vectors are LLVM's")


def compiled_once(drawn: st.SearchStrategy[Forest]) -> st.SearchStrategy[Forest]:
    """Where the indices of arrays are checked, for each dtype of rows only one of leaf values: no index depends on the values."""
    if not numba.config.BOUNDSCHECK:
        return drawn
    return drawn.filter(lambda forest: forest.x_dtype != forest.values.dtype.name)


def assert_agrees(forest: Forest, rows: np.ndarray) -> None:
    expected = oracle.margins(forest, rows)
    actual = forest.margin(rows)
    np.testing.assert_array_equal(oracle.leaves(forest, rows), forest.find_leaves(rows))
    assert (expected.shape, expected.dtype) == (actual.shape, actual.dtype)
    assert expected.tobytes() == actual.tobytes()


@given(st.data())
def test_walk_finds_the_leaves_and_sums_of_the_naive_twin(data: st.DataObject) -> None:
    forest = data.draw(compiled_once(forests()))
    assert_agrees(forest, data.draw(rows_for(forest)))


@given(compiled_once(forests(max_features=2, max_splits=4)), st.integers(0, 2 * walk.LANES + 4))
def test_walk_takes_any_number_of_rows_around_its_lanes(forest: Forest, n_rows: int) -> None:
    assert_agrees(forest, hard_rows(forest, n_rows))


@pytest.mark.parametrize("n_rows", [walk.BLOCK + more for more in (-1, 0, 1, walk.LANES, walk.BLOCK + 5)])
def test_walk_takes_any_number_of_rows_around_its_block(n_rows: int) -> None:
    forest = chain(6, turns_left=False)
    assert_agrees(forest, hard_rows(forest, n_rows))


def lay_out_without_complete_trees(run: Any) -> Any:
    with mock.patch.object(packed_layout, "PADDING", 0):
        return packed_layout.lay_out(*run._arrays, x_dtype=run._x_dtype)


def lay_out_deep_heaps(run: Any) -> Any:
    """Every tree goes on below its heap, also where that has no place for a split."""
    with mock.patch.object(heap_layout, "PADDING", 0):
        return heap_layout.lay_out(*run._arrays)


ENGINES: dict[str, tuple[ModuleType, Callable[[Any], Any]]] = {
    "walk": (walk, lambda run: run.walk),
    "packed": (packed_walk, lambda run: run.packed),
    "packed, no tree complete": (
        packed_walk,
        lay_out_without_complete_trees,
    ),
    "heaps": (heap_walk, lambda run: run.heaps),
    "heaps, every tree deep": (heap_walk, lay_out_deep_heaps),
    "bits": (bitvector, lambda run: run.bits),
    "one row": (one_row, lambda run: run.one_row),
    "one row by bits": (one_row_bits, lambda run: run.one_row_bits),
}
OF_SMALL_TREES, WITHOUT_LEAVES = ("bits", "one row by bits"), ("one row", "one row by bits")


def by_engine(name: str, forest: Forest, rows: np.ndarray, start: int, stop: int) -> tuple[Any, Any]:
    """The leaves (others -7) and sums (others NaN) of the rows from `start` to `stop`, by one engine."""
    run = plan.Run(*forest._plan._arrays, forest.x_dtype, is_small=True)
    engine, lay_out = ENGINES[name]
    trees = lay_out(run)
    # What the engines are given: codes that are rounded down.
    rows = predict.as_codes(
        rows.astype(forest.x_dtype), np.array(forest._door.category_columns, int), forest.category_rule
    )
    leaves = np.full((len(rows), forest.n_trees), -7, np.int32)
    if name not in WITHOUT_LEAVES:
        engine.find_leaves(trees, rows, start, stop, leaves)
    sums = np.full((len(rows), forest.n_outputs), np.nan, forest.values.dtype)
    sums[start:stop] = forest.bias
    engine.add_margins(trees, rows, start, stop, sums)
    return leaves, sums


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=() if name == "walk" else needs_the_compiler) for name in ENGINES]
)
def test_every_engine_writes_the_leaves_and_sums_of_the_naive_twin_for_the_rows_it_was_given(
    engine: str,
) -> None:
    for forest, rows, start, stop, expected, expected_sums in drawn_cases():
        leaves, sums = by_engine(engine, forest, rows, start, stop)
        if engine not in WITHOUT_LEAVES:
            np.testing.assert_array_equal(expected, leaves, repr(forest))
        assert np.isnan(sums[:start]).all(), repr(forest)
        assert np.isnan(sums[stop:]).all(), repr(forest)
        assert expected_sums.tobytes() == sums[start:stop].tobytes(), repr(forest)


@functools.cache
def drawn_cases() -> list[Any]:
    """Forests, rows, from which one to which, their leaves and sums: drawn and found once for all engines, which is most of the work."""
    return draw_forests(settings.default.max_examples, cases())


@st.composite
def cases(draw: st.DrawFn) -> Any:
    forest = replace(draw(compiled_once(forests())), divisor=1.0, bias_last=False)
    n_rows = draw(st.integers(0, 3 * bit_layout.BLOCK))
    rows = np.concatenate([draw(rows_for(forest)), hard_rows(forest, n_rows)])
    start = draw(st.integers(0, len(rows)))
    stop = draw(st.integers(start, len(rows)))
    leaves = oracle.leaves(forest, rows)
    leaves[:start] = leaves[stop:] = -7
    return forest, rows, start, stop, leaves, oracle.margins(forest, rows[start:stop])


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=() if name == "walk" else needs_the_compiler) for name in ENGINES]
)
@settings(max_examples=12)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_every_engine_takes_many_trees_and_trees_of_many_splits(
    engine: str, data: st.DataObject, seed: int
) -> None:
    most = bit_layout.MOST_LEAVES - 1 if engine in OF_SMALL_TREES else 70
    forest = data.draw(compiled_once(large_forests(max_splits=most)))
    rows = hard_rows(forest, 40, seed)
    leaves, sums = by_engine(engine, forest, rows, 0, len(rows))
    if engine not in WITHOUT_LEAVES:
        np.testing.assert_array_equal(oracle.leaves(forest, rows), leaves)
    assert oracle.margins(forest, rows).tobytes() == sums.tobytes()


@needs_the_compiler
@pytest.mark.parametrize("more", [-1, 0, 1, packed_walk.LANES, packed_layout.BLOCK + 5])
def test_packed_walk_takes_any_number_of_rows_around_its_chunk(more: int) -> None:
    forest = chain(6, turns_left=False)
    rows = hard_rows(forest, packed_layout.BLOCK * packed_walk.MOST_BLOCKS + more)
    leaves, sums = by_engine("packed, no tree complete", forest, rows, 0, len(rows))
    expected = of_distinct_rows(forest, rows)
    np.testing.assert_array_equal(expected[0], leaves)
    np.testing.assert_array_equal(expected[1], sums)


@needs_the_compiler
@pytest.mark.parametrize("more", [-1, 0, 1, heap_walk.LANES, heap_layout.BLOCK + 5])
@pytest.mark.parametrize("engine", ["heaps", "heaps, every tree deep"])
def test_heap_walk_takes_any_number_of_rows_around_its_chunk(engine: str, more: int) -> None:
    forest = chain(6, turns_left=False)
    # The ranks of a pair of columns and of the column of zeros: two bytes a row each.
    chunk_bytes = heap_walk.CHUNK_BYTES if engine == "heaps" else heap_walk.DEEP_CHUNK_BYTES
    rows = hard_rows(forest, chunk_bytes // 4 + more)
    leaves, sums = by_engine(engine, forest, rows, 0, len(rows))
    expected = of_distinct_rows(forest, rows)
    np.testing.assert_array_equal(expected[0], leaves)
    np.testing.assert_array_equal(expected[1], sums)


def of_distinct_rows(forest: Forest, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The leaves and sums of the naive twin, which is slow: found once for all rows of the same bits."""
    bits = rows.view(f"u{rows.itemsize}")
    _, first, number = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    some, number = rows[first], number.ravel()
    return oracle.leaves(forest, some)[number], oracle.margins(forest, some)[number]


@needs_the_compiler
def test_trees_of_more_columns_than_eight_bytes_can_say_are_cut_and_a_single_one_is_left_to_the_plain_walk() -> (
    None
):
    n_features = packed_layout.MOST_PAIRS + 1
    wide = replace(
        join([chain(1, turns_left=True)] * n_features),
        n_features=n_features,
    )
    feature = np.where(wide.is_leaf, -1, np.arange(wide.n_nodes) // 3)
    wide = replace(wide, nodes=wide.nodes._replace(feature=feature.astype(np.int32)))
    # The trees are cut into runs that read as many columns as there may be; the last run has a single one.
    assert [run.n_trees for run in wide._plan.runs] == [packed_layout.MOST_PAIRS, 1]
    assert all(run.packed is not None for run in wide._plan.runs)
    assert_agrees(wide, hard_rows(wide, 20))
    deep = chain(n_features, turns_left=True)
    feature = np.where(deep.is_leaf, -1, np.arange(deep.n_nodes))
    deep = replace(deep, n_features=n_features, nodes=deep.nodes._replace(feature=feature.astype(np.int32)))
    assert [run.packed for run in deep._plan.runs] == [None]
    assert_agrees(deep, hard_rows(deep, 20))


@needs_the_compiler
@pytest.mark.parametrize("n_leaves", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 56, 57, 63, 64])
@pytest.mark.parametrize("turns_left", [True, False])
@pytest.mark.parametrize("engine", OF_SMALL_TREES)
def test_bit_vectors_reach_every_leaf_of_trees_around_the_width_of_a_word(
    engine: str, n_leaves: int, turns_left: bool
) -> None:
    forest = chain(n_leaves - 1, turns_left=turns_left)
    rows = np.arange(-1.0, n_leaves + 1, 0.5)[:, None]
    expected = oracle.margins(forest, rows)
    assert len(np.unique(expected)) == n_leaves
    np.testing.assert_array_equal(expected, by_engine(engine, forest, rows, 0, len(rows))[1])


@needs_the_compiler
@pytest.mark.parametrize("n_splits", [3, 40])
@pytest.mark.parametrize("n_features", [2, 2 * one_row_bits.LISTS + 3])
def test_bit_vectors_of_one_row_take_more_trees_than_a_group_and_more_lists_than_lie_on_the_stack(
    n_features: int, n_splits: int
) -> None:
    random = np.random.default_rng(n_features)
    forest = join([chain(n_splits, turns_left=False)] * (one_row_lists.MOST_TREES + 30))
    is_split = forest.nodes.feature >= 0
    nodes = forest.nodes._replace(
        feature=np.where(is_split, random.integers(n_features, size=forest.n_nodes), -1),
        threshold=np.where(is_split, random.normal(size=forest.n_nodes), 0),
        nan_left=is_split & (random.random(forest.n_nodes) < 0.5),
    )
    forest = replace(forest, nodes=nodes, n_features=n_features)
    trees = forest._plan.runs[0].one_row_bits
    assert len(trees.groups) == 2
    # Some values begin at a state, some values that are missing do.
    assert (n_features > 2) or (trees.groups[0].nan_state >= 0).all()
    rows = random.normal(size=(6, n_features))
    rows[1] = np.nan
    rows[2, ::2] = np.nan
    rows[3], rows[4] = np.inf, -np.inf
    expected = oracle.margins(forest, rows)
    np.testing.assert_array_equal(expected, by_engine("one row by bits", forest, rows, 0, 6)[1])


@needs_the_compiler
def test_the_latency_path_takes_more_keys_than_lie_on_the_stack() -> None:
    n_features = one_row.STACK_BYTES // (8 * packed_layout.BLOCK) + 1
    forest = join([chain(70, turns_left=True)] * 5)
    is_split = forest.nodes.feature >= 0
    feature = np.where(is_split, np.cumsum(is_split) % n_features, -1)
    forest = replace(forest, nodes=forest.nodes._replace(feature=feature), n_features=n_features)
    rows = np.random.default_rng(0).normal(20, 30, size=(5, n_features))
    rows[2, ::3] = np.nan
    assert len(forest._plan.runs[0].packed.columns.feature) == n_features
    expected = oracle.margins(forest, rows)
    np.testing.assert_array_equal(expected, by_engine("one row", forest, rows, 0, 5)[1])


def test_larger_trees_are_walked_and_their_small_neighbours_are_not() -> None:
    small, large = chain(63, turns_left=True), chain(64, turns_left=False)
    forest = join([small] * 8 + [large] + [small] * 7 + [large] + [small] * 9)
    assert [run.bits is not None for run in forest._plan.runs] == [True, False, True]
    rows = np.arange(-1.0, 66, 0.25)[:, None]
    assert_agrees(forest, rows)
    assert_agrees(forest, rows[:2])


def test_trees_that_alternate_too_often_are_walked_as_one_run() -> None:
    small, large = [chain(1, turns_left=True)] * 8, [chain(64, turns_left=False)]
    assert len(join((small + large) * 4)._plan.runs) == 8
    forest = join((small + large) * 5)
    assert [run.bits for run in forest._plan.runs] == [None]
    assert_agrees(forest, np.arange(-1.0, 66, 0.5)[:, None])


def join(forests: list[Forest]) -> Forest:
    """One forest of the trees of several, with values of a tree's own."""
    nodes, values, n_nodes, n_values = [], [], 0, 0
    for k, forest in enumerate(forests):
        shift = {"right": n_nodes, "leaf": n_values}
        fields = [
            np.where(a >= 0, a + shift.get(name, 0), a) if name in shift else a
            for name, a in forest.nodes._asdict().items()
        ]
        nodes.append(fields)
        values.append(forest.values / (k + 3))
        n_nodes, n_values = n_nodes + forest.n_nodes, n_values + len(forest.values)
    start = np.append(0, np.cumsum([forest.n_nodes for forest in forests]))
    joined = Nodes(*(np.concatenate(field) for field in zip(*nodes, strict=True)))
    return Forest(joined, start, [-1] * len(forests), np.concatenate(values), np.zeros(1), n_features=1)


def apart(forest: Forest) -> Forest:
    """The same trees with thresholds of each tree's own."""
    tree = np.repeat(np.arange(forest.n_trees), np.diff(forest.tree_start))
    threshold = forest.nodes.threshold + tree / forest.n_trees
    return replace(forest, nodes=forest.nodes._replace(threshold=np.where(forest.is_leaf, 0, threshold)))


@needs_the_compiler
@pytest.mark.parametrize(("n_trees", "n_pairs"), [(4, 1), (5, 2), (30, 8)])
def test_thresholds_that_are_more_than_ranks_take_several_columns(n_trees: int, n_pairs: int) -> None:
    forest = apart(join([chain(63, turns_left=True)] * n_trees))
    assert len(forest._plan.runs[0].bits.columns.feature) == n_pairs
    rows = np.concatenate([hard_rows(forest, 300), [[-np.inf], [np.inf], [np.nan]]])
    leaves, sums = by_engine("bits", forest, rows, 0, len(rows))
    np.testing.assert_array_equal(oracle.leaves(forest, rows), leaves)
    np.testing.assert_array_equal(oracle.margins(forest, rows), sums)


@needs_the_compiler
def test_more_columns_than_the_caches_hold_are_left_to_the_walk(monkeypatch) -> None:
    monkeypatch.setattr(bit_layout, "MOST_PAIRS", 7)
    forest = apart(join([chain(63, turns_left=True)] * 30))
    assert forest._plan.runs[0].bits is None
    assert_agrees(forest, np.array([[-1.0], [3.5], [40.25], [99], [np.nan], [7]]))


def chain(n_splits: int, *, turns_left: bool) -> Forest:
    """One tree as deep as it has splits, of rising thresholds to the right, or falling ones to the left."""
    n_nodes = 2 * n_splits + 1
    j = np.arange(n_nodes)
    is_split = j < n_splits if turns_left else (j % 2 == 0) & (j < n_nodes - 1)
    right = n_nodes - 1 - j if turns_left else j + 2
    depth = np.cumsum(is_split) - 1
    threshold = n_splits - depth if turns_left else depth
    nodes = Nodes(
        feature=np.where(is_split, 0, -1),
        threshold=np.where(is_split, threshold, 0),
        right=np.where(is_split, right, -1),
        nan_left=is_split,
        category_set=np.full(n_nodes, -1),
        leaf=np.where(is_split, -1, np.cumsum(~is_split) - 1),
        cover=np.ones(n_nodes),
        node_id=j,
    )
    values = np.arange(n_splits + 1.0)[:, None]
    return Forest(nodes, [0, n_nodes], [-1], values, np.zeros(1), n_features=1)


@pytest.mark.parametrize("turns_left", [True, False])
def test_trees_may_be_deeper_than_any_stack(turns_left: bool) -> None:
    forest = chain(20_000, turns_left=turns_left)
    rows = np.array([-1.0, 0, 0.5, 1, 9_999.5, 19_999, 20_000, 20_001, np.nan, np.inf])[:, None]
    assert_agrees(forest, rows)
    assert forest.depth.max() == 20_000


def test_a_right_child_that_lies_wrong_is_found_behind_many_open_splits() -> None:
    forest = chain(500, turns_left=True)
    assert find_fault(forest, forest.nodes.right) == (structure.SOUND, -1, -1)
    right = forest.nodes.right.copy()
    right[3] -= 2
    right.setflags(write=False)  # another type for Numba, which would compile once more
    assert find_fault(forest, right)[:2] == (structure.BAD_RIGHT, 0)


def find_fault(forest: Forest, right: np.ndarray) -> tuple[int, int, int]:
    nodes = forest.nodes._replace(right=right)
    return structure.find_fault(nodes, forest.tree_start, forest.n_features, len(forest.values), 0)


@given(forests())
def test_shapes_of_trees_are_those_of_a_plain_walk(forest: Forest) -> None:
    end, depth, parent = {}, {}, {}

    def visit(j: int, above: int, n_splits: int) -> int:
        parent[j], depth[j], end[j] = above, n_splits, j + 1
        if oracle.is_split(forest, j):
            end[j] = max(visit(child, j, n_splits + 1) for child in oracle.children(forest, j))
        return end[j]

    for root in oracle.roots(forest):
        visit(root, -1, 0)
    expected = [[end[j], depth[j], parent[j]] for j in range(forest.n_nodes)]
    actual = np.column_stack([forest.subtree_end, forest.depth, forest.parent])
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_kernels_pass_with_the_compiler_off_and_with_the_indices_of_arrays_checked(
    switch: str, tmp_path: Path
) -> None:
    # What is read through pointers no switch checks: test_layouts.py shows that the places in the layouts are sound.
    # A cache of its own: code compiled with other switches must not be found in it.
    # Nothing is optimised, which is most of a compilation: what is checked is there before, and answers are few.
    environment = os.environ | {switch: "1", "NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    chosen = (
        "test_walk or test_shapes or test_a_right_child or test_bit_vectors or test_every_engine or test_packed"
        " or test_thresholds_that or test_ranks or test_oblivious"
    )
    files = [
        str(Path(__file__).with_name(name))
        for name in ("test_engines.py", "test_columns.py", "test_oblivious.py")
    ]
    # One process: others would compile the same once more. What is not optimised cannot be kept, nor is it wanted again.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", chosen]
    options = ["--hypothesis-profile=slow-engine", "-W", "ignore:Cannot cache compiled function"]
    done = subprocess.run(
        [*command, *options, *files],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@needs_the_compiler
def test_trees_are_laid_out_anew_once_they_have_walked_as_long_as_that_takes() -> None:
    forest = zoo.forest("boosting binary")
    run = plan.Run(*forest._plan._arrays, forest.x_dtype, is_small=True)
    rows = np.tile(forest.rows(zoo.rows("boosting binary")), (3, 1))[:600]
    sums, engines = [], []
    for _ in range(100):
        engines.append(run._adder(len(rows))[0])
        sums.append(np.zeros((len(rows), 1)))
        run.add_margins(rows, 0, len(rows), sums[-1])
    assert engines[0] is walk
    assert engines[-1] is bitvector
    assert engines == sorted(engines, key=lambda engine: engine is bitvector)
    assert len({one.tobytes() for one in sums}) == 1


@needs_the_compiler
def test_a_prepared_forest_is_laid_out_at_its_next_call() -> None:
    forest = read(zoo.trained("boosting binary"))
    assert forest.prepare() is forest
    (run,) = forest._plan.runs
    assert run._adder(600)[0] is bitvector
