"""What ships: built from a clean copy, compared with the sources, installed and run where nothing else of ours is."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from sources import MODULES, PLACES, ROOT, tracked_files

BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive. setuptools would ship a `build/lib` left from before."""
    copy = tmp_path_factory.mktemp("clean copy")
    for path in tracked_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    run([sys.executable, "-P", "-c", BUILD], cwd=copy)
    return copy / "dist"


def run(command: list[str | Path], **options: object) -> str:
    # Options of this test run, such as warnings made errors, are not for what is tested as a user has it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=600,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return str(done.stdout)


def installed_names() -> set[str]:
    """Where every source and data file of the library belongs inside site-packages."""
    names = set()
    for path in tracked_files():
        folder, *rest = path.relative_to(ROOT).parts
        if folder in PLACES:
            names.add("/".join([*PLACES[folder].split("."), *rest]))
    return names


def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == installed_names()
    assert {"licenses/LICENSE", "entry_points.txt", "METADATA"} <= {n.split("/", 1)[1] for n in metadata}
    assert {name.split("/")[0] for name in names - metadata} == {"ensemble_compress"}


def test_the_source_archive_holds_what_a_build_needs(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = [path.relative_to(ROOT) for path in tracked_files() if path.relative_to(ROOT).parts[0] in PLACES]
    roots = {"setup.cfg", "pyproject.toml", "LICENSE"}
    assert {path.as_posix() for path in needed} | roots <= names


def test_every_package_is_named_in_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = config["options"]["packages"].split()
    assert set(packages) == {name for name, path in MODULES.items() if path.name == "__init__.py"}


def test_extras_name_extras_that_exist() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    for text in extras.values():
        for line in text.split():
            if line.startswith("ensemble-compress["):
                assert set(line[len("ensemble-compress[") : -1].split(",")) <= set(extras)


STORY = """
import numpy as np
import ensemble_compress as ec
from sklearn.ensemble import RandomForestClassifier
X = np.random.default_rng(0).random((40, 3))
model = RandomForestClassifier(3, random_state=0).fit(X, X[:, 0] > X[:, 1])
small = ec.compress(model, steps=[ec.algorithms.Simplify(), ec.algorithms.QuantizeLeaves(bits=8)])
small.predict(X)
for name in ("model.forest", "model.h", "model.so"):
    small.export(name) if name != "model.forest" else small.save(name)
print("smaller", small.n_leaves)
"""


def test_an_installed_wheel_compresses_and_exports(dist: Path, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    wheel = next(dist.glob("*.whl"))
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel])
    # The requirements are those of the running environment: nothing is downloaded. It may hold this library as well,
    # so it is shown after the installation, and comes behind the wheel on the path.
    places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (site / "requirements.pth").write_text("".join(f"{place}\n" for place in sorted(places)))
    where = run([python, "-c", "import ensemble_compress; print(ensemble_compress.__file__)"], cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    assert not (site / "algorithms").exists()
    program = scripts / "ensemble-compress"
    assert "demo" in run([program, "--help"], cwd=tmp_path)
    # Kernels are compiled anew here, so little is done; the demo itself runs in test_demo.py.
    assert "smaller" in run([python, "-c", STORY], cwd=tmp_path)
    assert "leaves" in run([program, "inspect", "model.forest"], cwd=tmp_path)
    if sys.platform != "win32":
        assert (tmp_path / "model.so").stat().st_size > 0
    assert "score" in (tmp_path / "model.h").read_text()
