"""The benchmark of compression: that it checks what it says, keeps what it found, and that README shows just that."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import compression
import numpy as np
import pytest
import report
from sources import ROOT

import ensemble_compress as ec

# -- the quick run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What `--quick` finds for two models from Python, and for LightGBM's file on the command line."""
    path = tmp_path_factory.mktemp("results") / "compression.json"
    # In this process, which has imported and compiled everything; and as it is run.
    of_python = ["--model", "random forest", "--model", "xgboost", "--way", "python"]
    assert compression.run(compression.parse(["--quick", *of_python, "--output", str(path)]))
    script = str(ROOT / "benchmarks" / "compression.py")
    command = [sys.executable, script, "--quick", "--model", "lightgbm", "--cli", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())["rows"]


def test_the_quick_run_measures_every_model_and_both_ways(quick):
    expected = [("random forest", "python"), ("xgboost", "python"), ("lightgbm", "cli")]
    assert expected == [(row["model"], row["way"]) for row in quick]
    for row in quick:
        assert (row["data"], row["n_train"], row["n_test"]) == ("spambase", 900, 300)
        assert 0 < row["bytes_after"]["c_tables"] < row["bytes_before"]["plain_c_tables"]
        assert row["leaves"][1] <= row["leaves"][0]
        assert 0.8 < row["score_after"] < 1
        assert 0.8 < row["score_before"] < 1
        assert row["c_labels_that_differ"] <= 2
        assert min(row["speed_us"].values()) > 0


def test_a_row_says_where_and_with_what_it_was_measured(quick):
    for row in quick:
        assert {"time", "commit", "machine", "versions"} == set(row["run"])
        assert row["run"]["versions"]["numpy"] == np.__version__
        assert row["run"]["versions"]["ensemble-compress"] == ec.__version__
        assert row["run"]["machine"]["cores"] >= 1
        assert row["seed"] == 0
        assert (len(row["seconds"]), len(row["cpu_seconds"])) == (1, 1)
        assert row["cpu_seconds"][0] > 0.1


def test_a_model_in_memory_is_judged_by_clones_and_a_file_in_sample(quick):
    expected = {"python": "cross-fitted clones", "cli": "in-sample"}
    assert [expected[row["way"]] for row in quick] == [row["reference"] for row in quick]


# -- its checks --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """(model, its forest, rows) of a booster on adult, whose rows hold categories and missing cells."""
    rows = compression.load_rows("adult", "lightgbm", max_rows=1500)
    model = compression.make_model("lightgbm", "binary", compression.QUICK).fit(rows.X, rows.y)
    return model, ec.read(model), rows


def test_text_levels_are_categories_for_boosters_and_numbers_for_forests(trained):
    as_levels = trained[2].X_test
    as_codes = compression.load_rows("adult", "random forest", max_rows=1500).X_test
    assert as_levels["education"].dtype == "category"
    assert as_codes["education"].dtype == np.float64
    assert as_levels["workclass"].isna().tolist() == as_codes["workclass"].isna().tolist()
    assert as_levels["workclass"].isna().any()
    expected = as_levels["education"].cat.categories[as_codes["education"].astype(int)]
    assert list(expected) == list(as_levels["education"])


def test_rows_for_compression_and_rows_for_the_test_are_different_rows(trained):
    rows = trained[2]
    assert (len(rows.X), len(rows.X_test)) == (1125, 375)
    assert not set(map(tuple, rows.X.to_numpy(str))) & set(map(tuple, rows.X_test.to_numpy(str)))


def test_a_forest_that_reads_right_passes(trained):
    model, forest, rows = trained
    compression.check_reading("lightgbm", model, forest, rows.X_test)


def test_one_wrong_leaf_fails(trained):
    model, forest, rows = trained
    thresholds = forest.nodes.threshold.copy()
    split = int(np.flatnonzero((forest.nodes.feature >= 0) & (forest.nodes.category_set < 0))[0])
    thresholds[split] = np.inf
    wrong = replace(forest, nodes=forest.nodes._replace(threshold=thresholds))
    with pytest.raises(
        compression.WrongAnswerError, match=r"leaves of the lightgbm differ on \d+ of 375 rows"
    ):
        compression.check_reading("lightgbm", model, wrong, rows.X_test)


