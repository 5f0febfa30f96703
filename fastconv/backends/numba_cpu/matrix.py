"""Products of matrices that are read where they lie: 1 x 1 kernels, and kernels that cover their image.

    c[i, j]  =  start[i, j] + sum over k of a[k * depth step + i * row step] * b[k, j]

An image of one channel a row, C x HW, is such a b, and any order of the weight's axes an a. Small products are over
before packed panels would pay: for LeNet-5's first linear layer, 100 x 84 numbers from 120 products each, packing took
as long as the product, and called two jobs more. The kernel broadcasts from as many rows of a as the tile has; of b it
reads whole vectors, and at the end of a row as many numbers as there are. KC steps of a tile's columns stay in the L1
cache while rows go by, unless the distance between b's rows puts them into few of its sets: the planner looks at that.

A product along the rows of both operands, which the adjoint for the weight is, reads one of them transposed; its
transpose is made first, by all threads.

A task takes a block of columns and of rows, of one group of an image:

    for KC steps
        for tiles of columns
            for tiles of rows        one micro-kernel call
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE, Tile
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    mask_between,
    store_scalar,
    transpose,
)

_I64 = ir.IntType(64)


@once
def kernel(simd: Simd, rows: int, vectors: int, whole: bool) -> int:
    """The address of the kernel for a tile of rows x vectors, compiled at the first call.

    It takes twelve integers. depth: steps, at least 1. a, row_step, depth_step: its address, and elements from one
    of its rows and steps to the next. b, width: its address, and elements from one row to the next. rest: lanes that
    there are in a row's last vector, unless it is ``whole``. c, step, bias, start, floor: as of `microkernel.packed`.
    """

    def matrix_kernel(depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, floor):
        _matrix_tile(
            simd, rows, vectors, whole, depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, floor
        )

    return address_of(matrix_kernel, 12)


@intrinsic(prefer_literal=True)
def _matrix_tile(
    typing,
    simd,
    rows,
    vectors,
    whole,
    depth,
    a,
    row_step,
    depth_step,
    b,
    width,
    rest,
    c,
    step,
    bias,
    start,
    floor,
):
    """See `kernel`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, floor = arguments[4:]
        if not whole.literal_value:
            tile.mask = mask_between(builder, simd.simd.lanes, ir.Constant(_I64, 0), rest)
        begins = [builder.mul(row_step, ir.Constant(_I64, i)) for i in range(shape[0])]
        tile.reduce(
            depth,
            a,
            b,
            lambda k: builder.mul(k, width),
            lambda k, i: builder.add(builder.mul(k, depth_step), begins[i]),
        )
        tile.finish_matrix(c, step, bias, start, floor)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, whole, *[intp] * 12), generate


@inner
def _multiply(simd, frame, task, a, b, width, c, depth, bias, last_floor):
    """A block of rows by one of columns: of ``task``, the blocks' number, the columns' come first.

    ``last_floor`` is the address of the number below which no sum may fall when it is complete.
    """
    panel_block, block = divmod(task, load_integer(frame, F.BLOCKS))
    rows, columns = load_integer(frame, F.ROWS), load_integer(frame, F.POINTS)
    tile_rows, tile_width = load_integer(frame, F.TILE_ROWS), load_integer(frame, F.TILE_VECTORS) * simd.lanes
    first_row = panel_block * load_integer(frame, F.BLOCK_PANELS) * tile_rows
    end_row = min(rows, first_row + load_integer(frame, F.BLOCK_PANELS) * tile_rows)
    first_column = block * load_integer(frame, F.BLOCK_TILES) * tile_width
    end_column = min(columns, first_column + load_integer(frame, F.BLOCK_TILES) * tile_width)
    row_step, depth_step = load_integer(frame, F.WEIGHT_ROW), load_integer(frame, F.WEIGHT_DEPTH)
    steps, kernels, size = load_integer(frame, F.STEPS), load_integer(frame, F.KERNEL), simd.itemsize
    for k in range(0, depth, steps):
        here = min(steps, depth - k)
        start = ACCUMULATE if k > 0 else 0
        floor = last_floor if k + here == depth else load_integer(frame, F.LIMITS)
        for j in range(first_column, end_column, tile_width):
            there = min(tile_width, columns - j)
            rest = there - (there - 1) // simd.lanes * simd.lanes
            for i in range(first_row, end_row, tile_rows):
                which = (2 if i + tile_rows > rows else 0) + (1 if there < tile_width else 0)
                call(
                    load_integer(kernels, which),
                    (
                        here,
                        a + size * (i * row_step + k * depth_step),
                        row_step,
                        depth_step,
                        b + size * (k * width + j),
                        width,
                        rest,
                        c + size * (i * columns + j),
                        columns,
                        bias + size * i if bias != 0 else 0,
                        start,
                        floor,
                    ),
                )


