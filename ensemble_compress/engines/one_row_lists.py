"""The layout of the latency path of small trees: lists of splits sorted by threshold, and the states along them."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.pointers import LINE, aligned

MOST_TREES = 1024
"""Trees of a group: their words have to stay in the nearest cache, and on the stack."""

VECTOR = 128
"""Bytes of the words that are ANDed at a time: a few registers."""

STAGGER = LINE
"""States lie so much more apart than they are long: at distances of 4 kB they would have a few places in the cache to share."""

BYTES_PER_SPLIT = 32
"""Bytes of states for each split: with more states fewer splits are left to try, with less of them more stays in the caches."""

WAYS = 16
"""Cuts that the search compares at a time."""

LEVELS = 4
"""WAYS ** LEVELS are more cuts than a group has splits."""


class Group(NamedTuple):
    """Up to `MOST_TREES` neighbouring trees. A list is a feature or, of a test of categories, a feature and a set.

    Attributes
    ----------
    feature, category_set : ndarray of shape (n_lists,) int32
        Of a list; the set is -1 where there is none.
    level_start : ndarray of shape (n_lists, LEVELS) int32
        Where each level of a list's cuts begins, the uppermost first; -1 for levels that it doesn't have. The last level
        has the distinct thresholds, sorted, those above have the last cut of every `WAYS` of the next one.
    cuts : ndarray of float64
        Filled up with infinities to whole `WAYS`; each list has one or more.
    below_start : ndarray of shape (n_lists,) int32
        Where a list's counts begin in `n_below`.
    n_below : ndarray of int32
        How many splits of a list have one of its lowest 0, 1, 2, ... cuts for a threshold.
    split_start : ndarray of shape (2 * n_lists + 1,) int32
        Where a list's splits begin, and then those of them that a missing value sends to the right.
    tree : ndarray of shape (n_splits,) uint16
        A split's tree in the group.
    mask : ndarray of shape (n_splits,) uint32 or uint64
        The bits that it keeps in its tree's word.
    state_start : ndarray of shape (n_lists,) int32
        A list's first state: the words behind its first `1 << shift` splits; the next is the one behind twice as many.
    nan_state : ndarray of shape (n_lists,) int32
        The state behind all splits that a missing value sends to the right; -1 where they are few.
    states : ndarray of uint8
        The words, `STAGGER` bytes more for each state than `state_bytes`.
    leaf_start : ndarray of shape (n_trees,) int32
        The number of a tree's first leaf.
    leaf_value : ndarray of shape (n_leaves,)
        The first value of each leaf.
    row : ndarray of shape (n_leaves,) int32
        Its row of `values`.
    tree_output, set_start, set_words, values : ndarray
        As in `Forest`.
    """

    feature: NDArray[np.int32]
    category_set: NDArray[np.int32]
    level_start: NDArray[np.int32]
    cuts: NDArray[np.float64]
    below_start: NDArray[np.int32]
    n_below: NDArray[np.int32]
    split_start: NDArray[np.int32]
    tree: NDArray[np.uint16]
    mask: NDArray[Any]
    state_start: NDArray[np.int32]
    nan_state: NDArray[np.int32]
    states: NDArray[np.uint8]
    leaf_start: NDArray[np.int32]
    leaf_value: NDArray[Any]
    row: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    set_start: NDArray[np.int32]
    set_words: NDArray[np.uint32]
    values: NDArray[Any]


def state_bytes(n_trees: int, word: int) -> int:
    """Bytes of the words of some trees, filled up to whole vectors."""
    return -(-n_trees * word // VECTOR) * VECTOR


def state_shift(n_bytes: int) -> int:
    """The logarithm of the number of splits between two states of so many bytes."""
    return max(4, round(math.log2(n_bytes / BYTES_PER_SPLIT)))


def find_group(
    nodes: Any, sets: Any, tree_start: Any, tree_output: Any, values: Any, first_tree: int
) -> Group:
    """The group that begins with a tree."""
    output = np.ascontiguousarray(tree_output[first_tree : first_tree + MOST_TREES])
    start = tree_start[first_tree : first_tree + len(output) + 1]
    own = type(nodes)(*(field[start[0] : start[-1]] for field in nodes))
    is_leaf = own.feature < 0
    leaves_before = np.append(0, np.cumsum(is_leaf))
    leaf_start = leaves_before[start - start[0]]
    split = np.flatnonzero(~is_leaf)
    tree = np.searchsorted(start - start[0], split, side="right") - 1
    # Nodes lie in pre-order: the leaves of a left subtree are those between the split and its right child.
    left_leaves = leaves_before[split], leaves_before[own.right[split] - start[0]]
    word = np.uint64 if np.diff(leaf_start).max() > 32 else np.uint32
    mask = _kept(*(leaf - leaf_start[tree] for leaf in left_leaves)).astype(word)

    kind, place = np.unique(
        own.feature[split].astype(np.int64) << 32 | (own.category_set[split] + 1).astype(np.int64),
        return_inverse=True,
    )
    threshold = np.where(own.category_set[split] >= 0, 0.0, own.threshold[split])
    order = np.lexsort((tree, threshold, place))
    goes_right = order[~own.nan_left[split[order]]]
    part = np.concatenate([2 * place[order], 2 * place[goes_right] + 1])
    in_parts = np.concatenate([order, goes_right])[np.argsort(part, kind="stable")]
    split_start = np.append(0, np.cumsum(np.bincount(part, minlength=2 * len(kind)))).astype(np.int32)
    tree, mask = tree[in_parts].astype(np.uint16), mask[in_parts]
    row = own.leaf[is_leaf]
    return Group(
        (kind >> 32).astype(np.int32),
        ((kind & 0xFFFFFFFF) - 1).astype(np.int32),
        *_cuts(place[order], threshold[order], len(kind)),
        split_start,
        tree,
        mask,
        *_states(split_start, tree, mask, len(output)),
        leaf_start[:-1].astype(np.int32),
        np.ascontiguousarray(values[row, 0]),
        row,
        output,
        sets.start,
        sets.words,
        values,
    )


def _kept(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.uint64]:
    """All bits but those from `begin` to `end`, of which there are fewer than 64."""
    one = np.uint64(1)
    return ~(((one << (end - begin).astype(np.uint64)) - one) << begin.astype(np.uint64))


def _cuts(
    place: NDArray[np.int64], threshold: NDArray[np.float64], n_lists: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    """`level_start`, `cuts`, `below_start` and `n_below` of splits that are sorted by list and threshold."""
    is_new = np.ones(len(place), bool)
    is_new[1:] = (place[1:] != place[:-1]) | (threshold[1:] != threshold[:-1])
    n_cuts = np.bincount(place[is_new], minlength=n_lists)
    first_cut = np.append(0, np.cumsum(n_cuts))
    distinct, behind = threshold[is_new], np.append(np.flatnonzero(is_new), len(place))
    level_start, n_before = np.full((n_lists, LEVELS), -1, np.int32), 0
    cuts, counts = [np.zeros(0)], [np.zeros(0, np.int64)]
    for c in range(n_lists):
        levels = _levels(distinct[first_cut[c] : first_cut[c + 1]])
        for level, of_level in enumerate(levels, LEVELS - len(levels)):
            level_start[c, level] = n_before
            n_before += len(of_level)
        cuts += levels
        counts.append(behind[first_cut[c] : first_cut[c + 1] + 1] - behind[first_cut[c]])
    below_start = (first_cut[:-1] + np.arange(n_lists)).astype(np.int32)
    return level_start, aligned(np.concatenate(cuts)), below_start, np.concatenate(counts).astype(np.int32)


def _levels(cuts: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The levels of a list's cuts, the uppermost, of `WAYS` cuts, first; each ends with an infinity or more."""
    levels = [_filled(cuts)]
    while len(levels[0]) > WAYS:
        # The last cut of all is infinite, so that a search ends in front of it.
        levels.insert(0, _filled(levels[0][WAYS - 1 :: WAYS][:-1]))
    return levels


