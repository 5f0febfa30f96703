"""These kernels multiply matrices that are read in place: for 1 x 1 kernels, and kernels that cover their image.

    c[i, j]  =  start[i, j] + sum over k of a[k * depth step + i * row step] * b[k, j]

An image with one channel in each row, C x HW, is such a b, and the weight, in any order of its axes, is such an a. For
small products it doesn't pay to pack panels: for LeNet-5's first linear layer, 100 x 84 numbers from 120 products each,
packing took as long as the product, and called two jobs more. The kernel broadcasts from as many rows of a as the tile
has; of b it reads whole vectors, and at the end of a row only the numbers that the row has. KC steps of a tile's
columns stay in the L1 cache for all rows, unless the distance between b's rows puts them into few of its sets, which
the tiling excludes. Each step prefetches a row of b for a later step and one line of the rows of a below the tile's:
other cores wrote the pixels, and in a network no cache holds the weight. ResNet-50 takes 6% less so for one image on
two Emerald Rapids cores, MobileNetV2 10%.

A task of a convolution (product.py) takes a block of columns and of rows, of one group of an image:

    for KC steps
        for tiles of columns
            for tiles of rows        one micro-kernel call

A weight gradient (weight_grad.py) is a product along the rows of both operands, of which it transposes one.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, integers, intrinsic, types
from fastconv.backends.numba_cpu.gemm.tile_emitter import Tile
from fastconv.backends.numba_cpu.simd import Simd, mask_between

_I64 = ir.IntType(64)

_MANY = 16
"""Multiply-adds of a step from which on it has room for the prefetches of a: with 12 a product takes 7% longer so."""


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


@compiled
def scattered(simd: Simd, rows: int, vectors: int, whole: bool) -> Kernel:
    """Return the address of the kernel for a tile whose rows of b lie anywhere, compiled at the first call.

    It takes ten integers. depth, a, row_step, rest, c, step, start, limits: as in `kernel`; steps of a are neighbours.
    b, table: its address, and the address of the index of each row of b.
    """

    def scattered_kernel(depth, a, row_step, b, table, rest, c, step, start, limits):
        _scattered_tile(simd, rows, vectors, whole, (depth, a, row_step, b, table, rest, c, step, start, limits))

    return integers(scattered_kernel)


@intrinsic(prefer_literal=True)
def _scattered_tile(typing, simd, rows, vectors, whole, values):
    """Emit the body of `scattered`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, row_step, b, table, rest, c, step, start, limits = cgutils.unpack_tuple(builder, arguments[4], 10)
        if not whole.literal_value:
            tile.mask = mask_between(builder, simd.simd.lanes, tile.number(0), rest)
        begins = [builder.mul(row_step, tile.number(i)) for i in range(shape[0])]
        tile.reduce(depth, a, b, lambda k: tile.integer(table, k), lambda k, i: builder.add(k, begins[i]))
        tile.finish_matrix(c, step, tile.number(0), start, limits)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, whole, types.UniTuple(types.intp, 10)), generate


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

        def prefetch(k, later):
            tile.prefetch_vectors(b, builder.mul(later, width), tile.vectors)
            if len(tile.places) < _MANY:
                return
            # A line of a: of as many rows below the tile, one after another, as a vector has lanes. That is of use
            # where the steps of a row are neighbours.
            inside = builder.and_(k, tile.number(simd.simd.lanes - 1))
            row = builder.mul(builder.add(inside, tile.number(tile.rows)), row_step)
            tile.prefetch_vectors(a, builder.add(row, builder.sub(k, inside)))

        # Rows of 55 x 55 pixels begin anywhere in a line: SqueezeNet takes 8% longer without, others as long.
        tile.prefetch_matrix(c, step)
        tile.reduce(
            depth,
            a,
            b,
            lambda k: builder.mul(k, width),
            lambda k, i: builder.add(builder.mul(k, depth_step), begins[i]),
            prefetch,
        )
        tile.finish_matrix(c, step, bias, start, limits)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, whole, types.UniTuple(types.intp, 12)), generate
