"""The door for rows, the split over threads, and the links."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import forests, hard_rows
from test_forest import two_trees
from test_writer_c import CATEGORY_NUMBERS

from ensemble_compress import predict
from ensemble_compress.errors import InputError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import Nodes

ROWS = np.array([[0.0, 1.5, -2.0], [np.nan, 1e300, 0.1], [np.inf, -0.0, 3.0], [4.0, 5.0, 6.0]])


def rows_of(X: Any, n_features: int = 3, dtype: str = "float32", **others: Any) -> NDArray[Any]:
    return predict.as_rows(X, n_features=n_features, dtype=dtype, **others)


def widened(X: NDArray[Any]) -> NDArray[Any]:
    """The same numbers as every second cell of a larger array."""
    wide = np.full((2 * X.shape[0], 2 * X.shape[1]), 99, X.dtype)
    wide[::2, ::2] = X
    return wide[::2, ::2]


LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": widened,
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "big endian": lambda X: X.astype(">f8"),
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "lists": lambda X: X.tolist(),
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "objects": lambda X: X.astype(object),
    "digits in strings": lambda X: X.astype("U32"),
    "DataFrame": pd.DataFrame,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_the_same_in_every_layout(layout: str, dtype: str) -> None:
    with np.errstate(over="ignore"):
        expected = ROWS.astype(dtype)
    actual = rows_of(LAYOUTS[layout](ROWS), dtype=dtype)
    assert (actual.dtype, actual.flags.c_contiguous) == (expected.dtype, True)
    assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "bool"])
def test_rows_of_other_numbers_are_cast(dtype: str) -> None:
    X = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    np.testing.assert_array_equal(X.astype("float32"), rows_of(X))


def test_none_is_a_missing_value() -> None:
    assert np.isnan(rows_of([[None, 1.0, 2.0]])[0, 0])


def test_a_float64_beyond_float32_becomes_infinite_without_a_warning() -> None:
    assert rows_of([[1e300, -1e300, 1e-300]]).tolist() == [[np.inf, -np.inf, 0.0]]


BAD_ROWS = [
    (np.zeros(3), r"X has 1 dimension\(s\); expected a 2D array of shape \(n_rows, 3\)\. Reshape your data"),
    (np.zeros((1, 3, 1)), r"X has 3 dimension\(s\); expected a 2D array"),
    (7.0, r"X has [01] dimension\(s\); expected a 2D array"),
    (np.zeros((2, 4)), "X has 4 features, but the model is expecting 3 features as input"),
    (np.zeros((0, 2)), "X has 2 features, but the model is expecting 3 features as input"),
    ([["a", "b", "c"]], r"X holds something that is not a number \(.*'a'\); encode text columns as"),
    ([[1.0, 2.0, 3.0], [4.0]], "X holds something that is not a number"),
    ([[object(), 1, 2]], "X holds something that is not a number"),
    (np.zeros((2, 3), complex), "Complex data not supported: X holds complex numbers; expected real ones"),
    ([[1j, 0, 0]], "X holds something that is not a number"),
    (
        pd.DataFrame({"a": [1j], "b": [0], "c": [0]}),
        "Complex data not supported: column 'a' of X holds complex",
    ),
    (pd.DataFrame(np.zeros((2, 4))), "X has 4 features, but the model is expecting 3 features as input"),
]


@pytest.mark.parametrize(("X", "text"), BAD_ROWS)
def test_what_is_no_matrix_of_numbers_is_refused(X: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        rows_of(X)


def test_missing_values_are_refused_where_the_model_has_no_rule() -> None:
    X = np.zeros((5, 3))
    X[2, 1] = X[4, 0] = X[4, 1] = np.nan
    text = r"X contains NaN in 2 row\(s\), the first is row 2, and the model was trained without a rule"
    with pytest.raises(InputError, match=text):
        rows_of(X, handles_nan=False)
    assert np.isnan(rows_of(X)).sum() == 3


def test_infinities_need_no_rule() -> None:
    assert np.isinf(rows_of([[np.inf, -np.inf, 0.0]], handles_nan=False)).sum() == 2


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_no_rows_and_no_features_make_empty_answers(n_rows: int) -> None:
    assert rows_of(np.empty((0, 3))).shape == (0, 3)
    assert rows_of(pd.DataFrame(index=range(n_rows)), n_features=0).shape == (n_rows, 0)
    forest = two_trees()
    assert forest.margin(np.empty((0, 2))).shape == (0, 1)
    assert forest.apply(np.empty((0, 2))).shape == (0, 2)
    leaf = Nodes(*(np.array([x]) for x in (-1, 0.0, -1, False, -1, 0, 0.0, 5)))
    featureless = Forest(leaf, [0, 1], [-1], np.array([[3.0]]), np.array([1.0]), n_features=0)
    assert featureless.margin(np.empty((n_rows, 0))).tolist() == [[4.0]] * n_rows
    assert featureless.apply(np.empty((n_rows, 0))).tolist() == [[5]] * n_rows


# -- DataFrames -------------------------------------------------------------------------------------------------

NAMES = ("age", "pay", "town")
FRAME = pd.DataFrame({"age": [30, 40], "pay": [1.5, np.nan], "town": [7.0, 8.0]})


def test_columns_are_matched_by_name() -> None:
    expected = FRAME.to_numpy("float32")
    extra = FRAME.assign(name=["Ann", "Bob"])[["town", "name", "pay", "age"]]
    for frame in (FRAME, FRAME[["town", "age", "pay"]], extra):
        np.testing.assert_array_equal(expected, rows_of(frame, feature_names=NAMES))


def test_a_missing_column_is_named() -> None:
    text = r"X lacks the feature\(s\) \['pay'\] that the model was trained on; it has \['age', 'town'\]$"
    with pytest.raises(InputError, match=text):
        rows_of(FRAME[["age", "town"]], feature_names=NAMES)


def test_columns_are_taken_in_order_where_the_model_knows_no_names() -> None:
    expected = FRAME[["town", "age", "pay"]].to_numpy("float32")
    np.testing.assert_array_equal(expected, rows_of(FRAME[["town", "age", "pay"]]))


LEVELS = (None, None, ("Bath", "Rome", "York"))
TOWNS: dict[str, Any] = {
    "strings": ["York", "Bath", None, "Oslo"],
    "objects": np.array(["York", "Bath", np.nan, "Oslo"], object),
    "other levels": pd.Categorical(["York", "Bath", None, "Oslo"], categories=["Oslo", "York", "Bath"]),
    "ordered levels": pd.Categorical(["York", "Bath", None, "Oslo"], ["York", "Oslo", "Bath"], ordered=True),
}


@pytest.mark.parametrize("kind", TOWNS)
def test_levels_become_the_codes_the_model_knows_and_unknown_ones_are_missing(kind: str) -> None:
    frame = pd.DataFrame({"age": [1, 2, 3, 4], "pay": [True, False, True, True], "town": TOWNS[kind]})
    expected = np.array([[1, 1, 2], [2, 0, 0], [3, 1, np.nan], [4, 1, np.nan]], "float32")
    np.testing.assert_array_equal(expected, rows_of(frame, feature_names=NAMES, categories=LEVELS))


def test_number_levels_become_codes_too() -> None:
    frame = pd.DataFrame({"shoe": [44, 39, 41]})
    expected = [[1.0], [0.0], [np.nan]]
    actual = rows_of(frame, n_features=1, categories=((39, 44),))
    np.testing.assert_array_equal(expected, actual)


def test_a_categorical_column_without_known_levels_gives_its_codes() -> None:
    frame = pd.DataFrame({"town": pd.Categorical(["b", None, "a"])})
    np.testing.assert_array_equal([[1.0], [np.nan], [0.0]], rows_of(frame, n_features=1))


def test_nullable_columns_give_missing_values() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([None, True], "boolean")})
    np.testing.assert_array_equal([[1, np.nan], [np.nan, 1]], rows_of(frame, n_features=2))


def test_a_text_column_is_named() -> None:
    frame = FRAME.assign(town=["Bath", "York"])
    with pytest.raises(
        InputError, match=r"column 'town' of X holds something that is not a number .*encode it as"
    ):
        rows_of(frame, feature_names=NAMES)


def test_a_package_without_pandas_never_imports_it() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from ensemble_compress import predict\n"
        "print(predict.as_rows([[1, 2]], n_features=2, dtype='float32').tolist())"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[1.0, 2.0]]\n"


# -- categories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", predict.CATEGORY_RULES)
def test_fractions_of_categories_become_what_the_rule_makes_of_them(rule: str, dtype: str) -> None:
    given = np.repeat(np.array([CATEGORY_NUMBERS], dtype).T, 2, axis=1)
    before = given.copy()
    found = predict.as_codes(given, np.array([1]), rule)
    np.testing.assert_array_equal(before, given)
    np.testing.assert_array_equal(before[:, 0], found[:, 0])
    assert found.dtype == dtype
    for x, code in zip(CATEGORY_NUMBERS, found[:, 1].tolist(), strict=True):
        if math.isnan(x) or math.isinf(x):
            assert str(x) == str(code)
        else:
            expected, actual = (oracle.code_of(r, number) for r, number in ((rule, x), ("floor", code)))
            # All that is no category is as good as -1.
            known = set(range(34))
            assert (expected if expected in known else -1) == (actual if actual in known else -1)


def test_rows_of_whole_categories_are_not_copied() -> None:
    rows = np.array([[0.5, 3.0], [0.5, np.nan], [-0.5, -4.0]])
    for rule in predict.CATEGORY_RULES:
        assert predict.as_codes(rows, np.array([1]), rule) is rows
    assert predict.as_codes(rows, np.array([], int), "exact") is rows


# -- links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", predict.LINKS)
def test_links_are_the_plain_formulas_and_keep_the_dtype(name: str, dtype: str) -> None:
    extreme = [-1e4, -800.0, -100.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 30.0, 100.0, 800.0, 1e4]
    margins = np.array([extreme, extreme[::-1]], dtype).T
    with np.errstate(over="ignore"):
        expected = np.array([oracle.link(name, m) for m in margins.tolist()]).astype(dtype)
    actual = predict.LINKS[name](margins)
    assert actual.dtype == expected.dtype
    # Below the normal numbers, digits are lost by both.
    close = {"rtol": 1e-13, "atol": 1e-300} if dtype == "float64" else {"rtol": 1e-6, "atol": 1e-37}
    np.testing.assert_allclose(actual, expected, **close)


def test_a_frame_with_one_name_for_two_columns_is_refused() -> None:
    frame = pd.DataFrame(np.zeros((2, 3)), columns=["a", "a", "b"])
    with pytest.raises(
        InputError, match="X has the column 'a' more than once; give each column a name of its own"
    ):
        predict.as_rows(frame, n_features=2, dtype="float32", feature_names=["a", "b"])


def test_names_are_matched_where_blanks_became_underscores() -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=["b", "a long name"])
    rows = predict.as_rows(frame, n_features=2, dtype="float32", feature_names=["a_long_name", "b"])
    assert rows.tolist() == [[2.0, 1.0]]


def test_averages_that_were_rounded_add_up_to_one_again() -> None:
    given = np.array([[0.5, 0.5], [0.25, 0.5], [-0.25, 1.0], [0.0, 0.0]])
    found = predict.as_distributions(given)
    assert found.tolist() == [[0.5, 0.5], [1 / 3, 2 / 3], [0.0, 1.0], [0.5, 0.5]]
    exact = np.array([[0.1, 0.9000000001]])
    assert predict.as_distributions(exact) is exact


@given(forests(), st.integers(0, 2**32 - 1))
def test_the_quick_door_lets_few_rows_in_with_categories_of_any_rule(forest: Forest, seed: int) -> None:
    rows = hard_rows(forest, 3, seed)
    before = rows.copy()
    ready = forest._door.few(rows, 4)
    expected = oracle.margins(forest, rows)
    if forest.n_features:
        assert ready is not None
    assert forest._door.few(rows, 3) is None
    assert expected.tobytes() == forest.margin(rows).tobytes()
    assert before.tobytes() == rows.tobytes()


def test_an_engine_is_chosen_once_for_calls_that_cost_alike(monkeypatch) -> None:
    forest, asked = two_trees(), []
    (run,) = forest._plan.runs
    monkeypatch.setattr(run, "_walked", np.inf)
    monkeypatch.setattr(run, "_costs", lambda n_rows: asked.append(n_rows) or {"walk": 1.0})
    for n_rows in (33, 64, 40, 65, 5000, 100_000, 60, 4097):
        forest.margin(np.zeros((n_rows, 2), forest.x_dtype), n_jobs=1)
    assert asked == [64, 96, 4096]
