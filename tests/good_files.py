"""Good model files of every format, small ones, for `mutations` to damage. A file joins by a line in `BASES`."""

import functools
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import skops.io
import treelite
import zoo

import ensemble_compress as ec


class Base(NamedTuple):
    """A good file: its name, its suffix, and how it comes to be."""

    name: str
    suffix: str
    save: Callable[[Any, Path], Any]
    make: Callable[[str], Any] = zoo.trained

    def __str__(self) -> str:
        return f"{self.name}{self.suffix}"


def _with_levels(name: str) -> Any:
    """A booster that remembers the levels of a DataFrame's columns."""
    X, y = zoo.data("binary")
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    frame["level"] = pd.Categorical(np.array(["low", "middle", "high"])[np.digitize(X[:, 3], [-0.5, 0.5])])
    if name.startswith("lgb"):
        return zoo.lgb.LGBMClassifier(**zoo.QUIET, min_data_per_group=5).fit(frame, y)
    return zoo.xgb.XGBClassifier(**zoo.SMALL, enable_categorical=True).fit(frame, y)


def _save_xgboost(model: Any, path: Path) -> None:
    model.save_model(path)


def _save_lightgbm(model: Any, path: Path) -> None:
    model.booster_.save_model(path)


def _save_catboost(model: Any, path: Path) -> None:
    """What CatBoost writes, without the time and the random name of the training."""
    model.save_model(str(path), format="json")
    document = json.loads(path.read_bytes())
    document["model_info"] = {"params": document["model_info"]["params"]}
    path.write_text(json.dumps(document))


def _save_treelite(model: Any, path: Path) -> None:
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        imported = treelite.frontend.from_xgboost(model.get_booster())
    elif library == "lightgbm":
        imported = treelite.frontend.from_lightgbm(model.booster_)
    else:
        imported = treelite.sklearn.import_model(model)
    imported.serialize(path)


def _save_skops(model: Any, path: Path) -> None:
    """What skops writes, with the addresses in it counted, for they change from one process to the next."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    addresses = re.findall(rb"\d{12,}", members["schema.json"])
    numbers = {address: b"%d" % i for i, address in enumerate(dict.fromkeys(addresses), 1000)}

    def counted(text: bytes) -> bytes:
        return re.sub(rb"\d{12,}", lambda found: numbers.get(found[0], found[0]), text)

    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            is_text = name.endswith(".json")
            archive.writestr(
                zipfile.ZipInfo(counted(name.encode()).decode()), counted(content) if is_text else content
            )


def _save_forest(model: Any, path: Path) -> None:
    ec.pack(model).save(path)


BASES = (
    Base("xgb partitions", ".json", _save_xgboost),
    Base("xgb multiclass", ".json", _save_xgboost),
    Base("xgb vector leaves", ".json", _save_xgboost),
    Base("xgb dart", ".json", _save_xgboost),
    Base("xgb levels", ".json", _save_xgboost, _with_levels),
    Base("xgb partitions", ".ubj", _save_xgboost),
    Base("xgb stopped early", ".ubj", _save_xgboost),
    Base("xgb levels", ".ubj", _save_xgboost, _with_levels),
    Base("lgb categories missing", ".txt", _save_lightgbm),
    Base("lgb multiclass", ".txt", _save_lightgbm),
    Base("lgb random forest", ".txt", _save_lightgbm),
    Base("lgb levels", ".txt", _save_lightgbm, _with_levels),
    Base("cat one-hot", ".json", _save_catboost),
    Base("cat one-hot depthwise", ".json", _save_catboost),
    Base("cat multiclass", ".json", _save_catboost),
    Base("cat lossguide two columns", ".json", _save_catboost),
    Base("xgb partitions", ".tl", _save_treelite),
    Base("xgb vector leaves", ".tl", _save_treelite),
    Base("lgb multiclass", ".tl", _save_treelite),
    Base("random forest gaps", ".tl", _save_treelite),
    Base("hist categories", ".forest", _save_forest),
    Base("xgb multiclass", ".forest", _save_forest),
    Base("random forest text", ".skops", _save_skops),
    Base("boosting exponential", ".skops", _save_skops),
    Base("hist categories missing", ".skops", _save_skops),
)


@functools.cache
def good(base: Base) -> bytes:
    """The bytes of the undamaged file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{base.suffix}")
        base.save(base.make(base.name), path)
        return path.read_bytes()
