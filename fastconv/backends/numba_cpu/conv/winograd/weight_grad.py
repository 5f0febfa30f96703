"""The weight gradient of Winograd's 3 x 3 convolution takes 16 multiplications where the definition has 36.

The result of forward.py for the patches d of a source channel, y = A' [ (G g G') * (B' d B) ] A, is linear in the
kernel g. So the weight gradient, from the gradients e of the patches' 2 x 2 pixels, is a sum over all patches:

    grad_g = G' [ sum over patches of (A e A') * (B' d B) ] G

so the sums are 16 independent products of matrices, (target channels x patches) by (patches x channels). Patches are in
the lanes and side by side; the micro-kernel wants them one after another, so both operands are transposed on the way
into their panels, as in conv/implicit_gemm/weight_grad.py.

A task takes a block of channels, of target channels and of patches:

    for KC patches
        for vectors of channels          transform and transpose: 16 x KC x NC numbers, in the L2 cache
        for panels of target channels    the same for the gradient
        for each of the 16 products
            for panels, for tiles        one micro-kernel call, added to the sums
    transform the sums                   and write 9 numbers for each pair of channels

For a larger kernel, a task computes one piece of 3 x 3 taps.

Sums of up to 128 x 128 channels are kept, 1 MiB, which go through the cache once in KC = 64 steps. Both operands are
transformed anew for each block of the other's channels: with 128 of them that takes 13% of the time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.conv.winograd.arguments import WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.patches import (
    CHUNK_WORDS,
    POINTS,
    count_patches,
    describe_chunks,
    load_pairs,
    load_points,
    read_patches,
    store_points,
)
from fastconv.backends.numba_cpu.gemm.packing import is_finite, pack_rows, pack_squares
from fastconv.backends.numba_cpu.gemm.tile_emitter import ACCUMULATE
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    mask_of_bits,
    store,
    store_scalar,
    store_vector,
    transpose,
    vector_of,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

_I64 = ir.IntType(64)


def workspace_bytes(
    simd: Simd, steps: int, block_tiles: int, block_panels: int, tile_rows: int, tile_vectors: int
) -> int:
    """Return the size of a thread's workspace in bytes.

    It holds both operands' panels, some channels before transposition, the sums, and the table of chunks.
    """
    columns, rows = block_tiles * tile_vectors * simd.lanes, block_panels * tile_rows
    operands = POINTS * (steps * columns + steps * rows + block_panels * simd.lanes)
    square = POINTS * (steps * max(simd.lanes, tile_rows) + simd.lanes)
    numbers = operands + square + POINTS * rows * columns + 10 * columns + 4 * simd.lanes
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * CHUNK_WORDS * steps


@intrinsic
def _transform_gradients(typing, simd, row0, row1, mask0, mask1, mask2, mask3, target, step):
    """Write A e A' of a vector of 2 x 2 gradients as 16 vectors, ``step`` elements apart, from ``target`` on.

    ``row0`` and ``row1`` are addresses; the masks say which lanes of two vectors in each row belong to the image.
    """

    def generate(context, builder, signature, arguments):
        _, *rows, mask0, mask1, mask2, mask3, target, step = arguments
        lanes = simd.simd.lanes
        parts = [ir.Constant(_I64, half) for half in (0, lanes)]
        minus = ir.Constant(vector_of(simd).llvm, [-0.0] * lanes)

        def spread(e: list[Any]) -> list[Any]:
            """Return A e for a column e of two vectors."""
            return [e[0], builder.fadd(e[0], e[1]), builder.fsub(e[0], e[1]), builder.fsub(minus, e[1])]

        pixels = [
            load_pairs(builder, simd, row, parts, [mask_of_bits(builder, lanes, bits) for bits in masks])
            for row, masks in zip(rows, ((mask0, mask1), (mask2, mask3)), strict=True)
        ]
        columns = [spread([row[j] for row in pixels]) for j in range(2)]
        store_points(builder, simd, [spread([column[i] for column in columns]) for i in range(4)], target, step)
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 8), generate


@intrinsic
def _transform_sums(typing, simd, source, source_step, target, target_step):
    """Write G' m G of 16 vectors ``source_step`` elements apart as 9 vectors ``target_step`` elements apart."""

    def generate(context, builder, signature, arguments):
        _, source, source_step, target, target_step = arguments
        half = ir.Constant(vector_of(simd).llvm, [0.5] * simd.simd.lanes)

        def gather(m: list[Any]) -> list[Any]:
            """Return G' m for a column m of four vectors."""
            both = builder.fmul(builder.fadd(m[1], m[2]), half)
            return [
                builder.fadd(m[0], both),
                builder.fmul(builder.fsub(m[1], m[2]), half),
                builder.fadd(both, m[3]),
            ]

        points = load_points(builder, simd, source, source_step)
        columns = [gather([row[j] for row in points]) for j in range(4)]
        taps = [value for r in range(3) for value in gather([column[r] for column in columns])]
        for t, value in enumerate(taps):
            store_vector(builder, simd, value, target, builder.mul(target_step, ir.Constant(_I64, t)))
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 4), generate


