"""Model files: which are taken, what a damaged one is told, and that none runs code or needs its own library."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import treelite
import xgboost as xgb
import zoo
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import FunctionTransformer, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from ensemble_compress.errors import (
    EnsembleCompressError,
    MissingPackageError,
    ModelFileError,
    ParameterError,
    UnsupportedModelError,
)
from ensemble_compress.readers import load_model, read, ubjson

SKOPS = ["random forest text", "boosting exponential", "hist categories missing", "hist gamma", "xgb binary", "lgb multiclass"]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good file of each text format."""
    folder = tmp_path_factory.mktemp("models")
    zoo.trained("xgb partitions").save_model(folder / "model.json")
    zoo.trained("xgb partitions").save_model(folder / "model.ubj")
    zoo.trained("lgb categories").booster_.save_model(folder / "model.txt")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_forest_is_returned_as_it_is() -> None:
    assert read(zoo.forest("tree binary")) is zoo.forest("tree binary")


@pytest.mark.parametrize("name", SKOPS)
def test_a_skops_file_gives_the_estimator_back(name: str, tmp_path: Path) -> None:
    skops.io.dump(zoo.trained(name), tmp_path / "model.skops")
    assert type(load_model(tmp_path / "model.skops")) is type(zoo.trained(name))
    assert read(str(tmp_path / "model.skops")) == zoo.forest(name)


def test_a_skops_file_with_foreign_types_is_refused_by_their_names(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(subprocess.check_output), DecisionTreeClassifier())
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(
        UnsupportedModelError, match=r"model.skops holds types .*: subprocess.check_output; they are not"
    ):
        read(tmp_path / "model.skops")


def test_a_skops_file_of_another_estimator_is_told_what_to_do(tmp_path: Path) -> None:
    skops.io.dump(make_pipeline(StandardScaler()), tmp_path / "model.skops")
    with pytest.raises(
        UnsupportedModelError, match="StandardScaler cannot be read: expected one of Decision"
    ):
        read(tmp_path / "model.skops")


@pytest.mark.parametrize("cut", [10, 500, -100])
def test_a_truncated_skops_file_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(zoo.trained("tree binary"), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match=r"model.skops: not a .skops file, or a truncated one"):
        read(path)


def test_a_zip_that_is_no_skops_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ModelFileError, match=r"model.skops: a damaged .skops file"):
        read(tmp_path / "model.skops")


def test_skops_is_named_when_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.skops").write_bytes(b"something")
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MissingPackageError, match=r'needs skops: pip install "ensemble-compress\[skops\]"'):
        read(tmp_path / "model.skops")


@pytest.mark.parametrize("suffix", ["pkl", "joblib", "pickle"])
def test_a_pickle_is_loaded_only_when_it_is_trusted(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    joblib.dump(zoo.trained("random forest"), path)
    with pytest.raises(ParameterError, match=r"is a pickle, and loading a pickle runs the code it holds"):
        read(path)
    assert isinstance(load_model(path, trust_pickle=True), RandomForestClassifier)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelFileError, match="the pickle cannot be loaded"):
        load_model(path, trust_pickle=True)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.txt", "model.skops"])
def test_an_empty_a_missing_and_a_folder_for_a_file_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(ModelFileError, match="no such model file"):
        read(path)
    path.touch()
    with pytest.raises(ModelFileError, match=f"{name}: the model file is empty; save the model again"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelFileError, match="expected a model file, found a directory"):
        read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.forest", r".*open it with ensemble_compress.load\(path\)"),
        ("model.bin", r".*before 3.1 and save it again with save_model\('model.json'\)"),
        ("model.onnx", "ONNX models cannot be read"),
        (
            "model.xyz",
            r"unknown suffix '.xyz'; expected .json \(XGBoost, CatBoost\), .ubj \(XGBoost\), .* or .skops",
        ),
    ],
)
def test_other_files_are_refused_by_name(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(UnsupportedModelError, match=f"{name}: {text}"):
        read(tmp_path / name)


def test_other_objects_are_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"cannot read a model of type builtins.int; expected a fitted tree"
    ):
        read(5)
    with pytest.raises(
        UnsupportedModelError, match=r"is a class; expected a fitted model: RandomForestClassifier\(...\)"
    ):
        read(RandomForestClassifier)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.txt"])