def test_right_leaves_with_wrong_values_fail(trained):
    model, forest, rows = trained
    with pytest.raises(compression.WrongAnswerError, match="labels of the lightgbm differ on"):
        compression.check_reading("lightgbm", model, forest.with_values(-forest.values), rows.X_test)


def test_artefacts_that_answer_alike_pass_and_others_fail(trained, tmp_path, monkeypatch):
    model, _, rows = trained
    small = ec.pack(model)
    assert compression.check_artefacts(small, rows.X_test, tmp_path) == 0
    other = ec.CompressedModel(small.forest.with_values(small.forest.values * 2))
    monkeypatch.setattr(ec, "load", lambda path: other, raising=False)
    with pytest.raises(
        compression.WrongAnswerError, match=r"margins of the \.forest file differ on 375 of 375"
    ):
        compression.check_artefacts(small, rows.X_test, tmp_path)


def test_repeats_that_give_different_models_fail(trained):
    models = iter([ec.pack(trained[0]), ec.CompressedModel(trained[1].take([0]))])
    with pytest.raises(compression.WrongAnswerError, match="the same call gave different models"):
        compression._timed(lambda: next(models), repeats=2)


def test_a_failure_of_one_model_is_said_and_does_not_stop_the_others(monkeypatch, capsys):
    asked = []

    def fail(data, model, *others):
        asked.append(model)
        raise compression.WrongAnswerError("leaves differ")

    monkeypatch.setattr(compression, "measure_case", fail)
    assert not compression.run(compression.parse(["--quick"]))
    assert list(compression.MODELS) == asked
    assert "spambase xgboost failed" in capsys.readouterr().out


# -- its numbers -------------------------------------------------------------------------------------------------


def test_the_error_of_a_change_of_accuracy_is_that_of_a_paired_mean():
    y = np.array([0, 1, 1, 0])
    before, after = np.array([0, 1, 1, 1]), np.array([1, 1, 1, 1])  # one hit of four becomes a miss
    assert compression.change_error(y, before, after, True) == pytest.approx(0.25)


def test_the_error_of_a_change_of_r2_is_the_spread_over_draws_of_the_rows():
    random = np.random.default_rng(0)
    y = random.normal(size=400)
    before, after = y + 0.3 * random.normal(size=400), y + 0.5 * random.normal(size=400)
    stated = compression.change_error(y, before, after, False)
    draws = random.integers(0, 400, (2000, 400))
    gain = (before - y) ** 2 - (after - y) ** 2
    assert stated == pytest.approx((gain[draws].mean(axis=1) / y.var()).std(), rel=0.1)


# -- results and tables ------------------------------------------------------------------------------------------


def made_up_row(data="adult", model="xgboost", way="python", **others):
    row = {
        "data": data,
        "model": model,
        "way": way,
        "tolerance": 0.005,
        "bytes_before": {"library_file": 9_000_000, "pickle": 9_100_000, "plain_c_tables": 2_000_000},
        "bytes_after": {"c_tables": 4_000},
        "leaves": [12_345, 210],
        "score_before": 0.9,
        "score_after": 0.898,
        "change_error": 0.001,
        "seconds": [9.0, 11.0, 10.0],
        "cpu_seconds": [17.0, 18.0, 19.0],
        "speed_us": {"before": 4.0, "after": 0.5},
        "run": {
            "commit": "abc",
            "machine": {"processor": "Z80", "cores": 2},
            "versions": {"python": "3.11", "pandas": "3"},
        },
    }
    return {**row, **others}


