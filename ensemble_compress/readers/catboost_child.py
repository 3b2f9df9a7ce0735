"""A program, not a module to import: what CatBoost knows of a .cbm file, in files that can be read without it.

CatBoost's loader ends the whole process on some damaged files, so it runs in one of its own: `catboost_cbm` starts this
file by its path, and nothing of ours is imported here.
"""

import json
import sys
from pathlib import Path

CANNOT_LOAD, CANNOT_EXPORT = 3, 4
"""What the process ends with, where CatBoost says why; its text is the standard error."""


def main(path: str, folder: str) -> int:
    """Write `model.json`, CatBoost's export, and `leaves.json`, how it numbers leaves.

    Parameters
    ----------
    path : str
        The .cbm file.
    folder : str
        Where to.
    """
    import catboost

    model, step = catboost.CatBoost(), CANNOT_LOAD
    try:
        model.load_model(path, format="cbm")
        step = CANNOT_EXPORT
        model.save_model(str(Path(folder, "model.json")), format="json")
    except catboost.CatBoostError as error:
        sys.stderr.buffer.write(str(error).encode("utf-8", "backslashreplace"))
        return step
    # Asked for the nodes of a symmetric tree, CatBoost (seen in 1.2) ends the process.
    n_trees = 0 if model._object._is_oblivious() else model.tree_count_
    leaves = []
    for t in range(n_trees):
        steps = [[int(left), int(right)] for left, right in model._get_tree_step_nodes(t)]
        numbers = model._get_tree_node_to_leaf(t)
        leaves.append([steps, [int(number) for number in numbers]])
    Path(folder, "leaves.json").write_text(json.dumps(leaves))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