@inner
def _pack_source(simd, first, end, chunks, table, steps, square, target, width):
    """Transform and transpose channels ``first`` up to ``end`` into 16 rows of tiles of steps x width."""
    lanes = simd.lanes
    square_step = (steps + 1) * lanes
    tiles = (end - first + width - 1) // width
    for c in range(first, end, lanes):
        there = min(lanes, end - c)
        read_patches(simd, c, c + there, chunks, table, steps, square, square_step)
        tile, inside = divmod(c - first, width)
        for point in range(POINTS):
            place = target + simd.itemsize * ((point * tiles + tile) * steps * width + inside)
            for k in range(0, steps, lanes):
                corner = square + simd.itemsize * (point * square_step + k)
                transpose(simd, corner, steps, there, place + simd.itemsize * k * width, width)


@inner
def _pack_gradient(simd, args, row, rows, chunks, table, steps, square, target, target_step):
    """Transform and transpose gradient channels from ``row`` on into a panel for each of the 16 products."""
    tile_rows = args.tile_rows
    square_step = steps * tile_rows + simd.lanes
    plane = simd.itemsize * args.I * args.J
    below = simd.itemsize * args.J
    for m in range(rows):
        for chunk in range(chunks):
            base = table + 8 * CHUNK_WORDS * chunk
            pixels = load_integer(base, 13) + (row + m) * plane
            _transform_gradients(
                simd,
                pixels,
                pixels + below,
                load_integer(base, 14),
                load_integer(base, 15),
                load_integer(base, 16),
                load_integer(base, 17),
                square + simd.itemsize * (m * steps + load_integer(base, 0)),
                square_step,
            )
    for point in range(POINTS):
        panel = target + simd.itemsize * point * target_step
        pack_squares(simd, square + simd.itemsize * point * square_step, steps, rows, steps, panel, tile_rows)


@inner
def _write_taps(simd, sums, step, rows, wanted, columns, taps, target, depth, kernel, first_tap):
    """Write the gradients of rows x ``wanted`` kernels, by way of ``taps``; return True if all are finite.

    They are those of a piece of at most 3 x 3 taps of a ``kernel`` (R, S), from ``first_tap`` (r, s) on.
    """
    (R, S), (r, s) = kernel, first_tap
    finite = True
    for row in range(rows):
        for c in range(0, wanted, simd.lanes):
            _transform_sums(simd, sums + simd.itemsize * (row * columns + c), step, taps + simd.itemsize * c, columns)
        place = target + simd.itemsize * R * S * row * depth
        if R == 3 and S == 3:
            pack_rows(simd, taps, columns, 9, wanted, place, 9)
            finite = finite and is_finite(simd, place, 9 * wanted)
            continue
        for down in range(min(3, R - r)):
            for right in range(min(3, S - s)):
                values = taps + simd.itemsize * (3 * down + right) * columns
                finite = finite and is_finite(simd, values, wanted)
                first = (r + down) * S + s + right
                for c in range(wanted):
                    store_scalar(simd, place, c * R * S + first, load_scalar(simd, values, c))
    return finite


