"""XGBoost: boosters, wrappers, and .json and .ubj files, read from the documented format without XGBoost.

A booster is asked for its own .ubj bytes, so objects and files take one way. What differs is who is speaking: a
wrapper stops at its best iteration and knows whether it is a classifier, a booster does not.

The margin starts from the base score and adds the trees in order, all in float32, as `predict(output_margin=True)`
does. `inplace_predict` of a DART model, which is what the wrappers call, rounds once more.

Labels are those of the margins. XGBoost compares probabilities, where margins that differ by less than their rounding
are a tie, which goes to the first class.

A level of a DataFrame that the model was not trained on counts as missing. XGBoost has no answer for it: newer versions
stop; 3.2 stops where the level comes behind all others by its bytes, and takes it for the next one otherwise.
"""

import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import ubjson
from ensemble_compress.readers.assemble import MAX_OUTPUTS, Tree, assemble
from ensemble_compress.readers.document import Section, as_section, parse_json
from ensemble_compress.readers.files import read_bytes
from ensemble_compress.readers.kinds import ask_fitted, find_base, refuse_subclass_answers
from ensemble_compress.readers.xgboost_trees import read_tree

WRAPPERS = ("XGBModel",)
CLASSIFIERS = ("XGBClassifier",)
OBJECTIVES = {
    "reg:squarederror": "identity",
    "reg:linear": "identity",
    "reg:squaredlogerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:absoluteerror": "identity",
    "reg:quantileerror": "identity",
    "reg:logistic": "sigmoid",
    "binary:logistic": "sigmoid",
    "binary:logitraw": "sigmoid",
    "binary:hinge": "step",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "count:poisson": "exp",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "survival:cox": "exp",
    "survival:aft": "exp",
    "rank:pairwise": "identity",
    "rank:ndcg": "identity",
    "rank:map": "identity",
}
"""The link of each objective. `binary:logitraw` is read as the classifier that it trains."""

VERSIONS = (1, 2, 3)
FREE_OUTPUTS = 1 << 12
"""Outputs that a model may have without a byte of its document for each."""
FREE_WORDS, WORDS_A_BYTE = 1 << 14, 4
"""Words of 32 bits that the sets of categories may take: some in any model, and some for each byte of its document. Models of
categories that are numbered without gaps take less than a third of a word for a byte."""
LARGEST_PROBABILITY = np.float32(1) - np.float32(1e-6)


class Speaker(NamedTuple):
    """Who hands the model over, as far as that changes what it answers."""

    stops_at_best: bool
    labels: NDArray[Any] | None
    is_classifier: bool | None


BOOSTER = Speaker(stops_at_best=False, labels=None, is_classifier=None)


def accepts(model: Any) -> bool:
    """Whether the model is a booster, a wrapper, or a path to a .json or .ubj file.

    Parameters
    ----------
    model : Any
        Any object.
    """
    if isinstance(model, Path):
        return model.suffix.lower() in (".json", ".ubj")
    return find_base(model, "xgboost", ("Booster", *WRAPPERS)) is not None


def read(model: Any) -> Forest:
    """The forest of an XGBoost model.

    Parameters
    ----------
    model : xgboost.Booster, fitted wrapper, or Path
        Boosters `gbtree` and `dart`, with any objective of `OBJECTIVES`.

    Raises
    ------
    UnsupportedModelError
        Not fitted, with an objective or booster that cannot be read, or of a class that predicts in a way of its own.
    ModelFileError
        The file is damaged, truncated or of another kind.
    """
    if isinstance(model, Path):
        return _read_document(*_parse_file(model), BOOSTER)
    refuse_subclass_answers(model, "xgboost")
    if find_base(model, "xgboost", WRAPPERS) is None:
        return _read_document(*_parse_booster(model, "Booster"), BOOSTER)
    booster = ask_fitted(model, lambda wrapper: wrapper.get_booster())
    return _read_document(*_parse_booster(booster, type(model).__name__), _speaker_of(model))


