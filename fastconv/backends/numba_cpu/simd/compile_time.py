"""This module registers our own types with Numba: compile-time constants, and addresses of named fields.

It uses interfaces that Numba's manual doesn't describe. Once Numba knows a type for an object's class, it makes a
constant of each such object that a kernel refers to or gets as an argument. The type's model is opaque: the value takes
no register. An address of fields is a 64-bit integer, through which a kernel reads and writes the fields by name. Seen
in Numba 0.61.0 and 0.68.1; if a Numba version lacks one of the interfaces, the import of this module, and so of the
backend, fails with the interface's name.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
    typeof_impl,
    types,
)

_I64 = ir.IntType(64)


def register_constant(cls: type, kind: type[types.Type], attributes: tuple[str, ...]) -> None:
    """Register a class, so that kernels can use its objects as compile-time constants.

    Args:
        cls: the class of the objects.
        kind: the class of their Numba type; it is constructed from an object, and stores it as ``simd``.
        attributes: the names of the attributes that kernels may read; each is a compile-time integer.
    """
    template = type(f"{kind.__name__}Attributes", (AttributeTemplate,), {"key": kind})
    for name in attributes:
        setattr(template, f"resolve_{name}", lambda self, value: types.intp)
    infer_getattr(template)
    register_model(kind)(models.OpaqueModel)
    typeof_impl.register(cls)(lambda value, _: kind(value))
    lower_constant(kind)(_no_value)
    lower_getattr_generic(kind)(_attribute)


def register_fields(kind: type[types.Type]) -> None:
    """Register an address type, so that kernels can read and write the fields at such an address by name.

    Args:
        kind: the class of the address type; its ``words`` gives the offset of each field, in 64-bit words.
    """
    template = type(f"{kind.__name__}Fields", (AttributeTemplate,), {"key": kind, "generic_resolve": _field_type})
    infer_getattr(template)
    register_model(kind)(_AddressModel)
    lower_getattr_generic(kind)(_load_field)
    lower_setattr_generic(kind)(_store_field)


class _AddressModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _I64)


def _field_type(self: Any, kind: Any, name: str) -> Any:
    return types.intp if name in kind.words else None


def _field(builder: Any, kind: Any, address: Any, name: str) -> Any:
    start = builder.inttoptr(address, _I64.as_pointer())
    return builder.gep(start, [ir.Constant(_I64, kind.words[name])])


def _load_field(context: Any, builder: Any, kind: Any, address: Any, name: str) -> Any:
    return builder.load(_field(builder, kind, address, name))


def _store_field(context: Any, builder: Any, signature: Any, arguments: Any, name: str) -> None:
    address, value = arguments
    builder.store(value, _field(builder, signature.args[0], address, name))


def _no_value(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _attribute(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    return ir.Constant(_I64, int(getattr(kind.simd, attribute)))
