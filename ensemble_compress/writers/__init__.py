"""Writers: from a Forest to what runs elsewhere. One module a format; the file's suffix names it."""

from pathlib import Path

from ensemble_compress.errors import ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.tables import Optimize
from ensemble_compress.writers.c import check_name, write_c
from ensemble_compress.writers.onnx import Opset, check_opset, write_onnx
from ensemble_compress.writers.shared_library import check_target, write_interface, write_shared_library
from ensemble_compress.writers.treelite import write_treelite_library
from ensemble_compress.writers.verify import (
    verify_c,
    verify_onnx,
    verify_shared_library,
    verify_treelite_library,
)

__all__ = ["TARGETS", "check_export", "export_forest"]

HOST = "cpu"
TARGETS = (
    *(HOST, "x86-64", "aarch64", "armv7", "wasm32"),
    *("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"),
)
C_SUFFIXES = (".h", ".c")
LIBRARY_SUFFIXES = (".so", ".dylib", ".dll")
ONNX_SUFFIX = ".onnx"
TREELITE_SUFFIXES = tuple(f".treelite{suffix}" for suffix in LIBRARY_SUFFIXES)


def check_export(path: Path, target: str, name: str, opset: int = 5) -> None:
    """Refuse what `export_forest` could not write, before any work is done for it.

    Parameters
    ----------
    path : Path
        The file to be written.
    target : str
        What it has to run on.
    name : str
        What all names of a C source begin with.
    opset : {5, 3}
        The opset of an ONNX model's trees.

    Raises
    ------
    ParameterError
        The suffix, the target or the name is none that can be written.
    """
    if target not in TARGETS:
        raise ParameterError(f"target is {target!r}; expected one of {', '.join(TARGETS)}")
    file_name = path.name.lower()
    if file_name.endswith(C_SUFFIXES):
        check_name(name)
    elif file_name.endswith(ONNX_SUFFIX):
        check_opset(opset)
        if target != HOST:
            raise ParameterError(
                f"an ONNX model is made for no target: it runs where an ONNX runtime does, which on {target} is not"
                f" known; leave out target={target!r}"
            )
    elif not file_name.endswith(LIBRARY_SUFFIXES):
        raise ParameterError(
            f"{path.name!r} has no suffix that can be written; expected one of"
            f" {', '.join((*C_SUFFIXES, *LIBRARY_SUFFIXES, *TREELITE_SUFFIXES, ONNX_SUFFIX))}"
        )
    elif not file_name.endswith(TREELITE_SUFFIXES):
        check_target(path, target)
    elif target != HOST:
        raise ParameterError(
            f"a library of TL2cgen for {target} cannot be written; use target={HOST!r}, or export our own shared library"
            " (.so without .treelite)"
        )


def export_forest(
    forest: Forest,
    path: str | Path,
    *,
    target: str = HOST,
    name: str = "model",
    optimize: Optimize = "size",
    float_input: bool = True,
    opset: Opset = 5,
    verify: bool = False,
    python: bool = False,
) -> list[Path]:
    """Write a forest in the form that the file's suffix names.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        `.h` a single C header, `.c` a C source with its header beside it, `.so`, `.dylib` or `.dll` our shared
        library with its header beside it, `.treelite.so` a Treelite model compiled by TL2cgen, `.onnx` an ONNX model.
    target : str
        What it has to run on; C source runs on all of them, our library on "cpu" (this machine), "x86-64", "aarch64" and
        "armv7", one of TL2cgen's on "cpu".
    name : str
        What all names of a C source begin with, and what our library says it is called.
    optimize : {"size", "speed"}
        Tables of a C source packed to the bit, or in whole bytes.
    float_input : bool
        Whether a row of a C source holds floats; otherwise int16_t.
    opset : {5, 3}
        The opset of ai.onnx.ml that an ONNX model's trees are written in.
    verify : bool
        Whether to run what was written, on rows at the forest's own thresholds, and compare it with Python.
    python : bool
        Whether to write a Python file beside our library that loads it with numpy alone.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ParameterError
        The suffix, the target or another argument is none that can be written.
    UnsupportedModelError
        The format cannot hold the forest exactly.
    MissingPackageError
        The package that the format needs is not installed.
    ToolchainError
        A compiler is needed and missing or failed, or what it made answers differently.
    """
    path = Path(path)
    check_export(path, target, name, opset)
    file_name = path.name.lower()
    if file_name.endswith(C_SUFFIXES):
        files = write_c(forest, path, name=name, float_input=float_input, optimize=optimize)
        if verify:
            verify_c(forest, files, name=name, float_input=float_input)
        return files
    if file_name.endswith(ONNX_SUFFIX):
        write_onnx(forest, path, opset=opset)
        if verify:
            verify_onnx(forest, path, opset)
        return [path]
    if file_name.endswith(TREELITE_SUFFIXES):
        write_treelite_library(forest, path)
        if verify:
            verify_treelite_library(forest, path)
        return [path]
    if verify and target != HOST:
        raise ParameterError(
            f"a library for {target} cannot be verified here: it does not run on this machine; leave verify out, or export"
            f" with target={HOST!r} where it shall run"
        )
    write_shared_library(forest, path, name=name, target=target)
    if verify:
        verify_shared_library(forest, path)
    return [path, *write_interface(path, python=python)]
