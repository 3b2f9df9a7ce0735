"""The candidates: from one teacher ever smaller models, the same ones for the teacher and for its clones.

A candidate has a key that means the same thing in every round of judgement (so many leaves, so many trees, leaf values
of so many bits), so that what was learnt about it on the folds can be carried to the final teacher.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ensemble_compress.algorithms import (
    PruneNodes,
    PruneTrees,
    QuantizeLeaves,
    ShareThresholds,
    Simplify,
)
from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

RATIO = 0.85
"""Each size on a path is this share of the one before it."""

LARGEST_WORK = 40_000_000
"""Trees times rows times width of a leaf: beyond it trees are dropped before nodes are pruned."""

LARGEST_REFIT = 30_000
"""Leaves of the largest forest on the path of pruned nodes; there are fewer trees to choose among above it."""

AVERAGED_TREES = 100
"""As many trees of an average are enough to begin with: measured on spambase and magic, 300 give no better students."""


Stage = tuple[Any, Callable[[], Forest]]
"""An algorithm, and a function that returns the forest after it."""


class Key(NamedTuple):
    """What a candidate is called in every round: how it was made, its size in that unit, how its leaves were finished."""

    way: str
    size: int
    finish: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model on a path.

    Attributes
    ----------
    key : Key
        Its name in every round.
    stages : tuple of (algorithm, callable)
        The algorithms that made it, each with a function that returns the forest after it.
    """

    key: Key
    stages: tuple[Stage, ...]

    def build(self) -> Forest:
        """The forest after the last stage."""
        return self.stages[-1][1]()


FINISHES: dict[str, tuple[QuantizeLeaves, ...]] = {
    "8 bits": (QuantizeLeaves(bits=8),),
    "6 bits": (QuantizeLeaves(bits=6),),
    "5 bits": (QuantizeLeaves(bits=5),),
}
CODEBOOKS: dict[str, tuple[QuantizeLeaves, ...]] = {
    "8 bits": (QuantizeLeaves(bits=8),),
    "5 bits": (QuantizeLeaves(bits=5),),
    "codebook of 64": (QuantizeLeaves(bits=6, method="kmeans"),),
}
"""Leaves with a value for every output: the bytes are in the rows, so sharing rows pays."""

LARGEST_CODEBOOK_WORK = 3_000_000


def sizes_below(largest: int, smallest: int) -> list[int]:
    """A falling sequence of sizes that doesn't depend on `largest` but for where it begins."""
    size, sizes = float(1 << 30), []
    while size >= smallest:
        sizes.append(round(size))
        size *= RATIO
    return [n for n in dict.fromkeys(sizes) if n <= largest]


def auto_path(teacher: Forest, data: Data, random_state: int = 0) -> Iterator[Candidate]:
    """Yield the candidates that `steps="auto"` chooses among, large to small within each way of making them."""
    simple = Simplify()(teacher)
    yield from _finished("whole", 0, [(Simplify(), lambda: simple)], data)
    if simple.n_trees == 0:
        return
    if teacher.divisor > 1:
        yield from _tree_path(simple, data)
    yield from _node_path(simple, data, random_state)


def _tree_path(simple: Forest, data: Data) -> Iterator[Candidate]:
    """Fewer and fewer trees of an average, as they are."""
    order = PruneTrees().order(simple, data)
    for n_trees in sizes_below(simple.n_trees - 1, 1)[::2]:
        kept = keep_trees(simple, np.sort(order[:n_trees]))
        stages: list[Stage] = [(PruneTrees(n_trees=n_trees), partial(_same, kept))]
        yield from _finished("trees", n_trees, stages, data)


def _node_path(simple: Forest, data: Data, random_state: int) -> Iterator[Candidate]:
    """Fewer and fewer leaves, refitted."""
    start: Forest = simple
    first: list[Stage] = []
    work = simple.n_trees * max(data.n_rows, min(11 * data.n_rows, 30_000)) * simple.values.shape[1]
    most = simple.n_trees if work <= LARGEST_WORK else simple.n_trees * LARGEST_WORK // work
    most = min(most, AVERAGED_TREES) if simple.divisor > 1 else most
    if most < simple.n_trees:
        fewer = PruneTrees(n_trees=max(2 * simple.n_outputs, most))
        start = fewer(simple, data)
        first = [(fewer, partial(_same, start))]
    sizes = sizes_below(
        min(start.n_leaves - 1, LARGEST_REFIT), 2 * max(1, simple.n_outputs // simple.values.shape[1])
    )
    pruner = PruneNodes(random_state=random_state)
    for size, pruned in zip(sizes, pruner.path(start, data, sizes), strict=False):
        stages: list[Stage] = [*first, (PruneNodes(max_leaves=size), partial(_same, pruned))]
        yield from _finished("nodes", size, stages, data)


def _finished(way: str, size: int, stages: Sequence[Stage], data: Data) -> Iterator[Candidate]:
    """One structure with its thresholds shared and its leaves quantised, in each of the ways."""
    before = stages[-1][1]
    shared = _Once(lambda: ShareThresholds()(before(), data))
    forest = before()
    choices = FINISHES
    if forest.values.shape[1] > 1:
        fits = forest.n_values * forest.values.shape[1] * 64 <= LARGEST_CODEBOOK_WORK
        choices = CODEBOOKS if fits else {name: CODEBOOKS[name] for name in ("8 bits", "5 bits")}
    for finish, algorithms in choices.items():
        tail: list[Stage] = [(ShareThresholds(), shared)]
        tail += [(algorithm, _Once(partial(_run, algorithm, tail[-1][1]))) for algorithm in algorithms]
        yield Candidate(Key(way, size, finish), (*stages, *tail))


class _Once:
    """Builds a forest when it is first wanted and keeps it."""

    def __init__(self, build: Callable[[], Forest]) -> None:
        self._build: Callable[[], Forest] | None = build
        self._forest: Forest | None = None

    def __call__(self) -> Forest:
        if self._forest is None:
            self._forest = self._build()  # type: ignore[misc]
            self._build = None
        return self._forest


def _run(algorithm: Any, before: Callable[[], Forest]) -> Forest:
    return algorithm(before())  # type: ignore[no-any-return]


def _same(forest: Forest) -> Forest:
    return forest


def list_path(steps: Sequence[Any], teacher: Forest, data: Data) -> Iterator[Candidate]:
    """Yield the teacher after the first step, after the first two, and so on."""
    stages: tuple[Stage, ...] = ()
    forest = teacher
    for k, step in enumerate(steps):
        forest = step(forest, data)
        stages = (*stages, (step, partial(_same, forest)))
        yield Candidate(Key("steps", k + 1, ""), stages)


__all__ = ["Candidate", "Key", "auto_path", "list_path", "sizes_below"]
