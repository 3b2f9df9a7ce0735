"""Drop whole trees: the best subset as it is, or a few trees with weights."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path_gram

from ensemble_compress.algorithms.leaf_fit import LeafFit, margin_scale, targets, to_additive
from ensemble_compress.algorithms.levels import unit_of
from ensemble_compress.algorithms.parameters import check_choice, check_range, count_of, rows_of
from ensemble_compress.algorithms.tree_orders import OF_VOTES, ORDERS
from ensemble_compress.algorithms.tree_votes import Members, members_of, trees_in_order
from ensemble_compress.data import Data
from ensemble_compress.errors import ParameterError
from ensemble_compress.forest import Forest

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class PruneTrees:
    """Keep a subset of the trees.

    For "contribution", "l1" and "nnls" the loss is taken to second order around the forest's margins (for an averaging forest
    it is the squared error of the average), so that everything is decided from the trees' Gram matrix. The other criteria
    are those of the literature on ensemble pruning; they order members: the trees, or the rounds of a booster in which
    every output has a tree of its own. Rounds stay whole, as far as `n_trees` has room for one.

    Parameters
    ----------
    n_trees : int or float
        Trees to keep: a number, or a share of what there is.
    method : str
        "contribution": trees are taken one by one, each time the one that lowers the loss most, and keep their weight.
        "first": the first trees of the forest, which is what early stopping would have left of a booster.
        "l1": the trees that a non-negative lasso keeps, reweighted without its shrinkage.
        "nnls": non-negative least squares on all trees, the heaviest kept and reweighted.
        "reduced_error": each next member leaves the sum with the least 0/1 error, or squared error of a regression model [1].
        "complementarity": each next member is right on the most rows on which the sum so far is wrong [2].
        "margin_distance": each next member brings the votes' margins nearest to 0.075 on every row [2].
        "kappa": pairs of members by rising kappa, the most diverse first, right or wrong [1].
        "mutual_information": mRMR; each next member's votes tell most of the class, less what they tell of the votes of
        those chosen on average [3].
        "individual_contribution": EPIC; members by the votes that they win for rows on which few are right [4].
        "clustering": members that err together are one cluster, and the best of each cluster stays [5]. Of a regression
        model, members whose answers are correlated.
    mix : float
        What is fitted: 0 the labels, 1 the teacher's answers, between them a mixture. Without labels it is 1. Methods that
        count errors or votes want the class of the largest share of the mixture, the label among equals.

    Raises
    ------
    ParameterError
        The method counts votes for classes and the forest is a regression model.

    Notes
    -----
    Guarantee: none. Cost: O(n_trees**2 * n_rows * width) once, trees of different outputs apart; a table of n_trees * n_rows
    leaves of 4 bytes, and 2 bytes more for votes, of at most 150,000,000 entries: beyond it rows are left out, by a fixed
    seed. "contribution", "l1" and "nnls" take all rows, a block at a time.

    A member of an averaging forest, or of AdaBoost, votes for the class of its leaf. What a tree of another booster adds is no
    answer by itself: its vote is the class that it raises most above its mean over the rows. Ties go to the
    earlier member. Rows of weight zero are left out.

    References
    ----------
    [1] Margineantu and Dietterich, "Pruning adaptive boosting", ICML 1997: reduce-error pruning, without its backfitting, and
    kappa pruning. [2] Martinez-Munoz and Suarez, "Aggregation ordering in bagging", IASTED Applied Informatics 2004; with
    Hernandez-Lobato, "An analysis of ensemble pruning techniques based on ordered aggregation", IEEE TPAMI 31(2), 2009:
    complementarity measure, margin distance minimization. [3] Peng, Long and Ding, "Feature selection based on mutual
    information", IEEE TPAMI 27(8), 2005: the incremental criterion, members in the place of features. [4] Lu, Wu, Zhu and
    Bongard, "Ensemble pruning via individual contribution ordering", KDD 2010: the heuristic metric. [5] Giacinto, Roli and
    Fumera, "Design of effective multiple classifier systems by clustering of classifiers", ICPR 2000: distance and complete
    linkage; Lazarevic and Obradovic, "Effective pruning of neural network classifier ensembles", IJCNN 2001: the most
    accurate of a cluster. Buschjaeger and Morik, "Joint leaf-refinement and ensemble pruning through L1 regularization",
    DMKD 37, 2023, section 4 (weights by L1).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import ensemble_compress as ec
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = ec.read(RandomForestClassifier(30, random_state=0).fit(X, y))
    >>> ec.algorithms.PruneTrees(n_trees=8)(forest, ec.Data(forest.rows(X), y)).n_trees
    8
    """

    n_trees: int | float = 0.5
    method: Literal[
        "contribution", "first", "reduced_error", "complementarity", "margin_distance", "kappa",
        "mutual_information", "individual_contribution", "clustering", "l1", "nnls",
    ] = "contribution"  # fmt: skip
    mix: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset({"X"})
    guarantee: ClassVar[Literal["exact", "bounded", "none"]] = "none"
    measure: ClassVar[str] = "n_trees"

    def __post_init__(self) -> None:
        count_of(self, "n_trees", 1)
        check_choice(self, "method", ("contribution", "first", *ORDERS, "l1", "nnls"))
        check_range(self, "mix", 0, 1)

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The forest of at most `n_trees` trees; unchanged if it has no more."""
        data = rows_of(self, forest, data)
        n_trees = count_of(self, "n_trees", forest.n_trees)
        if n_trees >= forest.n_trees:
            return forest
        if self.method not in ("l1", "nnls"):
            order = self.order(forest, data)
            return keep_trees(forest, np.sort(order[: self._n_kept(forest, order, n_trees)]))
        problems = _problems(forest, data, self.mix)
        weight = np.zeros(forest.n_trees)
        for problem, share in zip(problems, _shares(problems, n_trees), strict=True):
            solve = _lasso_weights if self.method == "l1" else _nnls_weights
            if share:
                weight[problem.trees] = solve(problem, share)
        return _reweigh(forest, weight)

    def order(self, forest: Forest, data: Data) -> NDArray[np.intp]:
        """The trees by the method, the most useful first, shape (n_trees,); a prefix is the best subset found.

        Raises
        ------
        ParameterError
            The method is "l1" or "nnls", which weigh trees for one number of them, or it doesn't suit the model.
        """
        if self.method in ("l1", "nnls"):
            raise ParameterError(
                f"PruneTrees: method {self.method!r} weighs the trees for one number of them and has no order; call it, or take"
                " the order of 'contribution'"
            )
        if self.method == "first":
            return np.arange(forest.n_trees)
        if self.method == "contribution":
            return self._by_contribution(forest, data)
        if self.method in OF_VOTES and not forest.is_classifier:
            raise ParameterError(
                f"PruneTrees: method {self.method!r} counts votes for classes; this forest is a regression model: use"
                " 'contribution', 'reduced_error' or 'clustering'"
            )
        return trees_in_order(forest, ORDERS[self.method](Members.of(forest, data, self.mix)))

    def _by_contribution(self, forest: Forest, data: Data) -> NDArray[np.intp]:
        is_average = forest.divisor > 1
        found = [_greedy(problem, is_average) for problem in _problems(forest, data, self.mix)]
        trees = np.concatenate([trees for trees, _ in found])
        gain = np.concatenate([gain for _, gain in found])
        return np.asarray(trees[np.argsort(-gain, kind="stable")])

    def _n_kept(self, forest: Forest, order: NDArray[np.intp], n_trees: int) -> int:
        """At most `n_trees`: none of a member that does not fit whole, unless it is the first."""
        if self.method not in ORDERS:
            return n_trees
        member = members_of(forest)[order]
        starts = np.append(0, np.flatnonzero(np.diff(member)) + 1)
        return int(starts[starts <= n_trees].max()) or n_trees


