"""Convolution with images in the lanes: as many images as a vector has lanes are convolved at once, pixel by pixel.

A block of lattice rows of those images is interleaved on the way into the L2 cache (interleave.py), so that every pixel
is a vector of its own. There strides, dilations, odd sizes and the ends of rows cost nothing: whatever the taps, the
vectors that they read are whole and aligned, and taps that fall outside the image are left out rather than multiplied
by zeros: of 5 x 5 taps on 7 x 7 pixels a third. What it costs is the way in and out, some 8 cycles a vector each, 18
for rows of 7, and the lanes that the last images don't fill: 100 images in vectors of 16 use 89% of them.

    for KC channels                      KC x taps some hundred: they are one chain of additions
        interleave them                  zeros where tiles' columns reach beyond the image
        for lattice points, NR in a row  vectors of a tile
            the taps that meet the image for any of them
            for panels of MR channels    one micro-kernel call
    separate the images again            a vector of pixels of one image at a time

A task takes a block of rows of lanes' images (and, where these are few, of target channels) in one group.

The layout is that of A. Krizhevsky's cuda-convnet (2012), whose threads are images.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.interleave import clear, interleave, separate
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE
from fastconv.backends.numba_cpu.panels import is_finite
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    store_integer,
    store_scalar,
    zero,
)

TAP_WORDS = 2
"""Integers that tell the micro-kernel of a tap."""


def workspace_bytes(
    simd: Simd, steps: int, channel: int, tile_rows: int, block_panels: int, points: int, taps: int
) -> int:
    """What a slot needs: the interleaved channels, the results, a panel's bias, and the list of taps."""
    lanes = simd.lanes
    numbers = steps * channel + lanes * lanes
    numbers += block_panels * tile_rows * points * lanes + lanes * lanes + tile_rows
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * TAP_WORDS * taps


@inner
def read_rows(simd, frame, batch, group, first_channel, channels, first, end, target):
    """Image rows ``first`` up to ``end`` of some of the group's channels, interleaved: rows of PLANE_W vectors."""
    H, W, wide = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.PLANE_W)
    depth = load_integer(frame, F.DEPTH)
    image_step = load_integer(frame, F.GROUPS) * depth * H * W
    images = min(simd.lanes, load_integer(frame, F.N) - batch * simd.lanes)
    leftmost = load_integer(frame, F.LEFT)
    # Columns of the image that are wanted, and where they go.
    begin, stop = max(0, leftmost), min(W, leftmost + wide)
    left = begin - leftmost
    count = max(0, stop - begin)
    vector = simd.itemsize * simd.lanes
    source = load_integer(frame, F.SOURCE) + simd.itemsize * (
        batch * simd.lanes * image_step + (group * depth + first_channel) * H * W + begin
    )
    for c in range(channels):
        plane = target + simd.itemsize * c * load_integer(frame, F.CHANNEL)
        pixels = source + simd.itemsize * c * H * W
        if count == wide and count == W:
            interleave(simd, pixels + simd.itemsize * first * W, image_step, images, (end - first) * W, plane)
            continue
        for y in range(first, end):
            row = plane + vector * (y - first) * wide
            clear(simd, row, min(left, wide))
            interleave(simd, pixels + simd.itemsize * y * W, image_step, images, count, row + vector * left)
            clear(simd, row + vector * (left + count), wide - left - count)


@inner
def _list_taps(simd, frame, row, column, first, channels, table):
    """The taps that meet the image for any lattice point of a tile; how many there are.

    The tile begins at lattice point (row, column); the interleaved rows at image row ``first``.
    """
    H, W, wide = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.PLANE_W)
    right, taps = load_integer(frame, F.DJ), load_integer(frame, F.TAP_COUNT)
    last = min(load_integer(frame, F.J), column + load_integer(frame, F.TILE_VECTORS)) - 1
    places, panel_step = load_integer(frame, F.TAPS), channels * load_integer(frame, F.TILE_ROWS)
    count = 0
    for t in range(taps):
        y = row * load_integer(frame, F.DI) + load_integer(places, 3 * t)
        dx = load_integer(places, 3 * t + 1)
        # Of the points' columns, ``right`` apart, the first that isn't left of the image.
        x = column * right + dx
        if x < 0:
            x += (-x + right - 1) // right * right
        if y >= 0 and y < H and x <= last * right + dx and x < W:
            x = column * right + dx - load_integer(frame, F.LEFT)
            store_integer(table, TAP_WORDS * count, t * panel_step)
            store_integer(table, TAP_WORDS * count + 1, ((y - first) * wide + x) * simd.lanes)
            count += 1
    return count


@inner
def _write(simd, frame, batch, channel, channels, first_row, rows, results):
    """The results of target channels from ``channel`` on to where they belong."""
    J, target_w = load_integer(frame, F.J), load_integer(frame, F.TARGET_W)
    across = (J + load_integer(frame, F.TILE_VECTORS) - 1) // load_integer(frame, F.TILE_VECTORS)
    across *= load_integer(frame, F.TILE_VECTORS)
    plane = load_integer(frame, F.TARGET_H) * target_w
    down, right = load_integer(frame, F.YI), load_integer(frame, F.XJ)
    all_channels = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    image_step = all_channels * plane
    images = min(simd.lanes, load_integer(frame, F.N) - batch * simd.lanes)
    corner = (load_integer(frame, F.Y0) + first_row * down) * target_w + load_integer(frame, F.X0)
    vector = simd.itemsize * simd.lanes
    target = load_integer(frame, F.TARGET) + simd.itemsize * (
        batch * simd.lanes * image_step + channel * plane + corner
    )
    one_run = across == J and target_w == J and right == 1 and down == 1
    for m in range(channels):
        here = results + vector * m * load_integer(frame, F.BLOCK_ROWS) * across
        place = target + simd.itemsize * m * plane
        if one_run:
            separate(simd, here, rows * J, place, 1, image_step, images)
        else:
            for i in range(rows):
                there = place + simd.itemsize * i * down * target_w
                separate(simd, here + vector * i * across, J, there, right, image_step, images)


