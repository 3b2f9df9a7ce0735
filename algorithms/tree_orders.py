"""Orders of an ensemble's members by published criteria: error, complementarity, margins, diversity, clusters.

Each criterion takes the `Members` and returns all of them, the most useful first; a prefix is the subset that its paper would
keep. Among equals the earlier member comes first. "Ensemble pruning" papers speak of votes; where the paper's ensemble
decides (`reduced_error`, `complementarity`), the sum that the pruned forest would answer by decides here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from ensemble_compress.algorithms.levels import unit_of
from ensemble_compress.algorithms.tree_votes import ROUNDING, ROWS_AT_ONCE, Leaves, Members
from ensemble_compress.engines import kernel

Order = NDArray[np.intp]

MARGIN_WANTED = 0.075
"""Where the margin of every row should go: the value that Martinez-Munoz and Suarez use throughout."""


def by_reduced_error(members: Members) -> Order:
    """Each next member leaves the sum with the least error: 0/1 of classes, otherwise squared. O(n_members**2 * n_rows)."""
    return _by_error(members) if members.n_classes else _by_squared_error(members)


def by_complementarity(members: Members) -> Order:
    """Each next member is right on the most rows on which the sum so far is wrong. O(n_members**2 * n_rows)."""
    right, wrong = np.empty(members.n_members), members.weight
    sums, n_trees = np.zeros((members.n_rows, members.forest.n_outputs)), 0
    order: list[int] = []
    left = np.ones(members.n_members, bool)
    while left.any():
        _sum_where_equal(members.votes, members.codes, wrong, right)
        order.append(_first_best(right, left, members.total))
        n_trees += int(members.sizes[order[-1]])
        sums += members.adds(order[-1])
        decided = members.forest.decide(sums + members.bias_of(n_trees))
        wrong = np.where(decided == members.codes, 0.0, members.weight)
    return np.array(order, np.intp)


def by_margin_distance(members: Members) -> Order:
    """Each next member moves the margins nearest to `MARGIN_WANTED` on every row. O(n_members**2 * n_rows) once.

    A member's signature is 1 on the rows on which it is right, otherwise -1; the point is the sum of the signatures chosen
    over the number of all members. Of the squared distance only what the next member changes is summed up.
    """
    right = _is_right(members)
    together = 2 * _agreements(right, members.weight) - members.total
    signature = 2 * _weight_of(members, members.codes) - members.total
    gain, left, order = MARGIN_WANTED * signature, np.ones(members.n_members, bool), []
    while left.any():
        order.append(_first_best(gain, left, members.total))
        gain = gain - together[order[-1]] / members.n_members
    return np.array(order, np.intp)


def by_kappa(members: Members) -> Order:
    """The pairs of members by rising agreement beyond chance, those first that agree least. O(n_members**2 * n_rows)."""
    votes, n = members.votes, members.n_members
    agreed = _agreements(votes, members.weight) / members.total
    of_class = np.stack([_weight_of(members, k) for k in range(members.n_classes)]) / members.total
    by_chance = of_class.T @ of_class
    # Two members that know but one class, the same: their agreement is whole.
    is_sure = by_chance >= 1 - ROUNDING
    kappa = np.where(is_sure, 1.0, (agreed - by_chance) / np.where(is_sure, 1.0, 1 - by_chance))
    first, second = np.triu_indices(n, 1)
    pairs = np.argsort(kappa[first, second].round(12), kind="stable")
    members_by_pair = np.append(np.stack([first[pairs], second[pairs]], axis=1).reshape(-1), np.arange(n))
    _, at = np.unique(members_by_pair, return_index=True)
    return np.asarray(members_by_pair[np.sort(at)])


def by_mutual_information(members: Members) -> Order:
    """Each next member tells most of the class, less what it tells of those chosen on average. O(n_members**2 * n_rows)."""
    n, n_classes = members.n_members, max(members.n_classes, 1)
    table, known = np.empty((n_classes, n_classes)), np.empty(n)
    order: list[int] = []
    left, shared = np.ones(n, bool), np.zeros(n)
    _sum_information(members.votes, members.codes.astype(np.int16), members.weight, table, known)
    relevance = known.copy()
    while left.any():
        order.append(_first_best(relevance - shared / max(len(order), 1), left, 1.0))
        _sum_information(members.votes, members.votes[order[-1]], members.weight, table, known)
        shared += known
    return np.array(order, np.intp)


def by_individual_contribution(members: Members) -> Order:
    """The members by what each contributes to the votes of all, rare right ones counting most. O(n_members * n_rows)."""
    out = np.zeros(members.n_members)
    counts = np.empty(max(members.n_classes, 2), np.int64)
    _sum_contributions(members.votes, members.codes, members.weight, counts, out)
    scale = members.n_members * members.total
    return np.argsort(-(out / scale).round(12), kind="stable")


def by_clustering(members: Members) -> Order:
    """The best member of each cluster of members that err alike; a cluster more, a member more.

    Clusters are merged where their farthest members are nearest. The distance of two classifiers is the share of the rows on
    which not both are wrong, and the best is the most accurate; members of a regression model are as far apart as their answers
    are uncorrelated, and the best is the most correlated with the target. O(n_members**2 * n_rows).
    """
    if members.n_members < 2:
        return np.arange(members.n_members)
    distance, worth = _errors_apart(members) if members.n_classes else _answers_apart(members)
    clusters = AgglomerativeClustering(1, metric="precomputed", linkage="complete", compute_full_tree=True)
    # Where to cut decides nothing: the best of a cluster is the best of one of the two that it was merged from.
    merges = clusters.fit(distance).children_
    best = np.append(np.arange(members.n_members), np.zeros(len(merges), np.intp))
    order: list[int] = []
    for merged, pair in enumerate(merges, members.n_members):
        one, other = sorted(best[pair])
        best[merged] = other if worth[other] > worth[one] + ROUNDING else one
        order.append(int(one if best[merged] == other else other))
    return np.array([best[-1], *order[::-1]], np.intp)


ORDERS: dict[str, Callable[[Members], Order]] = {
    "reduced_error": by_reduced_error,
    "complementarity": by_complementarity,
    "margin_distance": by_margin_distance,
    "kappa": by_kappa,
    "mutual_information": by_mutual_information,
    "individual_contribution": by_individual_contribution,
    "clustering": by_clustering,
}
"""The criteria by the names that `PruneTrees` gives them."""

OF_VOTES = frozenset(ORDERS) - {"reduced_error", "clustering"}
"""Those that count votes for classes."""


def _first_best(score: NDArray[np.float64], left: NDArray[np.bool_], scale: float) -> int:
    """The first of those left whose score is the largest but for rounding; it is left no more."""
    candidates = np.flatnonzero(left)
    scores = np.nan_to_num(score[candidates], nan=-np.inf)
    chosen = int(candidates[(scores >= scores.max() - ROUNDING * scale).argmax()])
    left[chosen] = False
    return chosen


def _by_error(members: Members) -> Order:
    left, order = np.ones(members.n_members, bool), []
    sums, errors = np.zeros((members.n_rows, members.forest.n_outputs)), np.empty(members.n_members)
    room, n_trees = np.empty_like(sums), 0
    wanted = members.codes, members.weight
    # A lone margin decides for the second class from here on, or above it; a model of one class never does.
    least = np.nextafter(0.0, 1.0) if members.forest.tie_class == 0 else 0.0
    least = least if members.n_classes > 1 else np.inf
    while left.any():
        bias = members.bias_of(n_trees + members.sizes)
        # Rows on which no single member changes the decision are as wrong with each: most of them, soon.
        is_open = np.flatnonzero(_leads(sums) <= _reach(members, bias))
        _sum_errors(members.leaves, left, is_open, sums, bias, wanted, least, room, errors)
        order.append(_first_best(-errors, left, members.total))
        n_trees += int(members.sizes[order[-1]])
        sums += members.adds(order[-1])
    return np.array(order, np.intp)


def _leads(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the largest margin of a row is ahead of the next; of a lone margin, how far it is from zero."""
    if sums.shape[1] == 1:
        return np.asarray(np.abs(sums[:, 0]))
    top = np.partition(sums, -2, axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def _reach(members: Members, bias: NDArray[np.float64]) -> float:
    """More than any single member and its share of the bias can change a lead by."""
    largest = [np.abs(part).max(initial=0.0) for part in (members.leaves.values, bias)]
    return float(2.01 * (members.sizes.max() * largest[0] + largest[1]))


def _by_squared_error(members: Members) -> Order:
    left, order = np.ones(members.n_members, bool), []
    sums, n_trees = np.zeros((members.n_rows, members.forest.n_outputs)), 0
    while left.any():
        loss = np.full(members.n_members, np.inf)
        for m in np.flatnonzero(left).tolist():
            loss[m] = _squared_error(members, sums + members.adds(m), n_trees + int(members.sizes[m]))
        order.append(_first_best(-loss, left, float(np.min(loss))))
        n_trees += int(members.sizes[order[-1]])
        sums += members.adds(order[-1])
    return np.array(order, np.intp)


def _squared_error(members: Members, sums: NDArray[np.float64], n_trees: int) -> float:
    """Of the answers by the sums of so many trees, in units in which the squares of huge leaves stay numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        margin = (sums + members.bias_of(n_trees)) / members.divisor_of(n_trees)
        off = (members.forest.linked(margin).T - members.wanted) / unit_of(members.forest)
        return float(np.nan_to_num(np.square(off) @ members.weight, nan=np.inf).sum())


def _is_right(members: Members) -> NDArray[np.int16]:
    return np.asarray(members.votes == members.codes, np.int16)


def _weight_of(members: Members, codes: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """The weight of the rows on which each member votes for these classes, shape (n_members,)."""
    out = np.empty(members.n_members)
    _sum_where_equal(members.votes, np.full(members.n_rows, codes), members.weight, out)
    return out


def _agreements(votes: NDArray[np.int16], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of the rows on which two members say the same, for all pairs, shape (n_members, n_members)."""
    out = np.full((len(votes), len(votes)), weight.sum())
    _sum_agreements(votes, weight, out)
    return out


def _errors_apart(members: Members) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(the share of rows on which not both of two members are wrong, the share on which each is right)."""
    right = _is_right(members)
    accuracy = _weight_of(members, members.codes) / members.total
    # Rows on which both are right or both wrong, less those on which both are right.
    both_wrong = (_agreements(right, members.weight) / members.total + 1 - accuracy[:, None] - accuracy) / 2
    return 1 - both_wrong, accuracy


def _answers_apart(members: Members) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(one less the correlation of two members, the correlation of each with the target), outputs side by side."""
    n = members.n_members
    mean, product = np.zeros((n + 1, members.forest.n_outputs)), np.zeros((n + 1, n + 1))
    blocks = [slice(first, first + ROWS_AT_ONCE) for first in range(0, members.n_rows, ROWS_AT_ONCE)]
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in blocks:
            mean += np.einsum("mik,i->mk", _answers(members, rows), members.weight[rows] / members.total)
        for rows in blocks:
            above = (_answers(members, rows) - mean[:, None]) * np.sqrt(members.weight[rows])[:, None]
            product += above.reshape(n + 1, -1) @ above.reshape(n + 1, -1).T
        length = np.sqrt(np.maximum(np.diagonal(product), 0.0))
        alike = np.nan_to_num(product / np.outer(length, length), nan=0.0, posinf=0.0, neginf=0.0).round(12)
    return 1 - alike[:n, :n], alike[:n, n]


def _answers(members: Members, rows: slice) -> NDArray[np.float64]:
    """What each member adds to the sum, and last what is wanted, shape (n_members + 1, n_rows, n_outputs)."""
    unit, largest = unit_of(members.forest), np.abs(members.wanted).max()
    each = [members.adds(m, rows) / unit for m in range(members.n_members)]
    return np.stack([*each, members.wanted[:, rows].T / (largest or 1.0)])


@kernel
def _sum_errors(
    leaves: Leaves,
    left: NDArray[np.bool_],
    rows: NDArray[np.intp],
    sums: NDArray[np.float64],
    bias: NDArray[np.float64],
    wanted: tuple[NDArray[np.int64], NDArray[np.float64]],
    least: float,
    margin: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The weight of those rows that each member left, added to the sums so far, leaves wrong; `margin` is room for as many."""
    codes, weight = wanted
    leaf, values = leaves.leaf, leaves.values
    n_outputs, is_wide = sums.shape[1], values.shape[1] == sums.shape[1]
    for m in range(len(out)):
        out[m] = 0.0
        if not left[m]:
            continue
        for r in range(len(rows)):
            for k in range(n_outputs):
                margin[r, k] = sums[rows[r], k] + bias[m, k]
        for t in range(leaves.start[m], leaves.start[m + 1]):
            if is_wide:
                for r in range(len(rows)):
                    j = leaf[t, rows[r]]
                    for k in range(n_outputs):
                        margin[r, k] += values[j, k]
            else:
                k = leaves.output[t]
                for r in range(len(rows)):
                    margin[r, k] += values[leaf[t, rows[r]], 0]
        total = 0.0
        for r in range(len(rows)):
            best = 1 if n_outputs == 1 and margin[r, 0] >= least else 0
            for k in range(1, n_outputs):
                if margin[r, k] > margin[r, best]:
                    best = k
            if best != codes[rows[r]]:
                total += weight[rows[r]]
        out[m] = total


@kernel
def _sum_where_equal(
    votes: NDArray[np.int16],
    codes: NDArray[np.int64],
    weight: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for m in range(len(votes)):
        out[m] = 0.0
        for i in range(len(codes)):
            if votes[m, i] == codes[i]:
                out[m] += weight[i]


@kernel
def _sum_agreements(votes: NDArray[np.int16], weight: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for a in range(len(votes)):
        for b in range(a):
            total = 0.0
            for i in range(len(weight)):
                total += weight[i] if votes[a, i] == votes[b, i] else 0.0
            out[a, b] = out[b, a] = total


@kernel
def _sum_information(
    votes: NDArray[np.int16],
    other: NDArray[np.int16],
    weight: NDArray[np.float64],
    table: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The mutual information, in nats, of each member's votes and `other`; `table` has room for the joint counts."""
    n_classes = len(table)
    for m in range(len(votes)):
        table[:] = 0.0
        total = 0.0
        for i in range(len(weight)):
            table[votes[m, i], other[i]] += weight[i]
            total += weight[i]
        information = 0.0
        for a in range(n_classes):
            for b in range(n_classes):
                if table[a, b] > 0.0:
                    alone = table[a].sum() * table[:, b].sum()
                    information += table[a, b] / total * np.log(table[a, b] * total / alone)
        out[m] = information


@kernel
def _sum_contributions(
    votes: NDArray[np.int16],
    codes: NDArray[np.int64],
    weight: NDArray[np.float64],
    counts: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """The individual contribution of each member; `counts` has room for the votes on a row."""
    for i in range(len(codes)):
        counts[:] = 0
        for m in range(len(votes)):
            counts[votes[m, i]] += 1
        most = 0
        for c in range(1, len(counts)):
            if counts[c] > counts[most]:
                most = c
        second = 0
        for c in range(len(counts)):
            if c != most:
                second = max(second, counts[c])
        for m in range(len(votes)):
            vote = votes[m, i]
            if vote != codes[i]:
                out[m] += weight[i] * (counts[codes[i]] - counts[vote] - counts[most])
            elif vote == most:
                out[m] += weight[i] * second
            else:
                out[m] += weight[i] * (2 * counts[most] - counts[vote])