def keep_trees(forest: Forest, trees: NDArray[np.intp]) -> Forest:
    """The forest of these trees; an average stays an average, and the bias keeps its share of the margin."""
    if forest.divisor <= 1:
        return forest.take(trees)
    share = len(trees) / forest.n_trees
    divisor = forest.divisor * len(trees) / forest.n_trees
    return replace(forest.take(trees), divisor=divisor, bias=forest.bias * forest.bias.dtype.type(share))


@dataclass(frozen=True, eq=False)
class _Problem:
    """Least squares over the trees of one output (or all): `0.5 * w' gram w - linear' w` is the loss of tree weights w."""

    trees: NDArray[np.intp]
    gram: NDArray[np.float64]
    linear: NDArray[np.float64]


def _problems(forest: Forest, data: Data, mix: float) -> list[_Problem]:
    """One problem for each output that has trees of its own, or one for all."""
    residual, curvature = _working_response(forest, data, mix)
    groups: list[tuple[int, NDArray[np.intp]]] = [(-1, np.arange(forest.n_trees))]
    if forest.values.shape[1] == 1 < forest.n_outputs:
        groups = [(k, np.flatnonzero(forest.tree_output == k)) for k in range(forest.n_outputs)]
    return [_problem(forest, data, k, trees, residual, curvature) for k, trees in groups if len(trees)]


