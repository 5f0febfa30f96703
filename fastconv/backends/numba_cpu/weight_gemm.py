"""The convolution's adjoint for the weight: a matrix product whose reduction runs over the pixels of the batch.

    grad_weight[m, c]  =  sum over u of grad[m, u] * source[c, u],      c = (d, t), u = (n, i, j)

Both operands have the reduction side by side in memory, and the micro-kernel wants it one step after another: so both
are transposed on the way into their panels, a square of lanes x lanes numbers at a time, in registers. The source is
gathered as in `implicit_gemm`, never unfolded in memory.

A task takes a block of columns c and of target channels m, and goes through the pixels KC at a time:

    for KC of the pixels
        gather and transpose KC x NC of the source       (0.4 cycles a number, each used ROWS times)
        transpose KC x MC of the gradient                (0.3 cycles a number, each used NC times)
        for panels, for tiles                            one micro-kernel call, added to the result

Where the weight is small and the pixels are many there are too few blocks to go round: then the pixels are split too,
each part sums into an array of its own, and the parts are added in order. The split depends on the sizes alone, so the
result is the same for any number of threads.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.gather import AHEAD, INSIDE_WORDS, RUN_WORDS, gather
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    call,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    prefetch,
    store,
    store_integer,
    store_scalar,
    store_where,
    transpose,
    zeros,
)

_TAP_WORDS = 2
"""Integers of the only tap by which a part of the gradient is gathered: its row and column."""


def workspace_bytes(
    simd: Simd, steps: int, block_tiles: int, block_panels: int, tile_rows: int, tile_vectors: int
) -> int:
    """What a slot needs: both operands' panels, the square before transposition, one tile, a vector's runs, a frame."""
    width = tile_vectors * simd.lanes
    rows = block_panels * tile_rows
    numbers = steps * (block_tiles * width + rows) + block_panels * simd.lanes
    numbers += simd.lanes * max(block_tiles * width, simd.lanes, rows) + tile_rows * width
    words = (RUN_WORDS + INSIDE_WORDS) * simd.lanes + F.COUNT + _TAP_WORDS
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * words


@inner
def _pack_source(simd, frame, group, u, count, first, end, width, target, steps, square, runs):
    """Columns ``first`` up to ``end`` at ``count`` lattice points from u on, transposed into tiles of steps x width."""
    lanes = simd.lanes
    in_image = load_integer(frame, F.I) * load_integer(frame, F.J)
    # A single tap over the whole plane: the source's rows are those of the square already.
    plain = (
        load_integer(frame, F.TAP_COUNT) == 1
        and load_integer(frame, F.DI) == 1
        and load_integer(frame, F.DJ) == 1
        and load_integer(frame, F.H) == load_integer(frame, F.I)
        and load_integer(frame, F.W) == load_integer(frame, F.J)
    )
    channels = load_integer(frame, F.GROUPS) * load_integer(frame, F.DEPTH)
    for k in range(0, count, lanes):
        n, inside = divmod(u + k, in_image)
        if plain and inside + lanes <= in_image and k + lanes <= count:
            base = (n * channels + group * load_integer(frame, F.DEPTH) + first) * in_image + inside
            for column in range(0, end - first, lanes):
                tile, across = divmod(column, width)
                there = min(lanes, end - first - column)
                corner = load_integer(frame, F.SOURCE) + simd.itemsize * (base + column * in_image)
                for i in range(there):
                    prefetch(simd, corner, i * in_image + AHEAD * lanes)
                place = target + simd.itemsize * ((tile * steps + k) * width + across)
                transpose(simd, corner, in_image, there, place, width)
            continue
        table, taps = load_integer(frame, F.TAPS), load_integer(frame, F.TAP_COUNT)
        gather(simd, frame, table, taps, group, u + k, min(lanes, count - k), first, end, square, lanes, runs)
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
def _pack_gradient(simd, frame, row, rows, u, count, target, square):
    """One panel: ``rows`` channels of the gradient from ``row`` on at ``count`` lattice points from u on."""
    lanes = simd.lanes
    tile_rows = load_integer(frame, F.TILE_ROWS)
    in_image = load_integer(frame, F.I) * load_integer(frame, F.J)
    channels = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    gradient = load_integer(frame, F.WEIGHT)
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
            # Across images, or at the end: by way of the square, with zeros where there are no pixels.
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
def _describe_part(frame, image):
    """Whether the lattice is a part of the gradient's plane; ``image`` becomes a frame of which it is the source."""
    plane = load_integer(frame, F.TARGET_H) * load_integer(frame, F.TARGET_W)
    if plane == load_integer(frame, F.I) * load_integer(frame, F.J):
        return False
    store_integer(image, F.SOURCE, load_integer(frame, F.WEIGHT))
    store_integer(image, F.H, load_integer(frame, F.TARGET_H))
    store_integer(image, F.W, load_integer(frame, F.TARGET_W))
    store_integer(image, F.I, load_integer(frame, F.I))
    store_integer(image, F.J, load_integer(frame, F.J))
    store_integer(image, F.DI, load_integer(frame, F.YI))
    store_integer(image, F.DJ, load_integer(frame, F.XJ))
    store_integer(image, F.GROUPS, load_integer(frame, F.GROUPS))
    store_integer(image, F.DEPTH, load_integer(frame, F.ROWS))
    store_integer(image, F.COUNT, load_integer(frame, F.Y0))
    store_integer(image, F.COUNT + 1, load_integer(frame, F.X0))
    return True


