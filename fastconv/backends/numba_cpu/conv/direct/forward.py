"""A direct convolution reads vectors of pixels from a copy of the image; no operand is rearranged for each tap.

The part of an image that a block of lattice rows needs is copied once, padding included, into planes in the L2 cache.
A plane is PLANE_W = J + reach wide, where reach is the distance between the first and the last tap's column, or that
rounded up to whole vectors, so that no vector touches two rows. Lattice point (i, j) is number v = i * PLANE_W + j,
and the pixels under tap t for v, v + 1, v + 2, ... are contiguous from v + offset(t) on, for every tap and across the
ends of rows. So row k = (d, t) of the reduction is just an offset, and the micro-kernel of the indirect kind reads it
from the planes.

With a stride the source has several phases, one for each remainder of row and column modulo the stride; each phase is
copied to a plane of its own, in which the pixels under a tap of that phase are contiguous again.

The cost is that points v with j >= J are computed but not written: J / PLANE_W of the work is useful, for 3 x 3 on 56
pixels 97%, on 14 pixels 88%. Gathering, as in conv/implicit_gemm, costs some 10 cycles for each vector of 16 numbers
and tap, even if only few target channels use it. So problems with few channels or large images are computed here, and
small images with many channels there: see planner.py.

A task is a block of lattice rows of one image (and, if there are few such blocks, of target channels); its loops:

    copy the planes
    for runs of tiles                    where they are written is found once for all target channels
        for panels of MR channels
            for tiles of NR pixels       one micro-kernel call

Masked stores write each vector of a tile to at most two rows of the target, or three if PLANE_W is less than a vector.
A target with a stride, and the last channels if the tile's rows don't divide them, are written by way of the workspace.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.direct.arguments import DirectArguments
from fastconv.backends.numba_cpu.gemm.micro_kernel import PIECE_WORDS
from fastconv.backends.numba_cpu.gemm.write_run import write_run
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
from fastconv.backends.numba_cpu.simd.memory import can_load_apart, load_apart
from fastconv.backends.numba_cpu.simd.task import task

_TILES_AT_ONCE = 32
"""Tiles of pixels in a run: the tables of where they are written are made once for all target channels."""


def workspace_bytes(simd: Simd, channels: int, channel: int, tile_rows: int, tile_vectors: int, pieces: int) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds the planes and what may be read after them, a tile, a bias, and the tables of some tiles' pieces.
    """
    width = tile_vectors * simd.lanes
    numbers = channels * channel + channel + 2 * width + tile_rows * (width + 1)
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * (_TILES_AT_ONCE + 1) * pieces * PIECE_WORDS * tile_vectors


