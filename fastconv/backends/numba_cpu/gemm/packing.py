"""Packing rearranges an operand into panels, which the micro-kernel reads from the first element to the last.

Pixels are transposed to rows of channels, for products with channels in their lanes.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.simd import (
    add,
    fused,
    is_zero,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    prefetch,
    stack_square,
    store,
    store_scalar,
    transpose,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

AHEAD = 4
"""Distance of prefetches, in vectors. Planes are too far apart for the processor to see that each is read in order."""


@inner
def pack_squares(simd, source, row_step, rows, depth, target, tile_rows):
    """Pack one panel as `pack_rows` does, for a depth of whole vectors; up to a vector after the panel is overwritten.

    Squares of lanes x lanes are transposed in registers, some 0.3 cycles an element (one by one it takes 1.5). In a
    narrow panel a stored vector also overwrites elements after its own; so steps go upwards, groups of rows downwards.
    Missing rows are copies of the last row, or zeros, so that a search for infinite numbers finds none in them.
    """
    lanes = simd.lanes
    for first in range((tile_rows - 1) // lanes * lanes, -1, -lanes):
        there = rows - first
        for k in range(0, depth, lanes):
            if there > 0:
                square = source + simd.itemsize * (first * row_step + k)
                transpose(simd, square, row_step, there, target + simd.itemsize * (k * tile_rows + first), tile_rows)
                continue
            for step in range(k, k + lanes):
                store(simd, target, step * tile_rows + first, zeros(simd))


@inner
def pack_rows(simd, source, row_step, rows, depth, target, tile_rows):
    """Pack one panel from rows: target[k * MR + i] = source[i * row_step + k], with zeros for missing rows.

    The last steps are copied one element at a time, since nothing may be written after the panel.
    """
    whole = max(0, depth // simd.lanes - 1) * simd.lanes
    if whole:
        pack_squares(simd, source, row_step, rows, whole, target, tile_rows)
    for k in range(whole, depth):
        for i in range(rows):
            store_scalar(simd, target, k * tile_rows + i, load_scalar(simd, source, i * row_step + k))
        for i in range(rows, tile_rows):
            store_scalar(simd, target, k * tile_rows + i, zero(simd))


@inner
def _pack_columns(simd, source, depth_step, rows, depth, target, tile_rows):
    """Pack one panel from columns: target[k * MR + i] = source[k * depth_step + i] for i < ``rows``, else 0."""
    lanes = simd.lanes
    for k in range(depth):
        i = 0
        # A vector may write too far while later steps overwrite that, and may read elements of other rows.
        if k + lanes < depth:
            while i < rows:
                store(simd, target, k * tile_rows + i, load(simd, source, k * depth_step + i))
                i += lanes
        while i < rows:
            store_scalar(simd, target, k * tile_rows + i, load_scalar(simd, source, k * depth_step + i))
            i += 1
        while i < tile_rows:
            store_scalar(simd, target, k * tile_rows + i, zero(simd))
            i += 1


@inner
def _pack_taps(simd, source, args, rows, depth, target, tile_rows):
    """Pack one panel of a weight whose taps are in any order; some of them may be left out.

    The kernels of as many rows as a vector has lanes are transposed together; one by one, a number takes 1.5 cycles.
    The last ones are, since nothing may be read after the weight, nor written after the panel: other threads may have
    packed the next one. In a narrow panel a stored vector also overwrites elements after its own, as in `pack_squares`:
    with one tap and 5 rows, a vector of 16 numbers reaches into the third channel after its own.
    """
    taps, lanes, table = args.tap_count, simd.lanes, args.taps
    row_step, depth_step = args.weight_row, args.weight_depth
    kernel = min(row_step, depth_step)
    pieces = (kernel + lanes - 1) // lanes
    whole = 0
    if tile_rows % lanes == 0 or pieces == 1:
        unread = (pieces * lanes - kernel + depth_step - 1) // depth_step
        beyond, channel = (lanes - 1) - (tile_rows - 1) % lanes, taps * tile_rows
        whole = max(0, depth - max(unread, (beyond + channel - 1) // channel))
        square = stack_square(simd)
    for d in range(whole):
        for first in range((tile_rows - 1) // lanes * lanes, -1, -lanes):
            place = target + simd.itemsize * (d * taps * tile_rows + first)
            for piece in range(pieces):
                there = rows - first
                if there > 0:
                    corner = source + simd.itemsize * (d * depth_step + first * row_step + piece * lanes)
                    transpose(simd, corner, row_step, there, square, lanes)
                for t in range(taps):
                    element = load_integer(table, 3 * t + 2) - piece * lanes
                    if element >= 0 and element < lanes:
                        value = zeros(simd)
                        if there > 0:
                            value = load(simd, square, element * lanes)
                        store(simd, place, t * tile_rows, value)
    for d in range(whole, depth):
        for t in range(taps):
            base = d * depth_step + load_integer(table, 3 * t + 2)
            row = (d * taps + t) * tile_rows
            for i in range(rows):
                store_scalar(simd, target, row + i, load_scalar(simd, source, base + i * row_step))
            for i in range(rows, tile_rows):
                store_scalar(simd, target, row + i, zero(simd))


@inner
def pack_panel(simd, args, group, panel, first, depth, target):
    """Pack a panel of a group's weight for source channels ``first`` up to first + depth, each with all its taps."""
    rows, tile_rows = args.rows, args.tile_rows
    taps = args.tap_count
    row_step, depth_step = args.weight_row, args.weight_depth
    here = min(tile_rows, rows - panel * tile_rows)
    source = args.weight + simd.itemsize * (
        group * args.weight_group + panel * tile_rows * row_step + first * depth_step
    )
    if args.in_order and depth_step == taps:
        pack_rows(simd, source, row_step, here, depth * taps, target, tile_rows)
    elif taps == 1 and row_step == 1:
        table = args.taps
        _pack_columns(simd, source + simd.itemsize * load_integer(table, 2), depth_step, here, depth, target, tile_rows)
    else:
        _pack_taps(simd, source, args, here, depth, target, tile_rows)


