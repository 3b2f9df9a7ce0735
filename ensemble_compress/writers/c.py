"""A forest as freestanding C99: tables and one loop; only stdint.h, no malloc, no libm, no recursion, no floating point.

The tables are those of `sizes.c_tables`, the code is that of `c_code`. Floats are compared as integers by their bits, so that a
microcontroller without an FPU decides exactly as the forest does, whatever the row.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.distinct import Input
from ensemble_compress.errors import ParameterError
from ensemble_compress.forest import Forest
from ensemble_compress.tables import CTables, Optimize, c_tables
from ensemble_compress.writers.atomic import write_atomically
from ensemble_compress.writers.c_code import c_code

INPUT_TYPES = {"float": "float", "int16": "int16_t", "int8": "int8_t"}
KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl complex const const_cast
constexpr continue default delete do double dynamic_cast else enum explicit export extern false float for friend goto
if imaginary inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
public register reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch
template this thread_local throw true try typedef typeid typename typeof union unsigned using virtual void volatile
wchar_t while xor xor_eq
"""
"""Of C and of C++, whose programs may include the header too."""


def to_c(
    forest: Forest,
    *,
    name: str = "model",
    float_input: bool = True,
    optimize: Optimize = "size",
    single_header: bool = True,
    input: Input | None = None,
    file_name: str | None = None,
) -> dict[str, str]:
    """The C source of a forest, as text by file name.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    name : str
        What all names in the source begin with; a C identifier.
    float_input : bool
        Whether rows hold floats; otherwise int16_t, and each threshold is rounded down to an integer, which decides
        alike for rows of integers.
    optimize : {"size", "speed"}
        Fields of as many bits as they need, or of whole bytes.
    single_header : bool
        One header of static inline functions; otherwise a header of declarations and a source file.
    input : {"float", "int16", "int8"}, optional
        The type of a row's values, where `float_input` doesn't say enough.
    file_name : str, optional
        The files' name without suffix; `name` where None.

    Returns
    -------
    dict of str to str
        `{"model.h": ...}`, or `{"model.h": ..., "model.c": ...}`.

    Raises
    ------
    ParameterError
        `name` is no C identifier, or another argument is out of its range.
    UnsupportedModelError
        The thresholds don't fit an integer input.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> import ensemble_compress as ec
    >>> files = to_c(ec.read(DecisionTreeClassifier().fit([[0], [1]], [0, 1])), name="door")
    >>> "int door_predict(const door_input_t *row)" in files["door.h"]
    True
    """
    check_name(name)
    file_name = file_name or name
    input = input or ("float" if float_input else "int16")
    tables = c_tables(forest, input, optimize)
    code = c_code(tables, name, "static inline " if single_header else "")
    body = _table_text(tables, name) + "\n" + code
    guard = f"{name.upper()}_H"
    head = [_comment(tables, name, file_name, single_header), f"#ifndef {guard}\n#define {guard}\n"]
    head += [
        "#include <stdint.h>\n",
        _macros(tables, name),
        f"typedef {INPUT_TYPES[input]} {name}_input_t;\n",
    ]
    if single_header:
        return {f"{file_name}.h": "\n".join([*head, body, "#endif\n"])}
    marked = c_code(tables, name, "//")
    declarations = [f"{line[2:]};" for line in marked.splitlines() if line.startswith("//")]
    declared = "\n".join(
        ['#ifdef __cplusplus\nextern "C" {\n#endif', *declarations, "#ifdef __cplusplus\n}\n#endif\n"]
    )
    return {
        f"{file_name}.h": "\n".join([*head, declared, "#endif\n"]),
        f"{file_name}.c": f'#include "{file_name}.h"\n\n{body}',
    }


def write_c(
    forest: Forest,
    path: str | Path,
    *,
    name: str = "model",
    float_input: bool = True,
    optimize: Optimize = "size",
    input: Input | None = None,
) -> list[Path]:
    """Write a forest as `path`: a single header for `.h`; for `.c` the source and its header beside it.

    Parameters
    ----------
    forest : Forest
        The forest to export.
    path : str or Path
        Where to; the suffix decides what, and is written in small letters: to compilers a .C is C++.
    name : str
        What all names in the source begin with; a C identifier.
    float_input : bool
        Whether rows hold floats, or int16_t.
    optimize : {"size", "speed"}
        Fields of as many bits as they need, or of whole bytes.
    input : {"float", "int16", "int8"}, optional
        The type of a row's values, where `float_input` doesn't say enough.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ParameterError
        The suffix is neither .h nor .c, or an argument is out of its range.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".h", ".c"):
        raise ParameterError(f"the path {str(path)!r} has the suffix {path.suffix!r}; expected '.h' or '.c'")
    texts = to_c(
        forest,
        name=name,
        float_input=float_input,
        optimize=optimize,
        single_header=suffix == ".h",
        input=input,
        file_name=path.stem,
    )
    contents = {path.with_name(file_name): text.encode() for file_name, text in texts.items()}
    for file, content in contents.items():
        write_atomically(file, content)
    return [path.with_name(file_name) for file_name in texts]


def check_name(name: str) -> None:
    """Refuse what C does not take for the beginning of names.

    Parameters
    ----------
    name : str
        What is asked for.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII) or name in KEYWORDS.split():
        raise ParameterError(
            f"name is {name!r}; expected a C identifier: letters, digits and underscores, a letter first, no keyword"
        )


def _table_text(tables: CTables, name: str) -> str:
    arrays = {"tables": tables.stream, "bias": tables.bias, "trees": tables.trees_of_output}
    return "\n".join(_array_text(f"{name}_{key}", array) for key, array in arrays.items() if len(array))


