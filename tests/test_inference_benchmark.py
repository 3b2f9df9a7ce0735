"""The benchmarks of predictions and of ARM: that they compare before they time, that rows stay fresh, and that the tables show the misses."""

import json
from dataclasses import fields, replace
from types import SimpleNamespace

import arm
import arm_check
import arm_report
import inference
import inference_engine
import inference_limits
import inference_models
import inference_peers
import inference_report
import inference_worker
import numpy as np
import pytest

from ensemble_compress.engines import bit_layout
from ensemble_compress.forest import Forest

# -- the quick run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A small XGBoost of several classes, trained as `--quick` does."""
    return inference_models.prepare("letter", tmp_path_factory.mktemp("models"), is_quick=True)


def test_a_model_is_trained_once_and_read_from_the_folder_then(case):
    again = inference_models.prepare("letter", case.folder.parent, is_quick=True)
    assert case.forest == again.forest
    assert np.array_equal(case.pool, again.pool)


def test_mixed_rows_have_every_value_from_rows_of_one_class():
    X = np.arange(12, dtype=np.float32).reshape(6, 2)
    rows = inference_models.mixed(X, np.array([1, 0, 1, 0, 1, 0]), 200)
    allowed = [{0, 4, 8}, {1, 5, 9}], [{2, 6, 10}, {3, 7, 11}]
    for row in rows.tolist():
        assert any(row[0] in first and row[1] in second for first, second in allowed)
    assert len(np.unique(rows, axis=0)) > 6


def test_an_engine_that_answers_wrong_is_not_timed_and_one_of_ours_stops_the_run(case):
    right = inference_peers.ours(case, 1)
    wrong = inference_engine.Engine("a peer", lambda rows: case.forest.margin(rows) + np.float32(0.001))
    engines, compared, found = inference.compare_all(case, [right, wrong])
    assert ["ours"] == [engine.name for engine in engines] == list(compared)
    assert compared["ours"]["largest_difference"] == 0
    n_rows = compared["ours"]["rows"]
    assert f"a peer differs from us on {n_rows} of {n_rows} rows of letter, by 0.001" in found["a peer"]
    ours_wrong = inference_engine.Engine("our .so", wrong.run, tolerance=0.0)
    with pytest.raises(inference.WrongAnswerError, match=r"our \.so differs from us"):
        inference.compare_all(case, [ours_wrong])


def test_one_nan_among_the_answers_is_a_difference(case):
    def run(rows):
        margin = case.forest.margin(rows)
        margin[7, 3] = np.nan
        return margin

    with pytest.raises(inference.WrongAnswerError, match="differs from us on 1 of"):
        inference.compare(case, inference_engine.Engine("a peer", run))


def test_the_shared_library_and_the_library_itself_answer_as_we_do(case):
    pytest.importorskip("xgboost")
    engines = [inference_peers.our_library(case, 2), inference_peers.xgboost_inplace(case, 1)]
    for engine in engines:
        assert inference.compare(case, engine)["largest_difference"] <= inference_engine.SINGLE


def test_who_is_not_installed_is_named_and_the_others_answer(case, monkeypatch):
    def missing(case, n_threads):
        raise ModuleNotFoundError("No module named 'x'\nmore")

    monkeypatch.setitem(inference_peers.PEERS, "letter", (inference_peers.ours, missing))
    engines, absent = inference_peers.engines(case, 1)
    assert [engine.name for engine in engines] == ["ours"]
    assert absent == {"missing": "ModuleNotFoundError: No module named 'x'"}


# -- rows and turns ----------------------------------------------------------------------------------------------


def recording(name, seen, seconds):
    """An engine that notes where in the pool it was asked."""

    def time(pool, start, n_rows, calls):
        seen.append((name, start, n_rows * calls))
        return seconds * calls

    return SimpleNamespace(name=name, most_rows=None, seconds=time)


def test_rows_come_again_only_when_the_pool_is_used_up_and_then_as_other_blocks():
    cursor = inference.Cursor(1_000_000)
    starts = [cursor.take(60_000) for _ in range(40)]
    assert len(starts) == len(set(starts))
    blocks = np.sort(starts[:16])
    assert np.diff(blocks).min() >= 60_000
    assert max(starts) + 60_000 <= 1_000_000


def test_all_engines_of_a_turn_get_the_same_rows_in_changing_order():
    seen = []
    engines = [recording(name, seen, 0.05) for name in ("ours", "our .so", "a peer")]
    us = inference.take_turns(np.empty((100_000, 1)), engines, 32, 3, inference.Cursor(100_000))
    assert us["ours"] == [0.05 / 32 * 1e6] * 3
    turns = [seen[6 + 3 * turn : 9 + 3 * turn] for turn in range(3)]
    assert [len({start for _, start, _ in turn}) for turn in turns] == [1, 1, 1]
    assert len({turn[0][1] for turn in turns}) == 3
    assert [turn[0][0] for turn in turns] == ["ours", "our .so", "a peer"]


