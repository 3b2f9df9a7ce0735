"""What stands around the trees in an ONNX graph: the links, the probabilities and the labels, in standard operators.

Everything is computed in double precision and rounded once at the end: ONNX Runtime's own float32 `Sigmoid`, `Exp` and
`Softmax` are approximations. The steps mirror `predict.LINKS` and `Forest.probabilities`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest

LARGEST_EXPONENT = float(np.log(np.finfo(np.float64).max))
LOWEST_FLOAT_MARGIN = np.float32(-88.7)


@dataclass(frozen=True)
class Graph:
    """The operators and constants of a graph in the making.

    Attributes
    ----------
    dtype : numpy dtype
        Of margins and answers: that of the forest's values.
    nodes, constants : list
        ONNX operators in the order in which they run, and tensors.
    """

    dtype: np.dtype[Any]
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a tensor that holds `value`, of the graph's dtype if none is given."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.asarray(value, self.dtype if dtype is None else dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def apply(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of what an operator with one output makes of its inputs."""
        return self.apply_all(operator, inputs, [output or f"step_{len(self.nodes)}"], **attributes)[0]

    def apply_all(
        self, operator: str, inputs: Any, outputs: list[str], domain: str = "", **attributes: Any
    ) -> list[str]:
        """The names of what an operator makes of its inputs."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def cast(self, name: str, dtype: Any, output: str = "") -> str:
        """The tensor in another dtype."""
        return self.apply("Cast", name, output=output, to=onnx_type(dtype))

    def double(self, name: str) -> str:
        """The tensor in double precision."""
        return name if self.dtype == np.float64 else self.cast(name, np.float64)

    def number(self, value: float) -> str:
        """A constant for the steps in double precision."""
        return self.constant(value, np.float64)

    def over_row(self, operator: str, name: str) -> str:
        """A reduction of each row to one number, shape (n_rows, 1)."""
        return self.apply(operator, name, self.constant([1], np.int64), keepdims=1)


def onnx_type(dtype: Any) -> int:
    """ONNX' number of a dtype."""
    from onnx import TensorProto, helper

    dtype = np.dtype(dtype)
    return TensorProto.STRING if dtype.kind in "OU" else int(helper.np_dtype_to_tensor_dtype(dtype))


def _sigmoid(graph: Graph, margin: str) -> str:
    if graph.dtype == np.float32:
        margin = graph.apply("Max", margin, graph.constant(LOWEST_FLOAT_MARGIN))
    return _expit(graph, graph.double(margin))


def _expit(graph: Graph, x: str) -> str:
    """1 / (1 + exp(-x)), by the power that cannot overflow."""
    one = graph.number(1)
    power = graph.apply("Exp", graph.apply("Neg", graph.apply("Abs", x)))
    top = graph.apply("Where", graph.apply("GreaterOrEqual", x, graph.number(0)), one, power)
    return graph.apply("Div", top, graph.apply("Add", one, power))


def _softmax(graph: Graph, margin: str) -> str:
    below = graph.apply("Sub", margin, graph.over_row("ReduceMax", margin))
    powers = graph.apply("Exp", graph.double(below))
    return graph.apply("Div", powers, graph.over_row("ReduceSum", powers))


def _exponential(graph: Graph, margin: str) -> str:
    x = graph.double(margin)
    # The runtime's Exp may stop at the largest number instead of going on to infinity.
    overflows = graph.apply("Greater", x, graph.number(LARGEST_EXPONENT))
    return graph.apply("Where", overflows, graph.number(np.inf), graph.apply("Exp", x))


def _softplus(graph: Graph, margin: str) -> str:
    """max(x, 0) + log1p(exp(-|x|)), where log1p(p) is p log(1 + p) / ((1 + p) - 1): exact where 1 + p is rounded."""
    x, one = graph.double(margin), graph.number(1)
    power = graph.apply("Exp", graph.apply("Neg", graph.apply("Abs", x)))
    above_one = graph.apply("Add", one, power)
    is_lost = graph.apply("Equal", above_one, one)
    step = graph.apply("Where", is_lost, one, graph.apply("Sub", above_one, one))
    share = graph.apply("Div", graph.apply("Log", above_one), step)
    log1p = graph.apply("Mul", power, graph.apply("Where", is_lost, one, share))
    return graph.apply("Add", graph.apply("Max", x, graph.number(0)), log1p)


def _signed_square(graph: Graph, margin: str) -> str:
    return graph.apply("Mul", margin, graph.apply("Abs", margin))


def _isolation(graph: Graph, margin: str) -> str:
    return graph.apply("Neg", graph.apply("Pow", graph.number(2), graph.apply("Neg", graph.double(margin))))


LINKS: dict[str, Callable[[Graph, str], str]] = {
    "identity": lambda graph, margin: margin,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "exp": _exponential,
    "softplus": _softplus,
    "signed_square": _signed_square,
    "step": lambda graph, margin: graph.cast(graph.apply("Greater", margin, graph.constant(0)), np.float64),
    "isolation": _isolation,
}
"""From margins of the graph's dtype to predictions: those of `predict.LINKS`, but for `samme`, which needs the number of outputs."""

IN_DTYPE = ("identity", "signed_square")
"""Links that are exact in the dtype of the margins; the others end in double precision."""


