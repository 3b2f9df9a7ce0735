"""A forest as a Treelite model, and as the shared library that TL2cgen compiles from it.

Margins equal those of `Forest.margin` to the bit (but for the sign of zero) where Treelite can say what the forest says:

- The bias becomes a tree of one leaf, in front or behind the others, because Treelite averages before it adds its own
  base score.
- A whole divisor becomes Treelite's average over trees: trees of zero fill up their number. Any other divisor, or one
  smaller than the number of trees, is multiplied into the leaves, which changes margins by roundings.
- float32 values need float32 rows; with float64 rows Treelite sums in float64.

TL2cgen 1.0 takes `x <= -inf` for never true; `x < ` the smallest finite number says the same of every x and is compiled
right. It takes a float64 whose low 32 bits are all ones for a missing value. `treelite_rows` moves such numbers by one
float: up, where the model has no threshold at the number itself, otherwise down; in columns of categories towards zero. That
changes no decision and no category, but where a threshold lies on either side of the step; a forest with such a pair is refused.
"""

import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.engines.columns import float32_below
from ensemble_compress.errors import MissingPackageError, SlowExportWarning, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.nodes import set_codes
from ensemble_compress.writers.atomic import replacing
from ensemble_compress.writers.toolchain import compile_c

OPTIONS = ("-O2", "-shared", "-fPIC", "-ffp-contract=off")
NODES_A_FILE = 20_000
MANY_NODES = 50_000
SECONDS_A_NODE = 227 / 286_000
"""What TL2cgen's sources of 286,000 nodes took to compile, a node."""
MOST_PADDING = 10_000
"""Trees of zero that stand for a divisor larger than the number of trees."""
MOST_CODES = 2**24
LOW_WORD = np.uint64(0xFFFFFFFF)

POSTPROCESSORS = {
    "identity": "identity",
    "sigmoid": "sigmoid",
    "exp": "exponential",
    "softplus": "logarithm_one_plus_exp",
    "signed_square": "signed_square",
    "step": "hinge",
}
CLASS_POSTPROCESSORS = {
    "identity": "identity_multiclass",
    "sigmoid": "multiclass_ova",
    "softmax": "softmax",
}


def to_treelite(forest: Forest) -> Any:
    """The forest as a `treelite.Model`.

    Parameters
    ----------
    forest : Forest
        The forest to export.

    Returns
    -------
    treelite.Model

    Raises
    ------
    UnsupportedModelError
        Treelite has no such link.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> import ensemble_compress as ec
    >>> model = to_treelite(ec.read(DecisionTreeRegressor().fit([[0.0], [1.0]], [3.0, 5.0])))
    >>> model.num_tree, model.num_feature
    (1, 1)
    """
    from treelite import model_builder

    constants, scale = _constant_trees(forest)
    beside = np.array([output for output, _ in constants], np.int32)
    parts = (forest.tree_output, beside) if forest.bias_last else (beside, forest.tree_output)
    outputs = np.concatenate(parts)
    is_classifier, n_outputs = forest.classes is not None, forest.n_outputs
    is_vector = forest.values.shape[1] > 1
    whole, each = ([n_outputs, 1] if is_classifier else [1, n_outputs]), np.maximum(outputs, 0).tolist()
    annotation = [-1] * len(outputs) if is_vector else each
    zeros = [0] * len(outputs)
    dtype = _dtype(forest)
    builder = model_builder.ModelBuilder(
        threshold_type=dtype,
        leaf_output_type=dtype,
        metadata=model_builder.Metadata(
            num_feature=max(forest.n_features, 1),
            task_type=("kMultiClf" if n_outputs > 1 else "kBinaryClf") if is_classifier else "kRegressor",
            average_tree_output=forest.divisor != 1.0 and scale == 1.0,
            num_target=whole[1],
            num_class=[whole[0]] * whole[1],
            leaf_vector_shape=(whole[1], whole[0]) if is_vector else (1, 1),
        ),
        tree_annotation=model_builder.TreeAnnotation(
            num_tree=len(outputs),
            target_id=zeros if is_classifier else annotation,
            class_id=annotation if is_classifier else zeros,
        ),
        postprocessor=model_builder.PostProcessorFunc(
            name=_postprocessor(forest), sigmoid_alpha=forest.link_scale
        ),
        base_scores=[0.0] * n_outputs,
    )
    if not forest.bias_last:
        _add_constants(builder, constants, scale)
    _add_trees(builder, forest, scale)
    if forest.bias_last:
        _add_constants(builder, constants, scale)
    return builder.commit()


def _dtype(forest: Forest) -> str:
    return "float32" if forest.x_dtype == "float32" == str(forest.values.dtype) else "float64"


