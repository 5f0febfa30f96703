"""These are the types that kernels add to Numba's: vectors, compile-time constants, and addresses of named arguments.

A constant's type differs for each `Simd`, and its model is opaque: the value takes no register. An address of arguments
is a 64-bit integer, through which a kernel reads and writes the fields by name. It uses interfaces that Numba's manual
doesn't describe, seen in Numba 0.61.0 and 0.68.1; if a Numba version lacks one of the interfaces, the import of this
module, and so of the backend, fails with the interface's name.
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

from fastconv.backends.compiler.kernels import text_of
from fastconv.backends.numba_cpu.simd.types import FLOATS, I64, Simd


class SimdType(types.Type):
    """This is the Numba type of a `Simd`, or of an object of a derived class, which is known at compile time."""

    def __init__(self, simd: Any) -> None:
        self.simd = simd
        self.scalar = getattr(types, simd.dtype)
        super().__init__(name=text_of(simd))


@infer_getattr
class _SimdAttributes(AttributeTemplate):
    key = SimdType

    def generic_resolve(self, kind: Any, name: str) -> Any:
        return types.intp if name in kind.simd.in_kernels else None


register_model(SimdType)(models.OpaqueModel)


@typeof_impl.register(Simd)
def _type_of(simd: Simd, _: Any) -> SimdType:
    return SimdType(simd)


@lower_constant(SimdType)
def _no_value(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


@lower_getattr_generic(SimdType)
def _attribute(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    return ir.Constant(I64, int(getattr(kind.simd, attribute)))


class VectorType(types.Type):
    """This is the Numba type of a vector register with ``lanes`` elements, or of a mask if ``dtype`` is "mask"."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """Return the LLVM type of the register."""
        return ir.VectorType(ir.IntType(1) if self.dtype == "mask" else FLOATS[self.dtype], self.lanes)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, kind.llvm)


class ArgumentsType(types.Type):
    """This is the Numba type of the address of a record of arguments."""

    def __init__(self, name: str, words: dict[str, int]) -> None:
        self.words = words
        super().__init__(name)


@infer_getattr
class _Fields(AttributeTemplate):
    key = ArgumentsType

    def generic_resolve(self, kind: Any, name: str) -> Any:
        return types.intp if name in kind.words else None


@register_model(ArgumentsType)
class _AddressModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, I64)


def _field(builder: Any, kind: Any, address: Any, name: str) -> Any:
    start = builder.inttoptr(address, I64.as_pointer())
    return builder.gep(start, [ir.Constant(I64, kind.words[name])])


@lower_getattr_generic(ArgumentsType)
def _load_field(context: Any, builder: Any, kind: Any, address: Any, name: str) -> Any:
    return builder.load(_field(builder, kind, address, name))


@lower_setattr_generic(ArgumentsType)
def _store_field(context: Any, builder: Any, signature: Any, arguments: Any, name: str) -> None:
    address, value = arguments
    builder.store(value, _field(builder, signature.args[0], address, name))
