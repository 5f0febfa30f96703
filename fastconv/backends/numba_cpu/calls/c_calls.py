"""This intrinsic lets compiled code call functions of Python's and NumPy's C interfaces by their addresses."""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types

_I64 = ir.IntType(64)


@intrinsic
def c_call(typing, function, arguments):
    """Return what the C function at the address ``function`` returns for a tuple of pointers and integers.

    A C ``int`` among its parameters takes the lower half of a 64-bit integer, as the calling conventions of x86-64 and
    arm64 allow for what goes into registers.
    """

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(_I64, [_I64] * arguments.count)
        values = cgutils.unpack_tuple(builder, given[1], arguments.count)
        return builder.call(builder.inttoptr(given[0], kind.as_pointer()), values)

    return types.intp(types.intp, types.UniTuple(types.intp, arguments.count)), generate
