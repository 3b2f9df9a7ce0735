"""What the protocols compress: sets, folds, teachers and goals, the teacher of a fold trained once for all who compress it.

A fold is a fifth of the rows: fold k tests, fold k + 1 is the one to choose by, the other three train.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import compression
import datasets
import numpy as np
from checks import WrongAnswerError, check_reading
from numpy.typing import NDArray
from protocol_problem import Goal, Problem
from sklearn.model_selection import KFold, StratifiedKFold

import ensemble_compress as ec
from ensemble_compress import measure
from ensemble_compress.calibration import as_data
from ensemble_compress.forest import Forest

SEED, N_FOLDS = 0, 5
PARTS = ("train", "valid", "test")
BINARY = ("spambase", "phoneme", "electricity", "adult", "magic")
MULTICLASS, REGRESSION = ("satimage", "letter"), ("california", "casp", "diamonds", "compactiv")


@dataclass(frozen=True)
class Teacher:
    """A model to train.

    Attributes
    ----------
    library : {"random forest", "xgboost", "lightgbm"}
        Whose it is.
    parameters : mapping
        What differs from the library's defaults.
    """

    library: str
    parameters: Mapping[str, Any]

    def make(self, task: str, has_levels: bool) -> Any:
        """The untrained model."""
        kind = "Regressor" if task == "regression" else "Classifier"
        if self.library == "random forest":
            from sklearn import ensemble

            make = getattr(ensemble, f"RandomForest{kind}")
            return make(**self.parameters, random_state=SEED, n_jobs=-1)
        if self.library == "xgboost":
            import xgboost

            make = getattr(xgboost, f"XGB{kind}")
            return make(**self.parameters, random_state=SEED, enable_categorical=has_levels)
        import lightgbm

        return getattr(lightgbm, f"LGBM{kind}")(**self.parameters, random_state=SEED, verbose=-1)


@dataclass(frozen=True)
class Protocol:
    """Sets, teachers by name, the goal of each task, and the budgets, None where a tolerance decides.

    `has_levels` says whether boosters take text columns as categories; LOP's boosters took numbers only.
    """

    data: tuple[str, ...]
    teachers: Mapping[str, Teacher]
    goals: Mapping[str, Goal]
    budgets: tuple[int | None, ...] = (None,)
    has_levels: bool = True


def _boosters() -> dict[str, Teacher]:
    grid = [(m, d, eta) for m in (25, 100) for d in (4, 8) for eta in (0.1, 0.5)]
    return {
        f"xgb-{m}-{d}-{eta}": Teacher("xgboost", {"n_estimators": m, "max_depth": d, "learning_rate": eta})
        for m, d, eta in grid
    }


RANDOM_FOREST = Teacher("random forest", {"n_estimators": 300})
LIGHTGBM = Teacher("lightgbm", {"n_estimators": 300, "num_leaves": 31})
XGBOOST = Teacher("xgboost", {"n_estimators": 300, "max_depth": 6})
_ACCURACY = Goal("accuracy", 0.005)

PROTOCOLS = {
    "A": Protocol(BINARY, _boosters(), {"binary": Goal("balanced_accuracy", 0.005)}, has_levels=False),
    "B": Protocol(
        BINARY + MULTICLASS + REGRESSION,
        {"rf-300": RANDOM_FOREST, "lgbm-300-31": LIGHTGBM},
        {
            "binary": _ACCURACY,
            "multiclass": _ACCURACY,
            "regression": Goal("neg_root_mean_squared_error", 0.02, relative=True),
        },
    ),
    "C": Protocol(
        BINARY + MULTICLASS + REGRESSION,
        {"lgbm-300-31": LIGHTGBM, "xgb-300-6": XGBOOST},
        {"binary": Goal("accuracy"), "multiclass": Goal("accuracy"), "regression": Goal("r2")},
        tuple(1000 * kilobytes for kilobytes in (1, 2, 4, 8, 16, 32)),
    ),
}


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of a data set; values are standardised by the rows that train.

    Attributes
    ----------
    info : dict
        From `datasets.load`.
    X, y : dict of ndarray
        By part; codes of categories, class codes or values.
    memory : dict
        What is made once for all teachers of the fold.
    """

    info: dict[str, Any]
    X: dict[str, NDArray[Any]]
    y: dict[str, NDArray[Any]]
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, number: int, max_rows: int | None = None) -> "Fold":
        """Division `number` (0 to 4) of a set, of at most `max_rows` of its rows."""
        X, y, info = datasets.load(name)
        if max_rows is not None:
            chosen = np.random.default_rng(SEED).permutation(len(y))[:max_rows]
            X, y = X[chosen], y[chosen]
        rows = split(y, info["task"], number)
        labels = {part: y[rows[part]] for part in PARTS}
        if info["task"] == "regression":
            mean, spread = labels["train"].mean(), labels["train"].std()
            labels = {part: (values - mean) / spread for part, values in labels.items()}
        return cls(info, {part: X[rows[part]] for part in PARTS}, labels)

    def rows(self, part: str, has_levels: bool) -> Any:
        """A part as a model takes it: a frame where text columns are categories, else the array."""
        if has_levels and self.info["categories"]:
            return compression.as_frame(self.X[part], self.info, has_levels=True)
        return self.X[part]