def _filled(cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(cuts, np.full(WAYS - len(cuts) % WAYS, np.inf))


def _states(
    split_start: NDArray[np.int32], tree: NDArray[np.uint16], mask: NDArray[Any], n_trees: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """`state_start`, `nan_state` and `states`."""
    n_bytes = state_bytes(n_trees, mask.itemsize)
    shift = state_shift(n_bytes)
    n_states = np.diff(split_start) >> shift
    n_states[1::2] = n_states[1::2] > 0
    first = np.append(0, np.cumsum(n_states)).astype(np.int32)
    shape = int(first[-1]), (n_bytes + STAGGER) // mask.itemsize
    states = aligned(np.full(shape, np.iinfo(mask.dtype).max, mask.dtype))
    for part in np.flatnonzero(n_states):
        begin, end = split_start[part : part + 2]
        for k in range(n_states[part]):
            state, last = states[first[part] + k], end if part % 2 else begin + (1 << shift)
            if k > 0:
                state[:] = states[first[part] + k - 1]
            np.bitwise_and.at(state, tree[begin:last], mask[begin:last])
            begin = last
    nan_state = np.where(n_states[1::2] > 0, first[1::2], -1).astype(np.int32)
    return first[:-1:2].copy(), nan_state, states.reshape(-1).view(np.uint8)
