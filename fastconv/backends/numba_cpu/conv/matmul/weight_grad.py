"""A weight gradient is a product along the rows of both operands for each tap; the source is transposed once.

    grad_weight[m, c, t]  =  sum over n, u of grad[n, m, u] * source[n, c, u + t]

The kernel (kernel.py) broadcasts from the gradient, in place: a row for each target channel, one step a pixel. Of the
source it reads, for each pixel, a vector of channels. So a block of an image's rows is transposed, a square of lanes x
lanes at a time, into the L2 cache, where each pixel is a row of channels; all taps and all target channels of the task
use it. For each tap a table says which row belongs to which lattice point, whatever the stride; points whose tap meets
padding have a row of zeros. Pointwise kernels need no table: rows follow one another. To gather and to transpose the
pixels of every tap, as conv/implicit_gemm does, takes a third of the time for 128 channels to 128 by 3 x 3 taps with a
stride of 2.

A task takes a block of source channels and of target channels in one group, and a part of the blocks of rows:

    for blocks of rows               transpose, and make the tables
        for taps, for KC points
            for tiles of source channels
                for tiles of target channels     one micro-kernel call, added to the result

Parts have results of their own, a matrix for each tap; these are added in order, and put into the weight's order.

The zeros are multiplied by the gradient. If that is infinite the product is NaN; so if the result has NaN, the plan
computes it again by conv/implicit_gemm, which has no such products. For 1 x 1 kernels there are no such zeros.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.gemm.packing import transpose_pixels
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    call,
    lanes_between,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_integer,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: Simd, channels: int, pixels: int, width: int, points: int, taps: int) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds a row of zeros and rows for the ``pixels`` of a block, each ``width`` wide, and tables of ``points`` for
    all taps; afterwards a row of sums for all ``channels``.
    """
    return simd.itemsize * (max((pixels + 1) * width, channels) + simd.lanes) + 8 * points * taps


