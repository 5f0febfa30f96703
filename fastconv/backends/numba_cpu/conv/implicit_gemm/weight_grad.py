"""The weight gradient is computed as a matrix product whose reduction runs over the pixels of the batch.

    grad_weight[m, c]  =  sum over u of grad[m, u] * source[c, u],      c = (d, t), u = (n, i, j)

In both operands the pixels, which the reduction runs over, are contiguous, while the micro-kernel reads all rows of one
step after another: so both are transposed on the way into their panels, a square of lanes x lanes numbers at a time, in
registers. The source is gathered as in forward.py; no column matrix is stored.

A task takes a block of columns c and of target channels m, and goes through the pixels KC at a time:

    for KC of the pixels
        gather and transpose KC x NC of the source       (0.4 cycles a number, each used ROWS times)
        transpose KC x MC of the gradient                (0.3 cycles a number, each used NC times)
        for panels, for tiles                            one micro-kernel call, added to the result

A small weight has too few blocks for all threads. If there are many pixels, these are split too: each part sums into an
array of its own, and the parts are added in order. The split depends only on the sizes, so the result is the same for
any number of threads.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.implicit_gemm.gather import AHEAD, INSIDE_WORDS, RUN_WORDS, gather
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    call,
    lanes_between,
    load,
    load_where,
    prefetch,
    store,
    store_integer,
    store_where,
    transpose,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import MOST_WORDS, arguments_at
from fastconv.backends.numba_cpu.simd.task import task

_TAP_WORDS = 2
"""Integers that describe the single tap with which a part of the gradient is gathered: its row and column."""


def workspace_bytes(
    simd: Simd, steps: int, block_tiles: int, block_panels: int, tile_rows: int, tile_vectors: int
) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds both operands' panels, the squares before transposition, one tile, the runs, and arguments.
    """
    width = tile_vectors * simd.lanes
    rows = block_panels * tile_rows
    numbers = steps * (block_tiles * width + rows) + block_panels * simd.lanes
    numbers += simd.lanes * max(block_tiles * width, simd.lanes, rows) + tile_rows * width
    words = (RUN_WORDS + INSIDE_WORDS) * simd.lanes + MOST_WORDS + _TAP_WORDS
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * words


@inner
def _pack_source(simd, args, group, u, count, first, end, width, target, steps, square, runs):
    """Pack columns ``first`` up to ``end`` at ``count`` lattice points from u on into tiles of steps x width."""
    lanes = simd.lanes
    in_image = args.I * args.J
    # With a single tap over the whole plane the rows of the source can be transposed without gathering.
    plain = args.tap_count == 1 and args.DI == 1 and args.DJ == 1 and args.H == args.I and args.W == args.J
    channels = args.groups * args.depth
    for k in range(0, count, lanes):
        n, inside = divmod(u + k, in_image)
        if plain and inside + lanes <= in_image and k + lanes <= count:
            base = (n * channels + group * args.depth + first) * in_image + inside
            for column in range(0, end - first, lanes):
                tile, across = divmod(column, width)
                there = min(lanes, end - first - column)
                corner = args.source + simd.itemsize * (base + column * in_image)
                for i in range(there):
                    prefetch(simd, corner, i * in_image + AHEAD * lanes)
                place = target + simd.itemsize * ((tile * steps + k) * width + across)
                transpose(simd, corner, in_image, there, place, width)
            continue
        table, taps = args.taps, args.tap_count
        gather(simd, args, table, taps, group, u + k, min(lanes, count - k), first, end, square, lanes, runs)
        for column in range(0, end - first, lanes):
            tile, inside = divmod(column, width)
            place = (tile * steps + k) * width + inside
            there = min(lanes, end - first - column)
            transpose(
                simd,
                square + simd.itemsize * column * lanes,
                lanes,
                there,
                target + simd.itemsize * place,
                width,
            )