@inner
def _add_products(simd, args, steps, start, tiles, panels, left, left_step, right, sums):
    """Add the 16 products of ``steps`` patches, whose operands are packed at ``left`` and ``right``, to the sums."""
    tile_rows, width = args.tile_rows, args.tile_vectors * simd.lanes
    kernel, limits = args.kernel, args.limits
    most, columns, size = args.steps, tiles * width, simd.itemsize
    panel_step = most * tile_rows + simd.lanes
    for point in range(POINTS):
        for tile in range(tiles):
            b = right + size * (point * tiles + tile) * most * width
            for panel in range(panels):
                a = left + size * (point * left_step + panel * panel_step)
                c = sums + size * ((point * panels + panel) * tile_rows * columns + tile * width)
                call(kernel, (steps, a, b, c, columns, 0, start, limits))


@task(WinogradArguments)
def multiply(simd, args, task, thread):
    """Compute a block of channels for a block of target channels in one group, over one part of the patches."""
    R, S = args.tap_rows, args.tap_columns
    across = (S + 2) // 3
    rest, piece = divmod(task, (R + 2) // 3 * across)
    r, s = 3 * (piece // across), 3 * (piece % across)
    rest, block = divmod(rest, args.blocks)
    rest, panel_block = divmod(rest, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    rows, tile_rows = args.rows, args.tile_rows
    block_panels, block_tiles = args.block_panels, args.block_tiles
    first_row = panel_block * block_panels * tile_rows
    end_row = min(rows, first_row + block_panels * tile_rows)
    panels = (end_row - first_row + tile_rows - 1) // tile_rows
    width = args.tile_vectors * simd.lanes
    depth = args.depth
    first_column = block * block_tiles * width
    end_column = min(depth, first_column + block_tiles * width)
    tiles = (end_column - first_column + width - 1) // width
    columns = tiles * width
    begin = split * args.split_steps
    patches = min(count_patches(args), begin + args.split_steps)
    steps, size = args.steps, simd.itemsize

    right = args.workspace + thread * args.thread_bytes
    left = right + size * POINTS * steps * block_tiles * width
    panel_step = steps * tile_rows + simd.lanes
    left_step = block_panels * panel_step
    square = left + size * POINTS * left_step
    sums = square + size * POINTS * (steps * max(simd.lanes, tile_rows) + simd.lanes)
    sum_step = panels * tile_rows * columns
    taps = sums + size * POINTS * sum_step
    nowhere = taps + size * 10 * columns
    for i in range(0, 4 * simd.lanes, simd.lanes):
        store(simd, nowhere, i, zeros(simd))
    table = (nowhere + size * 4 * simd.lanes + 63) // 64 * 64

    for first in range(begin, patches, steps):
        here = min(steps, patches - first)
        gradient = args.grad
        chunks = describe_chunks(simd, args, gradient, group, group * rows, first, here, r, s, nowhere, table)
        _pack_source(simd, first_column, end_column, chunks, table, steps, square, right, width)
        for panel in range(panels):
            row = first_row + panel * tile_rows
            there = min(tile_rows, end_row - row)
            place = left + size * panel * panel_step
            _pack_gradient(simd, args, row, there, chunks, table, steps, square, place, left_step)
        start = ACCUMULATE if first > begin else 0
        _add_products(simd, args, here, start, tiles, panels, left, left_step, right, sums)

    target = args.target
    if args.splits > 1:
        target = args.partial + size * split * args.groups * rows * depth * R * S
    target += size * R * S * ((group * rows + first_row) * depth + first_column)
    wanted = end_column - first_column
    if not _write_taps(simd, sums, sum_step, end_row - first_row, wanted, columns, taps, target, depth, (R, S), (r, s)):
        args.infinite = 1
