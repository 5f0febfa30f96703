"""These intrinsics load and store vectors and single elements in compiled code.

Addresses are integers, in bytes; indices count elements. Loads and stores assume only that addresses are aligned to one
element: on processors of the last ten years an unaligned vector costs the same as an aligned one unless it crosses a
cache line.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import cgutils, inner, intrinsic, types
from fastconv.backends.numba_cpu.simd.emit import (
    element,
    load_vector,
    masked_load,
    masked_store,
    prefetch_line,
    store_vector,
    transposed,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.kinds import mask_of, vector_of
from fastconv.backends.numba_cpu.simd.ops import evens, lanes_between, zeros
from fastconv.backends.numba_cpu.simd.types import I64


@intrinsic
def load(typing, simd, base, index):
    """Load the vector that starts at element ``index``."""

    def generate(context, builder, signature, arguments):
        return load_vector(builder, simd, *arguments[1:])

    return vector_of(simd)(simd, types.intp, types.intp), generate


@intrinsic
def store(typing, simd, base, index, value):
    """Write a vector, starting at element ``index``."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        store_vector(builder, simd, value, base, index)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, vector_of(simd)), generate


@intrinsic
def load_where(typing, simd, base, index, mask, otherwise):
    """Load the lanes in ``mask``; the other lanes have the value of ``otherwise``, and their memory is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, otherwise = arguments
        pointer = vector_at(builder, simd, base, index)
        return masked_load(builder, pointer, mask, otherwise, simd.simd.itemsize)

    return vector_of(simd)(simd, types.intp, types.intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def store_where(typing, simd, base, index, mask, value):
    """Write the lanes in ``mask``; the memory of the other lanes is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, value = arguments
        masked_store(builder, value, vector_at(builder, simd, base, index), mask, simd.simd.itemsize)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def load_scalar(typing, simd, base, index):
    """Load element ``index``."""

    def generate(context, builder, signature, arguments):
        return builder.load(element(builder, simd, *arguments[1:]))

    return simd.scalar(simd, types.intp, types.intp), generate


@intrinsic
def store_scalar(typing, simd, base, index, value):
    """Write ``value`` to element ``index``."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        builder.store(value, element(builder, simd, base, index))
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, simd.scalar), generate


@intrinsic
def stack_integers(typing):
    """Return the address of 64 integers of 64 bits on the stack, valid until the calling function returns."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once(builder, I64, 64), I64)

    return types.intp(), generate


@intrinsic
def stack_square(typing, simd):
    """Return the address of lanes x lanes elements on the stack, valid until the calling function returns."""

    def generate(context, builder, signature, arguments):
        square = cgutils.alloca_once(builder, vector_of(simd).llvm, simd.simd.lanes)
        square.align = simd.simd.lanes * simd.simd.itemsize
        return builder.ptrtoint(square, I64)

    return types.intp(simd), generate


@intrinsic
def prefetch(typing, simd, base, index):
    """Prefetch the cache line of element ``index``."""

    def generate(context, builder, signature, arguments):
        prefetch_line(builder, element(builder, simd, *arguments[1:]), to_write=False)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp), generate


@intrinsic
def transpose(typing, simd, source, source_step, rows, target, target_step):
    """Write the transpose of a square of lanes x lanes elements.

    Rows of the source are ``source_step`` elements apart, rows of the target ``target_step``. Only the first ``rows``
    rows of the source exist, at least one; the last of them is read again in place of each missing one. Rows of the
    target are written in order, each a whole vector: where they are less than a vector apart, each row overwrites what
    the row before it wrote beyond its end.
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

    return types.void(simd, *[types.intp] * 5), generate


@inner
def can_load_apart(step):
    """Return whether `load_apart` is for this step."""
    return step in (1, 2, 4)


@inner
def load_apart(simd, base, index, step):
    """Load elements ``index``, index + step, ..., a vector of them, without masks that depend on where they are.

    Memory after the last of them isn't touched: an array may end there.
    """
    lanes = simd.lanes
    if step == 1:
        return load(simd, base, index)
    near = load(simd, base, index)
    if step == 2:
        return evens(simd, near, load_where(simd, base, index + lanes, lanes_between(simd, 0, lanes - 1), zeros(simd)))
    near = evens(simd, near, load(simd, base, index + lanes))
    end = 4 * lanes - 3
    third = load_where(simd, base, index + 2 * lanes, lanes_between(simd, 0, end - 2 * lanes), zeros(simd))
    fourth = load_where(simd, base, index + 3 * lanes, lanes_between(simd, 0, end - 3 * lanes), zeros(simd))
    return evens(simd, near, evens(simd, third, fourth))


@inner
def load_most(simd, base, at, left, otherwise):
    """Load the vector at element ``at``, or what is left of it and ``otherwise`` in the other lanes.

    Whole vectors have no mask: behind masks the processor doesn't read ahead, and two arrays that come from memory took
    2.6 times as long.
    """
    if left >= simd.lanes:
        return load(simd, base, at)
    return load_where(simd, base, at, lanes_between(simd, 0, left), otherwise)


@inner
def store_most(simd, base, at, left, value):
    """Write the vector at element ``at``, or what is left of it."""
    if left >= simd.lanes:
        store(simd, base, at, value)
    else:
        store_where(simd, base, at, lanes_between(simd, 0, left), value)
