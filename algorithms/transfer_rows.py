"""Rows that nobody measured, near those that somebody did, with the teacher's answers: more to learn a function from.

A pruned forest that agrees with its teacher on the training rows may differ from it a step beside them. Rows made by
swapping some features of a row with a near neighbour's lie where the next rows will lie, and the teacher labels them.

Source: Bucila, Caruana and Niculescu-Mizil, "Model compression", KDD 2006, section 3 (MUNGE).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

LARGEST_POOL = 20_000
"""Rows among which neighbours are looked for: the search grows with its square."""

N_NEIGHBORS = 5
SWAP = 0.5


def transfer_rows(X: NDArray[Any], n_rows: int, random_state: int) -> NDArray[Any]:
    """Synthetic rows: each a row of X with about half of its features taken from one of its five nearest rows.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Real rows; missing values are carried along.
    n_rows : int
        How many to make.
    random_state : int
        Seed.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Of the dtype of X. No rows where X has but one: it has no neighbour.

    Notes
    -----
    Cost: a neighbour search among at most 20,000 rows.
    """
    generator = np.random.default_rng(random_state)
    pool = X if len(X) <= LARGEST_POOL else X[generator.choice(len(X), LARGEST_POOL, replace=False)]
    if len(pool) < 2 or n_rows == 0:
        return X[:0]
    k = min(N_NEIGHBORS, len(pool) - 1)
    chosen = generator.integers(0, len(pool), n_rows)
    scaled = _scaled(pool)
    near = NearestNeighbors(n_neighbors=k + 1).fit(scaled).kneighbors(scaled, return_distance=False)
    other = near[chosen, generator.integers(1, k + 1, n_rows)]
    swap = generator.random((n_rows, X.shape[1])) < SWAP
    return np.where(swap, pool[other], pool[chosen])


def _scaled(pool: NDArray[Any]) -> NDArray[np.float64]:
    """The rows in units of each column's spread, what is missing or infinite in its middle."""
    finite = np.where(np.isfinite(pool), pool, np.nan).astype(np.float64)
    known = ~np.isnan(finite)
    count = np.maximum(known.sum(axis=0), 1)
    # First by the largest of the column: sums and squares of the largest numbers would overflow.
    largest = np.abs(np.where(known, finite, 0.0)).max(axis=0)
    share = np.where(known, finite, 0.0) / np.where(largest > 0, largest, 1.0)
    centered = np.where(known, share - share.sum(axis=0) / count, 0.0)
    spread = np.sqrt(np.square(centered).sum(axis=0) / count)
    return np.asarray(centered / np.where(spread > 0, spread, 1.0))
