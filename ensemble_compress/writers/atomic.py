"""Files that are whole or not there: written under another name in the same folder, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ensemble_compress.errors import ParameterError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to; it takes the place of `path` at the end of the block, and vanishes if the block fails.

    Parameters
    ----------
    path : str or Path
        The file to write.
    """
    path = Path(path)
    if path.is_dir():
        raise ParameterError(f"{str(path)!r} is a folder; expected the name of a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=path.suffix, dir=path.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"cannot write {str(path)!r}: {reason}; name a file in a folder that exists"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner only; a new file has the rights that the user's umask leaves.
        os.umask(umask := os.umask(0))
        temporary.chmod((temporary.stat().st_mode | 0o666) & ~umask)
        try:
            os.replace(temporary, path)
        except (OSError, ValueError) as error:
            raise ParameterError(f"cannot write {str(path)!r}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file to write.
    content : bytes
        What it shall hold.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