def _postprocessor(forest: Forest) -> str:
    several = forest.classes is not None and forest.n_outputs > 1
    table = CLASS_POSTPROCESSORS if several else POSTPROCESSORS
    if forest.link not in table:
        raise UnsupportedModelError(
            f"Treelite has no link {forest.link!r} for {forest.n_outputs} output(s) of a"
            f" {'classifier' if forest.classes is not None else 'regression model'}; export to another format"
        )
    kept = float(np.float32(forest.link_scale))
    if kept != forest.link_scale:
        raise UnsupportedModelError(
            f"Treelite has no link {forest.link_text!r}: it keeps the factor, sigmoid_alpha, as a float32, which would be"
            f" {kept!r}; export to .so instead of .treelite.so"
        )
    return table[forest.link]


def _constant_trees(forest: Forest) -> tuple[list[tuple[int, NDArray[Any]]], float]:
    """Trees of one leaf to put beside the others, as (output, values), and what the leaves must be multiplied by."""
    constants: list[tuple[int, NDArray[Any]]] = []
    each = [-1] if forest.values.shape[1] == forest.n_outputs else list(range(forest.n_outputs))
    counts = np.bincount(np.maximum(forest.tree_output, 0), minlength=len(each))
    n_trees = counts.max() + bool(forest.bias.any())
    can_average = forest.divisor.is_integer() and n_trees <= forest.divisor < MOST_PADDING
    scale = 1.0 if forest.divisor == 1.0 or can_average else 1.0 / forest.divisor
    for k, output in enumerate(each):
        bias = forest.bias if output < 0 else forest.bias[k : k + 1]
        if bias.any() or not forest.n_trees:
            constants.append((output, bias))
        if can_average and forest.divisor != 1.0:
            n_padding = int(forest.divisor) - int(counts[k]) - sum(c[0] == output for c in constants)
            constants += [(output, np.zeros_like(bias))] * n_padding
    return constants, scale


def _leaf(values: list[float]) -> Any:
    return values[0] if len(values) == 1 else values


def _add_constants(builder: Any, constants: Sequence[tuple[int, NDArray[Any]]], scale: float) -> None:
    for _, value in constants:
        builder.start_tree()
        builder.start_node(0)
        builder.leaf(_leaf((value * scale).tolist()))
        builder.end_node()
        builder.end_tree()


def _add_trees(builder: Any, forest: Forest, scale: float) -> None:
    nodes, lowest = forest.nodes, float(np.finfo(forest.x_dtype).min)
    threshold = (
        nodes.threshold if forest.x_dtype == "float64" else float32_below(nodes.threshold).astype(float)
    )
    values = (forest.values * forest.values.dtype.type(scale)).tolist()
    codes = [set_codes(forest.category_sets, s) for s in range(len(forest.category_sets.start) - 1)]
    for start, stop in zip(forest.tree_start[:-1].tolist(), forest.tree_start[1:].tolist(), strict=True):
        builder.start_tree()
        columns = (nodes.feature, threshold, nodes.right, nodes.nan_left, nodes.category_set, nodes.leaf)
        rows = zip(*(array[start:stop].tolist() for array in columns), strict=True)
        for j, (feature, limit, right, nan_left, s, row) in enumerate(rows):
            builder.start_node(j)
            children = {"left_child_key": j + 1, "right_child_key": right - start, "default_left": nan_left}
            if feature < 0:
                builder.leaf(_leaf(values[row]))
            elif s >= 0:
                builder.categorical_test(
                    feature, category_list=codes[s], category_list_right_child=False, **children
                )
            else:
                opname, limit = ("<", lowest) if limit == -np.inf else ("<=", limit)
                builder.numerical_test(feature, threshold=limit, opname=opname, **children)
            builder.end_node()
        builder.end_tree()


