"""The model inside a pipeline is read, compressed and judged on the rows that reach it, and what stays outside is said."""

import pickle
import warnings
from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost as xgb
import zoo
from numpy.typing import NDArray
from sklearn import compose, ensemble, impute, pipeline, preprocessing, tree
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from typer.testing import CliRunner

import ensemble_compress as ec
from ensemble_compress import cli
from ensemble_compress.errors import InputError, PipelineWarning, UnsupportedModelError
from ensemble_compress.readers import read, unwrap

X, Y = zoo.data("text")
FOREST = ensemble.RandomForestClassifier(8, max_depth=5, random_state=0)
STEPS = [ec.algorithms.PruneTrees(n_trees=4)]
SCALED = pipeline.make_pipeline(preprocessing.StandardScaler(), clone(FOREST)).fit(X, Y)


def quietly(work: Any, *arguments: Any, **options: Any) -> Any:
    """What `work` returns, with its warning of the steps that stay outside expected."""
    with pytest.warns(PipelineWarning, match="stays outside"):
        return work(*arguments, **options)


def nested() -> Any:
    inner = pipeline.Pipeline([("nothing", "passthrough"), ("turn", PCA(3)), ("forest", clone(FOREST))])
    return pipeline.Pipeline([("scale", preprocessing.StandardScaler()), ("rest", inner)]).fit(X, Y)


# -- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        FOREST,
        tree.DecisionTreeClassifier(max_depth=4),
        ensemble.BaggingClassifier(n_estimators=3, random_state=0),
        ensemble.AdaBoostClassifier(n_estimators=4, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=3),
        ensemble.HistGradientBoostingClassifier(max_iter=3),
        xgb.XGBClassifier(n_estimators=3, n_jobs=1),
        lgb.LGBMClassifier(**zoo.QUIET),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_last_step_is_read_from_any_library(model: Any) -> None:
    y = (Y == "yes").astype(int)
    whole = pipeline.make_pipeline(preprocessing.StandardScaler(), PCA(4), clone(model)).fit(X, y)
    text = f"last step .* was read, {type(model).__name__}; what comes before it, StandardScaler, PCA, stays outside: "
    with pytest.warns(PipelineWarning, match=text) as caught:
        forest = read(whole)
    assert str(caught[0].message).endswith("give the model that you get pipeline[:-1].transform(X)")
    assert caught[0].filename == __file__
    rows = whole[:-1].transform(X)
    np.testing.assert_array_equal(whole.predict(X), forest.predict(rows))
    np.testing.assert_allclose(forest.predict_proba(rows), whole.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "around",
    [
        lambda model: pipeline.Pipeline([("model", model)]),
        lambda model: pipeline.Pipeline([("no", "passthrough"), ("nor", None), ("model", model)]),
        FrozenEstimator,
        lambda model: FrozenEstimator(pipeline.Pipeline([("model", FrozenEstimator(model))])),
        lambda model: pipeline.Pipeline(
            [("no", "passthrough"), ("in", pipeline.Pipeline([("model", model)]))]
        ),
    ],
)
def test_what_changes_no_row_warns_of_nothing(around: Any) -> None:
    model = clone(FOREST).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(around(model)) == read(model)
        assert (
            ec.compress(around(model), X, Y, steps=STEPS).forest
            == ec.compress(model, X, Y, steps=STEPS).forest
        )


@pytest.mark.parametrize("frozen", ["not", "inside", "whole"])
def test_nested_pipelines_say_how_to_transform_rows(frozen: str) -> None:
    whole = nested()
    if frozen == "inside":
        whole = pipeline.Pipeline([("scale", FrozenEstimator(whole[0])), ("rest", FrozenEstimator(whole[1]))])
    if frozen == "whole":
        whole = FrozenEstimator(whole)
    forest, found = quietly(read, whole), unwrap(whole)
    assert found.how == "pipeline[-1][:-1].transform(pipeline[:-1].transform(X))"
    assert (found.names, found.is_frozen) == ("StandardScaler, PCA", frozen != "not")
    by_hand = eval(found.how, {"pipeline": whole, "X": X})
    np.testing.assert_array_equal(by_hand, found.transform(X))
    np.testing.assert_array_equal(whole.predict_proba(X), forest.predict_proba(by_hand))


def test_a_pipeline_without_a_model_at_its_end_is_refused() -> None:
    for last in ("passthrough", None):
        with pytest.raises(
            UnsupportedModelError,
            match=f"Pipeline cannot be read: its last step is {last!r}; expected a tree",
        ):
            read(pipeline.Pipeline([("scale", preprocessing.StandardScaler()), ("model", last)]))
    with pytest.raises(
        UnsupportedModelError, match="StandardScaler cannot be read: expected one of DecisionTree"
    ):
        read(pipeline.make_pipeline(preprocessing.StandardScaler()).fit(X))
    with (
        pytest.warns(PipelineWarning),
        pytest.raises(UnsupportedModelError, match="this RandomForestClassifier is not fitted"),
    ):
        read(pipeline.make_pipeline(preprocessing.StandardScaler(), FOREST))


