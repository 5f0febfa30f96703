"""This algorithm has images in the lanes: as many images as a vector has lanes are convolved at once, pixel by pixel.

A block of lattice rows of those images is interleaved on the way into the L2 cache (interleave.py), so that every pixel
is a vector of its own. There strides, dilations, odd sizes and the ends of rows cost nothing: any tap reads whole and
aligned vectors, and taps that fall outside the image are left out rather than multiplied by zeros: of 5 x 5 taps on
7 x 7 pixels a third. The costs are the way in and out, some 8 cycles a vector each, 18 for rows of 7, and the lanes
that the last images don't fill: 100 images in vectors of 16 use 89% of them.

    for KC channels                      KC x taps is some hundred products: they are one chain of additions
        interleave them                  with zeros where tiles' columns reach beyond the image
        for lattice points, NR in a row  vectors of a tile
            the taps that meet the image for any of them
            for panels of MR channels    one micro-kernel call
    separate the images again            a vector of pixels of one image at a time

A task takes a block of rows of as many images as there are lanes, in one group, and a block of target channels if such
blocks of rows are few.

The layout is that of A. Krizhevsky's cuda-convnet (2012), whose threads are images.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.image_lanes.arguments import BatchArguments
from fastconv.backends.numba_cpu.conv.image_lanes.interleave import clear, interleave, separate
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    store_integer,
    store_scalar,
    zero,
)
from fastconv.backends.numba_cpu.simd.task import task

TAP_WORDS = 2
"""Count of integers that describe a tap to the micro-kernel: its indices in the packed weight and in the source."""


def workspace_bytes(
    simd: Simd, steps: int, channel: int, tile_rows: int, block_panels: int, points: int, taps: int
) -> int:
    """Return the bytes of a thread's workspace: interleaved channels, results, a panel's bias, and the list of taps."""
    lanes = simd.lanes
    numbers = steps * channel + lanes * lanes
    numbers += block_panels * tile_rows * points * lanes + lanes * lanes + tile_rows
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * TAP_WORDS * taps


@inner
def read_rows(simd, args, batch, group, first_channel, channels, first, end, target):
    """Interleave image rows ``first`` up to ``end`` of some of the group's channels, into rows of PLANE_W vectors."""
    H, W, wide = args.H, args.W, args.plane_w
    depth = args.depth
    image_step = args.groups * depth * H * W
    images = min(simd.lanes, args.N - batch * simd.lanes)
    leftmost = args.left
    # The image's columns that taps read, and their first column in the interleaved plane.
    begin, stop = max(0, leftmost), min(W, leftmost + wide)
    left = begin - leftmost
    count = max(0, stop - begin)
    vector = simd.itemsize * simd.lanes
    source = args.source + simd.itemsize * (
        batch * simd.lanes * image_step + (group * depth + first_channel) * H * W + begin
    )
    for c in range(channels):
        plane = target + simd.itemsize * c * args.channel
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
def _list_taps(simd, args, row, column, first, channels, table):
    """Write the taps that meet the image for any lattice point of a tile to ``table``; return their number.

    The tile begins at lattice point (row, column); the interleaved rows begin at image row ``first``.
    """
    H, W, wide = args.H, args.W, args.plane_w
    right, taps = args.DJ, args.tap_count
    last = min(args.J, column + args.tile_vectors) - 1
    places, panel_step = args.taps, channels * args.tile_rows
    count = 0
    for t in range(taps):
        y = row * args.DI + load_integer(places, 3 * t)
        dx = load_integer(places, 3 * t + 1)
        # The first of the points' columns, ``right`` apart, that isn't left of the image.
        x = column * right + dx
        if x < 0:
            x += (-x + right - 1) // right * right
        if y >= 0 and y < H and x <= last * right + dx and x < W:
            x = column * right + dx - args.left
            store_integer(table, TAP_WORDS * count, t * panel_step)
            store_integer(table, TAP_WORDS * count + 1, ((y - first) * wide + x) * simd.lanes)
            count += 1
    return count


