"""The text of a LightGBM model, taken apart: a header, one block a tree, the parameters, the levels of a DataFrame.

tree                      the kind of model
version=v4                `key=value` lines up to the first tree
...
Tree=0                    one block a tree, ended by an empty line
num_leaves=3
threshold=0.5 1.5
...
end of trees
parameters:               `[key: value]` lines
end of parameters
pandas_categorical:[["a", "b"]]
"""

import json
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import ModelFileError, UnsupportedModelError, in_short

VERSIONS = ("v2", "v3", "v4")
START_OF_TREE, END_OF_TREES = "\nTree=", "\nend of trees"


@dataclass(frozen=True)
class Block:
    """The `key=value` lines of one part of the text.

    Parameters
    ----------
    header : dict of str to str
        The lines; "" where a line has no value.
    where : str
        File and tree, for error messages.
    """

    header: dict[str, str]
    where: str

    def count(self, name: str) -> int:
        """The whole number >= 0 called `name`."""
        text = self._get(name).strip()
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise self.error(f"{name} is {text[:40]!r}; expected a whole number from 0")
        return int(text)

    def numbers(self, name: str, dtype: Any, length: int) -> NDArray[Any]:
        """The `length` numbers called `name`."""
        line = self._get(name)
        words = line.split()
        if len(words) != length:
            raise self.error(f"{name} has {len(words)} entries; expected {length}")
        if not line.isascii() or "_" in line:  # Python takes other digits than LightGBM
            raise self.error(f"{name} holds something that is no number")
        convert = int if np.issubdtype(dtype, np.integer) else float
        try:
            return np.fromiter(map(convert, words), dtype, length)
        except (ValueError, OverflowError) as error:
            raise self.error(f"{name} holds something that is no number ({in_short(error)})") from error

    def error(self, what: str) -> ModelFileError:
        """The error that `what` is wrong here."""
        return ModelFileError(f"{self.where}: {what}; the model is damaged: save it again")

    def _get(self, name: str) -> str:
        if name not in self.header:
            raise self.error(f"{name} is missing")
        return self.header[name]


@dataclass(frozen=True)
class Model(Block):
    """The whole text.

    Parameters
    ----------
    header : dict of str to str
        The lines before the first tree.
    where : str
        The file's name, for error messages.
    trees : tuple of Block
        The trees in order.
    parameters : dict of str to str
        What the model was trained with.
    pandas_levels : tuple of list
        The levels of each categorical column of the training DataFrame.
    """

    trees: tuple[Block, ...]
    parameters: dict[str, str]
    pandas_levels: tuple[list[Any], ...]


def parse(text: str, where: str) -> Model:
    """The parts of the text.

    Parameters
    ----------
    text : str
        What `Booster.model_to_string()` gives or `save_model` writes.
    where : str
        The file's name, for error messages.

    Raises
    ------
    ModelFileError
        The text is no LightGBM model, or ends too early.
    """
    text = text.replace("\r\n", "\n")
    if text.split("\n", 1)[0].strip() != "tree":
        raise ModelFileError(
            f"{where}: no LightGBM model: its first line is not 'tree'; save it with save_model"
        )
    body, end, tail = text.partition(END_OF_TREES)
    head, *blocks = body.split(START_OF_TREE)
    header = _lines_of(head, where)
    if header.get("version") not in VERSIONS:
        raise UnsupportedModelError(
            f"{where}: version {reprlib.repr(header.get('version'))} of LightGBM's text cannot be read; expected one of {VERSIONS}"
        )
    if not end:
        raise ModelFileError(
            f"{where} is truncated: after {len(blocks)} trees there is no 'end of trees'; copy or save it again"
        )
    sizes = header.get("tree_sizes", "").split()
    if "tree_sizes" in header and len(sizes) != len(blocks):
        raise ModelFileError(
            f"{where}: {len(blocks)} trees are there and tree_sizes names {len(sizes)}; the model is damaged: save it again"
        )
    trees = tuple(_tree_of(block, t, f"{where}: tree {t}") for t, block in enumerate(blocks))
    return Model(header, where, trees, _parameters_of(tail), _levels_of(tail, where))


def _tree_of(text: str, t: int, where: str) -> Block:
    number, _, lines = text.partition("\n")
    if number.strip() != str(t):
        raise ModelFileError(
            f"{where}: found Tree={number[:40]} in its place; the model is damaged: save it again"
        )
    return Block(_lines_of(lines, where), where)


def _lines_of(text: str, where: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key.strip() in values:
            raise ModelFileError(
                f"{where}: {key.strip()[:40]!r} is there more than once; the model is damaged: save it again"
            )
        if key.strip():
            values[key.strip()] = value
    return values


def _parameters_of(tail: str) -> dict[str, str]:
    lines = tail.partition("\nparameters:")[2].partition("\nend of parameters")[0].split("\n")
    pairs = (line.strip("[]").partition(": ") for line in lines if line.startswith("["))
    return {key: value for key, _, value in pairs}


def _levels_of(tail: str, where: str) -> tuple[list[Any], ...]:
    text = tail.rpartition("\npandas_categorical:")[2] if "\npandas_categorical:" in tail else "null"
    try:
        levels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{where}: the line pandas_categorical is no JSON ({in_short(error)}); save it again"
        ) from error
    if levels is not None and not (
        isinstance(levels, list) and all(isinstance(item, list) for item in levels)
    ):
        raise ModelFileError(
            f"{where}: pandas_categorical is no list of lists; the model is damaged: save it again"
        )
    return tuple(levels or ())
