"""Damaged model files, made from good ones, and what has to come of reading them.

`damaged(base, seed)` is always the same bytes. `read_safely` is the fuzz target: an error of ours with a text fit to print, or a
forest that is sound and answers as the naive twin does. A format joins by a line in `BASES`, and a line in `EDITS`
if its suffix is new. The tests take a few seeds of each base, benchmarks/fuzz.py thousands.
"""

import functools
import io
import json
import lzma
import random
import re
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracle
import pandas as pd
import skops.io
import zoo
from numpy.typing import NDArray

import ensemble_compress as ec
from ensemble_compress.errors import ModelFileError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import ubjson

Random = random.Random
Edit = Callable[[Random, bytes], bytes]


# -- good files --------------------------------------------------------------------------------------------------


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


def damaged(base: Base, seed: int) -> bytes:
    """The file with one to three damages, mostly one."""
    drawn, data = Random(f"{base} {seed}"), good(base)
    for _ in range(drawn.choice((1, 1, 1, 2, 3))):
        data = drawn.choice(EDITS[base.suffix])(drawn, data)
    return data


# -- damages that know nothing of the format ---------------------------------------------------------------------


def _cut(drawn: Random, data: bytes) -> tuple[int, int]:
    """(start, stop) of a chunk, mostly a short one."""
    start = drawn.randrange(len(data) + 1)
    return start, min(len(data), start + drawn.choice((1, 2, 8, 50, 1000)))


