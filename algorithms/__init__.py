"""The compression methods, one a file: each a frozen record whose fields are its parameters and whose one verb is a call.

`algorithm(forest, data)` returns another forest; `needs` says what it takes of the data, `guarantee` what it keeps:
"exact" (the same margins to the bit), "decisions" (the same class for every row), "bounded" (`bound(forest)` tells by how much they change at most) or "none".
`measure` names the property of a forest that it never makes larger.
"""

from typing import Any, ClassVar, Literal, Protocol

from ensemble_compress.algorithms.clip_leaves import ClipLeaves
from ensemble_compress.algorithms.distill_forest import DistillForest
from ensemble_compress.algorithms.drop_features import DropFeatures
from ensemble_compress.algorithms.mix_precision import MixPrecision
from ensemble_compress.algorithms.prune_certified import PruneCertified
from ensemble_compress.algorithms.prune_depth import PruneDepth
from ensemble_compress.algorithms.prune_levels import PruneLevels
from ensemble_compress.algorithms.prune_nodes import PruneNodes
from ensemble_compress.algorithms.prune_trees import PruneTrees
from ensemble_compress.algorithms.quantize_leaves import QuantizeLeaves
from ensemble_compress.algorithms.quantize_thresholds import QuantizeThresholds
from ensemble_compress.algorithms.reassign_leaves import ReassignLeaves
from ensemble_compress.algorithms.refit_leaves import RefitLeaves
from ensemble_compress.algorithms.share_thresholds import ShareThresholds
from ensemble_compress.algorithms.simplify import Simplify
from ensemble_compress.data import Data
from ensemble_compress.forest import Forest


class Algorithm(Protocol):
    """What every compression method offers."""

    needs: ClassVar[frozenset[str]]
    guarantee: ClassVar[Literal["exact", "decisions", "bounded", "none"]]
    measure: ClassVar[str]

    def __call__(self, forest: Forest, data: Data) -> Forest:
        """The compressed forest."""
        ...


ALGORITHMS: tuple[Any, ...] = (
    ClipLeaves,
    DistillForest,
    DropFeatures,
    MixPrecision,
    PruneCertified,
    PruneDepth,
    PruneLevels,
    PruneNodes,
    PruneTrees,
    QuantizeLeaves,
    QuantizeThresholds,
    ReassignLeaves,
    RefitLeaves,
    ShareThresholds,
    Simplify,
)
"""Every algorithm; the contract test runs over all of them."""

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "ClipLeaves",
    "DistillForest",
    "DropFeatures",
    "MixPrecision",
    "PruneCertified",
    "PruneDepth",
    "PruneLevels",
    "PruneNodes",
    "PruneTrees",
    "QuantizeLeaves",
    "QuantizeThresholds",
    "ReassignLeaves",
    "RefitLeaves",
    "ShareThresholds",
    "Simplify",
]
