"""The option `--steps`: algorithms as they are written in Python, read without running anything."""

import ast
from typing import Any

from ensemble_compress.errors import ParameterError


def parse_steps(text: str) -> Any:
    """The value of `--steps`: "auto", "lossless", or algorithms as they are written in Python.

    Parameters
    ----------
    text : str
        For example `PruneNodes(max_leaves=200), QuantizeLeaves(bits=8)`. Nothing is executed: names are looked up
        among the algorithms, parameters have to be literals.

    Examples
    --------
    >>> parse_steps("auto")
    'auto'
    """
    if text in ("auto", "lossless"):
        return text
    from ensemble_compress import algorithms

    known = {kind.__name__: kind for kind in algorithms.ALGORITHMS}
    try:
        calls = ast.parse(f"[{text}]", mode="eval").body.elts  # type: ignore[attr-defined]
        if not calls:
            raise ValueError("it names none")
        return [_parse_step(call, known) for call in calls]
    except (SyntaxError, ValueError, AttributeError, TypeError) as error:
        raise ParameterError(
            f"--steps {text!r} cannot be read ({error}); expected auto, lossless or algorithms such as"
            f" 'Simplify(), QuantizeLeaves(bits=8)'; known are {', '.join(sorted(known))}"
        ) from error


def _parse_step(call: ast.expr, known: dict[str, Any]) -> Any:
    given = call.keywords if isinstance(call, ast.Call) and not call.args else []
    name = call.func if isinstance(call, ast.Call) and not call.args else call
    if not isinstance(name, ast.Name) or name.id not in known:
        raise ValueError(f"{ast.unparse(call)} is no algorithm")
    return known[name.id](**{str(k.arg): ast.literal_eval(k.value) for k in given})
