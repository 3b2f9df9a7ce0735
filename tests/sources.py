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
    """The files that git keeps, or all of them where the sources came without git."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [
            ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()
        ]
    return [
        path for path in ROOT.rglob("*") if path.is_file() and not any(p[0] == "." for p in path.parts[1:])
    ]
