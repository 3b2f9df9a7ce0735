"""The demonstration with small models; test_packaging runs it whole, in an environment of its own."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from test_cli import hide_the_compilers, run

import ensemble_compress as ec
from ensemble_compress import demo, emulate


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    models = {
        "random forest": RandomForestClassifier(5, max_depth=5, random_state=0),
        "gradient boosting": GradientBoostingClassifier(n_estimators=2, max_features="sqrt", random_state=0),
    }
    monkeypatch.setattr(demo, "_models", lambda: models)


def test_the_demo_compresses_exports_runs_and_compares(tmp_path):
    text = run("demo", "--output-dir", tmp_path / "kept").stdout
    assert text.count("450 of 450") == 4
    assert "Every test row gets the label that Python gives." in text
    for line in ("bytes, C tables", "accuracy", "labels equal to the model's", "microseconds, one row"):
        assert text.count(line) == 2
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "gradient_boosting.h",
        "gradient_boosting.so",
        "gradient_boosting.so.h",
        "random_forest.h",
        "random_forest.so",
        "random_forest.so.h",
    ]


@pytest.fixture
def compresses_quickly(monkeypatch):
    monkeypatch.setattr(ec, "compress", lambda model, X, y, tolerance: ec.pack(model), raising=False)


@pytest.mark.usefixtures("compresses_quickly")
def test_without_a_compiler_the_demo_says_what_it_skips(monkeypatch):
    hide_the_compilers(monkeypatch)
    text = run("demo").stdout
    assert "Skipped: compiling and running the exported models (no C compiler found" in text
    assert "450 of 450" not in text


@pytest.mark.usefixtures("compresses_quickly")
def test_a_label_that_differs_is_exit_code_1(monkeypatch):
    run_headers = emulate.run_headers

    def spoiled(models):
        answers = run_headers(models)
        name = next(iter(answers))
        labels = answers[name].labels.copy()
        labels[0] = (labels[0] + 1) % 10
        return {**answers, name: answers[name]._replace(labels=labels.astype(np.int32))}

    monkeypatch.setattr(emulate, "run_headers", spoiled)
    text = run("demo", exit_code=1).stdout
    assert "449 of 450" in text
    assert "Some labels differ from Python's" in text
