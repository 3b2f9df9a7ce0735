"""Treelite: models in memory and checkpoint files, read from the documented format without Treelite.

A model is asked for its own bytes, so objects and files take one way. The judge is GTIL, Treelite's predictor: it casts
rows to the type of the thresholds, starts its sums at 0 in that type, divides by the number of trees where the model
averages, and adds the base scores last. So does the forest, to the bit, but for base scores of an average, which it
divides with the sum, and base scores that a float32 model cannot hold: those round otherwise.

What Treelite made of the model before is not seen here: where its import answers otherwise than the source library
(see docs/treelite.md), so does the forest. Read the source's own model rather than its import.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers.assemble import Tree, assemble
from ensemble_compress.readers.files import is_treelite, read_bytes
from ensemble_compress.readers.kinds import find_base
from ensemble_compress.readers.treelite_checkpoint import Checkpoint, damaged, parse
from ensemble_compress.readers.treelite_trees import read_tree

TASKS = ("binary classification", "regression", "multi-class classification", "ranking", "isolation forest")
BINARY, _, MULTICLASS, _, ISOLATION = range(5)
POSTPROCESSORS = {
    "identity": "identity",
    "identity_multiclass": "identity",
    "sigmoid": "sigmoid",
    "multiclass_ova": "sigmoid",
    "softmax": "softmax",
    "exponential": "exp",
    "logarithm_one_plus_exp": "softplus",
    "signed_square": "signed_square",
    "hinge": "step",
}
"""The link of each postprocessor."""

PROBABILITIES = ("sigmoid", "step")
"""The links that make a single output the probability of the second class."""

OVER_CLASSES = ("identity", "identity_multiclass", "multiclass_ova", "softmax")
"""The postprocessors that GTIL applies to every class; the others change only the first."""

FREE_WORDS = 1 << 22
"""Words of 32 bits that the sets of categories may take besides as many as the checkpoint has bytes, and no more than
`WORDS_A_BYTE` for each of its bytes: the one code of a set takes as many as it is large."""
WORDS_A_BYTE = 256


def accepts(model: Any) -> bool:
    """Whether the model is a `treelite.Model`, or a path to a checkpoint.

    Parameters
    ----------
    model : Any
        Any object.
    """
    if isinstance(model, Path):
        return is_treelite(model)
    return find_base(model, "treelite", ("Model",)) is not None


def read(model: Any) -> Forest:
    """The forest of a Treelite model.

    A classifier of two classes with one output is one where the postprocessor gives a probability, and otherwise a
    regression whose predictions are GTIL's.

    Parameters
    ----------
    model : treelite.Model or Path
        A model of Treelite 4, or what its `serialize` wrote.

    Raises
    ------
    UnsupportedModelError
        Something in it cannot be said by a forest: tests for equality, several targets of a classifier, isolation
        forests, or a postprocessor that is not in `POSTPROCESSORS`.
    ModelFileError
        The file is damaged, truncated or of another kind.
    """
    if isinstance(model, Path):
        return _read_checkpoint(parse(read_bytes(model), model.name))
    return _read_checkpoint(parse(bytes(model.serialize_bytes()), "treelite.Model"))


def _read_checkpoint(checkpoint: Checkpoint) -> Forest:
    n_targets, n_classes = _shape_of(checkpoint)
    task, n_outputs = _task_of(checkpoint, n_targets), n_targets * n_classes
    link = _link_of(checkpoint, n_targets, n_classes)
    width = _width_of(checkpoint, n_targets, n_classes)
    tree_output = _outputs_of(checkpoint, n_targets, n_outputs, width)
    divisor = _divisor_of(checkpoint, tree_output, n_outputs)
    bias = checkpoint.header["base_scores"].astype(np.float64)
    if len(bias) != n_outputs:
        raise damaged(checkpoint.where, f"base_scores has {len(bias)} entries; expected {n_outputs}")
    with np.errstate(over="ignore", invalid="ignore"):
        bias = (bias * divisor).astype(checkpoint.dtype)
    return assemble(
        _trees_of(checkpoint, width),
        n_features=int(checkpoint.header["num_feature"][0]),
        bias=bias,
        where=checkpoint.where,
        link=link,
        link_scale=_scale_of(checkpoint, link),
        divisor=divisor,
        x_dtype=str(checkpoint.dtype),
        classes=_classes_of(task, n_classes, link),
        tree_output=tree_output,
        bias_last=bool(bias.any()),
        absent_is_missing=True,
    )


def _shape_of(checkpoint: Checkpoint) -> tuple[int, int]:
    """(number of targets, number of classes); one of them is 1."""
    n_targets, counts = int(checkpoint.header["num_target"][0]), checkpoint.header["num_class"]
    if n_targets < 1 or len(counts) != n_targets or counts.min() < 1:
        raise damaged(
            checkpoint.where,
            f"num_target is {n_targets} and num_class is {counts[:5].tolist()}; expected a number from 1 a target",
        )
    if n_targets > 1 and counts.max() > 1:
        raise _several_labels(checkpoint, n_targets)
    return n_targets, int(counts.max())


def _several_labels(checkpoint: Checkpoint, n_targets: int) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{checkpoint.where}: a classifier of {n_targets} targets tells several labels a row, which cannot be read; make"
        " one model a target"
    )


def _task_of(checkpoint: Checkpoint, n_targets: int) -> int:
    task = int(checkpoint.header["task_type"][0])
    if task >= len(TASKS):
        raise damaged(checkpoint.where, f"task_type is {task}; expected 0 to {len(TASKS) - 1}")
    if task == ISOLATION:
        raise UnsupportedModelError(
            f"{checkpoint.where}: an isolation forest's scores cannot be read from a Treelite model; pass the"
            " scikit-learn model that it was made from"
        )
    if task in (BINARY, MULTICLASS) and n_targets > 1:
        raise _several_labels(checkpoint, n_targets)
    return task


def _link_of(checkpoint: Checkpoint, n_targets: int, n_classes: int) -> str:
    where = checkpoint.where
    name = checkpoint.header["postprocessor"].tobytes().decode("ascii", "replace")
    if name not in POSTPROCESSORS:
        raise UnsupportedModelError(
            f"{where}: the postprocessor {name[:40]!r} cannot be read; expected one of {', '.join(POSTPROCESSORS)}"
        )
    if (n_classes > 1 and name not in OVER_CLASSES) or (n_targets > 1 and name == "softmax"):
        raise UnsupportedModelError(
            f"{where}: Treelite applies the postprocessor {name!r} to {n_targets} target(s) of {n_classes} class(es) one"
            " by one, which cannot be read; expected one of "
            + ", ".join(OVER_CLASSES[: 4 if n_classes > 1 else 3])
        )
    return POSTPROCESSORS[name]


def _scale_of(checkpoint: Checkpoint, link: str) -> float:
    """What the postprocessor multiplies the margin by."""
    if link != "sigmoid":
        return 1.0
    alpha = float(checkpoint.header["sigmoid_alpha"][0])
    if not 0 < alpha < np.inf:
        raise damaged(checkpoint.where, f"sigmoid_alpha is {alpha:g}; expected a number above 0")
    return alpha


def _classes_of(task: int, n_classes: int, link: str) -> NDArray[Any] | None:
    if task == MULTICLASS or (task == BINARY and n_classes > 1):
        return np.arange(n_classes)
    return np.arange(2) if task == BINARY and link in PROBABILITIES else None


def _width_of(checkpoint: Checkpoint, n_targets: int, n_classes: int) -> int:
    """How many values a leaf has."""
    shape = checkpoint.header["leaf_vector_shape"].tolist()
    if len(shape) != 2 or shape[0] not in (1, n_targets) or shape[1] not in (1, n_classes):
        raise damaged(
            checkpoint.where,
            f"leaf_vector_shape is {shape[:5]}; expected 1 or {n_targets}, and 1 or {n_classes}",
        )
    return int(shape[0] * shape[1])


def _outputs_of(checkpoint: Checkpoint, n_targets: int, n_outputs: int, width: int) -> NDArray[np.int32]:
    """The output that each tree adds to, -1 for all of them."""
    which, other = checkpoint.header["class_id"], checkpoint.header["target_id"]
    if n_targets > 1:
        which, other = other, which
    lowest, highest = (-1, -1) if width > 1 else (-1 if n_outputs == 1 else 0, n_outputs - 1)
    is_wrong = (which < lowest) | (which > highest) | (other < -1) | (other > 0)
    if is_wrong.any():
        t = int(is_wrong.argmax())
        raise damaged(
            f"{checkpoint.where}: tree {t}",
            f"its target_id is {checkpoint.header['target_id'][t]} and its class_id is"
            f" {checkpoint.header['class_id'][t]}, with leaves of {width} value(s) for {n_outputs} output(s)",
        )
    return which if width > 1 else np.maximum(which, 0)


def _divisor_of(checkpoint: Checkpoint, tree_output: NDArray[np.int32], n_outputs: int) -> float:
    """The number of trees that an output averages; GTIL counts them output by output."""
    if not checkpoint.header["average_tree_output"][0]:
        return 1.0
    counts = np.bincount(tree_output[tree_output >= 0], minlength=n_outputs) + (tree_output < 0).sum()
    if counts.min() == 0 or counts.min() < counts.max():
        raise UnsupportedModelError(
            f"{checkpoint.where}: average_tree_output is set and {counts.min()} to {counts.max()} trees add to an output;"
            " expected as many to each, and at least one"
        )
    return float(counts[0])


def _trees_of(checkpoint: Checkpoint, width: int) -> list[Tree]:
    trees = []
    n_left = min(FREE_WORDS, WORDS_A_BYTE * checkpoint.n_bytes) + checkpoint.n_bytes
    for t, fields in enumerate(checkpoint.trees):
        trees.append(read_tree(fields, width, n_left, f"{checkpoint.where}: tree {t}"))
        n_left -= len(trees[-1].sets.words)
    return trees
