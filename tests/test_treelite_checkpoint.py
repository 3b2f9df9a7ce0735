"""Damaged checkpoints of Treelite: an error of ours or a sound forest, in memory bounded by the file, never a crash."""

import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import treelite
from strategies import hard_rows
from test_readers_treelite import TWO_TESTS, VECTOR, build, imported

from ensemble_compress.errors import EnsembleCompressError, ModelFileError, UnsupportedModelError
from ensemble_compress.readers import read
from ensemble_compress.readers.treelite_checkpoint import START, is_checkpoint, parse

MULTICLASS: dict[str, Any] = {
    "task": "kMultiClf",
    "shape": (1, 3),
    "counts": (3,),
    "outputs": ((0, -1), (-1, -1)),
    "leaves": VECTOR,
}
CATEGORIES = [
    {"category_list": [1, 5, 33], "category_list_right_child": True},
    {"category_list": [], "category_list_right_child": False},
]


def small_model(kind: str) -> Any:
    if kind == "vectors":
        return build(TWO_TESTS, "float64", **MULTICLASS)
    return build(
        CATEGORIES if kind == "categories" else TWO_TESTS, task="kBinaryClf", name="sigmoid", base=[0.5]
    )


KINDS = ("numbers", "categories", "vectors")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_checkpoint_is_refused_wherever_it_is_cut(kind: str, tmp_path: Path) -> None:
    data, path = small_model(kind).serialize_bytes(), tmp_path / "model.tl"
    texts = [refusal(data[:cut]) for cut in range(len(data))]
    expected = [re.search(r"^model\.tl.*: truncated or damaged: the checkpoint ends after", t) for t in texts]
    assert None not in expected
    assert "1 bytes follow the last tree; the checkpoint is damaged" in refusal(data + b"\0")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        ModelFileError, match=f"the checkpoint ends after {len(data) // 2} bytes and should go on"
    ):
        read(path)


