"""What a compression did: bytes, scores, agreement, speed, and what each step cost.

A `Report` is a frozen record of plain Python values, so that it prints, travels in a model file as JSON and turns into
a table for machines. `make_report` measures both models and fills one in.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import measure, sizes, timing
from ensemble_compress.data import Data
from ensemble_compress.errors import MissingPackageError, ModelFileError, in_short
from ensemble_compress.forest import Forest


@dataclass(frozen=True)
class Step:
    """What one step of a compression did.

    Parameters
    ----------
    name : str
        The algorithm.
    parameters : str
        Its parameters, as text.
    bytes : int
        Size of the model after it, in the artefact that the target counts.
    n_leaves : int
        Leaves after it.
    score : float or None
        The score after it; None where it was not judged.
    seconds : float
        Time it took.
    """

    name: str
    parameters: str
    bytes: int
    n_leaves: int
    score: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class PathPoint:
    """One of the models that were judged on the way.

    Parameters
    ----------
    bytes : int
        Its size.
    score : float
        Its score on rows that it was not fitted on.
    standard_error : float or None
        The standard error of its loss against the teacher, the judged rows being paired.
    is_chosen : bool
        Whether it is the one that was returned.
    """

    bytes: int
    score: float
    standard_error: float | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class Measures:
    """One model's column in the report.

    Parameters
    ----------
    bytes : dict
        Bytes of each artefact by name; None where the artefact does not exist.
    structure : dict
        Counts of trees, nodes, leaves and so on, from `measure.structure`.
    scores : dict
        From `measure.scores`; empty without labels.
    speed_us : dict
        Microseconds a row, in a batch and alone; empty where not measured.
    """

    bytes: dict[str, int | None] = field(default_factory=dict)
    structure: dict[str, int] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    speed_us: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a compression did, as plain values; print it, or let a notebook show it.

    Parameters
    ----------
    teacher, student : Measures
        The model as it was trained, and what came out.
    agreement : dict
        How alike the two answer, from `measure.agreement`.
    scoring : str
        Name of the score that the compression was judged by.
    score : tuple of two floats, optional
        That score of the teacher and of the student, on the rows that `reference` names.
    reference : str
        How the teacher's score was obtained: "cross-fitted clones", "out-of-bag answers", "held-out rows", "in-sample" or
        "agreement with the teacher".
    n_rows : int
        Number of rows that the scores and the agreement were measured on.
    tolerance : float, optional
        The loss of score that was allowed.
    max_bytes : int, optional
        The byte budget.
    target : str
        What the bytes were counted for.
    steps : tuple of Step
        What each step did, in order.
    path : tuple of PathPoint
        The models that were judged.
    notes : tuple of str
        What a reader has to know besides.

    Examples
    --------
    >>> report = Report(Measures(bytes={"c_tables": 2000}), Measures(bytes={"c_tables": 500}), score=(0.97, 0.96))
    >>> print(str(report).splitlines()[0])
    4.0 times smaller: 2 kB -> 500 bytes (C tables), accuracy 0.9700 -> 0.9600 (held-out rows)
    """

    teacher: Measures
    student: Measures
    agreement: dict[str, float | None] = field(default_factory=dict)
    scoring: str = "accuracy"
    score: tuple[float | None, float | None] | None = None
    reference: str = "held-out rows"
    n_rows: int = 0
    tolerance: float | None = None
    max_bytes: int | None = None
    target: str = "cpu"
    steps: tuple[Step, ...] = ()
    path: tuple[PathPoint, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from ensemble_compress import displays  # late: loading a model must not wait for what prints it

        tables = [*displays.report_tables(self), displays.path_table(self)]
        return displays.to_text(displays.report_heading(self), tables, self.notes)

    def _repr_html_(self) -> str:
        from ensemble_compress import displays

        points = [displays.Point(p.bytes, p.score, p.standard_error or 0.0, p.is_chosen) for p in self.path]
        curve = displays.to_svg(points, self.scoring)
        return displays.to_html(
            displays.report_heading(self), displays.report_tables(self), self.notes, curve
        )

    def with_bytes(self, **artefacts: int) -> "Report":
        """The same report with the sizes of further artefacts of the student.

        Parameters
        ----------
        **artefacts
            Bytes by name.
        """
        return replace(self, student=replace(self.student, bytes={**self.student.bytes, **artefacts}))

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, numbers and text: what `json.dumps` takes."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Report":
        """The report that `to_dict` gave; keys of later versions are passed over.

        Parameters
        ----------
        values : mapping
            From `to_dict`, maybe through JSON.

        Raises
        ------
        ModelFileError
            The values are not those of a report.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            score = known.get("score")
            parts = {
                "teacher": _record(Measures, known["teacher"]),
                "student": _record(Measures, known["student"]),
                "score": None if score is None else tuple(None if s is None else float(s) for s in score),
                "steps": tuple(_record(Step, step) for step in known.get("steps", ())),
                "path": tuple(_record(PathPoint, point) for point in known.get("path", ())),
                "notes": tuple(str(note) for note in known.get("notes", ())),
            }
            report = cls(**{**known, **parts})
            if score is not None and len(score) != 2:
                raise ValueError(f"{len(score)} scores instead of two")
            str(report)  # every value that is shown has the kind that it should have
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise ModelFileError(
                f"the report in the file is damaged ({type(error).__name__}: {in_short(error)}); expected what Report.to_dict gives"
            ) from error
        return report

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each measure and the columns group, measure, teacher and student.

        Raises
        ------
        MissingPackageError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingPackageError(
                'Report.to_frame needs pandas: pip install "ensemble-compress[frames]"'
            ) from error
        groups = ("bytes", "structure", "scores", "speed_us")
        rows = [
            (group, key, getattr(self.teacher, group).get(key), getattr(self.student, group).get(key))
            for group in groups
            for key in {**getattr(self.teacher, group), **getattr(self.student, group)}
            if key != "per_class"
        ]
        rows += [("agreement", key, None, value) for key, value in self.agreement.items()]
        frame = pd.DataFrame(rows, columns=["group", "measure", "teacher", "student"])
        return frame.astype({"teacher": float, "student": float})


def make_report(
    teacher: Forest,
    student: Forest,
    data: Data | None,
    *,
    model: Any = None,
    student_answers: NDArray[Any] | None = None,
    rows: Any = None,
    measure_speed: bool = False,
    **stated: Any,
) -> Report:
    """Measure two models on the same rows and write down what was found.

    Parameters
    ----------
    teacher, student : Forest
        The model as it was read, and what compression made of it.
    data : Data or None
        Rows, labels and weights; None leaves scores, agreement and speed out. `data.teacher`, where it is known, is scored in the teacher's place: its answers
        on rows that it was not fitted on.
    model : object, optional
        The teacher as it was given, for the bytes of its pickle and of its library's file.
    student_answers : ndarray of shape (n_rows, n_classes) or (n_rows, n_outputs), optional
        Scored in the student's place: what the same structure predicts with leaves refitted out of fold.
    rows : array-like, optional
        The rows as they were given, for the speed of `model` in its own library.
    measure_speed : bool
        Whether to time both models, which takes a second or so.
    **stated
        Further fields of `Report`: `steps`, `path`, `reference`, `scoring`, `score`, `tolerance`, `max_bytes`,
        `target`, `notes`.

    Returns
    -------
    Report
    """
    scoring = stated.setdefault("scoring", "accuracy" if teacher.is_classifier else "r2")
    columns = (
        Measures(_teacher_bytes(model, teacher), measure.structure(teacher)),
        Measures(_student_bytes(student), measure.structure(student)),
    )
    if data is None:
        return Report(*columns, **stated)
    margins = teacher.margin(data.X), student.margin(data.X)
    scores = (
        _scores(teacher, margins[0], data.teacher, data),
        _scores(student, margins[1], student_answers, data),
    )
    if scoring in scores[0]:
        stated.setdefault("score", (scores[0][scoring], scores[1][scoring]))
    speed = _speed(teacher, student, data, model, rows) if measure_speed else ({}, {})
    return Report(
        replace(columns[0], scores=scores[0], speed_us=speed[0]),
        replace(columns[1], scores=scores[1], speed_us=speed[1]),
        agreement=measure.agreement(teacher, student, *margins, data.teacher, student_answers),
        n_rows=data.n_rows,
        **stated,
    )


def _teacher_bytes(model: Any, teacher: Forest) -> dict[str, int | None]:
    return measure.teacher_bytes(teacher if model is None else model, teacher)


def _student_bytes(student: Forest) -> dict[str, int | None]:
    return {
        "pickle": measure.pickle_bytes(student),
        "plain_c_tables": sizes.plain_bytes(student),
        "c_tables": sizes.c_bytes(student),
    }


def _scores(forest: Forest, margin: NDArray[Any], answers: NDArray[Any] | None, data: Data) -> dict[str, Any]:
    if data.y is None:
        return {}
    codes = measure.codes_of(forest, margin, answers) if forest.is_classifier else None
    found = forest.answers(margin) if answers is None else np.asarray(answers)
    return measure.scores(found, data.y, data.weight, classes=forest.classes, codes=codes)


def _speed(
    teacher: Forest, student: Forest, data: Data, model: Any, rows: Any
) -> tuple[dict[str, float], dict[str, float]]:
    predictors: dict[str, Any] = {"teacher": teacher.prepare().predict, "student": student.prepare().predict}
    forms = {"teacher": data.X, "student": data.X}
    if rows is not None and _predicts(model, rows):
        predictors["own"], forms["own"] = model.predict, rows
    found = timing.speed_us(predictors, forms, seconds=0.05)
    own = {f"own_{key}": value for key, value in found.get("own", {}).items()}
    return {**found["teacher"], **own}, found["student"]


def _predicts(model: Any, rows: Any) -> bool:
    """Whether the model's own library takes the rows as they were given; a booster may want its own kind of matrix."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict(rows)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, Warning):
        return False
    return True


def _record(kind: Any, values: Mapping[str, Any]) -> Any:
    names = {f.name for f in fields(kind)}
    return kind(**{key: value for key, value in values.items() if key in names})


def _plain(value: Any) -> Any:
    """Tuples and arrays as lists, NumPy's numbers as Python's, what JSON has no number for as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
