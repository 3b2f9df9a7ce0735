"""Our own file: a forest and what was learnt about it, safe to load from anywhere.

Protocol 3 is a zip of .npy arrays and one JSON text, header.json, with the format's name and protocol, the scalars of the
forest and the caller's metadata. Nothing in it is code, sizes are bounded before anything is allocated, and the
arrays become a `Forest` only through the checks at its birth. Equal forests make equal bytes.

Protocol 1 had no `tie_class`; protocol 2 had no `category_rule`, no `link_scale` but a link `sigmoid2`, and said `bias_last`
and `levels_as_codes` only where they were not as usual.
"""

import io
import json
import reprlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.archive import check_members, read_array_header
from ensemble_compress.errors import ForestError, ModelFileError, UnsupportedModelError, in_short
from ensemble_compress.file_kinds import KINDS, find_kind
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import CategorySets, Nodes, as_texts
from ensemble_compress.writers.atomic import write_atomically

FORMAT, PROTOCOL = "ensemble_compress forest", 3
SCALARS = (
    "n_features",
    "divisor",
    "link",
    "link_scale",
    "category_rule",
    "x_dtype",
    "handles_nan",
    "feature_names",
    "categories",
    "tie_class",
    "bias_last",
    "levels_as_codes",
    "absent_is_missing",
)
ADDED_LATER = {
    "tie_class": 0,
    "link_scale": 1.0,
    "category_rule": "floor",
    "bias_last": False,
    "levels_as_codes": True,
    "absent_is_missing": False,
}
"""What files of earlier protocols mean by saying nothing."""
ARRAYS = ("tree_start", "tree_output", "values", "bias", "classes")
PARTS: tuple[tuple[str, Any], ...] = (("nodes", Nodes), ("category_sets", CategorySets))
FIRST_DATE = (1980, 1, 1, 0, 0, 0)


def save_forest(forest: Forest, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Write a forest to a file, whole or not at all.

    Parameters
    ----------
    forest : Forest
        The forest to save.
    path : str or Path
        Where to, best with the suffix .forest.
    metadata : dict, optional
        Whatever JSON can say; `load_forest` gives it back.

    Raises
    ------
    UnsupportedModelError
        The metadata, a class label or a category is nothing that the file can hold.
    """
    classes = forest.classes
    if classes is not None and classes.dtype.kind == "O" and all(isinstance(label, str) for label in classes):
        classes = as_texts(classes)
        if classes.dtype == object:
            raise UnsupportedModelError(
                f"the forest cannot be saved: a class label of {in_short(repr(classes.tolist()))} ends in NUL, which a file"
                " would lose; train the model on other labels"
            )
    arrays = {name: getattr(forest, name) for name in ARRAYS} | {"classes": classes}
    for part, _ in PARTS:
        arrays |= {f"{part}.{key}": array for key, array in getattr(forest, part)._asdict().items()}
    header = {"format": FORMAT, "protocol": PROTOCOL, "metadata": metadata or {}}
    header |= {name: getattr(forest, name) for name in SCALARS}
    header["arrays"] = sorted(name for name, array in arrays.items() if array is not None)
    try:
        text = json.dumps(header, default=_plain, allow_nan=True, sort_keys=True)
        contents = {f"{key}.npy": _npy_bytes(array) for key, array in arrays.items() if array is not None}
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"the forest cannot be saved: {error}; expected labels, categories and metadata of numbers, texts and"
            " truth values"
        ) from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"header.json": text.encode(), **contents}.items():
            archive.writestr(zipfile.ZipInfo(name, FIRST_DATE), content, zipfile.ZIP_DEFLATED, 6)
    write_atomically(path, buffer.getvalue())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is none of the types that the file can hold")


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load_forest(path: str | Path) -> tuple[Forest, dict[str, Any]]:
    """The forest of a file, and the metadata that was saved with it.

    Parameters
    ----------
    path : str or Path
        A file written by `save_forest`.

    Returns
    -------
    tuple of (Forest, dict)

    Raises
    ------
    ModelFileError
        The file is damaged, truncated, of another kind, or of a later protocol.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError("it is a directory or device")
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"cannot read {str(path)!r}: {reason}; expected a .forest file") from error
    kind = find_kind(Path(path))
    if kind is not None and KINDS[kind] != ".forest":
        raise ModelFileError(
            f"{path}: it seems to be {kind}; expected a .forest file: read other models with ensemble_compress.read"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_members(archive, len(content))
            header = json.loads(archive.read("header.json"))
            _check_header(header)
            if sorted(archive.namelist()) != sorted(
                ["header.json", *(f"{name}.npy" for name in header["arrays"])]
            ):
                raise ModelFileError(
                    "is damaged: it holds other arrays than its header lists; save the model again"
                )
            arrays = {name: _read_array(archive.read(f"{name}.npy")) for name in header["arrays"]}
        return _build(header, arrays), header["metadata"]
    except ModelFileError as error:
        raise ModelFileError(f"{path} {error}") from error
    except ForestError as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error
    except Exception as error:  # zipfile, zlib, json and numpy raise a dozen kinds of errors on damaged bytes
        raise ModelFileError(
            f"{path} is damaged, truncated or no file of this library"
            f" ({type(error).__name__}: {in_short(error)});"
            " save the model again"
        ) from error


def _check_header(header: Any) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelFileError(f"is no {FORMAT!r} file; expected one written by save")
    if header.get("protocol") not in range(1, PROTOCOL + 1):
        raise ModelFileError(
            f"has protocol {reprlib.repr(header.get('protocol'))}; expected 1 to {PROTOCOL}: a later version of ensemble-compress wrote it;"
            " upgrade"
        )


def _read_array(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    shape, dtype = read_array_header(stream, len(content))
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def _build(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Forest:
    if header["protocol"] < PROTOCOL:
        header = ADDED_LATER | header
        if header["link"] == "sigmoid2":
            header |= {"link": "sigmoid", "link_scale": 2.0}
    fields: dict[str, Any] = {name: header[name] for name in SCALARS} | {
        name: arrays.get(name) for name in ARRAYS
    }
    for part, kind in PARTS:
        fields[part] = kind(*(arrays[f"{part}.{key}"] for key in kind._fields))
    if fields["feature_names"] is not None:
        fields["feature_names"] = tuple(fields["feature_names"])
    if fields["categories"] is not None:
        fields["categories"] = tuple(None if c is None else tuple(c) for c in fields["categories"])
    return Forest(**fields)
