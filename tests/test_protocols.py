"""The protocols: peers return sound forests, rows are kept and found again, tables say what rows say."""

import json
import math
import multiprocessing
import signal
from pathlib import Path
from typing import Any

import confidence
import numpy as np
import protocol_report
import protocols
import pytest
import report
from peers import contribution, forestprune, leaf_columns, lop, lrl1, refinement, small
from protocol_cases import PROTOCOLS, Case, Fold, Protocol, Teacher, split
from protocol_methods import METHODS, can, compress
from protocol_problem import Goal, Problem, answers, artefact_answers, difference
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

import ensemble_compress as ec
from ensemble_compress import sizes
from ensemble_compress.data import Data

TEACHERS = {
    "binary": GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0),
    "multiclass": RandomForestClassifier(4, max_depth=3, random_state=0),
    "multiclass boosting": GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=0),
    "regression": RandomForestRegressor(4, max_depth=4, random_state=0),
}
GOALS = {"regression": Goal("neg_root_mean_squared_error", 0.05, relative=True)}
PEERS = {"lop": lop, "forestprune": forestprune, "contribution": contribution, "refinement": refinement, "lrl1": lrl1}  # fmt: skip


def make_problem(task: str) -> Problem:
    """Rows of five features, three of which say something; a teacher trained on half of them."""
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 5)).astype(np.float32)
    score = X[:, 0] + X[:, 1] * (X[:, 2] > 0) + 0.3 * random.normal(size=400)
    y = {"binary": score > 0, "regression": score}.get(task, np.digitize(score, [-0.7, 0.7]))
    y = np.asarray(y, np.float64 if task == "regression" else np.int64)
    forest = ec.read(TEACHERS[task].fit(X[:200], y[:200]))
    goal = GOALS.get(task, Goal("balanced_accuracy", 0.02))
    return Problem(forest, Data(forest.rows(X[:200]), y[:200]), Data(forest.rows(X[200:]), y[200:]), goal)


