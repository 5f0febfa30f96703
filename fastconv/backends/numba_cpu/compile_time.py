"""Python objects as compile-time constants of kernels, by interfaces of Numba that its manual doesn't describe.

Numba makes a constant of an object that a kernel names or is given, once it knows a type for the object's class. The
type's model is opaque: the value takes no register. Seen in Numba 0.61.0 and 0.68.1; a Numba without one of the two
interfaces makes this module's import, and so the backend's, fail with its name.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model, typeof_impl, types


def register_constant(cls: type, kind: type[types.Type], attributes: tuple[str, ...]) -> None:
    """Let kernels take objects of a class as constants of a type.

    Args:
        cls: the objects' class.
        kind: the type's class; it is made of an object, which it keeps as ``simd``.
        attributes: the names of those attributes that kernels read, as integers known when they are compiled.
    """
    template = type(f"{kind.__name__}Attributes", (AttributeTemplate,), {"key": kind})
    for name in attributes:
        setattr(template, f"resolve_{name}", lambda self, value: types.intp)
    infer_getattr(template)
    register_model(kind)(models.OpaqueModel)
    typeof_impl.register(cls)(lambda value, _: kind(value))
    lower_constant(kind)(_no_value)
    lower_getattr_generic(kind)(_attribute)


def _no_value(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _attribute(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    return ir.Constant(ir.IntType(64), int(getattr(kind.simd, attribute)))
