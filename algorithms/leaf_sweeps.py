"""The loops under `LeafFit`: sums of leaves over rows, and one pass of block coordinate descent over all trees.

In all of them `leaf` holds the leaf of each row in each tree, shape (n_trees, n_rows), numbered through the forest.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines import kernel


@kernel
def add_leaves(
    leaf: NDArray[np.int32], output: NDArray[np.int32], value: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add the value of each row's leaf in each tree to the column of `out` that the tree adds to."""
    for t in range(leaf.shape[0]):
        row = out[output[t]]
        for i in range(leaf.shape[1]):
            row[i] += value[leaf[t, i]]


@kernel
def add_leaf_rows(leaf: NDArray[np.int32], value: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """The same for leaves with a value for every output; the outputs of a row lie together, for that is how they are read."""
    for t in range(leaf.shape[0]):
        for i in range(leaf.shape[1]):
            j = leaf[t, i]
            for k in range(value.shape[1]):
                out[i, k] += value[j, k]


@kernel
def sum_leaves(
    leaf: NDArray[np.int32], output: NDArray[np.int32], each: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add up `each`, shape (n_outputs, n_rows), over the rows of each leaf."""
    for t in range(leaf.shape[0]):
        for w in range(out.shape[1]):
            row = each[output[t] if output[t] >= 0 else w]
            for i in range(leaf.shape[1]):
                out[leaf[t, i], w] += row[i]


@kernel
def sweep(
    leaf: NDArray[np.int32],
    start: NDArray[np.int32],
    output: NDArray[np.int32],
    value: NDArray[np.float64],
    gradient: NDArray[np.float64],
    curvature: NDArray[np.float64],
    penalty: float,
    longest: float,
) -> None:
    """One pass of block coordinate descent on the linearised loss; `gradient` is kept up to date."""
    n_trees, n_rows = leaf.shape
    largest = 1
    for t in range(n_trees):
        largest = max(largest, start[t + 1] - start[t])
    sum_gradient, sum_curvature = np.empty(largest), np.empty(largest)
    for t in range(n_trees):
        first, n_leaves = start[t], start[t + 1] - start[t]
        g, h, of_row = gradient[output[t]], curvature[output[t]], leaf[t]
        sum_gradient[:n_leaves] = 0.0
        sum_curvature[:n_leaves] = 0.0
        for i in range(n_rows):
            sum_gradient[of_row[i] - first] += g[i]
            sum_curvature[of_row[i] - first] += h[i]
        for j in range(n_leaves):
            step = (sum_gradient[j] - penalty * value[first + j]) / (sum_curvature[j] + penalty + 1e-12)
            step = min(max(step, -longest), longest)
            value[first + j] += step
            sum_gradient[j] = step
        for i in range(n_rows):
            g[i] -= h[i] * sum_gradient[of_row[i] - first]


@kernel
def sweep_rows(
    leaf: NDArray[np.int32],
    start: NDArray[np.int32],
    value: NDArray[np.float64],
    state: NDArray[np.float64],
    penalty: float,
    longest: float,
) -> None:
    """The same for leaves with a value for every output; `state` holds a row's gradients and then its curvatures.

    They lie together because that is how they are added up: one loop that the compiler makes vectors of.
    """
    n_trees, n_rows = leaf.shape
    width = value.shape[1]
    largest = 1
    for t in range(n_trees):
        largest = max(largest, start[t + 1] - start[t])
    sums = np.empty((largest, 2 * width))
    for t in range(n_trees):
        first, n_leaves = start[t], start[t + 1] - start[t]
        sums[:n_leaves] = 0.0
        for i in range(n_rows):
            of_leaf, of_row = sums[leaf[t, i] - first], state[i]
            for k in range(2 * width):
                of_leaf[k] += of_row[k]
        for j in range(n_leaves):
            for k in range(width):
                step = sums[j, k] - penalty * value[first + j, k]
                step = min(max(step / (sums[j, width + k] + penalty + 1e-12), -longest), longest)
                value[first + j, k] += step
                sums[j, k] = step
        for i in range(n_rows):
            step_of_leaf, of_row = sums[leaf[t, i] - first], state[i]
            for k in range(width):
                of_row[k] -= of_row[width + k] * step_of_leaf[k]