def _working_response(
    forest: Forest, data: Data, mix: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(what the sum of the trees should be, its weight), both of shape (n_outputs, n_rows)."""
    constant = forest.bias[:, None].astype(np.float64) / forest.divisor
    if forest.is_classifier and forest.link == "identity" and forest.n_outputs > 1:
        wanted = targets(forest, data, mix) - constant
        weight = np.ones(data.n_rows) if data.weight is None else data.weight
        return wanted, np.broadcast_to(weight, wanted.shape)
    margin = forest.margin(data.X).T.astype(np.float64)
    additive = to_additive(forest)
    fit = LeafFit.of(additive.take([]), data, targets(additive, data, mix), 0.0)
    scale = margin_scale(forest)
    gradient, curvature = fit.linearise(margin * scale)
    return margin - constant + gradient / np.maximum(curvature, 1e-12) / scale, curvature


def _problem(
    forest: Forest,
    data: Data,
    output: int,
    trees: NDArray[np.intp],
    wanted: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> _Problem:
    part = forest if len(trees) == forest.n_trees else forest.take(trees)
    outputs = slice(None) if output < 0 else slice(output, output + 1)
    gram, linear = np.zeros((len(trees), len(trees))), np.zeros(len(trees))
    unit = unit_of(forest)
    for first in range(0, data.n_rows, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        each = part.values[part.nodes.leaf[part.find_leaves(data.X[rows])]] / forest.divisor / unit
        root = np.sqrt(curvature[outputs, rows]).T[:, None, :]
        columns = (each * root).transpose(1, 0, 2).reshape(len(trees), -1)
        gram += columns @ columns.T
        linear += columns @ (wanted[outputs, rows].T / unit * root[:, 0]).reshape(-1)
    return _Problem(trees, gram, linear)


def _greedy(problem: _Problem, is_average: bool) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(the trees in the order in which they help most, falling marks by which problems can be merged)."""
    n = len(problem.trees)
    # An average of k of the n trees weighs each of them n / k times what it weighs in the whole.
    factor = n if is_average else 1.0
    gram, linear = problem.gram * factor**2, problem.linear * factor
    with_chosen, norm, inner = np.zeros(n), 0.0, 0.0
    order, gain, left = np.empty(n, np.intp), np.empty(n), np.ones(n, bool)
    before = 0.0
    for k in range(n):
        share = 1 / (k + 1) if is_average else 1.0
        loss = 0.5 * share**2 * (norm + 2 * with_chosen + np.diagonal(gram)) - share * (inner + linear)
        best = int(np.where(left, loss, np.inf).argmin())
        norm += 2 * with_chosen[best] + gram[best, best]
        inner += linear[best]
        with_chosen += gram[best]
        left[best] = False
        order[k], gain[k] = best, before - loss[best]
        before = loss[best]
    return problem.trees[order], np.minimum.accumulate(gain)


def _shares(problems: list[_Problem], n_trees: int) -> list[int]:
    """How many trees each problem may keep: in proportion, at least one as far as `n_trees` goes round."""
    sizes = np.array([len(problem.trees) for problem in problems])
    shares = np.zeros(len(sizes), int)
    for _ in range(n_trees):
        # To whom has the least so far; among equals, to the larger problem.
        shares[np.lexsort((-sizes, shares / sizes, shares > 0))[0]] += 1
    return [int(share) for share in shares]


def _solve_nnls(problem: _Problem, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    gram = problem.gram[np.ix_(chosen, chosen)]
    ridge = 1e-6 * max(float(np.trace(gram)) / len(chosen), 1e-12)
    upper = cholesky(gram + ridge * np.eye(len(chosen)))
    weights, _ = nnls(upper, solve_triangular(upper, problem.linear[chosen], trans="T"))
    return np.asarray(weights)


def _nnls_weights(problem: _Problem, n_trees: int) -> NDArray[np.float64]:
    every = np.arange(len(problem.trees))
    weight = _solve_nnls(problem, every)
    heaviest = np.argsort(-np.square(weight) * np.diagonal(problem.gram), kind="stable")[:n_trees]
    return _reweighted(problem, heaviest[weight[heaviest] > 0])


def _lasso_weights(problem: _Problem, n_trees: int) -> NDArray[np.float64]:
    scale = np.sqrt(np.maximum(np.diagonal(problem.gram), 1e-300))
    # A constant column or a copy of another one would stop the path: the ridge keeps them apart.
    gram = problem.gram / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
    with warnings.catch_warnings():
        # It may end the path early or pass over a tree, and says so; what it has walked is sound.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, _, coefficients = lars_path_gram(
            problem.linear / scale, gram, n_samples=1, method="lasso", positive=True, max_iter=4 * n_trees
        )
    n_kept = (coefficients > 0).sum(axis=0)
    last = int(np.flatnonzero(n_kept <= n_trees).max(initial=0))
    return _reweighted(problem, np.flatnonzero(coefficients[:, last] > 0))


def _reweighted(problem: _Problem, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    weight = np.zeros(len(problem.trees))
    if len(chosen):
        weight[chosen] = _solve_nnls(problem, chosen)
    return weight


def _reweigh(forest: Forest, weight: NDArray[np.float64]) -> Forest:
    """The trees of positive weight, the weight multiplied into their leaves."""
    kept = np.flatnonzero(weight > 0)
    part = forest.take(kept)
    leaf_tree = part.tree_of_node[part.is_leaf]
    values: Any = (
        part.values[part.nodes.leaf[part.is_leaf]].astype(np.float64) * weight[kept][leaf_tree][:, None]
    )
    return part.with_values(values, part.bias.astype(np.float64))
