"""Direct convolution: no operand is rearranged tap by tap, vectors of pixels are read where they lie.

The part of an image that a block of lattice rows needs is copied once, padding included, into planes in the L2 cache
that are PLANE_W = J + reach wide, reach being how far the taps go sideways, or rounded up to whole vectors, none of
which then touches two rows. There lattice point (i, j) is number v = i * PLANE_W + j, and the pixels under tap t for
v, v + 1, v + 2, ... lie side by side at v + offset(t), whatever the tap and through the ends of rows. So row k = (d, t)
of the reduction is nothing but an offset, and the micro-kernel of the indirect kind reads it in place.

With a stride the source falls into phases, one for each remainder of row and column modulo the stride; each is copied
to a plane of its own, in which the taps of that phase are side by side again.

The price are the v with j >= J, computed and not written: J / PLANE_W of the work is wanted, for 3 x 3 on 56 pixels
97%, on 14 pixels 88%. Gathering for `implicit_gemm` costs some 10 cycles for each vector of 16 numbers and
tap, however few target channels use it. Few channels or large images come here, small ones with many channels go there:
see planner.py.

A task is a block of lattice rows of one image (and, where these are few, of target channels). Each vector of a tile
goes to at most two rows of the target, or three if PLANE_W is less than a vector, by masked stores; a target with a
stride, and the last channels where the tile's rows don't divide them, go through scratch memory.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.microkernel import PIECE_WORDS
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    evens,
    lanes_between,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_integer,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.write_run import write_run


def workspace_bytes(simd: Simd, channels: int, channel: int, tile_rows: int, tile_vectors: int, pieces: int) -> int:
    """What a slot needs: the planes and what may be read beyond them, a tile, and where its vectors go."""
    width = tile_vectors * simd.lanes
    numbers = channels * channel + channel + 2 * width + tile_rows * (width + 1)
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * pieces * PIECE_WORDS * tile_vectors


@inner
def copy_planes(simd, frame, n, group, first_row, planes):
    """The planes of all the group's channels for the lattice rows from ``first_row`` on."""
    H, W = load_integer(frame, F.H), load_integer(frame, F.W)
    depth = load_integer(frame, F.DEPTH)
    down, right = load_integer(frame, F.DI), load_integer(frame, F.DJ)
    rows, wide = load_integer(frame, F.PLANE_ROWS), load_integer(frame, F.PLANE_W)
    phases, table = load_integer(frame, F.PHASE_COUNT), load_integer(frame, F.PHASES)
    first_x = load_integer(frame, F.FIRST_X)
    channel = load_integer(frame, F.CHANNEL)
    source = load_integer(frame, F.SOURCE)
    for d in range(depth):
        image = ((n * load_integer(frame, F.GROUPS) + group) * depth + d) * H * W
        for phase in range(phases):
            y0, x0 = load_integer(table, 2 * phase), load_integer(table, 2 * phase + 1)
            # Columns of the plane that lie in the image.
            left = max(0, (-x0 + right - 1) // right - first_x)
            end = min(wide, (W - x0 + right - 1) // right - first_x)
            for row in range(rows):
                y = (first_row + row + load_integer(frame, F.FIRST_Y)) * down + y0
                target = d * channel + (phase * rows + row) * wide
                if y < 0 or y >= H or left >= end:
                    for j in range(0, wide, simd.lanes):
                        store(simd, planes, target + j, zeros(simd))
                    continue
                place = image + y * W + first_x * right + x0
                if right == 1:
                    for j in range(0, wide, simd.lanes):
                        there = lanes_between(simd, left - j, end - j)
                        store(simd, planes, target + j, load_where(simd, source, place + j, there, zeros(simd)))
                elif right == 2:
                    for j in range(0, wide, simd.lanes):
                        first, last = 2 * (left - j), 2 * (end - j) - 1
                        mask = lanes_between(simd, first, last)
                        near = load_where(simd, source, place + 2 * j, mask, zeros(simd))
                        mask = lanes_between(simd, first - simd.lanes, last - simd.lanes)
                        far = load_where(simd, source, place + 2 * j + simd.lanes, mask, zeros(simd))
                        store(simd, planes, target + j, evens(simd, near, far))
                else:
                    for j in range(0, wide, simd.lanes):
                        store(simd, planes, target + j, zeros(simd))
                    for j in range(left, end):
                        store_scalar(simd, planes, target + j, load_scalar(simd, source, place + j * right))


@inner
def _place_vectors(simd, frame, v, rows, first, vectors, pieces, table):
    """Where a tile's vectors go in a channel of the target, the tile starting at v of a block of ``rows``.

    ``first`` is the index of the block's first pixel.
    """
    wide, J = load_integer(frame, F.PLANE_W), load_integer(frame, F.J)
    target_w = load_integer(frame, F.TARGET_W)
    for vector in range(vectors):
        i, j = divmod(v + vector * simd.lanes, wide)
        for piece in range(pieces):
            base = table + 8 * PIECE_WORDS * (vector * pieces + piece)
            begin = piece * wide - j  # the lane of the row's first pixel
            store_integer(base, 0, begin)
            store_integer(base, 1, begin + J if i + piece < rows else 0)
            store_integer(base, 2, first + (i + piece) * target_w - begin)


@inner
def _deliver(simd, frame, tile, width, v, rows, first_row, n, row, valid, target):
    """Write a tile row by row, for targets with a stride and panels that miss rows."""
    wide, J = load_integer(frame, F.PLANE_W), load_integer(frame, F.J)
    target_w = load_integer(frame, F.TARGET_W)
    plane = load_integer(frame, F.TARGET_H) * target_w
    channels = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    right, limits = load_integer(frame, F.XJ), load_integer(frame, F.LIMITS)
    lane = 0
    while lane < width:
        i, j = divmod(v + lane, wide)
        if i >= rows:
            break
        if j < J:
            y = load_integer(frame, F.Y0) + (first_row + i) * load_integer(frame, F.YI)
            x = load_integer(frame, F.X0) + j * right
            corner = (n * channels + row) * plane + y * target_w + x
            end = min(width, lane + J - j)
            write_run(simd, tile, width, valid, lane, end, target, corner, plane, right, 0, 0, limits)
        lane += wide - j


@inner
def _convolve(simd, frame, task, slot):
    """One block of lattice rows of one image, for one block of target channels in one group."""
    blocks, panel_blocks = load_integer(frame, F.BLOCKS), load_integer(frame, F.PANEL_BLOCKS)
    rest, panel_block = divmod(task, panel_blocks)
    rest, block = divmod(rest, blocks)
    n, group = divmod(rest, load_integer(frame, F.GROUPS))
    channels, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels = (channels + tile_rows - 1) // tile_rows
    first_panel = panel_block * load_integer(frame, F.BLOCK_PANELS)
    end_panel = min(panels, first_panel + load_integer(frame, F.BLOCK_PANELS))
    vectors = load_integer(frame, F.TILE_VECTORS)
    width = vectors * simd.lanes
    depth = load_integer(frame, F.DEPTH) * load_integer(frame, F.TAP_COUNT)
    wide = load_integer(frame, F.PLANE_W)
    first_row = block * load_integer(frame, F.BLOCK_ROWS)
    rows = min(load_integer(frame, F.BLOCK_ROWS), load_integer(frame, F.I) - first_row)
    points = (rows - 1) * wide + load_integer(frame, F.J)
    target_w = load_integer(frame, F.TARGET_W)
    plane = load_integer(frame, F.TARGET_H) * target_w
    kernel, floor = load_integer(frame, F.KERNEL), load_integer(frame, F.LIMITS) + simd.itemsize
    offsets, target = load_integer(frame, F.OFFSETS), load_integer(frame, F.TARGET)
    corner = load_integer(frame, F.Y0) * target_w + load_integer(frame, F.X0)
    in_rows = load_integer(frame, F.XJ) == 1 and load_integer(frame, F.YI) == 1
    pieces = load_integer(frame, F.PIECES)

    planes = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    channel = load_integer(frame, F.CHANNEL)
    scratch = planes + simd.itemsize * (load_integer(frame, F.DEPTH) * channel + channel + 2 * width)
    some_bias = scratch + simd.itemsize * tile_rows * width
    table = (some_bias + simd.itemsize * tile_rows + 63) // 64 * 64
    copy_planes(simd, frame, n, group, first_row, planes)
    for panel in range(first_panel, end_panel):
        row = group * channels + panel * tile_rows
        valid = min(tile_rows, channels - panel * tile_rows)
        left = load_integer(frame, F.PANELS) + simd.itemsize * tile_rows * depth * (group * panels + panel)
        bias = load_integer(frame, F.BIAS)
        if bias != 0:
            bias += simd.itemsize * row
            if valid < tile_rows:
                for m in range(valid):
                    store_scalar(simd, some_bias, m, load_scalar(simd, bias, m))
                bias = some_bias
        image = target + simd.itemsize * (n * load_integer(frame, F.GROUPS) * channels + row) * plane
        for v in range(0, points, width):
            right = planes + simd.itemsize * v
            if in_rows and valid == tile_rows:
                _place_vectors(simd, frame, v, rows, corner + first_row * target_w, vectors, pieces, table)
                call(kernel, (depth, left, right, offsets, image, plane, table, bias, floor))
            else:
                for piece in range(vectors * pieces):
                    base = table + 8 * PIECE_WORDS * piece
                    store_integer(base, 0, 0)
                    store_integer(base, 1, simd.lanes if piece % pieces == 0 else 0)
                    store_integer(base, 2, piece // pieces * simd.lanes)
                call(kernel, (depth, left, right, offsets, scratch, width, table, bias, floor))
                _deliver(simd, frame, scratch, width, v, rows, first_row, n, row, valid, target)


@cache
def convolve_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def convolve(frame, task, slot):
        _convolve(simd, frame, task, slot)

    return address_of(convolve, 3)
