"""One tree of an XGBoost model file.

`x < t` goes left there and `x <= t` here: in float32 the same as `x <= ` the float before t. A categorical split sends
the chosen codes right there and left here, so its children are swapped.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.nodes import NO_SETS, CategorySets, make_sets
from ensemble_compress.readers.assemble import Tree
from ensemble_compress.readers.document import Section

LARGEST_CODE = 1 << 24
"""XGBoost takes codes from here on for invalid."""
MAX_WORDS = 1 << 24
"""Words of 32 bits that the sets of one tree may take: a short list can name a code far out."""


def read_tree(section: Section, weight: np.float32, n_outputs: int, unseen_is_missing: bool) -> Tree:
    """The tree that a section describes, its leaves times `weight`.

    Parameters
    ----------
    section : Section
        An entry of `trees`.
    weight : float32
        The weight of a tree that DART dropped once.
    n_outputs : int
        Columns of the margin, each of which a vector leaf has a value for.
    unseen_is_missing : bool
        Whether codes below 0 and beyond a set's words go where a missing value goes, as they did up to 1.6.
    """
    parameters = section.section("tree_param")
    n_nodes, width = parameters.count("num_nodes"), max(1, parameters.count("size_leaf_vector", 1))
    left = section.numbers("left_children", np.int64, n_nodes)
    right = section.numbers("right_children", np.int64, n_nodes)
    knows_cover = width == 1 or "sum_hessian" in section
    cover = section.numbers("sum_hessian", np.float32, n_nodes) if knows_cover else np.zeros(n_nodes)
    default_left = section.numbers("default_left", np.int8, n_nodes) != 0
    condition = section.numbers("split_conditions", np.float32, n_nodes)
    if width == 1:
        _check_leaves(section, left, right)
        values = condition.reshape(-1, 1)
    else:
        values = _vectors_of(section, left, right, width, n_outputs)
    category_set, sets = _sets_of(section, left)
    is_categorical = category_set >= 0
    # Nothing is below -inf, so such a split sends all right; with its children swapped all are at most inf.
    is_never = (condition == -np.inf) & (left != -1) & ~is_categorical
    swapped = is_never | (is_categorical & (default_left | (not unseen_is_missing)))
    sets = _complement(sets, category_set[is_categorical & ~swapped])
    with np.errstate(over="ignore", invalid="ignore"):
        below = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
        values = values * weight
    # Before 3.0 a categorical split has the condition NaN.
    threshold = np.where(is_categorical, 0.0, np.where(is_never, np.inf, below))
    return Tree(
        left=np.where(swapped, right, left),
        right=np.where(swapped, left, right),
        feature=section.numbers("split_indices", np.int64, n_nodes),
        threshold=threshold,
        nan_left=default_left != swapped,
        values=values,
        cover=cover.astype(np.float64),
        node_id=np.arange(n_nodes),
        category_set=category_set,
        sets=sets,
    )


def _check_leaves(section: Section, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    half = (left == -1) != (right == -1)
    if half.any():
        raise section.error(f"node {int(half.argmax())} has one child; expected two or none")


def _vectors_of(
    section: Section, left: NDArray[np.int64], right: NDArray[np.int64], width: int, n_outputs: int
) -> NDArray[np.float32]:
    """The values of leaves with one for each output.

    Since 3.2 such a leaf keeps its row of `leaf_weights` in place of a right child; before, `base_weights` had a row for
    every node.
    """
    if width != n_outputs:
        raise section.error(f"size_leaf_vector is {width}; the model has {n_outputs} outputs")
    is_leaf, is_old = left == -1, "leaf_weights" not in section
    name = "base_weights" if is_old else "leaf_weights"
    values = section.numbers(name, np.float32)
    rows = np.where(is_leaf, np.arange(len(left)) if is_old else right, 0)
    if len(values) % width or (is_leaf & ((rows < 0) | (rows >= len(values) // width))).any():
        raise section.error(f"{name} has no row for one of the leaves")
    return np.asarray(np.where(is_leaf[:, None], values.reshape(-1, width)[rows], np.float32(0)))


def _sets_of(section: Section, left: NDArray[np.int64]) -> tuple[NDArray[np.int64], CategorySets]:
    """(the set of each categorical node, -1 elsewhere; the sets)."""
    n_nodes = len(left)
    category_set = np.full(n_nodes, -1)
    if "split_type" not in section:
        return category_set, NO_SETS
    is_categorical = (section.numbers("split_type", np.int8, n_nodes) == 1) & (left != -1)
    nodes = section.numbers("categories_nodes", np.int64)
    begin = section.numbers("categories_segments", np.int64, len(nodes))
    sizes = section.numbers("categories_sizes", np.int64, len(nodes))
    codes = section.numbers("categories", np.int64)
    if len(nodes) == 0 and not is_categorical.any():
        return category_set, NO_SETS
    if ((nodes < 0) | (nodes >= n_nodes)).any() or (np.diff(nodes) <= 0).any():
        raise section.error("categories_nodes do not rise within the tree's nodes")
    if (
        (begin < 0) | (sizes < 0) | (begin > len(codes)) | (sizes > len(codes) - begin)
    ).any() or sizes.sum() > len(codes):
        raise section.error("categories_segments and categories_sizes point outside of categories")
    if ((codes < 0) | (codes >= LARGEST_CODE)).any():
        raise section.error(
            f"categories holds {codes.min()} to {codes.max()}; expected 0 to {LARGEST_CODE - 1}"
        )
    category_set[nodes] = np.arange(len(nodes))
    if (is_categorical & (category_set < 0)).any():
        raise section.error(f"node {int((is_categorical & (category_set < 0)).argmax())} has no categories")
    lists = [codes[b : b + size].tolist() for b, size in zip(begin, sizes, strict=True)]
    if sum(max(members, default=0) // 32 + 1 for members in lists) > MAX_WORDS:
        raise section.error(f"its sets of categories would take more than {4 * MAX_WORDS:,} bytes")
    return np.where(is_categorical, category_set, -1), make_sets(lists)


def _complement(sets: CategorySets, chosen: NDArray[np.int64]) -> CategorySets:
    """The sets with the chosen ones turned inside out, as far as their words go."""
    if not len(chosen):
        return sets
    is_chosen = np.zeros(len(sets.start) - 1, bool)
    is_chosen[chosen] = True
    return sets._replace(words=np.where(np.repeat(is_chosen, np.diff(sets.start)), ~sets.words, sets.words))
