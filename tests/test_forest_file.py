"""Forest files: what comes back is what was saved, and no damaged byte gets further than a clear error."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import forests
from test_writer_c import small_forest

from ensemble_compress import archive
from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import make_sets
from ensemble_compress.writers import forest_file
from ensemble_compress.writers.forest_file import load_forest, save_forest


@settings(max_examples=50)
@given(forests())
def test_what_comes_back_is_what_was_saved(tmp_path_factory: pytest.TempPathFactory, forest: Forest) -> None:
    path = tmp_path_factory.mktemp("files") / "model.forest"
    metadata = {"report": {"bytes": 12, "scores": [0.5, None]}}
    save_forest(forest, path, metadata)
    assert (forest, metadata) == load_forest(path)


@pytest.mark.parametrize(
    "labels",
    [[3, 7], [0.5, 1.5], [False, True], ["no", "yes"], ["né", "日本"]],
    ids=["int", "float", "bool", "str", "unicode"],
)
def test_labels_keep_their_type(tmp_path: Path, labels: list[Any]) -> None:
    forest = small_forest(classes=np.array(labels))
    save_forest(forest, tmp_path / "model.forest")
    loaded, metadata = load_forest(tmp_path / "model.forest")
    assert metadata == {}
    assert loaded == forest
    assert loaded.classes is not None
    assert loaded.classes.tolist() == labels


def test_labels_of_python_strings_come_back_as_numpy_strings(tmp_path: Path) -> None:
    save_forest(small_forest(classes=np.array(["a", "bb"], object)), tmp_path / "model.forest")
    loaded, _ = load_forest(tmp_path / "model.forest")
    assert loaded.classes is not None
    assert loaded.classes.tolist() == ["a", "bb"]
    assert loaded.classes.dtype == "<U2"


def test_a_label_that_the_file_would_shorten_is_refused(tmp_path: Path) -> None:
    forest = small_forest(classes=np.array(["a", "a\0"], object))
    with pytest.raises(
        UnsupportedModelError, match=r"a class label of \['a', 'a\\x00'\] ends in NUL, which a file"
    ):
        save_forest(forest, tmp_path / "model.forest")
    assert list(tmp_path.iterdir()) == []


def test_names_and_categories_come_back(tmp_path: Path) -> None:
    forest = small_forest(feature_names=("colour",), categories=(("red", 2, None, 0.5),))
    save_forest(forest, tmp_path / "model.forest")
    assert load_forest(tmp_path / "model.forest")[0] == forest


def test_equal_forests_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_forest(small_forest(), tmp_path / name, {"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedModelError, match="the forest cannot be saved: object is none of the types"
    ):
        save_forest(small_forest(), tmp_path / "model.forest", {"x": object()})
    with pytest.raises(
        UnsupportedModelError, match="the forest cannot be saved: Object arrays cannot be saved"
    ):
        save_forest(small_forest(classes=np.array([1, "a"], object)), tmp_path / "model.forest")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_forest(small_forest(), tmp_path / "model.forest", {"x": 1})
    return tmp_path / "model.forest"


def change(path: Path, name: str, content: bytes) -> None:
    """Replace one member of the zip."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()} | {name: content}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


def test_every_truncated_file_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content), 7):
        saved.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="is damaged, truncated or no file of this library"):
            load_forest(saved)


def test_no_flipped_bit_gets_further_than_an_error(saved: Path) -> None:
    content, forest = saved.read_bytes(), load_forest(saved)[0]
    n_refused = 0
    for at in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        saved.write_bytes(bytes(damaged))
        try:
            loaded = load_forest(saved)[0]
        except ModelFileError as error:
            loaded, text = forest, str(error)
            n_refused += str(saved) in text
        assert loaded == forest  # or a bit that means nothing: a timestamp, a flag
    assert n_refused > len(content) / 3 / 2


def test_a_foreign_zip_is_refused(saved: Path) -> None:
    change(saved, "header.json", json.dumps({"format": "holiday pictures"}).encode())
    with pytest.raises(ModelFileError, match=r"model\.forest is no 'ensemble_compress forest' file"):
        load_forest(saved)


def test_a_later_protocol_is_refused(saved: Path) -> None:
    change(saved, "header.json", json.dumps({"format": forest_file.FORMAT, "protocol": 9}).encode())
    with pytest.raises(ModelFileError, match=r"has protocol 9; expected 1 to 3: a later version .* upgrade"):
        load_forest(saved)


def test_files_of_the_first_protocol_are_read() -> None:
    forest, metadata = load_forest(Path(__file__).parent / "golden" / "protocol_1.forest")
    assert forest == small_forest()
    assert (forest.tie_class, metadata) == (0, {"made": "by protocol 1"})


def test_files_of_the_second_protocol_are_read() -> None:
    forest, metadata = load_forest(Path(__file__).parent / "golden" / "protocol_2.forest")
    said = {"link": "sigmoid", "link_scale": 2.0, "tie_class": 1, "bias_last": True, "levels_as_codes": False}
    assert forest == small_forest(classes=np.array(["no", "yes"]), **said)
    assert metadata == {"made": "by protocol 2"}


def test_files_of_the_third_protocol_are_read() -> None:
    forest, metadata = load_forest(Path(__file__).parent / "golden" / "protocol_3.forest")
    said = {
        "tie_class": 1,
        "link": "sigmoid",
        "link_scale": 0.7,
        "category_rule": "truncate",
        "x_dtype": "float64",
        "handles_nan": False,
        "feature_names": ("größe",),
        "categories": (("red", 2, None, 0.5),),
        "bias": [0.25],
        "divisor": 3.0,
        "bias_last": True,
        "levels_as_codes": False,
        "absent_is_missing": True,
        "category_sets": make_sets([[1, 40]]),
    }
    nodes = small_forest().nodes._replace(category_set=np.array([0, -1, -1]), threshold=np.zeros(3))
    assert forest == small_forest(classes=np.array(["no", "yes"]), nodes=nodes, **said)
    assert metadata == {"made": "by protocol 3"}


def test_arrays_that_are_no_forest_are_refused(saved: Path) -> None:
    change(saved, "nodes.right.npy", npy(np.array([1, -1, -1], np.int32)))
    with pytest.raises(
        ModelFileError, match=r"is damaged: not a forest: tree 0, node 0 of 3: its right child"
    ):
        load_forest(saved)


def test_a_missing_array_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        header = archive.read("header.json")
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("header.json", header)
    with pytest.raises(ModelFileError, match="is damaged: it holds other arrays than its header lists"):
        load_forest(saved)


def test_objects_in_arrays_are_never_unpickled(saved: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([{}, {}], object), allow_pickle=True)
    change(saved, "classes.npy", buffer.getvalue())
    with pytest.raises(ModelFileError, match="does not fill its place"):
        load_forest(saved)


def test_a_declared_shape_allocates_nothing(saved: Path) -> None:
    content = npy(np.zeros((2, 1)))
    change(saved, "values.npy", content.replace(b"(2, 1), }       ", b"(99999999999,1),}"[:16]))
    with pytest.raises(ModelFileError, match=r"does not fill its place|is damaged"):
        load_forest(saved)


def test_a_bomb_is_refused_before_it_is_unpacked(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SMALLEST_LIMIT", 1 << 10)
    change(saved, "values.npy", npy(np.zeros(2_000_000)))
    monkeypatch.setattr(archive, "LARGEST_GROWTH", 100)
    with pytest.raises(ModelFileError, match=r"declares 16,\d+,\d+ bytes of content; expected at most"):
        load_forest(saved)