def test_a_pipeline_that_answers_in_a_way_of_its_own_is_refused() -> None:
    class Sampling(pipeline.Pipeline):  # type: ignore[misc]
        def predict(self, X: Any, **params: Any) -> Any:
            return super().predict(X, **params)

    with pytest.raises(
        UnsupportedModelError, match=r"Sampling has a predict of its own, .*pass its last step"
    ):
        read(Sampling(SCALED.steps))


# -- compressing --------------------------------------------------------------------------------------------------


def test_rows_are_transformed_before_they_judge() -> None:
    rows = SCALED[0].transform(X)
    options: dict[str, Any] = {"tolerance": 0.02, "steps": STEPS, "validation": (rows[:80], Y[:80])}
    expected = ec.compress(SCALED[-1], rows, Y, **options)
    small = quietly(ec.compress, SCALED, X, Y, **options | {"validation": (X[:80], Y[:80])})
    assert small.forest == expected.forest
    assert small.report.score == expected.report.score
    assert small.report.notes[0] == (
        "the model is the last step of a pipeline; the compressed model takes rows that StandardScaler transformed:"
        " pipeline[:-1].transform(X)"
    )
    assert "StandardScaler stayed as fitted, also where the model was trained again" in small.report.notes


def test_clones_are_the_last_step_on_transformed_rows() -> None:
    class Recorded(ensemble.RandomForestClassifier):  # type: ignore[misc]
        seen: ClassVar[list[NDArray[Any]]] = []

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            self.seen.append(X)
            return super().fit(X, y, sample_weight)

    whole = pipeline.make_pipeline(
        preprocessing.FunctionTransformer(np.abs), Recorded(5, max_depth=3, random_state=0)
    )
    whole.fit(X, Y)
    small = quietly(ec.compress, whole, X, Y, tolerance=0.1, steps=STEPS)
    assert small.report.reference == "cross-fitted clones"
    assert len(Recorded.seen) == 5
    assert min(rows.min() for rows in Recorded.seen) >= 0 > X.min()


def test_a_frozen_model_is_not_trained_again() -> None:
    frozen = FrozenEstimator(SCALED[-1])
    small = ec.compress(frozen, X, Y, tolerance=0.05, steps=STEPS)
    assert small.report.reference == "in-sample"
    assert "the model is frozen: it was not trained again" in small.report.notes
    trained = ec.compress(SCALED[-1], X, Y, tolerance=0.05, steps=STEPS)
    assert trained.report.reference == "cross-fitted clones"


def test_rows_that_no_step_takes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"the steps before the model, StandardScaler, cannot transform X .*3 features"
    ):
        ec.compress(SCALED, X[:, :3], Y)


def test_packing_a_pipeline_packs_its_model() -> None:
    packed = quietly(ec.pack, SCALED)
    np.testing.assert_array_equal(SCALED.predict_proba(X), packed.predict_proba(SCALED[0].transform(X)))
    assert packed.report.notes[0].startswith("the model is the last step of a pipeline")


# -- meta-estimators ------------------------------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    colours = np.random.default_rng(0).choice(["red", "green", "blue"], len(X))
    return pd.DataFrame({"colour": colours, "size": X[:, 0], "mass": np.where(X[:, 1] > 1, np.nan, X[:, 1])})


def encoded(model: Any) -> Any:
    encode = compose.make_column_transformer(
        (preprocessing.OneHotEncoder(), ["colour"]),
        (impute.SimpleImputer(), ["size", "mass"]),
        sparse_threshold=1.0,
    )
    return pipeline.make_pipeline(encode, model)


def test_a_compressed_pipeline_takes_the_rows_that_the_pipeline_took() -> None:
    rows = frame()
    y = np.where((rows["size"] > 0) & (rows["colour"] != "red"), "yes", "no")
    model = ec.CompressedClassifier(
        encoded(ensemble.ExtraTreesClassifier(8, random_state=0)), tolerance=0.02, steps=STEPS
    )
    model.fit(rows, y, sample_weight=np.where(y == "yes", 2.0, 1.0))
    assert model.estimator_[-1].estimators_[0].tree_.weighted_n_node_samples[0] == (y == "yes").sum() + len(y)
    assert (model.n_features_in_, model.compressed_.n_features_in_) == (3, 5)
    assert model.score(rows, y) > 0.9
    inner = model.estimator_[:-1].transform(rows).toarray()
    np.testing.assert_array_equal(model.compressed_.predict_proba(inner), model.predict_proba(rows))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(rows), again.predict(rows))