def test_a_truncated_file_is_refused_wherever_it_is_cut(
    name: str, saved: dict[str, bytes], tmp_path: Path
) -> None:
    data, path = saved[name], tmp_path / name
    end = data.index(b"\nend of trees") if name == "model.txt" else len(data.rstrip()) - 1
    for cut in np.unique(np.linspace(5, end, 120).astype(int)).tolist():
        path.write_bytes(data[:cut])
        with pytest.raises((ModelFileError, UnsupportedModelError), match=r"truncated|version None"):
            read(path)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.txt"])
def test_a_damaged_byte_gives_a_forest_or_an_error_of_ours(
    name: str, saved: dict[str, bytes], tmp_path: Path
) -> None:
    random, path, n_refused = np.random.default_rng(0), tmp_path / name, 0
    for _ in range(250):
        data = bytearray(saved[name])
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        try:
            read(path)
        except EnsembleCompressError:
            n_refused += 1
    assert n_refused > 20


def _tree(document: Any) -> Any:
    return document["learner"]["gradient_booster"]["model"]["trees"][1]


def _set(*keys: Any, to: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


def _in_tree(*keys: Any, to: Any) -> Callable[[Any], None]:
    return lambda document: _set(*keys, to=to)(_tree(document))


def _drop_from_tree(key: str) -> Callable[[Any], None]:
    return lambda document: _tree(document).pop(key)


MODEL = ("learner", "gradient_booster", "model")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_in_tree("left_children", 0, to=0), "tree 1, node 0: one of its children, .*has another parent or is the root"),
        (_in_tree("left_children", 0, to=999), "tree 1, node 0: one of its children, .* is none of the tree's"),
        (_in_tree("right_children", 0, to=-1), "trees 1: node 0 has one child; expected two or none"),
        (_in_tree("left_children", 0, to=1.5), "trees 1: left_children holds something other than whole numbers"),
        (_in_tree("left_children", 0, to="1"), "trees 1: left_children holds something other than whole numbers"),
        (_in_tree("left_children", 0, to=[1]), "trees 1: left_children holds something other than whole numbers"),
        (_in_tree("left_children", 0, to=1 << 70), "trees 1: left_children holds a number that is too large for what it counts"),
        (_in_tree("split_indices", 0, to=77), "tree 1, node 0 tests feature 77, which cannot be"),
        (_in_tree("split_conditions", 0, to=float("nan")), "tree 1, node 0 has the threshold nan"),
        (_in_tree("split_conditions", to=[1.0]), r"trees 1: split_conditions has 1 entries; expected \d+"),
        (_in_tree("split_conditions", to={}), "trees 1: split_conditions is dict; expected a list of numbers"),
        (_in_tree("sum_hessian", to=None), "trees 1: sum_hessian is NoneType; expected a list of numbers"),
        (_drop_from_tree("default_left"), "trees 1: default_left is missing"),
        (_in_tree("tree_param", "num_nodes", to="-3"), "tree_param: num_nodes is '-3'; expected a whole number from 0"),
        (_in_tree("tree_param", "num_nodes", to="99999999999"), r"left_children has \d+ entries; expected 99999999999"),
        (_in_tree("categories_nodes", -1, to=9999), "trees 1: categories_nodes do not rise within the tree's nodes"),
        (_in_tree("categories_sizes", 0, to=9999), "trees 1: categories_segments and categories_sizes point outside"),
        (_in_tree("categories", 0, to=1 << 24), "trees 1: categories holds .*; expected 0 to 16777215"),
        (_set(*MODEL, "tree_info", 0, to=1), "model: tree_info names the output 1; there are 1"),
        (_set(*MODEL, "trees", to=[]), "model: trees has 0 entries; num_trees says 6"),
        (_set(*MODEL, "trees", 2, to=7), "trees 2: found int; expected an object"),
        (_set("learner", "learner_model_param", "base_score", to="half"), "base_score is 'half'; expected a number"),
        (_set("learner", "learner_model_param", "base_score", to="[1.5]"), "expected a probability for binary:logistic"),
        (_set("learner", "learner_model_param", "base_score", to="[.5,.5]"), "expected 1 or 1 finite numbers"),
        (_set("learner", "learner_model_param", "num_feature", to="99999999"), "n_features must lie between 0 and"),
        (_set("learner", "learner_model_param", "num_target", to="99999999"), "num_target is 99999999; expected at most"),
        (_set("learner", "feature_names", to=["a"]), "feature_names has 1 entries; num_feature is 5"),
        (_set("learner", "objective", to={}), "learner, objective: name is missing"),
        (_set("learner", to=3), "learner is int; expected an object"),
    ],
)  # fmt: skip
def test_a_changed_json_value_is_refused_by_its_place(
    change: Callable[[Any], None], text: str, saved: dict[str, bytes], tmp_path: Path
) -> None:
    document = json.loads(saved["model.json"])
    assert _tree(document)["categories_nodes"]
    change(document)
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=f"^model.json.*{text}"):
        read(tmp_path / "model.json")


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.json", b'{"trees": []}', "a.json is JSON, but no XGBoost model: it has no 'learner'"),
        ("a.json", b"[1, 2]", "a.json: found list; expected an object: this is not a model file"),
        ("a.json", b"{nonsense}", "a.json is damaged or truncated: no valid JSON"),
        ("a.json", b"[" * 100_000, "a.json is damaged or truncated: no valid JSON"),
        ("a.json", b"\xff\xfe{}", "a.json is damaged or truncated: no valid JSON"),
        ("a.ubj", b"{}tail", r"a.ubj: 4 bytes follow the model \(at byte 2\)"),
        ("a.ubj", b"{i\x01aH}", r"a.ubj: found the byte 0x48 where a value begins \(at byte 4\)"),
        ("a.ubj", b"{i\x01a[$d#L" + b"\x7f" * 8, "a.ubj is truncated: it ends after 17 bytes"),
        ("a.ubj", b"{i\x01a[#L" + b"\x7f" * 8, "a.ubj is truncated: it ends after 15 bytes"),
        ("a.ubj", b"{i\xffa", r"a.ubj: found the length -1 \(at byte 1\)"),
        ("a.ubj", b"[" * 5000, r"a.ubj: objects lie more than 64 deep \(at byte 65\)"),
        ("a.ubj", b"{i\x01\xff", "a.ubj: found a text that is no UTF-8"),
        ("a.txt", b"hello", "a.txt: no LightGBM model: its first line is not 'tree'"),
        ("a.txt", b"\xff\xfe", r"a.txt: no text \(byte 0\)"),
        ("a.txt", b"tree\nversion=v9\n\nend of trees\n", "version 'v9' of LightGBM's text cannot be read"),
    ],
)  # fmt: skip
def test_a_foreign_file_is_told_what_was_expected(name: str, data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((ModelFileError, UnsupportedModelError), match=text):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"\nleft_child=", b"\nleft_child=500 ", r"tree 0: left_child has \d+ entries; expected"),
        (b"\nnum_leaves=8", b"\nnum_leaves=many", "tree 0: num_leaves is 'many'; expected a whole number"),
        (b"\nnum_leaves=8", b"\nnum_leaves=0", "tree 0: num_leaves is 0; expected at least 1"),
        (b"\nleaf_value=", b"\nleaf_valve=", "tree 0: leaf_value is missing"),
        (b"\ncat_boundaries=0", b"\ncat_boundaries=1", r"tree \d: cat_boundaries do not rise from 0"),
        (b"\nTree=1\n", b"\nTre=1\n", "5 trees are there and tree_sizes names 6"),
        (b"\nmax_feature_idx=4", b"\nmax_feature_idx=6", "feature_names has 5 entries; max_feature_idx says 7"),
        (b"\nnum_tree_per_iteration=1", b"\nnum_tree_per_iteration=4", "6 trees do not make iterations of 4"),
        (b"\nnum_tree_per_iteration=1", b"\nnum_tree_per_iteration=999999999", "do not make iterations of 999999999"),
        (b"\nobjective=binary", b"\nobjective=magic", "the objective 'magic' cannot be read; expected one of regression"),
        (b"pandas_categorical:null", b"pandas_categorical:[1]", "pandas_categorical is no list of lists"),
        (b"pandas_categorical:null", b"pandas_categorical:[", "pandas_categorical is no JSON"),
    ],
)  # fmt: skip
def test_a_changed_line_is_refused_by_its_place(
    old: bytes, new: bytes, text: str, saved: dict[str, bytes], tmp_path: Path
) -> None:
    assert old in saved["model.txt"]
    (tmp_path / "model.txt").write_bytes(saved["model.txt"].replace(old, new, 1))
    with pytest.raises((ModelFileError, UnsupportedModelError), match=f"^model.txt.*{text}"):
        read(tmp_path / "model.txt")


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", b"700"), ("right_child", b"-99"), ("split_feature", b"12")]
)
def test_a_changed_entry_of_a_line_is_refused_by_its_place(
    field: str, value: bytes, saved: dict[str, bytes], tmp_path: Path
) -> None:
    before, name, rest = saved["model.txt"].partition(f"\n{field}=".encode())
    _, space, after = rest.partition(b" ")
    (tmp_path / "model.txt").write_bytes(before + name + value + space + after)
    with pytest.raises(ModelFileError, match=f"^model.txt: tree 0.*{value.decode()}"):
        read(tmp_path / "model.txt")


