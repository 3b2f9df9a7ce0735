"""Memory by its address: a kernel that is given one table of addresses is called sooner than one that is given the arrays.

What a kernel reads so is checked by nothing: `tests/test_layouts.py` proves that the places lie in their arrays.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

LINE = 64
"""Bytes of a line of the cache."""


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins where a line of the cache does, so that no vector lies on two."""
    memory = np.empty(array.nbytes + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    copy = memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _pointer_to(pointee: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def as_pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        pointer: Any = types.CPointer(pointee)  # type: ignore[attr-defined, unused-ignore]
        return pointer(types.int64), generate

    return as_pointer


uint8_at, uint16_at, uint32_at, uint64_at = (
    _pointer_to(pointee) for pointee in (types.uint8, types.uint16, types.uint32, types.uint64)
)
int32_at, int64_at = _pointer_to(types.int32), _pointer_to(types.int64)
float32_at, float64_at = _pointer_to(types.float32), _pointer_to(types.float64)


def stack_of(n_bytes: int) -> Any:
    """What gives a kernel the address of `n_bytes` on its stack; it has to stand in the kernel itself."""

    @intrinsic  # type: ignore[untyped-decorator]
    def on_stack(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(ir.IntType(8), n_bytes))
            memory.align = LINE
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.int64(), generate

    return on_stack