def test_a_slow_peer_sits_out_but_we_never_do():
    engines = [recording(name, [], s) for name, s in (("ours", 9.0), ("fast", 1.0), ("slow", 5.0))]
    us = inference.take_turns(np.empty((9, 1)), engines, 1, 6, inference.Cursor(10_000))
    assert [found is None for found in us["slow"]] == [False, True, True, False, True, True]
    assert None not in us["ours"] + us["fast"]


def test_a_hopeless_peer_is_not_asked_for_large_calls_unless_it_trained_the_model():
    us = {"ours": [99.0], "fast": [1.0], "hopeless": [11.0, None], "LightGBM": [30.0], "fair": [9.0]}
    engines = [SimpleNamespace(name=name) for name in [*us, "single row only"]]
    expected = ["ours", "fast", "LightGBM", "fair"]
    assert expected == [engine.name for engine in inference.hopeful(engines, us)]


def test_slices_go_on_at_the_beginning_of_the_pool():
    pool = np.arange(5.0)[:, None]
    found = inference_worker.slices(pool, 3, 2, 2, "float32")
    assert [part[:, 0].tolist() for part in found] == [[3.0, 4.0], [0.0, 1.0]]
    assert np.float32 == found[0].dtype


# -- limits ------------------------------------------------------------------------------------------------------


def test_tests_are_counted_as_the_engine_lays_them_out(tmp_path):
    found = {}
    for name in arm.MODELS:
        forest, _ = arm.make_case(name, tmp_path / "forest.npz")
        laid_out = bit_layout.lay_out(
            forest.nodes, forest.category_sets, forest.tree_start, forest.tree_output, forest.values
        )
        if laid_out is not None:
            found[name] = len(laid_out.column), inference_limits.count_tests(forest)
    assert len(found) >= 4
    for laid_out_tests, counted in found.values():
        assert laid_out_tests == counted > 0


def test_a_clock_is_that_of_a_processor():
    assert 0.05 < inference_limits.clock(50_000) < 10


# -- tables ------------------------------------------------------------------------------------------------------


def made_up_row(shape="lightgbm", threads=1, ours=(1.0, 1.0, 1.0), peer=(5.0, 4.5, 6.0), targets=None):
    us = {"ours": list(ours), "our .so": [1.5, 1.5, 1.5], "lleaves": list(peer), "slow": [50.0, None, None]}
    same = {"compared": "margin", "largest_difference": 0.0, "rows_that_differ": 0}
    off = {"compared": "probability", "largest_difference": 0.02, "rows_that_differ": 2}
    return {
        "shape": shape,
        "title": inference_models.SHAPES[shape].title,
        "threads": threads,
        "targets": {"60000": 4.0} if targets is None else targets,
        "us": {"1": us, "60000": us},
        "answers": {
            "ours": same,
            "our .so": same,
            "lleaves": off,
            "slow": {"compared": "nothing: another model"},
        },
        "absent": {"tl2cgen": "too large"},
        "limit": {"kind": "cache", "us": 0.5},
        "run": {
            "commit": "abc",
            "machine": {"processor": "Z80", "cores": 1},
            "versions": {"python": "3.11"},
            "lleaves": {"lleaves": "1.3"},
        },
    }


def test_a_ratio_is_that_of_one_turn_and_its_fastest_peer():
    row = made_up_row(ours=[1.0, 2.0, 1.0], peer=[5.0, 4.0, 60.0])
    assert inference_report.ratios(row["us"]["60000"]) == [5.0, 2.0, 60.0]


def test_a_line_of_the_table_says_what_the_row_says():
    rows = [made_up_row(), made_up_row(threads=2, ours=(0.5, 0.5, 0.5))]
    expected = (
        "| LightGBM 1,000 x 31 leaves | 1.00 | **1.50** | lleaves 5.00 | 5.00 (4.75 to 5.50) | 4 | 2.00x"
        " | 0.50 (cache), 2.0x |"
    )
    table = inference_report.inference_table(rows)
    assert expected in table.splitlines()
    assert "Of 1 targets 1 are met, 0 missed (bold). Nowhere here is a peer faster." in table
    assert "Measured on Z80, 1 core(s) with python 3.11, lleaves 1.3, at commit abc" in table


def test_the_table_shows_where_a_target_is_missed_and_where_a_peer_is_faster():
    rows = [
        made_up_row(peer=(3.0, 3.0, 3.0)),
        made_up_row(threads=2, ours=(0.9, 0.9, 0.9)),
        made_up_row("forest10", ours=(9.0, 9.0, 9.0), targets={"60000": 6.0, "1": 1.5}),
    ]
    table = inference_report.inference_table(rows)
    assert "Of 3 targets 0 are met, 3 missed (bold)." in table
    assert "A peer is faster at: RandomForest 200 x depth 10; one row, RandomForest 200 x depth 10." in table
    assert "**3.00 (3.00 to 3.00)** | 4 | **1.11x**" in table
    assert table.count("| **0.56 (0.53 to 0.61)** |") == 2


