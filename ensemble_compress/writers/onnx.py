"""A forest as an ONNX model: trees as operators of ai.onnx.ml, the rest in standard operators.

Rows are float32 where the forest compares in float32, otherwise float64. With opset 5 (`TreeEnsemble`) comparisons, sums
and decisions are those of the forest to the bit; with opset 3 (`TreeEnsembleRegressor`, `TreeEnsembleClassifier`) sums leave
the operator as float32. What neither can say exactly is refused. ONNX Runtime adds up more than 80 trees in groups, one a
thread, where it has several threads and few rows: then sums differ by roundings; a session of one thread keeps the order.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_compress._version import __version__
from ensemble_compress.errors import MissingPackageError, ParameterError, UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.writers.atomic import write_atomically
from ensemble_compress.writers.onnx_graph import (
    Graph,
    add_labels,
    add_link,
    add_probabilities,
    label_array,
    onnx_type,
)
from ensemble_compress.writers.onnx_trees import DOMAIN, add_trees, operator_dtype

Opset = Literal[3, 5]
OPSETS = (3, 5)
STANDARD_OPSET = 18
IR_VERSIONS = {3: 8, 5: 10}
MOST_BYTES = 2**31 - 1
EXTRA = 'pip install "ensemble-compress[onnx]"'


def check_opset(opset: int) -> None:
    """Refuse an opset of ai.onnx.ml that is not written.

    Parameters
    ----------
    opset : int
        The number of the opset.

    Raises
    ------
    ParameterError
        It is neither 3 nor 5.
    """
    if opset not in OPSETS:
        raise ParameterError(f"opset is {opset!r}; expected the opset of ai.onnx.ml to write: 3 or 5")


def to_onnx(forest: Forest, opset: Opset = 5) -> Any:
    """The forest as an `onnx.ModelProto`.

    The input is `X`, (n_rows, n_features). A classifier's outputs are `label` and `probabilities`, a regression model's is
    `variable`, (n_rows, n_outputs), of the dtype of the forest's values.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    opset : {5, 3}
        The opset of ai.onnx.ml: 5 is exact and runs on ONNX Runtime 1.22 and later; 3 is for runtimes without 5.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    MissingPackageError
        The package onnx is not installed.
    UnsupportedModelError
        The opset cannot hold the forest exactly.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> import ensemble_compress as ec
    >>> model = to_onnx(ec.read(DecisionTreeRegressor().fit([[0.0], [1.0]], [3.0, 5.0])))
    >>> [node.op_type for node in model.graph.node]
    ['Cast', 'TreeEnsemble', 'Identity', 'Identity']
    """
    helper = _onnx().helper
    check_opset(opset)
    if forest.n_features == 0:
        raise UnsupportedModelError(
            "a model without features has no rows to give to an ONNX operator; its answer is a constant"
        )
    graph = Graph(forest.values.dtype)
    outputs = _add_outputs(graph, forest, opset)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "forest",
            [helper.make_tensor_value_info("X", onnx_type(forest.x_dtype), [None, forest.n_features])],
            [helper.make_tensor_value_info(name, onnx_type(dtype), shape) for name, dtype, shape in outputs],
            initializer=graph.constants,
        ),
        producer_name="ensemble-compress",
        producer_version=__version__,
        ir_version=IR_VERSIONS[opset],
        opset_imports=[helper.make_opsetid("", STANDARD_OPSET), helper.make_opsetid(DOMAIN, opset)],
    )
    if forest.feature_names is not None:
        helper.set_model_props(model, {"feature_names": json.dumps(forest.feature_names)})
    return model


def _add_outputs(graph: Graph, forest: Forest, opset: int) -> list[tuple[str, Any, list[int | None]]]:
    """(name, dtype, shape) of the outputs, whose operators are added to the graph."""
    sums, code = add_trees(graph, forest, opset)
    if forest.divisor != 1.0:
        sums = graph.apply("Div", sums, graph.constant(forest.divisor))
    margin = graph.apply("Identity", sums, output="margin")
    if forest.classes is None:
        graph.apply("Identity", add_link(graph, forest, margin), output="variable")
        return [("variable", graph.dtype, [None, forest.n_outputs])]
    add_labels(graph, forest, margin, code)
    add_probabilities(graph, forest, margin)
    return [
        ("label", label_array(forest).dtype, [None]),
        ("probabilities", graph.dtype, [None, len(forest.classes)]),
    ]


def write_onnx(forest: Forest, path: str | Path, *, opset: Opset = 5) -> Path:
    """Write a forest as an ONNX model, checked by `onnx.checker` before it is there.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        The file to write; it is there as a whole or not at all.
    opset : {5, 3}
        The opset of ai.onnx.ml.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingPackageError
        The package onnx is not installed.
    UnsupportedModelError
        The opset cannot hold the forest exactly, or the file would be larger than 2 GiB.
    """
    onnx = _onnx()
    model = to_onnx(forest, opset)
    if model.ByteSize() > MOST_BYTES:
        raise UnsupportedModelError(
            f"the ONNX model would have {model.ByteSize():,} bytes, and a file of that format has {MOST_BYTES:,} at most;"
            " compress the model, or export to .so"
        )
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString())
    return Path(path)


def read_onnx_answers(path: str | Path, X: Any, n_threads: int = 1) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime answers: the outputs of the model by name, and `margin`, which is inside.

    Parameters
    ----------
    path : str or Path
        What `write_onnx` wrote.
    X : ndarray of shape (n_rows, n_features)
        Rows of the model's own dtype: `forest.rows(X)`.
    n_threads : int
        Threads of the session; with one, leaves are added up in the order of the trees. 0 is what ONNX Runtime chooses.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    MissingPackageError
        The packages onnx or onnxruntime are not installed.
    """
    onnx = _onnx()
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(f"running an ONNX model needs the package onnxruntime: {EXTRA}") from error
    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("margin"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    answers = map(np.asarray, session.run(names, {"X": np.asarray(X)}))
    return dict(zip(names, answers, strict=True))


def margin_bound(forest: Forest, margin: NDArray[Any], opset: int) -> NDArray[np.float64]:
    """How far a session of one thread may be from each margin: 0, or float32's rounding of sums that opset 3 gives.

    Parameters
    ----------
    forest : Forest
        The exported forest.
    margin : ndarray
        Its margins.
    opset : int
        The opset of ai.onnx.ml.
    """
    if opset == 5 or operator_dtype(forest) == np.float32:
        return np.zeros(margin.shape)
    # One rounding of the sum, and what the division makes of it; the other term is that of the smallest numbers.
    return np.asarray(np.abs(margin) * 2.0**-23 + 2.0**-149 / forest.divisor, np.float64)


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
    except ImportError as error:
        raise MissingPackageError(f"an ONNX model needs the package onnx: {EXTRA}") from error
    return onnx
