"""Which models are read exactly and which are refused: docs/coverage.md, found by training and reading one of each.

    python benchmarks/coverage_table.py            # rewrites docs/coverage.md; half a minute

A test fails while the page says something else, and the other tests beside it prove every "exact" row by row.
"""

import functools
import itertools
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hard_rows
import kinds
import proof
from kinds import Kind, NotOfferedError, Task
from threadpoolctl import threadpool_limits

from ensemble_compress.errors import UnsupportedModelError
from ensemble_compress.forest import Forest
from ensemble_compress.readers import read

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coverage.md"
COMMAND = "python benchmarks/coverage_table.py"
EXACT, REFUSED, NOT_OFFERED = "exact", "refused", "not offered"
NOT_OFFERED_WORDS = (
    "Input X contains NaN",
    "y should be a 1d array",
    "has no parameter for categories",
    "Categorical features support for multi-target tree is not yet implemented",
    "Experimental support for categorical data is not implemented for current tree method",
    "doesn't support categorical features",
    "Unknown objective function",
)
"""With what words libraries refuse to train; an error in other words is one of ours, and stops the page."""
MARGINS = {
    "bits": "equal to the bit",
    "ulp": "within 4 ulp of the sum's magnitude",
    "hidden": "the library tells none",
}
COLUMNS = ("numbers", "missing", "categories", "both")
HEAD = """# What is read, exactly

Written by `{command}`, which trains one small model of every kind here and reads it; a test fails while this page differs from what
it finds. There are two answers and no third. **exact**: every row ends in the leaf that the library finds, in every
tree, and margins and predictions compare as the last two columns say. **refused**: `ec.read` raises an error with the reason
that the number stands for. A letter means that the library itself doesn't offer the combination: there is no model to read.

The columns between are the data that the model was trained on: *numbers* only, with *missing* values, with *categories*, or with *both*.
Whatever it was trained on, it is then asked about rows with missing values too, unless it refuses them.

## What stands behind "exact"

For every such cell, tests compare {n_rows:,} rows or more with the library's own `apply`, `pred_leaf`, margins and predictions. They are rows of
the data (adult) with cells moved onto every threshold of the model, onto its two float neighbours in the type that the model
compares in, and to NaN, both infinities, both zeros, denormals, LightGBM's bounds of zero, and unseen, negative and fractional
categories. XGBoost's `pred_leaf` refuses infinities, so rows with one are compared by the margins of `inplace_predict` (for DART, which
rounds once more there, only between our own backends).

For every line, the richest exact cell goes through all backends on the same rows: every engine that takes its trees, the naive oracle of the tests (on {n_oracle} of the rows), the
shared library, the integer C header (against Python's emulation of its sums) and the Treelite model, where Treelite has the link (by GTIL, some of them compiled by
TL2cgen; [treelite-export.md](treelite-export.md) says which bugs of theirs that has to avoid). They agree to the bit, Treelite where its writer's
docstring says so. `benchmarks/exactness.py` does the same with models of 100 trees on whole data sets.

Not compared, because it is known to differ or cannot be asked:

- missing categories of CatBoost, which takes none: its models of *both* miss values in the other columns.
- fractions in a column of categories of CatBoost, which refuses them; here they are unseen categories.
- the objectives `multi:softmax` and `binary:logitraw` of an XGBoost booster give no probabilities to compare with; labels and margins are.

*within 2 ulp*: the predictions are float32, as those of the library; *within 1e-12*: they are float64 (relative to numbers above 1); *within 1e-6*:
Treelite's GTIL computes some links in float32 whatever the model's type. Models of Treelite are compared with GTIL, not with the library that they
were imported from.
"""


class Cell(NamedTuple):
    """One combination, and what became of it; the model and its forest where it is exact."""

    state: str
    reason: str = ""
    task: Task | None = None
    model: Any = None
    forest: Forest | None = None


class Row(NamedTuple):
    """A line of the table: a kind, a task, and a cell for each of `COLUMNS`."""

    kind: Kind
    task: str

    @property
    def cells(self) -> list[Cell]:
        """What was found, in the order of `COLUMNS`."""
        return [find_cell(self.kind, self.task, *column) for column in kinds.cells()]

    @property
    def exact_cells(self) -> list[Cell]:
        """The cells whose models were read, the richest data last."""
        return [cell for cell in self.cells if cell.state == EXACT]

    @property
    def title(self) -> str:
        """The line's first columns, as one text."""
        return f"{self.kind.library}: {self.kind.name}, {self.task}"


