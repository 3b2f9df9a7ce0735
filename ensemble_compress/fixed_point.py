"""The integers that a device computes with: leaf values in fixed point, and the sums and labels that come of them.

`fixed_point` picks the unit; the C export prints these integers and adds them up; `emulate_scores` does the same sums here,
so that an export can be checked to the bit without a compiler.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Leaf values and bias as integers: a score times `2**exponent` is the sum of a row's leaves.

    Parameters
    ----------
    values : ndarray of shape (n_values, width) int32
        `Forest.values` in the unit; rows that no leaf names are 0.
    bias : ndarray of shape (n_outputs,) int32
        `Forest.bias` in the unit.
    exponent : int
        The unit is `2**exponent`.
    bound : float
        The largest difference of any row's score, times the unit, from the exact sum; 0.0 where integers say all.
    """

    values: NDArray[np.int32]
    bias: NDArray[np.int32]
    exponent: int
    bound: float

    @property
    def is_exact(self) -> bool:
        """Whether integer sums are the sums of the forest itself."""
        return self.bound == 0.0


def fixed_point(forest: Forest) -> FixedPoint:
    """The integers that an export adds up: exact where they can be, otherwise as fine as 32 bits allow.

    If all values are multiples of a power of two and no sum can leave int32, that power is the unit. Otherwise the
    unit is the finest power of two for which every partial sum, in any order, is below 2**31 by the sum over trees of the
    largest leaf. The divisor is not applied: scores keep the order of the margins without it.

    Parameters
    ----------
    forest : Forest
        Any forest.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> import ensemble_compress as ec
    >>> tree = DecisionTreeRegressor().fit([[0], [1]], [0.5, -1.25])
    >>> point = fixed_point(ec.read(tree))
    >>> point.exponent, sorted(point.values[:, 0].tolist()), point.bound
    (-2, [-5, 2], 0.0)
    """
    values = np.zeros(forest.values.shape)
    used = np.unique(forest.nodes.leaf[forest.is_leaf])
    values[used] = forest.values[used]
    bias = forest.bias.astype(np.float64)
    everything = np.concatenate([values.ravel(), bias])
    scale = int(np.frexp(everything)[1].max(initial=0))
    sums = _largest_sums(forest, _times_power(values, -scale), _times_power(bias, -scale))
    exact = exact_exponent(everything)
    exponent = max(exact, scale + int(np.frexp(sums.max())[1]) - 32)
    while True:
        whole, whole_bias = (np.rint(_times_power(a, -exponent)) for a in (values, bias))
        if _largest_sums(forest, whole, whole_bias).max() < 2**31:
            break
        exponent += 1
    bound = 0.0
    if exponent > exact:
        errors = (values - _times_power(whole, exponent), bias - _times_power(whole_bias, exponent))
        bound = float(_largest_sums(forest, *errors).max())
    return FixedPoint(whole.astype(np.int32), whole_bias.astype(np.int32), exponent, bound)


def _times_power(numbers: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """`numbers * 2**exponent`, by the product where the power is a float: `ldexp` is several times slower."""
    if abs(exponent) < 1000:
        return numbers * 2.0**exponent
    return np.asarray(np.ldexp(numbers, exponent))


def exact_exponent(numbers: NDArray[np.float64]) -> int:
    """The largest e for which all numbers are multiples of 2**e; 0 if all are zero."""
    mantissa, exponent = np.frexp(numbers[numbers != 0])
    whole = np.abs(mantissa * 2.0**53).astype(np.int64)
    lowest_bit = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return int((exponent - 53 + lowest_bit).min(initial=2**20)) if len(whole) else 0


def _largest_sums(
    forest: Forest, values: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each output the sum over trees of the largest |value| of a leaf, and |bias|: no partial sum is larger."""
    sums = np.abs(bias)
    if forest.n_trees:
        leaves = np.abs(values)[forest.nodes.leaf[forest.is_leaf]]
        largest = np.maximum.reduceat(leaves, _leaf_start(forest)[:-1], axis=0)
        if forest.values.shape[1] == 1:
            output = np.maximum(forest.tree_output, 0)
            sums = sums + np.bincount(output, largest[:, 0], minlength=forest.n_outputs)
        else:
            sums = sums + largest.sum(axis=0)
    return np.asarray(sums)


def leaf_counts(forest: Forest) -> NDArray[np.int64]:
    """The number of leaves of each tree, shape (n_trees,).

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return np.asarray((np.diff(forest.tree_start).astype(np.int64) + 1) // 2)


def _leaf_start(forest: Forest) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(leaf_counts(forest))]).astype(np.int64)


def emulate_scores(forest: Forest, X: Any) -> NDArray[np.int32]:
    """The integers that an exported model computes, shape (n_rows, n_outputs) int32.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows; cast to float32, as the export reads them.
    """
    point = fixed_point(forest)
    with np.errstate(over="ignore"):
        rows = forest.rows(X).astype(np.float32)
    out = np.empty((len(rows), forest.n_outputs), np.int32)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        found = forest.nodes.leaf[forest.find_leaves(rows[first : first + ROWS_AT_ONCE])]
        out[first : first + ROWS_AT_ONCE] = _add_up(forest, point, found)
    return out


def _add_up(forest: Forest, point: FixedPoint, found: NDArray[np.int32]) -> NDArray[np.int32]:
    scores = np.tile(point.bias, (len(found), 1))
    for t in range(forest.n_trees):
        output = (
            slice(None) if forest.tree_output[t] < 0 else slice(t_out := forest.tree_output[t], t_out + 1)
        )
        scores[:, output] += point.values[found[:, t]]
    return scores


def emulate_labels(forest: Forest, X: Any) -> NDArray[np.intp]:
    """The class codes that an exported classifier returns, shape (n_rows,).

    Parameters
    ----------
    forest : Forest
        The exported forest; a classifier.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows; cast to float32, as the export reads them.

    Raises
    ------
    UnsupportedModelError
        The forest is no classifier.
    """
    if forest.classes is None:
        raise UnsupportedModelError("emulate_labels needs a classifier; this forest is a regression model")
    return forest.decide(emulate_scores(forest, X))