@inner
def rows_read(frame, first_row, rows):
    """The image rows, first and end, that the taps of some lattice rows meet."""
    first = first_row * load_integer(frame, F.DI) + load_integer(frame, F.TOP)
    end = first + (rows - 1) * load_integer(frame, F.DI) + load_integer(frame, F.REACH) + 1
    return max(0, first), min(load_integer(frame, F.H), end)


@inner
def _convolve(simd, frame, task, slot):
    """A block of lattice rows of some images for a block of target channels in one group."""
    rest, panel_block = divmod(task, load_integer(frame, F.PANEL_BLOCKS))
    rest, block = divmod(rest, load_integer(frame, F.BLOCKS))
    batch, group = divmod(rest, load_integer(frame, F.GROUPS))
    channels, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels, block_panels = (channels + tile_rows - 1) // tile_rows, load_integer(frame, F.BLOCK_PANELS)
    first_panel = panel_block * block_panels
    end_panel = min(panels, first_panel + block_panels)
    block_rows = load_integer(frame, F.BLOCK_ROWS)
    first_row = block * block_rows
    rows = min(block_rows, load_integer(frame, F.I) - first_row)
    depth, steps, taps = load_integer(frame, F.DEPTH), load_integer(frame, F.STEPS), load_integer(frame, F.TAP_COUNT)
    J, vectors = load_integer(frame, F.J), load_integer(frame, F.TILE_VECTORS)
    across = (J + vectors - 1) // vectors * vectors
    channel, distance = load_integer(frame, F.CHANNEL), load_integer(frame, F.DJ) * simd.lanes
    kernel, limits, size = load_integer(frame, F.KERNEL), load_integer(frame, F.LIMITS), simd.itemsize

    slab = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    results = slab + size * (steps * channel + simd.lanes * simd.lanes)
    row_step = block_rows * across * simd.lanes
    some_bias = results + size * (block_panels * tile_rows * row_step + simd.lanes * simd.lanes)
    table = (some_bias + size * tile_rows + 63) // 64 * 64
    first, end = rows_read(frame, first_row, rows)
    panel_step = tile_rows * depth * taps
    weight = load_integer(frame, F.PANELS) + size * panel_step * group * panels
    row = group * channels + first_panel * tile_rows
    for k in range(0, depth, steps):
        here = min(steps, depth - k)
        read_rows(simd, frame, batch, group, k, here, first, end, slab)
        floor = limits + size if k + here == depth else limits
        for i in range(rows):
            for j in range(0, J, vectors):
                count = _list_taps(simd, frame, first_row + i, j, first, here, table)
                for panel in range(first_panel, end_panel):
                    bias = load_integer(frame, F.BIAS)
                    valid = min(tile_rows, channels - panel * tile_rows)
                    if bias != 0:
                        bias += size * (group * channels + panel * tile_rows)
                        if valid < tile_rows:
                            for m in range(valid):
                                store_scalar(simd, some_bias, m, load_scalar(simd, bias, m))
                            bias = some_bias
                    left = weight + size * (panel * panel_step + k * taps * tile_rows)
                    target = results + size * (
                        (panel - first_panel) * tile_rows * row_step + (i * across + j) * simd.lanes
                    )
                    start = ACCUMULATE if k > 0 else 0
                    call(
                        kernel,
                        (count, table, here, left, slab, channel, distance, target, row_step, bias, start, floor),
                    )
    wanted = min(channels, end_panel * tile_rows) - first_panel * tile_rows
    _write(simd, frame, batch, row, wanted, first_row, rows, results)


@inner
def _pack_weight(simd, frame, task):
    """Panel number ``task`` of the weight, counted through the groups: KC channels, tap by tap, then the next."""
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    depth, taps, steps = load_integer(frame, F.DEPTH), load_integer(frame, F.TAP_COUNT), load_integer(frame, F.STEPS)
    row_step, depth_step = load_integer(frame, F.WEIGHT_ROW), load_integer(frame, F.WEIGHT_DEPTH)
    places = load_integer(frame, F.TAPS)
    group, panel = divmod(task, (rows + tile_rows - 1) // tile_rows)
    valid = min(tile_rows, rows - panel * tile_rows)
    target = load_integer(frame, F.PANELS) + simd.itemsize * task * tile_rows * depth * taps
    source = load_integer(frame, F.WEIGHT) + simd.itemsize * (
        group * load_integer(frame, F.WEIGHT_GROUP) + panel * tile_rows * row_step
    )
    at = 0
    for first in range(0, depth, steps):
        for t in range(taps):
            for c in range(first, min(depth, first + steps)):
                place = c * depth_step + load_integer(places, 3 * t + 2)
                for i in range(valid):
                    store_scalar(simd, target, at + i, load_scalar(simd, source, place + i * row_step))
                for i in range(valid, tile_rows):
                    store_scalar(simd, target, at + i, zero(simd))
                at += tile_rows
    if not is_finite(simd, target, at):
        store_integer(frame, F.INFINITE, 1)


@once
def weight_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that packs a panel of the weight; it needs no workspace."""

    def pack_by_taps(frame, task, slot):
        _pack_weight(simd, frame, task)

    return address_of(pack_by_taps, 3)


@once
def convolve_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def convolve_images(frame, task, slot):
        _convolve(simd, frame, task, slot)

    return address_of(convolve_images, 3)
