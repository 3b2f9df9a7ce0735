"""One tree of a Treelite checkpoint, with the rules of GTIL, Treelite's own predictor, said in ours.

GTIL goes left where the test is true. `x < t` is `x <= ` the number of the model's type before t; `>` and `>=` are their
opposites, so that the children are swapped, and so are those of a set of categories that sends its codes right. Nothing
is below minus infinity: that test is the empty set, which no number is in either.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.nodes import NO_SETS, CategorySets
from ensemble_compress.readers.assemble import Tree
from ensemble_compress.readers.treelite_checkpoint import Fields, damaged

LEAF, NUMERIC, CATEGORICAL = range(3)
NONE, EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = range(6)
LARGEST_FLOAT_CODE = 1 << 24
"""GTIL takes a float32 above this for no category, whatever the list says."""


def read_tree(fields: Fields, width: int, max_words: int, where: str) -> Tree:
    """The tree that the fields describe; nodes keep their numbers.

    Parameters
    ----------
    fields : dict
        A tree of a `Checkpoint`.
    width : int
        Values that a leaf must have.
    max_words : int
        Words of 32 bits that its sets may take: a short list can name a code far out.
    where : str
        The tree's place, for error messages.
    """
    is_split = fields["cleft"] != -1
    is_set = is_split & (fields["node_type"] == CATEGORICAL)
    _check_kinds(fields, is_split, where)
    threshold, is_never, is_opposite = _numeric_tests(fields, is_split & ~is_set, where)
    is_swapped = np.where(is_set, fields["category_list_right_child"] != 0, is_opposite)
    category_set, sets = _sets_of(fields, is_set, is_never, max_words, where)
    left, right = fields["cleft"], fields["cright"]
    return Tree(
        left=np.where(is_swapped, right, left),
        right=np.where(is_swapped, left, right),
        feature=fields["split_index"],
        threshold=threshold,
        nan_left=(fields["default_left"] != 0) != is_swapped,
        values=_values_of(fields, ~is_split, width, where),
        cover=_cover_of(fields),
        node_id=np.arange(len(left)),
        category_set=category_set,
        sets=sets,
    )


def _check_kinds(fields: Fields, is_split: NDArray[np.bool_], where: str) -> None:
    kind = fields["node_type"]
    is_wrong = np.where(is_split, (kind != NUMERIC) & (kind != CATEGORICAL), kind != LEAF)
    if is_wrong.any():
        j = int(is_wrong.argmax())
        raise damaged(
            where,
            f"node {j} has the type {kind[j]} and the left child {fields['cleft'][j]}, which do not agree",
        )
    one_child = is_split & (fields["cright"] == -1)
    if one_child.any():
        raise damaged(where, f"node {int(one_child.argmax())} has one child; expected two or none")


def _numeric_tests(
    fields: Fields, is_numeric: NDArray[np.bool_], where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(thresholds, whether no number passes the test, whether the test is the opposite of `x <= threshold`)."""
    operator = np.where(is_numeric, fields["cmp"], LESS_EQUAL)
    if (operator == EQUAL).any():
        raise UnsupportedModelError(
            f"{where}, node {int((operator == EQUAL).argmax())}: a test for equality (==) cannot be read; make it a"
            " categorical test, or two tests with <= and <"
        )
    is_unknown = (operator <= NONE) | (operator > GREATER_EQUAL)
    if is_unknown.any():
        j = int(is_unknown.argmax())
        raise damaged(where, f"node {j} has the comparison operator {operator[j]}; expected 1 to 5")
    given, is_strict = fields["threshold"], (operator == LESS) | (operator == GREATER_EQUAL)
    with np.errstate(over="ignore", invalid="ignore"):
        before = np.nextafter(given, given.dtype.type(-np.inf))
    threshold = np.where(is_numeric, np.where(is_strict, before, given), 0.0).astype(np.float64)
    return threshold, is_strict & (given == -np.inf), operator >= GREATER


