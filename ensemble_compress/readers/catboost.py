"""CatBoost: fitted objects, .json and .cbm files, read from the JSON export; a .json file needs no CatBoost.

An object is asked for its own JSON export, so objects and files take one way. Python reads the numbers of the export to
the last bit, which CatBoost's own reader of it does not.

CatBoost sums the leaves in float64, in the order of the trees from 0, multiplies by the scale and adds the bias at the
very end; so does the forest, and margins are equal to the bit. A scale that is a power of two goes into the leaves; another,
which nothing but `set_scale_and_bias` makes, would round there and is refused.

A plain `CatBoost` object or a file, which give margins, are read as the classifier or regressor of their loss.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError, in_short
from ensemble_compress.forest import Forest
from ensemble_compress.readers.assemble import MAX_OUTPUTS, assemble
from ensemble_compress.readers.catboost_cbm import no_export, read_cbm
from ensemble_compress.readers.catboost_features import read_features
from ensemble_compress.readers.catboost_trees import leaf_numbers, read_trees
from ensemble_compress.readers.document import Section, as_section, parse_json
from ensemble_compress.readers.files import read_bytes
from ensemble_compress.readers.kinds import find_base, refuse_subclass_answers

RAW = (
    *("RMSE", "MAE", "Quantile", "MultiQuantile", "LogLinQuantile", "MAPE", "Lq", "Huber", "Expectile", "LogCosh"),
    *("RMSPE", "MultiRMSE", "MultiRMSEWithMissingValues", "SurvivalAft", "Cox", "GroupQuantile"),
    *("YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "QueryRMSE", "QuerySoftMax", "LambdaMart"),
    *("QueryCrossEntropy", "StochasticFilter", "StochasticRank"),
    *("PythonUserDefinedPerObject", "PythonUserDefinedMultiTarget"),
)  # fmt: skip
LOSSES = dict.fromkeys(RAW, "identity") | {
    "Poisson": "exp",
    "Tweedie": "exp",
    "Logloss": "sigmoid",
    "CrossEntropy": "sigmoid",
    "Focal": "sigmoid",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "sigmoid",
}
"""The link of each loss, as the wrappers' `predict` and `predict_proba` apply it."""

REFUSED = {
    "RMSEWithUncertainty": "its two outputs, mean and variance, have different links: fit with loss_function='RMSE'",
    "MultiLogloss": "it tells several labels a row: fit one classifier a label",
    "MultiCrossEntropy": "it tells several labels a row: fit one classifier a label",
}
BINARY, SEVERAL = ("Logloss", "CrossEntropy", "Focal"), ("MultiClass", "MultiClassOneVsAll")
FIRST_KEYS = (b"features_info", b"model_info", b"oblivious_trees", b"scale_and_bias", b"ctr_data")


def accepts(model: Any) -> bool:
    """Whether the model is an object of CatBoost, or a path to a .cbm file or a .json export.

    Parameters
    ----------
    model : Any
        Any object.
    """
    if isinstance(model, Path):
        suffix = model.suffix.lower()
        return suffix == ".cbm" or (suffix == ".json" and _is_export(model))
    return find_base(model, "catboost", ("CatBoost",)) is not None


def read(model: Any) -> Forest:
    """The forest of a CatBoost model.

    Parameters
    ----------
    model : fitted CatBoost, CatBoostClassifier, CatBoostRegressor or CatBoostRanker, or Path
        Trees of any `grow_policy` on numeric and one-hot features, with any loss of `LOSSES`.

    Raises
    ------
    UnsupportedModelError
        Not fitted, or with a loss or features that cannot be read exactly.
    ModelFileError
        The file is damaged, truncated or of another kind.
    MissingPackageError
        A .cbm file, and CatBoost is not installed.
    """
    if isinstance(model, Path) and model.suffix.lower() == ".json":
        return _read_document(as_section(parse_json(read_bytes(model), model.name), model.name))
    if isinstance(model, Path):
        return _read_document(*read_cbm(model))
    name = type(model).__name__
    refuse_subclass_answers(model, "catboost")
    if not model.is_fitted():
        raise UnsupportedModelError(f"this {name} is not fitted; call fit first")
    is_ranker = find_base(model, "catboost", ("CatBoostRanker",)) is not None
    return _read_document(_export(model, name), lambda t: _numbers_of(model, t), is_ranker)


def _is_export(path: Path) -> bool:
    """Whether the first key of a JSON file is one of an export's: XGBoost's begin otherwise."""
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError:
        return False
    first = re.match(rb'\s*\{\s*"(\w*)"', start)
    return first is not None and first[1] in FIRST_KEYS


def _numbers_of(model: Any, t: int) -> NDArray[np.int64]:
    # What plot_tree draws by.
    return leaf_numbers(model._get_tree_step_nodes(t), model._get_tree_node_to_leaf(t))


def _export(model: Any, name: str) -> Section:
    """The model as CatBoost writes it to JSON."""
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as folder:
        path = Path(folder) / "model.json"
        try:
            model.save_model(str(path), format="json")
        except Exception as error:
            raise no_export(f"this {name}", str(error)) from error
        return as_section(parse_json(path.read_bytes(), name), name)


