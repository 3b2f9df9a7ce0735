"""How fast a forest could be scored at best on this core: what the last column of the table of inference is made of.

Two limits, each for the kind of trees it belongs to; neither knows how our engines are written, only what any engine of that
kind has to do, and both use what the core is measured to do at that moment.

- Trees of at most 64 leaves, all tests of a tree at once (bit vectors). A test is three vector operations on words of 8
  bits, compare, or, and; a split is a test in each word of 8 leaves that its left subtree reaches into, and of an oblivious tree each
  level is one test. A core does three vector operations a cycle, on vectors as wide as its widest registers:

      cycles = tests * 3 operations * 8 bits / vector bits / 3 a cycle

  and a leaf is a load and an addition: two loads a cycle, half a cycle a tree. What it leaves out: finding the ranks of the
  row's values, the loads of the tests, moving rows and sums.
- Larger trees, node by node. The five uppermost levels need no node before them: 31 tests as above, on keys of 16 bits. Below, a
  row touches a node a level, of at least 4 bytes, at an address that the node before decides. A core loads random 4 bytes
  out of an array as large as one tree (trees take turns, blocks of rows pass through each) so many times a second when the
  loads are independent:

      nanoseconds = nodes on the path below the fifth level, the leaf included, summed over the trees * nanoseconds a load

  What it leaves out: the keys of the row's values, the comparison, loading every tree once a block, adding up.

What lies between these and an engine's time is what they leave out.
"""

import time
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.oblivious import find_levels
from ensemble_compress.forest import Forest

MOST_LEAVES = 64
WORD = 8
OPERATIONS_OF_A_TEST = 3
OPERATIONS_A_CYCLE = 3
LOADS_A_CYCLE = 2
NODE_BYTES = 4
UPPER_LEVELS, KEY_BITS = 5, 16


def limit(forest: Forest, rows: NDArray[Any]) -> dict[str, Any]:
    """The limit of a forest on rows like these, and what it is made of; `us` is microseconds a row."""
    n_leaves = np.add.reduceat(forest.is_leaf.astype(np.int64), forest.tree_start[:-1])
    levels = find_levels(forest.nodes, forest.tree_start)
    if n_leaves[levels == 0].max(initial=0) <= MOST_LEAVES:
        return _of_bits(forest)
    return _of_walks(forest, rows)


def _of_bits(forest: Forest) -> dict[str, Any]:
    tests, bits, gigahertz = count_tests(forest), vector_bits(), clock()
    cycles = tests * OPERATIONS_OF_A_TEST * WORD / bits / OPERATIONS_A_CYCLE + forest.n_trees / LOADS_A_CYCLE
    return {
        "kind": "vector operations",
        "us": cycles / gigahertz / 1000,
        "tests": tests,
        "vector_bits": bits,
        "gigahertz": gigahertz,
    }


def _of_walks(forest: Forest, rows: NDArray[Any]) -> dict[str, Any]:
    depth = forest.depth[forest.find_leaves(rows, n_jobs=1)]
    visits = float(np.maximum(depth + 1 - UPPER_LEVELS, 0).sum(axis=1).mean())
    tree_bytes, bits = forest.n_nodes * NODE_BYTES // forest.n_trees, vector_bits()
    tests = forest.n_trees * ((1 << UPPER_LEVELS) - 1)
    cycles = tests * OPERATIONS_OF_A_TEST * KEY_BITS / bits / OPERATIONS_A_CYCLE
    load, gigahertz = random_load(tree_bytes), clock()
    return {
        "kind": "cache",
        "us": (visits * load + cycles / gigahertz) / 1000,
        "nodes_below": visits,
        "tree_bytes": tree_bytes,
        "nanoseconds_a_load": load,
        "tests": tests,
        "vector_bits": bits,
        "gigahertz": gigahertz,
    }


def count_tests(forest: Forest) -> int:
    """Over all splits the number of words of 8 leaves that the left subtree reaches into; of oblivious trees the levels."""
    levels = find_levels(forest.nodes, forest.tree_start)
    before = np.append(0, np.cumsum(forest.is_leaf, dtype=np.int64))
    splits = np.flatnonzero(~forest.is_leaf)
    first = before[forest.tree_start[forest.tree_of_node[splits]]]
    # Nodes lie in pre-order: a left subtree's leaves are those between the split and its right child.
    begin, last = before[splits] - first, before[forest.nodes.right[splits]] - first - 1
    is_alone = levels[forest.tree_of_node[splits]] == 0
    return int((last // WORD - begin // WORD + 1)[is_alone].sum() + levels.sum())


def vector_bits() -> int:
    """The width of the processor's vectors."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return 512 if features.get("avx512bw") else 256 if features.get("avx2") else 128


@numba.njit  # type: ignore[untyped-decorator]
def _mix(n: int, x: np.uint64) -> np.uint64:
    """Six operations a turn, none of which can begin before the one before is done."""
    for _ in range(n):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


@numba.njit  # type: ignore[untyped-decorator]
def _load(table: NDArray[np.int32], places: NDArray[np.int32]) -> int:
    total = 0
    for place in places:
        total += table[place]
    return total


def _best_seconds(call: Any, repeats: int = 7) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def clock(n: int = 2_000_000) -> float:
    """Cycles a nanosecond, from a chain of operations of a cycle each."""
    return 6 * n / _best_seconds(lambda: _mix(n, np.uint64(88172645463325252))) / 1e9


def random_load(n_bytes: int, n_loads: int = 4096) -> float:
    """Nanoseconds of a load of 4 bytes from anywhere in an array, independent of the loads before."""
    table = np.ones(max(1, n_bytes // NODE_BYTES), np.int32)
    places = np.random.default_rng(0).integers(0, len(table), 64 * n_loads).astype(np.int32)
    return _best_seconds(lambda: _load(table, places)) * 1e9 / len(places)
