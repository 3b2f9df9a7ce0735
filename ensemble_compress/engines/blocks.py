"""Intrinsics that do something with one tree and one block of rows: what is around their steps, said once."""

from collections.abc import Callable
from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

from ensemble_compress.engines import steps


class Arguments:
    """The arguments of an intrinsic (plan, t, keys, block, column_mask, found), as values of LLVM's."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self._context, self._builder = context, builder
        self._plan, self._type = arguments[0], signature.args[0]
        self.tree, self.column_mask = arguments[1], arguments[4]
        self.first = builder.gep(steps.array_data(context, builder, signature, arguments, 2), [arguments[3]])
        self.found = steps.array_data(context, builder, signature, arguments, 5)

    def field(self, name: str) -> Any:
        """A field of the plan."""
        return self._builder.extract_value(self._plan, self._type.fields.index(name))

    def data(self, name: str) -> Any:
        """Where the elements of an array of the plan lie."""
        array = dict(zip(self._type.fields, self._type.types, strict=True))[name]
        return cgutils.create_struct_proxy(array)(self._context, self._builder, self.field(name)).data

    def at(self, name: str, k: Any) -> Any:
        """An element of an array of the plan, as a place."""
        value = self._builder.load(self._builder.gep(self.data(name), [k]))
        return self._builder.sext(value, steps.PLACE) if value.type != steps.PLACE else value


def on_block(generate: Callable[[Any, Arguments], None]) -> Any:
    """An intrinsic that does something with tree t and the block of rows whose keys begin at `keys[block]`."""

    @intrinsic  # type: ignore[untyped-decorator]
    def of_block(
        typing_context: Any, plan: Any, t: Any, keys: Any, block: Any, column_mask: Any, found: Any
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            generate(builder, Arguments(context, builder, signature, arguments))
            return context.get_dummy_value()

        return types.void(plan, t, keys, block, column_mask, found), code

    return of_block
