"""This weight gradient has images in the lanes: it is a sum over pixels, and at the end over the lanes.

    grad_weight[m, c, t]  =  sum over n, i, j of grad[n, m, i, j] * source[n, c, i * DI + dy[t], j * DJ + dx[t]]

A block of lattice rows of as many images as a vector has lanes is interleaved, both of the source (forward.py) and of
the gradient, so that every pixel is a vector. The kernel keeps one vector of partial sums in registers for each of
``rows`` x ``columns`` numbers of the weight gradient, where a column is a tap of a channel. It goes through the lattice
points at which these taps meet the image, and then adds up the lanes of many vectors at a time
(conv/direct/weight_grad.py). Columns that it takes together have taps in one row of the kernel, ordered by tap and then
by channel: with many channels they are all of one tap, and taps in the padding cost nothing.

Each point loads rows + columns vectors, all of them aligned, for rows * columns multiply-adds: 10 for 25. If the block
is small enough, the gradient's rows stay in the L1 cache for all columns.

A task is a part of the blocks of all images for a block of target channels in one group; each part has a result of its
own, and these are added in order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, inner, integers, intrinsic, types
from fastconv.backends.numba_cpu.conv.direct.weight_grad import add_lanes
from fastconv.backends.numba_cpu.conv.image_lanes.arguments import BatchArguments
from fastconv.backends.numba_cpu.conv.image_lanes.forward import read_rows, rows_read
from fastconv.backends.numba_cpu.conv.image_lanes.interleave import interleave
from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    element,
    load_integer,
    load_vector,
    multiply_add,
    store_scalar,
    vector_of,
    zero,
)
from fastconv.backends.numba_cpu.simd.task import task

_I32, _I64 = ir.IntType(32), ir.IntType(64)

COLUMN_WORDS = 5
"""Count of integers that describe a column: the index in the planes at which lattice point (0, 0) would read it,
counted from image row 0; its place in a row of the weight gradient; its tap's dy and dx; and the number of columns up
to the end of its row of the kernel."""


def workspace_bytes(simd: Simd, channels: int, channel: int, rows: int, points: int) -> int:
    """Return the bytes of a thread's workspace: the interleaved source, and the gradient of ``rows`` channels."""
    lanes = simd.lanes
    return (channels * channel + rows * points * lanes + 2 * lanes * lanes) * simd.itemsize + 64


@compiled
def kernel(simd: Simd, rows: int, columns: int) -> Kernel:
    """Return the address of the kernel for ``rows`` x ``columns`` sums, which is compiled at the first call.

    It takes eleven integers. down, across: lattice rows and columns, at least 1. gradient, plane, line: the address of
    the first point's vector, and elements from one target channel to the next, and from one lattice row. source,
    down_step, right_step: the planes' address, and elements from a lattice row or column to the next. table: the
    address of `COLUMN_WORDS` integers for each column. target, step: where the sums are added, and elements between
    rows there.
    """

    def correlate(down, across, gradient, plane, line, source, down_step, right_step, table, target, step):
        values = down, across, gradient, plane, line, source, down_step, right_step, table, target, step
        _correlate(simd, rows, columns, values)

    return integers(correlate)


@intrinsic(prefer_literal=True)
def _correlate(typing, simd, rows, columns, values):
    """Emit the body of `kernel`."""
    M, C = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, arguments):
        values = cgutils.unpack_tuple(builder, arguments[3], 11)
        down, across, gradient, plane, line, source, down_step, right_step, table, target, step = values
        kind = vector_of(simd).llvm
        lanes = simd.simd.lanes
        places = [(m, c) for m in range(M) for c in range(C)]

        def number(value: int) -> Any:
            return ir.Constant(_I64, value)

        pointer = builder.inttoptr(table, _I64.as_pointer())

        def word(column: int, which: int) -> Any:
            return builder.load(builder.gep(pointer, [number(COLUMN_WORDS * column + which)]))

        begins = [word(c, 0) for c in range(C)]
        before = builder.block
        row, point, row_done, after = (
            builder.append_basic_block(name) for name in ("row", "point", "row_done", "finish")
        )
        builder.branch(row)

        builder.position_at_end(row)
        so_far = {place: builder.phi(kind) for place in places}
        i, row_gradient, row_source = (builder.phi(_I64) for _ in range(3))
        builder.branch(point)

        builder.position_at_end(point)
        sums = {place: builder.phi(kind) for place in places}
        j, at_gradient, at_source = (builder.phi(_I64) for _ in range(3))
        pixels = [load_vector(builder, simd, source, builder.add(at_source, begin)) for begin in begins]
        new = {}
        for m in range(M):
            change = load_vector(builder, simd, gradient, builder.add(at_gradient, builder.mul(plane, number(m))))
            for c in range(C):
                new[m, c] = multiply_add(builder, change, pixels[c], sums[m, c])
        following = builder.add(j, number(1))
        steps = following, builder.add(at_gradient, number(lanes)), builder.add(at_source, right_step)
        firsts = number(0), row_gradient, row_source
        for phi, first, then in zip((j, at_gradient, at_source), firsts, steps, strict=True):
            phi.add_incoming(first, row)
            phi.add_incoming(then, point)
        builder.cbranch(builder.icmp_signed("<", following, across), point, row_done)

        builder.position_at_end(row_done)
        following = builder.add(i, number(1))
        steps = following, builder.add(row_gradient, line), builder.add(row_source, down_step)
        for phi, then in zip((i, row_gradient, row_source), steps, strict=True):
            phi.add_incoming(number(0), before)
            phi.add_incoming(then, row_done)
        for place in places:
            so_far[place].add_incoming(ir.Constant(kind, None), before)
            so_far[place].add_incoming(new[place], row_done)
            sums[place].add_incoming(so_far[place], row)
            sums[place].add_incoming(new[place], point)
        builder.cbranch(builder.icmp_signed("<", following, down), row, after)

        builder.position_at_end(after)
        goes = [word(c, 1) for c in range(C)]
        for first in range(0, len(places), lanes):
            some = places[first : first + lanes]
            totals = add_lanes(builder, [new[place] for place in some])
            for lane, (m, c) in enumerate(some):
                index = builder.add(builder.mul(step, number(m)), goes[c])
                where = element(builder, simd, target, index)
                total = builder.extract_element(totals, ir.Constant(_I32, lane))
                builder.store(builder.fadd(builder.load(where), total), where)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, types.UniTuple(types.intp, 11)), generate


