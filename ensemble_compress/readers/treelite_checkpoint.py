"""Treelite's checkpoints: the binary format of version 4, taken apart with every length checked.

Treelite's own reader believes each length that it meets, so that a flipped bit ends the process. Here none is believed
beyond the bytes that are left, and the arrays are views of those bytes: memory stays in proportion to the file.

    checkpoint = int32 4, int32 minor, int32 patch, uint8 type of thresholds, uint8 type of leaves (2: float32, 3: float64),
                 uint64 number of trees, the fields of MODEL_FIELDS, for each tree the fields of TREE_FIELDS
    array      = uint64 length, that many items; all numbers are little-endian
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import ModelFileError, UnsupportedModelError

START = struct.Struct("<3i2BQ")
HEAD_BYTES = 14
"""So many bytes tell a checkpoint from other files."""
MAJOR = 4
KNOWN_MAJORS = range(1, 32)
"""What may be a version; another number says that the file is something else."""
TYPES: dict[int, np.dtype[Any]] = {2: np.dtype(np.float32), 3: np.dtype(np.float64)}
VALUE = "value"
"""Stands in the tables below for the type of thresholds and leaves, which is one."""

MODEL_FIELDS = {
    "num_feature": "<i4", "task_type": "u1", "average_tree_output": "u1", "num_target": "<i4", "num_class": "<i4[]",
    "leaf_vector_shape": "<i4[]", "target_id": "<i4[]", "class_id": "<i4[]", "postprocessor": "u1[]",
    "sigmoid_alpha": "<f4", "ratio_c": "<f4", "base_scores": "<f8[]", "attributes": "u1[]", "num_opt_field_per_model": "<i4",
}  # fmt: skip
NODE_FIELDS = {
    "node_type": "i1[]", "cleft": "<i4[]", "cright": "<i4[]", "split_index": "<i4[]", "default_left": "u1[]",
    "leaf_value": "value[]", "threshold": "value[]", "cmp": "i1[]", "category_list_right_child": "u1[]",
}  # fmt: skip
TREE_FIELDS = {
    "num_nodes": "<i4", "has_categorical_split": "u1", **NODE_FIELDS,
    "leaf_vector": "value[]", "leaf_vector_begin": "<u8[]", "leaf_vector_end": "<u8[]",
    "category_list": "<u4[]", "category_list_begin": "<u8[]", "category_list_end": "<u8[]",
    "data_count": "<u8[]", "data_count_present": "u1[]", "sum_hess": "<f8[]", "sum_hess_present": "u1[]",
    "gain": "<f8[]", "gain_present": "u1[]", "num_opt_field_per_tree": "<i4", "num_opt_field_per_node": "<i4",
}  # fmt: skip
FULL_FIELDS = (
    *NODE_FIELDS,
    "leaf_vector_begin",
    "leaf_vector_end",
    "category_list_begin",
    "category_list_end",
)
STATISTICS = ("data_count", "data_count_present", "sum_hess", "sum_hess_present")

Fields = dict[str, NDArray[Any]]
Layout = Sequence[tuple[str, np.dtype[Any], bool]]


class Checkpoint(NamedTuple):
    """What a checkpoint holds, nothing of it judged yet but the lengths.

    Attributes
    ----------
    dtype : float32 or float64
        What thresholds and leaves are, and what rows are cast to.
    header : dict
        The arrays of `MODEL_FIELDS`; a number is an array of one.
    trees : list of dict
        The arrays of `TREE_FIELDS` of each tree; those of nodes are as long as the tree has nodes.
    where : str
        What is being read, for error messages.
    n_bytes : int
        Length of the checkpoint.
    """

    dtype: np.dtype[Any]
    header: Fields
    trees: list[Fields]
    where: str
    n_bytes: int


def is_checkpoint(head: bytes) -> bool:
    """Whether a file that begins so is a checkpoint of Treelite, of version 3 or 4.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` bytes of the file, or more.

    Examples
    --------
    >>> is_checkpoint(b"binf" + bytes(10))
    False
    """
    if len(head) < HEAD_BYTES:
        return False
    major, minor, patch, thresholds, leaves = struct.unpack_from("<3i2B", head)
    return major in (3, MAJOR) and 0 <= minor < 256 and 0 <= patch < 256 and thresholds == leaves in TYPES


def parse(data: bytes, where: str) -> Checkpoint:
    """The parts of a checkpoint.

    Parameters
    ----------
    data : bytes
        The whole checkpoint.
    where : str
        Its name, for error messages.

    Raises
    ------
    ModelFileError
        The bytes are no checkpoint, or a length in them is wrong.
    UnsupportedModelError
        Another version of Treelite wrote them.
    """
    dtype, n_trees = _parse_start(data, where)
    header, at = _parse_fields(data, START.size, _layout(MODEL_FIELDS, dtype), where)
    _check_no_extension(header, ("num_opt_field_per_model",), where)
    for name in ("target_id", "class_id"):
        if len(header[name]) != n_trees:
            raise damaged(where, f"{name} has {len(header[name])} entries; expected {n_trees}, one a tree")
    layout, trees = _layout(TREE_FIELDS, dtype), []
    for t in range(n_trees):
        place = f"{where}: tree {t}"
        tree, at = _parse_fields(data, at, layout, place)
        _check_no_extension(tree, ("num_opt_field_per_tree", "num_opt_field_per_node"), place)
        _check_lengths(tree, place)
        trees.append(tree)
    if at != len(data):
        raise damaged(where, f"{len(data) - at} bytes follow the last tree")
    return Checkpoint(dtype, header, trees, where, len(data))


def damaged(where: str, what: str) -> ModelFileError:
    """The error that `what` is wrong in a checkpoint.

    Parameters
    ----------
    where : str
        What is being read, and the place in it.
    what : str
        What was found, and what was expected.
    """
    return ModelFileError(f"{where}: {what}; the checkpoint is damaged: save the model again")


def _parse_start(data: bytes, where: str) -> tuple[np.dtype[Any], int]:
    """(type of thresholds and leaves, number of trees)."""
    if len(data) < START.size:
        raise _truncated(where, len(data), START.size)
    major, minor, patch, thresholds, leaves, n_trees = START.unpack_from(data)
    if major not in KNOWN_MAJORS:
        raise ModelFileError(
            f"{where} is no checkpoint of Treelite: it begins with {data[:HEAD_BYTES].hex(' ')}; expected a file that"
            " model.serialize(path) wrote"
        )
    if major != MAJOR:
        raise UnsupportedModelError(
            f"{where}: written by Treelite {major}.{minor}.{patch}; expected version {MAJOR}: load it with Treelite"
            f" {MAJOR} (treelite.Model.deserialize) and serialize it again"
        )
    if not thresholds == leaves in TYPES:
        raise damaged(
            where, f"thresholds and leaves have the types {thresholds} and {leaves}; expected 2 or 3 twice"
        )
    return TYPES[thresholds], int(n_trees)


def _layout(fields: dict[str, str], dtype: np.dtype[Any]) -> Layout:
    """(name, type of an item, whether it is an array) of each field."""
    kinds = {name: kind.removesuffix("[]") for name, kind in fields.items()}
    return [
        (name, dtype.newbyteorder("<") if kind == VALUE else np.dtype(kind), fields[name].endswith("[]"))
        for name, kind in kinds.items()
    ]


def _parse_fields(data: bytes, at: int, layout: Layout, where: str) -> tuple[Fields, int]:
    fields: Fields = {}
    for name, kind, is_array in layout:
        length = 1
        if is_array:
            if at + 8 > len(data):
                raise _truncated(where, len(data), at + 8)
            length, at = int.from_bytes(data[at : at + 8], "little"), at + 8
        stop = at + length * kind.itemsize
        if stop > len(data):
            raise _truncated(f"{where}, {name}", len(data), stop)
        fields[name], at = np.frombuffer(data, kind, length, at), stop
    return fields, at


def _check_no_extension(fields: Fields, counts: Sequence[str], where: str) -> None:
    for name in counts:
        if fields[name][0]:
            raise UnsupportedModelError(
                f"{where}: {name} is {fields[name][0]}; expected 0, as in every version of Treelite up to now: what such"
                " fields would mean is not known"
            )


def _check_lengths(tree: Fields, where: str) -> None:
    n_nodes = int(tree["num_nodes"][0])
    if n_nodes < 1:
        raise damaged(where, f"num_nodes is {n_nodes}; expected at least 1")
    for name in FULL_FIELDS:
        if len(tree[name]) != n_nodes:
            raise damaged(where, f"{name} has {len(tree[name])} entries; expected {n_nodes}, one a node")
    for name in STATISTICS:
        if len(tree[name]) not in (0, n_nodes):
            raise damaged(where, f"{name} has {len(tree[name])} entries; expected {n_nodes} or none")


def _truncated(where: str, length: int, needed: int) -> ModelFileError:
    return ModelFileError(
        f"{where}: truncated or damaged: the checkpoint ends after {length} bytes and should go on to byte {needed} at"
        " least; copy or save it again"
    )
