"""Reports: what they measure, that they survive JSON, and how they look as text and HTML."""

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from ensemble_compress import displays, measure
from ensemble_compress.data import Data
from ensemble_compress.errors import MissingPackageError, ModelFileError
from ensemble_compress.readers import read
from ensemble_compress.report import Measures, PathPoint, Report, Step, make_report

X = np.random.default_rng(0).normal(size=(300, 4))
LABELS = np.array(["no", "yes & <maybe>"])[(X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)]
CODES = (LABELS != "no").astype(np.int64)
MODEL = RandomForestClassifier(20, max_depth=4, random_state=0).fit(X[:200], LABELS[:200])


@pytest.fixture(scope="module")
def pair():
    teacher = read(MODEL)
    return teacher, replace(teacher.take(range(5)), divisor=5.0)


@pytest.fixture(scope="module")
def full(pair):
    teacher, student = pair
    return make_report(
        teacher,
        student,
        Data(teacher.rows(X[200:]), CODES[200:]),
        model=MODEL,
        rows=X[200:],
        measure_speed=True,
        tolerance=0.005,
        max_bytes=4000,
        target="cortex-m4",
        reference="out-of-bag",
        steps=(Step("PruneTrees", "n_trees=5", 1234, student.n_leaves, 0.91, 0.25),),
        path=(PathPoint(2000, 0.97, 0.01), PathPoint(1000, 0.96, None, True), PathPoint(500, 0.93, 0.02)),
        notes=("watch <out> & mind [bold]brackets[/bold]",),
    )


SMALL = Report(
    Measures(
        bytes={"pickle": 120_000, "c_tables": 20_000},
        structure={"trees": 300},
        scores={"accuracy": 0.9722, "log_loss": None},
        speed_us={"batch": 40.0},
    ),
    Measures(
        bytes={"c_tables": 480},
        structure={"trees": 12},
        scores={"accuracy": 0.9711, "log_loss": 0.2},
        speed_us={"batch": 0.5},
    ),
    agreement={"equal_labels": 0.99, "largest_margin_difference": None},
    score=(0.9722, 0.9711),
    n_rows=1797,
    tolerance=0.005,
    steps=(Step("Simplify", "", 15_000, 4000, None, 0.01),),
    path=(PathPoint(480, 0.9711, 0.002, True),),
    notes=("a note",),
)

SMALL_TEXT = """\
41.7 times smaller: 20 kB -> 480 bytes (C tables), accuracy 0.9722 -> 0.9711 (held-out rows)
target cpu, tolerance 0.005

Bytes
          teacher  student              change
----------------------------------------------
pickle    120,000        -
C tables   20,000      480  41.7 times smaller

Structure
       teacher  student            change
-----------------------------------------
trees      300       12  25 times smaller

Scores on 1,797 rows (held-out rows)
          teacher  student   change
-----------------------------------
accuracy   0.9722   0.9711  -0.0011
log loss        -   0.2000

Agreement on 1,797 rows
                            value
---------------------------------
equal labels               0.9900
largest margin difference       -

Microseconds
                  teacher  student           change
---------------------------------------------------
a row in a batch       40   0.5000  80 times faster

Steps
step      parameters   bytes  leaves  score  seconds
----------------------------------------------------
Simplify              15,000   4,000      -     0.01

Path
        bytes  accuracy  standard error
---------------------------------------
chosen    480    0.9711          0.0020

- a note"""


def test_a_report_prints_as_a_readable_table():
    assert str(SMALL) == SMALL_TEXT


