"""These tasks copy images to mosaics of their phases, and mosaics to images.

With dilation (DY, DX), the pixels that a lattice point reads are DY rows and DX columns apart. An image then falls into
DY * DX smaller ones, its phases, and each is convolved by itself with neighbouring taps:

    phase[a, b][i, j]  =  image[DY i + a + top, DX j + b + left],       0 <= a < DY, 0 <= b < DX

with 0 where the image has no such pixel. The phases of an image lie side by side in a mosaic, a larger image, with rows
and columns of zeros between them, so that no lattice point of one phase reads a pixel of another:

    mosaic[a * high + i, b * wide + j]  =  phase[a, b][i, j]

One row of zeros serves as padding for two phases, and tiles of results lie across both: 16 phases of 9 x 9 pixels are a
mosaic of 10 x 10 tiles of 4 x 4, alone they would be 144. A task copies a plane. A pixel takes a cycle or two; those
that are up to 4 apart are copied by vectors (strided.py).
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.phases.arguments import PhaseArguments
from fastconv.backends.numba_cpu.conv.phases.strided import load_every, store_every
from fastconv.backends.numba_cpu.simd import (
    lanes_between,
    load_scalar,
    load_where,
    prefetch,
    store,
    store_scalar,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


@inner
def _read_vectors(simd, image, step, row, run, width):
    """Do what `_read_run` does, with a constant step."""
    first, end = run
    for j in range(0, width, simd.lanes):
        value = load_every(simd, step, image + simd.itemsize * step * j, first - j, end - j)
        if width - j >= simd.lanes:
            store(simd, row, j, value)
        else:
            store_where(simd, row, j, lanes_between(simd, 0, width - j), value)


@inner
def _read_run(simd, image, step, row, run, width):
    """Fill a row of ``width`` numbers: those of the ``run`` are pixels, ``step`` apart, the others 0."""
    if step == 1:
        _read_vectors(simd, image, 1, row, run, width)
    elif step == 2:
        _read_vectors(simd, image, 2, row, run, width)
    elif step == 3:
        _read_vectors(simd, image, 3, row, run, width)
    elif step == 4:
        _read_vectors(simd, image, 4, row, run, width)
    else:
        for j in range(0, width, simd.lanes):
            store_where(simd, row, j, lanes_between(simd, 0, width - j), zeros(simd))
        for j in range(run[0], run[1]):
            store_scalar(simd, row, j, load_scalar(simd, image, step * j))


@inner
def _write_vectors(simd, image, step, row, end):
    """Do what `_write_run` does, with a constant step."""
    for j in range(0, end, simd.lanes):
        value = load_where(simd, row, j, lanes_between(simd, 0, end - j), zeros(simd))
        store_every(simd, step, image + simd.itemsize * step * j, min(end - j, simd.lanes), value)


@inner
def _write_run(simd, image, step, row, end):
    """Copy the first ``end`` numbers of a row to pixels ``step`` apart."""
    if step == 1:
        _write_vectors(simd, image, 1, row, end)
    elif step == 2:
        _write_vectors(simd, image, 2, row, end)
    elif step == 3:
        _write_vectors(simd, image, 3, row, end)
    elif step == 4:
        _write_vectors(simd, image, 4, row, end)
    else:
        for j in range(end):
            store_scalar(simd, image, step * j, load_scalar(simd, row, j))


@inner
def _prefetch_row(simd, image, width, part, parts):
    """Prefetch one of ``parts`` parts of the lines of a row: a row is read or written once for each part."""
    for j in range(part * simd.lanes, width, parts * simd.lanes):
        prefetch(simd, image, j)


@task(PhaseArguments)
def split(simd, args, plane, thread):
    """Copy a plane of an image to its mosaic."""
    H, W = args.H, args.W
    I, J = args.I, args.J
    DY, DX = args.DY, args.DX
    high, wide = args.high, args.wide
    size = simd.itemsize
    source, target = args.image + size * plane * H * W, args.mosaic + size * plane * I * J
    for b in range(DX):
        # A phase has the columns that the image has, from pixel first * DX + x on.
        x = b + args.left
        width = min(wide, J - b * wide)
        first = min(width, max(0, -(x // DX)))
        end = max(first, min(width, (W - 1 - x) // DX + 1))
        for a in range(DY):
            for i in range(min(high, I - a * high)):
                y = DY * i + a + args.top
                phase = target + size * ((a * high + i) * J + b * wide)
                run = (first, end) if y >= 0 and y < H else (0, 0)
                _prefetch_row(simd, source + size * (H + y) * W, W, b, DX)
                _read_run(simd, source + size * (y * W + x), DX, phase, run, width)


@task(PhaseArguments)
def merge(simd, args, plane, thread):
    """Copy a mosaic to a plane of an image, whose pixels are all in a phase."""
    H, W = args.H, args.W
    I, J = args.I, args.J
    DY, DX = args.DY, args.DX
    high, wide = args.high, args.wide
    size = simd.itemsize
    target, source = args.image + size * plane * H * W, args.mosaic + size * plane * I * J
    for b in range(min(DX, W)):
        count = (W - 1 - b) // DX + 1
        for a in range(min(DY, H)):
            for i in range((H - 1 - a) // DY + 1):
                place = target + size * ((DY * i + a) * W + b)
                _prefetch_row(simd, place + size * (H * W - b), W, b, DX)
                _write_run(simd, place, DX, source + size * ((a * high + i) * J + b * wide), count)