@inner
def _convolve(simd, frame, task):
    """A block of one group's target channels by one of an image's pixels."""
    blocks = load_integer(frame, F.BLOCKS) * load_integer(frame, F.PANEL_BLOCKS)
    plane, task = divmod(task, blocks)
    group = plane % load_integer(frame, F.GROUPS)
    rows, depth, pixels = load_integer(frame, F.ROWS), load_integer(frame, F.DEPTH), load_integer(frame, F.POINTS)
    tap = load_integer(load_integer(frame, F.TAPS), 2)
    weight = load_integer(frame, F.WEIGHT) + simd.itemsize * (group * load_integer(frame, F.WEIGHT_GROUP) + tap)
    source = load_integer(frame, F.SOURCE) + simd.itemsize * plane * depth * pixels
    target = load_integer(frame, F.TARGET) + simd.itemsize * plane * rows * pixels
    bias = load_integer(frame, F.BIAS)
    if bias != 0:
        bias += simd.itemsize * group * rows
    floor = load_integer(frame, F.LIMITS) + simd.itemsize
    _multiply(simd, frame, task, weight, source, pixels, target, depth, bias, floor)


@inner
def _transpose_block(simd, frame, task):
    """As many of a row's numbers as a vector has lanes, of all source channels, to rows of channels."""
    pixels, depth = load_integer(frame, F.WEIGHT_ROW), load_integer(frame, F.DEPTH)
    source, target = load_integer(frame, F.SOURCE), load_integer(frame, F.PARTIAL)
    width, size, lanes = load_integer(frame, F.CHANNEL), simd.itemsize, simd.lanes
    first = task * lanes
    if pixels < lanes:
        for p in range(pixels):
            for c in range(depth):
                store_scalar(simd, target, p * width + c, load_scalar(simd, source, c * pixels + p))
        return
    # The last ones again, rather than beyond the end of the rows.
    first = min(first, pixels - lanes)
    for c in range(0, depth, lanes):
        corner = source + size * (c * pixels + first)
        transpose(simd, corner, pixels, min(lanes, depth - c), target + size * (first * width + c), width)


@inner
def _correlate(simd, frame, task):
    """A block of target channels by one of source channels: a sum along the pixels of the only image."""
    width, pixels = load_integer(frame, F.CHANNEL), load_integer(frame, F.WEIGHT_ROW)
    grad, transposed = load_integer(frame, F.WEIGHT), load_integer(frame, F.PARTIAL)
    # A bias, and with it the floor, comes after the sum.
    floor = load_integer(frame, F.LIMITS)
    _multiply(simd, frame, task, grad, transposed, width, load_integer(frame, F.TARGET), pixels, 0, floor)


@once
def convolve_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes a block of a convolution."""

    def multiply_in_place(frame, task, slot):
        _convolve(simd, frame, task)

    return address_of(multiply_in_place, 3)


@once
def transpose_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that transposes some numbers of all rows."""

    def transpose_rows(frame, task, slot):
        _transpose_block(simd, frame, task)

    return address_of(transpose_rows, 3)


@once
def correlate_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes a block of an adjoint for the weight."""

    def multiply_transposed(frame, task, slot):
        _correlate(simd, frame, task)

    return address_of(multiply_transposed, 3)
