"""Zip archives from anywhere: no more is unpacked than the size of the file allows."""

import math
import zipfile
from typing import Any

import numpy as np

from ensemble_compress.errors import ModelFileError, in_short

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others pack a gigabyte into a few hundred bytes, and are unpacked block by block whatever size was declared."""
LARGEST_GROWTH, SMALLEST_LIMIT = 1000, 1 << 20
"""Deflate can't shrink anything by more than 1032 to 1; a file that claims more is no model."""


def check_members(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Raise `ModelFileError` where unpacking could take more memory than a file of `n_bytes` can be worth.

    Parameters
    ----------
    archive : ZipFile
        Opened, nothing read yet.
    n_bytes : int
        Size of the whole file.
    """
    members = archive.infolist()
    declared, limit = (
        sum(member.file_size for member in members),
        max(LARGEST_GROWTH * n_bytes, SMALLEST_LIMIT),
    )
    if declared > limit:
        raise ModelFileError(
            f"declares {declared:,} bytes of content; expected at most {limit:,} in a file of {n_bytes:,} bytes"
        )
    if any(member.compress_type not in METHODS for member in members):
        raise ModelFileError("is compressed by another method than deflate; save the model again")


def check_arrays(archive: zipfile.ZipFile) -> None:
    """Raise `ModelFileError` where an .npy member declares another size than it has: NumPy would take the memory first.

    Parameters
    ----------
    archive : ZipFile
        One that `check_members` has passed.
    """
    for member in archive.infolist():
        if member.filename.endswith(".npy"):
            with archive.open(member) as stream:
                read_array_header(stream, member.file_size, may_be_fortran=True)


def read_array_header(
    stream: Any, n_bytes: int, *, may_be_fortran: bool = False
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype) of the array in a .npy file; the stream stands at its first entry afterwards.

    Parameters
    ----------
    stream : file
        The file, at its begin.
    n_bytes : int
        Its size, which the array has to fill.
    may_be_fortran : bool
        Whether its entries may lie column by column.

    Raises
    ------
    ModelFileError
        The array is larger or smaller than the rest of the file, or holds objects.
    """
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ModelFileError(
            f"is damaged: found an array in version {version} of NumPy's format; expected 1 or 2"
        )
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    size = math.prod(int(n) for n in shape) * dtype.itemsize
    if dtype.hasobject or (is_fortran and not may_be_fortran) or size != n_bytes - stream.tell():
        what = in_short(f"an array of shape {shape} and type {dtype}")
        raise ModelFileError(f"is damaged: {what} does not fill its place")
    return shape, dtype