@inner
def _pack_part(simd, frame, image, group, first_panel, end_panel, u, count, target, step, square, runs):
    """Panels ``first_panel`` up to ``end_panel`` from the part of the gradient's plane that ``image`` describes.

    ``step`` is from one panel to the next, in elements, a vector more than a panel has, for what transposing spills.
    """
    lanes, tile_rows = simd.lanes, load_integer(frame, F.TILE_ROWS)
    first_row = first_panel * tile_rows
    end_row = min(load_integer(frame, F.ROWS), end_panel * tile_rows)
    for k in range(0, count, lanes):
        tap = image + 8 * F.COUNT
        gather(simd, image, tap, 1, group, u + k, min(lanes, count - k), first_row, end_row, square, lanes, runs)
        for panel in range(first_panel, end_panel):
            row = panel * tile_rows - first_row
            rows = min(tile_rows, end_row - first_row - row)
            place = (panel - first_panel) * step + k * tile_rows
            for first in range((rows - 1) // lanes * lanes, -1, -lanes):
                source = square + simd.itemsize * (row + first) * lanes
                transpose(simd, source, lanes, rows - first, target + simd.itemsize * (place + first), tile_rows)


@inner
def _pixels_of(frame, split):
    """The first pixel, of the whole batch, and the end of a part of the reduction."""
    pixels = load_integer(frame, F.N) * load_integer(frame, F.I) * load_integer(frame, F.J)
    begin = split * load_integer(frame, F.SPLIT_STEPS)
    return begin, min(pixels, begin + load_integer(frame, F.SPLIT_STEPS))


@inner
def multiply_block(simd, frame, task, slot):
    """One block of columns by one block of target channels in one group, over one part of the pixels."""
    blocks, panel_blocks = load_integer(frame, F.BLOCKS), load_integer(frame, F.PANEL_BLOCKS)
    rest, block = divmod(task, blocks)
    rest, panel_block = divmod(rest, panel_blocks)
    split, group = divmod(rest, load_integer(frame, F.GROUPS))
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels = (rows + tile_rows - 1) // tile_rows
    first_panel = panel_block * load_integer(frame, F.BLOCK_PANELS)
    end_panel = min(panels, first_panel + load_integer(frame, F.BLOCK_PANELS))
    width = load_integer(frame, F.TILE_VECTORS) * simd.lanes
    columns = load_integer(frame, F.DEPTH) * load_integer(frame, F.TAP_COUNT)
    first = block * load_integer(frame, F.BLOCK_TILES) * width
    end = min(columns, first + load_integer(frame, F.BLOCK_TILES) * width)
    tiles = (end - first + width - 1) // width
    begin, pixels = _pixels_of(frame, split)
    steps = load_integer(frame, F.STEPS)
    kernel, limits = load_integer(frame, F.KERNEL), load_integer(frame, F.LIMITS)
    target = load_integer(frame, F.TARGET)
    if load_integer(frame, F.SPLITS) > 1:
        target = load_integer(frame, F.PARTIAL) + simd.itemsize * split * load_integer(frame, F.GROUPS) * rows * columns

    right = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    left = right + simd.itemsize * steps * load_integer(frame, F.BLOCK_TILES) * width
    block_rows = load_integer(frame, F.BLOCK_PANELS) * tile_rows
    square = left + simd.itemsize * (steps * block_rows + load_integer(frame, F.BLOCK_PANELS) * simd.lanes)
    in_square = max(load_integer(frame, F.BLOCK_TILES) * width, simd.lanes, block_rows)
    scratch = square + simd.itemsize * simd.lanes * in_square
    runs = (scratch + simd.itemsize * tile_rows * width + 63) // 64 * 64
    image = runs + 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes
    is_part = _describe_part(frame, image)

    for u in range(begin, pixels, steps):
        count = min(steps, pixels - u)
        # Steps beyond the last pixel are zeros, in both operands.
        here = (count + simd.lanes - 1) // simd.lanes * simd.lanes
        _pack_source(simd, frame, group, u, count, first, end, width, right, here, square, runs)
        panel_step = here * tile_rows + simd.lanes
        if is_part:
            _pack_part(simd, frame, image, group, first_panel, end_panel, u, count, left, panel_step, square, runs)
        for panel in range(first_panel, end_panel):
            row = panel * tile_rows
            valid = min(tile_rows, rows - row)
            place = left + simd.itemsize * (panel - first_panel) * panel_step
            if not is_part:
                _pack_gradient(simd, frame, group * rows + row, valid, u, count, place, square)
            start = ACCUMULATE if u > begin else 0
            for tile in range(tiles):
                operand = right + simd.itemsize * tile * here * width
                column = first + tile * width
                result = target + simd.itemsize * ((group * rows + row) * columns + column)
                if valid == tile_rows and column + width <= end:
                    call(kernel, (here, place, operand, result, columns, 0, start, limits))
                else:
                    call(kernel, (here, place, operand, scratch, width, 0, 0, limits))
                    _deliver(simd, scratch, width, result, columns, valid, min(width, end - column), start)


@inner
def _deliver(simd, tile, width, target, columns, rows, count, start):
    """Write or add ``rows`` x ``count`` numbers of a tile to the matrix."""
    for m in range(rows):
        for column in range(0, count, simd.lanes):
            there = lanes_between(simd, 0, count - column)
            value = load(simd, tile, m * width + column)
            if start == ACCUMULATE:
                value = add(simd, value, load_where(simd, target, m * columns + column, there, zeros(simd)))
            store_where(simd, target, m * columns + column, there, value)


_CHUNK = 4096


@inner
def _add_parts(simd, frame, task):
    """Numbers task * `_CHUNK` and on of the result: the sum of the parts, first to last."""
    whole = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    whole *= load_integer(frame, F.DEPTH) * load_integer(frame, F.TAP_COUNT)
    parts, target = load_integer(frame, F.PARTIAL), load_integer(frame, F.TARGET)
    for i in range(task * _CHUNK, min(whole, (task + 1) * _CHUNK)):
        total = load_scalar(simd, parts, i)
        for split in range(1, load_integer(frame, F.SPLITS)):
            total += load_scalar(simd, parts, split * whole + i)
        store_scalar(simd, target, i, total)


def add_tasks(numbers: int) -> int:
    """How many tasks add the parts of a result of so many numbers."""
    return -(-numbers // _CHUNK)


@cache
def multiply_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def multiply(frame, task, slot):
        multiply_block(simd, frame, task, slot)

    return address_of(multiply, 3)


@cache
def add_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that adds the parts."""

    def add_parts(frame, task, slot):
        _add_parts(simd, frame, task)

    return address_of(add_parts, 3)
