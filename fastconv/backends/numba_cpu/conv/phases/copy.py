"""These tasks copy images to mosaics of their phases, and mosaics to images.

With dilation (DY, DX), the pixels that a lattice point reads are DY rows and DX columns apart. An image then falls into
DY * DX smaller ones, its phases, and each is convolved by itself with neighbouring taps:

    phase[a, b][i, j]  =  image[DY i + a + top, DX j + b + left],       0 <= a < DY, 0 <= b < DX

with 0 where the image has no such pixel. The phases of an image lie side by side in a mosaic, a larger image, with rows
and columns of zeros between them, so that no lattice point of one phase reads a pixel of another:

    mosaic[a * high + i, b * wide + j]  =  phase[a, b][i, j]

One row of zeros serves as padding for two phases, and tiles of results lie across both: 16 phases of 9 x 9 pixels are a
mosaic of 10 x 10 tiles of 4 x 4, alone they would be 144. A task copies a plane. A pixel takes about a cycle; if every
second one is copied, a vector is made of two, or two of one.
"""

from __future__ import annotations

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.conv.phases.arguments import PhaseArguments
from fastconv.backends.numba_cpu.gemm.write_run import every_second
from fastconv.backends.numba_cpu.simd import (
    evens,
    lanes_between,
    load,
    load_scalar,
    load_where,
    spread_high,
    spread_low,
    store,
    store_scalar,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


@inner
def _clear(simd, row, first, end):
    """Set numbers of a row to 0."""
    for j in range(first, end, simd.lanes):
        store_where(simd, row, j, lanes_between(simd, 0, end - j), zeros(simd))


@inner
def _read_run(simd, image, step, row, first, end):
    """Copy pixels, ``step`` apart, to numbers ``first`` up to ``end`` of a row; pixel 0 is that of number 0."""
    j = first
    if step == 1:
        while j < end:
            there = lanes_between(simd, 0, end - j)
            store_where(simd, row, j, there, load_where(simd, image, j, there, zeros(simd)))
            j += simd.lanes
        return
    if step == 2:
        # The last vector would read the pixel behind the last one.
        while j + simd.lanes < end:
            store(simd, row, j, evens(simd, load(simd, image, 2 * j), load(simd, image, 2 * j + simd.lanes)))
            j += simd.lanes
    while j < end:
        store_scalar(simd, row, j, load_scalar(simd, image, step * j))
        j += 1


@inner
def _write_run(simd, image, step, row, end):
    """Copy the first ``end`` numbers of a row to pixels ``step`` apart."""
    j = 0
    if step == 1:
        while j < end:
            there = lanes_between(simd, 0, end - j)
            store_where(simd, image, j, there, load_where(simd, row, j, there, zeros(simd)))
            j += simd.lanes
        return
    if step == 2:
        while j + simd.lanes <= end:
            value, all_of_them = load(simd, row, j), every_second(simd, simd.lanes)
            store_where(simd, image, 2 * j, all_of_them, spread_low(simd, value))
            store_where(simd, image, 2 * j + simd.lanes, all_of_them, spread_high(simd, value))
            j += simd.lanes
    while j < end:
        store_scalar(simd, image, step * j, load_scalar(simd, row, j))
        j += 1


@task(PhaseArguments)
def split(simd, args, plane, thread):
    """Copy a plane of an image to its mosaic."""
    H, W = args.H, args.W
    J, wide = args.J, args.wide
    DX = args.DX
    size = simd.itemsize
    source = args.image + size * plane * H * W
    for row in range(args.I):
        a, i = divmod(row, args.high)
        y = args.DY * i + a + args.top
        target = args.mosaic + size * (plane * args.I + row) * J
        if y < 0 or y >= H:
            _clear(simd, target, 0, J)
            continue
        for b in range(DX):
            # A phase has the columns that the image has, from pixel first * DX + x on.
            x = b + args.left
            width = min(wide, J - b * wide)
            first = min(width, max(0, -(x // DX)))
            end = max(first, min(width, (W - 1 - x) // DX + 1))
            phase = target + size * b * wide
            _clear(simd, phase, 0, first)
            _read_run(simd, source + size * (y * W + x), DX, phase, first, end)
            _clear(simd, phase, end, width)


@task(PhaseArguments)
def merge(simd, args, plane, thread):
    """Copy a mosaic to a plane of an image, whose pixels are all in a phase."""
    H, W = args.H, args.W
    DX, wide = args.DX, args.wide
    size = simd.itemsize
    target = args.image + size * plane * H * W
    for y in range(H):
        i, a = divmod(y, args.DY)
        row = args.mosaic + size * (plane * args.I + a * args.high + i) * args.J
        for b in range(min(DX, W)):
            _write_run(simd, target + size * (y * W + b), DX, row + size * b * wide, (W - 1 - b) // DX + 1)
