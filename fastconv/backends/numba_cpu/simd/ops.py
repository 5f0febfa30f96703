"""These intrinsics do arithmetic on vectors, make masks, and call functions by address, in compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.numba_cpu.simd.emit import (
    broadcast_value,
    clamped,
    mask_between,
    mask_of_bits,
    multiply_add,
    shuffled,
)
from fastconv.backends.numba_cpu.simd.kinds import mask_of, vector_of
from fastconv.backends.numba_cpu.simd.types import FLOATS, I32, I64


@intrinsic
def zero(typing, simd):
    """Return 0 as a single element."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(FLOATS[simd.simd.dtype], 0.0)

    return simd.scalar(simd), generate


@intrinsic
def broadcast(typing, simd, value):
    """Return a vector with ``value`` in every lane."""

    def generate(context, builder, signature, arguments):
        return broadcast_value(builder, arguments[1], simd.simd.lanes)

    return vector_of(simd)(simd, simd.scalar), generate


@intrinsic
def add(typing, simd, a, b):
    """Return a + b in each lane."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(arguments[1], arguments[2])

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def fused(typing, simd, a, b, c):
    """Return a * b + c in each lane, rounded once (fma)."""

    def generate(context, builder, signature, arguments):
        return multiply_add(builder, *arguments[1:])

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd), vector_of(simd)), generate


@intrinsic
def is_zero(typing, simd, value):
    """Return whether every lane is 0 or -0; a NaN is not zero."""

    def generate(context, builder, signature, arguments):
        same = builder.fcmp_ordered("==", arguments[1], ir.Constant(vector_of(simd).llvm, None))
        lanes = ir.IntType(simd.simd.lanes)
        return builder.icmp_unsigned("==", builder.bitcast(same, lanes), ir.Constant(lanes, -1))

    return types.boolean(simd, vector_of(simd)), generate


@intrinsic
def clamp(typing, simd, value, lowest, highest):
    """Return ``value`` with lanes below ``lowest`` or above ``highest`` replaced by these; NaN stays NaN."""

    def generate(context, builder, signature, arguments):
        return clamped(builder, *arguments[1:])

    return vector_of(simd)(simd, *[vector_of(simd)] * 3), generate


@intrinsic
def zeros(typing, simd):
    """Return a vector of zeros."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(vector_of(simd).llvm, None)

    return vector_of(simd)(simd), generate


@intrinsic
def lanes_between(typing, simd, first, end):
    """Return the mask of the lanes from ``first`` up to, not including, ``end``; both may lie outside the vector."""

    def generate(context, builder, signature, arguments):
        return mask_between(builder, simd.simd.lanes, arguments[1], arguments[2])

    return mask_of(simd)(simd, types.intp, types.intp), generate


@intrinsic
def bits_between(typing, simd, first, end):
    """Return the mask of `lanes_between` as an integer, which can be stored; `mask_from` makes a mask of it again."""

    def generate(context, builder, signature, arguments):
        mask = mask_between(builder, simd.simd.lanes, arguments[1], arguments[2])
        return builder.zext(builder.bitcast(mask, ir.IntType(simd.simd.lanes)), I64)

    return types.intp(simd, types.intp, types.intp), generate


@intrinsic
def mask_from(typing, simd, bits):
    """Return the mask whose lane i is bit i of the integer ``bits``."""

    def generate(context, builder, signature, arguments):
        return mask_of_bits(builder, simd.simd.lanes, arguments[1])

    return mask_of(simd)(simd, types.intp), generate


@intrinsic
def evens(typing, simd, a, b):
    """Return elements 0, 2, 4, ... of ``a``, followed by those of ``b``."""

    def generate(context, builder, signature, arguments):
        lanes = simd.simd.lanes
        order = ir.Constant(ir.VectorType(I32, lanes), [2 * lane for lane in range(lanes)])
        return builder.shuffle_vector(arguments[1], arguments[2], order)

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def spread_low(typing, simd, value):
    """Return a vector with each element of the first half twice, in order."""
    return vector_of(simd)(simd, vector_of(simd)), _spread(0)


@intrinsic
def spread_high(typing, simd, value):
    """Return a vector with each element of the second half twice, in order."""
    return vector_of(simd)(simd, vector_of(simd)), _spread(1)


def _spread(half: int) -> Any:
    def generate(context, builder, signature, arguments):
        lanes = signature.args[0].simd.lanes
        order = [(half * lanes + lane) // 2 for lane in range(lanes)]
        return shuffled(builder, arguments[1], arguments[1], order)

    return generate


@intrinsic
def call(typing, function, arguments):
    """Call the compiled function at the address ``function`` with a tuple of integers; see `compiler.kernel`."""

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(ir.VoidType(), [I64] * arguments.count)
        values = cgutils.unpack_tuple(builder, given[1], arguments.count)
        builder.call(builder.inttoptr(given[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, arguments.count)), generate