def _sets_of(
    fields: Fields, is_set: NDArray[np.bool_], is_never: NDArray[np.bool_], max_words: int, where: str
) -> tuple[NDArray[np.int64], CategorySets]:
    """(the set of each node, -1 where the test is numeric; the sets)."""
    codes, begin, end = (fields[f"category_list{part}"] for part in ("", "_begin", "_end"))
    is_outside = is_set & ((begin > end) | (end > len(codes)))
    if is_outside.any():
        raise damaged(
            where, f"node {int(is_outside.argmax())} has a list of categories that ends outside of them"
        )
    has_set = is_set | is_never
    if not has_set.any():
        return np.full(len(has_set), -1), NO_SETS
    sizes = np.where(is_set, end - begin, 0)[has_set].astype(np.int64)
    if sizes.sum() > len(codes):
        raise damaged(where, f"lists of {sizes.sum()} categories share {len(codes)} of them")
    category_set = np.where(has_set, np.cumsum(has_set) - 1, -1)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    first = begin[has_set].astype(np.int64)
    members = codes[first[owner] + np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]].astype(np.int64)
    if fields["threshold"].dtype == np.float32:
        owner, members = owner[members <= LARGEST_FLOAT_CODE], members[members <= LARGEST_FLOAT_CODE]
    return category_set, _pack(owner, members, len(sizes), max_words, where)


def _pack(
    owner: NDArray[np.int64], members: NDArray[np.int64], n_sets: int, max_words: int, where: str
) -> CategorySets:
    """The sets as bits: `members[i]` is in the set `owner[i]`."""
    lengths = np.zeros(n_sets, np.int64)
    np.maximum.at(lengths, owner, members // 32 + 1)
    start = np.concatenate([[0], np.cumsum(lengths)])
    if start[-1] > max_words:
        raise UnsupportedModelError(
            f"{where}: its categories up to {members.max():,} need {4 * start[-1]:,} bytes as sets of bits, and"
            f" {4 * max_words:,} are left for the model; number the categories from 0 without gaps"
        )
    words = np.zeros(start[-1], np.uint32)
    np.bitwise_or.at(words, start[owner] + members // 32, np.uint32(1) << (members % 32).astype(np.uint32))
    return CategorySets(start.astype(np.int32), words)


def _values_of(fields: Fields, is_leaf: NDArray[np.bool_], width: int, where: str) -> NDArray[Any]:
    """The values of the leaves, shape (n_nodes, width); a leaf holds one number or a part of `leaf_vector`."""
    vectors, begin, end = (fields[f"leaf_vector{part}"] for part in ("", "_begin", "_end"))
    has_vector = is_leaf & (begin != end)
    if width == 1 and not has_vector.any():
        return fields["leaf_value"].reshape(-1, 1)
    lacks = is_leaf & ~has_vector if width > 1 else np.zeros(len(is_leaf), np.bool_)
    is_wrong = lacks | has_vector & ((begin > end) | (end > len(vectors)) | (end - begin != width))
    # Leaves that shared their values would let a short file ask for any amount of memory.
    if is_wrong.any() or (width > 1 and len(is_leaf) * width > 2 * len(vectors)):
        raise damaged(
            where, f"leaf {int(is_wrong.argmax())} or another has no {width} values of its own in leaf_vector"
        )
    values = np.repeat(fields["leaf_value"].reshape(-1, 1), width, axis=1)
    values[has_vector] = vectors[begin[has_vector].astype(np.int64)[:, None] + np.arange(width)]
    return values


def _cover_of(fields: Fields) -> NDArray[np.float64]:
    """The weight that reached each node in training; rows are counted where no weight is known."""
    for name in ("sum_hess", "data_count"):
        if len(fields[name]) and len(fields[f"{name}_present"]):
            known = (fields[f"{name}_present"] != 0) & np.isfinite(fields[name]) & (fields[name] >= 0)
            return np.where(known, fields[name], 0.0)
    return np.zeros(len(fields["cleft"]))
