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
        if length is not None and len(values) != length:
            raise self.error(f"{name} has {len(values)} entries; expected {length}")
        array, limits = self._array(name, values, np.issubdtype(dtype, np.integer)), np.dtype(dtype)
        if limits.kind != "f" and len(array) and not np.can_cast(array.dtype, limits):
            lowest, highest = int(array.min()), int(array.max())
            if lowest < np.iinfo(limits).min or highest > np.iinfo(limits).max:
                raise self.error(f"{name} holds {lowest} to {highest}, too large for what it counts")
        with np.errstate(over="ignore"):
            return array.astype(limits, copy=False)

    def _array(self, name: str, values: Any, is_whole: bool) -> NDArray[Any]:
        if isinstance(values, np.ndarray):
            is_number = values.ndim == 1 and values.dtype.kind in ("iu" if is_whole else "iuf")
        else:
            # Types come first: of a list with one long text NumPy would make a table of texts as long as that one.
            is_number = set(map(type, values)) <= ({int, bool} if is_whole else {int, float, bool})
        if not is_number:
            raise self.error(f"{name} holds something other than {'whole ' if is_whole else ''}numbers")
        if isinstance(values, np.ndarray):
            return values
        try:
            return np.array(values, np.int64 if is_whole else np.float64)
        except OverflowError as error:
            raise self.error(f"{name} holds a number that is too large for what it counts") from error

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
