"""Files that are whole or not there: written under another name in the same folder, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to; it takes the place of `path` at the end of the block, and vanishes if the block fails.

    Parameters
    ----------
    path : str or Path
        The file to write.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner only; a new file has the rights that the user's umask leaves.
        os.umask(umask := os.umask(0))
        temporary.chmod((temporary.stat().st_mode | 0o666) & ~umask)
        os.replace(temporary, path)
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