@inner
def _describe_points(args, tap, first_row, rows, top, end, width, table):
    """Fill the table of a tap for ``rows`` lattice rows from ``first_row`` on, where rows ``top`` to ``end`` are there.

    Row 0 is that of zeros, the next one that of the first pixel in row ``top`` of the source.
    """
    W, J, right = args.W, args.J, args.DJ
    dy, dx = load_integer(args.taps, 3 * tap), load_integer(args.taps, 3 * tap + 1)
    # Points from ``left`` up to ``stop`` meet a pixel.
    left = min(J, max(0, (right - 1 - dx) // right))
    stop = max(left, min(J, (W - dx + right - 1) // right))
    for i in range(rows):
        y = (first_row + i) * args.DI + dy
        here = i * J
        if y < top or y >= end:
            for j in range(J):
                store_integer(table, here + j, 0)
            continue
        for j in range(left):
            store_integer(table, here + j, 0)
        index = (1 + (y - top) * W + left * right + dx) * width
        for j in range(left, stop):
            store_integer(table, here + j, index)
            index += right * width
        for j in range(stop, J):
            store_integer(table, here + j, 0)


@inner
def _multiply(simd, args, rows, columns, count, gradient, transposed, tables, result, add):
    """Multiply the ``count`` points of a block, for the ranges ``rows`` and ``columns`` of channels and all taps."""
    (first_row, end_row), (first_column, end_column), channels = rows, columns, args.points
    tile_rows, tile_width, width = args.tile_rows, args.tile_vectors * simd.lanes, args.width
    whole, plane, most = args.groups * args.rows * channels, args.I * args.J, args.block_rows * args.J
    kernels, steps, size, plain = args.kernel, args.steps, simd.itemsize, args.plain
    # The first limits are infinite: a dense layer's bias and activation are applied after the sum.
    limits = args.limits
    for t in range(args.tap_count):
        for k in range(0, count, steps):
            here, table = min(steps, count - k), tables + 8 * (t * most + k)
            for j in range(first_column, end_column, tile_width):
                there = min(tile_width, channels - j)
                rest = there - (there - 1) // simd.lanes * simd.lanes
                b = transposed + size * (j - first_column)
                for i in range(first_row, end_row, tile_rows):
                    edge = (2 if i + tile_rows > args.rows else 0) + (1 if there < tile_width else 0)
                    kernel = load_integer(kernels, edge)
                    a, c = gradient + size * (i * plane + k), result + size * (t * whole + i * channels + j)
                    start = c if add or k > 0 else 0
                    if plain != 0:
                        pixels = b + size * (1 + k) * width
                        call(kernel, (here, a, plane, 1, pixels, width, rest, c, channels, 0, start, limits))
                    else:
                        call(kernel, (here, a, plane, b, table, rest, c, channels, start, limits))


@task(MatrixArguments)
def correlate(simd, args, task, thread):
    """Compute a block of target channels by a block of source channels in one group, over a part of the blocks."""
    rest, block = divmod(task, args.blocks)
    rest, panel_block = divmod(rest, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    rows, columns, width, size = args.rows, args.points, args.width, simd.itemsize
    first_row, first_column = panel_block * args.block_panels, block * args.block_tiles
    first_row, first_column = first_row * args.tile_rows, first_column * args.tile_vectors * simd.lanes
    end_row = min(rows, first_row + args.block_panels * args.tile_rows)
    end_column = min(columns, first_column + args.block_tiles * args.tile_vectors * simd.lanes)
    H, W, J, down, block_rows, blocks = args.H, args.W, args.J, args.DI, args.block_rows, args.image_blocks
    taps, plane = args.tap_count, args.I * J
    result = args.target
    if args.splits > 1 or taps > 1:
        result = args.partial + size * split * taps * args.groups * rows * columns
    result += size * group * rows * columns

    transposed = args.workspace + thread * args.thread_bytes
    tables = transposed + args.thread_bytes - 8 * block_rows * J * taps
    for c in range(0, width, simd.lanes):
        store(simd, transposed, c, zeros(simd))
    known = -1
    first = split * args.split_steps
    for unit in range(first, min(args.N * blocks, first + args.split_steps)):
        n, block = divmod(unit, blocks)
        begin = block * block_rows
        count = min(block_rows, args.I - begin)
        top = begin * down + args.first_y
        end = top + (count - 1) * down + args.reach + 1
        inside = top >= 0 and end <= H
        top, end = max(0, top), min(H, end)
        image = n * args.groups + group
        if top < end:
            corner = args.source + size * ((image * columns + first_column) * H * W + top * W)
            pixels, channels = transposed + size * width, end_column - first_column
            transpose_pixels(simd, corner, H * W, channels, (end - top) * W, pixels, width)
        # Blocks that meet no padding above or below all have the same tables.
        if args.plain == 0 and (not inside or known != count):
            for t in range(taps):
                _describe_points(args, t, begin, count, top, end, width, tables + 8 * t * block_rows * J)
            known = count if inside else -1
        gradient = args.grad + size * (image * rows * plane + begin * J)
        channels = (first_row, end_row), (first_column, end_column)
        _multiply(simd, args, *channels, count * J, gradient, transposed, tables, result, unit > first)


@task(MatrixArguments)
def add_taps(simd, args, task, thread):
    """Add up the parts of one target channel's results, and write them in the weight's order: channels, then taps."""
    taps, columns = args.tap_count, args.points
    whole = args.groups * args.rows * columns
    sums = args.workspace + thread * args.thread_bytes
    for t in range(taps):
        for c in range(0, columns, simd.lanes):
            there = lanes_between(simd, 0, columns - c)
            total = zeros(simd)
            for split in range(args.splits):
                place = (split * taps + t) * whole + task * columns + c
                total = add(simd, total, load_where(simd, args.partial, place, there, zeros(simd)))
            store(simd, sums, c, total)
        for c in range(columns):
            store_scalar(simd, args.target, (task * columns + c) * taps + t, load_scalar(simd, sums, c))
