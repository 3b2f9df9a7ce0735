"""What the report says of the way to the chosen model, and what is said where no model fits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ensemble_compress import sizes
from ensemble_compress.choice import Verdict
from ensemble_compress.errors import BudgetError
from ensemble_compress.model import CompressedModel
from ensemble_compress.paths import Key, Stage, stage_key
from ensemble_compress.report import PathPoint, Step


def steps_of(key: Key, stages: Sequence[Stage], verdicts: Mapping[Key, Verdict]) -> tuple[Step, ...]:
    """The steps that made a model, with the score after each of them where it was judged.

    Parameters
    ----------
    key : Key
        The model.
    stages : sequence of (algorithm, callable)
        Its stages.
    verdicts : mapping
        By key.
    """
    steps = []
    for k, (algorithm, made) in enumerate(stages):
        after = made()
        stage = stage_key(key, len(stages) - 1 - k)
        score = verdicts[stage].score if stage in verdicts else None
        steps.append(
            Step(
                type(algorithm).__name__,
                parameters_of(algorithm),
                sizes.c_bytes(after),
                after.n_leaves,
                score,
                made.seconds,
            )
        )
    return tuple(steps)


def path_of(
    key: Key, sizes_of: Mapping[Key, int], verdicts: Mapping[Key, Verdict], lossless: Key
) -> tuple[PathPoint, ...]:
    """The path that a model lies on, from the smallest model to the lossless one.

    Parameters
    ----------
    key : Key
        The model.
    sizes_of : mapping
        Bytes by key.
    verdicts : mapping
        By key.
    lossless : Key
        The end of every path.
    """
    return tuple(
        PathPoint(sizes_of[k], verdicts[k].score, _finite(verdicts[k].error), k == key)
        for k in sorted(sizes_of, key=lambda k: sizes_of[k])
        if np.isfinite(verdicts[k].score)
        and (k in (key, lossless) or (k.way, k.finish) == (key.way, key.finish))
    )


def parameters_of(algorithm: Any) -> str:
    """The parameters of an algorithm, as they are written between the parentheses.

    Parameters
    ----------
    algorithm : object
        The algorithm.
    """
    text = repr(algorithm)
    return text[text.index("(") + 1 : -1]


def budget_error(budget: int | None, nearest: CompressedModel, what: str) -> BudgetError:
    """The error that nothing fits.

    Parameters
    ----------
    budget : int
        Bytes.
    nearest : CompressedModel
        What fits best.
    what : str
        What that is.
    """
    needed = sizes.c_bytes(nearest.forest)
    return BudgetError(
        f"no model fits max_bytes={budget:,}: {what} takes {needed:,} bytes; allow as many, or a larger tolerance",
        nearest,
        needed,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