@inner
def copy_planes(simd, args, n, group, first_row, planes):
    """Fill the planes of all the group's source channels for the lattice rows from ``first_row`` on."""
    H, W = args.H, args.W
    depth = args.depth
    down, right = args.DI, args.DJ
    rows, wide = args.plane_rows, args.plane_w
    phases, table = args.phase_count, args.phases
    first_x = args.first_x
    channel = args.channel
    source = args.source
    for d in range(depth):
        image = ((n * args.groups + group) * depth + d) * H * W
        for phase in range(phases):
            y0, x0 = load_integer(table, 2 * phase), load_integer(table, 2 * phase + 1)
            # The columns of the plane from ``left`` up to ``end`` lie in the image.
            left = max(0, (-x0 + right - 1) // right - first_x)
            end = min(wide, (W - x0 + right - 1) // right - first_x)
            for row in range(rows):
                y = (first_row + row + args.first_y) * down + y0
                target = d * channel + (phase * rows + row) * wide
                if y < 0 or y >= H or left >= end:
                    for j in range(0, wide, simd.lanes):
                        store(simd, planes, target + j, zeros(simd))
                    continue
                place = image + y * W + first_x * right + x0
                _copy_row(simd, source, place, right, left, end, wide, planes, target)


@inner
def _copy_row(simd, source, place, right, left, end, wide, planes, target):
    """Copy pixels ``right`` apart to a row of a plane, whose columns ``left`` up to ``end`` lie in the image."""
    lanes = simd.lanes
    if end - left >= lanes and can_load_apart(right):
        # Zeros on both sides, also where the next row is written later; then pixels, the last vector up to the end.
        for j in range(0, left, lanes):
            store(simd, planes, target + j, zeros(simd))
        for j in range(end, wide, lanes):
            store(simd, planes, target + j, zeros(simd))
        for j in range(left, end - lanes, lanes):
            store(simd, planes, target + j, load_apart(simd, source, place + j * right, right))
        j = end - lanes
        store(simd, planes, target + j, load_apart(simd, source, place + j * right, right))
        return
    for j in range(0, wide, lanes):
        if right == 1:
            value = load_where(simd, source, place + j, lanes_between(simd, left - j, end - j), zeros(simd))
        elif right == 2:
            first, last = 2 * (left - j), 2 * (end - j) - 1
            mask = lanes_between(simd, first, last)
            near = load_where(simd, source, place + 2 * j, mask, zeros(simd))
            mask = lanes_between(simd, first - lanes, last - lanes)
            value = evens(simd, near, load_where(simd, source, place + 2 * j + lanes, mask, zeros(simd)))
        else:
            store(simd, planes, target + j, zeros(simd))
            for at in range(max(left, j), min(end, j + lanes)):
                store_scalar(simd, planes, target + at, load_scalar(simd, source, place + at * right))
            continue
        store(simd, planes, target + j, value)


@inner
def _place_vectors(simd, args, v, rows, first, vectors, pieces, table):
    """Fill the table of pieces for a tile that starts at lattice point v of a block of ``rows`` rows.

    ``first`` is the index of the block's first pixel in a channel of the target.
    """
    wide, J = args.plane_w, args.J
    target_w = args.target_w
    i, j = divmod(v, wide)
    for vector in range(vectors):
        for piece in range(pieces):
            base = table + 8 * PIECE_WORDS * (vector * pieces + piece)
            begin = piece * wide - j  # the lane of the row's first pixel
            store_integer(base, 0, begin)
            store_integer(base, 1, begin + J if i + piece < rows else 0)
            store_integer(base, 2, first + (i + piece) * target_w - begin)
        j += simd.lanes
        while j >= wide:
            j -= wide
            i += 1


@inner
def _place_in_tile(simd, vectors, pieces, table):
    """Fill the table of pieces for a tile in the workspace, which lies in one piece."""
    for piece in range(vectors * pieces):
        base = table + 8 * PIECE_WORDS * piece
        store_integer(base, 0, 0)
        store_integer(base, 1, simd.lanes if piece % pieces == 0 else 0)
        store_integer(base, 2, piece // pieces * simd.lanes)


@inner
def _whole_bias(simd, bias, valid, rows, some_bias):
    """Return the address of the bias of ``rows`` channels, of which ``valid`` exist: a copy if there are fewer."""
    if valid == rows:
        return bias
    for m in range(valid):
        store_scalar(simd, some_bias, m, load_scalar(simd, bias, m))
    return some_bias


@inner
def _deliver(simd, args, tile, width, v, rows, first_row, n, row, valid, target):
    """Write a tile row by row, for targets with a stride and for panels with fewer than MR channels."""
    wide, J = args.plane_w, args.J
    target_w = args.target_w
    plane = args.target_h * target_w
    channels = args.target_channels
    right, limits = args.XJ, args.limits
    lane = 0
    while lane < width:
        i, j = divmod(v + lane, wide)
        if i >= rows:
            break
        if j < J:
            y = args.Y0 + (first_row + i) * args.YI
            x = args.X0 + j * right
            corner = (n * channels + row) * plane + y * target_w + x
            end = min(width, lane + J - j)
            write_run(simd, tile, width, valid, lane, end, target, corner, plane, right, (0, 0, limits))
        lane += wide - j


@task(DirectArguments)
def convolve(simd, args, task, thread):
    """Compute one block of lattice rows of one image, for one block of target channels in one group."""
    blocks, panel_blocks = args.blocks, args.panel_blocks
    rest, panel_block = divmod(task, panel_blocks)
    rest, block = divmod(rest, blocks)
    n, group = divmod(rest, args.groups)
    channels, tile_rows = args.rows, args.tile_rows
    panels = (channels + tile_rows - 1) // tile_rows
    first_panel = panel_block * args.block_panels
    end_panel = min(panels, first_panel + args.block_panels)
    vectors = args.tile_vectors
    width = vectors * simd.lanes
    depth = args.depth * args.tap_count
    wide = args.plane_w
    first_row = block * args.block_rows
    rows = min(args.block_rows, args.I - first_row)
    points = (rows - 1) * wide + args.J
    plane = args.target_h * args.target_w
    kernel, last_limits = args.kernel, args.limits + 2 * simd.itemsize
    offsets, target = args.offsets, args.target
    in_rows = args.XJ == 1 and args.YI == 1

    planes = args.workspace + thread * args.thread_bytes
    channel = args.channel
    scratch = planes + simd.itemsize * (args.depth * channel + channel + 2 * width)
    some_bias = scratch + simd.itemsize * tile_rows * width
    table = (some_bias + simd.itemsize * tile_rows + 63) // 64 * 64
    copy_planes(simd, args, n, group, first_row, planes)
    _place_in_tile(simd, vectors, args.pieces, table)
    table_bytes = 8 * PIECE_WORDS * vectors * args.pieces
    for begin in range(0, points, _TILES_AT_ONCE * width):
        end = min(points, begin + _TILES_AT_ONCE * width)
        if in_rows:
            corner = args.Y0 * args.target_w + args.X0 + first_row * args.target_w
            for v in range(begin, end, width):
                here = table + table_bytes * (1 + (v - begin) // width)
                _place_vectors(simd, args, v, rows, corner, vectors, args.pieces, here)
        for panel in range(first_panel, end_panel):
            row = group * channels + panel * tile_rows
            valid = min(tile_rows, channels - panel * tile_rows)
            left = args.panels + simd.itemsize * tile_rows * depth * (group * panels + panel)
            bias = args.bias
            if bias != 0:
                bias += simd.itemsize * row
                bias = _whole_bias(simd, bias, valid, tile_rows, some_bias)
            image = target + simd.itemsize * (n * args.target_channels + row) * plane
            for v in range(begin, end, width):
                right = planes + simd.itemsize * v
                if in_rows and valid == tile_rows:
                    here = table + table_bytes * (1 + (v - begin) // width)
                    call(kernel, (depth, left, right, offsets, image, plane, here, bias, last_limits))
                else:
                    call(kernel, (depth, left, right, offsets, scratch, width, table, bias, last_limits))
                    _deliver(simd, args, scratch, width, v, rows, first_row, n, row, valid, target)
