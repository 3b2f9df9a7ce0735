"""What the shared library says of itself, and who reads it: C programs, and Python without us."""

import ctypes
import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_cases import fit
from sources import ROOT
from strategies import forests, hard_rows
from test_writer_c import draw_forests, small_forest

from ensemble_compress.forest import Forest
from ensemble_compress.writers import export_forest, shared_library
from ensemble_compress.writers.shared_library import write_shared_library
from ensemble_compress.writers.standalone import Model
from ensemble_compress.writers.toolchain import compile_c, find_compiler


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile in a third of the time; other tests compile what ships."""
    monkeypatch.setattr(shared_library, "OPTIONS", ("-O1", *shared_library.OPTIONS[1:], "-DHIGHEST_LEVEL=1"))


# -- what it says of itself, and what follows from margins ------------------------------------------------------------


@pytest.mark.usefixtures("quickly")
def test_it_tells_what_it_holds(tmp_path: Path) -> None:
    forest = small_forest(feature_names=("größe",), classes=np.array(["nein", "ja"]))
    library = ctypes.CDLL(str(write_shared_library(forest, tmp_path / "model.so", name="stump")))
    for name in ("ec_model_name", "ec_metadata", "ec_feature_name", "ec_class_label", "ec_library_version"):
        library[name].restype = ctypes.c_char_p
    library.ec_feature_name.restype = library.ec_class_label.restype = ctypes.c_char_p
    library.ec_model_name.restype = library.ec_metadata.restype = ctypes.c_char_p
    assert library.ec_model_name() == b"stump"
    assert library.ec_feature_name(0).decode() == "größe"
    assert [library.ec_class_label(code) for code in (-1, 0, 1, 2)] == [None, b"nein", b"ja", None]
    assert library.ec_feature_name(1) is None
    assert (library.ec_n_classes(), library.ec_n_answers(), library.ec_abi_version()) == (2, 2, 2)
    metadata = json.loads(library.ec_metadata())
    assert (metadata["classes"], metadata["feature_names"], metadata["name"]) == (
        ["nein", "ja"],
        ["größe"],
        "stump",
    )


OTHER_PYTHON = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules["numba"] = sys.modules["ensemble_compress"] = None
import numpy as np
from load_model import Model
rows = np.load(sys.argv[2])
model = Model()
found = {"margin": model.margin(rows), "label": model.predict(rows), "of_lists": model.margin(rows.tolist())}
found |= {"fortran": model.margin(np.asfortranarray(rows)), "doubles": model.margin(rows.astype(np.float64))}
if model.classes_ is not None:
    found["probability"] = model.predict_proba(rows)
for wrong in (rows[:, :-1], rows[0]):
    try:
        model.margin(wrong)
    except ValueError as error:
        print(error)
np.savez(sys.argv[3], **found)
"""


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("link", ["identity", "softmax", "exp", "samme"])
def test_the_python_file_needs_numpy_and_nothing_of_ours(tmp_path: Path, link: str) -> None:
    parts = {field.name: getattr(fit(9, 30), field.name) for field in fields(Forest)}
    parts |= {"classes": None} if link == "exp" else {"classes": np.array(["a", "b", "long"])}
    forest = Forest(**parts | {"link": link})
    files = export_forest(forest, tmp_path / "model.so", python=True)
    assert [tmp_path / name for name in ("model.so", "model.so.h", "load_model.py")] == files
    rows = hard_rows(forest, 50)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "other.py").write_text(OTHER_PYTHON)
    paths = [tmp_path / name for name in ("other.py", "", "rows.npy", "found.npz")]
    done = subprocess.run([sys.executable, "-P", *paths], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    expected = "X has shape (50, 7); expected (n_rows, 8)\nX has shape (8,); expected (n_rows, 8)\n"
    assert expected == done.stdout
    found = np.load(tmp_path / "found.npz")
    for name in ("margin", "of_lists", "fortran", "doubles"):
        assert forest.margin(rows).tobytes() == found[name].tobytes(), name
    if forest.classes is None:
        np.testing.assert_allclose(forest.predict(rows), found["label"], rtol=1e-15)
    else:
        np.testing.assert_array_equal(forest.predict(rows), found["label"])
        np.testing.assert_allclose(forest.predict_proba(rows), found["probability"], rtol=1e-14)


@pytest.mark.usefixtures("quickly")
def test_the_python_file_loses_neither_masks_nor_imaginary_parts(tmp_path: Path) -> None:
    forest = small_forest(handles_nan=True)
    model = Model(write_shared_library(forest, tmp_path / "model.so"))
    for dtype in (np.float32, np.float64, np.int64, object):
        masked = np.ma.array(np.zeros((2, 1), dtype), mask=[[False], [True]])
        assert model.margin(masked).tolist() == forest.margin(masked).tolist() == [[-1.0], [1.0]]
    for wrong in (
        [[1j]],
        np.zeros((1, 1), np.complex64),
        np.zeros((1, 1), "M8[s]"),
        np.zeros((1, 1), "m8[s]"),
    ):
        with pytest.raises(
            ValueError, match=r"X holds (complex|datetime|timedelta).*; expected real numbers"
        ):
            model.margin(wrong)
    strict = Model(write_shared_library(small_forest(handles_nan=False), tmp_path / "strict.so"))
    with pytest.raises(ValueError, match="X contains NaN"):
        strict.margin(masked)


@pytest.mark.usefixtures("quickly")
def test_one_output_has_the_answers_of_python_for_each_link(tmp_path: Path) -> None:
    for n, forest in enumerate(draw_forests(10, forests(max_outputs=1, handles_nan=True))):
        write_shared_library(forest, tmp_path / f"m{n}.so")
        model = Model(tmp_path / f"m{n}.so")
        rows = hard_rows(forest, 40)
        tolerance = {"rtol": 1e-6 if forest.values.dtype == np.float32 else 1e-14, "atol": 1e-300}
        with np.errstate(over="ignore", invalid="ignore"):
            np.testing.assert_allclose(forest.answers(forest.margin(rows)), model._answers(rows), **tolerance)
        if forest.classes is not None:
            np.testing.assert_array_equal(forest.predict(rows), model.predict(rows), repr(forest))


# -- C programs -------------------------------------------------------------------------------------------------------


def run(*command: Any) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expect_answers(folder: Path, forest: Forest, library: Path) -> None:
    """The two example programs print what Python finds."""
    row = np.linspace(-1, 1, 8, dtype=np.float32)
    numbers = [repr(float(x)) for x in row]
    of_classes = zip(forest.classes, forest.predict_proba([row])[0], strict=True)
    expected = "".join(f"{label} {p:.9g}\n" for label, p in of_classes)
    assert f"{expected}label {forest.predict([row])[0]}\n" == run(folder / "linked", *numbers)
    margins = "".join(f"{m:.17g}\n" for m in forest.margin([row])[0])
    assert margins == run(folder / "loaded", library, *numbers)


def test_the_example_programs_compile_by_hand(tmp_path: Path) -> None:
    forest, library = fit(9, 30), tmp_path / "model.so"
    export_forest(forest, library)
    shutil.copy(f"{library}.h", tmp_path / "forest_library.h")
    warnings = ["-Wall", "-Wextra", "-Werror", f"-I{tmp_path}"]
    examples = ROOT / "examples" / "c"
    compile_c([examples / "linked.c", library], tmp_path / "linked", [*warnings, f"-Wl,-rpath,{tmp_path}"])
    compile_c([examples / "loaded.c"], tmp_path / "loaded", warnings, ["-ldl"])
    expect_answers(tmp_path, forest, library)


@pytest.mark.skipif(
    shutil.which("cmake") is None, reason="there is no CMake; the programs were compiled by hand"
)
def test_the_example_builds_by_cmake(tmp_path: Path) -> None:
    forest, library = fit(9, 30), tmp_path / "model.so"
    export_forest(forest, library)
    compiler = shutil.which(find_compiler()[0])
    build = tmp_path / "build"
    run(
        "cmake",
        "-S",
        ROOT / "examples" / "c",
        "-B",
        build,
        f"-DMODEL={library}",
        f"-DCMAKE_C_COMPILER={compiler}",
    )
    run("cmake", "--build", build)
    expect_answers(build, forest, library)