def add_link(graph: Graph, forest: Forest, margin: str) -> str:
    """The linked margins, in the graph's dtype."""
    if forest.link not in LINKS and forest.link != "samme":
        raise UnsupportedModelError(
            f"no ONNX operators are known for the link {forest.link!r}; export to another format, such as .so"
        )
    if forest.link_scale != 1.0:
        margin = graph.apply("Mul", margin, graph.constant(forest.link_scale))
    if forest.link == "samme":
        margin = graph.apply("Div", margin, graph.constant(max(forest.n_outputs - 1, 1)))
    linked = LINKS["softmax" if forest.link == "samme" else forest.link](graph, margin)
    if graph.dtype == np.float64 or forest.link in IN_DTYPE:
        return linked
    return graph.cast(linked, graph.dtype)


def add_probabilities(graph: Graph, forest: Forest, margin: str) -> None:
    """The output `probabilities`, shape (n_rows, n_classes)."""
    answer = add_link(graph, forest, margin)
    n_classes = 0 if forest.classes is None else len(forest.classes)
    if forest.n_outputs == 1 and (n_classes == 2 or forest.link == "sigmoid"):
        other = graph.apply("Sub", graph.constant(1), answer)
        # One class and a sigmoid: the model's only probability is that of the other class.
        answer = graph.apply("Concat", other, answer, axis=1) if n_classes == 2 else other
    elif forest.link == "identity":
        answer = _distributions(graph, answer, n_classes)
    graph.apply("Identity", answer, output="probabilities")


def _distributions(graph: Graph, answer: str, n_classes: int) -> str:
    """Rows that add up to one: those that are off by more than 1e-6, or negative, are divided by their sum."""
    zero, one = graph.constant(0), graph.constant(1)
    distance = graph.apply("Abs", graph.apply("Sub", graph.over_row("ReduceSum", answer), one))
    is_near = graph.apply("LessOrEqual", distance, graph.constant(1e-6))
    is_positive = graph.apply("GreaterOrEqual", graph.over_row("ReduceMin", answer), zero)
    is_right = graph.apply("And", is_near, is_positive)
    clipped = graph.apply("Max", answer, zero)
    clipped = graph.apply("Div", clipped, graph.over_row("ReduceMax", clipped))
    shares = graph.apply("Div", clipped, graph.over_row("ReduceSum", clipped))
    # 0 / 0 and inf / inf; a comparison with NaN is false.
    is_finite = graph.apply("GreaterOrEqual", graph.over_row("ReduceSum", shares), zero)
    shares = graph.apply("Where", is_finite, shares, graph.constant(1 / n_classes))
    return graph.apply("Where", is_right, answer, shares)


def add_labels(graph: Graph, forest: Forest, margin: str, code: str | None) -> None:
    """The output `label`, shape (n_rows,): the class of each row's code, which is decided here where it is None."""
    labels = label_array(forest)
    code = code or _decide(graph, forest, margin)
    if labels.dtype == np.int64 and (labels == np.arange(len(labels))).all():
        graph.apply("Identity", code, output="label")
    else:
        graph.apply("Gather", graph.constant(labels, labels.dtype), code, output="label", axis=0)


def _decide(graph: Graph, forest: Forest, margin: str) -> str:
    """The class code of each row of margins, as `Forest.decide` finds it."""
    if forest.n_outputs > 1 or forest.classes is None or len(forest.classes) < 2:
        return graph.apply("ArgMax", margin, axis=1, keepdims=0)
    operator = "GreaterOrEqual" if forest.tie_class else "Greater"
    is_second = graph.cast(graph.apply(operator, margin, graph.constant(0)), np.int64)
    return graph.apply("Squeeze", is_second, graph.constant([1], np.int64))


def label_array(forest: Forest) -> NDArray[Any]:
    """The classes as ONNX can hold them: int64, float64, bool, or texts as objects.

    Raises
    ------
    UnsupportedModelError
        They are of another kind.
    """
    classes = np.asarray(forest.classes)
    if classes.dtype.kind == "U" or (
        classes.dtype.kind == "O" and all(isinstance(label, str) for label in classes)
    ):
        return classes.astype(object)
    if classes.dtype.kind in "iu" and (classes <= np.iinfo(np.int64).max).all():
        return classes.astype(np.int64)
    if classes.dtype.kind == "f":
        return classes.astype(np.float64)
    if classes.dtype.kind == "b":
        return classes
    raise UnsupportedModelError(
        f"labels of dtype {classes.dtype} cannot be written to ONNX; expected whole numbers of 64 bits, floats, truth"
        " values or texts: train the classifier on such labels"
    )


def without_fractions(graph: Graph, codes: str, rule: str, dtype: np.dtype[Any]) -> str:
    """The codes of numbers by `Forest.category_rule`."""
    floor = graph.apply("Floor", codes)
    if rule == "exact":
        # onnxruntime cuts fractions off where it finds a set in a word of bits. They become -1, which is in no set; NaN stays.
        is_whole = graph.apply("Equal", codes, floor)
        nothing = graph.apply("Mul", codes, graph.constant(0, dtype))
        return graph.apply("Where", is_whole, codes, graph.apply("Add", nothing, graph.constant(-1, dtype)))
    if rule == "floor":
        return floor
    # Towards zero: what lies between -1 and 0 is category 0.
    below_zero = graph.apply("Equal", floor, graph.constant(-1, dtype))
    return graph.apply("Where", below_zero, graph.apply("Ceil", codes), floor)
