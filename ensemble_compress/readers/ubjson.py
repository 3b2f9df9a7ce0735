"""A reader of UBJSON, the binary form of JSON that XGBoost writes: big-endian, with typed arrays of known length.

    value  = '{' {length-prefixed key, value} '}' | '[' values ']' | '[#' length values | '[$' type '#' length bytes
           | 'S' length bytes | 'i' int8 | 'U' uint8 | 'I' int16 | 'l' int32 | 'L' int64 | 'd' float32 | 'D' float64
           | 'C' char | 'T' | 'F' | 'Z'
    length = an integer value >= 0

Typed arrays become numpy arrays. No length is believed beyond the bytes that are left, so memory stays in proportion to
the file.
"""

import struct
from typing import Any

import numpy as np

from ensemble_compress.errors import ModelFileError

LENGTHS = {ord(m): struct.Struct(f">{code}") for m, code in zip("iUIlL", "bBhiq", strict=True)}
NUMBERS = LENGTHS | {ord("d"): struct.Struct(">f"), ord("D"): struct.Struct(">d")}
ENTRIES = {ord(m): np.dtype(kind) for m, kind in zip("iUIlLdD", ("i1", "u1", ">i2", ">i4", ">i8", ">f4", ">f8"), strict=True)}  # fmt: skip
CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}
MAX_DEPTH = 64


def parse(data: bytes, where: str) -> Any:
    """The value that the bytes hold.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Its name, for error messages.

    Raises
    ------
    ModelFileError
        The bytes are no UBJSON, or end too early; the message names the offset.

    Examples
    --------
    >>> from ensemble_compress.readers import ubjson
    >>> ubjson.parse(b"{U\\x01ai\\x05}", "example")
    {'a': 5}
    """
    value, stop = _parse_value(data, 0, where, 0)
    if stop != len(data):
        raise _error(where, stop, f"{len(data) - stop} bytes follow the model")
    return value


def _parse_value(data: bytes, at: int, where: str, depth: int) -> tuple[Any, int]:
    marker = _byte(data, at, where)
    if depth > MAX_DEPTH:
        raise _error(where, at, f"objects lie more than {MAX_DEPTH} deep")
    if marker in NUMBERS:
        return _parse_number(data, at + 1, where, NUMBERS[marker])
    if marker in CONSTANTS:
        return CONSTANTS[marker], at + 1
    if marker == ord("{"):
        return _parse_object(data, at + 1, where, depth + 1)
    if marker == ord("["):
        return _parse_list(data, at + 1, where, depth + 1)
    if marker == ord("S"):
        return _parse_text(data, at + 1, where)
    if marker == ord("C"):
        return chr(_byte(data, at + 1, where)), at + 2
    raise _error(where, at, f"found the byte {marker:#04x} where a value begins")


def _parse_object(data: bytes, at: int, where: str, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while _byte(data, at, where) != ord("}"):
        key, after = _parse_text(data, at, where)
        if key in values:
            raise _error(where, at, f"found the key {key[:40]!r} for the second time")
        values[key], at = _parse_value(data, after, where, depth)
    return values, at + 1


def _parse_list(data: bytes, at: int, where: str, depth: int) -> tuple[Any, int]:
    marker = _byte(data, at, where)
    if marker == ord("$"):
        kind = ENTRIES.get(_byte(data, at + 1, where))
        if kind is None or _byte(data, at + 2, where) != ord("#"):
            raise _error(where, at, "found an array of an unknown type")
        length, at = _parse_length(data, at + 3, where)
        return _parse_array(data, at, where, kind, length)
    values = []
    if marker == ord("#"):
        length, at = _parse_length(data, at + 1, where)
        for _ in range(length):
            value, at = _parse_value(data, at, where, depth)
            values.append(value)
        return values, at
    while _byte(data, at, where) != ord("]"):
        value, at = _parse_value(data, at, where, depth)
        values.append(value)
    return values, at + 1


def _parse_array(data: bytes, at: int, where: str, kind: np.dtype[Any], length: int) -> tuple[Any, int]:
    stop = at + length * kind.itemsize
    if stop > len(data):
        raise _truncated(where, len(data), stop)
    return np.frombuffer(data, kind, length, at).astype(kind.newbyteorder("=")), stop


def _parse_text(data: bytes, at: int, where: str) -> tuple[str, int]:
    length, at = _parse_length(data, at, where)
    if at + length > len(data):
        raise _truncated(where, len(data), at + length)
    try:
        return data[at : at + length].decode("utf-8"), at + length
    except UnicodeDecodeError as error:
        raise _error(where, at, "found a text that is no UTF-8") from error


def _parse_length(data: bytes, at: int, where: str) -> tuple[int, int]:
    code = LENGTHS.get(_byte(data, at, where))
    if code is None:
        raise _error(where, at, "expected a length")
    length, stop = _parse_number(data, at + 1, where, code)
    if length < 0:
        raise _error(where, at, f"found the length {length}")
    return length, stop


def _parse_number(data: bytes, at: int, where: str, code: struct.Struct) -> tuple[Any, int]:
    stop = at + code.size
    if stop > len(data):
        raise _truncated(where, len(data), stop)
    return code.unpack_from(data, at)[0], stop


def _byte(data: bytes, at: int, where: str) -> int:
    if at >= len(data):
        raise _truncated(where, len(data), at + 1)
    return data[at]


def _truncated(where: str, length: int, needed: int) -> ModelFileError:
    return ModelFileError(
        f"{where} is truncated: it ends after {length} bytes and should go on to byte {needed} at least; copy or save it again"
    )


def _error(where: str, at: int, what: str) -> ModelFileError:
    return ModelFileError(
        f"{where}: {what} (at byte {at}); the file is damaged, or not a model: save it again"
    )