def split(y: NDArray[Any], task: str, number: int) -> dict[str, NDArray[np.intp]]:
    """The rows of each part; classes are spread evenly."""
    splitter = (KFold if task == "regression" else StratifiedKFold)(N_FOLDS, shuffle=True, random_state=SEED)
    parts = [rows for _, rows in splitter.split(np.empty((len(y), 0)), y)]
    test, valid = parts[number], parts[(number + 1) % N_FOLDS]
    train = np.setdiff1d(np.arange(len(y)), np.concatenate([test, valid]))
    return {"train": train, "valid": valid, "test": test}


class Case:
    """A teacher on a fold; trained, read and checked when somebody first asks.

    Parameters
    ----------
    protocol : Protocol
    fold : Fold
    name : str
        Of the teacher, a key of `protocol.teachers`.
    """

    def __init__(self, protocol: Protocol, fold: Fold, name: str) -> None:
        self.protocol, self.fold, self.name = protocol, fold, name
        self.teacher = protocol.teachers[name]
        self.goal = protocol.goals[fold.info["task"]]
        self.has_levels = protocol.has_levels and self.teacher.library != "random forest"

    def rows(self, part: str) -> Any:
        """A part as the teacher takes it."""
        return self.fold.rows(part, self.has_levels)

    @cached_property
    def model(self) -> Any:
        """The trained teacher."""
        task = self.fold.info["task"]
        return self.teacher.make(task, self.has_levels).fit(self.rows("train"), self.fold.y["train"])

    @cached_property
    def forest(self) -> Forest:
        """The teacher as read: the library's leaves and answers on every test row, also for codes in place of levels."""
        forest, X = ec.read(self.model), self.rows("test")
        check_reading(self.teacher.library, self.model, forest, X)
        if (forest.find_leaves(X) != forest.find_leaves(self.fold.X["test"])).any():
            raise WrongAnswerError(
                f"{self.name} answers otherwise for codes than for the levels they stand for"
            )
        return forest

    @cached_property
    def bytes_before(self) -> dict[str, int | None]:
        """Of the teacher, in the forms in which it is kept today."""
        return measure.teacher_bytes(self.model, self.forest)

    @cached_property
    def problem(self) -> Problem:
        """What a peer is handed."""
        parts = [as_data(self.forest, self.fold.X[part], self.fold.y[part], None) for part in PARTS[:2]]
        levels = np.flatnonzero(self.fold.info["categorical"]).tolist() if self.protocol.has_levels else []
        return Problem(self.forest, *parts, self.goal, tuple(levels), SEED)


@dataclass(frozen=True)
class Timed:
    """What a call returned, and the seconds that it took by the clock and of processors."""

    value: Any
    clock: float
    cpu: float

    @classmethod
    def of(cls, call: Callable[[], Any]) -> "Timed":
        """Call and time."""
        clock, cpu = time.perf_counter(), _cpu_seconds()
        value = call()
        return cls(value, time.perf_counter() - clock, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Of all threads of this process, and of the processes that it has waited for."""
    return sum(os.times()[:4])