def rows_of(library: str | None = None) -> list[Row]:
    """The lines of the table, of one library or of all."""
    chosen = [kind for kind in kinds.all_kinds() if library in (None, kind.library)]
    return [Row(kind, task) for kind in chosen for task in kind.tasks]


@functools.cache
def find_cell(kind: Kind, task_name: str, missing: bool, categorical: bool) -> Cell:
    """Train and read one combination.

    Parameters
    ----------
    kind : Kind
        What to train.
    task_name : str
        On what.
    missing, categorical : bool
        As in `kinds.small_task`.
    """
    task = kinds.small_task(task_name, missing, categorical, whole_categories=kind.whole_categories)
    try:
        with threadpool_limits(1):  # tiny models: threads that wait for each other take longer than the work
            model = kind.fit(task, kinds.SMALL)
    except (NotOfferedError, ValueError, *_library_errors()) as error:
        return Cell(NOT_OFFERED, _offer(str(error), f"{kind.name} on {task_name}"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says that a pipeline's other steps stay outside
            return Cell(EXACT, "", task, model, read(model))
    except UnsupportedModelError as error:
        return Cell(REFUSED, _reason(str(error)))


def _library_errors() -> tuple[type[Exception], ...]:
    """XGBoost's and CatBoost's errors are no errors of Python's kinds."""
    import catboost
    import xgboost

    return xgboost.core.XGBoostError, catboost.CatBoostError


def _offer(text: str, where: str) -> str:
    for words in NOT_OFFERED_WORDS:
        if words in text:
            return words
    raise RuntimeError(f"{where} failed in words that are not known as a refusal of the library's: {text}")


def _reason(text: str) -> str:
    """The message without what depends on how the trees came out, or on the model's own name in front."""
    text = re.sub(r"\b(tree|split|node) \d+", r"a \1", text)
    return text.replace("|", "\\|")


# -- the page ----------------------------------------------------------------------------------------------------


class Notes:
    """Texts that are numbered as they come, each once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.texts = names, dict[str, str]()

    def name(self, text: str) -> str:
        """The name of a text."""
        return self.texts.setdefault(text, self.names[len(self.texts)])


def make_page() -> str:
    """The whole page, every combination tried."""
    refusals, offers = Notes([str(n) for n in range(1, 1000)]), Notes("abcdefghijklmnopqrstuvwxyz")
    parts = [HEAD.format(command=COMMAND, n_rows=hard_rows.N_ROWS, n_oracle=proof.N_ORACLE)]
    for library, rows in itertools.groupby(rows_of(), lambda row: row.kind.library):
        parts.append(f"## {library}\n\n{_table(list(rows), refusals, offers)}\n")
    reasons = "\n".join(f"{name}. {text}" for text, name in refusals.texts.items())
    parts.append(f"## Reasons of refusals\n\n{reasons}\n")
    letters = "\n".join(f"- ({name}) {text}" for text, name in offers.texts.items())
    parts.append(f"## What the libraries themselves refuse to train\n\n{letters}\n")
    return "\n".join(parts)


def _table(rows: Sequence[Row], refusals: Notes, offers: Notes) -> str:
    heading = ("estimator", "task", "targets", *COLUMNS, "margins", "predictions")
    lines = [heading, tuple(":--" for _ in heading)]
    for row in rows:
        lines.append(
            (
                row.kind.name,
                row.task.removesuffix(", several"),
                "several" if row.task in kinds.SEVERAL else "one",
                *(_cell_text(cell, refusals, offers) for cell in row.cells),
                *_comparisons(row),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell_text(cell: Cell, refusals: Notes, offers: Notes) -> str:
    if cell.state == EXACT:
        return EXACT
    if cell.state == REFUSED:
        return f"refused ({refusals.name(cell.reason)})"
    return f"({offers.name(cell.reason)})"


def _comparisons(row: Row) -> tuple[str, str]:
    """How margins and predictions of a line compare; nothing where no model of it is read."""
    if not row.exact_cells:
        return "", ""
    forest: Any = row.exact_cells[0].forest
    if forest.link == "identity":
        return MARGINS[row.kind.margin], "as margins"
    if row.kind.prediction == "single":
        return MARGINS[row.kind.margin], "within 1e-6"
    return MARGINS[row.kind.margin], "within 2 ulp" if forest.values.dtype == "float32" else "within 1e-12"


def main() -> int:
    """Write the page."""
    PAGE.write_text(make_page())
    print(f"wrote docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
