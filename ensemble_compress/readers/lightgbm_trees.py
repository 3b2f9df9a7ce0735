"""One tree of a LightGBM model, with the rules of LightGBM's `Tree::Decision` said in ours.

LightGBM takes every x with |x| <= 1e-35 (a float32) for 0 before it predicts, so a threshold in that range is moved to
the end of the range where the rows split. What a missing value does depends on the node: with the type NaN it goes
where the default says, with None it counts as 0. With the type Zero, 0 counts as missing too; where 0 would go the
other way without that, one threshold doesn't say it, and `lightgbm_zero` takes several.

The code of a category is x rounded towards zero, so a number between -1 and 0 is category 0 (`Forest.category_rule`).
Nothing else in a categorical column is told apart: NaN, negative numbers and codes
beyond the set go right.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.nodes import NO_SETS, CategorySets
from ensemble_compress.readers.assemble import Tree
from ensemble_compress.readers.lightgbm_text import Block
from ensemble_compress.readers.lightgbm_zero import BELOW_ZERO, ZERO, unfold

IS_CATEGORICAL, DEFAULT_LEFT, MISSING_SHIFT, MISSING_MASK = 1, 2, 2, 3
MISSING_NONE, MISSING_ZERO, MISSING_NAN = range(3)


class NumericTests(NamedTuple):
    """The tests of the splits, arrays of shape (n_splits,).

    Attributes
    ----------
    threshold : float64
        `x <= threshold` goes left, on x as it is.
    nan_left : bool
        Whether a missing value goes left.
    zero_left : bool
        Whether what counts as 0 goes left.
    sends_zero_apart : bool
        Whether no threshold says it.
    is_cut : bool
        Whether a missing value goes where 0 goes.
    """

    threshold: NDArray[np.float64]
    nan_left: NDArray[np.bool_]
    zero_left: NDArray[np.bool_]
    sends_zero_apart: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]


def read_tree(block: Block) -> Tree:
    """The tree that a block describes: splits come first, then leaves.

    Parameters
    ----------
    block : Block
        The lines of a tree.
    """
    n_leaves = block.count("num_leaves")
    if n_leaves == 0:
        raise block.error("num_leaves is 0; expected at least 1")
    n_splits = n_leaves - 1
    values = _leaves_of(block, n_leaves)
    if n_splits == 0:
        return _one_leaf(values)
    decision = block.numbers("decision_type", np.int64, n_splits)
    if ((decision < 0) | (decision >> MISSING_SHIFT > MISSING_NAN)).any():
        raise block.error(
            f"decision_type holds {decision.min()} to {decision.max()}; expected 0 to {(MISSING_NAN << MISSING_SHIFT) + 3}"
        )
    is_categorical = decision & IS_CATEGORICAL != 0
    threshold = block.numbers("threshold", np.float64, n_splits)
    tests = _numeric_tests(block, decision, threshold)
    category_set, sets = _sets_of(block, is_categorical, threshold)

    def at_splits(array: NDArray[Any], leaves: object) -> NDArray[Any]:
        return np.concatenate([array, np.broadcast_to(np.asarray(leaves, array.dtype), (n_leaves,))])

    tree = Tree(
        left=at_splits(_children(block, "left_child", n_leaves), -1),
        right=at_splits(_children(block, "right_child", n_leaves), -1),
        feature=at_splits(block.numbers("split_feature", np.int64, n_splits), 0),
        threshold=at_splits(np.where(is_categorical, 0.0, tests.threshold), 0.0),
        nan_left=at_splits(tests.nan_left & ~is_categorical, False),
        values=np.concatenate([np.zeros(n_splits), values]).reshape(-1, 1),
        cover=at_splits(_rows_of(block, "internal_count", n_splits), _rows_of(block, "leaf_count", n_leaves)),
        node_id=at_splits(n_leaves + np.arange(n_splits), np.arange(n_leaves)),
        category_set=at_splits(category_set, -1),
        sets=sets,
    )
    if not tests.sends_zero_apart.any():
        return tree
    numbers = at_splits(threshold, 0.0)
    return unfold(
        tree, numbers, at_splits(tests.zero_left, False), at_splits(tests.is_cut, False), block.where
    )


def _leaves_of(block: Block, n_leaves: int) -> NDArray[np.float64]:
    """The value of each leaf. A linear tree's leaves are constants where none of them names a feature."""
    if block.header.get("is_linear", "0").strip() != "1":
        return block.numbers("leaf_value", np.float64, n_leaves)
    if block.numbers("num_features", np.int64, n_leaves).any():
        raise UnsupportedModelError(
            f"{block.where}: a linear model in its leaves (linear_tree=True) cannot be read; fit with linear_tree=False"
        )
    return block.numbers("leaf_const", np.float64, n_leaves)