def _speaker_of(model: Any) -> Speaker:
    name, missing = type(model).__name__, model.missing
    if missing is not None and not math.isnan(missing):
        raise UnsupportedModelError(
            f"this {name} takes missing={missing} for a missing value; a forest knows only NaN: fit it with"
            " missing=np.nan on an X that has NaN there"
        )
    is_classifier = find_base(model, "xgboost", CLASSIFIERS) is not None
    if is_classifier and model.objective == "binary:logitraw":
        raise UnsupportedModelError(
            f"this {name} has the objective binary:logitraw, whose labels compare a margin with 0.5; fit it with"
            " objective='binary:logistic'"
        )
    return Speaker(True, np.asarray(model.classes_) if is_classifier else None, is_classifier)


def _parse_booster(booster: Any, name: str) -> tuple[Section, int]:
    """(The document of a booster, its bytes)."""
    try:
        booster.num_features()
    except ValueError as error:
        raise UnsupportedModelError(f"this {name} has no features; expected a trained model") from error
    data = bytes(booster.save_raw("ubj"))
    return as_section(ubjson.parse(data, name), name), len(data)


def _parse_file(path: Path) -> tuple[Section, int]:
    """(The document in a file, its bytes)."""
    data, name = read_bytes(path), path.name
    if path.suffix.lower() == ".ubj":
        document = as_section(ubjson.parse(data, name), name)
    else:
        document = as_section(parse_json(data, name), name)
    if "learner" not in document:
        raise UnsupportedModelError(
            f"{name} is JSON, but no XGBoost model: it has no 'learner'. Only XGBoost's save_model('model.json') and CatBoost's"
            " save_model('model.json', format='json') are read; for LightGBM save_model('model.txt')"
        )
    return document, len(data)


def _read_document(document: Section, n_bytes: int, speaker: Speaker) -> Forest:
    version = _version_of(document)
    learner = document.section("learner")
    parameters = learner.section("learner_model_param")
    objective = learner.section("objective").text("name")
    link, booster = _link_of(objective, learner.where), learner.section("gradient_booster")
    n_outputs = max(parameters.count("num_class"), parameters.count("num_target", 1), 1)
    most = min(MAX_OUTPUTS, FREE_OUTPUTS + n_bytes)
    if n_outputs > most:
        raise parameters.error(f"num_class or num_target is {n_outputs}; expected at most {most}")
    labels = _labels_of(speaker, objective, n_outputs, learner)
    model, weights = _trees_of(booster)
    sections = model.sections("trees")
    bias = _bias_of(parameters, objective, link, n_outputs, not sections)
    n_trees = _count_trees(learner, model, speaker)
    max_words = FREE_WORDS + WORDS_A_BYTE * n_bytes
    trees = _read_trees(sections[:n_trees], weights, n_outputs, version < [1, 7], max_words)
    others: dict[str, Any] = {}
    if all(tree.values.shape[1] == 1 for tree in trees):
        others["tree_output"] = _outputs_of(model, len(sections), n_outputs)[:n_trees]
    n_features = parameters.count("num_feature")
    return assemble(
        trees,
        n_features=n_features,
        bias=bias,
        where=document.where,
        link=link,
        classes=labels,
        feature_names=_names_of(learner, n_features),
        categories=_levels_of(model, n_features),
        absent_is_missing=True,
        **others,
    )


def _version_of(document: Section) -> list[int]:
    """What saved the model; the newest that is read where the document doesn't say."""
    if "version" not in document:
        return [VERSIONS[-1]]
    version: list[int] = document.numbers("version", np.int64).tolist()
    if len(version) != 3 or version[0] not in VERSIONS:
        raise UnsupportedModelError(
            f"{document.where}: it was saved by XGBoost {'.'.join(map(str, version[:3]))}; files of XGBoost"
            f" {VERSIONS[0]} to {VERSIONS[-1]} are read: save the model with one of these, or upgrade ensemble-compress"
        )
    return version


