"""Whether the kernels give the same bits on ARM: Numba for aarch64 runs them, emulated, on forests and rows made here.

The emulated machine is a folder: an aarch64 Python of Debian's and aarch64 wheels of what `forest.py` imports, unpacked, nothing
installed. It is made once (a minute, 400 MB) and needs Debian or Ubuntu with `qemu-user-static`. Rows are real
ones with cells moved onto the thresholds, beside them, and to the ends of what a float can say (`hard_rows.py`).

    python benchmarks/arm.py --quick               # two models; nothing is kept
    python benchmarks/arm.py --machine DIR         # into results/arm.json
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import arm_check
import hard_rows
import numpy as np
from environment import describe_run
from kinds import Size, Task, small_task

import ensemble_compress as ec

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "arm.json"
EMULATOR = "qemu-aarch64-static"
DEBIAN = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1", "zlib1g")
WHEELS = ("numba", "numpy", "scipy", "joblib", "threadpoolctl")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")  # fmt: skip
SIZE = Size(trees=40, depth=6, leaves=31, least=4)
N_ROWS = 400


class EmulationError(Exception):
    """The emulated machine cannot be made, or does not run."""


# -- the emulated machine ------------------------------------------------------------------------------------------


def make_machine(folder: Path) -> None:
    """Download and unpack what is not there yet."""
    if shutil.which(EMULATOR) is None:
        raise EmulationError(f"{EMULATOR} is not installed; on Debian: apt-get install qemu-user-static")
    if not (folder / "usr" / "bin" / "python3.11").exists():
        _unpack_debian(folder)
    if not (folder / "site" / "numba").exists():
        _unpack_wheels(folder)


def _unpack_debian(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark_arm_") as name:
        state = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (state / part).mkdir(parents=True)
        (state / "state" / "status").touch()
        places = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "Dir::State": state / "state",
            "Dir::State::status": state / "state" / "status",
            "Dir::Cache": state / "cache",
        }
        apt = ["apt-get", *(word for key, value in places.items() for word in ("-o", f"{key}={value}"))]
        _do([*apt, "update", "-q"])
        _do([*apt, "install", "-y", "--no-install-recommends", "--download-only", *DEBIAN])
        folder.mkdir(parents=True, exist_ok=True)
        for package in sorted((state / "cache" / "archives").glob("*.deb")):
            _do(["dpkg-deb", "-x", str(package), str(folder)])


def _unpack_wheels(folder: Path) -> None:
    wanted = [f"{name}=={metadata.version(name)}" for name in WHEELS]
    with tempfile.TemporaryDirectory(prefix="benchmark_arm_") as name:
        command = [sys.executable, "-m", "pip", "download", "-q", "-d", name, "--only-binary=:all:"]
        command += ["--python-version", "3.11", "--implementation", "cp"]
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        _do([*command, *wanted])
        for wheel in sorted(Path(name).glob("*.whl")):
            _do([sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder / "site")])


def _do(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmulationError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def run_emulated(machine: Path, arguments: Sequence[str], timeout: float = 3600) -> str:
    """What the emulated Python prints.

    Raises
    ------
    EmulationError
        It failed.
    """
    machine = machine.resolve()
    settings = {
        "PYTHONPATH": f"{machine / 'site'}:{ROOT}:{ROOT / 'benchmarks'}",
        "PYTHONHOME": machine / "usr",
        "PYTHONDONTWRITEBYTECODE": 1,
        "NUMBA_CACHE_DIR": machine / "cache",
        "OMP_NUM_THREADS": 1,
    }
    command = [EMULATOR, "-L", str(machine)]
    command += [word for key, value in settings.items() for word in ("-E", f"{key}={value}")]
    command += [str(machine / "usr" / "bin" / "python3.11"), *arguments]
    # Its errors go where ours go: it takes minutes, and somebody waits.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise EmulationError(f"the emulated Python ended with {done.returncode}; its own words are above")
    return done.stdout


# -- models --------------------------------------------------------------------------------------------------------


def _lightgbm(task: Task) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if task.name == "regression" else lightgbm.LGBMClassifier
    options = {"categorical_feature": list(task.categorical)} if task.categorical else {}
    model = kind(
        n_estimators=SIZE.trees, num_leaves=SIZE.leaves, min_child_samples=SIZE.least, n_jobs=1, verbose=-1
    )
    return model.fit(task.X, task.y, **options)


def _xgboost(task: Task) -> Any:
    import xgboost

    kind = xgboost.XGBRegressor if task.name == "regression" else xgboost.XGBClassifier
    model = kind(n_estimators=SIZE.trees, max_depth=SIZE.depth, n_jobs=1)
    return model.fit(task.X, task.y)


def _forest(task: Task) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(SIZE.trees, random_state=0).fit(task.X, task.y)


def _hist(task: Task) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    options = {"categorical_features": list(task.categorical)} if task.categorical else {}
    return HistGradientBoostingClassifier(max_iter=SIZE.trees, max_leaf_nodes=15, random_state=0, **options).fit(task.X, task.y)  # fmt: skip


def _catboost(task: Task) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(iterations=SIZE.trees, depth=6, random_seed=0, thread_count=1, verbose=False, allow_writing_files=False).fit(task.X, task.y)  # fmt: skip


MODELS: dict[str, tuple[Callable[[Task], Any], str, bool, bool]] = {
    "LightGBM, missing values and categories": (_lightgbm, "binary", True, True),
    "XGBoost, missing values": (_xgboost, "binary", True, False),
    "XGBoost, several classes": (_xgboost, "multi-class", False, False),
    "HistGradientBoosting, missing values and categories": (_hist, "binary", True, True),
    "CatBoost, oblivious trees, missing values": (_catboost, "binary", True, False),
    "RandomForest, fully grown": (_forest, "multi-class", False, False),
    "LightGBM, regression": (_lightgbm, "regression", False, False),
}
"""From its name to (training, task, missing values, categories)."""
QUICK = ("LightGBM, missing values and categories", "RandomForest, fully grown")


def make_case(name: str, path: Path) -> Any:
    """Train, read, and keep the forest with rows; returns (the forest, the rows)."""
    train, task_name, missing, categorical = MODELS[name]
    task = small_task(task_name, missing, categorical)
    forest = ec.read(train(task))
    rows = hard_rows.make_rows(forest, task.X, task.categorical, n_rows=1)
    chosen = np.random.default_rng(0).choice(len(rows), min(N_ROWS, len(rows)), replace=False)
    arm_check.save(path, forest, rows[np.sort(chosen)])
    return arm_check.load(path)


# -- comparison ----------------------------------------------------------------------------------------------------


def row_of(name: str, forest: Any, rows: Any, there: Path) -> dict[str, Any]:
    """How many rows of a model differ."""
    here = arm_check.answers(forest, rows)
    with np.load(there, allow_pickle=False) as found:
        wrong = {part: arm_check.differing(expected, found[part]) for part, expected in here.items()}
    return {
        "model": name,
        "n_trees": forest.n_trees,
        "n_nodes": forest.n_nodes,
        "n_rows": len(rows),
        "n_alone": arm_check.ALONE,
        "leaves_that_differ": wrong["leaves"],
        "margins_that_differ": sum(
            wrong[part]
            for part in ("margins", "alone", "walk", "packed", "heaps", "one_row", "one_row_bits")
            if part in wrong
        ),
        "bits_that_differ": wrong.get("bits"),
    }


def run(arguments: argparse.Namespace, machine: Path) -> bool:
    """Compare everything and keep it; False if a bit differs."""
    make_machine(machine)
    names = QUICK if arguments.quick else tuple(MODELS)
    with tempfile.TemporaryDirectory(prefix="benchmark_arm_") as folder:
        (Path(folder) / "answers").mkdir()
        cases = {name: make_case(name, Path(folder) / f"{k}.npz") for k, name in enumerate(names)}
        arm = json.loads(run_emulated(machine, [str(ROOT / "benchmarks" / "arm_check.py"), folder]))
        arm["emulator"] = _do([EMULATOR, "--version"]).splitlines()[0]
        about = {"arm": arm, "run": describe_run()}
        places = [Path(folder) / "answers" / f"{k}.npz" for k in range(len(names))]
        rows = [
            row_of(name, *case, there) | about
            for (name, case), there in zip(cases.items(), places, strict=True)
        ]
    for row in rows:
        print(
            f"{row['model']:52s} " + ", ".join(f"{key} {row[key]}" for key in row if key.endswith("differ"))
        )
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return not any(row[key] for row in rows for key in row if key.endswith("_differ"))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of this file."""
    parser = argparse.ArgumentParser(
        description="Compare the kernels on emulated ARM; see README.md beside this file."
    )
    parser.add_argument(
        "--machine", type=Path, help="where the emulated machine is kept from one run to the next"
    )
    parser.add_argument("--quick", action="store_true", help="two models")
    parser.add_argument("--output", type=Path, help="default: results/arm.json; with --quick nowhere")
    found = parser.parse_args(arguments)
    if found.output is None and not found.quick:
        found.output = RESULTS
    return found


def main(arguments: argparse.Namespace) -> bool:
    """What the command line asks for."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.machine is not None:
        return run(arguments, arguments.machine)
    with tempfile.TemporaryDirectory(prefix="benchmark_arm_") as folder:
        return run(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(0 if main(parse()) else 1)
