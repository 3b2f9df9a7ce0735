"""docs/coverage.md says what is found by training and reading, and what it calls exact is compared with the model's own library."""

import difflib
from dataclasses import replace

import coverage_table
import hard_rows
import kinds
import numpy as np
import proof
import pytest
import source_answers
from coverage_table import Cell, Row

from ensemble_compress import predict
from ensemble_compress.nodes import set_codes

ROWS = coverage_table.rows_of()


def proven_rows(row: Row, cell: Cell) -> np.ndarray:
    return hard_rows.make_rows(
        cell.forest,
        cell.task.X,
        cell.task.categorical,
        accepts=source_answers.acceptance(row.kind, cell.task),
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row.exact_cells], ids=lambda row: row.title)
def test_every_exact_cell_answers_as_its_library_does_on_hard_rows(row: Row) -> None:
    for cell in row.exact_cells:
        rows = proven_rows(row, cell)
        answers = source_answers.ask(row.kind, cell.task, cell.model, rows)
        proof.compare_with_source(row.kind, answers, cell.forest, rows)
        assert answers.accepted.sum() >= hard_rows.N_ROWS
        assert answers.leaves.shape == (answers.accepted.sum(), cell.forest.n_trees)


def test_catboost_is_trained_on_missing_numbers_beside_categories() -> None:
    """It takes no missing category, and that is no reason to train it on no missing number."""
    for row in coverage_table.rows_of("CatBoost"):
        missing_too = row.cells[coverage_table.COLUMNS.index("both")]
        assert missing_too.state != coverage_table.NOT_OFFERED
        if missing_too.state == coverage_table.EXACT:
            task = missing_too.task
            is_missing = np.isnan(task.X).any(axis=0)
            assert [f in task.categorical for f in range(task.X.shape[1])] == list(~is_missing)
            assert (missing_too.forest.nodes.category_set >= 0).any()


def holds_the_first_category(cell: Cell) -> bool:
    sets = cell.forest.category_sets
    return any(0 in set_codes(sets, s) for s in range(len(sets.start) - 1))


@pytest.mark.parametrize(
    ("library", "kind"), [("LightGBM", "LGBM"), ("scikit-learn", "Hist"), ("XGBoost", "XGB")]
)
def test_each_library_has_a_rule_of_its_own_for_fractions_of_categories(library: str, kind: str) -> None:
    row, cell = next(
        (row, cell)
        for row in coverage_table.rows_of(library)
        if row.kind.name.startswith(kind)
        for cell in row.exact_cells
        if holds_the_first_category(cell)
    )
    hard = proven_rows(row, cell)
    answers = source_answers.ask(row.kind, cell.task, cell.model, hard)
    taken = hard[answers.accepted]
    fits = {
        rule: (answers.leaves == replace(cell.forest, category_rule=rule).apply(taken)).all()
        for rule in predict.CATEGORY_RULES
    }
    assert fits == {rule: rule == cell.forest.category_rule for rule in predict.CATEGORY_RULES}


def test_the_page_says_what_was_found() -> None:
    expected, actual = coverage_table.make_page(), coverage_table.PAGE.read_text()
    changes = "\n".join(difflib.unified_diff(actual.splitlines(), expected.splitlines(), lineterm="", n=0))
    assert expected == actual, f"run {coverage_table.COMMAND}\n{changes}"


def test_the_page_holds_every_library_and_both_answers() -> None:
    text = coverage_table.PAGE.read_text()
    for library in ("scikit-learn", "XGBoost", "LightGBM", "CatBoost", "Treelite"):
        assert f"\n## {library}\n" in text
    assert text.count("| exact ") > 200
    assert "refused (1)" in text


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CatBoostRanker, one-hot categories", "exact"),
        ("CatBoostClassifier, MultiClassOneVsAll", "exact"),
        ("CatBoostClassifier, Focal", "exact"),
        (
            "CatBoostRegressor, RMSEWithUncertainty",
            "its two outputs, mean and variance, have different links",
        ),
        ("CatBoostClassifier, text features", "has text features, which cannot be read"),
        ("BaggingClassifier, of random forests", "fit one RandomForestClassifier of all the trees"),
        ("LGBMClassifier, sigmoid=0.7", "exact"),
        ("XGBClassifier, missing=0", "a forest knows only NaN: fit it with missing=np.nan"),
        ("Model, from IsolationForest", "pass the scikit-learn model that it was made from"),
        ("Model, from LGBMClassifier, sigmoid=0.7", "exact"),
        ("Model, from XGBClassifier", "tells several labels a row"),
        ("Model, built with a test for equality", "make it a categorical test, or two tests with <= and <"),
        ("TransformedTargetRegressor", "pass its regressor_, and transform the predictions yourself"),
        ("ClassifierChain", "fit one classifier a label"),
    ],
)
def test_the_page_has_a_line_for(line: str, answer: str) -> None:
    cells = [row.cells[0] for row in ROWS if row.kind.name == line]
    assert any(answer in (cell.reason or cell.state) for cell in cells)
    assert f"| {line} |" in coverage_table.PAGE.read_text()


def test_an_error_in_unknown_words_is_no_refusal_of_the_librarys() -> None:
    def fit(task: kinds.Task, size: kinds.Size) -> None:
        raise ValueError("a mistake of ours")

    kind = kinds.Kind("scikit-learn", "Broken", fit, ("binary",))
    with pytest.raises(RuntimeError, match="Broken on binary failed in words that are not known"):
        coverage_table.find_cell(kind, "binary", False, False)


def test_hard_rows_hold_every_threshold_its_neighbours_and_the_ends() -> None:
    row = next(row for row in ROWS if row.kind.name == "XGBClassifier")
    cell = row.exact_cells[-1]
    rows, nodes = proven_rows(row, cell), cell.forest.nodes
    numeric = (nodes.feature >= 0) & (nodes.category_set < 0)
    assert numeric.any()
    for f, threshold in zip(nodes.feature[numeric], nodes.threshold[numeric], strict=True):
        at = np.float32(threshold)
        around = [at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))]
        assert np.isin(around, rows[:, f]).all()
    for column in rows.T:
        zeros = column[column == 0]
        assert np.signbit(zeros).any()
        assert not np.signbit(zeros).all()
        assert np.isnan(column).any()
        assert np.isinf(column).any()
        assert (np.abs(column[column != 0]) < np.finfo(np.float32).tiny).any()
    codes = rows[:, list(cell.task.categorical)]
    assert ((codes < 0) & (codes == np.floor(codes))).any()
    assert (codes > 0).any()
    assert (codes != np.floor(codes)).any()


def test_rows_of_a_model_without_a_rule_for_missing_values_hold_none() -> None:
    row = next(row for row in ROWS if row.kind.name == "GradientBoostingRegressor, huber")
    rows = proven_rows(row, row.exact_cells[0])
    assert not row.exact_cells[0].forest.handles_nan
    assert not np.isnan(rows).any()
