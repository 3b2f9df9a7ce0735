"""A model that answers otherwise than its trees do is refused by name, whatever library it comes from."""

from typing import Any

import catboost
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
import zoo

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.readers import read

QUIET = {"iterations": 3, "verbose": 0, "allow_writing_files": False}
KINDS: list[tuple[type, dict[str, Any]]] = [
    (xgb.XGBClassifier, {"n_estimators": 3}),
    (xgb.XGBRFClassifier, {"n_estimators": 3}),
    (lgb.LGBMClassifier, {"n_estimators": 3, "verbose": -1, "n_jobs": 1}),
    (catboost.CatBoostClassifier, QUIET),
    (catboost.CatBoost, {"params": QUIET | {"loss_function": "Logloss"}}),
]
OWN_ANSWERS = [
    (kind, options, method)
    for kind, options in KINDS
    for method in ("predict", "predict_proba", "decision_function")
]


@pytest.mark.parametrize(("kind", "options", "method"), OWN_ANSWERS)
def test_a_subclass_that_answers_in_a_way_of_its_own_is_refused(
    kind: type, options: dict[str, Any], method: str
) -> None:
    X, y = zoo.data("binary")
    upside_down = type("UpsideDown", (kind,), {method: lambda self, X, **options: 1 - len(X)})
    model = upside_down(**options).fit(X, y)
    expected = (
        rf"UpsideDown has a {method} of its own, .* as {kind.__name__} does; pass a fitted {kind.__name__}"
    )
    with pytest.raises(UnsupportedModelError, match=expected):
        read(model)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_subclass_that_answers_as_its_library_does_is_read(kind: type, options: dict[str, Any]) -> None:
    X, y = zoo.data("binary")
    named = type("Named", (kind,), {"__doc__": "A name only.", "describe": lambda self: "mine"})
    expected = kind(**options).fit(X, y)
    np.testing.assert_array_equal(read(expected).margin(X), read(named(**options).fit(X, y)).margin(X))


@pytest.mark.parametrize("library", [xgb, lgb])
def test_a_booster_that_answers_in_a_way_of_its_own_is_refused(library: Any) -> None:
    class Shifted(library.Booster):  # type: ignore[misc]
        def predict(self, *rows: Any, **options: Any) -> Any:
            return super().predict(*rows, **options) + 1

    X, y = zoo.data("binary")
    if library is xgb:
        model = Shifted()
        model.load_model(xgb.train({}, xgb.DMatrix(X, y), 2).save_raw("ubj"))
    else:
        trained = lgb.train({"verbose": -1, "num_threads": 1}, lgb.Dataset(X, y), 2)
        model = Shifted(model_str=trained.model_to_string())
    with pytest.raises(UnsupportedModelError, match=r"Shifted has a predict of its own, .* a fitted Booster"):
        read(model)


def test_lightgbm_that_stops_early_in_predicting_is_refused() -> None:
    X, y = zoo.data("binary")
    model = lgb.LGBMClassifier(
        n_estimators=50,
        verbose=-1,
        n_jobs=1,
        pred_early_stop=True,
        pred_early_stop_margin=0.5,
        pred_early_stop_freq=5,
    ).fit(X, y)
    stopped = model.predict_proba(X)
    with pytest.raises(
        UnsupportedModelError, match=r"pred_early_stop, .* call set_params\(pred_early_stop=False\)"
    ):
        read(model)
    model.set_params(pred_early_stop=False)
    np.testing.assert_allclose(model.predict_proba(X), read(model).predict_proba(X), rtol=1e-12)
    assert np.abs(stopped - model.predict_proba(X)).max() > 0.1
    model.set_params(pred_early_stop="true")
    np.testing.assert_array_equal(
        read(model.booster_).margin(X), model.booster_.predict(X, raw_score=True)[:, None]
    )
