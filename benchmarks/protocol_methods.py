"""Who compresses in the protocols, under one signature: a case in, a forest for each budget out, with the time that it took.

`ours` is called exactly as a user would. Every forest goes through `Simplify` before it is counted, so that nobody loses bytes
to what no row can tell.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from peers import contribution, forestprune, lop, lrl1, refinement, small
from protocol_cases import Case, Timed
from protocol_problem import Problem

import ensemble_compress as ec
from ensemble_compress import sizes
from ensemble_compress.algorithms import Simplify
from ensemble_compress.errors import BudgetError
from ensemble_compress.forest import Forest


@dataclass(frozen=True, eq=False)
class Found:
    """One compressed forest.

    Attributes
    ----------
    forest : Forest
    budget : int or None
        Bytes that were allowed; None where a tolerance decided.
    fits : bool
        Whether it takes no more.
    clock, cpu : float
        Seconds.
    steps : tuple of str
        What was done, where somebody says so.
    """

    forest: Forest
    budget: int | None
    fits: bool
    clock: float
    cpu: float
    steps: tuple[str, ...] = ()


def ours(case: Case, budget: int | None) -> Found:
    """`ec.compress` with the rows that trained and the rows to choose by."""
    timed = Timed.of(lambda: _compress(case, budget))
    steps = tuple(step.name for step in timed.value.report.steps)
    return _found(timed.value.forest, budget, timed, steps)


def _compress(case: Case, budget: int | None) -> Any:
    goal, y = case.goal, case.fold.y
    options: dict[str, Any] = {"validation": (case.rows("valid"), y["valid"]), "scoring": goal.scoring}
    if budget is None:
        options |= {"tolerance": goal.tolerance, "relative": goal.relative}
    else:
        options |= {"max_bytes": budget}
    try:
        return ec.compress(case.model, case.rows("train"), y["train"], **options)
    except BudgetError as error:
        return error.nearest


def small_model(case: Case, budget: int | None) -> Found:
    """From the pool of the fold, which is trained once for all teachers and budgets; its time counts for each of them."""
    problem, memory = case.problem, case.fold.memory
    if "pool" not in memory:
        memory["pool"] = Timed.of(lambda: small.pool(problem))
    pool = memory["pool"]
    if budget is None:
        chosen = Timed.of(lambda: small.smallest(pool.value, problem))
    else:
        chosen = Timed.of(lambda: small.best_within(pool.value, budget) or pool.value[0].forest)
    return _found(chosen.value, budget, Timed(None, pool.clock + chosen.clock, pool.cpu + chosen.cpu))


def _peer(compress: Callable[[Problem], Forest]) -> Callable[[Case, int | None], Found]:
    def call(case: Case, budget: int | None) -> Found:
        problem = case.problem
        timed = Timed.of(lambda: compress(problem))
        return _found(timed.value, budget, timed)

    return call


def _found(forest: Forest, budget: int | None, timed: Timed, steps: tuple[str, ...] = ()) -> Found:
    simple = Simplify()(forest)
    fits = budget is None or sizes.c_bytes(simple) <= budget
    return Found(simple, budget, fits, timed.clock, timed.cpu, steps)


METHODS: dict[str, Callable[[Case, int | None], Found]] = {
    "ours": ours,
    "lop": _peer(lop.compress),
    "small": small_model,
    "forestprune": _peer(forestprune.compress),
    "contribution": _peer(contribution.compress),
    "refinement": _peer(refinement.compress),
    "lrl1": _peer(lrl1.compress),
}

WITH_BUDGETS = ("ours", "small")
"""Those that can be told how many bytes they may take."""


def can(method: str, case: Case) -> bool:
    """Whether a method is made for the case."""
    if method == "contribution" and case.fold.info["task"] == "regression":
        return False
    return case.protocol.budgets == (None,) or method in WITH_BUDGETS


def compress(method: str, case: Case) -> Iterator[Found]:
    """A forest for each budget of the protocol."""
    for budget in case.protocol.budgets:
        yield METHODS[method](case, budget)
