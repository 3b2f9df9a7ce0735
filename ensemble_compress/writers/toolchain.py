"""The C compiler of this machine: finding it, running it, and saying clearly that there is none."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ensemble_compress.errors import ToolchainError

TIMEOUT_S = 600


def find_compiler() -> list[str]:
    """The command that starts a C compiler: $CC, cc, gcc, clang, or the one of the package ziglang.

    Raises
    ------
    ToolchainError
        There is none.
    """
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = command.split()
        if words and shutil.which(words[0]):
            return words
    if importlib.util.find_spec("ziglang") is not None:
        return _ziglang()
    raise ToolchainError(
        "no C compiler found: looked for $CC, cc, gcc, clang and the package ziglang;"
        ' install one, for example with: pip install "ensemble-compress[cross]"'
    )


def find_cross_compiler(triple: str) -> list[str]:
    """The command that starts a C compiler for another machine: that of the package ziglang.

    Parameters
    ----------
    triple : str
        The machine and its system, as Zig names them.

    Raises
    ------
    ToolchainError
        The package is not installed.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise ToolchainError(
            f"compiling for {triple} needs the package ziglang, which is not installed;"
            ' install it with: pip install "ensemble-compress[cross]"'
        )
    return [*_ziglang(), "-target", triple]


def _ziglang() -> list[str]:
    # Zig's own defaults are for debugging: traps on undefined behaviour.
    return [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]


def compile_c(
    sources: Sequence[Path],
    output: Path,
    options: Sequence[str] = (),
    libraries: Sequence[str] = (),
    *,
    compiler: Sequence[str] | None = None,
    folder: Path | None = None,
) -> None:
    """Compile C files to `output`.

    Parameters
    ----------
    sources : sequence of Path
        The C files.
    output : Path
        What to build.
    options : sequence of str
        Further arguments of the compiler.
    libraries : sequence of str
        Arguments that follow the sources, such as "-lm".
    compiler : sequence of str, optional
        The command that starts the compiler; None: that of this machine.
    folder : Path, optional
        The folder that the compiler runs in.

    Raises
    ------
    ToolchainError
        There is no compiler, or it failed; the message holds the end of what it said.
    """
    start = find_compiler() if compiler is None else compiler
    command = [*start, "-std=c99", *options, "-o", str(output), *map(str, sources), *libraries]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False, cwd=folder
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(
            f"the C compiler could not be run: {error}; the command was {' '.join(command)}"
        ) from error
    if done.returncode == 0 and (not output.exists() or output.stat().st_size == 0):
        raise ToolchainError(f"the C compiler wrote nothing: {' '.join(command)}; set CC to a C compiler")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-2000:]
        raise ToolchainError(
            f"the C compiler failed with exit code {done.returncode}: {' '.join(command)}\n{said}"
        )
