"""Large teachers: less is tried with them, and the benchmark of scale keeps what it finds."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

import ensemble_compress as ec
from ensemble_compress import folds, paths, run
from ensemble_compress.data import Data
from ensemble_compress.paths import Candidate, Key, auto_path
from ensemble_compress.run import Run

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import report
import scale
import scale_report

X, Y = make_classification(600, 6, n_informative=4, random_state=0)
X = X.astype(np.float32)
FOREST = ec.read(RandomForestClassifier(12, random_state=0).fit(X, Y))


def candidates(way: str | None = None) -> list[Candidate]:
    every = chain.from_iterable(auto_path(FOREST, Data(X, Y), 0, lambda asked: asked == paths.GROWN))
    return [candidate for candidate in every if way in (None, candidate.key.way)]


def keys(way: str) -> list[Key]:
    return [candidate.key for candidate in candidates(way)]


def test_a_candidate_says_which_trees_it_keeps_as_they_are() -> None:
    for candidate in candidates():
        if candidate.key.way not in ("trees", "whole"):
            assert candidate.trees is None
            continue
        assert candidate.trees is not None
        part = ec.algorithms.Simplify()(FOREST).take(candidate.trees)
        n_trees = 12 if candidate.key.way == "whole" else candidate.key.size
        assert part.n_trees == n_trees == candidate.build().n_trees
        if candidate.key.finish == "as it is":
            np.testing.assert_array_equal(part.find_leaves(X), candidate.build().find_leaves(X))


def test_a_very_large_forest_is_finished_in_fewer_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {key.finish for key in keys("trees")} > {"as it is", "thresholds shared", "8 bits"}
    monkeypatch.setattr(paths, "LARGEST_FINISHED", 50)
    assert {key.finish for key in keys("trees") if key.size > 2} == {"as it is", "8 bits"}
    assert {key.finish for key in keys("whole")} == {"8 bits"}


def test_where_an_order_of_trees_costs_too_much_the_first_ones_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "LARGEST_ORDER", 12**2 * 600 * 2 - 1)
    trees = candidates("trees")
    assert trees
    for candidate in trees:
        np.testing.assert_array_equal(np.arange(candidate.key.size), candidate.trees)
        assert candidate.stages[0][0] == ec.algorithms.PruneTrees(n_trees=candidate.key.size, method="first")


def test_students_may_be_larger_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.largest_grown(FOREST, Data(X, Y)) == FOREST.n_leaves - 1
    monkeypatch.setattr(paths, "LARGEST_GROWN", 10)
    assert paths.largest_grown(FOREST, Data(X, Y)) == 600 // paths.ROWS_OF_A_LEAF
    assert paths.largest_grown(FOREST, Data(X[:20], Y[:20])) == 20  # two outputs


def test_a_booster_on_many_rows_is_trained_again_once_for_the_rows_that_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "MANY_ROWS_TO_TRAIN", 500)
    monkeypatch.setattr(folds, "ENOUGH_TO_JUDGE", 100)
    model = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(X, Y)
    found = Run(ec.Compressor(tolerance=0.01).fit(X, Y), model)._rounds()
    (one,) = found.rounds
    assert (found.reference, one.judge.n_rows, one.fit.n_rows) == ("held-out rows", 120, 480)
    judged, fitted = ({row.tobytes() for row in part.X} for part in (one.judge, one.fit))
    assert not judged & fitted
    again = GradientBoostingClassifier(n_estimators=5, random_state=0)
    kept = np.array([row.tobytes() not in judged for row in X])
    expected = again.fit(X[kept], Y[kept]).predict_proba(one.judge.X)
    np.testing.assert_allclose(expected, one.reference.values)


def test_ways_in_which_nothing_may_be_taken_are_not_made_from_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    def watched(teacher: Any, data: Data, *others: Any) -> Any:
        for batch in auto_path(teacher, data, *others):
            if data.n_rows == len(X):
                made.append(batch[0].key.way)
            yield batch

    monkeypatch.setattr(run, "auto_path", watched)
    monkeypatch.setattr(
        run, "worth_making", lambda verdicts, allowed: {k for k in verdicts if k.way == "trees"}
    )
    small = ec.compress(RandomForestClassifier(12, random_state=0).fit(X, Y), X, Y, tolerance=0.02)
    assert made.count("grown") <= 2  # the smallest size, after which the way is asked whether it is over
    assert small.report.steps[0].name == "PruneTrees"


def test_the_benchmark_measures_a_small_case() -> None:
    case = {"axis": "quick", "n_rows": 600, "n_trees": 3, "tree_leaves": 8, "max_samples": None}
    pytest.importorskip("resource")
    row = {
        **case,
        "seconds": 3.2,
        "processor_seconds": 2.5,
        "peak_bytes": 2_000_000,
        "peak_before": 1_000_000,
    }
    row |= {
        "n_leaves": 24,
        "student_leaves": 5,
        "bytes": 300,
        "student_bytes": 100,
        "score": 0.9,
        "student_score": 0.88,
    }
    row |= {"test_rows": 0, "test_score": None, "student_test_score": None}
    row["run"] = {"versions": {"python": "3"}, "machine": {"processor": "Z80", "cores": 2}, "commit": "abc"}
    table = scale_report.scale_table([row])
    assert "| 600 | 3 | 24 | 3 | 2 | 2 MB | 1 MB | 100 bytes | 3.0x | 0.9000 | 0.0200 | - |" in table
    assert scale_report.scale_table([]) == "Not measured yet."


def test_cases_are_kept_in_their_order_and_replaced_by_newer_ones(tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    last, first = scale.LARGE[0] | {"n_rows": 581_012, "seconds": 1}, scale.ROWS[0] | {"seconds": 2}
    scale.keep(path, [last])
    scale.keep(path, [first | {"seconds": 9}])
    scale.keep(path, [first])
    assert json.loads(path.read_text())["rows"] == [first, last]


def test_the_results_that_lie_here_keep_the_goal() -> None:
    rows = report.load_rows("scale")
    large = [row for row in rows if row["axis"] == "large"]
    for row in large:
        assert row["n_rows"] >= 580_000
        assert row["n_nodes"] >= 5_000_000
        assert row["seconds"] < 600
        assert row["peak_bytes"] < 8_000_000_000
    for row in rows:
        assert "dirty" not in row["run"]["commit"]
    assert large
