"""Weights of trees under which given rows keep their classes: of the smallest sum, or of the fewest trees.

Source: Emine, Forel, Malek and Vidal, "Free lunch in the forest: functionally-identical pruning of boosted tree ensembles",
AAAI 2025, section 3.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, eye_array, hstack

LARGEST_COUNT_NODES = 200
"""Nodes of the search for the fewest trees: what it finds need not be fewest to be right."""


def smallest_weights(leads: NDArray[np.float64], cost: NDArray[Any]) -> NDArray[np.float64] | None:
    """Weights of the smallest cost, and a bias for each class, under which every lead is at least 1."""
    n_free = leads.shape[1] - len(cost)
    bounds = [(0, None)] * len(cost) + [(None, None)] * n_free
    whole_cost = np.append(cost, np.zeros(n_free))
    found = linprog(whole_cost, A_ub=-leads, b_ub=-np.ones(len(leads)), bounds=bounds, method="highs")
    return np.asarray(found.x) if found.status == 0 else None


def fewest_trees(
    leads: NDArray[np.float64], start: NDArray[np.float64], n_trees: int, seconds: float
) -> NDArray[np.float64]:
    """Weights of the fewest trees, none above the largest of `start`, with half its leads; `start` where none were found."""
    largest = float(start[:n_trees].max(initial=0.0))
    if largest == 0.0:
        return start
    n_free = leads.shape[1] - n_trees
    # Weights and biases in units of the largest weight, then whether each tree is there.
    rows = hstack([csr_array(leads), csr_array((len(leads), n_trees))])
    is_there = hstack([eye_array(n_trees), csr_array((n_trees, n_free)), -eye_array(n_trees)])
    far = 2.0 * n_trees
    low = np.concatenate([np.zeros(n_trees), np.full(n_free, -far), np.zeros(n_trees)])
    high = np.concatenate([np.ones(n_trees), np.full(n_free, far), np.ones(n_trees)])
    found = milp(
        np.append(np.zeros(leads.shape[1]), np.ones(n_trees)),
        integrality=np.append(np.zeros(leads.shape[1]), np.ones(n_trees)),
        bounds=Bounds(low, high),
        constraints=[LinearConstraint(rows, 0.5 / largest, np.inf), LinearConstraint(is_there, -np.inf, 0)],
        options={"time_limit": seconds, "node_limit": LARGEST_COUNT_NODES},
    )
    return start if found.x is None else np.asarray(found.x[: leads.shape[1]])
