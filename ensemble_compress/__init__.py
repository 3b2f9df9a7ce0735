"""Compress trained tree ensembles under a stated tolerance or byte budget, and run them anywhere.

The public names are loaded when they are first used (PEP 562), so that importing the package costs little.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ensemble_compress._version import __version__

if TYPE_CHECKING:
    from ensemble_compress import algorithms, errors
    from ensemble_compress.cold_start import warm_up
    from ensemble_compress.compressor import Compressor, compress, pack
    from ensemble_compress.data import Data
    from ensemble_compress.estimators import CompressedClassifier, CompressedRegressor
    from ensemble_compress.forest import Forest
    from ensemble_compress.model import CompressedModel, load
    from ensemble_compress.readers import read
    from ensemble_compress.report import Report

__all__ = [
    "CompressedClassifier",
    "CompressedModel",
    "CompressedRegressor",
    "Compressor",
    "Data",
    "Forest",
    "Report",
    "__version__",
    "algorithms",
    "compress",
    "errors",
    "load",
    "pack",
    "read",
    "warm_up",
]

_HOMES = {
    "CompressedClassifier": "estimators",
    "CompressedModel": "model",
    "CompressedRegressor": "estimators",
    "Compressor": "compressor",
    "Data": "data",
    "Forest": "forest",
    "Report": "report",
    "compress": "compressor",
    "load": "model",
    "pack": "compressor",
    "read": "readers",
    "warm_up": "cold_start",
}


def __getattr__(name: str) -> Any:
    if name in ("algorithms", "errors"):
        return import_module(f"ensemble_compress.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'ensemble_compress' has no attribute {name!r}")
    value = getattr(import_module(f"ensemble_compress.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
