"""The weight gradient of a 1 x 1 convolution is a product along the rows of both operands; one of them is transposed.

    grad_weight[m, c]  =  sum over n, u of grad[n, m, u] * source[n, c, u]

The kernel (kernel.py) broadcasts from the gradient, in place: a row for each target channel, one step a pixel. Of the
source it reads, for each pixel, a vector of channels: a chunk of an image's pixels is transposed, a square of lanes x
lanes at a time, into the L2 cache, and used for all target channels of the task. Only numbers of the definition are
multiplied: chunks end with their image, and nothing is padded.

A task takes a block of source channels and of target channels in one group, and a part of the chunks:

    for chunks of the images         transpose
        for tiles of source channels
            for tiles of target channels     one micro-kernel call, added to the result

Parts have results of their own, which are added in order.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.gemm.tile_emitter import ACCUMULATE
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    prefetch,
    store_scalar,
    transpose,
)
from fastconv.backends.numba_cpu.simd.task import task

_AHEAD = 4
"""Distance of prefetches, in vectors. Planes are too far apart for the processor to see that each is read in order."""


def workspace_bytes(simd: Simd, steps: int, width: int) -> int:
    """Return the size of a thread's workspace, in bytes: a chunk of at most ``steps`` pixels, in rows of ``width``."""
    return simd.itemsize * (steps * width + simd.lanes)


@inner
def _transpose_chunk(simd, source, pixels, channels, count, target, width):
    """Write ``count`` pixels of ``channels`` planes, ``pixels`` apart, as rows of channels, ``width`` apart."""
    lanes = simd.lanes
    if count < lanes:
        for p in range(count):
            for c in range(channels):
                store_scalar(simd, target, p * width + c, load_scalar(simd, source, c * pixels + p))
        return
    for c in range(0, channels, lanes):
        there = min(lanes, channels - c)
        for p in range(0, count, lanes):
            # The last square has some pixels again, rather than what lies behind the chunk.
            first = min(p, count - lanes)
            corner = source + simd.itemsize * (c * pixels + first)
            for i in range(there):
                prefetch(simd, corner, i * pixels + _AHEAD * lanes)
            transpose(simd, corner, pixels, there, target + simd.itemsize * (first * width + c), width)


@task(MatrixArguments)
def correlate(simd, args, task, thread):
    """Compute a block of target channels by a block of source channels in one group, over a part of the chunks."""
    rest, block = divmod(task, args.blocks)
    rest, panel_block = divmod(rest, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    rows, columns, width, pixels = args.rows, args.points, args.width, args.pixels
    tile_rows, tile_width = args.tile_rows, args.tile_vectors * simd.lanes
    first_row = panel_block * args.block_panels * tile_rows
    end_row = min(rows, first_row + args.block_panels * tile_rows)
    first_column = block * args.block_tiles * tile_width
    end_column = min(columns, first_column + args.block_tiles * tile_width)
    chunks, kernels, size = args.chunks, args.kernel, simd.itemsize
    transposed = args.workspace + thread * args.thread_bytes
    target = args.target
    if args.splits > 1:
        target = args.partial + size * split * args.groups * rows * columns
    target += size * group * rows * columns
    # The first limits are infinite: a dense layer's bias and activation are applied after the sum.
    limits = args.limits

    first = split * args.split_steps
    for unit in range(first, min(args.N * chunks, first + args.split_steps)):
        n, chunk = divmod(unit, chunks)
        image, k = n * args.groups + group, chunk * pixels // chunks
        here = (chunk + 1) * pixels // chunks - k
        corner = args.source + size * ((image * columns + first_column) * pixels + k)
        _transpose_chunk(simd, corner, pixels, end_column - first_column, here, transposed, width)
        gradient = args.grad + size * (image * rows * pixels + k)
        start = ACCUMULATE if unit > first else 0
        for j in range(first_column, end_column, tile_width):
            there = min(tile_width, columns - j)
            rest = there - (there - 1) // simd.lanes * simd.lanes
            b = transposed + size * (j - first_column)
            for i in range(first_row, end_row, tile_rows):
                kernel = load_integer(kernels, (2 if i + tile_rows > rows else 0) + (1 if there < tile_width else 0))
                a, c = gradient + size * i * pixels, target + size * (i * columns + j)
                call(kernel, (here, a, pixels, 1, b, width, rest, c, columns, 0, start, limits))
