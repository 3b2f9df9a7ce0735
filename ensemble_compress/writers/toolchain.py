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
        # Zig's own defaults are for debugging: traps on undefined behaviour.
        return [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
    raise ToolchainError(
        "no C compiler found: looked for $CC, cc, gcc, clang and the package ziglang;"
        ' install one, for example with: pip install "ensemble-compress[cross]"'
    )


def compile_c(
    sources: Sequence[Path], output: Path, options: Sequence[str] = (), libraries: Sequence[str] = ()
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

    Raises
    ------
    ToolchainError
        There is no compiler, or it failed; the message holds the end of what it said.
    """
    command = [*find_compiler(), "-std=c99", *options, "-o", str(output), *map(str, sources), *libraries]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
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