@inner
def _write(simd, args, batch, channel, channels, first_row, rows, results):
    """Separate the images in the results of target channels from ``channel`` on, and write them to the target."""
    J, target_w = args.J, args.target_w
    across = (J + args.tile_vectors - 1) // args.tile_vectors
    across *= args.tile_vectors
    plane = args.target_h * target_w
    down, right = args.YI, args.XJ
    image_step = args.target_channels * plane
    images = min(simd.lanes, args.N - batch * simd.lanes)
    corner = (args.Y0 + first_row * down) * target_w + args.X0
    vector = simd.itemsize * simd.lanes
    target = args.target + simd.itemsize * (batch * simd.lanes * image_step + channel * plane + corner)
    one_run = across == J and target_w == J and right == 1 and down == 1
    for m in range(channels):
        here = results + vector * m * args.block_rows * across
        place = target + simd.itemsize * m * plane
        if one_run:
            separate(simd, here, rows * J, place, 1, image_step, images)
        else:
            for i in range(rows):
                there = place + simd.itemsize * i * down * target_w
                separate(simd, here + vector * i * across, J, there, right, image_step, images)


@inner
def rows_read(args, first_row, rows):
    """Return the first image row that the taps of some lattice rows meet, and the one after the last."""
    first = first_row * args.DI + args.top
    end = first + (rows - 1) * args.DI + args.reach + 1
    return max(0, first), min(args.H, end)


@task(BatchArguments)
def convolve(simd, args, task, thread):
    """Compute a block of lattice rows of a vector of images for a block of target channels in one group."""
    rest, panel_block = divmod(task, args.panel_blocks)
    rest, block = divmod(rest, args.blocks)
    batch, group = divmod(rest, args.groups)
    channels, tile_rows = args.rows, args.tile_rows
    panels, block_panels = (channels + tile_rows - 1) // tile_rows, args.block_panels
    first_panel = panel_block * block_panels
    end_panel = min(panels, first_panel + block_panels)
    block_rows = args.block_rows
    first_row = block * block_rows
    rows = min(block_rows, args.I - first_row)
    depth, steps, taps = args.depth, args.steps, args.tap_count
    J, vectors = args.J, args.tile_vectors
    across = (J + vectors - 1) // vectors * vectors
    channel, distance = args.channel, args.DJ * simd.lanes
    kernel, limits, size = args.kernel, args.limits, simd.itemsize

    slab = args.workspace + thread * args.thread_bytes
    results = slab + size * (steps * channel + simd.lanes * simd.lanes)
    row_step = block_rows * across * simd.lanes
    some_bias = results + size * (block_panels * tile_rows * row_step + simd.lanes * simd.lanes)
    table = (some_bias + size * tile_rows + 63) // 64 * 64
    first, end = rows_read(args, first_row, rows)
    panel_step = tile_rows * depth * taps
    weight = args.panels + size * panel_step * group * panels
    row = group * channels + first_panel * tile_rows
    for k in range(0, depth, steps):
        here = min(steps, depth - k)
        read_rows(simd, args, batch, group, k, here, first, end, slab)
        here_limits = limits + 2 * size if k + here == depth else limits
        for i in range(rows):
            for j in range(0, J, vectors):
                count = _list_taps(simd, args, first_row + i, j, first, here, table)
                for panel in range(first_panel, end_panel):
                    bias = args.bias if k == 0 else 0
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
                    start = target if k > 0 else 0
                    call(
                        kernel,
                        (count, table, here, left, slab, channel, distance, target, row_step, bias, start, here_limits),
                    )
    wanted = min(channels, end_panel * tile_rows) - first_panel * tile_rows
    _write(simd, args, batch, row, wanted, first_row, rows, results)


@task(ConvArguments)
def pack_weight(simd, args, task, thread):
    """Pack panel number ``task`` of the weight, counted through the groups: KC channels tap by tap, then the next."""
    rows, tile_rows = args.rows, args.tile_rows
    depth, taps, steps = args.depth, args.tap_count, args.steps
    row_step, depth_step = args.weight_row, args.weight_depth
    places = args.taps
    group, panel = divmod(task, (rows + tile_rows - 1) // tile_rows)
    valid = min(tile_rows, rows - panel * tile_rows)
    target = args.panels + simd.itemsize * task * tile_rows * depth * taps
    source = args.weight + simd.itemsize * (group * args.weight_group + panel * tile_rows * row_step)
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
        args.infinite = 1