def write_treelite_library(forest: Forest, path: str | Path) -> Path:
    """Compile a forest by TL2cgen to a shared library that `tl2cgen.Predictor` loads.

    TL2cgen writes every node as an if statement, which compilers take long for. Give the library the rows of
    `treelite_rows`.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        The file to write, best with the suffix .treelite.so; it is there as a whole or not at all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingPackageError
        tl2cgen is not installed.
    UnsupportedModelError
        TL2cgen would decide wrong: at a float64 threshold beside a number that it takes for missing, or a category code above 2**24.
    ToolchainError
        There is no C compiler, or it failed.

    Warns
    -----
    SlowExportWarning
        The forest has more than `MANY_NODES` nodes.
    """
    try:
        import tl2cgen
    except ImportError as error:
        raise MissingPackageError(
            'a Treelite library needs the package tl2cgen: pip install "ensemble-compress[treelite-lib]"'
        ) from error
    _check_limits(forest)
    if forest.n_nodes > MANY_NODES:
        warnings.warn(_how_long(forest.n_nodes), SlowExportWarning, stacklevel=2)
    path = Path(path)
    n_files = -(-forest.n_nodes // NODES_A_FILE)
    with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as name, replacing(path) as output:
        with _silence():
            tl2cgen.generate_c_code(to_treelite(forest), name, {"parallel_comp": n_files})
        sources = sorted(Path(name).glob("*.c"))
        if _dtype(forest) == "float32":
            _mark_floats(sources)
        compile_c(sources, output, OPTIONS, ["-lm"])
    return path


def _how_long(n_nodes: int) -> str:
    minutes = max(1, round(n_nodes * SECONDS_A_NODE / 60))
    return (
        f"TL2cgen writes each of {n_nodes:,} nodes as an if statement, and compiling them may take {minutes} minute(s) or"
        f' more; expected at most {MANY_NODES:,} nodes. Export "model.so" instead of "model.treelite.so": it is compiled in'
        " seconds, however many nodes there are"
    )


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what TL2cgen says at every call: on stdout, from Python, how it splits files; on stderr, from C++, its age."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _mark_floats(sources: list[Path]) -> None:
    """Make leaf values float literals: TL2cgen writes just enough digits for a float, and the double of them is another."""
    for source in sources:
        text = re.sub(r"(\+= -?\d+);", r"\1.0;", source.read_text("ascii"))
        source.write_text(re.sub(r"(\+= -?\d[^;]*);", r"\1f;", text), "ascii")


def _check_limits(forest: Forest) -> None:
    if np.diff(forest.category_sets.start).max(initial=0) > MOST_CODES // 32:
        raise UnsupportedModelError(
            f"TL2cgen knows category codes up to {MOST_CODES:,}, and the model has larger ones; export to .so instead"
        )
    if forest.x_dtype == "float32":
        return
    for f in range(forest.n_features):
        threshold = _thresholds_of(forest, f)
        near = np.concatenate([threshold, _step(threshold, -np.inf), _step(threshold, np.inf)])
        misread = near[_is_misread(near)]
        lower = np.minimum(misread, _moved(forest, f, misread))
        lost = lower[np.isin(lower, threshold)]
        if len(lost):
            _refuse_threshold(forest, f, float(lost[0]))


def _thresholds_of(forest: Forest, f: int) -> NDArray[np.float64]:
    """The distinct thresholds of a feature."""
    tests = (forest.nodes.feature == f) & (forest.nodes.category_set < 0)
    return np.unique(forest.nodes.threshold[tests])


def _is_misread(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether TL2cgen 1.0 takes a number for a missing value, because of its low 32 bits."""
    return np.asarray((numbers.view(np.uint64) & LOW_WORD == LOW_WORD) & ~np.isnan(numbers))


def _moved(forest: Forest, f: int, misread: NDArray[np.float64]) -> NDArray[np.float64]:
    """The floats beside misread numbers of a feature that stand for them."""
    if ((forest.nodes.feature == f) & (forest.nodes.category_set >= 0)).any():
        return _step(misread, 0.0)
    is_threshold = np.isin(misread, _thresholds_of(forest, f))
    return _step(misread, np.where(is_threshold, -np.inf, np.inf))


def _step(numbers: NDArray[np.float64], end: Any) -> NDArray[np.float64]:
    """The next floats towards `end`, past the largest one too."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.nextafter(numbers, end))


def _refuse_threshold(forest: Forest, f: int, threshold: float) -> None:
    j = int(((forest.nodes.feature == f) & (forest.nodes.threshold == threshold)).argmax())
    t = int(np.searchsorted(forest.tree_start, j, side="right")) - 1
    raise UnsupportedModelError(
        f"tree {t}, node {j - forest.tree_start[t]}: TL2cgen takes a number at the threshold {threshold!r} for a missing value,"
        f" because its low 32 bits are ones, and no float beside it can stand for it: feature {f} has categories, or the"
        " next float is a threshold too; export to .so instead of .treelite.so"
    )


def treelite_rows(forest: Forest, X: Any) -> NDArray[Any]:
    """Rows for `treelite.gtil.predict` and `tl2cgen.DMatrix`: the model's input type, and no number that they misread.

    Treelite rounds categories down; where `Forest.category_rule` is another, these rows hold the codes that it means.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        float32 where both rows and values of the forest are; float64 otherwise.
    """
    rows = forest.rows(X)
    if forest.x_dtype == "float32":
        return rows.astype(_dtype(forest))
    misread = _is_misread(rows)
    rows = rows.copy() if misread.any() else rows
    for f in np.flatnonzero(misread.any(axis=0)).tolist():
        at = misread[:, f]
        rows[at, f] = _moved(forest, f, rows[at, f])
    return rows


def read_treelite_margin(forest: Forest, path: str | Path, X: Any) -> NDArray[Any]:
    """The margins that a compiled library gives, shape (n_rows, n_outputs).

    Parameters
    ----------
    forest : Forest
        The exported forest.
    path : str or Path
        What `write_treelite_library` wrote.
    X : array-like of shape (n_rows, n_features) or DataFrame
        Rows.
    """
    import tl2cgen

    rows = treelite_rows(forest, X)
    margin = tl2cgen.Predictor(path, nthread=1).predict(tl2cgen.DMatrix(rows), pred_margin=True)
    return np.asarray(margin).reshape(len(rows), forest.n_outputs)