def _read_trees(
    sections: list[Section],
    weights: NDArray[np.float32],
    n_outputs: int,
    unseen_is_missing: bool,
    max_words: int,
) -> list[Tree]:
    trees: list[Tree] = []
    for t, section in enumerate(sections):
        if section.count("id", t) != t:
            raise section.error(f"its id is {section.count('id')}; expected {t}")
        trees.append(read_tree(section, weights[t], n_outputs, unseen_is_missing, max_words))
        max_words -= len(trees[t].sets.words)
    return trees


def _link_of(objective: str, where: str) -> str:
    if objective not in OBJECTIVES:
        raise UnsupportedModelError(
            f"{where}: the objective {objective[:40]!r} cannot be read; expected one of {', '.join(OBJECTIVES)}"
        )
    return OBJECTIVES[objective]


def _labels_of(speaker: Speaker, objective: str, n_outputs: int, learner: Section) -> NDArray[Any] | None:
    is_binary, is_multiclass = objective.startswith("binary:"), objective.startswith("multi:")
    if is_binary and n_outputs > 1:
        raise UnsupportedModelError(
            f"{learner.where}: {n_outputs} outputs of {objective} tell several labels a row, which cannot be read; fit"
            " one classifier a label"
        )
    if speaker.is_classifier and not (is_binary or is_multiclass or objective == "reg:logistic"):
        raise UnsupportedModelError(
            f"{learner.where}: a classifier with the objective {objective!r} cannot be read"
        )
    labels = np.arange(n_outputs if is_multiclass else 2) if is_binary or is_multiclass else None
    if speaker.is_classifier is None or objective == "multi:softmax":
        return labels if speaker.labels is None else speaker.labels
    if speaker.labels is not None and len(speaker.labels) < 2 and not is_multiclass:
        # Fitted on one class, XGBoost still answers for two, of which it calls the first 0.
        return np.arange(2)
    return speaker.labels


def _trees_of(booster: Section) -> tuple[Section, NDArray[np.float32]]:
    """(the tree model, the weight of each tree); older versions keep a DART model's trees one floor deeper."""
    name = booster.text("name")
    if name not in ("gbtree", "dart"):
        raise UnsupportedModelError(
            f"{booster.where}: the booster {name[:40]!r} has no trees; expected gbtree or dart"
        )
    model = (booster.section("gbtree") if name == "dart" else booster).section("model")
    n_trees = model.section("gbtree_model_param").count("num_trees")
    n_found = len(model.sections("trees"))
    if n_found != n_trees:
        raise model.error(f"trees has {n_found} entries; num_trees says {n_trees}")
    holder = model if "weight_drop" in model else booster
    if "weight_drop" not in holder:
        return model, np.ones(n_trees, np.float32)
    # A tree that was added without dropout has no weight yet, and comes after those that have.
    weights = holder.numbers("weight_drop", np.float32)
    if len(weights) > n_trees:
        raise holder.error(f"weight_drop has {len(weights)} entries for {n_trees} trees")
    return model, np.append(weights, np.ones(n_trees - len(weights), np.float32))


def _bias_of(
    parameters: Section, objective: str, link: str, n_outputs: int, has_no_trees: bool
) -> NDArray[np.float32]:
    """The base score as a margin: float32, each step rounded as XGBoost rounds it."""
    text = parameters.text("base_score")
    if has_no_trees and text.startswith("[") and parameters.count("boost_from_average", 0):
        # XGBoost (3.1 and 3.2) never turns a base score that it was to estimate and did not into a margin.
        link = "identity"
    try:
        if not text.isascii() or "_" in text:  # both of which Python takes
            raise ValueError("digits of another kind")
        with np.errstate(over="ignore"):
            score = np.array([float(part) for part in text.strip("[]").split(",")]).astype(np.float32)
    except ValueError as error:
        raise parameters.error(
            f"base_score is {text[:40]!r}; expected a number or a list of numbers"
        ) from error
    if len(score) not in (1, n_outputs) or not np.isfinite(score).all():
        raise parameters.error(f"base_score is {text[:40]!r}; expected 1 or {n_outputs} finite numbers")
    if link == "sigmoid" and objective != "binary:logitraw":
        if not ((score >= 0) & (score <= 1)).all():
            raise parameters.error(f"base_score is {text[:40]!r}; expected a probability for {objective}")
        odds = np.float32(1) / np.clip(score, np.float32(1e-6), LARGEST_PROBABILITY) - np.float32(1)
        score = np.array([-math.log(o) for o in odds], np.float32)
    elif link == "exp":
        if not (score > 0).all():
            raise parameters.error(f"base_score is {text[:40]!r}; expected a number above 0 for {objective}")
        score = np.array([math.log(s) for s in score], np.float32)
    return np.asarray(np.broadcast_to(score, (n_outputs,)).astype(np.float32))


