"""A forest as a shared library with a C ABI: no Python needed to run it, and ctypes loads it back.

The code is `c_runtime/shared_library.c`, the same for every forest: the engines' own traversals over the engines' own layouts;
`library_tables` says what its tables hold. The tables
reach the library as bytes that the assembler takes from a file, so a forest of millions of nodes is built as fast as
a small one. Leaf values are of the forest's own type, summed in its order: the margins are those of `Forest.margin` to
the bit. On x86-64 the library has the traversals for SSE2, AVX2 and AVX-512, and picks when it runs.
"""

import ctypes
import hashlib
import json
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import frames, predict
from ensemble_compress._version import __version__
from ensemble_compress.errors import InputError, ModelFileError, ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.writers.atomic import replacing, write_atomically
from ensemble_compress.writers.library_tables import LibraryTables
from ensemble_compress.writers.toolchain import compile_c, find_cross_compiler

ABI_VERSION = 2
RUNTIME = (
    *("shared_library.c", "level.h", "bit_vectors.h", "packed_steps.h", "packed_walk.h", "traversal.h"),
    *("heap_steps.h", "heap_walk.h", "heap_rows.h", "ranks.h", "answers.h", "forest_library.h"),
)
ALIGNMENT = 64
OPTIONS = (
    *("-O3", "-shared", "-fPIC", "-fvisibility=hidden"),
    # FMA contraction would change no sum here, but nothing shall depend on that.
    "-ffp-contract=off",
    # Gathers, which a compiler puts where loops load from tables, are slower than the loads.
    *("-fno-tree-vectorize", "-fno-tree-slp-vectorize"),
)
TRIPLES = {
    # The oldest C library that Zig has for all of them: a newer system runs what was linked to an older one.
    ("x86-64", ".so"): ("x86_64-linux-gnu.2.17",),
    ("aarch64", ".so"): ("aarch64-linux-gnu.2.17",),
    ("armv7", ".so"): ("arm-linux-gnueabihf.2.17", "-mcpu=generic+v7a+neon"),
    ("x86-64", ".dylib"): ("x86_64-macos",),
    ("aarch64", ".dylib"): ("aarch64-macos",),
    ("x86-64", ".dll"): ("x86_64-windows-gnu",),
    ("aarch64", ".dll"): ("aarch64-windows-gnu",),
}
"""What Zig calls the machines that a library can be compiled for, by target and suffix, and further options."""

LINKS = (
    *("identity", "sigmoid", "softmax", "exp", "softplus", "signed_square", "step", "samme", "isolation"),
)

IS_CODE = {
    "floor": "((x) >= 0)",
    "truncate": "((x) > -1 && (n_codes) > 0)",
    "exact": "((x) >= 0 && (x) == (VALUE)(int64_t)(x))",
}
"""Whether a number below `n_codes` has a code, by `Forest.category_rule`; the code is the number without its fraction."""


def check_target(path: Path, target: str) -> None:
    """Refuse a target that no library of this suffix can be compiled for.

    Parameters
    ----------
    path : Path
        The library to be written.
    target : str
        "cpu", this machine, or a key of `TRIPLES`.

    Raises
    ------
    ParameterError
        There is none; the message names the targets that there are.
    """
    suffix = path.suffix.lower()
    known = [name for name, of in TRIPLES if of == suffix]
    if target == "cpu" or target in known:
        return
    raise ParameterError(
        f"a shared library ({suffix}) for {target} cannot be written; expected target 'cpu' or one of {', '.join(known)},"
        f" or export C source (.h or .c) and compile it for {target}"
    )


def write_shared_library(
    forest: Forest, path: str | Path, *, name: str = "model", target: str = "cpu"
) -> Path:
    """Compile a forest to a shared library; `forest_library.h` tells its interface.

    Every x86-64 library runs on any such processor, and uses AVX2 or AVX-512 where it finds them.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        The file to write; it is there as a whole or not at all.
    name : str
        What the library says it is called.
    target : str
        What it has to run on: "cpu", this machine, is compiled by the compiler found on it; for "x86-64", "aarch64" and
        "armv7" the compiler is that of the package ziglang, and the suffix names the system: `.so` Linux, `.dylib`
        macOS, `.dll` Windows.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ToolchainError
        There is no C compiler, or it failed.
    ParameterError
        The target is none for a library of this suffix.
    """
    path = Path(path)
    check_target(path, target)
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as work, replacing(path) as output:
        folder = Path(work)
        write_sources(forest, folder, name)
        libraries = [] if path.suffix.lower() == ".dll" else ["-lm", "-s"]
        # Compiled elsewhere and copied: some compilers write more than was asked for, and beside it.
        built = folder / f"library{path.suffix}"
        compile_c(
            [folder / RUNTIME[0]], built, OPTIONS, libraries, compiler=_compiler(path, target), folder=folder
        )
        shutil.copyfile(built, output)
    return path