@pytest.fixture(scope="module")
def problems() -> dict[str, Problem]:
    return {task: make_problem(task) for task in TEACHERS}


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small models, in the place of thirty."""
    for name, shapes in (
        ("XGBOOST", ((2, 0.3),)),
        ("LIGHTGBM", ((4, 0.3),)),
        ("FOREST_LEAVES", (8,)),
        ("ROUNDS", (1, 4, 12)),
        ("FOREST_TREES", (1, 3)),
    ):
        monkeypatch.setattr(small, name, shapes)


# -- peers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task"), [(n, t) for n in PEERS for t in TEACHERS if (n, t) != ("lop", "multiclass boosting")]
)
def test_a_peer_returns_no_larger_forest_that_keeps_the_tolerance(
    problems: dict[str, Problem], name: str, task: str
) -> None:
    problem = problems[task]
    if name == "contribution" and task == "regression":
        with pytest.raises(ValueError, match="ranks votes for classes"):
            PEERS[name].compress(problem)
        return
    forest = PEERS[name].compress(problem)
    assert forest.n_leaves <= problem.forest.n_leaves
    # LOP's own rule looks at each class against the rest.
    slack = 0.05 if (name, task[:5]) == ("lop", "multi") else 1e-9
    assert problem.score(forest) >= problem.reference - problem.goal.allowed(problem.reference) - slack


@pytest.mark.parametrize("name", ["lop", "forestprune", "refinement"])
def test_what_prunes_nodes_prunes_this_teacher(problems: dict[str, Problem], name: str) -> None:
    problem = problems["binary"]
    assert PEERS[name].compress(problem).n_leaves < 0.8 * problem.forest.n_leaves


@pytest.mark.usefixtures("few_shapes")
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_small_models_are_sorted_by_bytes_and_the_first_that_is_good_enough_is_taken(
    problems: dict[str, Problem], task: str
) -> None:
    problem = problems[task]
    pool = small.pool(problem)
    assert len(pool) == 3 + 3 + 2
    n_bytes = [sizes.c_bytes(candidate.forest) for candidate in pool]
    assert sorted(n_bytes) == n_bytes == [candidate.n_bytes for candidate in pool]
    least = problem.reference - problem.goal.allowed(problem.reference)
    good = [candidate.forest for candidate in pool if candidate.score >= least]
    assert small.smallest(pool, problem) is (good[0] if good else problem.forest)
    budget = n_bytes[len(pool) // 2]
    best = small.best_within(pool, budget)
    assert best is not None
    assert sizes.c_bytes(best) <= budget
    assert problem.score(best) == max(c.score for c in pool if c.n_bytes <= budget)
    assert small.best_within(pool, 1) is None


@pytest.mark.usefixtures("few_shapes")
def test_a_booster_cut_after_some_rounds_is_one_trained_for_as_many(problems: dict[str, Problem]) -> None:
    import lightgbm

    problem = problems["multiclass"]
    X, y = problem.train.X, problem.train.y
    model = lightgbm.LGBMClassifier(
        n_estimators=4, num_leaves=4, learning_rate=0.3, random_state=0, verbose=-1
    )
    expected = ec.read(model.fit(X, y)).margin(X)
    found = [c.forest.margin(X) for c in small.pool(problem) if c.forest.n_outputs == 3]
    assert any(np.array_equal(expected, margin) for margin in found)


def test_contributions_are_those_of_a_row_by_hand() -> None:
    # Votes 1 1 0 for class 1: the majority is right, by 2 to 1; a right vote with it counts the 1.
    assert contribution.contributions_of_votes(np.array([[1, 1, 0]]), np.array([1]), 2).tolist() == [1, 1, -1]
    # For class 0 the lone vote counts 2 * 2 - 1, a wrong one 1 - 2 - 2.
    assert contribution.contributions_of_votes(np.array([[1, 1, 0]]), np.array([0]), 2).tolist() == [
        -3,
        -3,
        3,
    ]


def test_a_tree_that_is_always_right_comes_first_and_its_opposite_last() -> None:
    problem = make_problem("binary")
    y = np.asarray(problem.train.y)
    votes = np.stack([1 - y, np.zeros_like(y), y, np.ones_like(y)], axis=1)
    order = np.argsort(-contribution.contributions_of_votes(votes, y, 2))
    assert (order[0], order[-1]) == (2, 0)


@pytest.mark.parametrize("task", TEACHERS)
def test_a_forest_is_linear_in_its_leaf_columns(problems: dict[str, Problem], task: str) -> None:
    forest = leaf_columns.additive(problems[task].forest)
    X = problems[task].valid.X
    columns = leaf_columns.leaf_columns(forest, X)
    assert columns.shape == (len(X), forest.n_leaves)
    values = forest.values[forest.nodes.leaf[forest.is_leaf]]
    np.testing.assert_allclose(columns @ values + forest.bias, forest.margin(X), atol=1e-9)


def test_a_refined_forest_decides_as_the_machine_that_fitted_it(problems: dict[str, Problem]) -> None:
    problem = problems["multiclass boosting"]
    start = leaf_columns.additive(problem.forest)
    machine = LinearSVC(loss="hinge", C=0.1, dual=True, max_iter=500, random_state=0)
    columns = [leaf_columns.leaf_columns(start, part.X) for part in (problem.train, problem.valid)]
    expected = machine.fit(columns[0], problem.train.y).predict(columns[1])
    actual = answers(refinement.refine(problem, start, 0.1), problem.valid.X)
    assert (expected == actual).all()


def test_the_siblings_that_are_most_alike_are_merged(problems: dict[str, Problem]) -> None:
    forest = leaf_columns.additive(problems["binary"].forest)
    smaller = refinement.merge_siblings(forest)
    n_pairs = sum(
        bool(forest.is_leaf[j + 1] and forest.is_leaf[forest.nodes.right[j]])
        for j in np.flatnonzero(~forest.is_leaf)
    )
    assert forest.n_leaves - smaller.n_leaves == max(1, round(0.1 * n_pairs))


def test_without_a_penalty_every_tree_stays_and_the_loss_falls_and_a_large_one_drops_them_all() -> None:
    problem = make_problem("regression")
    start = leaf_columns.additive(problem.forest)
    numbers = leaf_columns.leaf_numbers(start, problem.train.X)
    error = [
        float(np.square(answers(forest, problem.train.X) - problem.train.y).mean())
        for forest in (start, lrl1.refine(problem, start, numbers, 0.0))
    ]
    assert error[1] < error[0]
    assert lrl1.refine(problem, start, numbers, 0.0).n_trees == start.n_trees
    assert lrl1.refine(problem, start, numbers, 1e4).n_trees == 0


def test_a_step_of_adam_is_the_rate_long_at_first() -> None:
    adam = lrl1.Adam(np.array([1.0, -2.0, 3.0]))
    adam.step(np.array([0.3, -40.0, 0.0]))
    np.testing.assert_allclose(adam.value, [1.0 - lrl1.RATE, -2.0 + lrl1.RATE, 3.0], atol=1e-8)


# -- judging -----------------------------------------------------------------------------------------------------


def test_a_relative_tolerance_is_a_share_of_the_error_and_another_one_of_the_score() -> None:
    assert Goal("neg_root_mean_squared_error", 0.02, relative=True).allowed(-5.0) == pytest.approx(0.1)
    assert Goal("balanced_accuracy", 0.005).allowed(0.9) == 0.005
    y, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert (
        Goal("balanced_accuracy").score(y, found) == balanced_accuracy_score(y, found) == pytest.approx(5 / 6)
    )
    assert Goal("neg_root_mean_squared_error").score(y, found) == -0.5


@pytest.mark.parametrize("task", TEACHERS)
def test_the_artefact_is_judged_by_its_own_integers(problems: dict[str, Problem], task: str) -> None:
    forest, X = problems[task].forest, problems[task].valid.X
    bound = sizes.fixed_point(forest).bound / forest.divisor
    if forest.is_classifier:
        assert difference(forest, X) == (artefact_answers(forest, X) != answers(forest, X)).sum()
        return
    assert 0 < difference(forest, X) <= bound + 1e-12
    np.testing.assert_allclose(artefact_answers(forest, X), forest.predict(X), atol=bound + 1e-12)


# -- folds and cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_five_folds_test_every_row_once_and_no_row_is_in_two_parts(task: str) -> None:
    y = np.arange(103) % 2
    folds = [split(y, task, number) for number in range(5)]
    assert sorted(np.concatenate([fold["test"] for fold in folds])) == list(range(103))
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert sorted(np.concatenate(list(fold.values()))) == list(range(103))
        assert fold["valid"].tolist() == following["test"].tolist()


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    """Small teachers on some rows of a set with text columns."""
    teachers = {
        "lgbm": Teacher("lightgbm", {"n_estimators": 3, "num_leaves": 5}),
        "rf": Teacher("random forest", {"n_estimators": 3, "max_depth": 3}),
        "xgb": Teacher("xgboost", {"n_estimators": 3, "max_depth": 3}),
    }
    fold = Fold.of("adult", 0, max_rows=400)
    protocol = Protocol(("adult",), teachers, {"binary": Goal("accuracy", 0.03)})
    budgets = Protocol(("adult",), teachers, {"binary": Goal("accuracy")}, (100, 1500))
    return {name: Case(protocol, fold, name) for name in teachers} | {"budgets": Case(budgets, fold, "lgbm")}


def test_teachers_take_levels_or_codes_and_answer_alike(cases: dict[str, Case]) -> None:
    assert hasattr(cases["lgbm"].rows("test"), "columns")
    assert isinstance(cases["rf"].rows("test"), np.ndarray)
    for name in ("lgbm", "xgb", "rf"):
        case = cases[name]
        assert case.problem.reference == case.goal.score(
            case.fold.y["valid"], case.model.predict(case.rows("valid"))
        )
    assert (cases["lgbm"].forest.nodes.category_set >= 0).any()


def test_values_are_standardised_by_the_rows_that_train() -> None:
    fold = Fold.of("casp", 2, max_rows=300)
    assert fold.y["train"].mean() == pytest.approx(0, abs=1e-12)
    assert fold.y["train"].std() == pytest.approx(1)
    assert fold.y["test"].mean() != pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("few_shapes")
def test_rows_say_what_was_measured_and_are_skipped_when_they_are_there(cases: dict[str, Case]) -> None:
    case = cases["rf"]
    names, run = {"protocol": "B", "data": "adult", "fold": 0}, {"commit": "abc", "time": ""}
    (row,) = protocols.measure(names, case, "ours", set(), run)
    assert protocols.key_of(row) == ("B", "adult", "rf", 0, "ours", None)
    assert row["leaves"][0] == case.forest.n_leaves
    assert row["bytes_before"]["plain_c_tables"] == sizes.plain_bytes(case.forest)
    expected = case.goal.score(case.fold.y["test"], case.model.predict(case.rows("test")))
    assert row["score_before"]["test"] == pytest.approx(expected, abs=1e-6)
    assert 0.5 < row["score_after"]["test"] < 1
    assert row["cpu_seconds"] > 0
    assert list(protocols.measure(names, case, "ours", {protocols.key_of(row)}, run)) == []


@pytest.mark.usefixtures("few_shapes")
def test_budgets_are_kept_by_those_who_can_be_told_one(cases: dict[str, Case]) -> None:
    case = cases["budgets"]
    assert [name for name in METHODS if can(name, case)] == ["ours", "small"]
    found = [METHODS["ours"](case, 1500), *compress("small", case)]
    assert [one.budget for one in found] == [1500, 100, 1500]
    assert found[0].fits
    assert [sizes.c_bytes(one.forest) <= one.budget for one in found] == [one.fits for one in found]
    names = {"protocol": "C", "data": "adult", "fold": 0}
    rows = list(protocols.measure(names, case, "small", set(), {"commit": "abc"}))
    assert {row["teacher"] for row in rows} == {protocols.NO_TEACHER}


# -- results -----------------------------------------------------------------------------------------------------


def made_up(**others: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "protocol": "A",
        "data": "spambase",
        "teacher": "xgb-25-4-0.1",
        "fold": 0,
        "method": "ours",
        "budget": None,
        "scoring": "balanced_accuracy",
        "tolerance": 0.005,
        "relative": False,
        "fits": True,
        "leaves": [1000, 100],
        "bytes_before": {"pickle": 80_000, "plain_c_tables": 16_000},
        "bytes_after": {"c_tables": 200},
        "score_before": {"valid": 0.9, "test": 0.9},
        "score_after": {"valid": 0.9, "test": 0.897},
        "seconds": 2.0,
        "cpu_seconds": 3.0,
        "run": {"commit": "abc", "machine": {"processor": "Z80", "cores": 2}, "versions": {"python": "3.11"}},
    }
    return {**row, **others}


def _merge_some(path: Path, fold: int) -> None:
    for method in METHODS:
        protocols.merge(path, made_up(fold=fold, method=method))


def test_rows_are_merged_in_the_order_of_the_protocol_and_take_the_place_of_their_older_selves(
    tmp_path: Path,
) -> None:
    path = tmp_path / "found.json"
    for row in (
        made_up(data="magic"),
        made_up(method="lop", seconds=1.0),
        made_up(protocol="C", teacher="none", method="small", budget=2000),
        made_up(protocol="C", teacher="none", method="small", budget=1000),
        made_up(),
        made_up(method="lop", seconds=9.0),
    ):
        protocols.merge(path, row)
    rows = protocols.load(path)
    expected = [("spambase", "ours", None), ("spambase", "lop", None), ("magic", "ours", None)]
    expected += [("spambase", "small", 1000), ("spambase", "small", 2000)]  # type: ignore[list-item]
    assert [(row["data"], row["method"], row["budget"]) for row in rows] == expected
    assert rows[1]["seconds"] == 9.0
    assert len(path.read_text().splitlines()) == len(rows) + 2


def test_processes_that_merge_at_once_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_merge_some, args=(path, fold)) for fold in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(protocols.load(path)) == 3 * len(METHODS)


def test_only_rows_of_the_same_commit_are_done() -> None:
    rows = [made_up(), made_up(fold=1, run={"commit": "old"})]
    assert protocols.find_done(rows, "abc") == {protocols.key_of(rows[0])}
    assert len(protocols.find_done(rows, None)) == 2


def test_the_command_line_refuses_what_a_protocol_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    found = protocols.parse(
        ["--protocol", "A", "--data", "spambase,adult", "--fold", "0,3", "--method", "ours,lop"]
    )
    assert (found.data, found.fold, found.method) == (["spambase", "adult"], [0, 3], ["ours", "lop"])
    assert protocols.parse(["--protocol", "A", "--data", "magic", "--data", "adult"]).data == [
        "magic",
        "adult",
    ]
    for options, message in (
        (["--data", "letter"], "protocol A has no data 'letter'"),
        (["--teacher", "rf-300"], "protocol A has no teacher 'rf-300'"),
        (["--method", "theirs"], "'theirs' is none of ours, lop, small"),
    ):
        with pytest.raises(SystemExit):
            protocols.parse(["--protocol", "A", *options])
        assert message in capsys.readouterr().err


def test_what_takes_too_long_is_ended_and_the_limit_ends_with_it() -> None:
    def wait_for_ever() -> None:
        while True:
            pass

    with pytest.raises(TimeoutError, match=r"not done after 0\.01 seconds"), protocols.limited(0.01):
        wait_for_ever()
    with protocols.limited(0):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_protocol_a_has_the_grid_of_eight_boosters() -> None:
    assert len(PROTOCOLS["A"].teachers) == 8
    assert PROTOCOLS["A"].teachers["xgb-100-8-0.5"].parameters == {
        "n_estimators": 100, "max_depth": 8, "learning_rate": 0.5
    }  # fmt: skip


# -- tables ------------------------------------------------------------------------------------------------------


def test_a_geometric_mean_by_hand() -> None:
    assert protocol_report.geometric_mean([1, 10, 100]) == pytest.approx(10)
    rows = [made_up(leaves=[80, n], fold=k) for k, n in enumerate((10, 40))]
    rows += [made_up(leaves=[90, 10], teacher="xgb-100-4-0.1")]
    found = protocol_report.by_model(rows, protocol_report.leaves_ratio)
    assert found == {
        ("spambase", "xgb-25-4-0.1"): pytest.approx(4),  # of 8 and 2
        ("spambase", "xgb-100-4-0.1"): pytest.approx(9),
    }
    assert protocol_report.leaves_ratio(made_up(leaves=[50, 0])) == 50


def test_a_loss_is_in_points_or_in_percent_of_the_error() -> None:
    assert protocol_report.loss(made_up()) == pytest.approx(0.3)
    worse = made_up(relative=True, score_before={"test": -2.0}, score_after={"test": -2.05})
    assert protocol_report.loss(worse) == pytest.approx(2.5)


def test_methods_are_compared_on_the_models_of_both() -> None:
    ours = [made_up(leaves=[1000, 50]), made_up(leaves=[1000, 10], fold=1), made_up(leaves=[1000, 1], fold=2)]
    theirs = [made_up(leaves=[1000, 10], fold=1), made_up(leaves=[1000, 200])]
    first, second = protocol_report.paired(ours, theirs)
    assert ([row["fold"] for row in first], [row["fold"] for row in second]) == ([0, 1], [0, 1])
    # 4 times fewer on fold 0 and as many on fold 1.
    times = protocol_report.times_smaller(ours, theirs, protocol_report.leaves_ratio)
    assert times == pytest.approx(2)
    assert protocol_report.times_smaller(ours, [made_up(data="magic")], protocol_report.leaves_ratio) is None


def test_the_table_of_protocol_a_says_what_is_met_and_what_is_not() -> None:
    lop_row = made_up(method="lop", leaves=[1000, 125], score_after={"test": 0.9, "valid": 0.9})
    table = protocol_report.pruning_table([made_up(), lop_row])
    assert "**1.25 times fewer leaves than LOP (target 2)**, a mean test loss of 0.30 points (0.5)" in table
    assert "2.0 seconds a model (15), 80 times fewer bytes (60)" in table
    assert (
        "| LOP | 1 | 8.0 (8.0) | 80.0 (80.0) | +0.00 | +0.00 | 2.0 (3.0) | 1 to 1.25 on 1 | +0.00 to +0.30 |"
        in table
    )
    assert "| spambase | 1,000 | 8.5 | 10.0, mean 10.0 (+0.30) | 8.0, mean 8.0 (+0.00) |" in table
    assert "Measured on Z80, 2 cores with python 3.11, at commit abc, by `protocols.py`." in table


def test_the_table_of_protocol_b_counts_pickles_of_random_forests_and_tolerances() -> None:
    forest = {"protocol": "B", "data": "letter", "teacher": "rf-300", "scoring": "accuracy"}
    table = protocol_report.forests_table(
        [made_up(**forest), made_up(**forest, fold=1, score_after={"test": 0.88, "valid": 0.9})]
    )
    assert "**random forests 400 times fewer bytes than their pickle (target 1,000)**" in table
    assert "several classes and values 80.0 times fewer than plain C tables (15)" in table
    assert "**1 of 1 lose more than the tolerance in the mean over folds**" in table
    assert "| letter, rf-300 | 80 kB | 16 kB | 0.5 | 200 bytes, 80x (**+1.15**) |" in table


def test_cells_are_won_by_the_mean_over_common_folds() -> None:
    def rows(
        method: str, teacher: str, budget: int, scores: list[float], **others: Any
    ) -> list[dict[str, Any]]:
        names = {"protocol": "C", "method": method, "teacher": teacher, "budget": budget, **others}
        return [made_up(**names, fold=k, score_after={"test": s}) for k, s in enumerate(scores)]

    found = [
        *rows("ours", "lgbm-300-31", 1000, [0.9, 0.8, 0.1]),
        *rows("small", "none", 1000, [0.88, 0.81]),
        *rows("ours", "lgbm-300-31", 2000, [0.9]),
        *rows("small", "none", 2000, [0.906]),
        *rows("ours", "lgbm-300-31", 4000, [0.9], fits=False),
        *rows("small", "none", 4000, [0.5]),
    ]
    cells = protocol_report.cells(found)
    assert cells["spambase", "lgbm-300-31", 1000] == pytest.approx(0.5)
    assert cells["spambase", "lgbm-300-31", 2000] == pytest.approx(-0.6)
    assert cells["spambase", "lgbm-300-31", 4000] == -math.inf
    assert protocol_report.share_won(cells) == pytest.approx(1 / 3)
    table = protocol_report.budgets_table(found)
    assert "| spambase, lgbm-300-31 | +0.50 | **-0.60** | **too large** |" in table
    assert "**Ours is better in 33 % of 3 cells (target 85 %)**" in table


def test_runs_that_lose_more_than_the_tolerance_are_counted() -> None:
    losses = [0.011, 0.02, 0.01, -0.001] + [0.0] * 8
    names = {"way": "held-out rows", "tolerance": 0.01, "confidence": 0.95, "n_test": 200_000}
    rows = [made_up(**names, loss=loss) for loss in losses]
    assert "| held-out rows | 12 | **2** | at most 0 | 80.0x | 2.0 |" in protocol_report.confidence_table(
        rows
    )
    rows += [made_up(**names, loss=0.0) for _ in range(188)]
    assert "| held-out rows | 200 | 2 | at most 16 | 80.0x | 2.0 |" in protocol_report.confidence_table(rows)


@pytest.mark.parametrize("name", protocol_report.TABLES)
def test_tables_of_no_rows_say_so_and_are_in_the_report(name: str) -> None:
    assert protocol_report.TABLES[name]([]) == "Not measured yet."
    assert report.OTHER_TABLES[name] is protocol_report.TABLES[name]


def test_tables_of_a_peer_alone_can_be_written() -> None:
    for protocol, make in (("A", protocol_report.pruning_table), ("B", protocol_report.forests_table)):
        assert "LOP" in make([made_up(protocol=protocol, method="lop")])
    only_small = made_up(protocol="C", method="small", teacher="none", budget=1000)
    assert protocol_report.budgets_table([only_small]) == "Not measured yet."


# -- confidence --------------------------------------------------------------------------------------------------


def test_the_population_has_the_odds_that_it_says() -> None:
    X, y = confidence.draw(100_000, 3)
    # Feature 3 counts for itself, and the others are as often for a class as against it.
    near = np.abs(X[:, 3]) < 0.05
    assert y[near].mean() == pytest.approx(0.5, abs=0.03)
    for sign in (-1, 1):
        far = sign * X[:, 3] > 2
        assert sign * (y[far].mean() - 0.5) > 0.15
    assert (confidence.draw(100_000, 3)[0] == X).all()
    assert (confidence.draw(100_000, 4)[0] != X).any()


def test_a_run_is_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence, "N_TRAIN", 120)
    monkeypatch.setattr(confidence, "N_VALID", 150)
    monkeypatch.setattr(confidence, "N_TEST", 2000)
    path = tmp_path / "confidence.json"
    options = ["--way", "held-out rows", "--runs", "1", "--output", str(path)]
    confidence.run(confidence.parse(options))
    rows = json.loads(path.read_text())["rows"]
    assert [(row["seed"], row["model"]) for row in rows] == [(0, "RandomForestClassifier")]
    monkeypatch.setattr(confidence, "one_run", lambda *_: pytest.fail("made again"))
    confidence.run(confidence.parse([*options, "--whatever-commit"]))
