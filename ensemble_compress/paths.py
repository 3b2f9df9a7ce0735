"""The candidates: from one teacher ever smaller models, the same ones for the teacher and for its clones.

A candidate has a key that means the same thing in every round of judgement (so many leaves, so many trees, leaf values
of so many bits), so that what was learnt about it on the folds can be carried to the final teacher.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.algorithms import (
    DistillForest,
    PruneNodes,
    PruneTrees,
    QuantizeLeaves,
    ReassignLeaves,
    ShareThresholds,
    Simplify,
)
from ensemble_compress.algorithms.lessons import ENOUGH_ROWS
from ensemble_compress.algorithms.prune_trees import keep_trees
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest

RATIO = 0.8
"""Each size on a path is this share of the one before it."""

LARGEST_WORK = 15_000_000
"""Trees times rows times width of a leaf: beyond it trees are dropped before nodes are pruned."""

LARGEST_REFIT = 30_000
"""Leaves of the largest forest on the path of pruned nodes; there are fewer trees to choose among above it."""

LARGEST_PRUNED = 1000
"""Leaves of the largest teacher whose own nodes are pruned: from a larger one a student is grown, which is better and faster."""

LARGEST_GROWN = 8192
"""Leaves of the largest student that is grown; twice as many where there are several outputs."""

ROWS_OF_A_LEAF = 4
"""Where there are many rows a larger one is grown, of a leaf for so many of them."""

LARGEST_ORDER = 20_000_000_000
"""Trees squared times rows times width of a leaf: beyond it the first trees of an average are kept."""

LARGEST_FINISHED = 50_000
"""Leaves of the largest forest that is finished in every way."""

SMALL_STUDENT = 600
"""Leaves of the largest student that learns best from few synthetic rows."""

MANY_TRANSFER_ROWS = 60_000
"""Rows that larger ones learn from, as far as they are made up."""

AVERAGED_TREES = 100
"""As many trees of an average are taken to begin with; more cost in proportion."""


Stop = Callable[[str], bool]
"""Asked before the next size of a way: whether no further one is wanted."""

Stage = tuple[Any, "Made"]
"""An algorithm, and the forest after it."""


STEPS = "steps"
"""The way of a list of steps; its size is the number of steps that are not taken."""


GROWN = "grown"
RISING = (GROWN,)
"""The ways whose sizes rise; those of the others fall."""

TREES, NODES = "trees", "nodes"

WHOLE, PLAIN, SHARED = "whole", "as it is", "thresholds shared"


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
    trees : ndarray of int, optional
        Which of the teacher's trees it keeps, in their order, where their leaves are as they were but for rounding; None
        where it has leaves of its own.
    """

    key: Key
    stages: tuple[Stage, ...]
    trees: NDArray[np.intp] | None = None

    def build(self) -> Forest:
        """The forest after the last stage."""
        return self.stages[-1][1]()


Batch = tuple[Candidate, ...]
"""Candidates of one size, to be judged before the next ones are thought of; they are made when they are built."""

Finish = tuple[QuantizeLeaves | ReassignLeaves, ...]

EIGHT: Finish = (QuantizeLeaves(bits=8),)
CODEBOOK: Finish = (QuantizeLeaves(bits=6, method="kmeans"),)
FINISHES: dict[str, Finish] = {
    "8 bits": EIGHT,
    "6 bits, fitted": (QuantizeLeaves(bits=6), ReassignLeaves(n_sweeps=2)),
    "5 bits, fitted": (QuantizeLeaves(bits=5), ReassignLeaves(n_sweeps=2)),
    "codebook of 64": CODEBOOK,
}
"""Leaves of one value: what rounding one does, the choice of the next ones mends."""

CODEBOOKS: dict[str, Finish] = {
    "8 bits": EIGHT,
    "5 bits": (QuantizeLeaves(bits=5),),
    "codebook of 64": CODEBOOK,
}
"""Leaves with a value for every output: the bytes are in the rows, so sharing rows pays."""

FEW_FINISHES = {"8 bits": CODEBOOKS["8 bits"]}
"""Those of a forest of more than `LARGEST_FINISHED` leaves, whose thresholds stay as they are."""

FEWEST_FOR_CODEBOOK = 512
"""Leaves of the smallest forest whose codebook of single values costs less than it saves."""

LARGEST_CODEBOOK_WORK = 3_000_000


def sizes_below(largest: int, smallest: int) -> list[int]:
    """A falling sequence of sizes that doesn't depend on `largest` but for where it begins."""
    size, sizes = float(1 << 30), []
    while size >= smallest:
        sizes.append(round(size))
        size *= RATIO
    return [n for n in dict.fromkeys(sizes) if n <= largest]


