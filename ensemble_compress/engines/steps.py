"""The innermost loops of the walks, in LLVM's own words: its optimiser would make branches of the same lines of Python.

A node is eight bytes: its key in the low 32 bits, above it the place of its column among the row's keys. Children lie side
by side, so the carry of the comparison is added to the left one's place, and no branch depends on the data. One row's way is
a chain of dependent loads; several in one loop hide each other's latency.

- `walk` goes down any tree, from any node: above the column a node has its left child's place, and a step is seven
  instructions. A leaf is its own left child and reads a key of zero, so that it never moves on; the loop ends when none does.
- `descend` goes down a complete tree, whose children's places follow from their parent's: a step is five instructions, and
  there are as many as the tree has levels.
- `try_tests` walks nothing: it tries the uppermost splits of a tree on a block of rows, in vectors, to find where walks begin.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

KEY, PLACE = ir.IntType(32), ir.IntType(64)
STEPS = 2
"""Steps between two looks at whether a walk still moves."""


def number(value: int) -> Any:
    """A constant place."""
    return ir.Constant(PLACE, value)


def array_data(context: Any, builder: Any, signature: Any, arguments: Any, k: int) -> Any:
    """Where the elements of an array lie that is argument k."""
    return cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k]).data


def field_data(context: Any, builder: Any, plan_type: Any, plan: Any) -> Callable[[str], Any]:
    """What tells where the elements of an array lie that is a field of a named tuple."""

    def data(name: str) -> Any:
        k = plan_type.fields.index(name)
        array = builder.extract_value(plan, k)
        return cgutils.create_struct_proxy(plan_type.types[k])(context, builder, array).data

    return data


def splat_for(n_lanes: int) -> Callable[[Any, Any], Any]:
    """What fills a vector of `n_lanes` bytes with four times 8 bits: one load, where 8 bits alone take a load and a shuffle."""
    vector, quads = ir.VectorType(ir.IntType(8), n_lanes), ir.VectorType(KEY, n_lanes // 4)

    def splat(builder: Any, quad: Any) -> Any:
        nothing = ir.Constant(quads, ir.Undefined)
        one = builder.insert_element(nothing, quad, ir.Constant(KEY, 0))
        all_lanes = ir.Constant(quads, [0] * (n_lanes // 4))
        return builder.bitcast(builder.shuffle_vector(one, nothing, all_lanes), vector)

    return splat


def walk(
    builder: Any,
    trees: Sequence[Any],
    keys: Any,
    rows: Sequence[int],
    mask: Any,
    shift: Any,
    starts: Sequence[Any],
) -> list[Any]:
    """Append to a function the walks of some lanes, each down its tree from its start, until none moves; returns their places.

    Parameters
    ----------
    builder : IRBuilder
        Of the function; it goes on behind the loop.
    trees : sequence of pointers
        The first node of each lane's tree.
    keys : pointer
        The first key of the block of rows.
    rows : sequence of int
        Each lane's row in the block.
    mask, shift : values
        What cuts the column's place out of a node's upper half, and by how much that is shifted for the child's.
    starts : sequence of values
        The places where the lanes begin.
    """
    places = [cgutils.alloca_once(builder, PLACE) for _ in trees]  # become registers
    for place, start in zip(places, starts, strict=True):
        builder.store(start, place)

    def step(q: int) -> Any:
        """Move lane q on; returns by how many places, which is zero or more, for children come after their parents."""
        old = builder.load(places[q])
        node = builder.load(builder.gep(trees[q], [old]))
        upper = builder.lshr(node, number(32))
        # The row is added last: it is a part of the address then, and takes no register.
        x = builder.load(builder.gep(keys, [builder.add(builder.and_(upper, mask), number(rows[q]))]))
        goes_right = builder.icmp_unsigned("<", builder.trunc(node, KEY), x)
        new = builder.add(builder.lshr(upper, shift), builder.zext(goes_right, PLACE))
        builder.store(new, places[q])
        return builder.sub(new, old)

    loop, done = (builder.append_basic_block(name) for name in ("walk", "walked"))
    builder.branch(loop)
    builder.position_at_end(loop)
    for _ in range(STEPS - 1):
        for q in range(len(trees)):
            step(q)
    # A sum: of bits that are joined by `or`, LLVM would look at one lane's after the other's, each in a branch.
    moved = step(0)
    for q in range(1, len(trees)):
        moved = builder.add(moved, step(q))
    builder.cbranch(builder.icmp_unsigned("!=", moved, number(0)), loop, done)
    builder.position_at_end(done)
    return [builder.load(place) for place in places]


def descend(builder: Any, tree: Any, keys: Any, rows: Sequence[int], depth: Any) -> list[Any]:
    """Append to a function the ways of some rows down a complete tree; returns the places of their leaves.

    In a complete tree the children of place i are 2 i + 1 and 2 i + 2: a step is five instructions, and nothing has to look
    at whether a row still moves.

    Parameters
    ----------
    builder : IRBuilder
        Of the function; it goes on behind the loop.
    tree : pointer
        The root: its key in the low 32 bits, above it the place of its column among the keys.
    keys, rows
        As in `walk`.
    depth : value
        The number of steps.
    """
    places = [cgutils.alloca_once(builder, PLACE) for _ in rows]  # become registers
    for place in places:
        builder.store(number(0), place)
    halves = builder.bitcast(tree, KEY.as_pointer())
    with cgutils.for_range(builder, depth, intp=PLACE):
        for row, place in zip(rows, places, strict=True):
            old = builder.load(place)
            doubled = builder.add(old, old)
            key, column = (
                builder.load(builder.gep(halves, [builder.add(doubled, number(half))])) for half in (0, 1)
            )
            column = builder.add(builder.zext(column, PLACE), number(row))
            goes_right = builder.icmp_unsigned("<", key, builder.load(builder.gep(keys, [column])))
            # To an odd number the carry can be added; with an even one LLVM would put the bit together in two steps more.
            left = builder.add(doubled, number(1))
            builder.store(builder.add(left, builder.zext(goes_right, PLACE)), place)
    return [builder.load(place) for place in places]


def try_tests(
    builder: Any, n_lanes: int, tests: Sequence[Any], start: Any, stop: Any, first: Any, column_mask: Any
) -> Any:
    """Append to a function the tests from `start` to `stop` on a block of rows; returns each row's lowest bit that is left.

    Parameters
    ----------
    builder : IRBuilder
        Of the function.
    n_lanes : int
        Rows of a block.
    tests : sequence of pointers
        To the places of the tests' columns, to their keys, and to the bits that rows keep whose key is above.
    start, stop : values
        Which tests.
    first : pointer
        The first key of the block.
    column_mask : value
        What cuts off a column's place.
    """
    vector = ir.VectorType(KEY, n_lanes)

    def splat(value: Any) -> Any:
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, value, ir.Constant(KEY, 0))
        return builder.shuffle_vector(one, nothing, ir.Constant(vector, [0] * n_lanes))

    bits = cgutils.alloca_once(builder, vector)  # becomes registers
    builder.store(ir.Constant(vector, [-1] * n_lanes), bits)
    with cgutils.for_range_slice(builder, start, stop, number(1)) as (j, _):
        at, key, mask = (builder.load(builder.gep(test, [j])) for test in tests)
        column = builder.gep(first, [builder.and_(builder.sext(at, PLACE), column_mask)])
        x = builder.load(builder.bitcast(column, vector.as_pointer()), align=4)
        stays = builder.sext(builder.icmp_unsigned(">=", splat(key), x), vector)
        builder.store(builder.and_(builder.load(bits), builder.or_(stays, splat(mask))), bits)
    of_vectors = ir.FunctionType(vector, [vector, ir.IntType(1)])
    count = cgutils.get_or_insert_function(builder.module, of_vectors, f"llvm.cttz.v{n_lanes}i32")
    return builder.call(count, [builder.load(bits), ir.Constant(ir.IntType(1), 0)])
