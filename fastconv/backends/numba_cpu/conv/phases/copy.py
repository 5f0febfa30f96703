"""These tasks copy images to their phases, and phases to images.

With dilation (DY, DX), the pixels that a lattice point reads are DY rows and DX columns apart. An image then falls into
DY * DX smaller ones, its phases, and each is convolved by itself with neighbouring taps:

    phase[a, b][i, j]  =  image[DY i + a + top, DX j + b + left],       0 <= a < DY, 0 <= b < DX

with 0 where the image has no such pixel. A task copies a plane. A pixel takes about a cycle; if every second one is
copied, a vector is made of two, or two of one.
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
    """Copy a plane of an image to its phases."""
    H, W = args.H, args.W
    I, J = args.I, args.J
    DY, DX = args.DY, args.DX
    top, left = args.top, args.left
    size = simd.itemsize
    image, channel = divmod(plane, args.channels)
    source = args.image + size * plane * H * W
    for a in range(DY):
        for b in range(DX):
            phase = args.phases + size * (((image * DY + a) * DX + b) * args.channels + channel) * I * J
            # Columns are those that the image has: from pixel first * DX + x on.
            x = b + left
            first = min(J, max(0, -(x // DX)))
            end = max(first, min(J, (W - 1 - x) // DX + 1))
            for i in range(I):
                y = DY * i + a + top
                row = phase + size * i * J
                if y < 0 or y >= H:
                    _clear(simd, row, 0, J)
                else:
                    _clear(simd, row, 0, first)
                    _read_run(simd, source + size * (y * W + x), DX, row, first, end)
                    _clear(simd, row, end, J)


@task(PhaseArguments)
def merge(simd, args, plane, thread):
    """Copy the phases of an image to one of its planes, whose pixels are all in a phase."""
    H, W = args.H, args.W
    I, J = args.I, args.J
    DY, DX = args.DY, args.DX
    size = simd.itemsize
    image, channel = divmod(plane, args.channels)
    target = args.image + size * plane * H * W
    for y in range(H):
        i, a = divmod(y, DY)
        for b in range(min(DX, W)):
            phase = args.phases + size * (((image * DY + a) * DX + b) * args.channels + channel) * I * J
            _write_run(simd, target + size * (y * W + b), DX, phase + size * i * J, (W - 1 - b) // DX + 1)
