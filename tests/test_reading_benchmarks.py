"""The benchmarks of reading and of hostile files: that they notice what is wrong, and keep what they found."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fuzz
import pytest
import reading
import reading_report
import report
from sources import ROOT

import ensemble_compress as ec


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux counts it")
def test_a_quick_run_reads_and_measures(tmp_path: Path) -> None:
    path = tmp_path / "reading.json"
    script = str(ROOT / "benchmarks" / "reading.py")
    options = ["--quick", "--source", "lightgbm text", "--repeats", "1", "--output", str(path)]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["source"], row["n_trees"], len(row["seconds"]), len(row["peak_bytes"])) == (
        "lightgbm text",
        20,
        1,
        1,
    )
    assert row["array_bytes"] > 37 * row["n_nodes"]
    assert min(*row["seconds"], *row["library_seconds"], *row["peak_bytes"], *row["library_peak_bytes"]) > 0


@pytest.mark.parametrize("source", list(reading.SOURCES))
def test_a_model_that_reads_wrong_is_not_timed(source: str) -> None:
    model, X = reading.train(source, reading.QUICK | {"max_rows": 600})
    forest = ec.read(model)
    reading.check(source, model, forest, X)
    with pytest.raises(reading.WrongAnswerError, match=f"margins of the {source} differ on 150 of 150 rows"):
        reading.check(source, model, forest.with_values(forest.values * 2), X)
    swapped = forest.take(range(1, forest.n_trees)) if forest.n_trees > 1 else forest
    with pytest.raises((reading.WrongAnswerError, ValueError)):
        reading.check(source, model, swapped, X)


def test_calls_take_turns_and_the_first_round_is_not_counted() -> None:
    asked: list[str] = []
    seconds = reading.take_turns([lambda: asked.append("a"), lambda: asked.append("b")], 2)
    assert asked == ["a", "b"] * 3
    assert [len(found) for found in seconds] == [2, 2]


def test_damaged_files_are_read_in_a_worker() -> None:
    found = list(fuzz.read_damaged("lgb levels.txt", 5, 8))
    assert [line["seed"] for line in found if "outcome" in line] == [5, 6, 7]
    row = fuzz.summarise("lgb levels.txt", found)
    assert (row["inputs"], row["read"] + row["refused"], row["found"]) == (3, 3, 0)


def test_a_worker_that_dies_is_a_find_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def die_once(command: list[str], **options: Any) -> Any:
        first = int(command[-2])
        asked.append(first)
        done = {"outcome": "refused", "seconds": 0.1, "peak": 5, "bytes": 7}
        lines: list[Any] = [{"size": 9}, {"begins": first}]
        if first == 0:
            lines += [{"seed": 0, **done}, {"begins": 1}]
        else:
            lines += [{"seed": first, **done}]
        text = "\n".join(map(json.dumps, lines))
        return SimpleNamespace(stdout=text, stderr="Fatal: gone", returncode=-11 if first == 0 else 0)

    monkeypatch.setattr(subprocess, "run", die_once)
    found = list(fuzz.read_damaged("a.json", 0, 3))
    assert asked == [0, 2]
    row = fuzz.summarise("a.json", found)
    assert row["finds"] == [{"seed": 1, "what": "exit code -11: Fatal: gone"}]
    assert (row["inputs"], row["refused"], row["found"]) == (3, 2, 1)
    assert "**1**" in reading_report.fuzz_table([row | {"run": {"versions": {}, "machine": {"processor": "Z80", "cores": 2}, "commit": "abc"}}])  # fmt: skip


def test_any_other_exception_is_a_find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mutations

    def fail(path: Path) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(mutations, "read", fail)
    (tmp_path / "model.txt").write_bytes(b"abc")
    result = fuzz._try(tmp_path / "model.txt")
    assert result["outcome"] == "found"
    assert result["what"].startswith("KeyError: 'x' (test_reading_benchmarks.py:")


def test_the_results_that_lie_here_are_whole() -> None:
    rows = report.load_rows("fuzz")
    assert sum(row["inputs"] for row in rows) >= fuzz.INPUTS
    assert [row["finds"] for row in rows if row["finds"]] == []
    measured = report.load_rows("reading")
    assert [row["source"] for row in measured] == list(reading.SOURCES)
    for row in measured:
        assert row["size"] == reading.FULL
    for row in rows + measured:
        assert "dirty" not in row["run"]["commit"]
