"""Oblivious trees: all splits of a level are one and the same test, so that a row's leaf is a number of one bit a level.

CatBoost grows such trees. A tree of six levels is six tests here, where bit vectors try its 63 splits; the bits of a block of
rows are put together in vectors, as in `engines.bitvector`, whose blocks, ranks and leaves these are.

Source: Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS 2018, section 5 (oblivious
trees as base predictors).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ensemble_compress.engines.steps import array_data, field_data, splat_for

MOST_LEVELS = 8
"""A leaf's number has to fit into the 8 bits of a lane."""


def find_levels(nodes: Any, tree_start: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of levels of each oblivious tree; 0 for trees that are none, or have too many levels."""
    n_nodes = np.diff(tree_start)
    levels = np.zeros(len(n_nodes), np.int32)
    for depth in range(1, MOST_LEVELS + 1):
        trees = np.flatnonzero(n_nodes == (2 << depth) - 1)
        if len(trees):
            at = tree_start[trees][:, None] + np.arange((2 << depth) - 1)
            levels[trees[_is_oblivious(nodes, at, _depths(depth))]] = depth
    return levels


def _depths(depth: int) -> NDArray[np.int32]:
    """How deep the nodes of a complete tree lie, in pre-order."""
    below = np.zeros(1, np.int32)
    for _ in range(depth):
        below = np.concatenate([[0], below + 1, below + 1]).astype(np.int32)
    return below


def _is_oblivious(nodes: Any, at: NDArray[Any], depths: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether nodes of one depth test the same in the trees that have the nodes `at`, shape (n_trees, n_nodes)."""
    found = ((nodes.feature[at] < 0) == (depths == depths[-1])).all(axis=1)
    # Nodes of one depth next to each other; where leaves and splits are where they belong, the tree is a complete one.
    is_split = depths < depths[-1]
    order = np.argsort(depths[is_split], kind="stable")
    is_same = np.diff(depths[is_split][order]) == 0
    for field in (nodes.feature, nodes.threshold, nodes.nan_left, nodes.category_set):
        of_level = field[at[:, is_split]][:, order]
        found &= ((of_level[:, 1:] == of_level[:, :-1]) | ~is_same).all(axis=1)
    return np.asarray(found)


def finder_for(n_lanes: int) -> Any:
    """The intrinsic that finds the leaves of the first `n_lanes` rows of a block."""
    place, splat = ir.IntType(64), splat_for(n_lanes)
    vector = ir.VectorType(ir.IntType(8), n_lanes)

    @intrinsic  # type: ignore[untyped-decorator]
    def find_oblivious_places(
        typing_context: Any, plan: Any, ranks: Any, start: Any, stop: Any, places: Any
    ) -> Any:
        """Write to `places` the leaf of each row in the tree of the tests from `start` to `stop`."""
        signature = types.void(plan, ranks, start, stop, places)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            fields = field_data(context, builder, signature.args[0], arguments[0])
            ranks, places = (array_data(context, builder, signature, arguments, k) for k in (1, 4))
            number = cgutils.alloca_once(builder, vector)  # becomes registers
            builder.store(ir.Constant(vector, [0] * n_lanes), number)
            with cgutils.for_range_slice(builder, *arguments[2:4], ir.Constant(place, 1)) as (j, _):
                at = builder.sext(builder.load(builder.gep(fields("column"), [j])), place)
                of_column = builder.bitcast(builder.gep(ranks, [at]), vector.as_pointer())
                bound, bit = (
                    splat(builder, builder.load(builder.gep(fields(name), [j]))) for name in ("above", "mask")
                )
                goes_right = builder.icmp_signed("<=", bound, builder.load(of_column, align=1))
                bit = builder.and_(builder.sext(goes_right, vector), bit)
                builder.store(builder.or_(builder.load(number), bit), number)
            found = builder.bitcast(places, vector.as_pointer())
            builder.store(builder.load(number), found, align=1)
            return context.get_dummy_value()

        return signature, generate

    return find_oblivious_places
