"""Model files of the command line: what they hold, read once, and how the rows of a table get to the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ensemble_compress as ec
from ensemble_compress.cli_output import note
from ensemble_compress.forest import Forest
from ensemble_compress.readers import Unwrapped, files, unwrap


@dataclass(frozen=True, eq=False)
class Model:
    """A model file that has been read.

    Attributes
    ----------
    path : Path
        The file.
    held : Any
        What it holds: a model, a pipeline that ends in one, the path of a text file, or a CompressedModel.
    forest : Forest
        The model.
    unwrapped : Unwrapped
        The model and what stands before it, where a pipeline was held.
    """

    path: Path
    held: Any
    forest: Forest
    unwrapped: Unwrapped

    @property
    def is_compressed(self) -> bool:
        """Whether the file is one of ours."""
        return self.path.suffix == ".forest"

    @property
    def is_pipeline(self) -> bool:
        """Whether rows are transformed before they reach the model."""
        return bool(self.unwrapped.before)

    @property
    def n_columns(self) -> int:
        """Columns that a table must have."""
        return int(getattr(self.held, "n_features_in_", 0)) if self.is_pipeline else self.forest.n_features

    @property
    def column_names(self) -> tuple[str, ...] | None:
        """Their names, where the model knows them."""
        if not self.is_pipeline:
            return self.forest.feature_names
        names = getattr(self.held, "feature_names_in_", None)
        return None if names is None else tuple(str(name) for name in names)

    def transform(self, rows: Any) -> Any:
        """Rows of a table as the model itself takes them.

        Parameters
        ----------
        rows : array-like
            From `cli_files.rows`.
        """
        return self.unwrapped.transform(rows)


def open_model(path: Path, trust_pickle: bool = False) -> Model:
    """Read a model file of any kind that the library knows.

    Parameters
    ----------
    path : Path
        The file; its suffix says what it is.
    trust_pickle : bool
        Whether a pickle may be loaded, which runs code.
    """
    if path.suffix == ".forest":
        held = ec.load(path)
        return Model(path, held, held.forest, Unwrapped(held))
    held = files.load_model(path, trust_pickle=trust_pickle)
    found = unwrap(held)
    return Model(path, held, ec.read(found.model), found)


def open_last_step(path: Path, trust_pickle: bool = False) -> Model:
    """`open_model` for commands that leave a pipeline's other steps outside: they say so on the standard error.

    Parameters
    ----------
    path : Path
        The file.
    trust_pickle : bool
        Whether a pickle may be loaded, which runs code.
    """
    opened = open_model(path, trust_pickle)
    if opened.is_pipeline:
        note(f"warning: {opened.unwrapped.describe()}", style="yellow")
    return opened


def as_compressed(model: Model) -> Any:
    """The model as a CompressedModel that answers as it does; of a pipeline, the last step.

    Parameters
    ----------
    model : Model
        From `open_model`.
    """
    return model.held if model.is_compressed else ec.pack(model.unwrapped.model)
