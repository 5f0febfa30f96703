"""Vectors, numbers and integers read from memory and written to it, in compiled code.

Addresses are integers, indices count elements. Loads and stores assume the elements' alignment only: on processors of
the last ten years an unaligned vector costs what an aligned one does unless it crosses a cache line.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.numba_cpu.simd.emit import (
    ask_for,
    element,
    load_vector,
    masked_load,
    masked_store,
    store_vector,
    transposed,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.types import I64, mask_of, vector_of


@intrinsic
def load(typing, simd, base, index):
    """The vector that starts at element ``index``."""

    def generate(context, builder, signature, arguments):
        return load_vector(builder, simd, *arguments[1:])

    return vector_of(simd)(simd, intp, intp), generate


@intrinsic
def store(typing, simd, base, index, value):
    """Write a vector from element ``index`` on."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        store_vector(builder, simd, value, base, index)
        return context.get_dummy_value()

    return types.void(simd, intp, intp, vector_of(simd)), generate


@intrinsic
def load_where(typing, simd, base, index, mask, otherwise):
    """As `load` in the lanes of ``mask``, ``otherwise`` in the others, whose memory is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, otherwise = arguments
        pointer = vector_at(builder, simd, base, index)
        return masked_load(builder, pointer, mask, otherwise, simd.simd.itemsize)

    return vector_of(simd)(simd, intp, intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def store_where(typing, simd, base, index, mask, value):
    """As `store` in the lanes of ``mask``; other memory is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, value = arguments
        masked_store(builder, value, vector_at(builder, simd, base, index), mask, simd.simd.itemsize)
        return context.get_dummy_value()

    return types.void(simd, intp, intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def load_scalar(typing, simd, base, index):
    """Element ``index``."""

    def generate(context, builder, signature, arguments):
        return builder.load(element(builder, simd, *arguments[1:]))

    return simd.scalar(simd, intp, intp), generate


@intrinsic
def store_scalar(typing, simd, base, index, value):
    """Write element ``index``."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        builder.store(value, element(builder, simd, base, index))
        return context.get_dummy_value()

    return types.void(simd, intp, intp, simd.scalar), generate


@intrinsic
def load_integer(typing, base, index):
    """64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index = arguments
        return builder.load(builder.gep(builder.inttoptr(base, I64.as_pointer()), [index]))

    return intp(intp, intp), generate


@intrinsic
def store_integer(typing, base, index, value):
    """Write 64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        builder.store(value, builder.gep(builder.inttoptr(base, I64.as_pointer()), [index]))
        return context.get_dummy_value()

    return types.void(intp, intp, intp), generate


@intrinsic
def stack_integers(typing):
    """The address of room for 64 64-bit integers, until the function returns."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once(builder, I64, 64), I64)

    return intp(), generate


@intrinsic
def prefetch(typing, simd, base, index):
    """Ask for the cache line of element ``index``."""

    def generate(context, builder, signature, arguments):
        ask_for(builder, element(builder, simd, *arguments[1:]), to_write=False)
        return context.get_dummy_value()

    return types.void(simd, intp, intp), generate


@intrinsic
def transpose(typing, simd, source, source_step, rows, target, target_step):
    """Write the transpose of a square of lanes x lanes elements; rows of both are ``step`` elements apart.

    Of the source only ``rows`` exist, at least one; the last stands for those beyond. Rows of the target are written
    one after another and whole, so where they are less than a vector apart, each covers what the one before wrote too
    far.
    """

    def generate(context, builder, signature, arguments):
        _, source, source_step, count, target, target_step = arguments
        lanes = simd.simd.lanes
        last = builder.sub(count, ir.Constant(I64, 1))
        rows = []
        for i in range(lanes):
            wanted = ir.Constant(I64, i)
            there = builder.select(builder.icmp_signed("<", wanted, count), wanted, last)
            rows.append(load_vector(builder, simd, source, builder.mul(there, source_step)))
        for i, row in enumerate(transposed(builder, rows)):
            store_vector(builder, simd, row, target, builder.mul(target_step, ir.Constant(I64, i)))
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 5), generate
