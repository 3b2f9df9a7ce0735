"""The shape of the sources: who may import whom, how kernels are made, that docstrings say what signatures say."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sources import MODULES, PLACES, ROOT, syntax, tracked_files

import ensemble_compress
from ensemble_compress import predict

FLOORS: list[set[str]] = [
    {"errors", "_version", "engines"},
    {"predict", "rows", "threads", "frames", "nodes", "archive", "file_kinds"},
    {"forest", "network", "data", "cold_start"},
    {"sizes", "tables", "fixed_point", "distinct"},
    {"readers", "algorithms", "writers"},
    {"model", "report", "displays", "wording", "measure", "timing", "emulate", "expected_loss", "row_scores"},
    {
        "compressor",
        "run",
        "bag_rounds",
        "bags",
        "hearings",
        "interrupts",
        "outcome",
        "calibration",
        "choice",
        "clones",
        "folds",
        "judge",
        "paths",
        "recommend",
        "verdicts",
    },
    {"search", "estimators"},
    {"cli", "__init__"},
]
"""From the ground up. A part imports itself and lower floors; on its own floor only what an arrow allows."""

ARROWS: dict[str, set[str]] = {
    "rows": {"frames"},
    "predict": {"rows", "threads"},
    "nodes": {"predict"},
    "cold_start": {"forest"},
    "distinct": {"fixed_point"},
    "tables": {"distinct", "fixed_point"},
    "sizes": {"distinct", "fixed_point", "tables"},
    "displays": {"wording"},
    "measure": {"wording"},
    "report": {"displays", "measure", "timing", "wording"},
    "model": {"displays", "measure", "report", "timing", "wording"},
    "choice": {"paths"},
    "clones": {"bags"},
    "folds": {"bags", "clones", "judge"},
    "verdicts": {"choice", "folds", "judge", "paths"},
    "bag_rounds": {"bags", "clones", "folds"},
    "hearings": {"choice", "folds", "interrupts", "judge", "paths", "verdicts"},
    "outcome": {"choice", "paths"},
    "run": {
        "bag_rounds",
        "calibration",
        "choice",
        "clones",
        "folds",
        "hearings",
        "interrupts",
        "judge",
        "outcome",
        "paths",
        "verdicts",
    },
    "compressor": {"recommend", "run"},
    "cli": {"__init__"},
}

NAMES_OF_NO_IDEA = {"utils", "util", "common", "helpers", "misc", "core", "base", "tools"}


def part_of(module: str) -> str:
    """The part of the library that a module belongs to: its name below the package, the command line's as one."""
    part = [*module.split("."), "__init__"][1]
    return "cli" if part == "demo" or part.startswith("cli_") else part


def floor_of(part: str) -> int:
    floors = [number for number, parts in enumerate(FLOORS) if part in parts]
    assert floors, f"give {part!r} a floor in FLOORS, and say so in the README"
    return floors[0]


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of ours, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield node.lineno, below if below in MODULES else str(node.module)


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "ensemble_compress"


def may_import(importer: str, imported: str) -> bool:
    if importer == imported or imported in ARROWS.get(importer, ()):
        return True
    return floor_of(imported) < floor_of(importer)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    importer = part_of(module)
    floor_of(importer)
    upwards = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {importer} must not import {imported}"
        for line, imported in imports_of(syntax(MODULES[module]))
        if not may_import(importer, part_of(imported))
    ]
    assert upwards == []


def test_the_rule_of_floors_forbids_what_it_should() -> None:
    assert may_import("algorithms", "forest")
    assert may_import("compressor", "readers")
    assert may_import("model", "report")
    assert not may_import("report", "model")
    assert not may_import("algorithms", "readers")
    assert not may_import("algorithms", "measure")
    assert not may_import("engines", "errors")
    assert not may_import("forest", "data")
    tree = ast.parse(
        "def f():\n    from ensemble_compress import measure, forest\n    import ensemble_compress.cli_x"
    )
    assert [part_of(module) for _, module in imports_of(tree)] == ["measure", "forest", "cli"]
    assert part_of("ensemble_compress") == "__init__"


def test_predict_exports_the_names_that_other_modules_take_from_it() -> None:
    taken = set()
    for path in (path for path in tracked_files() if path.suffix == ".py" and path.name != "predict.py"):
        tree = syntax(path)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if any(node.module == "ensemble_compress" and names_predict(node) for node in imports):
            attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
            taken |= {
                node.attr
                for node in attributes
                if isinstance(node.value, ast.Name) and node.value.id == "predict"
            }
        for node in imports:
            if node.module == "ensemble_compress.predict":
                taken |= {alias.name for alias in node.names}
    assert {*predict.__all__} == taken - {"__all__"}


def names_predict(node: ast.ImportFrom) -> bool:
    return any(alias.name == "predict" for alias in node.names)


