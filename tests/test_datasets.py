"""The data sets of the benchmarks: the carried ones against what their creators publish, the others by stand-ins."""

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

# Rows, features, missing cells, categorical columns; then rows of each class, or least and largest target.
# Counts are those of the UCI repository's own descriptions, but for spambase, which lacks four rows of 4,601.
LETTERS = [
    *(789, 766, 736, 805, 768, 775, 773, 734, 755, 747, 739, 761, 792),
    *(783, 753, 803, 783, 758, 748, 796, 813, 764, 752, 787, 786, 734),
]
FACTS: dict[str, Any] = {
    "adult": (48842, 14, 6465, 8, [37155, 11687]),
    "casp": (45730, 9, 0, 0, (0.0, 20.999)),
    "letter": (20000, 16, 0, 0, LETTERS),
    "magic": (19020, 10, 0, 0, [12332, 6688]),
    "satimage": (6435, 36, 0, 0, [1533, 703, 1358, 626, 707, 1508]),
    "spambase": (4597, 57, 0, 0, [2785, 1812]),
}
DATA = Path(datasets.__file__).parent / "data"


def test_every_carried_set_is_known_and_attributed() -> None:
    assert tuple(sorted(path.stem for path in DATA.glob("*.npz"))) == datasets.CARRIED == tuple(FACTS)
    attribution = (DATA / "ATTRIBUTION.md").read_text()
    rows = re.findall(
        r"^\| (\w+)\.npz \| \[.*10\.24432/.*\| [A-Z].* \| ([\d,]+) \|$", attribution, re.MULTILINE
    )
    assert [(name, f"{facts[0]:,}") for name, facts in FACTS.items()] == rows
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 4_000_000


@pytest.mark.parametrize("name", FACTS)
def test_a_carried_set_has_the_published_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EC_BENCHMARK_DATA", raising=False)
    n_rows, n_features, n_missing, n_categorical, target = FACTS[name]
    X, y, info = datasets.load(name)
    assert (X.shape, X.dtype, y.shape) == ((n_rows, n_features), np.float32, (n_rows,))
    assert (np.isnan(X).sum(), sum(info["categorical"])) == (n_missing, n_categorical)
    assert (info["n_rows"], info["n_features"], info["missing"]) == (n_rows, n_features, n_missing)
    assert len(info["feature_names"]) == len(info["categorical"]) == n_features
    if isinstance(target, list):
        assert np.bincount(y).tolist() == target
        assert len(info["classes"]) == len(target)
    else:
        assert (y.dtype, y.min(), y.max()) == (np.float64, *target)


def test_codes_of_a_categorical_column_are_positions_of_its_levels() -> None:
    X, y, info = datasets.load("adult")
    for f, name in enumerate(info["feature_names"]):
        if info["categorical"][f]:
            codes = np.unique(X[~np.isnan(X[:, f]), f])
            assert codes.tolist() == list(range(len(info["categories"][name])))
    # Doctors of philosophy earn more than 50,000 dollars a year in 72.6 % of the rows of the original.
    doctors = X[:, 3] == info["categories"]["education"].index("Doctorate")
    assert (doctors.sum(), y[doctors].sum()) == (594, 431)


def test_train_test_splits_every_row_once_and_alike_for_a_seed() -> None:
    X, y, _ = datasets.load("satimage")
    X_train, y_train, X_test, y_test, _ = datasets.train_test("satimage", test_fraction=0.2, seed=3)
    assert len(X_test) == int(0.2 * len(X))
    together = np.column_stack([np.vstack([X_train, X_test]), np.concatenate([y_train, y_test])])
    expected = np.column_stack([X, y])
    np.testing.assert_array_equal(expected[np.lexsort(expected.T)], together[np.lexsort(together.T)])
    for expected, actual in zip((X_train, y_train), datasets.train_test("satimage", 0.2, 3)[:2], strict=True):
        np.testing.assert_array_equal(expected, actual)
    assert not np.array_equal(X_test, datasets.train_test("satimage", 0.2, seed=4)[2])
    few = datasets.train_test("satimage", max_rows=100)
    assert (len(few[0]), len(few[2])) == (75, 25)


def test_a_folder_named_in_the_environment_is_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "mine.npz", X=np.eye(3), y=np.arange(3), info='{"name": "mine"}')
    monkeypatch.setenv("EC_BENCHMARK_DATA", str(tmp_path))
    X, y, info = datasets.load("mine")
    assert (X.tolist(), X.dtype, y.tolist(), info) == (
        np.eye(3).tolist(),
        np.float32,
        [0, 1, 2],
        {"name": "mine"},
    )


def frame_of_stones() -> tuple[pd.DataFrame, pd.Series]:
    cut = pd.Categorical(["Good", None, "Fair"], categories=["Fair", "Good"])
    return pd.DataFrame({"carat": [0.5, 1.0, np.nan], "cut": cut}), pd.Series([300.0, 500.0, 400.0])


def test_a_downloaded_set_takes_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, price = frame_of_stones()
    asked = []

    def fetch_openml(**arguments: Any) -> Bunch:
        asked.append(arguments)
        return Bunch(data=frame, target=price)

    monkeypatch.delenv("EC_BENCHMARK_DATA", raising=False)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    X, y, info = datasets.load("diamonds")
    assert asked == [{"data_id": 42225, "as_frame": True}]
    np.testing.assert_array_equal(np.array([[0.5, 1], [1, np.nan], [np.nan, 0]], np.float32), X)
    assert (X.dtype, y.dtype, y.tolist()) == (np.float32, np.float64, [300.0, 500.0, 400.0])
    assert (info["task"], info["missing"]) == ("regression", 2)
    assert (info["categorical"], info["categories"]) == ([False, True], {"cut": ["Fair", "Good"]})
    assert set(info) == set(datasets.load("letter")[2])


def test_downloaded_classes_become_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, _ = frame_of_stones()
    labels = pd.Series(pd.Categorical(["2", "1", "2"]))
    monkeypatch.delenv("EC_BENCHMARK_DATA", raising=False)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda **_: Bunch(data=frame, target=labels))
    _, y, info = datasets.load("phoneme")
    assert (y.tolist(), y.dtype, info["classes"], info["task"]) == ([1, 0, 1], np.int64, ["1", "2"], "binary")


def test_a_set_that_is_nowhere_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch_california_housing(**_: Any) -> Bunch:
        raise OSError("no network")

    monkeypatch.setenv("EC_BENCHMARK_DATA", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_california_housing", fetch_california_housing)
    text = r"'california' is not carried .* downloading it failed \(no network\); put california\.npz into a folder"
    with pytest.raises(FileNotFoundError, match=text):
        datasets.load("california")
    with pytest.raises(
        FileNotFoundError, match="no data set is called 'iris'; known are adult, california, casp"
    ):
        datasets.load("iris")
