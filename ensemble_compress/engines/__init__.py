"""Numba kernels over plain arrays. They know field names and nothing else of ours.

A kernel is serial, cached on disk and free of the GIL; it raises nothing and allocates no more than a little scratch. Python
(`ensemble_compress.predict`) checks the arguments, splits the rows over threads and raises the errors.
"""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function` by the one policy of this library: cached, without the GIL, IEEE arithmetic."""
    policy: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **policy)(function)
        _follow_sources(compiled)
        _keep_going(compiled)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        _say_no_cache()
        compiled = numba.njit(**policy)(function)
    return cast(Function, compiled)


@cache
def _say_no_cache() -> None:
    """Once a process, however many kernels there are."""
    warnings.warn(
        "compiled code cannot be kept: no directory for it can be written to, so that every process compiles it anew,"
        " which takes seconds; set the environment variable NUMBA_CACHE_DIR to a directory that can be written to",
        RuntimeWarning,
        stacklevel=4,
    )


def _follow_sources(compiled: Any) -> None:
    """Compile anew when any engine has changed: Numba looks at the kernel's own file, but its steps may lie in others."""
    kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = kept._source_stamp, _source_stamp()


@cache
def _source_stamp() -> tuple[tuple[str, int, int], ...]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def _keep_going(compiled: Any) -> None:
    """Let a prediction go on where its kernel was compiled but could not be kept: a full disk, say."""
    if not hasattr(compiled, "_cache"):  # the compiler is switched off
        return
    save = compiled._cache.save_overload

    def save_overload(*arguments: Any) -> None:
        try:
            save(*arguments)
        except OSError:
            _say_no_cache()

    compiled._cache.save_overload = save_overload


def inlined(function: Function) -> Function:
    """Compile a small step of a kernel, which LLVM dissolves in its callers (Numba's own inlining compiles ten times longer)."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy", forceinline=True)(function))
