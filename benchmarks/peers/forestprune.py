"""ForestPrune: each tree is cut at a depth of its own, all depths chosen together, then a ridge regression weighs the trees.

Source: Liu and Mazumder, "ForestPrune: Compact Depth-Pruned Tree Ensembles", AISTATS 2023, sections 2 (layers weighed by their
nodes) and 3 (block coordinate descent, local search, a path of a hundred penalties, the factors of the trees in the end, penalty 0.01). The
logistic loss in the place of squares is what the authors of LOP compared themselves with (ICML 2025). The implementation
is the library's own, without what it adds: bytes, the teacher's answers, refitted leaves.
"""

from collections.abc import Iterator

import numpy as np
from protocol_problem import Problem

from ensemble_compress.algorithms import PruneDepth
from ensemble_compress.forest import Forest

N_SIZES = 60
"""Points on the path that are looked at."""

FEWEST_LEAVES = 4


def path(problem: Problem) -> Iterator[Forest]:
    """The forests of a path of penalties, ever smaller."""
    forest = problem.forest
    sizes = np.geomspace(0.97 * max(forest.n_leaves, FEWEST_LEAVES), FEWEST_LEAVES, N_SIZES)
    pruning = PruneDepth(
        mix=0, weights="nodes", refit="trees", penalty=0.01, n_restarts=1, random_state=problem.random_state
    )
    yield from pruning.path(forest, problem.train, list(dict.fromkeys(sizes.astype(int).tolist())))


def compress(problem: Problem) -> Forest:
    """The smallest forest on the path that keeps the tolerance on the validation rows; else the teacher."""
    kept = filter(problem.keeps, path(problem))
    return min(kept, key=lambda forest: forest.n_leaves, default=problem.forest)