def _compiler(path: Path, target: str) -> list[str] | None:
    if target == "cpu":
        return None
    triple, *options = TRIPLES[target, path.suffix.lower()]
    return [*find_cross_compiler(triple), *options]


def write_interface(path: str | Path, *, python: bool = False) -> list[Path]:
    """Write what others need to use a library beside it: a C header, and on demand a Python file.

    Parameters
    ----------
    path : str or Path
        The library, say `model.so`: the header is `model.so.h`.
    python : bool
        Whether to write `load_model.py` too, which needs numpy and nothing of ours (for Python `model.py` would be hidden
        by `model.so`). What no module's name can hold becomes an underscore: `my-model.so` has `load_my_model.py`.

    Returns
    -------
    list of Path
        The files written.
    """
    path = Path(path)
    files = {path.with_name(f"{path.name}.h"): _runtime("forest_library.h")}
    if python:
        source = (resources.files("ensemble_compress.writers") / "standalone.py").read_text("utf-8")
        module = "load_" + re.sub(r"\W", "_", path.stem, flags=re.ASCII)
        names = {"model.so": _in_quotes(path.name), "load_model": module}
        # In one pass: a name may hold what stands for another.
        named = re.sub(r"model\.so|load_model", lambda found: names[found[0]], source)
        files[path.with_name(f"{module}.py")] = named.encode()
    for file, content in files.items():
        write_atomically(file, content)
    return list(files)


def _in_quotes(text: str) -> str:
    """What Python reads as this text between double quotes."""
    return text.encode("unicode_escape").decode("ascii").replace('"', r"\"")


def write_sources(forest: Forest, folder: Path, name: str) -> None:
    """Write the C sources of a library, and its tables, to a folder.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    folder : Path
        An empty folder.
    name : str
        What the library says it is called.
    """
    for file in RUNTIME:
        (folder / file).write_bytes(_runtime(file))
    numbers, arrays = _tables(forest, name)
    content = bytearray()
    lines = [f"#define {key} {value}" for key, value in numbers.items()]
    for key, (c_type, array) in arrays.items():
        content += bytes(-len(content) % ALIGNMENT)
        lines.append(f"#define {key} ((const {c_type} *)(const void *)(ec_tables + {len(content)}u))")
        content += array.tobytes()
    # A compiler that keeps its results knows the sources by their text, and nothing of what the assembler adds to them.
    lines.append(f"/* SHA-256 of tables.bin: {hashlib.sha256(content).hexdigest()} */")
    (folder / "tables.h").write_text("\n".join(lines) + "\n", "ascii")
    (folder / "tables.bin").write_bytes(content)


def _runtime(file: str) -> bytes:
    return (resources.files("ensemble_compress.writers") / "c_runtime" / file).read_bytes()


def _tables(forest: Forest, name: str) -> tuple[dict[str, str], dict[str, tuple[str, NDArray[Any]]]]:
    """(C macros, tables by their macro with the C type of an element)."""
    tables = LibraryTables.of(forest)
    texts, start = _texts(forest, name)
    arrays = tables.arrays | {"TEXTS": ("char", texts), "TEXT_START": ("uint32_t", start)}
    return tables.numbers | _meaning(forest), arrays


def _meaning(forest: Forest) -> dict[str, str]:
    n_classes = 0 if forest.classes is None else len(forest.classes)
    numbers = {
        "IS_CODE(x, n_codes)": IS_CODE[forest.category_rule],
        "LINK_SCALE": float(forest.link_scale).hex(),
        "N_CLASSES": n_classes,
        "N_ANSWERS": n_classes or forest.n_outputs,
        "TIE_CLASS": forest.tie_class,
        **{f"LINK_{link.upper()}": k for k, link in enumerate(LINKS)},
        "LINK": LINKS.index(forest.link),
        "HAS_FEATURE_NAMES": int(forest.feature_names is not None),
    }
    return {key: str(value) for key, value in numbers.items()}


