"""Convolution as a matrix product whose right operand exists only a block at a time.

    target[m, u]  =  bias[m] + sum over k of weight[m, k] * source[k, u],       k = (d, t), u = (n, i, j)

with target channels as rows, channels x taps as the reduction and the pixels of the whole batch side by side as
columns, so that small images fill whole tiles too. Pixels are in the vectors' lanes, since NCHW has them side by
side: tiles of the result are written straight into the image.

The loops are BLIS's. A task takes a block of pixels (and, where there are few pixels, of target channels):

    for KC steps of the reduction        so that a panel of the weight stays in the L1 cache
        gather KC x NC of the source     into panels, in the L2 cache                     (gather.py)
        for panels of MR target channels     each KC x MR, packed once for all tasks      (panels.py)
            for tiles of NR pixels               one micro-kernel call                    (microkernel.py)

A gathered number is used ROWS times, at 16 multiply-adds a cycle; gathering costs some 0.15 cycles a number, so with 64
target channels 4% of the time. Tiles at an edge - the last channels, the end of an image, targets that aren't side by
side - are computed into scratch memory and then written where they belong: `_deliver`.

Where parts of the target leave out different taps of one packed weight, the reduction goes tap by tap: tap_parts.py.
This one loop nest does the convolution and its adjoint for the source (see plans.py). Which thread does which task
doesn't matter to any result: each is made by one task, in a fixed order.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.gather import INSIDE_WORDS, RUN_WORDS, gather
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
)
from fastconv.backends.numba_cpu.write_run import write_run


def workspace_bytes(simd: Simd, steps: int, block_tiles: int, tile_rows: int, tile_vectors: int) -> int:
    """What a slot needs: the gathered block, one tile, and a vector's runs before and after clipping."""
    width = tile_vectors * simd.lanes
    numbers = steps * block_tiles * width + tile_rows * width
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes


@inner
def _gather_block(simd, frame, table, taps, group, first, pixels, begin, end, gathered, runs):
    """Rows ``begin`` up to ``end`` of the reduction over some taps, for a block of pixels from ``first`` on."""
    vectors = load_integer(frame, F.TILE_VECTORS)
    width, here = vectors * simd.lanes, end - begin
    tiles = min(load_integer(frame, F.BLOCK_TILES), (pixels - first + width - 1) // width)
    for tile in range(tiles):
        for vector in range(vectors):
            u = first + tile * width + vector * simd.lanes
            place = gathered + simd.itemsize * (tile * here * width + vector * simd.lanes)
            count = min(simd.lanes, pixels - u)
            gather(simd, frame, table, taps, group, u, count, begin, end, place, width, runs)


@inner
def multiply_block(simd, frame, task, slot):
    """One block of pixels by one block of target channels in one group."""
    blocks, panel_blocks = load_integer(frame, F.BLOCKS), load_integer(frame, F.PANEL_BLOCKS)
    rest, block = divmod(task, blocks)
    group, panel_block = divmod(rest, panel_blocks)
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels = (rows + tile_rows - 1) // tile_rows
    first_panel = panel_block * load_integer(frame, F.BLOCK_PANELS)
    end_panel = min(panels, first_panel + load_integer(frame, F.BLOCK_PANELS))
    vectors = load_integer(frame, F.TILE_VECTORS)
    width = vectors * simd.lanes
    in_image = load_integer(frame, F.I) * load_integer(frame, F.J)
    pixels = load_integer(frame, F.N) * in_image
    first = block * load_integer(frame, F.BLOCK_TILES) * width
    tiles = min(load_integer(frame, F.BLOCK_TILES), (pixels - first + width - 1) // width)
    depth, taps, by_taps = (
        load_integer(frame, F.DEPTH),
        load_integer(frame, F.TAP_COUNT),
        load_integer(frame, F.BY_TAPS),
    )
    table = load_integer(frame, F.TAPS)
    # The reduction runs over all taps together, or over one tap after another, some that are packed left out.
    together = 1 if by_taps != 0 else taps
    length, packed = depth * together, depth * max(by_taps, together)
    steps = load_integer(frame, F.STEPS)
    kernel, limits = load_integer(frame, F.KERNEL), load_integer(frame, F.LIMITS)
    plane = load_integer(frame, F.TARGET_H) * load_integer(frame, F.TARGET_W)
    # Whether neighbours in the lattice are neighbours in the target, from one row to the next too.
    dense = plane == in_image

    gathered = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    scratch = gathered + simd.itemsize * steps * load_integer(frame, F.BLOCK_TILES) * width
    runs = (scratch + simd.itemsize * tile_rows * width + 63) // 64 * 64

    for t in range(0, taps, together):
        skipped = depth * load_integer(table, 3 * t + 2) if by_taps != 0 else 0
        for k in range(0, length, steps):
            here = min(steps, length - k)
            _gather_block(simd, frame, table + 24 * t, together, group, first, pixels, k, k + here, gathered, runs)
            start = ACCUMULATE if t + k > 0 else 0
            floor = limits + simd.itemsize if t + together == taps and k + here == length else limits
            for panel in range(first_panel, end_panel):
                row = group * rows + panel * tile_rows
                left = load_integer(frame, F.PANELS)
                left += simd.itemsize * tile_rows * ((group * panels + panel) * packed + skipped + k)
                bias = load_integer(frame, F.BIAS)
                if bias != 0:
                    bias += simd.itemsize * row
                whole = panel * tile_rows + tile_rows <= rows
                for tile in range(tiles):
                    u = first + tile * width
                    right = gathered + simd.itemsize * tile * here * width
                    n, inside = divmod(u, in_image)
                    if whole and dense and inside + width <= in_image:
                        place = (n * load_integer(frame, F.GROUPS) * rows + row) * plane + inside
                        target = load_integer(frame, F.TARGET) + simd.itemsize * place
                        call(kernel, (here, left, right, target, plane, bias, start, floor))
                    else:
                        call(kernel, (here, left, right, scratch, width, 0, 0, limits))
                        count = min(width, pixels - u)
                        valid = min(tile_rows, rows - panel * tile_rows)
                        _deliver(simd, frame, row, valid, u, count, scratch, width, bias, start, floor)


@inner
def _deliver(simd, frame, row, rows, u, count, tile, width, bias, start, floor):
    """Write ``rows`` x ``count`` numbers of a tile to target channels from ``row`` and lattice points from u on."""
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    wide = load_integer(frame, F.TARGET_W)
    plane = load_integer(frame, F.TARGET_H) * wide
    channels = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    # A lattice that is the whole target has its points side by side, whatever the stride that no second point needs.
    right = 1 if plane == I * J else load_integer(frame, F.XJ)
    target = load_integer(frame, F.TARGET)
    n, inside = divmod(u, I * J)
    lane = 0
    while lane < count:
        if plane == I * J:
            end = min(count, lane + I * J - inside)
            pixel = inside
        else:
            i, j = divmod(inside, J)
            end = min(count, lane + J - j)
            pixel = (load_integer(frame, F.Y0) + i * load_integer(frame, F.YI)) * wide
            pixel += load_integer(frame, F.X0) + j * right
        corner = (n * channels + row) * plane + pixel
        write_run(simd, tile, width, rows, lane, end, target, corner, plane, right, bias, start, floor)
        inside += end - lane
        lane = end
        if inside == I * J:
            inside = 0
            n += 1


@cache
def multiply_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def multiply(frame, task, slot):
        multiply_block(simd, frame, task, slot)

    return address_of(multiply, 3)