def test_a_row_takes_the_place_of_its_older_self_and_the_order_is_that_of_the_table(tmp_path):
    path = tmp_path / "found.json"
    for data, model, seconds in (
        *(("letter", "xgboost", 1.0), ("adult", "lightgbm", 2.0), ("adult", "xgboost", 3.0)),
        *(("magic", "xgboost", 4.0), ("letter", "xgboost", 5.0)),
    ):
        compression.merge(path, made_up_row(data, model, seconds=[seconds]))
    rows = json.loads(path.read_text())["rows"]
    expected = [("adult", 3.0), ("adult", 2.0), ("letter", 5.0), ("magic", 4.0)]
    assert expected == [(row["data"], row["seconds"][0]) for row in rows]


def test_a_line_of_the_table_says_what_the_row_says():
    table = report.compression_table([made_up_row()])
    expected = (
        "| adult, XGBoost, Python | 9 MB | 2 MB | 4 kB | 500x | 12,345 → 210 | 0.9000 → 0.8980 | -0.0020 ± 0.0010"
        " | 10 (18) | 4 → 0.5 |"
    )
    assert expected in table.splitlines()
    assert "Measured on Z80, 2 cores with python 3.11, at commit abc" in table


def test_the_table_shows_where_it_loses():
    rows = [
        made_up_row(),
        made_up_row("letter", score_after=0.88),
        made_up_row("spambase", score_after=0.8945),
        made_up_row("california", speed_us={"before": 1.0, "after": 2.0}),
    ]
    table = report.compression_table(rows)
    assert (
        "2 of them lose more than the tolerance (bold), 1 of those by more than two standard errors" in table
    )
    assert "the worst is letter, XGBoost (Python) with -0.0200" in table
    assert "1 predict more slowly than before (bold)" in table
    assert "Of the 24 cases 20 are not measured yet." in table
    assert table.count("**") == 2 * 3
    assert "**-0.0200 ± 0.0010**" in table
    assert "**1 → 2**" in table


def test_a_table_goes_between_its_markers_and_nothing_else_changes():
    text = "a\n<!-- table: compression -->\nold\nlines\n<!-- end -->\nb <!-- end -->\n"
    expected = "a\n<!-- table: compression -->\nNEW\n<!-- end -->\nb <!-- end -->\n"
    filled = report.fill(text, {"compression": "NEW"})
    assert expected == filled
    assert expected == report.fill(filled, {"compression": "NEW"})
    with pytest.raises(KeyError, match="no table is called 'other'"):
        report.fill(text.replace("compression", "other"), {"compression": "NEW"})


def test_the_readme_shows_the_results_that_lie_here():
    text = (ROOT / "README.md").read_text()
    assert re.findall("<!-- table: ([a-z]+) -->", text) == list(report.TABLES)
    assert report.fill(text, report.make_tables()) == text, "run python benchmarks/report.py"
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert re.findall("<!-- table: ([a-z]+) -->", text) == list(report.OTHER_TABLES)
    assert report.fill(text, report.make_tables()) == text, "run python benchmarks/report.py"


def test_the_results_are_of_full_models_at_commits_that_can_be_found_again():
    rows = report.load_rows("compression")
    cases = [(d, m, w) for d in compression.DATA for m in compression.MODELS for w in compression.WAYS]
    measured = [(row["data"], row["model"], row["way"]) for row in rows]
    assert [case for case in cases if case in measured] == measured
    assert (report.DATA, tuple(report.MODELS)) == (compression.DATA, compression.MODELS)
    assert len(measured) > 0
    for row in rows:
        assert row["size"] == compression.FULL
        assert row["run"]["commit"]
        assert "dirty" not in row["run"]["commit"]


def test_the_picture_is_drawn_and_names_every_data_set(tmp_path: Path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.svg"
    rows = [made_up_row("adult"), made_up_row("letter", "lightgbm", "cli", score_after=0.95)]
    report.draw(rows, path)
    text = path.read_text()
    for word in ("adult", "letter", "XGBoost", "LightGBM", "500x", "plain C tables", "command line"):
        assert f"<!-- {word}" in text or word in text, word
    report.draw(rows, tmp_path / "again.svg")
    assert text == (tmp_path / "again.svg").read_text()