def test_text_reaches_the_model_as_numbers() -> None:
    words = np.random.default_rng(0).choice(["up", "down", "left", "right"], (120, 3))
    texts = [" ".join(row) for row in words]
    y = (words == "up").any(axis=1)
    model = ec.CompressedClassifier(
        pipeline.make_pipeline(CountVectorizer(), clone(FOREST)), tolerance=0.02, steps=STEPS
    ).fit(texts, y)
    assert model.score(texts, y) > 0.95


def test_a_regression_pipeline_is_compressed() -> None:
    rows, y = zoo.data("regression")
    whole = pipeline.make_pipeline(
        preprocessing.StandardScaler(), ensemble.ExtraTreesRegressor(5, random_state=0)
    )
    model = ec.CompressedRegressor(whole, steps="lossless").fit(rows, y)
    np.testing.assert_array_equal(model.estimator_.predict(rows), model.predict(rows))


def test_weights_that_no_step_takes_are_refused() -> None:
    whole = pipeline.make_pipeline(preprocessing.StandardScaler(), Unweighted())
    with pytest.raises(InputError, match=r"Pipeline\.fit takes no sample_weight"):
        ec.CompressedClassifier(whole).fit(X, Y, sample_weight=np.ones(len(X)))


class Unweighted(tree.DecisionTreeClassifier):  # type: ignore[misc]
    def fit(self, X: Any, y: Any) -> Any:
        return super().fit(X, y)


# -- the command line and files -----------------------------------------------------------------------------------


def run(*arguments: Any) -> Any:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines")
    rows = frame()
    y = np.where((rows["size"] > 0) & (rows["colour"] != "red"), "yes", "no")
    (folder / "model.pkl").write_bytes(pickle.dumps(encoded(clone(FOREST)).fit(rows, y)))
    rows.assign(sold=y).to_csv(folder / "rows.csv", index=False)
    skops.io.dump(SCALED, folder / "scaled.skops")
    pd.DataFrame(X, columns=list("abcde")).assign(label=Y).to_csv(folder / "scaled.csv", index=False)
    return folder


def test_the_command_line_transforms_rows_by_the_pipeline(folder: Path, tmp_path: Path) -> None:
    whole = pickle.loads((folder / "model.pkl").read_bytes())
    table = ["--data", folder / "rows.csv", "--target-column", "sold", "--trust-pickle"]
    found = run("predict", folder / "model.pkl", "--output", tmp_path / "out.csv", *table)
    assert "stays outside" not in found.stderr
    expected = whole.predict(pd.read_csv(folder / "rows.csv"))
    np.testing.assert_array_equal(expected, pd.read_csv(tmp_path / "out.csv")["prediction"])
    found = run(
        "compress",
        folder / "model.pkl",
        *table,
        "--validation",
        folder / "rows.csv",
        "-o",
        tmp_path / "small.forest",
    )
    assert "warning: only the last step of the pipeline was read, RandomForestClassifier" in found.stderr
    assert "the compressed model takes rows that ColumnTransformer transformed" in " ".join(
        found.stdout.split()
    )
    small = ec.load(tmp_path / "small.forest")
    assert np.mean(small.predict(whole[0].transform(frame()).toarray()) == expected) > 0.95
    run("compare", folder / "model.pkl", folder / "model.pkl", *table)


def test_a_file_that_holds_a_pipeline_is_a_pipeline(folder: Path, tmp_path: Path) -> None:
    path = folder / "scaled.skops"
    assert quietly(read, path) == quietly(read, SCALED)
    expected = quietly(ec.compress, SCALED, X, Y, steps=STEPS)
    assert quietly(ec.compress, path, X, Y, steps=STEPS).forest == expected.forest
    for arguments in (["inspect", path], ["export", path, "-o", tmp_path / "model.forest"]):
        assert "give the model that you get pipeline[:-1].transform(X)" in run(*arguments).stderr
    assert ec.load(tmp_path / "model.forest").forest == quietly(ec.pack, SCALED).forest
    found = run("predict", path, "--data", folder / "scaled.csv", "-t", "label")
    assert found.stdout.splitlines()[1:] == SCALED.predict(X).tolist()


@pytest.mark.parametrize(
    "name", ["bagging", "adaboost gaps", "isolation forest columns", "boosting uniform", "tree monotonic"]
)
def test_files_of_every_kind_of_ensemble_are_read(name: str, tmp_path: Path) -> None:
    skops.io.dump(zoo.trained(name), tmp_path / "model.skops")
    assert read(tmp_path / "model.skops") == zoo.forest(name)
