"""Every backend gives the same bits on the same hard rows, for the richest model of every line of the coverage table."""

import re
from dataclasses import replace
from pathlib import Path

import coverage_table
import hard_rows
import numpy as np
import oracle
import proof
import pytest
import source_answers
from coverage_table import Row

from ensemble_compress.forest import Forest
from ensemble_compress.writers.treelite import read_treelite_margin, write_treelite_library

ROWS = coverage_table.rows_of()
READ = [row for row in ROWS if row.exact_cells]


def richest(row: Row) -> tuple[Forest, np.ndarray]:
    """The last model of a line that is read, and hard rows for it with the oracle's share in front."""
    cell = row.exact_cells[-1]
    accepts = source_answers.acceptance(row.kind, cell.task)
    rows = hard_rows.make_rows(cell.forest, cell.task.X, cell.task.categorical, accepts=accepts)
    return cell.forest, np.random.default_rng(1).permutation(rows)


@pytest.mark.parametrize("row", READ, ids=lambda row: row.title)
def test_engine_oracle_library_and_treelite_give_the_same_bits(row: Row, tmp_path: Path) -> None:
    forest, rows = richest(row)
    proof.compare_oracle(oracle, forest, rows[: proof.N_ORACLE])
    assert {"packed", "one_row"} <= {*proof.compare_engines(forest, rows)}
    proof.compare_shared_library(forest, rows, tmp_path)
    if proof.has_treelite_link(forest):
        proof.compare_treelite(forest, rows)


def test_the_c_headers_of_all_lines_give_pythons_integers() -> None:
    proof.compare_headers({f"m{n}": richest(row) for n, row in enumerate(READ)})


def kinds_of_code() -> list[Row]:
    """A line of each library, type of rows, number of outputs and width of leaves, with categories where there are some."""
    chosen: dict[tuple[object, ...], Row] = {}
    for row in READ:
        if proof.has_treelite_link(row.exact_cells[-1].forest):
            forest = row.exact_cells[-1].forest
            has_sets = bool((forest.nodes.category_set >= 0).any())
            key = (
                row.kind.library,
                forest.x_dtype,
                forest.n_outputs > 1,
                forest.values.shape[1] > 1,
                has_sets,
            )
            chosen.setdefault(key, row)
    return list(chosen.values())


@pytest.mark.parametrize("row", kinds_of_code(), ids=lambda row: row.title)
def test_what_tl2cgen_compiles_gives_the_same_bits(row: Row, tmp_path: Path) -> None:
    forest, rows = richest(row)
    path = write_treelite_library(forest, tmp_path / "model.treelite.so")
    assert proof.promises_bits(forest)
    proof.expect_equal(forest.margin(rows), read_treelite_margin(forest, path, rows), "margins of TL2cgen")


# -- the comparisons find what is wrong -----------------------------------------------------------------------------


@pytest.fixture
def case() -> tuple:
    """(row, cell, hard rows, what the library says of them)."""
    row = next(row for row in ROWS if row.kind.name == "LGBMClassifier")
    cell = row.exact_cells[-1]
    rows = hard_rows.make_rows(cell.forest, cell.task.X, cell.task.categorical)
    return row, cell, rows, source_answers.ask(row.kind, cell.task, cell.model, rows)


def test_a_threshold_moved_by_one_float_is_found(case: tuple) -> None:
    row, cell, rows, answers = case
    nodes = cell.forest.nodes
    numeric = np.flatnonzero((nodes.feature >= 0) & (nodes.category_set < 0))
    for end in (-np.inf, np.inf):
        threshold = nodes.threshold.copy()
        threshold[numeric] = np.nextafter(threshold[numeric], end)
        wrong = replace(cell.forest, nodes=nodes._replace(threshold=threshold))
        with pytest.raises(proof.WrongAnswerError, match=r"leaves differ on \d+ of \d+ rows"):
            proof.compare_with_source(row.kind, answers, wrong, rows)


def test_a_missing_value_that_goes_the_other_way_is_found(case: tuple) -> None:
    row, cell, rows, answers = case
    nodes = cell.forest.nodes
    wrong = replace(cell.forest, nodes=nodes._replace(nan_left=(nodes.feature >= 0) & ~nodes.nan_left))
    with pytest.raises(proof.WrongAnswerError, match="leaves differ on"):
        proof.compare_with_source(row.kind, answers, wrong, rows)


def test_a_leaf_moved_by_one_float_and_another_link_are_found(case: tuple) -> None:
    row, cell, rows, answers = case
    moved = cell.forest.with_values(np.nextafter(cell.forest.values, np.inf))
    with pytest.raises(
        proof.WrongAnswerError, match=r"margins differ by [\d.e-]+ ulp of the sum's magnitude"
    ):
        proof.compare_with_source(row.kind, answers, moved, rows)
    with pytest.raises(proof.WrongAnswerError, match=re.escape("predictions differ by")):
        proof.compare_with_source(row.kind, answers, replace(cell.forest, link_scale=1.01), rows)


@pytest.mark.parametrize("task", ["binary", "multi-class"])
@pytest.mark.parametrize(
    "name",
    [
        "LGBMClassifier",
        "XGBClassifier",
        "CatBoostClassifier, one-hot categories",
        "Model, from LGBMClassifier",
    ],
)
def test_labels_of_the_other_classes_are_found(name: str, task: str) -> None:
    row = next(row for row in READ if (row.kind.name, row.task) == (name, task))
    cell = row.exact_cells[0]
    rows = hard_rows.make_rows(cell.forest, cell.task.X, n_rows=1000)
    answers = source_answers.ask(row.kind, cell.task, cell.model, rows)
    wrong = replace(cell.forest, classes=cell.forest.classes[::-1].copy())
    with pytest.raises(proof.WrongAnswerError, match=r"labels differ on \d+ of \d+ rows"):
        proof.compare_with_source(row.kind, answers, wrong, rows)
