"""The benchmark of exactness: it compares what it says, fails where something is wrong, and docs/exactness.md shows what it found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import exactness
import exactness_page
import kinds
import numpy as np
import proof
import pytest
import report

import ensemble_compress as ec


@pytest.fixture(scope="module")
def task() -> kinds.Task:
    return exactness.load_task("adult", 400)


def kind_of(name: str) -> kinds.Kind:
    return next(kind for kind in kinds.all_kinds() if kind.name == name)


@pytest.mark.parametrize("name", ["XGBClassifier", "LGBMClassifier", "RandomForestClassifier"])
def test_a_row_says_what_was_compared(name: str, task: kinds.Task) -> None:
    row = exactness.prove("adult", kind_of(name), task, kinds.SMALL, 500)
    assert (row["data"], row["model"], row["n_real"], row["trees"]) == ("adult", name, 400, 5)
    assert row["categories"] == (name != "RandomForestClassifier")
    assert row["missing"]
    assert row["n_rows"] >= 900
    assert row["n_leaves"] > 900 * 5 * 0.5
    assert (row["margin_ulp"], row["treelite_ulp"]) == (0.0, 0.0)
    assert row["n_oracle"] == proof.N_ORACLE
    assert set(row["run"]["versions"]) >= {"numpy", "treelite", "ensemble-compress"}


def test_a_wrong_reading_fails_and_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = ec.read

    def wrong(model: Any) -> Any:
        forest = real(model)
        return replace(forest, bias=forest.bias + 1) if "LGBM" in type(model).__name__ else forest

    monkeypatch.setattr(exactness.ec, "read", wrong, raising=False)
    monkeypatch.setattr(exactness, "N_HARD", {True: 300})
    chosen = ["--model", "LGBMClassifier", "--model", "XGBClassifier"]
    assert not exactness.run(exactness.parse(["--quick", *chosen]))
    said = capsys.readouterr()
    assert "spambase LGBMClassifier failed" in said.out
    assert "margins differ by" in said.err
    assert "leaves equal, margins 0 ulp" in said.out


def test_an_unread_kind_is_said_to_be_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(model: Any) -> Any:
        raise ec.errors.UnsupportedModelError("not this one")

    monkeypatch.setattr(exactness.ec, "read", refuse, raising=False)
    assert exactness.run(exactness.parse(["--quick", "--model", "XGBClassifier"]))
    assert "refused: not this one" in capsys.readouterr().out


def test_a_row_takes_the_place_of_its_older_self(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    for data, model, number in (("letter", "b", 1), ("adult", "a", 2), ("letter", "b", 3), ("other", "a", 4)):
        exactness.merge(path, {"data": data, "library": "XGBoost", "model": model, "number": number})
    assert [row["number"] for row in json.loads(path.read_text())["rows"]] == [2, 3, 4]


def test_every_kind_of_the_benchmark_is_in_the_registry() -> None:
    names = [kind.name for kind in kinds.all_kinds()]
    for chosen in exactness.KINDS.values():
        assert set(chosen) <= set(names)
    assert len(names) == len(set(names))


def test_labels_of_many_classes_keep_their_order() -> None:
    y = np.array([3, 0, 25, 1])
    labels = kinds.labels_of(kinds.Task("multi-class", np.zeros((4, 1)), y))
    np.testing.assert_array_equal(np.argsort(y), np.argsort(labels))


def test_the_page_shows_the_results_that_lie_here() -> None:
    rows = report.load_rows("exactness")
    assert exactness_page.make_page(rows) == exactness_page.PAGE.read_text(), f"run {exactness_page.COMMAND}"
    for row in rows:
        assert row["size"] == exactness.FULL._asdict()
        assert "dirty" not in row["run"]["commit"]
        assert row["n_rows"] >= 10_000