@inner
def pack_panel_of(simd, args, number):
    """Pack panel ``number`` of the weight, counted through all groups; set the flag if it isn't finite."""
    rows, tile_rows = args.rows, args.tile_rows
    depth, taps = args.depth, args.tap_count
    group, panel = divmod(number, (rows + tile_rows - 1) // tile_rows)
    target = args.panels + simd.itemsize * number * tile_rows * depth * taps
    pack_panel(simd, args, group, panel, 0, depth, target)
    if not is_finite(simd, target, tile_rows * depth * taps):
        args.infinite = 1


@task(ConvArguments)
def pack_weight(simd, args, task, thread):
    """Run `pack_panel_of` as a task."""
    pack_panel_of(simd, args, task)


@inner
def is_finite(simd, numbers, count):
    """Return whether all numbers are finite: 0 times infinity or NaN is NaN, and a sum with NaN stays NaN."""
    nothing, lanes = zeros(simd), simd.lanes
    # Four sums, since each addition waits for the one before.
    first, second, third, total = nothing, nothing, nothing, nothing
    whole = count // lanes * lanes
    four = whole // (4 * lanes) * (4 * lanes)
    for i in range(0, four, 4 * lanes):
        first = fused(simd, load(simd, numbers, i), nothing, first)
        second = fused(simd, load(simd, numbers, i + lanes), nothing, second)
        third = fused(simd, load(simd, numbers, i + 2 * lanes), nothing, third)
        total = fused(simd, load(simd, numbers, i + 3 * lanes), nothing, total)
    for i in range(four, whole, lanes):
        total = fused(simd, load(simd, numbers, i), nothing, total)
    rest = load_where(simd, numbers, whole, lanes_between(simd, 0, count - whole), nothing)
    total = add(simd, add(simd, first, second), add(simd, third, total))
    return is_zero(simd, fused(simd, rest, nothing, total))


@inner
def transpose_pixels(simd, source, plane, channels, count, target, width):
    """Write ``count`` pixels of ``channels`` planes, ``plane`` apart, as rows of channels, ``width`` apart.

    Up to a vector after the last row is overwritten.
    """
    lanes = simd.lanes
    if count < lanes:
        for p in range(count):
            for c in range(channels):
                store_scalar(simd, target, p * width + c, load_scalar(simd, source, c * plane + p))
        return
    # The last channels come first: their vectors reach into the next row, whose first channels are written later.
    for c in range((channels - 1) // lanes * lanes, -1, -lanes):
        there = min(lanes, channels - c)
        for p in range(0, count, lanes):
            # The last square has some pixels again, rather than what lies behind the block.
            first = min(p, count - lanes)
            corner = source + simd.itemsize * (c * plane + first)
            for i in range(there):
                prefetch(simd, corner, i * plane + AHEAD * lanes)
            transpose(simd, corner, plane, there, target + simd.itemsize * (first * width + c), width)
