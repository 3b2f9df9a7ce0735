"""PruneCertified: the same class in every cell of the input space, found by walking through all of them one by one."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import zoo
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from strategies import forests, hard_numbers
from xgboost import XGBClassifier

import ensemble_compress as ec
from ensemble_compress.algorithms import PruneCertified
from ensemble_compress.algorithms.cells import count_cells, find_cells
from ensemble_compress.algorithms.decision_oracle import DecisionOracle, Scores
from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.fixed_point import emulate_labels, fixed_point
from ensemble_compress.forest import Forest

MOST_CELLS = 4000


def values_of_cells(forest: Forest, f: int) -> list[float]:
    """A value in every cell of feature `f`: of all hard numbers and codes, those that some split tells apart."""
    numbers = [*hard_numbers(forest, f).tolist(), *np.arange(-1.0, 75.0).tolist()]
    splits = [j for j in range(forest.n_nodes) if int(forest.nodes.feature[j]) == f]
    kinds: dict[tuple[bool, ...], float] = {}
    for x in numbers:
        kinds.setdefault(tuple(oracle.goes_left(forest, j, x) for j in splits), x)
    return list(kinds.values())


def every_cell(forest: Forest) -> Any:
    """A row in every cell of the input space; None where there are too many."""
    columns = [values_of_cells(forest, f) for f in range(forest.n_features)]
    if math.prod(map(len, columns)) > MOST_CELLS:
        return None
    return np.array(list(itertools.product(*columns))).reshape(-1, forest.n_features)


def classes_in(forest: Forest, rows: Any) -> list[int]:
    return oracle.class_codes(forest, oracle.margins(forest, rows))


def iris(n_features: int = 2, missing: bool = False) -> tuple[Any, Any]:
    X, y = load_iris(return_X_y=True)
    X = X[:, 4 - n_features :]
    if missing:
        X = np.where(np.random.default_rng(0).random(X.shape) < 0.15, np.nan, X)
    return X, y


def trained(name: str) -> Forest:
    """Forests of redundant trees over few cells."""
    X, y = iris()
    if name == "stumps":
        model: Any = GradientBoostingClassifier(n_estimators=8, max_depth=1, random_state=0).fit(X, y)
    elif name == "two classes":
        model = GradientBoostingClassifier(n_estimators=12, max_depth=1, random_state=0).fit(X, y > 1)
    elif name == "random forest":
        model = RandomForestClassifier(12, max_depth=2, random_state=0).fit(X, y)
    elif name == "ties":
        # Pure leaves in an even number of trees: half of them may say one class and half the other.
        model = RandomForestClassifier(8, max_features=1, random_state=3).fit(
            X[50:90], y[50:90] + (X[50:90, 0] > 4.5)
        )
    elif name == "float32":
        model = XGBClassifier(n_estimators=6, max_depth=2, n_jobs=1).fit(X, y)
    elif name == "missing":
        X, y = iris(missing=True)
        model = XGBClassifier(n_estimators=10, max_depth=1, n_jobs=1).fit(X, y > 1)
    else:
        random = np.random.default_rng(2)
        X = np.column_stack([random.integers(0, 6, 300), random.normal(size=300)])
        X[random.random(X.shape) < 0.1] = np.nan
        y = (X[:, 0] % 2 == 1) ^ (X[:, 1] > 0.5)
        options = {"max_iter": 12, "max_leaf_nodes": 3, "categorical_features": [0]}
        model = HistGradientBoostingClassifier(**options, random_state=0).fit(X, y)
    return ec.read(model)


NAMES = ("stumps", "two classes", "random forest", "ties", "float32", "missing", "categories")


@pytest.mark.parametrize("method", ["l1", "count"])
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_trained_forest_keeps_its_class(name: str, method: Any) -> None:
    forest = trained(name)
    rows = every_cell(forest)
    small, certificate = PruneCertified(method=method).certify(forest)
    assert_array_equal(classes_in(forest, rows), classes_in(small, rows))
    assert_array_equal(forest.predict(rows), small.predict(rows))
    assert len(rows) == certificate.n_cells
    assert certificate.n_trees == (forest.n_trees, small.n_trees)


@pytest.mark.parametrize("name", ["stumps", "two classes", "missing", "categories"])
def test_redundant_trees_go(name: str) -> None:
    forest = trained(name)
    by_weight, certificate = PruneCertified().certify(forest)
    by_count = PruneCertified(method="count")(forest)
    assert by_count.n_trees <= by_weight.n_trees < forest.n_trees
    assert certificate.n_calls >= 2
    assert certificate.lead > 0
    assert (
        f"same decision on all {certificate.n_cells:,} cells of the input space, {forest.n_trees} ->"
        in str(certificate)
    )


@pytest.mark.parametrize("name", ["stumps", "two classes", "categories"])
def test_the_integers_of_an_export_decide_alike(name: str) -> None:
    forest = trained(name)
    small, rows = PruneCertified()(forest), every_cell(forest)
    assert fixed_point(small).is_exact
    kept = rows if small.x_dtype == "float32" else rows[(rows.astype(np.float32) == rows).all(axis=1)]
    assert_array_equal(forest.decide(forest.margin(kept)), emulate_labels(small, kept))


@settings(max_examples=40)
@given(forests(max_trees=5, max_features=3, max_splits=3, classifier=True, values=st.floats(-9, 9, width=16)))
def test_every_cell_of_any_forest_keeps_its_class(forest: Forest) -> None:
    rows = every_cell(forest)
    assume(rows is not None)
    small, certificate = PruneCertified().certify(forest)
    assert len(rows) == certificate.n_cells
    assert_array_equal(classes_in(forest, rows), classes_in(small, rows))


@settings(max_examples=60)
@given(
    forests(max_trees=4, max_features=3, max_splits=3, classifier=True, values=st.floats(-9, 9, width=16)),
    st.integers(0, 2**20),
)
def test_the_oracle_finds_a_row_where_there_is_one_and_only_there(forest: Forest, seed: int) -> None:
    """Against the same trees with other values, all cells walked through."""
    rows = every_cell(forest)
    assume(rows is not None)
    values = np.random.default_rng(seed).integers(-20, 20, (forest.n_leaves, forest.values.shape[1])) + 0.0
    other = forest.with_values(values, forest.bias.astype(np.float64))
    search = DecisionOracle(forest)
    scores = Scores.of(other)
    leaves = search.leaves_of(rows)
    wanted = np.array(classes_in(forest, rows))
    for winner, rival in itertools.permutations(range(scores.n_classes), 2):
        lead = (scores.leaf[:, winner] - scores.leaf[:, rival])[leaves].sum(axis=1)
        lead += scores.bias[winner] - scores.bias[rival]
        refutes = lead[wanted == winner].min(initial=np.inf) / scores.scale
        assume(not 0 < refutes < 1e-3)
        search.forget()
        found = None
        for _ in range(100):
            row, is_proven = search.find_row(scores, winner, rival, 60.0)
            if is_proven:
                break
            if classes_in(forest, row)[0] == winner:
                found = row
                break
            # The teacher is so near to a tie there that rounding decides.
            search.settle(row)
        assert (refutes <= 0) == (found is not None)


def test_cells_are_those_that_some_split_tells_apart() -> None:
    for name in ("xgb partitions", "hist categories", "lgb categories"):
        forest = zoo.forest(name)
        expected = [len(values_of_cells(forest, f)) for f in np.unique(forest.nodes.feature[~forest.is_leaf])]
        assert [len(along.values) for along in find_cells(forest)] == expected
        assert count_cells(find_cells(forest)) == math.prod(expected)


def test_a_forest_whose_every_tree_is_needed_is_returned_as_it_is() -> None:
    forest = replace(trained("two classes").take([0]), bias=np.array([0.0]))
    small, certificate = PruneCertified().certify(forest)
    assert set(classes_in(forest, every_cell(forest))) == {0, 1}
    assert small == forest
    assert str(certificate) == "no tree of 1 can go: the forest is unchanged"


def test_a_forest_of_one_answer_needs_no_tree() -> None:
    forest = trained("two classes")
    constant = replace(forest, bias=np.array([1e3]))
    small, certificate = PruneCertified().certify(constant)
    assert (small.n_trees, certificate.n_trees) == (0, (12, 0))
    assert (small.predict(iris()[0]) == 1).all()


@pytest.mark.parametrize("tie_class", [0, 1])
def test_a_tie_goes_to_the_class_that_the_teacher_gives_it_to(tie_class: int) -> None:
    """Two stumps that cancel out on half of the line."""
    forest = trained("two classes").take([0, 1])
    tied = replace(
        forest.with_values(np.array([[1.0], [-1.0], [1.0], [1.0]]), np.array([0.0])), tie_class=tie_class
    )
    rows = every_cell(tied)
    assert (tied.margin(rows) == 0).any()
    small = PruneCertified()(tied)
    assert_array_equal(classes_in(tied, rows), classes_in(small, rows))


def test_what_cannot_be_certified_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match="keeps the decisions of a classifier; this forest is a regression model: use PruneTrees",
    ):
        PruneCertified()(zoo.forest("xgb regression"))
    forest = trained("random forest")
    with pytest.raises(
        UnsupportedModelError, match="so large that sums may overflow; scale them down before"
    ):
        PruneCertified()(replace(forest, values=forest.values * 1e308))


def test_a_large_forest_is_refused_with_an_estimate_at_once() -> None:
    X, y = iris(4)
    forest = ec.read(RandomForestClassifier(300, random_state=0).fit(X, y))
    with pytest.raises(
        UnsupportedModelError,
        match=r"leaves in 300 trees take about [\d,]+ seconds to certify; max_seconds is 300: allow more, or prune with",
    ):
        PruneCertified()(forest)


def test_many_trees_over_few_cells_are_no_large_forest() -> None:
    X, y = iris()
    forest = ec.read(GradientBoostingClassifier(n_estimators=50, max_depth=2, random_state=0).fit(X, y))
    small, certificate = PruneCertified(method="count").certify(forest)
    assert (certificate.n_trees[0], small.n_trees < 20) == (150, True)
    rows = every_cell(forest)
    assert_array_equal(forest.predict(rows), small.predict(rows))


def test_the_estimate_counts_no_more_cells_than_a_number_holds() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 1000))
    forest = ec.read(
        RandomForestClassifier(700, max_depth=3, random_state=0).fit(X, random.integers(0, 2, 60))
    )
    assert count_cells(find_cells(forest)) > 10**308
    assert 1e3 < PruneCertified().estimate_seconds(forest) < 1e9


def test_a_search_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PruneCertified, "estimate_seconds", lambda self, forest: 0.0)
    with pytest.raises(
        UnsupportedModelError, match=r"not certified within max_seconds=1e-09 \(\d+ mixed-integer programs"
    ):
        PruneCertified(max_seconds=1e-9)(trained("stumps"))


def test_a_report_holds_the_certificate() -> None:
    X, y = iris()
    model = GradientBoostingClassifier(n_estimators=8, max_depth=1, random_state=0).fit(X, y)
    small = ec.compress(model, X, y, steps=[PruneCertified()])
    assert any(note.startswith("PruneCertified: same decision on all") for note in small.report.notes)
