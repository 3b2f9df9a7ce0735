"""Bytes of a forest on a device, counted from the tables themselves.

`c_bytes` plans the tables of the C export without filling them, which takes milliseconds, so that a search may call it for
every candidate; `c_tables` fills them and `writers.c` prints exactly these arrays: size and artefact can't disagree.
"""

from ensemble_compress.distinct import Input
from ensemble_compress.fixed_point import FixedPoint, emulate_labels, emulate_scores, fixed_point
from ensemble_compress.forest import Forest
from ensemble_compress.tables import CTables, Layout, Optimize, c_tables

__all__ = [
    "CTables",
    "FixedPoint",
    "bytes_by_part",
    "c_bytes",
    "c_tables",
    "emulate_labels",
    "emulate_scores",
    "fixed_point",
    "plain_bytes",
]


def plain_bytes(forest: Forest) -> int:
    """Bytes of the tables everybody starts from: 8 a node, and 4 for each further output of a leaf.

    A node is a float32 threshold (a leaf's value), a 16-bit feature and a 16-bit child. Nothing is shared.

    Parameters
    ----------
    forest : Forest
        Any forest.
    """
    return int(8 * forest.n_nodes + 4 * forest.n_leaves * (forest.values.shape[1] - 1))


def c_bytes(forest: Forest, input: Input = "float", optimize: Optimize = "size") -> int:
    """Bytes of all tables of the C export, without building them: O(n_nodes log n_nodes), a few ms for 100,000 nodes.

    Parameters
    ----------
    forest : Forest
        Any forest.
    input : {"float", "int16", "int8"}
        The type of a row's values.
    optimize : {"size", "speed"}
        Fields of as many bits as they need, or of whole bytes.
    """
    return Layout.of(forest, input, optimize).n_bytes


def bytes_by_part(forest: Forest, input: Input = "float", optimize: Optimize = "size") -> dict[str, int]:
    """What `c_bytes` is made of: tests, structure, leaves, values, sets, bias, outputs, padding.

    Parameters
    ----------
    forest : Forest
        Any forest.
    input : {"float", "int16", "int8"}
        The type of a row's values.
    optimize : {"size", "speed"}
        Fields of as many bits as they need, or of whole bytes.
    """
    return Layout.of(forest, input, optimize).parts
