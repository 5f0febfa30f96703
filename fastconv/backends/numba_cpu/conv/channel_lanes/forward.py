"""A convolution has target channels in the lanes of vectors, and pixels in the rows of tiles.

    target[n, k, p]  =  bias[k] + sum over taps t, channels c of source[n, c, p + t] * weight[k, c, t]

A block of an image's rows is transposed into the L2 cache, where each pixel is a row of channels, and the padding on
either side is zeros. The kernel (conv/matmul/kernel.py) broadcasts from some pixels of a row, whatever their distance,
and multiplies by vectors of the packed weight: nothing is gathered for a tap, strides and dilations cost nothing, and
a row of 7 pixels fills a tile of 7 x 4 vectors. Taps that meet only padding are left out, for each tile. Taps that lie
side by side are one product of their channels. The results, a row of channels for each pixel, are transposed on their
way to the target.

A task takes a block of rows of an image, in one group, and some panels of target channels:

    for blocks of channels
        transpose the rows
        for panels of target channels
            for runs of taps, for KC steps       the weight's KC rows stay in the L1 cache
                for tiles of pixels              one micro-kernel call
            transpose the results                with bias and limits, after the last block

oneDNN and onnxruntime keep images in this order between layers (nChw16c; E. Georganas et al., SC 2018).
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.channel_lanes.arguments import ChannelsArguments
from fastconv.backends.numba_cpu.gemm.packing import AHEAD, is_finite, pack_panel, transpose_pixels
from fastconv.backends.numba_cpu.gemm.write_run import write_run
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load,
    load_integer,
    load_scalar,
    prefetch,
    store,
    store_scalar,
    transpose,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

RUN_WORDS = 4
"""Count of integers of a run of taps: dy and dx of its first tap, its number of taps, and its row in the packed weight.
"""

_STEPS = 256
"""Steps of the reduction that are packed at a time, all taps of some channels, and put in order in a cache."""


def workspace_bytes(simd: Simd, row: int, slots: int, points: int, width: int, panels: int, taps: int) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds ``slots`` transposed rows of ``row`` numbers, the results of some panels, and a square; or, before, a piece
    of a packed panel.
    """
    numbers = slots * row + points * width * panels + simd.lanes * simd.lanes
    return simd.itemsize * (max(numbers, max(_STEPS, taps) * width) + simd.lanes)


