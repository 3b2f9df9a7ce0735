"""What X may be: every layout, dtype and container gives the answers of the plain array, and nothing is copied whole."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pandas as pd
import polars
import pyarrow
import pytest
import scipy.sparse
import zoo
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from strategies import forests, hard_rows
from test_forest import two_trees
from xgboost import XGBClassifier

import ensemble_compress as ec
from ensemble_compress import predict
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.rows import BLOCK_BYTES, BLOCK_ROWS, Door, Rows, for_kernels
from ensemble_compress.writers.forest_file import load_forest, save_forest

MANY = 2 * predict.FEW_ROWS + 77
"""Rows enough for several blocks and, where there are processors, several threads."""


def wide_forest(x_dtype: str, **others: Any) -> Forest:
    return two_trees(x_dtype=x_dtype, values=two_trees().values / 3, **others)


def unaligned(X: NDArray[Any]) -> NDArray[Any]:
    held = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:]
    return held.view(X.dtype).reshape(X.shape)


def mapped(X: NDArray[Any], folder: Path) -> NDArray[Any]:
    X.tofile(folder / "rows.bin")
    return np.memmap(folder / "rows.bin", X.dtype, "r", shape=X.shape)


LAYOUTS: dict[str, Callable[[NDArray[Any], Path], Any]] = {
    "C order": lambda X, _: np.ascontiguousarray(X),
    "Fortran order": lambda X, _: np.asfortranarray(X),
    "every second row and column": lambda X, _: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "backwards": lambda X, _: X[::-1, ::-1].copy()[::-1, ::-1],
    "big endian": lambda X, _: X.astype(X.dtype.newbyteorder(">")),
    "read-only": lambda X, _: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "unaligned": lambda X, _: unaligned(X),
    "mapped": mapped,
    "masked": lambda X, _: np.ma.masked_invalid(X),
    "matrix": lambda X, _: np.asarray(X).view(np.matrix),
    "objects": lambda X, _: X.astype(object),
    "lists": lambda X, _: X.tolist(),
    "pandas": lambda X, _: pd.DataFrame(X),
    "pandas, nullable": lambda X, _: pd.DataFrame(X).convert_dtypes(),
    "polars": lambda X, _: polars.DataFrame(X, schema=["a", "b"]),
    "Arrow": lambda X, _: pyarrow.table({"a": X[:, 0], "b": X[:, 1]}),
    "CSR": lambda X, _: scipy.sparse.csr_array(X),
    "CSC": lambda X, _: scipy.sparse.csc_matrix(X),
    "COO": lambda X, _: scipy.sparse.coo_array(X),
}


@pytest.mark.parametrize("n_rows", [1, 5, MANY])
@pytest.mark.parametrize("given_dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_bits_of_the_plain_array(
    layout: str, given_dtype: str, n_rows: int, tmp_path: Path
) -> None:
    for x_dtype in ("float32", "float64"):
        forest = wide_forest(x_dtype)
        with np.errstate(over="ignore"):
            X = hard_rows(forest, n_rows)[:n_rows].astype(given_dtype)
            X = np.where(np.isinf(X), 1, X) if layout == "masked" else X
            plain = X.astype(x_dtype)
        given, actual = LAYOUTS[layout](X, tmp_path), forest.margin(LAYOUTS[layout](X, tmp_path))
        assert actual.shape == (n_rows, 1)
        assert oracle.margins(forest, plain[:40]).tobytes() == actual[:40].tobytes()
        assert forest.margin(plain).tobytes() == actual.tobytes()
        np.testing.assert_array_equal(forest.find_leaves(plain), forest.find_leaves(given))
        # A sparse matrix doesn't know the sign of a zero, and no test of a forest does.
        np.testing.assert_array_equal(plain, forest.rows(given))


@pytest.mark.parametrize("n_rows", [3, MANY])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "uint64", "float16", "bool", "longdouble"])
def test_numbers_of_every_dtype_are_cast(dtype: str, n_rows: int) -> None:
    forest = wide_forest("float32")
    X = np.random.default_rng(0).integers(0, 8, (n_rows, 2)).astype(dtype)
    expected = oracle.margins(forest, X[:30].astype("float32"))
    assert expected.tobytes() == forest.margin(X)[:30].tobytes()
    assert forest.margin(X.astype("float32")).tobytes() == forest.margin(X).tobytes()


TWICE_ROUNDED = 2**60 + 2**36 + 1
"""As a float32 it is 2**60 + 2**37; by way of a float64 it would be halfway between that and 2**60, and end there."""

WHOLE_NUMBERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "array": lambda X: X,
    "Fortran order": np.asfortranarray,
    "masked": lambda X: np.ma.masked_array(X, np.zeros(X.shape, bool)),
    "CSR": scipy.sparse.csr_array,
    "frame": lambda X: pd.DataFrame(X, columns=["a", "b"]),
    "frame with fractions in a column": lambda X: pd.DataFrame({"a": X[:, 0], "b": X[:, 1] * 1.0}),
    "frame that takes nulls": lambda X: pd.DataFrame(X, columns=["a", "b"]).convert_dtypes(),
    "frame of Arrow's": lambda X: pyarrow.table({"a": X[:, 0], "b": X[:, 1]}),
    "frame of polars'": lambda X: polars.DataFrame({"a": X[:, 0], "b": X[:, 1]}),
}


@pytest.mark.parametrize("n_rows", [1, MANY])
@pytest.mark.parametrize("container", WHOLE_NUMBERS)
def test_whole_numbers_beyond_float64_are_rounded_once(container: str, n_rows: int) -> None:
    rounded = np.array([[TWICE_ROUNDED, 1]], np.int64).astype(np.float32)
    assert (int(rounded[0, 0]), int(np.float32(float(TWICE_ROUNDED)))) == (2**60 + 2**37, 2**60)
    threshold = np.where(two_trees().nodes.feature == 0, float(2**60 + 2**36), two_trees().nodes.threshold)
    nodes = two_trees().nodes._replace(threshold=threshold)
    forest = wide_forest("float32", nodes=nodes, feature_names=("a", "b"))
    X = np.repeat(np.array([[TWICE_ROUNDED, 1]], np.int64), n_rows, 0)
    given = WHOLE_NUMBERS[container](X)
    assert (forest.rows(given) == rounded).all()
    expected = oracle.margins(forest, rounded)
    assert (expected != oracle.margins(forest, X[:1].astype(float).astype(np.float32))).any()
    assert (forest.margin(given) == expected).all()


@pytest.mark.parametrize("of", [np.asarray, pd.DataFrame])
def test_whole_numbers_beyond_float64_go_where_the_library_that_trained_sends_them(of: Any) -> None:
    X = np.array([[2**60], [TWICE_ROUNDED], [2**60 + 2**37], [2**53 + 1], [2**53]] * 8, np.int64)
    y = np.array([0, 1, 1, 2, 2] * 8)
    kinds: tuple[Any, ...] = (
        RandomForestClassifier(5, bootstrap=False, random_state=0),
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=1),
        XGBClassifier(n_estimators=3, max_depth=3, n_jobs=1),
        LGBMClassifier(n_estimators=3, min_child_samples=1, verbose=-1, n_jobs=1),
    )
    for model in kinds:
        # LightGBM casts arrays of whole numbers, though not frames, to float32; here a number is the same in both.
        is_cut = isinstance(model, LGBMClassifier) and of is np.asarray
        known = X.astype(np.float64) if is_cut else of(X)
        model.fit(known, y)
        expected = model.predict_proba(known)
        forest = ec.read(model)
        for n_rows in (1, len(X)):
            given = of(X[:n_rows])
            np.testing.assert_allclose(forest.predict_proba(given), expected[:n_rows], rtol=1e-6)
        assert len(np.unique(expected.round(6), axis=0)) == len(
            np.unique(forest.margin(of(X)).round(6), axis=0)
        )


def test_a_float64_beyond_float32_goes_with_the_infinities() -> None:
    forest = wide_forest("float32")
    X = np.array([[1e300, -1e300]])
    infinite = np.array([[np.inf, -np.inf]], np.float32)
    for n_rows in (1, MANY):
        found = forest.margin(np.repeat(X, n_rows, 0))
        assert (found == oracle.margins(forest, infinite)).all()


# -- missing values where there is no rule -----------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_values_without_a_rule_are_counted_through_all_blocks(layout: str, tmp_path: Path) -> None:
    forest = wide_forest("float64", handles_nan=False)
    X = np.ones((MANY, 2))
    X[[BLOCK_ROWS + 5, BLOCK_ROWS + 6, MANY - 1], [0, 1, 1]] = np.nan
    text = (
        rf"X contains NaN in 3 row\(s\), the first is row {BLOCK_ROWS + 5}, and the model was trained without"
    )
    for answer in (forest.margin, forest.find_leaves, forest.rows, forest.predict):
        with pytest.raises(InputError, match=text):
            answer(LAYOUTS[layout](X, tmp_path))


def test_missing_values_without_a_rule_are_found_in_few_rows_and_in_the_first_and_last_cell() -> None:
    forest = wide_forest("float64", handles_nan=False)
    for row, column in ((0, 0), (2, 1)):
        X = np.full((3, 2), -np.inf)
        assert np.isfinite(forest.margin(X)).all()
        X[row, column] = np.nan
        for layout in (X, X.tolist(), np.asfortranarray(X)):
            with pytest.raises(InputError, match=rf"in 1 row\(s\), the first is row {row}, and"):
                forest.margin(layout)


# -- sparse matrices ---------------------------------------------------------------------------------------------


@given(forests(max_features=3), st.data())
def test_entries_that_are_not_stored_are_zero_or_missing_as_the_forest_says(
    forest: Forest, data: st.DataObject
) -> None:
    rows = hard_rows(forest, 12)[:12]
    stored = data.draw(st.lists(st.booleans(), min_size=rows.size, max_size=rows.size))
    at = np.nonzero(np.array(stored, bool).reshape(rows.shape))
    X = scipy.sparse.coo_array((rows[at], at), shape=rows.shape)
    for absent_is_missing in (False, True) if forest.handles_nan else (False,):
        dense = np.full(rows.shape, np.nan if absent_is_missing else 0.0, rows.dtype)
        dense[at] = rows[at]
        told = replace(forest, absent_is_missing=absent_is_missing)
        for form in (X.tocsr(), X.tocsc(), X):
            assert told.margin(form).tobytes() == oracle.margins(told, dense).tobytes()


def sparse_with_stored_zeros(n_features: int, n_rows: int = 300) -> tuple[Any, NDArray[Any]]:
    """(a matrix that stores half of its zeros, which entries it stores)."""
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((n_rows, n_features)) < 0.5, 0, rng.normal(size=(n_rows, n_features)))
    is_stored = (dense != 0) | (rng.random(dense.shape) < 0.5)
    at = np.nonzero(is_stored)
    return scipy.sparse.csr_matrix((dense[at].astype("f4"), at), shape=dense.shape), is_stored


@pytest.mark.parametrize("name", ["xgb regression", "xgb binary"])
def test_xgboost_s_own_answers_for_sparse_rows(name: str) -> None:
    forest = zoo.forest(name)
    X, is_stored = sparse_with_stored_zeros(forest.n_features)
    assert forest.absent_is_missing
    expected = zoo.trained(name).predict(X, output_margin=True)
    np.testing.assert_array_equal(expected, forest.margin(X)[:, 0])
    assert (forest.margin(X) != forest.margin(X.toarray())).any()
    missing = np.where(is_stored, X.toarray(), np.nan)
    assert forest.margin(X).tobytes() == forest.margin(missing).tobytes()


@pytest.mark.parametrize("name", ["lgb regression", "random forest gaps"])
def test_the_own_answers_of_other_libraries_for_sparse_rows(name: str) -> None:
    forest = zoo.forest(name)
    X, _ = sparse_with_stored_zeros(forest.n_features)
    model = zoo.trained(name)
    if name.startswith("lgb"):
        expected = model.predict(X, pred_leaf=True)
    else:
        expected = model.apply(X)
    np.testing.assert_array_equal(expected.reshape(X.shape[0], -1), forest.apply(X))


def test_treelite_s_own_answers_for_sparse_rows() -> None:
    import treelite
    import treelite.sklearn

    model = treelite.sklearn.import_model(zoo.trained("random forest gaps"))
    forest = read(model)
    X, _ = sparse_with_stored_zeros(forest.n_features)
    expected = treelite.gtil.predict(model, X)
    np.testing.assert_allclose(expected[:, 0], forest.predict_proba(X), rtol=0, atol=1e-6)


def test_compression_is_judged_by_dense_rows_and_says_so() -> None:
    X, _ = sparse_with_stored_zeros(zoo.forest("xgb regression").n_features)
    with pytest.raises(
        InputError, match=r"X is a sparse matrix; .* are judged by dense rows: pass X\.toarray"
    ):
        ec.compress(zoo.trained("xgb regression"), X, np.zeros(X.shape[0]))


def test_entries_stored_twice_add_up_as_they_do_in_scipy() -> None:
    forest = wide_forest("float64")
    X = scipy.sparse.csr_array((np.array([1.0, 0.5, 2.0]), [1, 1, 0], [0, 3]), shape=(1, 2))
    assert forest.rows(X).tolist() == X.toarray().tolist() == [[2.0, 1.5]]
    assert X.nnz == 3


@pytest.mark.parametrize(
    ("indices", "indptr"),
    [
        ([0, 9], [0, 1, 2]),
        ([0, -1], [0, 1, 2]),
        ([0, 1], [0, 2, 1]),
        ([0, 1], [0, 1, 3]),
        ([0, 1], [1, 1, 2]),
    ],
)
def test_a_sparse_matrix_whose_indices_leave_it_is_refused(indices: list[int], indptr: list[int]) -> None:
    X = scipy.sparse.csr_matrix((2, 2))
    X.data, X.indices, X.indptr = np.ones(2), np.array(indices, np.int32), np.array(indptr, np.int32)
    with pytest.raises(
        InputError, match=r"X is a damaged sparse matrix: its indices leave the shape \(2, 2\)"
    ):
        wide_forest("float32").margin(X)


SPARSE_REFUSED = [
    (scipy.sparse.csr_array((2, 3)), "X has 3 features, but the model is expecting 2 features as input"),
    (scipy.sparse.coo_array(np.ones(2)), r"X has 1 dimension\(s\); expected a 2D array"),
    (scipy.sparse.csr_array(np.ones((2, 2), complex)), "Complex data not supported: X holds complex numbers"),
]


@pytest.mark.parametrize(("X", "text"), SPARSE_REFUSED)
def test_sparse_matrices_are_checked_like_others(X: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        wide_forest("float32").margin(X)
    assert wide_forest("float32").margin(scipy.sparse.csr_array((0, 2))).shape == (0, 1)


def test_a_file_says_what_is_absent_and_older_files_mean_zero(tmp_path: Path) -> None:
    plain, sparse = wide_forest("float32"), wide_forest("float32", absent_is_missing=True)
    for forest in (plain, sparse):
        save_forest(forest, tmp_path / "model.forest")
        assert load_forest(tmp_path / "model.forest")[0] == forest
    assert plain != sparse


# -- bad input ---------------------------------------------------------------------------------------------------

REFUSED = [
    (np.zeros(2), r"X has 1 dimension\(s\); expected a 2D array of shape \(n_rows, 2\)"),
    (np.zeros((1, 2, 1)), r"X has 3 dimension\(s\)"),
    (np.zeros((2, 3)), "X has 3 features, but the model is expecting 2 features as input"),
    (np.zeros((0, 3)), "X has 3 features, but the model is expecting 2 features as input"),
    (np.ma.zeros((2, 3)), "X has 3 features, but the model is expecting 2 features as input"),
    (np.zeros((2, 2), complex), "Complex data not supported: X holds complex numbers"),
    (np.ma.zeros((2, 2), complex), "Complex data not supported: X holds complex numbers"),
    (np.zeros((2, 2), "M8[s]"), "X holds dates or times; turn them into numbers as the model was trained"),
    (np.array([["a", "b"]]), r"X holds something that is not a number \(.*'a'\)+; encode text columns as"),
    (np.array([[1, "b"]], object), "X holds something that is not a number .*'b'"),
    (np.array([[1, 10**400]], object), r"X holds something that is not a number \(int too large"),
    (np.zeros((2, 2), [("x", "f4"), ("y", "f4")]), "X holds something that is not a number"),
    ([[1.0, 2.0], [3.0]], "X holds something that is not a number"),
    ({"a": [1, 2]}, "X holds something that is not a number"),
    (None, r"X has 0 dimension\(s\); expected a 2D array"),
    ("text", "X holds something that is not a number"),
    (iter([[1, 2]]), "X holds something that is not a number"),
    (polars.DataFrame({"a": ["x"], "b": [1]}), "column 'a' of X holds something that is not a number"),
    (pyarrow.table({"a": [1], "b": [1], "c": [1]}), "X has 3 features, but the model is expecting 2"),
    (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"]), "b": [1]}), "column 'a' of X holds dates or times"),
]


@pytest.mark.parametrize(("X", "text"), REFUSED, ids=[str(k) for k in range(len(REFUSED))])
def test_what_is_no_matrix_of_numbers_is_refused(X: Any, text: str) -> None:
    for answer in (wide_forest("float32").margin, wide_forest("float64").find_leaves):
        with pytest.raises(InputError, match=text):
            answer(X)


def test_something_that_is_no_number_far_down_is_found() -> None:
    X = np.ones((MANY, 2), object)
    X[-1, 1] = "x"
    with pytest.raises(InputError, match=r"X holds something that is not a number \(.*'x'\)"):
        wide_forest("float32").margin(X)


def test_huge_categories_are_in_no_set() -> None:
    forest = zoo.forest("lgb categories missing")
    huge = np.array([2.0**31, 2.0**53, 1e300, np.inf, -1e300, -np.inf])
    X = np.repeat(huge[:, None], forest.n_features, axis=1)
    for n_copies in (1, 200):
        rows = np.tile(X, (n_copies, 1))
        expected = np.tile(oracle.margins(forest, X), (n_copies, 1))
        assert expected.tobytes() == forest.margin(rows).tobytes()


def test_nulls_of_arrow_are_missing_values() -> None:
    forest = wide_forest("float64")
    table = pyarrow.table({"a": [1, None, 3], "b": [True, False, None]})
    expected = np.array([[1, 1], [np.nan, 0], [3, np.nan]])
    np.testing.assert_array_equal(expected, forest.rows(table))
    assert forest.margin(table).tobytes() == oracle.margins(forest, expected).tobytes()


@pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame, pyarrow.table])
def test_levels_that_only_later_blocks_hold_have_the_codes_of_the_whole_frame(make: Any) -> None:
    towns = ["York"] * BLOCK_ROWS + ["Bath"] * 100
    frame = pd.DataFrame({"town": pd.Categorical(towns), "pay": 1.0})
    if make is polars.DataFrame:
        frame = polars.from_pandas(frame)
    elif make is pyarrow.table:
        frame = pyarrow.Table.from_pandas(frame)
    forest = wide_forest("float64")
    codes = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    expected = np.column_stack([codes["town"].cat.codes, np.ones(len(towns))])
    assert set(expected[:, 0]) == {0, 1}
    assert forest.margin(expected).tobytes() == forest.margin(frame).tobytes()


# -- blocks ------------------------------------------------------------------------------------------------------


def test_rows_that_are_ready_are_not_copied() -> None:
    X = np.ones((MANY, 2), np.float32)
    assert Door(2, "float32").open(X).whole() is X
    assert np.shares_memory(Door(2, "float32").open(X).read(5, 9), X)
    X.setflags(write=False)
    assert np.shares_memory(for_kernels(X), X)
    assert for_kernels(X).flags.writeable
    assert for_kernels(np.asarray(X[:0])).shape == (0, 2)


@pytest.mark.parametrize("n_features", [0, 1, 7, 100_000, 10_000_000])
def test_blocks_cover_all_rows_once_and_are_small(n_features: int) -> None:
    X = np.broadcast_to(np.float32(1), (10_003, n_features))
    rows = Door(n_features, "float64").open(X)
    bounds = list(rows.blocks(2, 10_003))
    starts, stops = zip(*bounds, strict=True)
    assert (2, *stops) == (*starts, 10_003)
    largest = max(stop - start for start, stop in bounds)
    assert largest <= BLOCK_ROWS
    assert largest == 1 or largest * n_features * 8 <= BLOCK_BYTES


N_HUGE = 2**31 + 1000


def test_more_rows_than_32_bits_count_are_read_block_by_block() -> None:
    X = np.lib.stride_tricks.as_strided(np.arange(4000.0), (N_HUGE, 2), (0, 8), writeable=False)
    rows = Door(2, "float32").open(X)
    assert len(rows) == N_HUGE
    *_, (start, stop) = rows.blocks(2**31 - 5000, N_HUGE)
    assert stop == N_HUGE
    assert rows.read(start, stop).tolist() == [[0.0, 1.0]] * (stop - start)
    matrix = scipy.sparse.csr_array((np.ones(3), np.array([0, 1, 0]), np.array([0, 1, 3])), shape=(2, 2))
    assert Door(2, "float32").open(matrix).read(1, 2).tolist() == [[1.0, 1.0]]


def test_a_mapped_file_of_more_rows_than_32_bits_count_is_predicted_in_place(tmp_path: Path) -> None:
    forest = wide_forest("float32")
    # Files with a hole: all that is written to is a few pages at the end.
    X = np.memmap(tmp_path / "X.bin", np.float32, "w+", shape=(N_HUGE, 2))
    out = np.memmap(tmp_path / "out.bin", forest.values.dtype, "w+", shape=(N_HUGE, 1))
    first = 2**31 - 100
    X[first:] = hard_rows(forest, N_HUGE - first)[: N_HUGE - first]
    rows = Door(2, "float32").open(X)
    assert rows.ready is not None
    for n_rows in (3, N_HUGE - first):  # by a walk, and by bit vectors
        out[first:] = forest.bias
        stop = first + n_rows
        forest._plan.add_margins(for_kernels(rows.ready), first, stop, np.asarray(out))
        expected = oracle.margins(replace(forest, divisor=1.0, bias_last=False), np.asarray(X[first:stop]))
        assert expected.tobytes() == out[first:stop].tobytes()


@pytest.mark.parametrize("layout", ["mapped", "Fortran order", "big endian", "CSR", "pandas"])
def test_predicting_takes_the_answer_and_a_few_blocks(layout: str, tmp_path: Path) -> None:
    n_rows, n_features = 100_000, 50
    X = np.zeros((n_rows, n_features))
    X[:, ::7] = 1.0
    given = LAYOUTS[layout](X, tmp_path)
    forest = replace(wide_forest("float32"), n_features=n_features)
    forest.margin(given[:10] if layout != "CSR" else given[:10].tocsr())
    tracemalloc.start()
    try:
        margins = forest.margin(given, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = Rows(forest._door, n_rows, lambda start, stop: X[start:stop]).block_rows * n_features * 8
    assert peak < margins.nbytes + 8 * block + 1_000_000 < X.nbytes / 2


def test_no_index_leaves_its_array_where_rows_are_sparse_or_huge(tmp_path: Path) -> None:
    # A cache of its own: code compiled with other switches must not be found in it.
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    chosen = "not_stored or damaged or stored_twice or huge_categories"
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", chosen]
    done = subprocess.run(
        [*command, "--hypothesis-profile=slow-engine", __file__],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
