"""The code of the C export: `c_runtime/forest.c` with what a forest doesn't need left out and its constants filled in."""

import re
from importlib import resources

from ensemble_compress.distinct import INPUT_LIMITS
from ensemble_compress.tables import MAX_FIELD, CTables, Layout


def c_code(tables: CTables, name: str, qualifier: str) -> str:
    """The functions that read the tables.

    Parameters
    ----------
    tables : CTables
        The tables that the code will read.
    name : str
        What all names begin with.
    qualifier : str
        What stands before the functions of the interface.
    """
    constants = {"name": name, "api": qualifier}
    constants |= _test_constants(tables.layout, name)
    constants |= _tree_constants(tables.layout, name)
    constants |= _sum_constants(tables, name)
    return _fill(_runtime("forest.c"), constants, _flags(tables.layout))


def _runtime(file_name: str) -> str:
    return (resources.files("ensemble_compress.writers") / "c_runtime" / file_name).read_text("ascii")


def _fill(template: str, constants: dict[str, str], flags: set[str]) -> str:
    """The template with its `@names@` filled in and only those `//if flag` blocks whose flag is set."""
    lines, kept = [], [True]
    for line in template.splitlines():
        if line.startswith("//if "):
            kept.append(kept[-1] and line[5:] in flags)
        elif line == "//else":
            kept[-1] = kept[-2] and not kept[-1]
        elif line == "//end":
            kept.pop()
        elif kept[-1]:
            lines.append(line)
    return re.sub(r"@(\w+)@", lambda match: constants[match[1]], "\n".join(lines)) + "\n"


def _field(layout: Layout, name: str, at: str, n_bits: int) -> str:
    """An expression that reads a field."""
    if n_bits == 0:
        return "0u"
    if layout.unit == 1 and n_bits > MAX_FIELD:
        return f"({name}_field({at}, 16u) | ({name}_field({at} + 16u, {n_bits - 16}u) << 16))"
    return f"{name}_field({at}, {n_bits // layout.unit}u)"


def _test_constants(layout: Layout, name: str) -> dict[str, str]:
    tests, unit = layout.tests, layout.unit
    sets_at, start_width = layout.position("sets"), tests.set_start_width
    start = f"{sets_at}u + stored * {start_width // unit}u"
    end = f"{sets_at}u + (stored + 1u) * {start_width // unit}u"
    return {
        "tests_at": str(layout.position("tests")),
        "test_width": str(tests.width // unit),
        "feature": _field(layout, name, "at", tests.feature_width),
        "stored": _field(layout, name, f"at + {tests.feature_width // unit}u", tests.stored_width),
        "nan_left": _between(tests.nan_from, tests.nan_to, len(tests.feature)),
        "first_set": str(tests.first_set),
        "set_start": _field(layout, name, start, start_width),
        "set_end": _field(layout, name, end, start_width),
        "sets_at": str(sets_at + len(tests.set_starts) * start_width // unit),
        "codes_a_unit": str(unit),
        "key_of_zero": str(-INPUT_LIMITS.get(layout.input, (0, 0))[0]),
        "shift": str(tests.shift),
        "offset": str(tests.offset),
    }


def _tree_constants(layout: Layout, name: str) -> dict[str, str]:
    tests, values, unit = layout.tests, layout.values, layout.unit
    row = values.stored.shape[1] * values.value_width // unit
    number = _field(layout, name, "leaf", values.leaf_width)
    return {
        "trees_at": str(layout.position("structure")),
        "count": f"{_field(layout, name, '*at', layout.count_width)} + {layout.count_offset}u",
        "count_width": str(layout.count_width // unit),
        "left_width": str(layout.left_width // unit),
        "number_width": str(tests.number_width // unit),
        "number": _field(layout, name, "split + left_width", tests.number_width),
        "leaf_width": str(values.leaf_width // unit),
        "values_of_leaf": "leaf" if values.is_inline else f"{layout.position('values')}u + {number} * {row}u",
    }


def _sum_constants(tables: CTables, name: str) -> dict[str, str]:
    layout, values = tables.layout, tables.layout.values
    is_vector, n_outputs = values.stored.shape[1] > 1, layout.forest.n_outputs
    place = f"leaf + k * {values.value_width // layout.unit}u" if is_vector else "leaf"
    n_trees = f"{len(layout.order) // (1 if is_vector else n_outputs)}u"
    return {
        "n_outputs": str(n_outputs),
        "n_trees": f"(uint32_t){name}_trees[k]" if len(tables.trees_of_output) else n_trees,
        "value": _field(layout, name, place, values.value_width),
        "value_offset": str(values.offset % 2**32),
        "bias": f"{name}_bias[k]" if len(tables.bias) else "0",
        "above": ">=" if layout.forest.tie_class else ">",
    }


def _flags(layout: Layout) -> set[str]:
    """The parts of the code that the forest needs."""
    forest, tests = layout.forest, layout.tests
    n_classes, n_outputs = 0 if forest.classes is None else len(forest.classes), forest.n_outputs
    conditions = {
        "trees": len(layout.order) > 0,
        "bits": layout.unit == 1,
        "float": layout.input == "float",
        "numeric": tests.first_set > 0,
        "sets": tests.first_set < len(tests.feature),
        "truncate": forest.category_rule == "truncate",
        "exact": forest.category_rule == "exact",
        "vector": layout.values.stored.shape[1] > 1,
        "classes": n_classes > 0,
        "several": n_outputs > 1,
        "binary": n_outputs == 1 and n_classes == 2,
        "regression": n_classes == 0 and n_outputs == 1,
    }
    return {flag for flag, holds in conditions.items() if holds}


def _between(start: int, stop: int, n: int) -> str:
    """Whether `test` is in start:stop, as an expression that no compiler calls always true."""
    if start == stop:
        return "0"
    conditions = [f"test >= {start}u"] * (start > 0) + [f"test < {stop}u"] * (stop < n)
    return " && ".join(conditions) or "1"
