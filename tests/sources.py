"""The library's own source files, for the tests that read them."""

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"ensemble_compress": "ensemble_compress", "algorithms": "ensemble_compress.algorithms"}
"""Folders of the repository, and the packages that they install as."""


def _module_name(folder: str, path: Path) -> str:
    parts = path.relative_to(ROOT / folder).with_suffix("").parts
    return ".".join([PLACES[folder], *(part for part in parts if part != "__init__")])


MODULES = {
    _module_name(folder, path): path for folder in PLACES for path in sorted((ROOT / folder).rglob("*.py"))
}
"""Every module by its dotted name."""


@functools.cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def tracked_files() -> list[Path]:
    """The files that git keeps or would keep, or all of them where the sources came without git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        names = listing.stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    paths = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*"))]
    hidden = [path for path in paths if any(part[0] == "." or part == "__pycache__" for part in path.parts)]
    return [ROOT / path for path in paths if (ROOT / path).is_file() and path not in hidden]
