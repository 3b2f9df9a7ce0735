"""Small models trained directly, tuned over size: boosters of few rounds of small trees, forests of few small trees.

The baseline that papers on compression leave out. A booster is trained once for each shape of tree and rate, and its first rounds
are what fewer rounds would have given; so are the first trees of a random forest. All go without loss through
`Simplify` and are counted as everything else is.

Source: none; the shapes are the usual ones of XGBoost, LightGBM and scikit-learn.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol_problem import Problem

import ensemble_compress as ec
from ensemble_compress import sizes
from ensemble_compress.algorithms import Simplify
from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.forest import Forest

ROUNDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
MOST_ROUNDS_OF_CLASSES = 48
"""With a tree for each class in a round, more rounds fit no budget."""

XGBOOST = tuple(itertools.product((1, 2, 3, 4, 6), (0.1, 0.3, 1.0)))
"""Depth and rate."""
LIGHTGBM = tuple(itertools.product((4, 8, 16, 31), (0.1, 0.3)))
"""Leaves and rate."""
FOREST_TREES, FOREST_LEAVES = (1, 2, 3, 4, 6, 8, 12, 16), (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One small model, and its bytes as C tables."""

    forest: Forest
    n_bytes: int
    problem: Problem

    @cached_property
    def score(self) -> float:
        """On the validation rows."""
        return self.problem.score(self.forest)


def pool(problem: Problem) -> list[Candidate]:
    """All small models, the smallest first. What the teacher is makes no difference."""
    simple = map(Simplify(), _forests(problem))
    found = [Candidate(forest, sizes.c_bytes(forest), problem) for forest in simple]
    return sorted(found, key=lambda candidate: candidate.n_bytes)


def smallest(candidates: Sequence[Candidate], problem: Problem) -> Forest:
    """The first that keeps the tolerance on the validation rows; else the teacher."""
    return next((one.forest for one in candidates if problem.keeps_score(one.score)), problem.forest)


def best_within(candidates: Sequence[Candidate], max_bytes: int) -> Forest | None:
    """The best on the validation rows of those that fit, the smaller among equals; None where none fits."""
    fitting = [candidate for candidate in candidates if candidate.n_bytes <= max_bytes]
    return max(fitting, key=lambda candidate: candidate.score).forest if fitting else None


def compress(problem: Problem) -> Forest:
    """The smallest small model that keeps the tolerance on the validation rows; else the teacher."""
    return smallest(pool(problem), problem)


def _forests(problem: Problem) -> Iterator[Forest]:
    X, y = problem.train.X, np.asarray(problem.train.y)
    is_classifier = problem.forest.is_classifier
    n_classes = len(problem.forest.classes) if problem.forest.classes is not None else 0
    rounds = [k for k in ROUNDS if n_classes <= 2 or k <= MOST_ROUNDS_OF_CLASSES]
    kind = "Classifier" if is_classifier else "Regressor"
    trainers: list[Callable[..., Any]] = [
        *(lambda s=shape: _xgboost(kind, s, rounds[-1], problem, X, y) for shape in XGBOOST),
        *(lambda s=shape: _lightgbm(kind, s, rounds[-1], problem, X, y) for shape in LIGHTGBM),
    ]
    for train in trainers:
        forest = ec.read(train())
        per_round = n_classes if n_classes > 2 else 1
        yield from (forest.take(range(min(k * per_round, forest.n_trees))) for k in rounds)
    for n_leaves in FOREST_LEAVES:
        forest = ec.read(_random_forest(kind, n_leaves, problem, X, y))
        yield from (keep_trees(forest, np.arange(k)) for k in FOREST_TREES)


def _xgboost(
    kind: str, shape: tuple[int, float], n_rounds: int, problem: Problem, X: NDArray[Any], y: NDArray[Any]
) -> Any:
    import xgboost

    depth, rate = shape
    is_level = np.isin(np.arange(X.shape[1]), problem.categorical)
    levels = {"enable_categorical": True, "feature_types": np.where(is_level, "c", "q").tolist()}
    make = getattr(xgboost, f"XGB{kind}")
    model = make(
        n_estimators=n_rounds,
        max_depth=depth,
        learning_rate=rate,
        random_state=problem.random_state,
        **(levels if is_level.any() else {}),
    )
    return model.fit(X, y)


def _lightgbm(
    kind: str, shape: tuple[int, float], n_rounds: int, problem: Problem, X: NDArray[Any], y: NDArray[Any]
) -> Any:
    import lightgbm

    n_leaves, rate = shape
    make = getattr(lightgbm, f"LGBM{kind}")
    model = make(
        n_estimators=n_rounds,
        num_leaves=n_leaves,
        learning_rate=rate,
        random_state=problem.random_state,
        verbose=-1,
    )
    return model.fit(X, y, categorical_feature=list(problem.categorical) or "auto")


def _random_forest(kind: str, n_leaves: int, problem: Problem, X: NDArray[Any], y: NDArray[Any]) -> Any:
    from sklearn import ensemble

    make = getattr(ensemble, f"RandomForest{kind}")
    model = make(FOREST_TREES[-1], max_leaf_nodes=n_leaves, random_state=problem.random_state)
    return model.fit(X, y)