@pytest.mark.parametrize("path", [path for path in tracked_files() if path.suffix == ".py"], ids=str)
def test_imports_are_absolute_and_name_the_installed_package(path: Path) -> None:
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert (node.module or "").split(".")[0] != "algorithms", f"{path}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert not any(a.name.split(".")[0] == "algorithms" for a in node.names), f"{path}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_for_an_idea_and_is_short(module: str) -> None:
    assert not {*module.split(".")} & NAMES_OF_NO_IDEA
    assert len(MODULES[module].read_text().splitlines()) <= 400


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    lengths = {f.name: length_of(f) for f in functions_of(syntax(MODULES[module]))}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def length_of(function: ast.FunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


# -- kernels ----------------------------------------------------------------------------------------------------

NUMBA_DECORATORS = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass", "prange"}


@pytest.mark.parametrize("module", MODULES)
def test_kernels_are_made_by_the_one_policy(module: str) -> None:
    """Serial, cached, without the GIL, with IEEE arithmetic: `engines.kernel` and `engines.inlined` say so once."""
    for node in ast.walk(syntax(MODULES[module])):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if module != "ensemble_compress.engines":
            assert name not in NUMBA_DECORATORS, f"{module}:{getattr(node, 'lineno', 0)}: {name}"
        if isinstance(node, ast.keyword):
            assert node.arg != "fastmath", module
            assert not (node.arg == "parallel" and isinstance(node.value, ast.Constant)), module


# -- public names -----------------------------------------------------------------------------------------------

PUBLIC_FACE = {
    *("CompressedClassifier", "CompressedModel", "CompressedRegressor", "Compressor", "Forest"),
    *("algorithms", "compress", "errors", "load", "read"),
}


def test_the_public_names_are_sorted_complete_and_there() -> None:
    names = list(ensemble_compress.__all__)
    assert names == sorted(names)
    assert set(names) >= PUBLIC_FACE
    assert set(names) <= set(dir(ensemble_compress))
    for name in names:
        assert getattr(ensemble_compress, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ensemble_compress.no_such_name


def test_the_algorithms_are_named_in_order() -> None:
    names = list(importlib.import_module("ensemble_compress.algorithms").__all__)
    assert names == sorted(names)


# -- docstrings -------------------------------------------------------------------------------------------------


def public_objects(module: str) -> Iterator[tuple[str, Any]]:
    """(name, function or class) that `module` defines under a public name, methods included."""
    for name, item in vars(importlib.import_module(module)).items():
        item = getattr(item, "py_func", item)
        if name.startswith("_") or getattr(item, "__module__", None) != module:
            continue
        if inspect.isfunction(item) or inspect.isclass(item):
            yield name, item
        if inspect.isclass(item):
            methods = ((n, m) for n, m in vars(item).items() if not n.startswith("_"))
            functions = ((n, getattr(m, "__func__", m)) for n, m in methods)
            yield from ((f"{name}.{n}", m) for n, m in functions if inspect.isfunction(m))


def documented(item: Any, section: str) -> list[str] | None:
    """The names that a section of a numpydoc docstring describes, in order; None where there is no such section."""
    text = inspect.cleandoc(item.__doc__ or "")
    found = re.search(
        rf"^{section}\n-{{{len(section)}}}\n(.*?)(?=^\w[\w ]*\n---|\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        return None
    heads = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :.*)?$", found[1], re.MULTILINE)
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def parameters_of(item: Any) -> list[str]:
    names = list(inspect.signature(item).parameters)
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_describe_the_parameters_that_there_are(module: str) -> None:
    wrong = []
    for name, item in public_objects(module):
        section = "Attributes" if hasattr(item, "_fields") else "Parameters"
        described = documented(item, section)
        if described is not None and described != parameters_of(item):
            wrong.append(f"{module}.{name}: described {described}, are {parameters_of(item)}")
    assert wrong == []


def test_public_names_describe_all_their_parameters() -> None:
    silent = [
        name
        for name in ensemble_compress.__all__
        if (inspect.isclass(item := getattr(ensemble_compress, name)) or inspect.isfunction(item))
        and parameters_of(item)
        and documented(item, "Parameters") is None
    ]
    assert silent == []


def test_every_public_name_of_a_module_has_a_docstring() -> None:
    silent = [
        f"{module}.{name}"
        for module in MODULES
        for name, item in public_objects(module)
        if "." not in name and not item.__doc__
    ]
    assert silent == []


def test_the_check_of_docstrings_reads_numpydoc() -> None:
    def example(first: int, second: int, *rest: int, third: int = 0, **others: int) -> None:
        """Do nothing.

        Parameters
        ----------
        first, second : int
            Some text: with a colon.
        *rest
            More.
        third : {"a", "b"}, optional
            Last.
        **others : int
            Others.

        Returns
        -------
        result : None
        """

    assert documented(example, "Parameters") == parameters_of(example)
    assert documented(example, "Attributes") is None


# -- text -------------------------------------------------------------------------------------------------------

MACHINE_PATHS = re.compile(r"/work/|/root/|/tmp\b|\.\./shared|\b(?:pypi|pythonhosted|npmjs)\.org\b")


def test_no_text_names_a_machine() -> None:
    """Paths that a user does not have, and registries, which everybody sets up on their own."""
    found = []
    for path in tracked_files():
        if path.relative_to(ROOT).parts[0] == "tests" or b"\0" in (data := path.read_bytes()):
            continue
        for number, line in enumerate(data.decode().splitlines(), 1):
            if MACHINE_PATHS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_no_code_waits_to_be_finished() -> None:
    marks = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
    folders = (*PLACES, "benchmarks", "examples")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [str(path) for path in paths if marks.search(path.read_text())] == []
