"""The first prediction of a process: what it imports, what it compiles, and where that is kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zoo
from sources import ROOT

import ensemble_compress as ec

TESTS = Path(__file__).parent

HEAVY = [
    *("catboost", "constriction", "joblib", "lightgbm", "matplotlib", "pandas", "polars", "pyarrow"),
    *("scipy.sparse", "scipy.special", "scipy.stats", "sklearn", "tl2cgen", "treelite", "typer", "xgboost"),
]
PRINT_LOADED = f"\nprint([name for name in {HEAVY} if name in sys.modules])"


def run(code: str, *arguments: str, **environment: str) -> tuple[str, str]:
    """(output, errors) of Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.append({str(TESTS)!r})\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# -- imports -----------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_large() -> None:
    code = (
        "import ensemble_compress" + PRINT_LOADED + "\nprint('numba' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run(code) == ("[]\nFalse False\n", "")


LOAD = """
import numpy as np
import ensemble_compress as ec

model = ec.load(sys.argv[1])
X = np.zeros((1000, model.n_features_in_), model.forest.x_dtype)
print(model.predict(X[:1]).shape, model.predict(X).shape)
"""


@pytest.mark.parametrize("name", ["random forest text", "xgb multiclass", "lgb binary", "xgb regression"])
def test_loading_and_predicting_imports_nothing_large(name: str, tmp_path: Path) -> None:
    ec.pack(zoo.trained(name)).save(tmp_path / "model.forest")
    assert run(LOAD + PRINT_LOADED, str(tmp_path / "model.forest"))[0] == "(1,) (1000,)\n[]\n"


def test_reading_a_model_file_imports_no_library_of_it(tmp_path: Path) -> None:
    zoo.trained("xgb regression").save_model(tmp_path / "model.json")
    code = (
        "import numpy as np; import ensemble_compress as ec; forest = ec.read(sys.argv[1])\n"
        "print(forest.margin(np.zeros((1, forest.n_features))).shape, 'xgboost' in sys.modules)"
    )
    assert run(code, str(tmp_path / "model.json"))[0] == "(1, 1) False\n"


# -- compiled code -----------------------------------------------------------------------------------------------

WARM_UP = """
import numpy as np, scipy.sparse
import ensemble_compress as ec
from ensemble_compress import engines
from ensemble_compress.engines import bitvector, sparse, structure, walk
from strategies import hard_rows
from test_forest import two_trees

def compiled():
    modules = [m for name, m in sys.modules.items() if name.startswith("ensemble_compress.engines.")]
    kernels = {id(f): f for module in modules for f in vars(module).values() if hasattr(f, "signatures")}
    return {(f.py_func.__module__, f.py_func.__name__, str(s)) for f in kernels.values() for s in f.signatures}

ec.warm_up()
warm = compiled()
for x_dtype, value_dtype in (("float32", "float32"), ("float32", "float64"), ("float64", "float64")):
    forest = two_trees(x_dtype=x_dtype, values=two_trees().values.astype(value_dtype))
    for given in ("float32", "float64"):
        rows = hard_rows(forest, 9000).astype(given)
        read_only = rows.copy()
        read_only.setflags(write=False)
        for X in (rows, read_only, np.asfortranarray(rows), scipy.sparse.csr_array(rows)):
            for n_rows in (1, 3, 100, 9000):
                forest.margin(X[:n_rows] if n_rows < 9000 else X)
                forest.apply(X[:n_rows])
print(sorted({name for module, name, _ in warm if not name.startswith("_")}))
print(sorted(compiled() - warm))
"""


def test_nothing_is_left_to_compile_after_warming_up() -> None:
    kernels, left = run(WARM_UP)[0].splitlines()
    assert {"add_margins", "find_fault", "find_leaves", "spread"} <= set(eval_list(kernels))
    assert left == "[]"


def eval_list(text: str) -> list[str]:
    return [part.strip(" '") for part in text.strip("[]").split(",")]


COMPILE = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import ensemble_compress.forest
    from ensemble_compress.engines import structure
    parent = np.full(3, -1, np.int32)
    structure.find_parents(np.array([0, -1, -1], np.int32), np.array([2, -1, -1], np.int32), parent)
print(ensemble_compress.__file__)
print(parent.tolist())
for warning in caught:
    print(warning.category.__name__, warning.message)
"""
PARENTS = "[-1, 0, 0]"
"""What that kernel, which is quickly compiled, finds."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of the package that nothing can be written beside, whoever runs the tests."""
    root = tmp_path_factory.mktemp("site")
    for source, target in (("ensemble_compress", ""), ("algorithms", "algorithms")):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            ROOT / source, root / "ensemble_compress" / target, ignore=ignored, dirs_exist_ok=True
        )
    # A file where the directory would be: even for a superuser it can't be made.
    (root / "ensemble_compress" / "engines" / "__pycache__").write_text("")
    return root


def compile_in(package: Path, **environment: str) -> list[str]:
    code = f"sys.path.insert(0, {str(package)!r})" + COMPILE
    lines = run(code, PYTHONDONTWRITEBYTECODE="1", **environment)[0].splitlines()
    assert lines.pop(0).startswith(str(package))
    return lines


def test_kernels_are_kept_in_the_user_s_cache_where_the_package_is_read_only(
    package: Path, tmp_path: Path
) -> None:
    assert compile_in(package, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path)) == [PARENTS]
    assert {file.name.split("-")[0] for file in tmp_path.rglob("*.nbi")} == {"structure.find_parents"}


@pytest.mark.parametrize("cache", ["", "/dev/null/cache"])
def test_without_any_place_to_keep_kernels_they_work_and_say_so_once(package: Path, cache: str) -> None:
    nowhere = {"NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null"}
    found, *warnings = compile_in(package, **nowhere)
    assert found == PARENTS
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "RuntimeWarning compiled code cannot be kept: no directory for it can be written to, so that every process"
        " compiles it anew, which takes seconds; set the environment variable NUMBA_CACHE_DIR to a directory"
    )


FULL_DISK = """
from numba.core import caching
def save(*arguments):
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile.save = save
"""


def test_a_disk_that_is_full_stops_no_prediction(tmp_path: Path) -> None:
    lines = run(FULL_DISK + COMPILE, NUMBA_CACHE_DIR=str(tmp_path))[0].splitlines()
    assert lines[1] == PARENTS
    assert [line.partition(":")[0] for line in lines[2:]] == ["RuntimeWarning compiled code cannot be kept"]


def test_kernels_are_compiled_anew_when_a_file_of_their_steps_has_changed(
    package: Path, tmp_path: Path
) -> None:
    hits = f"sys.path.insert(0, {str(package)!r}){COMPILE}\nprint(sum(structure.find_parents.stats.cache_hits.values()))"

    def count_hits() -> str:
        return run(hits, NUMBA_CACHE_DIR=str(tmp_path))[0].splitlines()[-1]

    assert [count_hits(), count_hits()] == ["0", "1"]
    os.utime(package / "ensemble_compress" / "engines" / "columns.py", (1, 1))
    assert [count_hits(), count_hits()] == ["0", "1"]
