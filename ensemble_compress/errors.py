"""Every error that this library raises on purpose, in one family, and its warnings.

    EnsembleCompressError
    |- InputError            (ValueError)   rows, labels or weights that do not fit the model
    |- ParameterError        (ValueError)   an argument out of its range
    |- ForestError           (ValueError)   arrays that are not a forest
    |- UnsupportedModelError (TypeError)    a model, or a part of one, that cannot be read or written exactly
    |- ModelFileError        (ValueError)   a damaged, truncated or foreign file
    |- BudgetError           (ValueError)   nothing fits `max_bytes`; `.nearest` is the smallest that was found
    |- MissingPackageError   (ImportError)  an optional package is not installed; the message says how to
    `- ToolchainError        (RuntimeError) no compiler, or the compiler failed

    PipelineWarning          (UserWarning)  a model was read out of a pipeline whose other steps stay outside
    SlowExportWarning        (UserWarning)  an export takes minutes that another format does not

A message says what was expected, what was found, where, and what to do.
"""

import textwrap
from typing import Any


class EnsembleCompressError(Exception):
    """The root of every error raised by this library.

    Examples
    --------
    >>> from ensemble_compress import errors
    >>> issubclass(errors.BudgetError, errors.EnsembleCompressError)
    True
    """


class InputError(EnsembleCompressError, ValueError):
    """Rows, labels or weights do not fit the model or each other."""


class ParameterError(EnsembleCompressError, ValueError):
    """An argument lies outside the values that it may take."""


class ForestError(EnsembleCompressError, ValueError):
    """Arrays do not describe a forest: an invariant of `Forest` does not hold."""


class UnsupportedModelError(EnsembleCompressError, TypeError):
    """A model, or something in it, cannot be represented exactly."""


class ModelFileError(EnsembleCompressError, ValueError):
    """A model file is damaged, truncated, too large to be true, or of another kind."""


class BudgetError(EnsembleCompressError, ValueError):
    """No compressed model fits the byte budget.

    Attributes
    ----------
    nearest : CompressedModel or None
        The smallest model that was found.
    required_bytes : int
        The budget that `nearest` would have met.
    """

    def __init__(self, message: str, nearest: Any = None, required_bytes: int = 0) -> None:
        super().__init__(message)
        self.nearest = nearest
        self.required_bytes = required_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.nearest, self.required_bytes)


class PipelineWarning(UserWarning):
    """A model was read out of a pipeline; its steps before the model stay outside, and rows must pass them first.

    Not an error: to say that this is known, pass the last step, or filter the category.

    Examples
    --------
    >>> import warnings
    >>> from ensemble_compress.errors import PipelineWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", PipelineWarning)
    """


class SlowExportWarning(UserWarning):
    """An export takes minutes, and another format holds the model without them.

    Examples
    --------
    >>> import warnings
    >>> from ensemble_compress.errors import SlowExportWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", SlowExportWarning)
    """


class MissingPackageError(EnsembleCompressError, ImportError):
    """An optional package is needed and not installed."""


class ToolchainError(EnsembleCompressError, RuntimeError):
    """A compiler is missing or has failed."""


def in_short(error: object) -> str:
    """The text of somebody else's error, fit to be part of ours: short, on one line, and only what can be encoded.

    Parameters
    ----------
    error : object
        An exception, or a text from a file.
    """
    return textwrap.shorten(str(error).encode("utf-8", "backslashreplace").decode(), 200)
