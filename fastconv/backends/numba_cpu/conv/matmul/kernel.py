"""These kernels multiply matrices that are read in place: for 1 x 1 kernels, and kernels that cover their image.

    c[i, j]  =  start[i, j] + sum over k of a[k * depth step + i * row step] * b[k, j]

An image with one channel in each row, C x HW, is such a b, and the weight, in any order of its axes, is such an a. For
small products it doesn't pay to pack panels: for LeNet-5's first linear layer, 100 x 84 numbers from 120 products each,
packing took as long as the product, and called two jobs more. The kernel broadcasts from as many rows of a as the tile
has; of b it reads whole vectors, and at the end of a row only the numbers that the row has. KC steps of a tile's
columns stay in the L1 cache for all rows, unless the distance between b's rows puts them into few of its sets, which
the tiling excludes.

A weight gradient is a product along the rows of both operands. It reads one of them transposed; all threads make this
transpose first.

A task takes a block of columns and of rows, of one group of an image:

    for KC steps
        for tiles of columns
            for tiles of rows        one micro-kernel call
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, integers, intrinsic, types
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.gemm.tile_emitter import ACCUMULATE, Tile
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    mask_between,
    store_scalar,
    transpose,
)
from fastconv.backends.numba_cpu.simd.task import task

_I64 = ir.IntType(64)


@compiled
def kernel(simd: Simd, rows: int, vectors: int, whole: bool) -> Kernel:
    """Return the address of the kernel for a tile of rows x vectors, which is compiled at the first call.

    It takes twelve integers. depth: steps, at least 1. a, row_step, depth_step: its address, and elements from one
    of its rows and steps to the next. b, width: its address, and elements from one row to the next. rest: number of
    lanes in a row's last vector, unless it is ``whole``. c, step, bias, start, limits: as in
    `gemm.micro_kernel.packed`.
    """

    def matrix_kernel(depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, limits):
        values = depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, limits
        _matrix_tile(simd, rows, vectors, whole, values)

    return integers(matrix_kernel)


@intrinsic(prefer_literal=True)
def _matrix_tile(typing, simd, rows, vectors, whole, values):
    """Emit the body of `kernel`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        values = cgutils.unpack_tuple(builder, arguments[4], 12)
        depth, a, row_step, depth_step, b, width, rest, c, step, bias, start, limits = values
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
        tile.finish_matrix(c, step, bias, start, limits)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, whole, types.UniTuple(types.intp, 12)), generate


@task(MatrixArguments)
def transpose_block(simd, args, task, thread):
    """Transpose a vector of pixels of all source channels into rows of channels."""
    pixels, depth = args.pixels, args.depth
    source, target = args.source, args.transposed
    width, size, lanes = args.width, simd.itemsize, simd.lanes
    first = task * lanes
    if pixels < lanes:
        for p in range(pixels):
            for c in range(depth):
                store_scalar(simd, target, p * width + c, load_scalar(simd, source, c * pixels + p))
        return
    # The last task does some pixels again, rather than read beyond the end of the rows.
    first = min(first, pixels - lanes)
    for c in range(0, depth, lanes):
        corner = source + size * (c * pixels + first)
        transpose(simd, corner, pixels, min(lanes, depth - c), target + size * (first * width + c), width)


@task(MatrixArguments)
def correlate(simd, args, task, thread):
    """Compute a block of target channels by a block of source channels: a sum along the pixels of the only image."""
    panel_block, block = divmod(task, args.blocks)
    rows, columns, width, pixels = args.rows, args.points, args.width, args.pixels
    tile_rows, tile_width = args.tile_rows, args.tile_vectors * simd.lanes
    first_row = panel_block * args.block_panels * tile_rows
    end_row = min(rows, first_row + args.block_panels * tile_rows)
    first_column = block * args.block_tiles * tile_width
    end_column = min(columns, first_column + args.block_tiles * tile_width)
    row_step, depth_step = args.row_step, args.depth_step
    steps, kernels, size = args.steps, args.kernel, simd.itemsize
    # The first limits are infinite: a dense layer's bias and activation are applied after the sum.
    limits = args.limits
    for k in range(0, pixels, steps):
        here = min(steps, pixels - k)
        start = ACCUMULATE if k > 0 else 0
        for j in range(first_column, end_column, tile_width):
            there = min(tile_width, columns - j)
            rest = there - (there - 1) // simd.lanes * simd.lanes
            b = args.transposed + size * (k * width + j)
            for i in range(first_row, end_row, tile_rows):
                kernel = load_integer(kernels, (2 if i + tile_rows > rows else 0) + (1 if there < tile_width else 0))
                a = args.grad + size * (i * row_step + k * depth_step)
                c = args.target + size * (i * columns + j)
                call(kernel, (here, a, row_step, depth_step, b, width, rest, c, columns, 0, start, limits))
