"""The last of Winograd's transforms turns sums of products into tiles of results, and writes them to the target."""

from __future__ import annotations

from llvmlite import ir
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit, emit_numbers
from fastconv.backends.numba_cpu.conv.winograd.patches import interleaved, load_at, target_masks, target_place
from fastconv.backends.numba_cpu.simd import (
    broadcast_value,
    element,
    is_zero,
    load_integer,
    masked_store,
    multiply_add,
    raise_to,
    vector_at,
    vector_of,
    zeros,
)

_I64 = ir.IntType(64)


@intrinsic
def _transform_sums(typing, simd, source, step, bias, floor, chunk, target, below, odd):
    """Write the tiles of results for a vector of patches, whose sums of products lie ``step`` elements apart.

    ``bias`` and ``floor`` are addresses of numbers; rows of results begin at ``target``, ``below`` bytes apart, under
    the masks of the ``chunk``. The result is the vector ``odd``, with NaN in the lanes where a pixel was infinite or
    NaN.
    """

    def generate(context, builder, signature, arguments):
        _, source, step, bias, floor, chunk, target, below, odd = arguments
        form, lanes = simd.form, simd.simd.lanes
        program = additions(form.result)
        nothing, first = ir.Constant(vector_of(simd).llvm, None), ir.Constant(_I64, 0)
        start, lowest = (
            broadcast_value(builder, builder.load(element(builder, simd, base, first)), lanes) for base in (bias, floor)
        )
        numbers = emit_numbers(
            builder, form, lambda block: block.result, lambda k: load_at(builder, simd, source, step, k)
        )
        columns = [emit(builder, program, column) for column in numbers]
        for a, masks in enumerate(target_masks(builder, simd, chunk)):
            pixels = []
            for value in emit(builder, program, [column[a] for column in columns]):
                odd = multiply_add(builder, value, nothing, odd)
                pixels.append(raise_to(builder, builder.fadd(value, start), lowest))
            row = builder.add(target, builder.mul(below, ir.Constant(_I64, a)))
            for v, (vector, mask) in enumerate(zip(interleaved(builder, pixels), masks, strict=True)):
                pointer = vector_at(builder, simd, row, ir.Constant(_I64, v * lanes))
                masked_store(builder, vector, pointer, mask, simd.simd.itemsize)
        return odd

    return vector_of(simd)(simd, *[intp] * 7, vector_of(simd)), generate


@inner
def write_pixels(simd, args, row, rows, chunks, table, width, sums, step, nowhere):
    """Write the pixels of ``rows`` target channels from ``row`` on; return True if all of them are finite."""
    I, J = args.I, args.J
    bias, floor = args.bias, args.limits + simd.itemsize
    odd = zeros(simd)
    for m in range(rows):
        start = nowhere
        if bias != 0:
            start = bias + simd.itemsize * (row + m)
        for chunk in range(chunks):
            base = table + 8 * simd.chunk_words * chunk
            here = sums + simd.itemsize * (m * width + load_integer(base, 0))
            place = target_place(simd, base) + simd.itemsize * m * I * J
            odd = _transform_sums(simd, here, step, start, floor, base, place, simd.itemsize * J, odd)
    return is_zero(simd, odd)