def test_the_table_of_all_engines_names_the_absent_and_the_inexact():
    table = inference_report.engines_table([made_up_row()])
    assert "| LightGBM 1,000 x 31 leaves | ours | 1 (1 to 1) | 1 (1 to 1) |  | 0 (margin) |" in table
    assert "0.02 (probability), 2 rows off |" in table
    assert "| slow | 50 (50 to 50) | 50 (50 to 50) |  | another model |" in table
    assert "LightGBM 1,000 x 31 leaves, not there: tl2cgen (too large)" in table


def test_the_picture_is_drawn_and_names_every_shape_and_the_fastest_peer(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [made_up_row(), made_up_row("forest10", targets={"60000": 6.0, "1": 1.5})]
    inference_report.draw(rows, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    for word in ("LightGBM 1,000 x 31 leaves", "one row, RandomForest", "lleaves", "5.0x, target 6x"):
        assert f"<!-- {word}" in text, word
    inference_report.draw(rows, tmp_path / "again.svg")
    assert text == (tmp_path / "again.svg").read_text()


def test_a_row_takes_the_place_of_its_older_self(tmp_path):
    path = tmp_path / "found.json"
    for shape, threads, ours in (
        ("xgboost", 1, 1.0),
        ("lightgbm", 2, 2.0),
        ("lightgbm", 1, 3.0),
        ("xgboost", 1, 4.0),
    ):
        inference.merge(path, made_up_row(shape, threads, ours=(ours,)))
    rows = json.loads(path.read_text())["rows"]
    expected = [("lightgbm", 1, 3.0), ("lightgbm", 2, 2.0), ("xgboost", 1, 4.0)]
    assert expected == [(row["shape"], row["threads"], row["us"]["1"]["ours"][0]) for row in rows]


# -- ARM ---------------------------------------------------------------------------------------------------------


def test_a_forest_that_was_sent_to_the_emulator_is_the_same_there(tmp_path):
    for k, name in enumerate(arm.QUICK):
        forest, rows = arm.make_case(name, tmp_path / f"{k}.npz")
        expected = arm_check.answers(forest, rows)
        again = arm_check.answers(*arm_check.load(tmp_path / f"{k}.npz"))
        assert dict.fromkeys(expected, 0) == {p: arm_check.differing(expected[p], again[p]) for p in expected}
        assert np.array_equal(expected["margins"][: arm_check.ALONE], expected["alone"], equal_nan=True)


def test_every_field_of_a_forest_that_decides_an_answer_is_sent_to_the_emulator():
    sent = {*arm_check.FIELDS, *arm_check.SETTINGS, "nodes", "category_sets"}
    assert {field.name for field in fields(Forest)} - sent == {"classes", "feature_names", "categories"}


@pytest.mark.parametrize("name", arm.QUICK)
def test_every_engine_that_takes_the_trees_answers_as_the_forest_does(name, tmp_path):
    forest, rows = arm.make_case(name, tmp_path / "sent.npz")
    forest = replace(forest, divisor=1.0, bias_last=False)
    found = arm_check.answers(forest, rows)
    assert {"walk", "packed", "one_row"} <= set(found)
    engines = [engine for engine in arm_check.ENGINES if engine in found]
    assert [arm_check.differing(found["margins"], found[engine]) for engine in engines] == [0] * len(engines)


def test_a_lone_bit_that_differs_is_counted():
    expected = np.array([[0.0, 1.0], [2.0, np.nan]])
    assert arm_check.differing(expected, expected.copy()) == 0
    assert arm_check.differing(expected, np.array([[-0.0, 1.0], [2.0, np.nan]])) == 1


def test_a_machine_without_the_emulator_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(arm.shutil, "which", lambda name: None)
    with pytest.raises(arm.EmulationError, match="qemu-aarch64-static is not installed"):
        arm.make_machine(tmp_path)


def test_the_table_of_arm_shows_differences_in_bold():
    about = {
        "arm": {"machine": "aarch64", "emulator": "qemu 7", "processor": "generic", "vector_bits": 128, "python": "3.11", "numpy": "2", "numba": "0"},
        "run": {"commit": "abc", "machine": {"system": "Linux x86_64"}},
    }  # fmt: skip
    row = {"model": "a forest", "n_trees": 40, "n_rows": 400, "leaves_that_differ": 0, "margins_that_differ": 3, "bits_that_differ": None}  # fmt: skip
    assert "| a forest | 40 | 400 | 0 | **3** |  |" in arm_report.arm_table([row | about])
