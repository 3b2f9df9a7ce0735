"""The shared library on other machines: compiled by ziglang, run by an emulator, its bits compared with Python's."""

from pathlib import Path

import numpy as np
import pytest
from emulated_library import AARCH64, ARMV7, EmulatedLibrary, Processor
from library_cases import assert_bit_vectors_have_oblivious_trees_and_others, joined, oblivious
from sklearn.ensemble import RandomForestClassifier
from strategies import forests, hard_rows
from test_writer_c import draw_forests, small_forest

from ensemble_compress.errors import ParameterError, ToolchainError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.writers import export_forest, shared_library
from ensemble_compress.writers.shared_library import write_shared_library


def trained(max_leaf_nodes: int) -> Forest:
    """A forest of 20 trees with missing values."""
    X = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)
    X[::7, 2] = np.nan
    y = (X[:, 0] + X[:, 1] > 0) + (X[:, 3] > 1).astype(int)
    model = RandomForestClassifier(20, max_leaf_nodes=max_leaf_nodes, random_state=0)
    return read(model.fit(X, y))


@pytest.mark.parametrize(
    ("target", "processor"), [("aarch64", AARCH64), ("armv7", ARMV7)], ids=["aarch64", "armv7"]
)
def test_a_library_for_arm_gives_the_bits_of_python(
    tmp_path: Path, target: str, processor: Processor
) -> None:
    drawn = draw_forests(2, forests(max_trees=12, max_splits=10))
    small = joined([trained(20), oblivious(trained(20))])
    assert_bit_vectors_have_oblivious_trees_and_others(small, 100)
    for n, forest in enumerate([small, trained(150), *drawn]):
        path = write_shared_library(forest, tmp_path / f"{n}.so", target=target)
        library = EmulatedLibrary(path, processor)
        assert library.call("ec_n_trees") == forest.n_trees
        for n_rows in (1, 9, 100):
            rows = hard_rows(forest, n_rows)
            expected, actual = forest.margin(rows).astype(np.float64), library.margin(rows, forest.n_outputs)
            assert expected.tobytes() == actual.tobytes(), repr(forest)


@pytest.mark.parametrize(
    ("target", "name", "magic"),
    [
        ("x86-64", "model.so", b"\x7fELF\x02\x01"),
        ("x86-64", "model.dll", b"MZ"),
        ("aarch64", "model.dylib", b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"),
    ],
)
def test_a_library_is_compiled_for_the_machine_that_is_named(
    tmp_path: Path, target: str, name: str, magic: bytes
) -> None:
    files = export_forest(small_forest(), tmp_path / name, target=target)
    assert [tmp_path / name, tmp_path / f"{name}.h"] == files
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_big_endian_processor_is_refused_by_the_compiler_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shared_library.TRIPLES, ("aarch64", ".so"), ("aarch64_be-linux-gnu",))
    with pytest.raises(ToolchainError, match="can be compiled for little-endian processors only"):
        write_shared_library(small_forest(), tmp_path / "model.so", target="aarch64")
    assert list(tmp_path.iterdir()) == []


def test_machines_without_shared_libraries_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError,
        match=r"a shared library \(\.so\) for cortex-m4 cannot be written; expected target 'cpu' or one of"
        r" x86-64, aarch64, armv7, or export C source \(\.h or \.c\) and compile it for cortex-m4",
    ):
        export_forest(small_forest(), tmp_path / "model.so", target="cortex-m4")
    with pytest.raises(
        ParameterError, match="for armv7 cannot be written; expected target 'cpu' or one of x86-64"
    ):
        export_forest(small_forest(), tmp_path / "model.dll", target="armv7")
    with pytest.raises(ParameterError, match=r"a library of TL2cgen for aarch64 cannot be written"):
        export_forest(small_forest(), tmp_path / "model.treelite.so", target="aarch64")
    assert list(tmp_path.iterdir()) == []


def test_what_runs_elsewhere_cannot_be_verified_here(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="a library for aarch64 cannot be verified here"):
        export_forest(small_forest(), tmp_path / "model.so", target="aarch64", verify=True)
    assert list(tmp_path.iterdir()) == []
