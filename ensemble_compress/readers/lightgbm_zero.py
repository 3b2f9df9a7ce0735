"""Splits of LightGBM that send 0 another way than the numbers around it, said with thresholds alone.

With `zero_as_missing=True` a split sends NaN and every |x| <= 1e-35 to its default side and all else by its threshold:
two cuts more than a threshold has. Such a split becomes up to three that share its number, and its subtrees occur
twice. Below, what is known of a feature decides some splits, which then go; so that copies stay few.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.readers.assemble import Tree, find_order

ZERO = float(np.float32(1e-35))
BELOW_ZERO = float(np.nextafter(-ZERO, -np.inf))
MOST_COPIES = 32
"""How many times a tree's nodes the tree may take in the end."""
MOST_NODES = 1 << 20
"""What a tree may take in the end beyond its nodes, so that a damaged file doesn't fill the memory."""
MOST_STEPS = 256
"""Splits above that are searched for what they say of a feature; to know less costs copies and nothing else."""


class Piece(NamedTuple):
    """The numbers above `low` (None: all, minus infinity too) and up to `high`, and whether they go left."""

    low: float | None
    high: float
    goes_left: bool

    @property
    def has_zero(self) -> bool:
        """Whether 0, and with it NaN, is among them; no cut lies within the range that counts as 0."""
        return (self.low is None or self.low < 0) and self.high >= 0


class Known(NamedTuple):
    """What the splits above say of one feature, and what those further above say."""

    feature: int
    low: float | None
    high: float
    above: "Known | None"


class Copy(NamedTuple):
    """A node of the new tree: the node it comes from, its children, -1 at a leaf, and its test."""

    source: int
    left: int = -1
    right: int = -1
    threshold: float = 0.0
    nan_left: bool = False


class Walk(NamedTuple):
    """The tree as lists, for a loop of Python."""

    left: list[int]
    right: list[int]
    feature: list[int]
    threshold: list[float]
    zero_left: list[bool]
    is_cut: list[bool]


Waiting = tuple[int, int, Known | None]
"""Where a copy goes, the node it is of, and what is known there."""


def unfold(
    tree: Tree, threshold: NDArray[np.float64], zero_left: NDArray[Any], is_cut: NDArray[Any], where: str
) -> Tree:
    """The tree whose numeric splits are all thresholds.

    Parameters
    ----------
    tree : Tree
        The tree; the tests of the nodes in `is_cut` are not read.
    threshold : float64 of shape (n_nodes,)
        What each split compares with: numbers up to it go left, unless they count as 0.
    zero_left : bool of shape (n_nodes,)
        Whether NaN and what counts as 0 go left.
    is_cut : bool of shape (n_nodes,)
        The numeric splits for which NaN is 0.
    where : str
        File and tree, for error messages.

    Returns
    -------
    Tree
        Copies keep the number of their node; the cover of a leaf is shared evenly among its copies.

    Raises
    ------
    ModelFileError
        The children are no tree.
    UnsupportedModelError
        There would be more than `MOST_COPIES` times as many nodes, or `MOST_NODES` more.
    """
    find_order(tree, where)  # a cycle would keep the walk below going
    limit = min(MOST_COPIES * len(tree.left), MOST_NODES + len(tree.left))
    walk = Walk(
        *(column.tolist() for column in (tree.left, tree.right, tree.feature, threshold, zero_left, is_cut))
    )
    copies: list[Copy] = [Copy(0)]
    waiting: list[Waiting] = [(0, 0, None)]
    while waiting:
        at, j, known = waiting.pop()
        j, pieces = _pass_decided(walk, j, known)
        if walk.left[j] < 0:
            copies[at] = Copy(j)
        elif not walk.is_cut[j]:
            child = len(copies)
            copies[at] = Copy(j, child, child + 1, float(tree.threshold[j]), bool(tree.nan_left[j]))
            copies += [Copy(0), Copy(0)]
            waiting += [(child, walk.left[j], known), (child + 1, walk.right[j], known)]
        else:
            for end, piece in _fork(copies, at, j, pieces):
                now_known = Known(walk.feature[j], piece.low, piece.high, known)
                waiting.append((end, walk.left[j] if piece.goes_left else walk.right[j], now_known))
        if len(copies) > limit:
            raise UnsupportedModelError(
                f"{where}: its splits send 0 another way than its neighbours (zero_as_missing=True) so often that to"
                f" say it with thresholds takes more than {limit:,} nodes; fit with fewer num_leaves or"
                " max_depth, or with zero_as_missing=False and NaN for missing values"
            )
    return _tree_of(tree, copies)


def _pass_decided(walk: Walk, j: int, known: Known | None) -> tuple[int, list[Piece]]:
    """The first node from `j` down that what is known doesn't decide, and the pieces of its line if it is cut."""
    pieces: list[Piece] = []
    while walk.left[j] >= 0 and walk.is_cut[j]:
        pieces = _cut(*_range_of(known, walk.feature[j]), walk.threshold[j], walk.zero_left[j])
        if len(pieces) > 1:
            break
        j = walk.left[j] if pieces[0].goes_left else walk.right[j]
    return j, pieces


def _range_of(known: Known | None, feature: int) -> tuple[float | None, float]:
    for _ in range(MOST_STEPS):
        if known is None:
            break
        if known.feature == feature:
            return known.low, known.high
        known = known.above
    return None, np.inf


def _cut(low: float | None, high: float, threshold: float, zero_left: bool) -> list[Piece]:
    """The numbers from `low` to `high` in the fewest pieces that each go one way."""
    cuts = {BELOW_ZERO, ZERO} | ({threshold} if not BELOW_ZERO <= threshold <= ZERO else set())
    ends = [*sorted(cut for cut in cuts if (low is None or cut > low) and cut < high), high]
    pieces: list[Piece] = []
    for end in ends:
        piece = Piece(low, end, end <= threshold)
        if piece.has_zero:
            piece = piece._replace(goes_left=zero_left)
        if pieces and pieces[-1].goes_left == piece.goes_left:
            pieces[-1] = pieces[-1]._replace(high=end)
        else:
            pieces.append(piece)
        low = end
    return pieces


def _fork(copies: list[Copy], at: int, source: int, pieces: list[Piece]) -> list[tuple[int, Piece]]:
    """Write splits that tell the pieces apart to `copies`, the first to `at`; where each piece ends."""
    if len(pieces) == 1:
        return [(at, pieces[0])]
    left, right = pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]
    child = len(copies)
    copies += [Copy(0), Copy(0)]
    copies[at] = Copy(source, child, child + 1, left[-1].high, any(piece.has_zero for piece in left))
    return _fork(copies, child, source, left) + _fork(copies, child + 1, source, right)


def _tree_of(tree: Tree, copies: list[Copy]) -> Tree:
    source, left, right, threshold, nan_left = (np.array(column) for column in zip(*copies, strict=True))
    cover = tree.cover[source] / np.bincount(source)[source]
    for at in range(len(copies) - 1, -1, -1):  # a child comes behind its parent
        if left[at] >= 0:
            cover[at] = cover[left[at]] + cover[right[at]]
    return tree._replace(
        left=left,
        right=right,
        feature=tree.feature[source],
        threshold=threshold,
        nan_left=nan_left,
        values=tree.values[source],
        cover=cover,
        node_id=tree.node_id[source],
        category_set=None if tree.category_set is None else tree.category_set[source],
    )