@task(ChannelsArguments)
def pack_weight(simd, args, task, thread):
    """Pack panel number ``task`` of the weight, counted through the groups.

    It begins with the first block of channels: all channels of a tap, then those of the next tap.
    """
    taps, depth, lanes, width = args.tap_count, args.depth, simd.lanes, args.tile_rows
    group, panel = divmod(task, (args.rows + width - 1) // width)
    target = args.panels + simd.itemsize * task * width * depth * taps
    piece, some = args.workspace + thread * args.thread_bytes, max(1, _STEPS // taps)
    for block in range(0, depth, args.channels):
        channels = min(args.channels, depth - block)
        for c in range(0, channels, some):
            count = min(some, channels - c)
            pack_panel(simd, args, group, panel, block + c, count, piece)
            for i in range(count):
                for t in range(taps):
                    here, there = (i * taps + t) * width, (block * taps + t * channels + c + i) * width
                    for lane in range(0, width, lanes):
                        store(simd, target, there + lane, load(simd, piece, here + lane))
            if not is_finite(simd, piece, count * taps * width):
                args.infinite = 1


@inner
def _clear(simd, target, count):
    """Write ``count`` zeros."""
    whole = count // simd.lanes * simd.lanes
    for i in range(0, whole, simd.lanes):
        store(simd, target, i, zeros(simd))
    for i in range(whole, count):
        store_scalar(simd, target, i, zero(simd))


@inner
def _read_rows(simd, args, place, channels, first, rows, target, square):
    """Transpose ``rows`` source rows from ``first`` on, ``skip`` apart, of some channels from plane ``place`` on.

    Rows above and below the image aren't written.
    """
    H, W, wide, size, skip = args.H, args.W, args.wide, simd.itemsize, args.skip
    begin, stop = max(0, args.left), min(W, args.left + wide)
    before, count = begin - args.left, max(0, stop - begin)
    source = args.source + size * (place * H * W + begin)
    # Rows from ``top`` up to ``end`` are there.
    top = max(0, (skip - 1 - first) // skip)
    end = max(top, min(rows, (H - first + skip - 1) // skip))
    if count >= simd.lanes or skip != 1:
        for row in range(top, end):
            here = target + size * (row * wide + before) * channels
            corner = source + size * (first + row * skip) * W
            transpose_pixels(simd, corner, H * W, channels, count, here, channels)
    elif count > 0 and top < end:
        here = target + size * (top * wide + before) * channels
        corner = source + size * (first + top) * W
        _transpose_short(simd, corner, H * W, W, count, end - top, channels, here, wide, square)
    for row in range(top, end):
        here = target + size * row * wide * channels
        _clear(simd, here, before * channels)
        _clear(simd, here + size * (before + count) * channels, (wide - before - count) * channels)


@inner
def _transpose_short(simd, source, plane, W, count, rows, depth, target, wide, square):
    """Transpose rows of ``count`` pixels, fewer than a vector has lanes: a vector of pixels has those of several."""
    lanes, size = simd.lanes, simd.itemsize
    total = (rows - 1) * W + count
    for c in range((depth - 1) // lanes * lanes, -1, -lanes):
        there = min(lanes, depth - c)
        for p in range(0, total, lanes):
            # The last square has some pixels again, rather than what lies behind the rows.
            first, here = max(0, min(p, total - lanes)), min(lanes, total)
            corner = source + size * (c * plane + first)
            if here == lanes:
                for i in range(there):
                    prefetch(simd, corner, i * plane + AHEAD * lanes)
                transpose(simd, corner, plane, there, square, lanes)
            else:
                for q in range(here):
                    for i in range(there):
                        store_scalar(simd, square, q * lanes + i, load_scalar(simd, corner, i * plane + q))
            row, column = divmod(first, W)
            for q in range(here):
                if column < count:
                    store(simd, target, (row * wide + column) * depth + c, load(simd, square, q * lanes))
                column += 1
                if column == W:
                    row, column = row + 1, 0


@inner
def _multiply(simd, args, panel, last, channels, first_row, rows, first, pixels, results):
    """Add the products of a block of channels to the results of some lattice rows, for a panel of target channels."""
    steps, width, wide, size = args.steps, args.tile_rows, args.wide, simd.itemsize
    down, right, J, W, H, height = args.DI, args.DJ, args.J, args.W, args.H, args.tile_pixels
    for run in range(args.run_count):
        table = args.runs + 8 * RUN_WORDS * run
        dy, dx, many = load_integer(table, 0), load_integer(table, 1), load_integer(table, 2) * channels
        b = panel + size * load_integer(table, 3) * channels * width
        for k in range(0, many, steps):
            end = min(many, k + steps)
            for i in range(rows):
                y = (first_row + i) * down + dy
                if y < 0 or y >= H:
                    continue
                row = pixels + size * ((y - first) // args.skip * wide + dx - args.left) * channels
                for j in range(0, J, height):
                    here = min(height, J - j)
                    # The run's taps before the first of these, and from the second on, meet only padding.
                    begin = max(k, -((j + here - 1) * right + dx) * channels)
                    stop = min(end, (W - (j * right + dx)) * channels)
                    if begin < stop:
                        kernel = load_integer(args.kernel, (0 if here == height else 2) + last)
                        a = row + size * (j * right * channels + begin)
                        c = results + size * (i * J + j) * width
                        left, below = (a, right * channels, 1), (b + size * begin * width, width, simd.lanes)
                        call(kernel, (stop - begin, *left, *below, c, width, 0, c, args.limits))


@inner
def _write(simd, args, results, first_row, rows, valid, target, bias, square):
    """Transpose the results of lattice rows for ``valid`` channels, whose planes begin at ``target``; write them."""
    lanes, width, size, J = simd.lanes, args.tile_rows, simd.itemsize, args.J
    plane, down, right = args.target_h * args.target_w, args.YI, args.XJ
    corner, limits = (args.Y0 + first_row * down) * args.target_w + args.X0, args.limits + 2 * size
    # All rows are one run of pixels where nothing lies between them.
    count = rows * J if args.target_w == J and down == 1 and right == 1 else J
    for k in range(0, valid, lanes):
        channels, some_bias = min(lanes, valid - k), bias + size * k if bias != 0 else 0
        for u in range(0, rows * J, count):
            place = k * plane + corner + u // J * down * args.target_w
            for p in range(0, count, lanes):
                there = min(lanes, count - p)
                transpose(simd, results + size * ((u + p) * width + k), width, there, square, lanes)
                run = target, place + p * right, plane, right
                write_run(simd, square, lanes, channels, 0, there, *run, (some_bias, 0, limits))


@task(ChannelsArguments)
def convolve(simd, args, task, thread):
    """Compute a block of an image's lattice rows for some panels of target channels in one group."""
    rest, panel_block = divmod(task, args.panel_blocks)
    rest, block = divmod(rest, args.blocks)
    image, group = divmod(rest, args.groups)
    width, size, J, depth, rows = args.tile_rows, simd.itemsize, args.J, args.depth, args.rows
    panels = (rows + width - 1) // width
    first_panel = panel_block * args.block_panels
    end_panel = min(panels, first_panel + args.block_panels)
    first_row = block * args.block_rows
    count = min(args.block_rows, args.I - first_row)
    first = first_row * args.DI + args.top
    slots = ((count - 1) * args.DI + args.reach) // args.skip + 1
    if args.skip == 1:
        first, slots = max(0, first), min(args.H, first + slots) - max(0, first)
    # The sums of all panels are kept if there are several blocks of channels.
    kept = end_panel - first_panel if args.channels < depth else 1
    results = args.workspace + thread * args.thread_bytes
    panel_size = size * count * J * width
    square = results + panel_size * kept
    pixels = square + size * simd.lanes * simd.lanes
    for c in range(0, depth, args.channels):
        channels = min(args.channels, depth - c)
        place = (image * args.groups + group) * depth + c
        _read_rows(simd, args, place, channels, first, slots, pixels, square)
        for panel in range(first_panel, end_panel):
            packed = args.panels + size * ((group * panels + panel) * depth + c) * width * args.tap_count
            last = 1 if (panel + 1) * width > rows else 0
            sums = results + panel_size * ((panel - first_panel) % kept)
            if c == 0:
                _clear(simd, sums, count * J * width)
            _multiply(simd, args, packed, last, channels, first_row, count, first, pixels, sums)
            if c + channels == depth:
                channel = group * rows + panel * width
                bias = args.bias + size * channel if args.bias != 0 else 0
                target = args.target + size * (image * args.target_channels + channel) * args.target_h * args.target_w
                valid = min(width, rows - panel * width)
                _write(simd, args, sums, first_row, count, valid, target, bias, square)