def _count_trees(learner: Section, model: Section, speaker: Speaker) -> int:
    """How many trees count: up to the best iteration for whoever stops there."""
    n_trees = len(model.sections("trees"))
    attributes = learner.section("attributes") if "attributes" in learner else Section({}, learner.where)
    if "best_iteration" not in attributes or not (speaker.stops_at_best or "scikit_learn" in attributes):
        return n_trees
    best = attributes.count("best_iteration")
    ends = (
        model.numbers("iteration_indptr", np.int64) if "iteration_indptr" in model else _ends(model, learner)
    )
    if best + 1 >= len(ends):
        raise attributes.error(f"best_iteration is {best}, and there are {len(ends) - 1} iterations")
    if not 0 <= ends[best + 1] <= n_trees:
        raise model.error(f"iteration_indptr ends iteration {best} after tree {ends[best + 1]} of {n_trees}")
    return int(ends[best + 1])


def _ends(model: Section, learner: Section) -> NDArray[np.int64]:
    parameters = learner.section("learner_model_param")
    n_parallel = max(1, model.section("gbtree_model_param").count("num_parallel_tree", 1))
    step = n_parallel * max(parameters.count("num_class"), parameters.count("num_target", 1), 1)
    return np.arange(0, len(model.sections("trees")) + 1, step)


def _outputs_of(model: Section, n_trees: int, n_outputs: int) -> NDArray[np.int32]:
    outputs = model.numbers("tree_info", np.int32, n_trees)
    if ((outputs < 0) | (outputs >= n_outputs)).any():
        raise model.error(f"tree_info names the output {outputs.max()}; there are {n_outputs}")
    return outputs


def _names_of(learner: Section, n_features: int) -> tuple[str, ...] | None:
    names = learner.texts("feature_names") if "feature_names" in learner else []
    if names and len(names) != n_features:
        raise learner.error(f"feature_names has {len(names)} entries; num_feature is {n_features}")
    return tuple(names) or None


def _levels_of(model: Section, n_features: int) -> tuple[tuple[Any, ...] | None, ...] | None:
    """The levels of the categorical columns of a DataFrame that the model was trained on, if it keeps them."""
    columns = model.section("cats").sections("enc") if "cats" in model else []
    if not columns:
        return None
    if len(columns) != n_features:
        raise model.error(f"cats has {len(columns)} entries; num_feature is {n_features}")
    levels = [_texts_of(column) if "offsets" in column else _whole_numbers_of(column) for column in columns]
    return tuple(levels) if any(levels) else None


def _texts_of(column: Section) -> tuple[str, ...] | None:
    data = column.numbers("values", np.int16).astype(np.uint8).tobytes()
    ends = column.numbers("offsets", np.int64)
    if len(ends) and (ends[0] != 0 or ends[-1] != len(data) or (ends[1:] < ends[:-1]).any()):
        raise column.error("offsets do not cut up values")
    if not data.isascii():
        # XGBoost (seen in 3.2) cuts up the bytes at the lengths of the characters, so such names are lost.
        raise UnsupportedModelError(
            f"{column.where}: XGBoost does not save the names of categories whole unless they are ASCII; rename them, or"
            " train on their codes"
        )
    return tuple(data[a:b].decode() for a, b in itertools.pairwise(ends.tolist())) or None


def _whole_numbers_of(column: Section) -> tuple[int, ...] | None:
    return tuple(column.numbers("values", np.int64).tolist()) or None
