"""Winograd's convolution transforms kernels, in pieces of a form's taps, to the products' left factors.

These are G g G' of each piece, and of the blocks of several numbers what their products need (forms/blocks.py).
"""

from __future__ import annotations

from fastconv.backends.compiler import inner, intrinsic, types
from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit
from fastconv.backends.numba_cpu.conv.winograd.forms.vectors import emit_factors, load_at
from fastconv.backends.numba_cpu.gemm.packing import is_finite, pack_panel, pack_squares
from fastconv.backends.numba_cpu.simd import (
    is_zero,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

PACKED_CHANNELS = 16
"""Channels of the weight that are packed in the L1 cache at a time, before they are transformed."""


def weight_step(simd: FormSimd, panels: int, tile_rows: int, channels: int, pieces: int) -> int:
    """Return the count of numbers in a transformed weight for one product of a group.

    Behind each piece there is room for a vector that ends beyond it. A vector of kernels is written to all products at
    once: these are whole pages and a vector apart, so that their lines share no set of the L1 cache. With a multiple of
    2 KiB between them it takes five times as long.
    """
    page = 4096 // simd.itemsize
    return -(-panels * pieces * (tile_rows * channels + simd.lanes) // page) * page + simd.lanes


def packing_numbers(simd: FormSimd, tile_rows: int, taps: int) -> int:
    """Return the count of numbers of a thread's workspace in which a weight of ``taps`` taps is packed."""
    return (taps * PACKED_CHANNELS + simd.taps + simd.lanes + 1) * (tile_rows + simd.lanes)


@intrinsic
def _transform_taps(typing, simd, source, source_step, target, target_step):
    """Write the products' factors of a vector of kernels as vectors ``target_step`` elements apart, from target on.

    Tap t of the kernels is at source + t * source_step.
    """

    def generate(context, builder, signature, arguments):
        _, source, source_step, target, target_step = arguments
        form = simd.simd.form
        program, along_rows, across = additions(form.down.weight), additions(form.right.weight), form.right.taps
        taps = [load_at(builder, simd, source, source_step, t) for t in range(form.down.taps * across)]
        columns = [emit(builder, program, taps[s::across]) for s in range(across)]
        numbers = [emit(builder, along_rows, row) for row in zip(*columns, strict=True)]
        emit_factors(builder, simd, numbers.__getitem__, lambda block: block.weight, target, target_step)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 4), generate


@inner
def count_pieces(simd, args):
    """Return the number of pieces that a kernel falls into."""
    down, across = simd.tap_rows, simd.tap_columns
    return (args.tap_rows + down - 1) // down * ((args.tap_columns + across - 1) // across)


@inner
def piece_at(simd, args, piece):
    """Return the row and column of the first tap of a piece."""
    across = (args.tap_columns + simd.tap_columns - 1) // simd.tap_columns
    return simd.tap_rows * (piece // across), simd.tap_columns * (piece % across)


@inner
def _cut_piece(simd, taps, step, rows, columns, first, across, target):
    """Copy the piece of a kernel from tap ``first`` on, with zeros outside ``rows`` x ``columns``.

    The kernel has ``across`` taps in a row.
    """
    for r in range(simd.tap_rows):
        for s in range(simd.tap_columns):
            value = zeros(simd)
            if r < rows and s < columns:
                value = load(simd, taps, (first + r * across + s) * step)
            store(simd, target, (simd.tap_columns * r + s) * simd.lanes, value)


@inner
def _has_taps(simd, args, row, first, step, count):
    """Return True if one of ``count`` taps, ``step`` apart, isn't 0 in a row of kernels, counted through the groups."""
    group, m = divmod(row, args.rows)
    base = group * args.weight_group + m * args.weight_row
    for i in range(count):
        tap = base + load_integer(args.taps, 3 * (first + i * step) + 2)
        for c in range(args.depth):
            if load_scalar(simd, args.weight, tap + c * args.weight_depth) != 0:
                return True
    return False


@inner
def _is_empty(simd, args, row):
    """Return True if all taps of a row of kernels, counted through the groups, are 0."""
    taps, count = args.tap_count, args.depth * args.tap_count
    if args.weight_depth != taps:
        return not _has_taps(simd, args, row, 0, 1, taps)
    group, m = divmod(row, args.rows)
    kernels = args.weight + simd.itemsize * (group * args.weight_group + m * args.weight_row)
    whole = count // simd.lanes * simd.lanes
    for i in range(0, whole, simd.lanes):
        if not is_zero(simd, load(simd, kernels, i)):
            return False
    return is_zero(simd, load_where(simd, kernels, whole, lanes_between(simd, 0, count - whole), zeros(simd)))


@inner
def _lacks_line(simd, args, R, S):
    """Return True if some, but not all, rows or columns of taps are 0 in every kernel of a weight.

    A line is given up at the first tap that isn't 0, mostly the very first one. Kernels of zeros before it are read
    once: 512 x 512 of them, read for each line, took six times as long as all products of 7 x 7 pixels.
    """
    rows, begin = args.groups * args.rows, 0
    while begin < rows and _is_empty(simd, args, begin):
        begin += 1
    if begin == rows:
        return False
    for line in range(R + S):
        first, step, count = (line * S, 1, S) if line < R else (line - R, S, R)
        row = begin
        while row < rows and not _has_taps(simd, args, row, first, step, count):
            row += 1
        if row == rows:
            return True
    return False


@inner
def sees_odd_weight(simd, args, task):
    """Return True in task 0 if rows or columns of taps are 0 in every kernel: the fallback must compute these."""
    return task == 0 and _lacks_line(simd, args, args.tap_rows, args.tap_columns)


@inner
def _is_turned(simd, args):
    """Return True if a weight has the taps of an input gradient: all of them, in reverse order."""
    return args.weight_row == args.tap_count and load_integer(args.taps, 2) == args.tap_count - 1


@inner
def _pack_turned(simd, args, group, panel, first, count, packed):
    """Pack a panel as `pack_panel` does, but with taps in the weight's order, by squares of lanes for each channel.

    One by one, the elements of 512 x 512 kernels take twice as long to pack as to transform.
    """
    taps, tile_rows, rows = args.tap_count, args.tile_rows, args.rows
    here = min(tile_rows, rows - panel * tile_rows)
    last = group == args.groups - 1 and panel * tile_rows + here == rows
    place = group * args.weight_group + panel * tile_rows * taps + first * args.weight_depth
    # Squares are written up to a vector of taps behind the packed ones.
    spare = packed + simd.itemsize * (taps * PACKED_CHANNELS + simd.lanes + 1) * tile_rows
    squares = (taps + simd.lanes - 1) // simd.lanes * simd.lanes
    for c in range(count):
        source = args.weight + simd.itemsize * (place + c * args.weight_depth)
        # A vector of the weight's last taps would end beyond the weight.
        if last and (args.depth - 1 - first - c) * args.weight_depth < simd.lanes:
            for i in range(here * taps):
                store_scalar(simd, spare, i, load_scalar(simd, source, i))
            source = spare
        pack_squares(simd, source, taps, here, squares, packed + simd.itemsize * c * taps * tile_rows, tile_rows)


@inner
def pack_channels(simd, args, group, panel, first, count, packed):
    """Pack a panel of the weight for ``count`` channels from ``first`` on; return True if all of it is finite."""
    if _is_turned(simd, args):
        _pack_turned(simd, args, group, panel, first, count, packed)
    else:
        pack_panel(simd, args, group, panel, first, count, packed)
    return is_finite(simd, packed, count * args.tap_count * args.tile_rows)


@inner
def transform_piece(simd, args, piece, count, packed, workspace, target, matrix):
    """Transform a piece of ``count`` packed channels; those of each product are ``matrix`` elements apart.

    The channels are those that `pack_channels` packed in the workspace, or they are anywhere else with taps in order.
    """
    tile_rows, taps = args.tile_rows, args.tap_count
    R, S = args.tap_rows, args.tap_columns
    r, s = piece_at(simd, args, piece)
    whole = simd.tap_rows == R and simd.tap_columns == S
    turned = packed == workspace and _is_turned(simd, args)
    piece_of = workspace + simd.itemsize * (taps * PACKED_CHANNELS + simd.lanes + 1) * tile_rows
    for c in range(count):
        for i in range(0, tile_rows, simd.lanes):
            kernels, step = packed + simd.itemsize * (taps * c * tile_rows + i), tile_rows
            if turned:
                kernels, step = kernels + simd.itemsize * (taps - 1) * tile_rows, -tile_rows
            if not whole:
                _cut_piece(simd, kernels, step, R - r, S - s, r * S + s, S, piece_of)
                kernels, step = piece_of, simd.lanes
            _transform_taps(simd, kernels, step, target + simd.itemsize * (c * tile_rows + i), matrix)


@task(WinogradArguments)
def transform_weight(simd, args, task, thread):
    """Pack and transform panel number ``task`` of the weight, counted through the groups."""
    rows, tile_rows, depth = args.rows, args.tile_rows, args.depth
    pieces = count_pieces(simd, args)
    panels = (rows + tile_rows - 1) // tile_rows
    group, panel = divmod(task, panels)
    piece_step = tile_rows * depth + simd.lanes
    panel_step, matrix = pieces * piece_step, args.weight_step
    target = args.panels + simd.itemsize * (simd.products * matrix * group + panel * panel_step)
    packed = args.workspace + thread * args.thread_bytes
    odd = sees_odd_weight(simd, args, task)
    for first in range(0, depth, PACKED_CHANNELS):
        here = min(PACKED_CHANNELS, depth - first)
        if not pack_channels(simd, args, group, panel, first, here, packed):
            odd = True
        for piece in range(pieces):
            place = target + simd.itemsize * (piece * piece_step + first * tile_rows)
            transform_piece(simd, args, piece, here, packed, packed, place, matrix)
    if odd:
        args.infinite = 1