@pytest.mark.parametrize(
    "variables", [{"COLUMNS": "20"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}]
)
def test_the_text_does_not_depend_on_the_terminal(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(SMALL) == SMALL_TEXT


def test_a_long_parameter_text_is_folded_and_nothing_is_lost():
    report = replace(SMALL, steps=(Step("Simplify", "seed=" + "7" * 150, 1, 1),))
    assert max(map(len, str(report).splitlines())) <= displays.TEXT_WIDTH
    assert str(report).count("7") >= 150


def test_brackets_are_text_and_no_markup(full):
    assert "- watch <out> & mind [bold]brackets[/bold]" in str(full)


def test_the_columns_are_measured_on_the_given_rows(pair, full):
    student = pair[1]
    assert full.n_rows == 100
    assert full.teacher.scores["accuracy"] == MODEL.score(X[200:], LABELS[200:])
    assert full.student.scores["accuracy"] == np.mean(student.predict(X[200:]) == LABELS[200:])
    assert full.score == (full.teacher.scores["accuracy"], full.student.scores["accuracy"])
    assert full.agreement["equal_labels"] == np.mean(student.predict(X[200:]) == MODEL.predict(X[200:]))
    assert full.teacher.bytes["pickle"] == measure.pickle_bytes(MODEL)
    assert full.student.bytes["c_tables"] < full.teacher.bytes["c_tables"]
    assert full.student.structure["trees"] == 5
    assert set(full.teacher.speed_us) == {"batch", "single", "own_batch", "own_single"}
    assert set(full.student.speed_us) == {"batch", "single"}


def test_answers_on_rows_unseen_take_the_place_of_those_on_rows_seen(pair):
    teacher, student = pair
    unseen = np.full((100, 2), 0.5)
    unseen[:, 0] += 0.1
    data = Data(teacher.rows(X[200:]), CODES[200:], teacher=unseen)
    report = make_report(teacher, student, data, student_answers=1 - unseen)
    share = float(np.mean(CODES[200:] == 0))
    assert (share, 1 - share) == pytest.approx(report.score)


def test_without_labels_there_are_no_scores_but_agreement(pair):
    teacher, student = pair
    report = make_report(
        teacher, student, Data(teacher.rows(X[200:])), reference="agreement with the teacher"
    )
    assert (report.teacher.scores, report.score) == ({}, None)
    assert "equal labels" in str(report)
    assert "Scores" not in str(report)


def test_without_rows_there_are_sizes_only(pair):
    report = make_report(*pair, None, target="cortex-m0")
    assert (report.n_rows, report.agreement, report.score, report.student.scores) == (0, {}, None, {})
    assert [table.title for table in displays.report_tables(report) if table.rows] == ["Bytes", "Structure"]


def test_a_regression_report_has_regression_scores():
    model = RandomForestRegressor(5, max_depth=3, random_state=0).fit(X, X[:, 0])
    teacher = read(model)
    report = make_report(teacher, teacher, Data(teacher.rows(X), X[:, 0]), scoring="r2")
    assert list(report.teacher.scores) == ["r2", "rmse", "mae"]
    assert report.agreement["equal_labels"] is None
    assert "r2 0." in str(report).splitlines()[0]


def test_a_report_survives_json(full):
    assert full == Report.from_dict(json.loads(json.dumps(full.to_dict(), allow_nan=False)))
    assert str(SMALL) == str(Report.from_dict(json.loads(json.dumps(SMALL.to_dict()))))


def test_numbers_of_numpy_become_plain_ones_and_what_json_lacks_becomes_none():
    report = Report(
        Measures(scores={"accuracy": np.float64(0.5), "log_loss": float("inf")}),
        Measures(structure={"trees": np.int64(3)}),
    )
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["teacher"]["scores"] == {"accuracy": 0.5, "log_loss": None}
    assert plain["student"]["structure"] == {"trees": 3}


def test_keys_of_a_later_version_are_passed_over():
    values = {**SMALL.to_dict(), "weather": "fine"}
    values["steps"][0]["mood"] = "good"
    assert Report.from_dict(values) == SMALL


@pytest.mark.parametrize(
    "damage",
    [
        {"teacher": None},
        {"student": {"bytes": 3}},
        {"steps": [{"name": "Simplify"}]},
        {"steps": 7},
        {"score": ["high", "low"]},
        {"score": [0.1]},
        {"path": [{"bytes": "many", "score": []}]},
        {"agreement": []},
        {"n_rows": "all"},
        {"tolerance": "small"},
    ],
    ids=str,
)
def test_a_damaged_report_is_refused(damage):
    with pytest.raises(ModelFileError, match=r"the report in the file is damaged \(.*Report\.to_dict"):
        Report.from_dict({**SMALL.to_dict(), **damage})


def test_a_frame_has_a_row_for_each_measure(full):
    frame = full.to_frame()
    assert list(frame.columns) == ["group", "measure", "teacher", "student"]
    row = frame[(frame.group == "scores") & (frame.measure == "roc_auc")].iloc[0]
    assert row.teacher == full.teacher.scores["roc_auc"]
    assert row.student == full.student.scores["roc_auc"]
    assert set(frame.group) == {"bytes", "structure", "scores", "speed_us", "agreement"}


def test_a_frame_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError) as raised:
        SMALL.to_frame()
    assert str(raised.value) == 'Report.to_frame needs pandas: pip install "ensemble-compress[frames]"'


class Reader(HTMLParser):
    """Text and tags; every tag has to close."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_html_is_whole_escaped_and_stands_alone(full):
    html = full._repr_html_()
    reader = Reader(html)
    assert reader.open == []
    assert {"table", "svg", "circle"} <= set(reader.seen)
    assert set(reader.seen).isdisjoint({"maybe", "out", "script", "link", "style", "img"})
    assert "yes & <maybe>" in reader.text
    assert "watch <out> & mind [bold]brackets[/bold]" in reader.text
    assert "http" not in html


def test_the_html_shows_what_the_text_shows(full):
    cells = [cell for table in displays.report_tables(full) for row in table.rows for cell in row if cell]
    text = Reader(full._repr_html_()).text
    assert [cell for cell in cells if cell not in text] == []


def test_the_picture_marks_the_chosen_point_and_needs_two(full):
    html = full._repr_html_()
    assert html.count("<circle") == 3
    assert html.count(", chosen</title>") == 1
    assert "<svg" not in SMALL._repr_html_()


def test_a_path_of_equal_points_can_be_drawn():
    svg = displays.to_svg([displays.Point(5, 0.5, 0.0, False)] * 2, "accuracy")
    assert "nan" not in svg


def test_a_long_path_is_thinned_and_keeps_the_chosen_point():
    path = tuple(PathPoint(1000 - i, 0.9, 0.01, i == 333) for i in range(500))
    text = str(replace(SMALL, path=path))
    assert "Path (13 of 500 points)" in text
    assert "chosen    667" in text


def test_sizes_of_further_artefacts_join_the_student():
    report = SMALL.with_bytes(header=9000)
    assert report.student.bytes == {"c_tables": 480, "header": 9000}
    assert "header" in str(report)
    assert "header" not in SMALL.student.bytes
