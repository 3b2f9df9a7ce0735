"""scikit-learn's models are read so that every row ends in the same leaf and gets the same sum, label and probability."""

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import zoo
from sklearn import calibration, ensemble, model_selection, tree
from sklearn.linear_model import LinearRegression, LogisticRegression

from ensemble_compress.errors import InputError, ModelFileError, UnsupportedModelError
from ensemble_compress.nodes import set_codes
from ensemble_compress.readers import read
from ensemble_compress.readers.assemble import Tree, assemble

NAMES = zoo.names("sklearn")


@pytest.mark.parametrize("name", NAMES)
def test_every_row_ends_in_the_leaf_that_scikit_learn_finds(name: str) -> None:
    np.testing.assert_array_equal(zoo.expected_leaves(name), zoo.forest(name).apply(zoo.rows(name)))


@pytest.mark.parametrize("name", NAMES)
def test_margins_are_equal_to_the_bit(name: str) -> None:
    expected, actual = zoo.expected_margin(name), zoo.forest(name).margin(zoo.rows(name))
    assert expected.dtype == actual.dtype
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_equal(name: str) -> None:
    expected, actual = zoo.expected_prediction(name), zoo.forest(name).predict(zoo.rows(name))
    if zoo.forest(name).link == "exp":
        np.testing.assert_allclose(actual, expected, rtol=1e-14)  # scikit-learn's loss calls another exp
    else:
        np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.ENTRIES[name].task in zoo.LABELLED])
