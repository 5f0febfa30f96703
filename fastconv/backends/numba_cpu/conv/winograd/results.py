"""The last of Winograd's transforms turns sums of products into tiles of results, and writes them to the target."""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import inner, intrinsic, types
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit
from fastconv.backends.numba_cpu.conv.winograd.forms.vectors import emit_numbers, interleaved, load_at
from fastconv.backends.numba_cpu.conv.winograd.patches import CHANNELS_AHEAD, chunk_at, for_spans, target_words, word
from fastconv.backends.numba_cpu.simd import (
    broadcast_value,
    clamped,
    element,
    is_zero,
    mask_of_bits,
    masked_store,
    multiply_add,
    prefetch_line,
    vector_of,
    zeros,
)

_I64 = ir.IntType(64)


@intrinsic
def _transform_sums(typing, simd, source, step, bias, limits, chunk, away, below, plane, odd):
    """Write the tiles of results for a chunk of patches, whose sums of products lie ``step`` elements apart.

    ``bias`` and ``limits`` are addresses of a number and of two; the channel is ``away`` bytes from that of the chunk,
    rows of results are ``below`` bytes apart, and channels ``plane`` bytes. The result is the vector ``odd``, with NaN
    in the lanes where a pixel was infinite or NaN.
    """

    def generate(context, builder, signature, arguments):
        _, source, step, bias, limits, chunk, away, below, plane, odd = arguments
        form, lanes, size = simd.simd.form, simd.simd.lanes, simd.simd.itemsize
        program, along_rows = additions(form.down.result), additions(form.right.result)
        nothing, first = ir.Constant(vector_of(simd).llvm, None), ir.Constant(_I64, 0)
        start, lowest, highest = (
            broadcast_value(builder, builder.load(element(builder, simd, base, ir.Constant(_I64, i))), lanes)
            for base, i in ((bias, 0), (limits, 0), (limits, 1))
        )
        numbers = emit_numbers(
            builder, form, lambda block: block.result, lambda k: load_at(builder, simd, source, step, k)
        )
        columns = [emit(builder, program, column) for column in numbers]
        rows = []
        for a in range(form.down.output):
            pixels = []
            for value in emit(builder, along_rows, [column[a] for column in columns]):
                odd = multiply_add(builder, value, nothing, odd)
                pixels.append(clamped(builder, builder.fadd(value, start), lowest, highest))
            rows.append(interleaved(builder, pixels))
        words, ahead = target_words(form), builder.mul(plane, ir.Constant(_I64, CHANNELS_AHEAD))
        with for_spans(builder, simd, chunk) as span:
            place, there = builder.add(word(builder, span, words), away), word(builder, span, words + 1)
            for v in range(form.right.output):
                bits = word(builder, span, words + 2 + v)
                with builder.if_then(builder.icmp_signed("!=", bits, first)):
                    mask = mask_of_bits(builder, lanes, bits)
                    for a, row in enumerate(rows):
                        with builder.if_then(builder.icmp_signed(">", there, ir.Constant(_I64, a))):
                            down = builder.mul(below, ir.Constant(_I64, a))
                            address = builder.add(builder.add(place, down), ir.Constant(_I64, v * lanes * size))
                            pointer = builder.inttoptr(address, row[v].type.as_pointer())
                            masked_store(builder, row[v], pointer, mask, size)
                            later = builder.inttoptr(builder.add(address, ahead), row[v].type.as_pointer())
                            prefetch_line(builder, later, to_write=True)
        return odd

    return vector_of(simd)(simd, *[types.intp] * 8, vector_of(simd)), generate


@inner
def write_pixels(simd, args, row, rows, chunks, table, width, sums, step, nowhere):
    """Write the pixels of ``rows`` target channels from ``row`` on; return True if all of them are finite."""
    plane = simd.itemsize * args.I * args.J
    bias, limits = args.bias, args.limits + 2 * simd.itemsize
    odd = zeros(simd)
    for m in range(rows):
        start = nowhere
        if bias != 0:
            start = bias + simd.itemsize * (row + m)
        for chunk in range(chunks):
            base = chunk_at(simd, table, chunk)
            here = sums + simd.itemsize * (m * width + chunk * simd.lanes)
            odd = _transform_sums(simd, here, step, start, limits, base, m * plane, simd.itemsize * args.J, plane, odd)
    return is_zero(simd, odd)
