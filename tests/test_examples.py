"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib

import pytest
from sources import MODULES


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if ">>> " in path.read_text()])
def test_examples_run_as_printed(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.attempted > 0
    assert results.failed == 0