def test_probabilities_are_equal_up_to_rounding_of_the_link(name: str) -> None:
    expected = zoo.trained(name).predict_proba(zoo.rows(name))
    np.testing.assert_allclose(zoo.forest(name).predict_proba(zoo.rows(name)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_missing_values_are_refused_where_scikit_learn_refuses_them(name: str) -> None:
    row = np.full((1, zoo.N_FEATURES), np.nan)
    try:
        zoo.trained(name).predict(row)
    except ValueError:
        with pytest.raises(InputError, match="contains NaN"):
            zoo.forest(name).predict(row)
    else:
        assert zoo.forest(name).predict(row).shape[0] == 1


def test_the_zoo_holds_the_cases_that_are_easy_to_get_wrong() -> None:
    missing = zoo.forest("random forest regression").nodes
    assert missing.nan_left[missing.feature >= 0].any()
    assert (~missing.nan_left[missing.feature >= 0]).any()
    model = zoo.trained("hist categories missing")
    nodes = np.concatenate([predictor.nodes for stage in model._predictors for predictor in stage])
    splits = nodes[(nodes["is_categorical"] == 1) & (nodes["is_leaf"] == 0)]
    assert set(splits["missing_go_to_left"]) == {0, 1}
    assert not zoo.forest("boosting binary").handles_nan
    thresholds = zoo.forest("random forest").nodes.threshold
    assert (thresholds != thresholds.astype(np.float32)).any()


def test_labels_keep_their_type_and_order() -> None:
    assert zoo.forest("tree binary").classes.tolist() == ["no", "yes"]
    assert zoo.forest("extra tree").classes.tolist() == [-2, 7, 30]
    labels = np.array(["b", "a"] * 10, dtype=object)
    assert (
        read(tree.DecisionTreeClassifier().fit(np.arange(20).reshape(-1, 1), labels)).classes.dtype.kind
        == "U"
    )


def test_a_single_class_is_always_predicted() -> None:
    forest = read(tree.DecisionTreeClassifier().fit([[0.0], [1.0]], ["only", "only"]))
    assert forest.predict([[5.0]]).tolist() == ["only"]
    assert forest.predict_proba([[5.0]]).tolist() == [[1.0]]


def test_cover_is_the_training_weight() -> None:
    X, y = zoo.data("binary")
    model = tree.DecisionTreeClassifier(max_depth=3).fit(X, y, sample_weight=np.where(y == 1, 2.5, 1.0))
    forest = read(model)
    expected = model.tree_.weighted_n_node_samples
    np.testing.assert_array_equal(expected[forest.nodes.node_id], forest.nodes.cover)


def _frame(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": random.normal(size=n_rows),
            "colour": pd.Categorical(random.choice(["red", "green", "blé"], n_rows)),
            "weight": random.normal(size=n_rows),
            "shop": pd.Categorical(random.choice([10, 20, 35], n_rows)),
            "open": random.random(n_rows) < 0.5,
        }
    )


def _target(frame: pd.DataFrame) -> Any:
    return (
        (frame["size"].to_numpy() > 0)
        ^ (frame["colour"] == "red").to_numpy()
        ^ (frame["shop"] == 20).to_numpy()
    )


@pytest.mark.parametrize("columns", ["from_dtype", ["colour", "shop", "open"]])
def test_categories_of_a_frame_go_with_the_forest(columns: Any) -> None:
    X = _frame()
    model = ensemble.HistGradientBoostingClassifier(
        max_iter=10, categorical_features=columns, min_samples_leaf=5
    ).fit(X, _target(X))
    forest = read(model)
    other = _frame(seed=1)
    other["colour"] = pd.Categorical(other["colour"].astype(object).where(other["colour"] != "blé", "unseen"))
    other["shop"] = other["shop"].where(np.arange(len(other)) % 3 > 0)
    assert forest.feature_names == ("size", "colour", "weight", "shop", "open")
    assert forest.categories is not None
    assert forest.categories[1] == ("blé", "green", "red")
    for rows in (X, other):
        np.testing.assert_array_equal(model.predict_proba(rows), forest.predict_proba(rows))
    shuffled = other[["open", "shop", "colour", "weight", "size"]]
    np.testing.assert_array_equal(forest.margin(other), forest.margin(shuffled))


def test_whole_number_categories_are_their_own_codes() -> None:
    X = np.random.default_rng(0).choice([2.0, 3.0, 5.0, 40.0], (200, 1))
    model = ensemble.HistGradientBoostingRegressor(max_iter=3, categorical_features=[0])
    forest = read(model.fit(X, np.isin(X[:, 0], [3, 40])))
    roots = forest.nodes.category_set[forest.tree_start[:-1]]
    assert {tuple(set_codes(forest.category_sets, s)) for s in roots} <= {(3, 40), (2, 5)}
    codes = [2, 3, 5, 40]
    expected = model.predict(np.reshape(codes, (-1, 1)))
    for column in (codes, pd.Categorical(codes), np.array(codes, float)):
        np.testing.assert_array_equal(expected, forest.predict(pd.DataFrame({"any": column})))
    np.testing.assert_array_equal(expected, forest.predict(np.reshape(codes, (-1, 1))))


def test_names_of_a_frame_are_kept_and_numbered_columns_have_none() -> None:
    X, y = zoo.data("binary")
    frame = pd.DataFrame(X, columns=list("abcde"))
    assert read(tree.DecisionTreeClassifier().fit(frame, y)).feature_names == tuple("abcde")
    assert read(tree.DecisionTreeClassifier().fit(X, y)).feature_names is None


@pytest.mark.parametrize(
    "model",
    [
        ensemble.RandomForestClassifier(),
        ensemble.GradientBoostingRegressor(),
        ensemble.HistGradientBoostingClassifier(),
        tree.DecisionTreeRegressor(),
        ensemble.BaggingClassifier(),
        ensemble.AdaBoostClassifier(),
        ensemble.IsolationForest(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_that_is_not_fitted_is_refused(model: Any) -> None:
    with pytest.raises(
        UnsupportedModelError, match=rf"this {type(model).__name__} is not fitted; call fit first"
    ):
        read(model)


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier())]), "one of its estimators_"),
        (ensemble.StackingRegressor([("a", tree.DecisionTreeRegressor())]), "one of its estimators_"),
        (ensemble.AdaBoostRegressor(), "weighted median"),
        (calibration.CalibratedClassifierCV(tree.DecisionTreeClassifier()), "pass its estimator"),
        (model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {}), "search.best_estimator_"),
        (LinearRegression(), "expected one of DecisionTreeClassifier"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_estimators_are_refused_by_name_with_what_to_do(model: Any, advice: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{type(model).__name__} cannot be read: .*{advice}"):
        read(model)


def test_a_forest_of_several_label_columns_is_refused() -> None:
    X, y = zoo.data("binary")
    model = ensemble.RandomForestClassifier(2).fit(X, np.column_stack([y, 1 - y]))
    with pytest.raises(UnsupportedModelError, match="2 columns of labels; multi-output classification"):
        read(model)


def test_boosting_that_starts_from_a_fitted_model_is_refused() -> None:
    X, y = zoo.data("binary")
    model = ensemble.GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(X, y)
    with pytest.raises(
        UnsupportedModelError, match=r"init=LogisticRegression\(\).*fit it with init=None or init='zero'"
    ):
        read(model)


def test_a_subclass_with_a_predict_of_its_own_is_refused() -> None:
    class Shifted(tree.DecisionTreeRegressor):
        def predict(self, X: Any, check_input: bool = True) -> Any:
            return super().predict(X, check_input) + 1

    class Named(tree.DecisionTreeRegressor):
        pass

    X, y = zoo.data("regression")
    with pytest.raises(UnsupportedModelError, match="Shifted has a predict of its own"):
        read(Shifted().fit(X, y))
    np.testing.assert_array_equal(y, read(Named().fit(X, y)).predict(X))


@pytest.mark.parametrize("categories", [[-1.0, 0.0, 1.0], [0.5, 1.5, 2.5], [0.0, 1.0, 70_000.0]])
def test_categories_that_make_no_codes_are_refused(categories: list[float]) -> None:
    X = np.random.default_rng(0).choice(categories, (100, 1))
    model = ensemble.HistGradientBoostingRegressor(max_iter=1, categorical_features=[0]).fit(
        X, X[:, 0] == categories[0]
    )
    with pytest.raises(
        UnsupportedModelError, match="in column 0; expected strings, or whole numbers from 0 to 65535"
    ):
        read(model)


def test_labels_of_mixed_types_are_refused() -> None:
    model = tree.DecisionTreeClassifier().fit([[0.0], [1.0]], ["a", "b"])
    model.classes_ = np.array(["a", 1], dtype=object)
    with pytest.raises(UnsupportedModelError, match="class labels of mixed types"):
        read(model)


def _leaf_or_split(left: list[int], right: list[int], feature: int = 0, threshold: float = 0.5) -> Tree:
    n_nodes = len(left)
    return Tree(
        left=np.array(left, np.int64),
        right=np.array(right, np.int64),
        feature=np.full(n_nodes, feature),
        threshold=np.full(n_nodes, threshold),
        nan_left=np.zeros(n_nodes, bool),
        values=np.arange(n_nodes, dtype=float).reshape(-1, 1),
        cover=np.zeros(n_nodes),
        node_id=np.arange(n_nodes),
    )


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (_leaf_or_split([1, 0, -1], [2, 2, -1]), "tree 1, node 1: .* 0 and 2, has another parent or is the root"),
        (_leaf_or_split([1, -1], [1, -1]), "tree 1, node 0: .* 1 and 1, has another parent"),
        (_leaf_or_split([1, 1, -1], [2, 2, -1]), "tree 1, node 1: .* 1 and 2, has another parent"),
        (_leaf_or_split([1, -1, -1], [3, -1, -1]), "tree 1, node 0: .* 1 and 3, is none of the tree's 3 nodes"),
        (_leaf_or_split([-7, -1, -1], [2, -1, -1]), "tree 1, node 0: .* -7 and 2, is none of the tree's 3 nodes"),
        (_leaf_or_split([1, -1, -1], [2, -1, -1], feature=4), "tree 1, node 0 tests feature 4"),
        (_leaf_or_split([1, -1, -1], [2, -1, -1], threshold=np.nan), "tree 1, node 0 has the threshold nan"),
        (_leaf_or_split([1, -1, -1], [2, -1, -1])._replace(values=np.full((3, 1), np.inf)), "tree 1, node 1: its leaf value"),
        (_leaf_or_split([], []), "tree 1 has no nodes"),
        (_leaf_or_split([-1], [-1])._replace(values=np.zeros((1, 2))), "tree 1: its leaves hold 2 values"),
    ],
)  # fmt: skip
def test_a_tree_that_is_none_is_refused_by_tree_and_node(tree: Tree, fault: str) -> None:
    sound = _leaf_or_split([1, -1, -1], [2, -1, -1])
    with pytest.raises(ModelFileError, match=f"model.txt: {fault}"):
        assemble([sound, tree], n_features=1, bias=np.zeros(1), where="model.txt")