def test_sets_that_would_fill_the_memory_are_refused(saved: dict[str, bytes], tmp_path: Path) -> None:
    document = json.loads(saved["model.json"])
    n_sets = 40
    changes = {"categories_segments": list(range(n_sets)), "categories_sizes": [1] * n_sets}
    _tree(document).update(changes, categories=[(1 << 24) - 1] * n_sets, categories_nodes=list(range(n_sets)))
    n_nodes = int(_tree(document)["tree_param"]["num_nodes"])
    for name, values in _tree(document).items():
        if isinstance(values, list) and len(values) == n_nodes:
            _tree(document)[name] = (values * n_sets)[: max(n_sets, n_nodes)]
    _tree(document)["tree_param"]["num_nodes"] = str(max(n_sets, n_nodes))
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(
        ModelFileError, match="trees 1: its sets of categories would take more than 67,108,864 bytes"
    ):
        read(tmp_path / "model.json")


def test_windows_line_ends_are_read(saved: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in {
        "a.txt": saved["model.txt"],
        "b.txt": saved["model.txt"].replace(b"\n", b"\r\n"),
    }.items():
        (tmp_path / name).write_bytes(data)
    assert read(tmp_path / "a.txt") == read(tmp_path / "b.txt")


def test_ubjson_gives_what_json_gives(saved: dict[str, bytes]) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | np.ndarray):
            return [plain(item) for item in value]
        return float(np.float32(value)) if isinstance(value, float | np.floating) else value

    assert plain(json.loads(saved["model.json"])) == plain(ubjson.parse(saved["model.ubj"], "model.ubj"))


