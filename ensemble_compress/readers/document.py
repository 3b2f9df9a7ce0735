"""Checked access to a parsed JSON-like document: each value of the kind expected, or an error that says where."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import ModelFileError


@dataclass(frozen=True)
class Section:
    """One object of a document.

    Parameters
    ----------
    values : dict
        Its entries.
    where : str
        File and place, for error messages.
    """

    values: dict[str, Any]
    where: str

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def section(self, name: str) -> "Section":
        """The object called `name`."""
        return as_section(self._get(name, dict, "an object"), f"{self.where}, {name}")

    def sections(self, name: str) -> list["Section"]:
        """The objects of the list called `name`."""
        items = self._get(name, list, "a list")
        return [as_section(item, f"{self.where}, {name} {i}") for i, item in enumerate(items)]

    def text(self, name: str) -> str:
        """The string called `name`."""
        return str(self._get(name, str, "a string"))

    def texts(self, name: str) -> list[str]:
        """The list of strings called `name`."""
        items = self._get(name, list, "a list of strings")
        if not all(isinstance(item, str) for item in items):
            raise self.error(f"{name} holds something that is no string")
        return list(items)

    def count(self, name: str, default: int | None = None) -> int:
        """The whole number >= 0 called `name`, which XGBoost writes as a string."""
        if name not in self and default is not None:
            return default
        value = self._get(name, (str, int), "a whole number")
        if not str(value).isascii() or not str(value).isdigit() or len(str(value)) > 18:
            raise self.error(f"{name} is {str(value)[:40]!r}; expected a whole number from 0")
        return int(value)

    def numbers(self, name: str, dtype: Any, length: int | None = None) -> NDArray[Any]:
        """The list of numbers called `name`, of `length` entries if that is given, as an array of `dtype`."""
        values = self._get(name, (list, np.ndarray), "a list of numbers")
        try:
            array = np.asarray(values) if len(values) else np.zeros(0, dtype)
        except (ValueError, OverflowError) as error:
            raise self.error(f"{name} is no plain list of numbers") from error
        is_whole = np.issubdtype(dtype, np.integer)
        if array.ndim != 1 or array.dtype.kind not in ("iub" if is_whole else "iubf"):
            raise self.error(f"{name} holds something other than {'whole ' if is_whole else ''}numbers")
        if length is not None and len(array) != length:
            raise self.error(f"{name} has {len(array)} entries; expected {length}")
        if (
            is_whole
            and len(array)
            and not np.iinfo(dtype).min <= array.min() <= array.max() <= np.iinfo(dtype).max
        ):
            raise self.error(f"{name} holds {array.min()} to {array.max()}, too large for what it counts")
        with np.errstate(over="ignore"):
            return array.astype(dtype)

    def error(self, what: str) -> ModelFileError:
        """The error that `what` is wrong here."""
        return ModelFileError(f"{self.where}: {what}; the file is damaged, or not a model: save it again")

    def _get(self, name: str, kinds: Any, expected: str) -> Any:
        if name not in self.values:
            raise self.error(f"{name} is missing")
        value = self.values[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.error(f"{name} is {type(value).__name__}; expected {expected}")
        return value


def as_section(value: Any, where: str) -> Section:
    """`value` as a section, if it is an object.

    Parameters
    ----------
    value : Any
        Part of a parsed document.
    where : str
        File and place, for error messages.
    """
    if not isinstance(value, dict):
        raise ModelFileError(
            f"{where}: found {type(value).__name__}; expected an object: this is not a model file"
        )
    return Section(value, where)