def test_a_tree_of_any_depth_and_order_is_laid_out() -> None:
    depth = 50_000
    left, right = np.full(2 * depth + 1, -1), np.full(2 * depth + 1, -1)
    splits = np.arange(depth) * 2
    left[splits], right[splits] = splits + 1, splits + 2
    chain = _leaf_or_split(left.tolist(), right.tolist())
    backwards = np.r_[0, np.arange(2 * depth, 0, -1)]
    mixed = chain._replace(
        left=np.where(left >= 0, backwards[left], -1)[backwards],
        right=np.where(right >= 0, backwards[right], -1)[backwards],
        values=chain.values[backwards],
        node_id=chain.node_id[backwards],
    )
    forests = [assemble([t], n_features=1, bias=np.zeros(1), where="chain") for t in (chain, mixed)]
    assert int(forests[0].depth.max()) == depth
    assert forests[0] == forests[1]


def test_nodes_that_the_root_does_not_reach_are_left_out() -> None:
    tree = _leaf_or_split([3, -1, 7, -1], [1, -1, 9, -1])
    forest = assemble([tree], n_features=1, bias=np.zeros(1), where="model")
    assert forest.nodes.node_id.tolist() == [0, 3, 1]
    assert forest.values.tolist() == [[3.0], [1.0]]


def test_a_model_without_trees_answers_its_bias() -> None:
    forest = assemble([], n_features=2, bias=np.array([0.25]), where="model")
    assert forest.margin([[0.0, 1.0]]).tolist() == [[0.25]]


@pytest.mark.parametrize("name", ["adult", "spambase", "letter"])
def test_real_rows_end_in_the_same_leaves(name: str) -> None:
    X_train, y_train, X, _, _ = datasets.train_test(name, max_rows=4000)
    model = ensemble.RandomForestClassifier(10, random_state=0).fit(X_train, y_train)
    forest = read(model)
    np.testing.assert_array_equal(model.apply(X), forest.apply(X))
    np.testing.assert_array_equal(model.predict_proba(X), forest.predict_proba(X))
    boosted = ensemble.HistGradientBoostingClassifier(max_iter=5).fit(X_train, y_train)
    np.testing.assert_array_equal(boosted._raw_predict(X), read(boosted).margin(X))


def test_labels_that_end_in_nul_stay_apart() -> None:
    labels = np.array(["a", "a\0"], object)
    model = tree.DecisionTreeClassifier().fit([[0.0], [1.0]], labels)
    forest = read(model)
    assert (
        forest.predict([[0.0], [1.0]]).tolist() == labels.tolist() == model.predict([[0.0], [1.0]]).tolist()
    )
