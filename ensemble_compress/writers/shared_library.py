"""A forest as a shared library with a C ABI: no Python needed to run it, and ctypes loads it back.

The code is `c_runtime/shared_library.c`; the tables are made for speed, not packed as in the C export: 12 or 16 bytes a
node, walked by eight rows at once. Leaf values are floats of the forest's own type, summed in its order, so that the
margins are those of `Forest.margin` to the bit. Tables are written as string literals: a compiler reads those six times
faster than lists of numbers (a forest of a million nodes compiles in three seconds).
"""

import ctypes
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import predict
from ensemble_compress.distinct import float32_below
from ensemble_compress.errors import ModelFileError
from ensemble_compress.forest import Forest
from ensemble_compress.writers.atomic import replacing
from ensemble_compress.writers.toolchain import compile_c

ABI_VERSION = 1
NAN_LEFT_BIT, SET_BIT = 24, 25
# FMA contraction would change no sum here, but nothing shall depend on that.
OPTIONS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off")
C_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "uint32": "uint32_t"}
IS_CODE = {
    "floor": "((x) >= 0)",
    "truncate": "((x) > -1 && (n_codes) > 0)",
    "exact": "((x) >= 0 && (x) == (VALUE)(int64_t)(x))",
}
"""Whether a number below `n_codes` has a code, by `Forest.category_rule`; the code is the number without its fraction."""
OCTAL = [f"\\{byte:03o}" for byte in range(256)]


def write_shared_library(forest: Forest, path: str | Path) -> Path:
    """Compile a forest to a shared library for this machine.

    The library exports `void predict_margin(const void *rows, size_t n_rows, double *out)`, whose rows are floats or
    doubles as `int32_t ec_input_bytes(void)` says (4 or 8), and `ec_abi_version`, `ec_n_features`, `ec_n_outputs`,
    `ec_n_trees`, `ec_margin_bytes`, `ec_handles_nan`, all `int32_t (void)`.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        The file to write; it is there as a whole or not at all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ToolchainError
        There is no C compiler, or it failed.
    """
    path = Path(path)
    runtime = resources.files("ensemble_compress.writers") / "c_runtime" / "shared_library.c"
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as name, replacing(path) as output:
        source = Path(name) / "shared_library.c"
        source.write_text(runtime.read_text("ascii"), "ascii")
        source.with_name("tables.h").write_text(_tables(forest), "ascii")
        compile_c([source], output, OPTIONS)
    return path


def _tables(forest: Forest) -> str:
    nodes, sets = forest.nodes, forest.category_sets
    is_leaf, is_set = forest.is_leaf, nodes.category_set >= 0
    numbers = {
        "VALUE": C_TYPES[forest.x_dtype],
        "SUM": C_TYPES[str(forest.values.dtype)],
        "N_FEATURES": forest.n_features,
        "N_OUTPUTS": forest.n_outputs,
        "N_TREES": forest.n_trees,
        "N_SETS": len(sets.start) - 1,
        "WIDTH": forest.values.shape[1],
        "DIVISOR": repr(forest.divisor),
        "HANDLES_NAN": int(forest.handles_nan),
        "BIAS_LAST": int(forest.bias_last),
        "IS_CODE(x, n_codes)": IS_CODE[forest.category_rule],
    }
    defines = "".join(f"#define {name} {value}\n" for name, value in numbers.items())
    arrays = {
        "ITEM": np.where(is_set, nodes.category_set, nodes.leaf).astype(np.int32),
        "TREE_START": forest.tree_start,
        "TREE_OUTPUT": forest.tree_output,
        "BIAS": forest.bias,
        "LEAF_VALUES": forest.values,
        "SET_START": sets.start,
        "SET_WORDS": sets.words,
    }
    node_type = "typedef struct { VALUE threshold; int32_t test, right; } node_t;\n"
    texts = [_table("NODES", "node_t", _nodes(forest, is_leaf, is_set))]
    texts += [_table(name, C_TYPES[str(array.dtype)], array) for name, array in arrays.items()]
    return defines + node_type + "".join(texts)


def _nodes(forest: Forest, is_leaf: NDArray[np.bool_], is_set: NDArray[np.bool_]) -> NDArray[Any]:
    nodes = forest.nodes
    # Rounded down, a threshold decides alike for every float32 value.
    threshold = nodes.threshold if forest.x_dtype == "float64" else float32_below(nodes.threshold)
    record = np.empty(forest.n_nodes, [("threshold", forest.x_dtype), ("test", "i4"), ("right", "i4")])
    record["threshold"] = np.where(is_leaf, np.nan, threshold)
    test = (
        nodes.feature | nodes.nan_left.astype(np.int32) << NAN_LEFT_BIT | is_set.astype(np.int32) << SET_BIT
    )
    record["test"] = np.where(is_leaf, 0, test)
    record["right"] = np.where(is_leaf, np.arange(forest.n_nodes), nodes.right)
    return record


def _table(name: str, c_type: str, array: NDArray[Any]) -> str:
    """The array as C: its bytes as a string that shares its place with numbers of the type."""
    content = array.tobytes()
    literal = "".join(map(OCTAL.__getitem__, content))
    union = f"union {{ char bytes[{len(content) + 1}]; {c_type} numbers[{max(array.size, 1)}]; }}"
    return (
        f'static const {union} {name.lower()}_ = {{"{literal}"}};\n#define {name} {name.lower()}_.numbers\n'
    )


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
        self._predict = self._library.predict_margin
        self._predict.restype = None
        self._predict.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        self.n_features = self._ask("ec_n_features")
        self.n_outputs = self._ask("ec_n_outputs")
        self.n_trees = self._ask("ec_n_trees")
        self.x_dtype = {4: "float32", 8: "float64"}[self._ask("ec_input_bytes")]
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
            Rows.
        n_jobs : int, optional
            Threads; None uses all that the process may, as far as there are rows enough.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs)
            In the dtype of the forest's values.

        Raises
        ------
        InputError
            X does not fit the model.
        """
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
