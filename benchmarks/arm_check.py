"""Runs under the emulated Python of `arm.py`: reads forests and rows, predicts, and writes the answers beside them.

    python arm_check.py FOLDER

For each NAME.npz there it writes NAME.answers.npz: leaves, margins of all rows at once, margins of the first rows one by
one, and those of every engine where it takes the trees, whichever `Forest.margin` chooses. It prints what Numba makes of
the processor.
"""

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import bitvector, heap_walk, one_row, one_row_bits, packed_walk, walk
from ensemble_compress.engines.plan import Run
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import CategorySets, Nodes

ALONE = 8
FIELDS = ("tree_start", "tree_output", "values", "bias")
SETTINGS = ("n_features", "divisor", "link", "link_scale", "x_dtype", "category_rule", "handles_nan", "tie_class", "bias_last", "levels_as_codes", "absent_is_missing")  # fmt: skip
"""Every field of a Forest that is one number or word: a test compares them with its fields."""

ENGINES = {
    "walk": walk,
    "packed": packed_walk,
    "heaps": heap_walk,
    "one_row": one_row,
    "one_row_bits": one_row_bits,
    "bits": bitvector,
}
"""By the name that a `Run` gives its layout."""


def save(path: Path, forest: Forest, rows: NDArray[Any]) -> None:
    """Keep what `load` needs to make the forest again, and the rows."""
    arrays = {name: getattr(forest, name) for name in FIELDS}
    arrays |= {f"node_{name}": array for name, array in forest.nodes._asdict().items()}
    arrays |= {f"set_{name}": array for name, array in forest.category_sets._asdict().items()}
    settings = json.dumps({name: getattr(forest, name) for name in SETTINGS})
    np.savez(path, rows=rows, settings=np.array(settings), **arrays)


def load(path: Path) -> tuple[Forest, NDArray[Any]]:
    """(the forest, the rows) that `save` kept."""
    with np.load(path, allow_pickle=False) as kept:
        nodes = Nodes(**{name: kept[f"node_{name}"] for name in Nodes._fields})
        sets = CategorySets(**{name: kept[f"set_{name}"] for name in CategorySets._fields})
        arrays = {name: kept[name] for name in FIELDS}
        settings = json.loads(str(kept["settings"]))
        return Forest(nodes=nodes, category_sets=sets, **arrays, **settings), kept["rows"]


def answers(forest: Forest, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What a forest and every engine says; an engine that does not take the trees is left out."""
    alone = [forest.margin(rows[i : i + 1], n_jobs=1) for i in range(ALONE)]
    found = {
        "leaves": forest.find_leaves(rows, n_jobs=1),
        "margins": forest.margin(rows, n_jobs=1),
        "alone": np.concatenate(alone),
    }
    return found | sums_of_engines(forest, rows)


def sums_of_engines(forest: Forest, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What every engine that takes the trees adds to the bias, or to 0 where that comes last."""
    trees = forest.nodes, forest.category_sets, forest.tree_start, forest.tree_output, forest.values
    run, given = Run(*trees, forest.x_dtype, is_small=True), forest.rows(rows)
    found = {}
    for name, engine in ENGINES.items():
        laid_out = getattr(run, name)
        if laid_out is not None:
            found[name] = np.empty((len(given), forest.n_outputs), forest.values.dtype)
            found[name][:] = 0 if forest.bias_last else forest.bias
            engine.add_margins(laid_out, given, 0, len(given), found[name])
    return found


def differing(expected: NDArray[Any], actual: NDArray[Any]) -> int:
    """Rows that are not equal to the bit."""
    as_bytes = [
        np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1) for array in (expected, actual)
    ]
    return int((as_bytes[0] != as_bytes[1]).any(axis=1).sum())


def about() -> dict[str, Any]:
    """The processor as Numba sees it, and the versions."""
    from llvmlite import binding

    return {
        "machine": platform.machine(),
        "processor": binding.get_host_cpu_name(),
        "vector_bits": 128,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def main(folder: Path) -> None:
    """Answer for every forest in the folder."""
    seconds = {}
    for path in sorted(folder.glob("*.npz")):
        begin = time.perf_counter()
        found = answers(*load(path))
        np.savez(folder / "answers" / path.name, **found)
        seconds[path.stem] = round(time.perf_counter() - begin, 1)
        print(path.stem, seconds[path.stem], file=sys.stderr, flush=True)
    print(json.dumps({**about(), "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