def test_ubjson_knows_every_kind_of_value() -> None:
    data = b"{i\x01a[i\xffU\xffI\x01\x00l\x00\x01\x00\x00L\x00\x00\x00\x01\x00\x00\x00\x00d?\x80\x00\x00D?\xf0\x00\x00\x00\x00\x00\x00TFZCxSU\x02hi][#i\x01T}"
    document = data.replace(b"][#i\x01T}", b"]i\x01b[#i\x01T}")
    expected = {"a": [-1, 255, 256, 65536, 1 << 32, 1.0, 1.0, True, False, None, "x", "hi"], "b": [True]}
    assert expected == ubjson.parse(document, "example")


def test_files_are_read_without_their_libraries(saved: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in saved.items():
        (tmp_path / name).write_bytes(data)
    treelite.frontend.from_lightgbm(zoo.trained("lgb binary").booster_).serialize(tmp_path / "model.tl")
    script = (
        "import sys\n"
        "for name in ('xgboost', 'lightgbm', 'treelite', 'pandas', 'skops'): sys.modules[name] = None\n"
        "from ensemble_compress.readers import read\n"
        f"print([read({str(tmp_path)!r} + '/model.' + s).n_trees for s in ('json', 'ubj', 'txt', 'tl')])\n"
    )
    found = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("[6, 6, 6, 6]", "")


def test_a_wrapper_saved_to_a_file_stops_at_its_best_iteration(tmp_path: Path) -> None:
    model = zoo.trained("xgb stopped early")
    model.save_model(tmp_path / "wrapper.json")
    model.get_booster().save_model(tmp_path / "booster.json")
    assert read(tmp_path / "wrapper.json").n_trees == model.best_iteration + 1
    assert (
        read(tmp_path / "booster.json").n_trees
        == xgb.Booster(model_file=tmp_path / "booster.json").num_boosted_rounds()
    )
