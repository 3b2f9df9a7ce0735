"""Numba kernels over plain arrays. They know field names and nothing else of ours.

A kernel is serial, cached on disk and free of the GIL; it raises nothing and allocates no more than a little scratch. Python
(`ensemble_compress.predict`) checks the arguments, splits the rows over threads and raises the errors.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function` by the one policy of this library: cached, without the GIL, IEEE arithmetic."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Compile a small step of a kernel, which LLVM dissolves in its callers (Numba's own inlining compiles ten times longer)."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))
