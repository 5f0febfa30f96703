"""These intrinsics load and store vectors of numbers that lie 2, 3 or 4 elements apart.

To load one, as many vectors side by side are put together, by a shuffle for each but the first; to store one, its
numbers are spread over as many vectors, of which other lanes aren't written.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import intrinsic, types
from fastconv.backends.numba_cpu.simd import (
    mask_between,
    masked_load,
    masked_store,
    shuffled,
    vector_at,
    vector_of,
)

_I64 = ir.IntType(64)


def _vectors(builder, simd, step, base, first, end):
    """Yield the address of each of ``step`` vectors side by side, and its lanes from number ``first`` up to ``end``."""
    lanes = simd.simd.lanes
    begin = builder.mul(first, ir.Constant(_I64, step))
    after = builder.sub(builder.mul(end, ir.Constant(_I64, step)), ir.Constant(_I64, step - 1))
    for k in range(step):
        before = ir.Constant(_I64, k * lanes)
        mask = mask_between(builder, lanes, builder.sub(begin, before), builder.sub(after, before))
        yield vector_at(builder, simd, base, before), mask


@intrinsic(prefer_literal=True)
def load_every(typing, simd, step, base, first, end):
    """Load elements 0, step, 2 * step ... at the address ``base``; lanes before ``first`` and from ``end`` on are 0."""
    apart = step.literal_value

    def generate(context, builder, signature, arguments):
        lanes, nothing = simd.simd.lanes, ir.Constant(vector_of(simd).llvm, None)
        total = None
        for k, (place, mask) in enumerate(_vectors(builder, simd, apart, *arguments[2:])):
            vector = masked_load(builder, place, mask, nothing, simd.simd.itemsize)
            if total is None:
                total = vector
                continue
            order = []
            for lane in range(lanes):
                number, place_in_it = divmod(lane * apart, lanes)
                before = place_in_it if k == 1 and number == 0 else lane
                order.append(lanes + place_in_it if number == k else before)
            total = shuffled(builder, total, vector, order)
        return total

    return vector_of(simd)(simd, step, types.intp, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def store_every(typing, simd, step, base, count, value):
    """Write the first ``count`` lanes of a vector to the elements 0, step, 2 * step ... at the address ``base``."""
    apart = step.literal_value

    def generate(context, builder, signature, arguments):
        _, _, base, count, value = arguments
        lanes = simd.simd.lanes
        kind = ir.VectorType(ir.IntType(1), lanes)
        for k, (place, mask) in enumerate(_vectors(builder, simd, apart, base, ir.Constant(_I64, 0), count)):
            numbers = range(k * lanes, (k + 1) * lanes)
            there = builder.and_(mask, ir.Constant(kind, [number % apart == 0 for number in numbers]))
            spread = shuffled(builder, value, value, [number // apart for number in numbers])
            masked_store(builder, spread, place, there, simd.simd.itemsize)
        return context.get_dummy_value()

    return types.void(simd, step, types.intp, types.intp, vector_of(simd)), generate