def _array_text(name: str, array: NDArray[Any], a_line: int = 24) -> str:
    # -2147483648 is no literal in C: it is the negation of a number too large for int32_t.
    texts = ["(-2147483647 - 1)" if v == -(2**31) else str(v) for v in array.tolist()]
    lines = (",".join(texts[i : i + a_line]) for i in range(0, len(texts), a_line))
    return f"static const {array.dtype}_t {name}[{len(array)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _macros(tables: CTables, name: str) -> str:
    forest, upper = tables.layout.forest, name.upper()
    numbers = {
        "N_FEATURES": forest.n_features,
        "N_CLASSES": 0 if forest.classes is None else len(forest.classes),
        "N_OUTPUTS": forest.n_outputs,
        "SCORE_SCALE": _scale(tables),
    }
    return "".join(f"#define {upper}_{key} {value}\n" for key, value in numbers.items())


def _scale(tables: CTables) -> str:
    unit = repr(float(np.ldexp(1.0, tables.layout.fixed.exponent)))
    divisor = tables.layout.forest.divisor
    return unit if divisor == 1.0 else f"({unit} / {divisor!r})"


def _comment(tables: CTables, name: str, file_name: str, single_header: bool) -> str:
    layout = tables.layout
    forest, upper = layout.forest, name.upper()
    counts = f"{forest.n_trees} trees, {forest.n_leaves} leaves, {len(layout.tests.feature)} distinct tests"
    lines = [
        f"{name}: {counts}; {tables.n_bytes} bytes of tables.",
        "Written by ensemble_compress. C99; needs stdint.h only: no malloc, no libm, no recursion.",
        "",
        f"    {name}_input_t row[{upper}_N_FEATURES] = {{ ... }};",
        *_usage(forest, name, upper),
        "",
        f"A score times {upper}_SCORE_SCALE is the margin of the model"
        + (
            ", exactly."
            if layout.fixed.is_exact
            else f", to within {layout.fixed.bound / forest.divisor:.3g} (leaf values are rounded)."
        ),
        f"The prediction is the link of the margin: {forest.link_text}."
        if forest.link != "identity"
        else "The margin is the prediction.",
        *_input_notes(layout.input, forest),
        *_layout_notes(tables, name),
        *([] if single_header else [f"Compile {file_name}.c with your program."]),
        *_name_notes(forest),
    ]
    return "/*\n" + "\n".join(f" * {_plain(line)}".rstrip() for line in lines) + "\n */"


def _usage(forest: Forest, name: str, upper: str) -> list[str]:
    scores = [f"    int32_t scores[{upper}_N_OUTPUTS];", f"    {name}_scores(row, scores);"]
    if forest.classes is not None:
        return [f"    int label = {name}_predict(row); // 0 to {len(forest.classes) - 1}", *scores]
    return [f"    int32_t score = {name}_predict(row);", *scores] if forest.n_outputs == 1 else scores


def _input_notes(input: str, forest: Forest) -> list[str]:
    if input != "float":
        return [
            "Rows hold integers; a threshold is rounded down, which decides alike for them. There is no missing value."
        ]
    fractions = {
        "floor": "A number counts as the category below it.",
        "truncate": "A fraction is dropped from a category: -0.5 and 0.5 are category 0.",
        "exact": "A number with a fraction is no category.",
    }[forest.category_rule]
    missing = (
        "A missing value is NaN." if forest.handles_nan else "The model has no rule for missing values (NaN)."
    )
    has_sets = bool((forest.nodes.category_set >= 0).any())
    return [f"Rows hold floats; decisions are exact for each of them. {missing}", *[fractions] * has_sets]


def _layout_notes(tables: CTables, name: str) -> list[str]:
    layout = tables.layout
    if not len(layout.order):
        return []
    tests, values, unit = layout.tests, layout.values, layout.unit

    def units(n_bits: int) -> int:
        return n_bits // unit

    test = f"feature {units(tests.feature_width)}, threshold or set {units(tests.stored_width)}"
    split = f"left count up to {units(layout.left_width)}, test {units(tests.number_width)}"
    tree = f"count {units(layout.count_width)}; splits in pre-order of {split}; leaves of {units(values.leaf_width)}"
    notes = ["", f"{name}_tables, all widths in {'bits' if unit == 1 else 'bytes'}:"]
    notes.append(f"  at {layout.position('tests')}: tests of {test}")
    notes.append(f"  at {layout.position('structure')}: trees of {tree}")
    if layout.parts["values"]:
        notes.append(f"  at {layout.position('values')}: leaf values of {units(values.value_width)}")
    if layout.parts["sets"]:
        notes.append(f"  at {layout.position('sets')}: category sets")
    return notes


def _name_notes(forest: Forest) -> list[str]:
    notes = []
    if forest.classes is not None and len(forest.classes) <= 100:
        notes += [
            "",
            "Labels: " + ", ".join(f"{k} is {label}" for k, label in enumerate(forest.classes.tolist())),
        ]
    if forest.feature_names is not None and len(forest.feature_names) <= 1000:
        notes += ["", "Features:", *(f"  {f} {column}" for f, column in enumerate(forest.feature_names))]
    return notes


def _plain(text: str) -> str:
    """The text as a line of a C comment: nothing that ends it, continues it or isn't ASCII."""
    text = text.encode("ascii", "replace").decode()
    return re.sub(r"[^ -~]|\\|\?(?=\?)", " ", text).replace("*/", "* /").replace("/*", "/ *")
