"""Forests for the tests of the shared library, and the comparison with the forest's own margins."""

from dataclasses import fields, replace

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from strategies import hard_rows
from test_oblivious import forest_of

from ensemble_compress.forest import Forest
from ensemble_compress.readers import read
from ensemble_compress.writers.library_tables import LibraryTables
from ensemble_compress.writers.shared_library import SharedLibrary

ROW_COUNTS = (1, 2, 11, 13, 31, 33, 64, 65, 130, 257)


def fit(n_trees: int, max_leaf_nodes: int | None, n_classes: int = 3) -> Forest:
    """A classifier of few rows, some of them with missing values."""
    X = np.random.default_rng(0).normal(size=(700, 8)).astype(np.float32)
    X[::7, 2] = np.nan
    y = np.digitize(X[:, 0] + X[:, 1], np.linspace(-1, 1, n_classes - 1))
    return read(RandomForestClassifier(n_trees, max_leaf_nodes=max_leaf_nodes, random_state=0).fit(X, y))


def oblivious(like: Forest) -> Forest:
    """Ten trees of one to eight levels, each a single test, as CatBoost grows them; otherwise of a classifier's kind."""
    random = np.random.default_rng(0)
    tests = [(int(f), float(random.normal()), bool(random.random() < 0.5)) for f in random.integers(0, 3, 80)]
    grown = forest_of(
        [tests[8 * t : 8 * t + n_levels] for t, n_levels in enumerate((1, 2, 3, 4, 5, 6, 7, 8, 8, 6))]
    )
    threshold = grown.nodes.threshold.astype(like.x_dtype).astype(float)
    values = random.normal(size=(len(grown.values), like.n_outputs)).astype(like.values.dtype)
    return replace(
        like,
        nodes=grown.nodes._replace(threshold=threshold),
        tree_start=grown.tree_start,
        tree_output=np.full(grown.n_trees, -1),
        values=values,
    )


def assert_bit_vectors_have_oblivious_trees_and_others(forest: Forest, n_rows: int) -> None:
    """Both kinds are tried by bit vectors for so many rows."""
    tables = LibraryTables.of(forest).arrays
    fewest_rows = tables["RUNS"][1]["fewest_rows"]
    levels = [
        tables["LEVELS"][1][run["first_tree"] : run["last_tree"]]
        for run in tables["RUNS"][1][(fewest_rows > 0) & (fewest_rows <= n_rows)]
    ]
    assert {False, True} == set((np.concatenate(levels) > 0).tolist())


def joined(parts: list[Forest]) -> Forest:
    """One forest of the trees of all parts, in order."""
    shift = np.cumsum([0, *(part.n_nodes for part in parts)])
    rows = np.cumsum([0, *(len(part.values) for part in parts)])
    nodes = [
        part.nodes._replace(
            right=np.where(part.nodes.right >= 0, part.nodes.right + at, -1),
            leaf=np.where(part.nodes.leaf >= 0, part.nodes.leaf + row, -1),
        )
        for part, at, row in zip(parts, shift, rows, strict=False)
    ]
    whole = {field.name: getattr(parts[0], field.name) for field in fields(Forest)}
    whole["nodes"] = type(nodes[0])(*map(np.concatenate, zip(*nodes, strict=True)))
    starts = [part.tree_start[:-1] + at for part, at in zip(parts, shift, strict=False)]
    whole["tree_start"] = np.concatenate([*starts, shift[-1:]])
    whole["tree_output"] = np.concatenate([part.tree_output for part in parts])
    whole["values"] = np.concatenate([part.values for part in parts])
    return Forest(**whole)


def check(forest: Forest, library: SharedLibrary) -> None:
    """The margins of the library are the forest's to the bit, for all kinds of calls."""
    for n_rows in ROW_COUNTS:
        rows = hard_rows(forest, n_rows)
        expected, actual = forest.margin(rows), library.margin(rows)
        assert expected.tobytes() == actual.tobytes(), f"{forest!r}, {n_rows} rows"
