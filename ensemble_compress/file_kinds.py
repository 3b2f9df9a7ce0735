"""What a model file seems to be, by its first bytes: a file under another kind's suffix is no damaged one."""

import io
import struct
import zipfile
from pathlib import Path

HEAD = 64
"""Bytes that tell the kinds apart, but for those of zip archives."""

KINDS = {
    "JSON": ".json",
    "UBJSON": ".ubj",
    "a text model of LightGBM": ".txt",
    "a model of CatBoost": ".cbm",
    "a pickle": ".pkl",
    "a compressed model of this library": ".forest",
    "a skops archive": ".skops",
}
"""The suffix of each kind."""

MEMBERS = {"header.json": "a compressed model of this library", "schema.json": "a skops archive"}


def find_kind(path: Path) -> str | None:
    """The key of `KINDS` that a file's first bytes fit, None where they tell nothing.

    Parameters
    ----------
    path : Path
        A file, which need not be readable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            return _kind_of_zip(file) if head.startswith(b"PK\x03\x04") else _kind_of(head)
    except (OSError, ValueError):
        return None


def describe_mismatch(path: Path) -> str | None:
    """What to do about a file whose content is of another kind than its suffix; None where they fit, or nothing is known.

    Parameters
    ----------
    path : Path
        A file, which need not be readable.
    """
    kind = find_kind(path)
    if kind is None or KINDS[kind] == path.suffix.lower():
        return None
    return f"it seems to be {kind}, by its first bytes; give it the suffix {KINDS[kind]}"


def _kind_of(head: bytes) -> str | None:
    after = head[1:2] if head[:1] == b"{" else b""
    if head.startswith((b"tree\n", b"tree\r\n")):
        return "a text model of LightGBM"
    if head.startswith(b"CBM1"):
        return "a model of CatBoost"
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "a pickle"
    if after and after in b"iUIlL$#":
        return "UBJSON"
    text = head.lstrip()
    return "JSON" if text[:1] == b"{" and text[1:].lstrip()[:1] == b'"' else None


def _kind_of_zip(file: io.BufferedReader) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeError, struct.error):
        return None
    return next((kind for member, kind in MEMBERS.items() if member in names), None)