def _one_leaf(values: NDArray[np.float64]) -> Tree:
    nothing = np.zeros(1, np.int64)
    return Tree(
        nothing - 1, nothing - 1, nothing, values * 0, nothing, values.reshape(1, 1), values * 0, nothing
    )


def _children(block: Block, name: str, n_leaves: int) -> NDArray[np.int64]:
    """Children as nodes of the tree: a split's number is its own, leaf k, written -1 - k, comes behind the splits."""
    children = block.numbers(name, np.int64, n_leaves - 1)
    is_wrong = (children < -n_leaves) | (children >= n_leaves - 1)
    if is_wrong.any():
        j = int(is_wrong.argmax())
        raise block.error(f"{name} of split {j} is {children[j]}; expected {-n_leaves} to {n_leaves - 2}")
    return np.where(children >= 0, children, n_leaves - 2 - children)


def _rows_of(block: Block, name: str, length: int) -> NDArray[np.float64]:
    return block.numbers(name, np.float64, length) if block.header.get(name) else np.zeros(length)


def _numeric_tests(block: Block, decision: NDArray[np.int64], threshold: NDArray[np.float64]) -> NumericTests:
    default_left, missing = decision & DEFAULT_LEFT != 0, decision >> MISSING_SHIFT & MISSING_MASK
    is_numeric = decision & IS_CATEGORICAL == 0
    zero_left = np.where(missing == MISSING_ZERO, default_left, threshold >= 0)
    apart = np.where(zero_left, threshold < BELOW_ZERO, threshold > ZERO) & (missing == MISSING_ZERO)
    at_zero = (threshold >= BELOW_ZERO) & (threshold <= ZERO)
    moved = np.where(at_zero, np.where(zero_left, ZERO, BELOW_ZERO), threshold)
    nan_left = np.where(missing == MISSING_NONE, threshold >= 0, default_left)
    return NumericTests(moved, nan_left, zero_left, apart & is_numeric, is_numeric & (missing != MISSING_NAN))


def _sets_of(
    block: Block, is_categorical: NDArray[np.bool_], threshold: NDArray[np.float64]
) -> tuple[NDArray[np.int64], CategorySets]:
    """(the set of each categorical split, -1 elsewhere; the sets). A categorical split's threshold is its set."""
    if not is_categorical.any():
        return np.full(len(threshold), -1), NO_SETS
    n_sets = block.count("num_cat")
    start = block.numbers("cat_boundaries", np.int64, n_sets + 1)
    if start[0] != 0 or (start[1:] < start[:-1]).any():
        raise block.error("cat_boundaries do not rise from 0")
    words = block.numbers("cat_threshold", np.int64, int(start[-1]))
    if ((words < 0) | (words > 0xFFFFFFFF)).any():
        raise block.error("cat_threshold holds something that is no 32 bits")
    chosen = threshold[is_categorical]
    if not ((chosen >= 0) & (chosen < n_sets) & (chosen == np.floor(chosen))).all():
        raise block.error(f"the threshold of a categorical split names none of the {n_sets} sets")
    return np.where(is_categorical, threshold, -1).astype(np.int64), CategorySets(
        start, words.astype(np.uint32)
    )