@inner
def _read_gradient(simd, args, batch, channel, channels, first_row, rows, target):
    """Interleave lattice rows of the gradient from ``channel`` on, into BLOCK_ROWS rows of J vectors a channel."""
    I, J = args.I, args.J
    image_step = args.groups * args.rows * I * J
    images = min(simd.lanes, args.N - batch * simd.lanes)
    source = args.grad + simd.itemsize * (batch * simd.lanes * image_step + (channel * I + first_row) * J)
    for m in range(channels):
        here = target + simd.itemsize * simd.lanes * m * args.block_rows * J
        interleave(simd, source + simd.itemsize * m * I * J, image_step, images, rows * J, here)
        if not is_finite(simd, here, rows * J * simd.lanes):
            args.infinite = 1


@inner
def _points_met(first, rows, step, size, low, high):
    """Return the first of the points ``first`` up to first + rows that meets the image, and the one after the last.

    Points are ``step`` pixels apart. A point meets the image if its pixel, moved by any shift from ``low`` to ``high``,
    is at least 0 and below ``size``.
    """
    begin = max(first, (-high + step - 1) // step)
    end = min(first + rows, (size - low + step - 1) // step)
    return begin, end


@task(BatchArguments)
def accumulate(simd, args, task, thread):
    """Add up one part of the blocks, for a block of target channels in one group."""
    rest, panel_block = divmod(task, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    depth, channels = args.depth, args.rows
    columns = depth * args.tap_count
    tile_rows, tile_columns = args.tile_rows, args.tile_vectors
    first_channel = panel_block * args.block_panels * tile_rows
    end_channel = min(channels, first_channel + args.block_panels * tile_rows)
    I, J, wide = args.I, args.J, args.plane_w
    H, W = args.H, args.W
    down, right = args.DI, args.DJ
    blocks, block_rows = args.blocks, args.block_rows
    kernels, offsets, size = args.kernel, args.columns, simd.itemsize
    target = args.target
    if args.splits > 1:
        target = args.partial + size * split * args.groups * channels * columns
    target += size * group * channels * columns
    for i in range(first_channel * columns, end_channel * columns):
        store_scalar(simd, target, i, zero(simd))

    slab = args.workspace + thread * args.thread_bytes
    gradient = slab + size * (depth * args.channel + simd.lanes * simd.lanes)
    line, plane = J * simd.lanes, block_rows * J * simd.lanes
    batches = (args.N + simd.lanes - 1) // simd.lanes
    first = split * args.split_steps
    end = min(batches * blocks, first + args.split_steps)
    for unit in range(first, end):
        batch, block = divmod(unit, blocks)
        first_row = block * block_rows
        rows = min(block_rows, I - first_row)
        top, bottom = rows_read(args, first_row, rows)
        read_rows(simd, args, batch, group, 0, depth, top, bottom, slab)
        count = end_channel - first_channel
        _read_gradient(simd, args, batch, group * channels + first_channel, count, first_row, rows, gradient)
        for m in range(first_channel, end_channel, tile_rows):
            c = 0
            while c < columns:
                entry = offsets + 8 * COLUMN_WORDS * c
                here = min(tile_columns, load_integer(entry, 4))
                far = entry + 8 * COLUMN_WORDS * (here - 1)
                # Columns of one row of the kernel share dy, and their dx ascend.
                dy = load_integer(entry, 2)
                i, last_row = _points_met(first_row, rows, down, H, dy, dy)
                j, last = _points_met(0, J, right, W, load_integer(entry, 3), load_integer(far, 3))
                if i < last_row and j < last:
                    # The table has a kernel for each number of columns, for whole tiles and for fewer rows.
                    which = here - 1 + (tile_columns if m + tile_rows > end_channel else 0)
                    change = gradient + size * ((m - first_channel) * plane + (i - first_row) * line + j * simd.lanes)
                    pixels = slab + size * simd.lanes * ((i * down - top) * wide + j * right)
                    sums = target + size * m * columns
                    to_row, to_column = down * wide * simd.lanes, right * simd.lanes
                    down_by, across_by = last_row - i, last - j
                    call(
                        load_integer(kernels, which),
                        (down_by, across_by, change, plane, line, pixels, to_row, to_column, entry, sums, columns),
                    )
                c += here