@inner
def _pack_gradient(simd, args, row, rows, u, count, target, square):
    """Pack one panel: ``rows`` channels of the gradient from ``row`` on, at ``count`` lattice points from u on."""
    lanes = simd.lanes
    tile_rows = args.tile_rows
    in_image = args.I * args.J
    channels = args.groups * args.rows
    gradient = args.grad
    for first in range((tile_rows - 1) // lanes * lanes, -1, -lanes):
        there = min(lanes, rows - first)
        if there <= 0:
            continue
        for k in range(0, count, lanes):
            n, inside = divmod(u + k, in_image)
            source = gradient + simd.itemsize * ((n * channels + row + first) * in_image + inside)
            place = target + simd.itemsize * (k * tile_rows + first)
            if inside + lanes <= in_image and k + lanes <= count:
                for i in range(there):
                    prefetch(simd, source, i * in_image + AHEAD * lanes)
                transpose(simd, source, in_image, there, place, tile_rows)
                continue
            # A vector across images, or at the end, goes through the square, with zeros where there are no pixels.
            for i in range(there):
                value = zeros(simd)
                lane, at, image = 0, inside, n
                while lane < min(lanes, count - k):
                    stop = min(lanes, count - k, lane + in_image - at)
                    begin = (image * channels + row + first + i) * in_image + at - lane
                    value = load_where(simd, gradient, begin, lanes_between(simd, lane, stop), value)
                    lane = stop
                    at = 0
                    image += 1
                store(simd, square, i * lanes, value)
            transpose(simd, square, lanes, there, place, tile_rows)


@inner
def _describe_part(args, image, tap):
    """Return whether the lattice is a part of the gradient's plane.

    If it is, fill the arguments ``image`` to gather with the gradient as the source, and ``tap`` as the single tap.
    """
    if args.target_h * args.target_w == args.I * args.J:
        return False
    image.source, image.H, image.W = args.grad, args.target_h, args.target_w
    image.I, image.J, image.DI, image.DJ = args.I, args.J, args.YI, args.XJ
    image.groups, image.depth = args.groups, args.rows
    store_integer(tap, 0, args.Y0)
    store_integer(tap, 1, args.X0)
    return True


@inner
def _pack_part(simd, args, image, tap, group, panels, u, count, target, step, square, runs):
    """Pack ``panels``, a range, from the part of the gradient's plane that ``image`` describes.

    ``step`` is the distance between panels, in elements: a vector more than a panel has, since `transpose` writes up to
    a vector beyond it.
    """
    lanes, tile_rows = simd.lanes, args.tile_rows
    first_panel, end_panel = panels
    first_row = first_panel * tile_rows
    end_row = min(args.rows, end_panel * tile_rows)
    for k in range(0, count, lanes):
        gather(simd, image, tap, 1, group, u + k, min(lanes, count - k), first_row, end_row, square, lanes, runs)
        for panel in range(first_panel, end_panel):
            row = panel * tile_rows - first_row
            rows = min(tile_rows, end_row - first_row - row)
            place = (panel - first_panel) * step + k * tile_rows
            for first in range((rows - 1) // lanes * lanes, -1, -lanes):
                source = square + simd.itemsize * (row + first) * lanes
                transpose(simd, source, lanes, rows - first, target + simd.itemsize * (place + first), tile_rows)


@inner
def _pixels_of(args, split):
    """Return the first pixel and the end of a part of the reduction; pixels are counted through the whole batch."""
    pixels = args.N * args.I * args.J
    begin = split * args.split_steps
    return begin, min(pixels, begin + args.split_steps)


@inner
def multiply_block(simd, args, task, thread):
    """Compute one block of columns by one block of target channels in one group, over one part of the pixels."""
    blocks, panel_blocks = args.blocks, args.panel_blocks
    rest, block = divmod(task, blocks)
    rest, panel_block = divmod(rest, panel_blocks)
    split, group = divmod(rest, args.groups)
    rows, tile_rows = args.rows, args.tile_rows
    panels = (rows + tile_rows - 1) // tile_rows
    first_panel = panel_block * args.block_panels
    end_panel = min(panels, first_panel + args.block_panels)
    width = args.tile_vectors * simd.lanes
    columns = args.depth * args.tap_count
    first = block * args.block_tiles * width
    end = min(columns, first + args.block_tiles * width)
    tiles = (end - first + width - 1) // width
    begin, pixels = _pixels_of(args, split)
    steps = args.steps
    kernel, limits = args.kernel, args.limits
    target = args.target
    if args.splits > 1:
        target = args.partial + simd.itemsize * split * args.groups * rows * columns

    right = args.workspace + thread * args.thread_bytes
    left = right + simd.itemsize * steps * args.block_tiles * width
    block_rows = args.block_panels * tile_rows
    square = left + simd.itemsize * (steps * block_rows + args.block_panels * simd.lanes)
    in_square = max(args.block_tiles * width, simd.lanes, block_rows)
    scratch = square + simd.itemsize * simd.lanes * in_square
    runs = (scratch + simd.itemsize * tile_rows * width + 63) // 64 * 64
    own = runs + 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes
    image, tap = arguments_at(args, own), own + 8 * MOST_WORDS
    is_part = _describe_part(args, image, tap)

    for u in range(begin, pixels, steps):
        count = min(steps, pixels - u)
        # Steps after the last pixel are zeros in both operands.
        here = (count + simd.lanes - 1) // simd.lanes * simd.lanes
        _pack_source(simd, args, group, u, count, first, end, width, right, here, square, runs)
        panel_step = here * tile_rows + simd.lanes
        if is_part:
            _pack_part(
                simd, args, image, tap, group, (first_panel, end_panel), u, count, left, panel_step, square, runs
            )
        for panel in range(first_panel, end_panel):
            row = panel * tile_rows
            valid = min(tile_rows, rows - row)
            place = left + simd.itemsize * (panel - first_panel) * panel_step
            if not is_part:
                _pack_gradient(simd, args, group * rows + row, valid, u, count, place, square)
            for tile in range(tiles):
                operand = right + simd.itemsize * tile * here * width
                column = first + tile * width
                result = target + simd.itemsize * ((group * rows + row) * columns + column)
                if valid == tile_rows and column + width <= end:
                    call(kernel, (here, place, operand, result, columns, 0, result if u > begin else 0, limits))
                else:
                    call(kernel, (here, place, operand, scratch, width, 0, 0, limits))
                    _deliver(simd, scratch, width, result, columns, valid, min(width, end - column), u > begin)


@inner
def _deliver(simd, tile, width, target, columns, rows, count, goes_on):
    """Write ``rows`` x ``count`` numbers of a tile to the matrix, or add them if sums go on."""
    for m in range(rows):
        for column in range(0, count, simd.lanes):
            there = lanes_between(simd, 0, count - column)
            value = load(simd, tile, m * width + column)
            if goes_on:
                value = add(simd, value, load_where(simd, target, m * columns + column, there, zeros(simd)))
            store_where(simd, target, m * columns + column, there, value)


@task(ConvArguments)
def multiply(simd, args, task, thread):
    """Run `multiply_block` as a task."""
    multiply_block(simd, args, task, thread)
