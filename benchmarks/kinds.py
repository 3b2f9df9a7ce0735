"""Every kind of model that there is, whether it is read or not: the registry behind docs/coverage.md and the proof of exactness.

A `Kind` is a library's estimator trained in one way, on one or several tasks. Nothing here says whether a kind is read: that is
found by training it and reading it. To add one, add a line to a table in `kinds_sklearn.py` or `kinds_boosting.py`; `python benchmarks/coverage_table.py` does the rest.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

SEED = 7
SEVERAL = ("multi-label", "multi-class, several", "regression, several")
"""Tasks with more than one column of targets."""
CLASSIFICATION = ("binary", "multi-class", "multi-label")
REGRESSION = ("regression", "regression, several")


class Task(NamedTuple):
    """What a model is trained on: rows, targets, and which columns hold category codes."""

    name: str
    X: NDArray[np.float64]
    y: NDArray[Any]
    missing: bool = False
    categorical: tuple[int, ...] = ()

    @property
    def is_several(self) -> bool:
        """Whether there is more than one column of targets."""
        return self.y.ndim > 1


class Size(NamedTuple):
    """How large a model is trained."""

    trees: int
    depth: int
    leaves: int
    least: int

    def options(self, kind: Any) -> dict[str, Any]:
        """The keyword arguments that say so to an estimator, as far as its signature has them."""
        known = inspect.signature(kind).parameters
        wanted = {
            "n_estimators": self.trees,
            "max_iter": self.trees,
            "max_depth": self.depth,
            "max_leaf_nodes": self.leaves,
            "min_samples_leaf": self.least,
            "random_state": 0,
            "n_jobs": 1,
        }
        found = {name: value for name, value in wanted.items() if name in known}
        if "max_depth" in known:
            found.pop("max_leaf_nodes", None)
        return found


SMALL = Size(trees=5, depth=4, leaves=8, least=4)


class NotOfferedError(Exception):
    """The library has no way to say the combination."""


class Kind(NamedTuple):
    """An estimator trained in one way.

    Attributes
    ----------
    library, name : str
        What the table says.
    fit : callable of (Task, Size)
        Trains the model; what the library refuses, it raises.
    tasks : tuple of str
        On what.
    margin : {"bits", "ulp", "hidden"}
        How its margins compare with the library's: equal, within 4 ulp of the sum's magnitude, or not, because it tells none.
    prediction : {"double", "single"}
        Whether the library computes its links in the type of its margins, or some of them in float32 whatever that type.
    """

    library: str
    name: str
    fit: Callable[[Task, Size], Any]
    tasks: tuple[str, ...]
    margin: str = "bits"
    prediction: str = "double"


# -- data --------------------------------------------------------------------------------------------------------


@functools.cache
def small_task(name: str, missing: bool = False, categorical: bool = False, n_rows: int = 300) -> Task:
    """Rows of adult: age, weight, capital gain and hours, in natural units with zeros and both signs, and two columns of text.

    Parameters
    ----------
    name : str
        What is predicted.
    missing : bool
        Whether some cells are NaN.
    categorical : bool
        Whether the last two columns are categories; they are numbers otherwise.
    n_rows : int
        How many.
    """
    X, income, info = datasets.load("adult")
    column = {name: f for f, name in enumerate(info["feature_names"])}
    random = np.random.default_rng(SEED)
    chosen = X[random.permutation(len(X))[:n_rows]].astype(np.float64)
    income = income[np.random.default_rng(SEED).permutation(len(X))[:n_rows]]
    age, weight, gain, hours = (
        chosen[:, column[c]] for c in ("age", "fnlwgt", "capital-gain", "hours-per-week")
    )
    rows = np.column_stack(
        [
            (age - 40) / 10,
            np.log(weight),
            np.log1p(gain),
            hours - 40,
            chosen[:, column["occupation"]],
            chosen[:, column["marital-status"]],
        ]
    )
    rows[:, 4] = np.nan_to_num(rows[:, 4], nan=random.integers(0, 5))
    if missing:
        rows[random.random(rows.shape) < 0.12] = np.nan
    y = _target(name, income, chosen[:, column["educational-num"]], chosen[:, column["gender"]], hours)
    return Task(name, rows, y, missing, (4, 5) if categorical else ())


def _target(
    name: str, income: NDArray[Any], school: NDArray[Any], gender: NDArray[Any], hours: NDArray[Any]
) -> NDArray[Any]:
    grade = np.digitize(school, [9, 11])
    return {
        "binary": income,
        "multi-class": grade,
        "multi-label": np.column_stack([income, gender.astype(int)]),
        "multi-class, several": np.column_stack([income, grade]),
        "regression": school + hours / 7,
        "regression, several": np.column_stack([school + hours / 7, hours / 3]),
        "counts": school,
        "positive": school / 3 + 0.1,
        "ranking": grade,
        "outliers": income,
    }[name]


def cells() -> list[tuple[bool, bool]]:
    """(missing, categorical), in the order of the table's columns."""
    return [(missing, categorical) for categorical, missing in itertools.product([False, True], repeat=2)]


def labels_of(task: Task) -> NDArray[Any]:
    """The targets; one column of classes as labels of text, or of numbers with gaps."""
    if task.name == "binary":
        return np.array(["no", "yes"])[task.y]
    return 9 * task.y - 2 if task.name == "multi-class" else task.y


@functools.cache
def all_kinds() -> tuple[Kind, ...]:
    """Every kind, in the order of the table."""
    from kinds_boosting import boosting_kinds
    from kinds_sklearn import sklearn_kinds

    return (*sklearn_kinds(), *boosting_kinds())