def _texts(forest: Forest, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    labels = [] if forest.classes is None else forest.classes.tolist()
    metadata = {
        "library_version": __version__,
        "name": name,
        "n_features": forest.n_features,
        "n_outputs": forest.n_outputs,
        "n_trees": forest.n_trees,
        "feature_names": forest.feature_names,
        "classes": None if forest.classes is None else labels,
        "class_dtype": None if forest.classes is None else forest.classes.dtype.str,
        "link": forest.link,
        "x_dtype": forest.x_dtype,
        "margin_dtype": str(forest.values.dtype),
        "handles_nan": forest.handles_nan,
    }
    texts = [__version__, name, json.dumps(metadata), *(forest.feature_names or ()), *map(str, labels)]
    encoded = [text.encode() + b"\0" for text in texts]
    start = np.cumsum([0, *map(len, encoded)]).astype(np.uint32)
    return np.frombuffer(b"".join(encoded), np.uint8), start


class SharedLibrary:
    """A library written by `write_shared_library`, loaded into this process.

    Loading a library runs code of its own: load only files that you trust.

    Parameters
    ----------
    path : str or Path
        The library.

    Raises
    ------
    ModelFileError
        The file is no shared library of this machine, or not one of ours.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._library = _load(self.path)
        version = self._ask("ec_abi_version")
        if version != ABI_VERSION:
            raise ModelFileError(
                f"{self.path} has version {version} of the interface; expected {ABI_VERSION}: export the model again"
            )
        self.x_dtype = {4: "float32", 8: "float64"}[self._ask("ec_input_bytes")]
        self._predict = self._library["predict_margin" if self.x_dtype == "float32" else "predict_margin_f64"]
        self._predict.restype = None
        self._predict.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        self.n_features = self._ask("ec_n_features")
        self.n_outputs = self._ask("ec_n_outputs")
        self.n_trees = self._ask("ec_n_trees")
        self.margin_dtype = {4: np.float32, 8: np.float64}[self._ask("ec_margin_bytes")]
        self.handles_nan = bool(self._ask("ec_handles_nan"))

    def _ask(self, name: str) -> int:
        try:
            function = self._library[name]
        except AttributeError as error:
            raise ModelFileError(
                f"{self.path} is a shared library without {name}; expected one written by write_shared_library"
            ) from error
        function.restype = ctypes.c_int32
        return int(function())

    def margin(self, X: Any, n_jobs: int | None = None) -> NDArray[Any]:
        """The margins of the rows, equal to `Forest.margin` to the bit.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Numbers, categories as their codes. DataFrames and sparse matrices become such rows by `Forest.rows`: a library
            knows neither levels nor what an absent entry means.
        n_jobs : int, optional
            The most threads; None and -1 take all that the surroundings grant, as far as there are rows enough.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs)
            In the dtype of the forest's values.

        Raises
        ------
        InputError
            X does not fit the model, or is a DataFrame or a sparse matrix.
        """
        if frames.is_frame(X) or hasattr(X, "tocsr"):
            raise InputError(
                f"X is a {type(X).__name__}; expected a dense array: a library knows neither the levels of a DataFrame nor"
                " whether an entry that a sparse matrix leaves out is missing. Pass forest.rows(X), with the Forest that"
                " was exported"
            )
        rows = predict.as_rows(
            X, n_features=self.n_features, dtype=self.x_dtype, handles_nan=self.handles_nan
        )
        out = np.empty((len(rows), self.n_outputs))

        def work(start: int, stop: int) -> None:
            part = out[start:stop]
            self._predict(rows[start:stop].ctypes.data, len(part), part.ctypes.data)

        predict.over_threads(work, len(rows), n_jobs)
        return out.astype(self.margin_dtype)


def _load(path: Path) -> ctypes.CDLL:
    """The library, from a copy: the loader knows libraries by name, and would give an older file of this name again."""
    try:
        with tempfile.TemporaryDirectory(prefix="ensemble_compress_", ignore_cleanup_errors=True) as folder:
            return ctypes.CDLL(str(shutil.copy(path, Path(folder) / path.name)))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be loaded as a shared library: {error}") from error