def auto_path(
    teacher: Forest, data: Data, random_state: int = 0, stop: Stop = lambda way: False
) -> Iterator[Batch]:
    """Yield the candidates that `steps="auto"` chooses among, size after size of each way of making them.

    Parameters
    ----------
    teacher : Forest
        What is compressed.
    data : Data
        Rows, labels and the teacher's answers.
    random_state : int
        Seed of the synthetic rows.
    stop : callable
        Told the way ("trees", "rounds", "nodes", "grown") before each next size of it; where it says True the way ends.
    """
    simplified = Made(Simplify(), lambda: teacher, data)
    simple = simplified()
    # Trees that turned out constant may be gone: then nobody knows which is which.
    every = np.arange(simple.n_trees) if simple.n_trees == teacher.n_trees else None
    yield from _finished(WHOLE, 0, [(Simplify(), simplified)], data, every)
    if simple.n_trees == 0:
        return
    if teacher.divisor > 1:
        yield from _tree_path(simple, data, stop, every)
    else:
        yield from _round_path(teacher, data, stop)
    if simple.n_leaves <= LARGEST_PRUNED:
        yield from _node_path(simple, data, random_state, stop)
    yield from _grown_path(simple, data, random_state, stop)


def largest_grown(teacher: Forest, data: Data) -> int:
    """Leaves of the largest student that is grown.

    Parameters
    ----------
    teacher : Forest
        What it is to do without.
    data : Data
        Rows that it is grown on.
    """
    most = LARGEST_GROWN if teacher.n_outputs == 1 else 2 * LARGEST_GROWN
    return min(teacher.n_leaves - 1, max(most, data.n_rows // ROWS_OF_A_LEAF))


def _grown_path(simple: Forest, data: Data, random_state: int, stop: Stop) -> Iterator[Batch]:
    """Larger and larger students of their own."""
    sizes = sizes_below(largest_grown(simple, data), 2)[::-1]
    if simple.n_leaves <= LARGEST_PRUNED:
        # Its own nodes are pruned as well, which gives enough sizes to choose among.
        sizes = sizes[::-2][::-1]
    small = DistillForest(random_state=random_state)
    large = replace(small, enough=MANY_TRANSFER_ROWS)
    for student, wanted in (
        (small, [size for size in sizes if size <= SMALL_STUDENT]),
        (large, [size for size in sizes if size > SMALL_STUDENT]),
    ):
        path = student.path(simple, data, wanted) if wanted else iter(())
        for size, (grown, seconds) in zip(wanted, _timed(path), strict=False):
            stages: list[Stage] = [(replace(student, max_leaves=size), Made.already(grown, seconds))]
            yield from _finished(GROWN, size, stages, data)
            if stop(GROWN):
                return


def _tree_path(simple: Forest, data: Data, stop: Stop, every: NDArray[np.intp] | None) -> Iterator[Batch]:
    """Fewer and fewer trees of an average, as they are."""
    began = time.perf_counter()
    # Trees of an average are drawn alike: where an order costs too much, any of them will do.
    work = simple.n_trees**2 * data.n_rows * simple.values.shape[1]
    pruner = PruneTrees() if work <= LARGEST_ORDER else PruneTrees(method="first")
    order = pruner.order(simple, data)
    seconds = time.perf_counter() - began
    for n_trees in sizes_below(simple.n_trees - 1, 1)[::2]:
        if stop(TREES):
            return
        trees = np.sort(order[:n_trees])
        stages: list[Stage] = [
            (replace(pruner, n_trees=n_trees), Made.already(keep_trees(simple, trees), seconds))
        ]
        yield from _finished(TREES, n_trees, stages, data, trees if every is not None else None)


def _round_path(teacher: Forest, data: Data, stop: Stop) -> Iterator[Batch]:
    """The first rounds of a booster, as they are: what early stopping would have left."""
    a_round = teacher.n_outputs if teacher.values.shape[1] == 1 else 1
    for n_rounds in sizes_below(teacher.n_trees // a_round - 1, 1)[::2]:
        if stop("rounds"):
            return
        first = PruneTrees(n_trees=n_rounds * a_round, method="first")
        yield from _finished("rounds", n_rounds, [(first, Made(first, lambda: teacher, data))], data)


def _node_path(simple: Forest, data: Data, random_state: int, stop: Stop) -> Iterator[Batch]:
    """Fewer and fewer leaves, refitted."""
    start: Forest = simple
    first: list[Stage] = []
    work = simple.n_trees * max(data.n_rows, min(11 * data.n_rows, ENOUGH_ROWS)) * simple.values.shape[1]
    most = simple.n_trees if work <= LARGEST_WORK else simple.n_trees * LARGEST_WORK // work
    most = min(most, AVERAGED_TREES) if simple.divisor > 1 else most
    if most < simple.n_trees:
        fewer = PruneTrees(n_trees=max(2 * simple.n_outputs, most))
        made = Made(fewer, lambda: simple, data)
        start, first = made(), [(fewer, made)]
    sizes = sizes_below(
        min(start.n_leaves - 1, LARGEST_REFIT), 2 * max(1, simple.n_outputs // simple.values.shape[1])
    )
    pruner = PruneNodes(random_state=random_state)
    for size, (pruned, seconds) in zip(sizes, _timed(pruner.path(start, data, sizes)), strict=False):
        stages: list[Stage] = [*first, (replace(pruner, max_leaves=size), Made.already(pruned, seconds))]
        yield from _finished(NODES, size, stages, data)
        if stop(NODES):
            return


def _finished(
    way: str, size: int, stages: Sequence[Stage], data: Data, trees: NDArray[np.intp] | None = None
) -> Iterator[Batch]:
    """One structure, then with its leaves quantised, in each of the ways."""
    before = stages[-1][1]
    shared = Made(ShareThresholds(), before, data)
    forest = before()
    exact = Candidate(Key(way, size, PLAIN), tuple(stages), trees)
    if forest.n_leaves > LARGEST_FINISHED:
        if way not in (WHOLE, GROWN):
            yield (exact,)
        found = []
        for finish, algorithms in FEW_FINISHES.items():
            rounded = [(algorithm, Made(algorithm, before, data)) for algorithm in algorithms]
            found.append(Candidate(Key(way, size, finish), (*stages, *rounded), trees))
        yield tuple(found)
        return
    candidate = Candidate(Key(way, size, SHARED), (*stages, (ShareThresholds(), shared)), trees)
    # A student's thresholds are its teacher's: shared ones are no others, but shorter.
    yield (candidate,) if way in (WHOLE, GROWN) else (exact, candidate)
    found, choices = [], dict(FINISHES)
    if forest.n_leaves < FEWEST_FOR_CODEBOOK:
        del choices["codebook of 64"]
    if forest.values.shape[1] > 1:
        fits = forest.n_values * forest.values.shape[1] * 64 <= LARGEST_CODEBOOK_WORK
        choices = CODEBOOKS if fits else {name: CODEBOOKS[name] for name in ("8 bits", "5 bits")}
    for finish, algorithms in choices.items():
        tail: list[Stage] = [(ShareThresholds(), shared)]
        for algorithm in algorithms:
            tail.append((algorithm, Made(algorithm, tail[-1][1], data)))
        # Leaves that were fitted to each other are no longer those of single trees.
        kept = trees if all(isinstance(algorithm, QuantizeLeaves) for algorithm in algorithms) else None
        found.append(Candidate(Key(way, size, finish), (*stages, *tail), kept))
    yield tuple(found)


class Made:
    """The forest after one algorithm: made when it is first wanted, kept, and timed.

    Attributes
    ----------
    seconds : float
        Time that the algorithm took, once it has run.
    """

    def __init__(self, algorithm: Any, before: Callable[[], Forest], data: Data) -> None:
        self.seconds = 0.0
        self._how: tuple[Any, Callable[[], Forest], Data] | None = (algorithm, before, data)
        self._forest: Forest | None = None

    @classmethod
    def already(cls, forest: Forest, seconds: float) -> "Made":
        """A forest that is there, and the time that it took."""
        made = cls(None, lambda: forest, Data(np.empty((1, 0))))
        made._forest, made._how, made.seconds = forest, None, seconds
        return made

    def __call__(self) -> Forest:
        if self._how is not None:
            algorithm, before, data = self._how
            forest, began = before(), time.perf_counter()
            self._forest, self._how = algorithm(forest, data), None
            self.seconds = time.perf_counter() - began
        return self._forest  # type: ignore[return-value]


def _timed(path: Iterator[Forest]) -> Iterator[tuple[Forest, float]]:
    """Each forest of a path, with the seconds that the path has taken until it."""
    seconds, began = 0.0, time.perf_counter()
    for forest in path:
        seconds += time.perf_counter() - began
        yield forest, seconds
        began = time.perf_counter()


def stage_key(key: Key, n_left: int) -> Key:
    """The key of the candidate that lacks the last `n_left` stages of the one called `key`."""
    if key.way == STEPS:
        return Key(STEPS, key.size + n_left, "")
    n_tail = len((FINISHES | CODEBOOKS).get(key.finish, ()))
    if n_left == 0:
        return key
    return key._replace(finish={n_tail: SHARED, n_tail + 1: PLAIN}.get(n_left, ""))


def is_judged_by_bags(candidate: Candidate) -> bool:
    """Whether rows that the teacher has seen can judge it: by the trees that haven't, or it is grown from other rows."""
    return candidate.trees is not None or candidate.key.way == GROWN


def keeps_no_leaves(key: Key) -> bool:
    """Whether a candidate's leaves are fitted anew or its loss does not depend on them: then the teacher's own are not judged."""
    return key.way in (NODES, GROWN, STEPS) or (key.way, key.finish) == (WHOLE, SHARED)


def list_path(steps: Sequence[Any], teacher: Forest, data: Data) -> Iterator[Batch]:
    """Yield the teacher after the first step, after the first two, and so on."""
    stages: tuple[Stage, ...] = ()
    before: Callable[[], Forest] = lambda: teacher
    for k, step in enumerate(steps):
        made = Made(step, before, data)
        made()
        stages, before = (*stages, (step, made)), made
        yield (Candidate(Key(STEPS, len(steps) - 1 - k, ""), stages),)


__all__ = ["Batch", "Candidate", "Key", "auto_path", "list_path", "sizes_below"]
