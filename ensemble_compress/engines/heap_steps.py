"""The innermost loops of the heap walk, in LLVM's own words: its optimiser would make branches of the same lines of Python.

- `try_uppermost` tries all splits of the uppermost levels of a heap on a block of rows, in vectors: what a split says is made
  of what its children say, so that each split takes a comparison and a choice.
- `descend` goes down the other levels, several rows together: a step of a row is six instructions, and no branch depends on
  the data. One row's way is a chain of dependent loads; the others' hide its latency.
- `walk` goes on below a heap, from record to record, until no row of its group moves.
- `prefetch` asks for memory that the next tree will need.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ensemble_compress.engines.pointers import LINE
from ensemble_compress.engines.steps import KEY as WORD
from ensemble_compress.engines.steps import PLACE, number

RANK = ir.IntType(16)


def try_uppermost(builder: Any, heap: Any, keys: Any, n_lanes: int, n_levels: int) -> Any:
    """Append to a function the tests of a heap's uppermost levels on a block of rows; returns the rows' places below them.

    Parameters
    ----------
    builder : IRBuilder
        Of the function.
    heap : pointer
        The key of the root; behind it the place of its column, and so on.
    keys : pointer
        The first key of the block.
    n_lanes : int
        Rows of a block.
    n_levels : int
        How many levels.
    """
    vector = ir.VectorType(RANK, n_lanes)

    def goes_right(j: int) -> Any:
        key, column = (builder.load(builder.gep(heap, [number(2 * j + half)])) for half in (0, 1))
        of_column = builder.gep(keys, [builder.zext(column, PLACE)])
        x = builder.load(builder.bitcast(of_column, vector.as_pointer()), align=2)
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, key, ir.Constant(WORD, 0))
        everywhere = ir.Constant(ir.VectorType(WORD, n_lanes), [0] * n_lanes)
        return builder.icmp_unsigned(">", x, builder.shuffle_vector(one, nothing, everywhere))

    def place_below(j: int, level: int) -> Any:
        left, right = 2 * j + 1, 2 * j + 2
        if level == n_levels - 1:
            return builder.add(ir.Constant(vector, [left] * n_lanes), builder.zext(goes_right(j), vector))
        is_right = goes_right(j)
        return builder.select(is_right, place_below(right, level + 1), place_below(left, level + 1))

    return place_below(0, 0)


def descend(builder: Any, heap: Any, keys: Any, starts: Sequence[Any], n_steps: Any) -> list[Any]:
    """Append to a function the ways of neighbouring rows down a heap; returns their places below it.

    Parameters
    ----------
    builder : IRBuilder
        Of the function; it goes on behind the loop.
    heap : pointer
        As in `try_uppermost`.
    keys : pointer
        The first row's first key.
    starts : sequence of values
        Where each row begins.
    n_steps : value
        How many levels lie between.
    """
    places = _registers(builder, starts)
    with cgutils.for_range(builder, n_steps, intp=PLACE):
        for q, place in enumerate(places):
            old = builder.load(place)
            doubled = builder.add(old, old)
            key, column = (
                builder.load(builder.gep(heap, [builder.add(doubled, number(half))])) for half in (0, 1)
            )
            # The row is added last: it is a part of the address then, and takes no register.
            x = builder.load(builder.gep(keys, [builder.add(builder.zext(column, PLACE), number(q))]))
            # To an odd number the carry can be added; with an even one LLVM would put the bit together in two steps more.
            left = builder.add(doubled, number(1))
            is_right = builder.icmp_unsigned("<", key, x)
            builder.store(builder.add(left, builder.zext(is_right, PLACE)), place)
    return [builder.load(place) for place in places]


def walk(builder: Any, tree: Any, keys: Any, starts: Sequence[Any], mask: Any, n_steps: int) -> list[Any]:
    """Append to a function the ways of neighbouring rows from record to record, until none moves; returns their places.

    Parameters
    ----------
    builder : IRBuilder
        Of the function; it goes on behind the loop.
    tree : pointer
        The first record's key.
    keys, starts
        As in `descend`.
    mask : value
        What cuts a column's place off.
    n_steps : int
        Steps between two looks at whether a row still moves.
    """
    places = _registers(builder, starts)

    def step(q: int) -> Any:
        """Move row q on; returns by how many places, which is zero or more, for children come after their parents."""
        old = builder.load(places[q])
        first = builder.shl(old, number(2))
        key, column, child = (builder.gep(tree, [builder.add(first, number(k))]) for k in range(3))
        column = builder.and_(builder.zext(builder.load(column), PLACE), mask)
        x = builder.load(builder.gep(keys, [builder.add(column, number(q))]))
        child = builder.zext(builder.load(builder.bitcast(child, WORD.as_pointer())), PLACE)
        is_right = builder.icmp_unsigned("<", builder.load(key), x)
        new = builder.add(child, builder.zext(is_right, PLACE))
        builder.store(new, places[q])
        return builder.sub(new, old)

    loop, done = (builder.append_basic_block(name) for name in ("walk", "walked"))
    builder.branch(loop)
    builder.position_at_end(loop)
    for _ in range(n_steps - 1):
        for q in range(len(places)):
            step(q)
    # A sum: of bits that are joined by `or`, LLVM would look at one row's after the other's, each in a branch.
    moved = step(0)
    for q in range(1, len(places)):
        moved = builder.add(moved, step(q))
    builder.cbranch(builder.icmp_unsigned("!=", moved, number(0)), loop, done)
    builder.position_at_end(done)
    return [builder.load(place) for place in places]


def _registers(builder: Any, values: Sequence[Any]) -> list[Any]:
    """Variables of those values; LLVM keeps them in registers."""
    variables = [cgutils.alloca_once(builder, PLACE) for _ in values]
    for variable, value in zip(variables, values, strict=True):
        builder.store(value, variable)
    return variables


def prefetch(builder: Any, array: Any, first: Any, n_lines: Any) -> None:
    """Append to a function that so many lines of memory are wanted soon, from that byte of an array on; they may lie behind it."""
    byte, flag = ir.IntType(8), ir.IntType(32)
    of_pointer = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
    fetch = cgutils.get_or_insert_function(builder.module, of_pointer, "llvm.prefetch.p0")
    begin = builder.gep(builder.bitcast(array, byte.as_pointer()), [first])
    # To be read; into the second cache, for the first has no room; and no instructions.
    how = [ir.Constant(flag, value) for value in (0, 2, 1)]
    with cgutils.for_range(builder, n_lines, intp=PLACE) as loop:
        builder.call(fetch, [builder.gep(begin, [builder.mul(loop.index, number(LINE))]), *how])