def _read_document(
    document: Section, numbers_of: Callable[[int], NDArray[np.int64]] | None = None, is_ranker: bool = False
) -> Forest:
    """The forest of an export; `numbers_of` knows the numbers of the leaves of tree t, which an export does not."""
    information = document.section("model_info") if "model_info" in document else Section({}, document.where)
    loss = _loss_of(information)
    scale, bias = _scale_and_bias(document)
    features = read_features(document.section("features_info"))
    trees = read_trees(document, features, numbers_of)
    n_outputs = trees[0].values.shape[1] if trees else len(bias)
    if len(bias) != n_outputs and (len(bias) != 1 or bias.any()):
        raise document.error(f"scale_and_bias has {len(bias)} biases for {n_outputs} outputs")
    if n_outputs > MAX_OUTPUTS or (loss in BINARY and n_outputs > 1):
        raise document.error(f"its leaves have {n_outputs} values, which the loss {loss} does not make")
    with np.errstate(over="ignore"):
        trees = [tree._replace(values=tree.values * scale) for tree in trees]
    return assemble(
        trees,
        n_features=features.n_features,
        bias=np.broadcast_to(bias, (n_outputs,)).copy(),
        where=document.where,
        bias_last=bool(bias.any()),
        category_rule="exact",
        link="identity" if is_ranker else LOSSES[loss],
        classes=None if is_ranker else _labels_of(information, loss, n_outputs),
        feature_names=features.names,
        categories=features.categories,
    )


def _loss_of(information: Section) -> str:
    """The name of the loss; a sum of models keeps it as text of its own."""
    if "params" in information:
        loss = information.section("params").section("loss_function").text("type")
    elif "loss_function" in information:
        text = information.text("loss_function")
        where = f"{information.where}, loss_function"
        loss = as_section(parse_json(text.encode(), where), where).text("type")
    else:
        raise UnsupportedModelError(
            f"{information.where} does not say which loss the model was trained on, so its predictions have no link;"
            " export the model that CatBoost trained"
        )
    if loss not in LOSSES:
        advice = REFUSED.get(loss, f"expected one of {', '.join(LOSSES)}")
        raise UnsupportedModelError(
            f"{information.where}: the loss {in_short(repr(loss))} cannot be read: {advice}"
        )
    return loss


def _scale_and_bias(document: Section) -> tuple[float, NDArray[np.float64]]:
    if "scale_and_bias" not in document:
        return 1.0, np.zeros(1)
    pair = document.values["scale_and_bias"]
    if not isinstance(pair, list) or len(pair) != 2:
        raise document.error(f"scale_and_bias is {str(pair)[:40]!r}; expected a scale and a list of biases")
    parts = Section(
        {"scale": [pair[0]], "bias": pair[1] if isinstance(pair[1], list) else [pair[1]]}, document.where
    )
    scale, bias = parts.numbers("scale", np.float64), parts.numbers("bias", np.float64)
    if not len(bias) or not np.isfinite(bias).all() or not np.isfinite(scale[0]):
        raise document.error(f"scale_and_bias is {str(pair)[:40]!r}; expected finite numbers")
    if abs(np.frexp(scale[0])[0]) != 0.5:
        raise UnsupportedModelError(
            f"{document.where}: its sums are multiplied by {scale[0]:g}, which cannot be read exactly unless it is a power of"
            " two; call set_scale_and_bias(1, bias) and scale the predictions yourself"
        )
    return float(scale[0]), bias


def _labels_of(information: Section, loss: str, n_outputs: int) -> NDArray[Any] | None:
    has_classes = "class_params" in information
    if loss not in BINARY + SEVERAL:
        if has_classes:
            raise UnsupportedModelError(
                f"{information.where}: a classifier trained on {loss} cannot be read, as nothing says what its labels"
                " compare; fit it with a named loss such as Logloss or MultiClass"
            )
        return None
    threshold = information.values.get("binclass_probability_threshold", "0.5")
    if loss in BINARY and str(threshold) != "0.5":
        raise UnsupportedModelError(
            f"{information.where}: it predicts the second class from the probability {in_short(threshold)} on, and a forest from"
            " 0.5; call set_probability_threshold(0.5) and compare predict_proba with your threshold"
        )
    n_classes = 2 if loss in BINARY else n_outputs
    labels = _names_of_classes(information.section("class_params")) if has_classes else np.arange(n_classes)
    if len(labels) != n_classes:
        raise UnsupportedModelError(
            f"{information.where}: it was declared {len(labels)} classes and trained on rows of {n_classes}; fit it"
            " without classes_count, and with class_names of classes that occur"
        )
    return labels


def _names_of_classes(classes: Section) -> NDArray[Any]:
    kind = classes.text("class_label_type")
    if not classes.values.get("class_names"):
        count = classes.count("classes_count", 0) or len(classes.numbers("class_to_label", np.float64))
        if count > MAX_OUTPUTS:
            raise classes.error(f"classes_count is {count}; expected at most {MAX_OUTPUTS}")
        return np.arange(count)
    if kind == "String":
        return np.array(classes.texts("class_names"))
    types: dict[str, Any] = {"Integer": np.int64, "Float": np.float64, "Boolean": np.uint8}
    if kind not in types:
        raise classes.error(
            f"class_label_type is {kind[:40]!r}; expected String or one of {', '.join(types)}"
        )
    labels = classes.numbers("class_names", types[kind])
    return labels.astype(bool) if kind == "Boolean" else labels