def refusal(data: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        parse(data, "model.tl")
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_gives_a_sound_forest_or_an_error_of_ours(kind: str, tmp_path: Path) -> None:
    random, path, n_refused = np.random.default_rng(0), tmp_path / "model.tl", 0
    original = small_model(kind).serialize_bytes()
    read(small_model(kind)).margin(np.zeros((1, 1)))  # compiled here, where nobody counts
    tracemalloc.start()
    try:
        for _ in range(300):
            data = bytearray(original)
            for _ in range(int(random.integers(1, 4))):
                data[random.integers(len(data))] ^= 1 << int(random.integers(8))
            path.write_bytes(data)
            try:
                forest = read(path)
            except EnsembleCompressError:
                n_refused += 1
            else:
                assert forest.margin(hard_rows(forest, 5)).shape == (5, forest.n_outputs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 100 < n_refused < 300
    # The sets of categories may take 16 MB beyond the file, and there are two copies while they are joined.
    assert peak < 64 * 2**20


@pytest.mark.parametrize("source", ["xgb partitions", "lgb categories missing", "random forest gaps"])
def test_a_damaged_byte_of_a_trained_model_gives_a_forest_or_an_error_of_ours(
    source: str, tmp_path: Path
) -> None:
    random, path, n_refused = np.random.default_rng(1), tmp_path / "model.tl", 0
    original = imported(source).serialize_bytes()
    for _ in range(150):
        data = bytearray(original)
        data[random.integers(len(data))] = random.integers(256)
        path.write_bytes(data)
        try:
            read(path)
        except EnsembleCompressError:
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"trees\nversion=v4\n" + bytes(40), "model.tl is no checkpoint of Treelite: it begins with 74 72 65 65"),
        (START.pack(3, 9, 1, 2, 2, 1), r"model.tl: written by Treelite 3.9.1; expected version 4: load it with Treelite 4"),
        (START.pack(5, 0, 0, 2, 2, 1), r"model.tl: written by Treelite 5.0.0; expected version 4"),
        (START.pack(4, 8, 1, 1, 1, 1), r"model.tl: thresholds and leaves have the types 1 and 1; expected 2 or 3 twice"),
        (START.pack(4, 8, 1, 2, 3, 1), r"model.tl: thresholds and leaves have the types 2 and 3"),
        (START.pack(4, 8, 1, 2, 2, 2**64 - 1) + bytes(400), "target_id has 0 entries; expected 18446744073709551615, one a"),
    ],
)  # fmt: skip
def test_a_foreign_start_is_told_what_was_expected(data: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tl"
    path.write_bytes(data)
    with pytest.raises((ModelFileError, UnsupportedModelError), match=text):
        read(path)


@pytest.mark.parametrize("name", ["model.tl", "model.treelite", "model.checkpoint"])
def test_an_empty_a_missing_and_a_folder_for_a_checkpoint_are_refused(name: str, tmp_path: Path) -> None:
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


def test_only_checkpoints_are_taken_for_checkpoints() -> None:
    assert is_checkpoint(small_model("numbers").serialize_bytes())
    assert is_checkpoint(START.pack(3, 9, 1, 2, 2, 1))
    for head in (
        b"",
        b"binf" + bytes(20),
        b'{"learner":',
        b"tree\nversion=v4\n",
        struct.pack("<f", 0.5) + bytes(20),
    ):
        assert not is_checkpoint(head)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(ModelFileError, match="expected a model file, found a directory or device"):
        read(tmp_path / "model.json")


def _header(name: str, to: Any) -> Callable[[Any], None]:
    return lambda model: model.get_header_accessor().set_field(name, to)


def _tree(name: str, at: int, to: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        values = model.get_tree_accessor(1).get_field(name).copy()
        values[at] = to
        model.get_tree_accessor(1).set_field(name, values)

    return change


def _shorten(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        accessor = model.get_tree_accessor(1)
        accessor.set_field(name, accessor.get_field(name)[:-1].copy())

    return change


def _integers(*values: int) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("numbers", _tree("cleft", 0, 0), "tree 1, node 0: one of its children, 0 and 2, has another parent or is the root"),
        ("numbers", _tree("cright", 0, 1), "tree 1, node 0: one of its children, 1 and 1, has another parent"),
        ("numbers", _tree("cright", 0, 77), "tree 1, node 0: one of its children, 1 and 77, is none of the tree's 3 nodes"),
        ("numbers", _tree("cleft", 0, -2), "tree 1, node 0: one of its children, -2 and 2, is none of the tree's 3 nodes"),
        ("numbers", _tree("cright", 0, -1), "tree 1: node 0 has one child; expected two or none"),
        ("numbers", _tree("cleft", 0, -1), "tree 1: node 0 has the type 1 and the left child -1, which do not agree"),
        ("numbers", _tree("node_type", 0, 7), "tree 1: node 0 has the type 7 and the left child 1, which do not agree"),
        ("numbers", _tree("split_index", 0, 1), "tree 1, node 0 tests feature 1, which cannot be"),
        ("numbers", _tree("split_index", 0, -1), "tree 1, node 0 tests feature -1, which cannot be"),
        ("numbers", _tree("threshold", 0, np.nan), "tree 1, node 0 has the threshold nan, which cannot be"),
        ("numbers", _tree("cmp", 0, 0), "tree 1: node 0 has the comparison operator 0; expected 1 to 5"),
        ("numbers", _tree("cmp", 0, 6), "tree 1: node 0 has the comparison operator 6; expected 1 to 5"),
        ("numbers", _tree("leaf_value", 2, np.inf), "tree 1, node 2: its leaf value is .*inf.*, not finite"),
        ("numbers", _shorten("cmp"), "tree 1: cmp has 2 entries; expected 3, one a node"),
        ("numbers", _shorten("category_list_end"), "tree 1: category_list_end has 2 entries; expected 3, one a node"),
        ("categories", _tree("category_list_end", 0, 99), "tree 1: node 0 has a list of categories that ends outside"),
        ("categories", _tree("category_list_begin", 0, 2**63), "tree 1: node 0 has a list of categories that ends outside"),
        ("vectors", _tree("leaf_vector_end", 1, 2**64 - 1), "tree 1: leaf 1 or another has no 3 values of its own"),
        ("vectors", _tree("leaf_vector_end", 1, 2), "tree 1: leaf 1 or another has no 3 values of its own in leaf_vector"),
        ("vectors", _tree("leaf_vector_end", 1, 0), "tree 1: leaf 1 or another has no 3 values of its own in leaf_vector"),
        ("vectors", _shorten("leaf_vector"), "tree 1: leaf 2 or another has no 3 values of its own in leaf_vector"),
        ("vectors", _header("leaf_vector_shape", _integers(1, 2)), r"leaf_vector_shape is \[1, 2\]; expected 1 or 1, and 1 or 3"),
        ("vectors", _header("class_id", _integers(0, -1)), r"tree 0: its target_id is 0 and its class_id is 0, with leaves of 3"),
        ("vectors", _header("num_class", _integers(0)), r"num_target is 1 and num_class is \[0\]; expected a number from 1"),
        ("vectors", _header("base_scores", np.zeros(2)), "base_scores has 2 entries; expected 3"),
        ("vectors", _header("postprocessor", "argmax"), "the postprocessor 'argmax' cannot be read; expected one of identity"),
        ("numbers", _header("class_id", _integers(0, 1)), "tree 1: its target_id is 0 and its class_id is 1, with leaves of 1"),
        ("numbers", _header("target_id", _integers(0, 1)), "tree 1: its target_id is 1 and its class_id is 0, with leaves of 1"),
        ("numbers", _header("target_id", _integers(0)), "target_id has 1 entries; expected 2, one a tree"),
        ("numbers", _header("base_scores", np.array([np.nan])), "values and bias must be finite"),
        ("numbers", _header("num_feature", _integers(-1)), "tests feature 0, which cannot be"),
        ("numbers", _header("num_feature", _integers(2**24)), "n_features must lie between 0 and"),
        ("numbers", _header("task_type", np.array([9], np.uint8)), "task_type is 9; expected 0 to 4"),
    ],
)  # fmt: skip
def test_a_changed_field_is_refused_by_its_place(kind: str, change: Callable[[Any], None], text: str) -> None:
    model = small_model(kind)
    change(model)
    with pytest.raises((ModelFileError, UnsupportedModelError), match=rf"^treelite\.Model: .*{text}"):
        read(model)


def test_leaves_that_share_their_values_are_refused() -> None:
    """A short file could ask for any amount of memory so."""
    model = small_model("vectors")
    accessor = model.get_tree_accessor(1)
    accessor.set_field("leaf_vector", accessor.get_field("leaf_vector")[:3].copy())
    for name, value in (("leaf_vector_begin", 0), ("leaf_vector_end", 3)):
        accessor.set_field(name, np.array([0, value, value], np.uint64))
    with pytest.raises(ModelFileError, match=r"tree 1: .* has no 3 values of its own in leaf_vector"):
        read(model)


def test_lists_of_categories_that_overlap_are_refused() -> None:
    model = treelite.Model.deserialize_bytes(imported("xgb partitions").serialize_bytes())
    accessors = [model.get_tree_accessor(t) for t in range(model.num_tree)]
    t = int(np.argmax([(accessor.get_field("node_type") == 2).sum() for accessor in accessors]))
    accessor, n_sets = accessors[t], int((accessors[t].get_field("node_type") == 2).sum())
    n_codes, n_nodes = len(accessor.get_field("category_list")), len(accessor.get_field("cleft"))
    assert n_sets > 1
    accessor.set_field("category_list_begin", np.zeros(n_nodes, np.uint64))
    accessor.set_field("category_list_end", np.full(n_nodes, n_codes, np.uint64))
    with pytest.raises(
        ModelFileError, match=f"tree {t}: lists of {n_sets * n_codes} categories share {n_codes} of them"
    ):
        read(model)


def test_fields_of_later_versions_are_refused(tmp_path: Path) -> None:
    data = bytearray(small_model("numbers").serialize_bytes())
    data[-4] = 1
    (tmp_path / "model.tl").write_bytes(data)
    with pytest.raises(
        UnsupportedModelError, match="tree 1: num_opt_field_per_node is 1; expected 0, as in every"
    ):
        read(tmp_path / "model.tl")