def flip_bit(drawn: Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def overwrite(drawn: Random, data: bytes) -> bytes:
    start, stop = _cut(drawn, data)
    filling = drawn.choice((b"\0", b"\xff", b"\x7f", b"9", b"[", b"\n", drawn.randbytes(1)))
    return data[:start] + filling * (stop - start) + data[stop:]


def truncate(drawn: Random, data: bytes) -> bytes:
    return data[: drawn.randrange(len(data) + 1)]


def delete(drawn: Random, data: bytes) -> bytes:
    start, stop = _cut(drawn, data)
    return data[:start] + data[stop:]


def repeat(drawn: Random, data: bytes) -> bytes:
    start, stop = _cut(drawn, data)
    return data[:stop] + data[start:stop] * drawn.choice((1, 1, 3, 40)) + data[stop:]


def swap(drawn: Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted((_cut(drawn, data), _cut(drawn, data)))
    return data[:a] + data[c:d] + data[min(b, c) : c] + data[a:b] + data[d:]


ANY: tuple[Edit, ...] = (flip_bit, flip_bit, overwrite, truncate, delete, repeat, swap)


# -- damages to texts --------------------------------------------------------------------------------------------

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
HOSTILE_NUMBERS = (
    *(b"-1", b"0", b"1", b"2", b"31", b"32", b"255", b"-0.0", b"1.5", b"5e-324", b"1e39", b"-3.4028235e38"),
    *(b"2147483647", b"2147483648", b"4294967295", b"9223372036854775807", b"-9223372036854775808"),
    *(b"18446744073709551616", b"1e999", b"-1e999", b"NaN", b"nan", b"Infinity", b"inf", b"16777215"),
    *(b"1_0", "\u0663".encode(), b"0x10", b"", b" ", b"9" * 5000, b"0." + b"1" * 5000, b"true", b"null"),
)
HOSTILE_JSON = (
    *(b'"\\ud800"', b'"text"', b"[]", b"{}", b"[[]]", b'{"a":1,"a":2}', b"[" * 3000 + b"]" * 3000),
    *(b'{"a":' * 3000 + b"1" + b"}" * 3000, b'"' + b"a" * 100_000 + b'"', b"[" + b"[]," * 3000 + b"[]]"),
)


def change_number(drawn: Random, data: bytes) -> bytes:
    return _change_number(drawn, data, HOSTILE_NUMBERS)


def change_number_of_json(drawn: Random, data: bytes) -> bytes:
    return _change_number(drawn, data, HOSTILE_NUMBERS + HOSTILE_JSON)


def _change_number(drawn: Random, data: bytes, hostile: tuple[bytes, ...]) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    chosen = drawn.choice(found)
    return data[: chosen.start()] + drawn.choice(hostile) + data[chosen.end() :]


def repeat_key(drawn: Random, data: bytes) -> bytes:
    """A JSON object with a key twice."""
    found = list(re.finditer(rb'"\w+":', data))
    if not found:
        return data
    chosen = drawn.choice(found)
    value = drawn.choice((b"0", b'"1"', b"[]", b"{}"))
    return data[: chosen.start()] + chosen[0] + value + b"," + data[chosen.start() :]


def change_line(drawn: Random, data: bytes) -> bytes:
    """A text of lines with one of them gone, doubled, moved, or with other words."""
    lines = data.split(b"\n")
    i, j = drawn.randrange(len(lines)), drawn.randrange(len(lines))
    key, sign, value = lines[i].partition(b"=")
    words = value.split(b" ")
    what = drawn.randrange(8)
    if what == 0:
        del lines[i]
    elif what == 1:
        lines.insert(j, lines[i])
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        lines[i] = key + sign + lines[j].partition(b"=")[2]
    elif what == 4:
        words[drawn.randrange(len(words))] = drawn.choice(HOSTILE_NUMBERS)
        lines[i] = key + sign + b" ".join(words)
    elif what == 5:
        lines[i] = key + sign + b" ".join(words[: drawn.randrange(len(words) + 1)])
    elif what == 6:
        lines[i] = key + sign + b" ".join(words * drawn.choice((2, 100)))
    else:
        drawn.shuffle(words)
        lines[i] = key + sign + b" ".join(words)
    return b"\n".join(lines)


# -- damages to the structure of JSON and its like ------------------------------------------------------------------

HOSTILE_VALUES = (
    *(None, True, "", "x", "nan", "[inf]", "1_0", "\ud800", "9" * 30, -1, 0, 1, 2, 255, 2**24, 2**31, 2**32, 2**63 - 1),
    *(-(2**63), 2**64, 10**400, 0.5, float("nan"), float("inf"), 1e39, -3.4028235e38, 1e308, 5e-324),
    *([], [[]], {}, [None], [0], [0] * 5000, ["long" * 1000, ""], {"values": []}),
)  # fmt: skip


def change_document(drawn: Random, document: Any) -> None:
    """Change one place of nested dictionaries, lists and arrays: another value, a lost one, one from elsewhere."""
    (holder, key), (other, other_key) = _place(drawn, document), _place(drawn, document)
    if isinstance(holder, np.ndarray):
        holder[key] = drawn.choice(holder) if drawn.random() < 0.3 else _fitting(drawn, holder.dtype)
        return
    what, old = drawn.randrange(6), holder[key]
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(old, list | np.ndarray):
        holder[key] = (old.tolist() if isinstance(old, np.ndarray) else old)[
            : drawn.randrange(len(old) + 1)
        ] * drawn.choice((1, 2, 50))
    elif what == 2 and isinstance(holder, list):
        holder.insert(drawn.randrange(len(holder) + 1), old)
    elif what == 3 and not _holds(other[other_key], holder):
        holder[key] = other[other_key]
    else:
        holder[key] = drawn.choice(HOSTILE_VALUES)


def _place(drawn: Random, document: Any) -> tuple[Any, Any]:
    """(a dictionary, list or array, a key in it): often any entry of any object, often something deep inside of one."""
    holder, key = drawn.choice(list(_entries(document)))
    while isinstance(holder[key], dict | list | np.ndarray) and len(holder[key]) and drawn.random() < 0.7:
        holder = holder[key]
        key = drawn.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if isinstance(holder, np.ndarray):
            break
    return holder, key


def _entries(document: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every key of every dictionary with it."""
    for key, value in document.items() if isinstance(document, dict) else ():
        yield document, key
        yield from _entries(value)
    for item in document if isinstance(document, list) else ():
        yield from _entries(item)


def _fitting(drawn: Random, dtype: Any) -> Any:
    """A hostile number that the array can hold."""
    if dtype.kind == "f":
        return drawn.choice((-1.0, 0.0, 0.5, np.nan, np.inf, -np.inf, -3.4028235e38, 3e38, 1e-45))
    limits = np.iinfo(dtype)
    return drawn.choice((0, 1, 2, 31, 32, 100, limits.min, limits.max, max(-1, limits.min)))


def _holds(document: Any, part: Any) -> bool:
    """Whether `part` lies in `document`, which would become endless in its place."""
    if document is part:
        return True
    inside = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return any(_holds(item, part) for item in inside)


def change_json(drawn: Random, data: bytes) -> bytes:
    try:
        document = json.loads(data)
        change_document(drawn, document)
        return json.dumps(document, separators=(",", ":")).encode()
    except (ValueError, RecursionError, TypeError, LookupError):  # broken before
        return data


def change_ubjson(drawn: Random, data: bytes) -> bytes:
    try:
        document = ubjson.parse(data, "base")
        change_document(drawn, document)
    except (ModelFileError, TypeError, LookupError):
        return data
    return to_ubjson(document)


def to_ubjson(value: Any) -> bytes:
    """The bytes of a document, for files that are well formed and say what cannot be."""
    if isinstance(value, dict):
        return b"{" + b"".join(to_ubjson(key)[1:] + to_ubjson(item) for key, item in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b"".join(map(to_ubjson, value)) + b"]"
    if isinstance(value, np.ndarray):
        marker = {"i1": b"i", "u1": b"U", "i2": b"I", "i4": b"l", "i8": b"L", "f4": b"d", "f8": b"D"}[
            value.dtype.str[1:]
        ]
        return (
            b"[$"
            + marker
            + b"#"
            + _length(len(value))
            + value.astype(value.dtype.newbyteorder(">")).tobytes()
        )
    if isinstance(value, np.generic):
        return to_ubjson(value.item())
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"S" + _length(len(text)) + text
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return b"L" + struct.pack(">q", value)
    return b"D" + struct.pack(">d", float(value) if abs(value) < 1e300 else np.inf)


def _length(n: int) -> bytes:
    return b"L" + struct.pack(">q", n)


# -- damages inside of a zip, whose checksums are right again afterwards ---------------------------------------------


BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, EOFError, OSError, RuntimeError
)  # fmt: skip


def change_member(drawn: Random, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except BROKEN_ZIP:
        return data
    name = drawn.choice(sorted(members, key=lambda name: (not name.endswith(".json"), name)))
    if drawn.random() < 0.3:
        name = next((n for n in members if n.endswith(".json")), name)
    if drawn.random() < 0.05:
        members[drawn.choice(list(members))] = members.pop(name)
    elif name.endswith(".json"):
        edit = drawn.choice((change_json, change_json, change_number_of_json, repeat_key, *ANY))
        members[name] = edit(drawn, members[name])
    else:
        members[name] = drawn.choice((change_items, change_items, *ANY))(drawn, members[name])
    stream = io.BytesIO()
    methods = (
        zipfile.ZIP_DEFLATED,
        zipfile.ZIP_DEFLATED,
        zipfile.ZIP_STORED,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    )
    with zipfile.ZipFile(stream, "w", drawn.choice(methods)) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
    return stream.getvalue()


def change_items(drawn: Random, data: bytes) -> bytes:
    """An .npy array with one entry replaced, or another shape in its head."""
    if drawn.random() < 0.2:
        return _change_number(drawn, data[:128], HOSTILE_NUMBERS) + data[128:]
    size = drawn.choice((1, 4, 8))
    if len(data) < 128 + size:
        return data
    at = 128 + drawn.randrange((len(data) - 128) // size) * size
    hostile = (
        b"\0" * 8,
        b"\xff" * 8,
        struct.pack("<d", np.inf),
        struct.pack("<d", np.nan),
        struct.pack("<q", 2),
        drawn.randbytes(8),
    )
    return data[:at] + drawn.choice(hostile)[:size] + data[at + size :]


EDITS: dict[str, tuple[Edit, ...]] = {
    ".json": (*ANY, *[change_number_of_json] * 4, *[change_json] * 6, repeat_key),
    ".ubj": (*ANY, *[change_ubjson] * 6),
    ".txt": (*ANY, *[change_number] * 5, *[change_line] * 5),
    ".forest": (flip_bit, truncate, *[change_member] * 6),
    ".skops": (flip_bit, truncate, *[change_member] * 6),
}
"""The damages of each format."""


# -- what has to come of it ----------------------------------------------------------------------------------------


def read_safely(path: Path) -> Forest | str:
    """The forest of a damaged file, checked, or the text of the error; anything else is a find."""
    found = read(path)
    if not isinstance(found, str):
        check(found)
    return found


def read(path: Path) -> Forest | str:
    """The forest of a damaged file, or the text of an error of ours; a warning is an error, and none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return ec.load(path).forest if path.suffix == ".forest" else ec.read(path)
        except (ModelFileError, UnsupportedModelError) as error:
            text = str(error)
    assert 20 < len(text.encode()) < 1500, f"an error of {len(text)} characters: {text[:100]}"
    return text


def check(forest: Forest) -> None:
    """Raise AssertionError unless the forest is sound and answers as the naive twin does."""
    check_structure(forest)
    check_answers(forest)


def check_structure(forest: Forest) -> None:
    """Every index within its array, every node but the roots the child of one split, every number finite that has to be."""
    nodes, start, n_nodes = forest.nodes, forest.tree_start, len(forest.nodes.feature)
    assert {len(array) for array in nodes} == {n_nodes}
    assert start[0] == 0
    assert start[-1] == n_nodes
    assert (np.diff(start) > 0).all()
    assert isinstance(forest.n_features, int)
    split = np.flatnonzero(nodes.feature >= 0)
    assert (nodes.feature < forest.n_features).all()
    assert (nodes.right[split] > split + 1).all()
    assert (nodes.right[split] < n_nodes).all()
    parents = np.bincount(np.concatenate([split + 1, nodes.right[split]]), minlength=n_nodes)
    parents[start[:-1]] += 1
    assert (parents == 1).all()
    tree = np.repeat(np.arange(len(start) - 1), np.diff(start))
    assert (tree[split] == tree[nodes.right[split]]).all()
    leaf = nodes.leaf[nodes.feature < 0]
    assert ((leaf >= 0) & (leaf < len(forest.values))).all()
    assert ((nodes.category_set >= -1) & (nodes.category_set < len(forest.category_sets.start) - 1)).all()
    assert (forest.category_sets.start >= 0).all()
    assert (np.diff(forest.category_sets.start) >= 0).all()
    assert forest.category_sets.start[-1] == len(forest.category_sets.words)
    assert not np.isnan(nodes.threshold).any()
    for array in (forest.values, forest.bias, nodes.cover, np.array(forest.divisor)):
        assert np.isfinite(array).all()
    width = forest.values.shape[1]
    assert width in (1, forest.n_outputs)
    assert ((forest.tree_output >= 0) | (width == forest.n_outputs)).all()
    assert (forest.tree_output < forest.n_outputs).all()


def check_answers(forest: Forest) -> None:
    """Leaves and margins of a few rows as the naive twin finds them, and answers that can be asked for."""
    X = _hostile_rows(forest.n_features)
    if not forest.handles_nan:
        X = np.nan_to_num(X, nan=0.0, posinf=1e300, neginf=-1e300)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # sums of numbers like 1e308 overflow, in every library
        if X.size < 1000:
            assert (oracle.leaves(forest, X) == forest.find_leaves(X)).all()
            assert np.array_equal(oracle.margins(forest, X), forest.margin(X), equal_nan=True)
        assert len(forest.predict(X)) == len(X)
        if forest.is_classifier:
            assert len(forest.predict_proba(X)) == len(X)
        if forest.categories is not None and forest.n_features < 1000:
            _ask_with_a_frame(forest)
    forest.to_text().encode()


def _hostile_rows(n_features: int) -> NDArray[np.float64]:
    values = np.array([0.0, 1.0, 2.0, 40.0, -1.0, 0.3, -0.7, np.nan, np.inf, -np.inf, 1e300, 31.5, 2.0**40])
    n_rows = 8 if n_features < 100 else 1
    return values[np.arange(n_rows * n_features).reshape(n_rows, n_features) * 7 % 13]


def _ask_with_a_frame(forest: Forest) -> None:
    names = forest.feature_names or tuple(f"column {f}" for f in range(forest.n_features))
    if len(set(names)) < len(names):
        return
    levels = forest.categories or ()
    columns = {name: ["a level", *(l or [0.0])][-2:] if l is not None else [0.0, 1.0] for name, l in zip(names, levels, strict=True)}  # fmt: skip
    frame = pd.DataFrame({name: pd.Series(list(column)) for name, column in columns.items()})
    assert len(forest.predict(frame)) == 2
