"""The adjoint for the weight of convolutions from a single channel: a sum over pixels for each tap.

    grad_weight[m, r, s]  =  sum over n, i, j of grad[n, m, i, j] * source[n, i * DI + dy[r], j * DJ + dx[s]]

The pixels under the taps come as plane_rows.py reads them. A vector of partial sums for each tap stays in registers,
and their lanes are added up when all images have been through. On MobileNet's 3 x 3 layers of 56 and 14 pixels it has
1.4 and 1.9 times the speed of direct_weight.py.

A task is a number of target channels, over a part of the batch; parts are added in order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.direct_weight import add_lanes
from fastconv.backends.numba_cpu.plane_rows import COLUMN_WORDS, Shape, Taps, describe_columns, for_each_row, literals
from fastconv.backends.numba_cpu.simd import (
    Simd,
    bits_between,
    call,
    load_integer,
    load_scalar,
    load_vector,
    mask_of_bits,
    masked_load,
    multiply_add,
    store,
    store_scalar,
    store_vector,
    vector_at,
    vector_of,
    zeros,
)

_I64 = ir.IntType(64)


@intrinsic(prefer_literal=True)
def _correlate_rows(
    typing,
    simd,
    rows,
    columns,
    step,
    kept,
    target_step,
    source,
    frame,
    offsets,
    nowhere,
    table,
    gradient,
    bits,
    sums,
    first,
    end,
):
    """See `correlate_kernel`."""
    shape = literals(rows, columns, step, kept, target_step)

    def generate(context, builder, signature, arguments):
        source, frame, offsets, nowhere, table, gradient, bits, sums, first, end = arguments[6:]
        taps = Taps(builder, simd, shape, source, frame, offsets, nowhere, table)
        nothing = ir.Constant(vector_of(simd).llvm, None)
        mask = mask_of_bits(builder, simd.simd.lanes, bits)
        across = taps.integer(frame, F.TARGET_W)

        def body(i: Any, pixels: list[list[Any]], before: list[Any]) -> list[Any]:
            pointer = vector_at(builder, simd, gradient, builder.mul(i, across))
            change = masked_load(builder, pointer, mask, nothing, simd.simd.itemsize)
            under_taps = [value for row in pixels for value in row]
            return [
                multiply_add(builder, change, value, total) for value, total in zip(under_taps, before, strict=True)
            ]

        totals = for_each_row(taps, first, end, [nothing] * (taps.rows * taps.columns), body)
        # Each plane's sums begin at zero: two short chains of additions are more exact than a long one.
        for t, total in enumerate(totals):
            place = ir.Constant(_I64, t * simd.simd.lanes)
            store_vector(builder, simd, builder.fadd(load_vector(builder, simd, sums, place), total), sums, place)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, step, kept, target_step, *[intp] * 10), generate


@once
def correlate_kernel(simd: Simd, shape: Shape) -> int:
    """The address of the kernel of the adjoint for the weight, compiled at the first call.

    It adds a vector's columns of a plane's rows to rows x columns vectors of sums. Of the integers that it takes, the
    first five and the last two are those of `depthwise.convolve_kernel`; between them are the address of the first
    column in row 0 of the gradient, the columns there are, as a mask, and the address of the sums.
    """
    rows, columns, step, kept, target_step = shape

    def correlate_rows(source, frame, offsets, nowhere, table, gradient, bits, sums, first, end):
        _correlate_rows(
            simd,
            rows,
            columns,
            step,
            kept,
            target_step,
            source,
            frame,
            offsets,
            nowhere,
            table,
            gradient,
            bits,
            sums,
            first,
            end,
        )

    return address_of(correlate_rows, 10)


@intrinsic
def _add_vectors(typing, simd, source, count, target):
    """Write the sums of the lanes of ``count`` vectors, at most as many as lanes, side by side: a whole vector."""

    def generate(context, builder, signature, arguments):
        _, source, count, target = arguments
        lanes = simd.simd.lanes
        nothing = ir.Constant(vector_of(simd).llvm, None)
        vectors = []
        for i in range(lanes):
            place = ir.Constant(_I64, i)
            there = builder.icmp_signed("<", place, count)
            index = builder.select(there, builder.mul(place, ir.Constant(_I64, lanes)), ir.Constant(_I64, 0))
            vectors.append(builder.select(there, load_vector(builder, simd, source, index), nothing))
        store_vector(builder, simd, add_lanes(builder, vectors), target, ir.Constant(_I64, 0))
        return context.get_dummy_value()

    return types.void(simd, intp, intp, intp), generate


@inner
def _correlate(simd, frame, task, slot):
    """One part of the batch for some target channels."""
    part, split = divmod(task, load_integer(frame, F.SPLITS))
    groups, rows = load_integer(frame, F.GROUPS), load_integer(frame, F.ROWS)
    first = part * load_integer(frame, F.BLOCK_TILES)
    end = min(groups * rows, first + load_integer(frame, F.BLOCK_TILES))
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    taps, columns = load_integer(frame, F.TAP_COUNT), load_integer(frame, F.TAP_COLUMNS)
    blocks, block_rows = load_integer(frame, F.BLOCKS), load_integer(frame, F.BLOCK_ROWS)
    first_unit = split * load_integer(frame, F.SPLIT_STEPS)
    end_unit = min(load_integer(frame, F.N) * blocks, first_unit + load_integer(frame, F.SPLIT_STEPS))
    plane = load_integer(frame, F.H) * load_integer(frame, F.W)
    offsets, kernel, size = load_integer(frame, F.OFFSETS), load_integer(frame, F.KERNEL), simd.itemsize
    target = load_integer(frame, F.TARGET)
    if load_integer(frame, F.SPLITS) > 1:
        target = load_integer(frame, F.PARTIAL) + size * split * groups * rows * taps

    nowhere = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    sums = nowhere + size * (load_integer(frame, F.W) + 2 * simd.lanes)
    table = (sums + size * taps * simd.lanes + 63) // 64 * 64
    describe_columns(simd, frame, nowhere, table)
    for m in range(first, end):
        for t in range(taps):
            store(simd, sums, t * simd.lanes, zeros(simd))
        for unit in range(first_unit, end_unit):
            n, block = divmod(unit, blocks)
            source = load_integer(frame, F.SOURCE) + size * (n * groups + m // rows) * plane
            gradient = load_integer(frame, F.WEIGHT) + size * (n * groups * rows + m) * I * J
            first_row = block * block_rows
            end_row = min(I, first_row + block_rows)
            for j in range(0, J, simd.lanes):
                here = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns)
                bits = bits_between(simd, 0, J - j)
                call(
                    kernel,
                    (source, frame, offsets, nowhere, here, gradient + size * j, bits, sums, first_row, end_row),
                )
        for t in range(0, taps, simd.lanes):
            # A vector's sums go where the first of the vectors was.
            there = min(simd.lanes, taps - t)
            here = sums + size * t * simd.lanes
            _add_vectors(simd, here, there, here)
            for i in range(there):
                store_scalar(simd, target, m * taps + t + i, load_scalar(simd, here, i))


@once
def correlate_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes some channels' gradients of the weight."""

    def correlate_planes(frame, task, slot):
        _correlate(simd, frame, task, slot)

    return address_of(correlate_planes, 3)
