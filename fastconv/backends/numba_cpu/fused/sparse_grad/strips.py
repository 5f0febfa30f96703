"""This file copies pixels into strips, in which all pixels under the kernel are side by side: a *patch*.

A *strip* belongs to a row of output pixels. It holds the source rows under the kernel's taps, interleaved:

    strip[(w C + c) R + r]  =  source[c, y_r, first column + w],      y_r the row under the kernel's row r

so the patch of output pixel j is the S C R numbers from (j * step) C R on, with columns first: no shuffling, and
neighbours share all but a column of it. The columns of taps must have no gaps between them; the rows may. A strip of
LeNet's first layer, 32 columns of 5 rows, has 640 bytes. Where strips follow each other, four of its five rows are in
the strip above, and are copied from there a vector at a time.

The last vector of a patch may have lanes beyond the patch. They hold the numbers that follow in memory, and the results
in these lanes are not used.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, load, load_integer, load_scalar, store, store_scalar, zero


def patch_numbers(p: Problem) -> int:
    """Return the number of pixels under the kernel, in all channels."""
    return p.channels * len(p.taps)


def fits(p: Problem) -> bool:
    """Return whether the patches of a problem can lie in strips."""
    columns = p.grid[1]
    return p.groups == 1 and p.is_grid and columns[-1] - columns[0] + 1 == len(columns)


def strip_numbers(simd: Simd, p: Problem) -> int:
    """Return the elements of a strip, with those that its last vectors read beyond it."""
    columns = p.grid[1]
    wide = (p.lattice[1] - 1) * p.source_step[1] + columns[-1] - columns[0] + 1
    return wide * p.channels * len(p.grid[0]) + simd.lanes


@inner
def fill_strip(simd, args, n, row, strip, follows):
    """Fill the strip of lattice row ``row`` of image ``n``.

    If it ``follows`` the strip of the row above in memory, and the kernel's rows are as far apart as the strips' rows,
    then all but its last row of pixels is in that strip, one element further.
    """
    shifts, tap_rows = args.tap_offsets, args.tap_rows
    first_new = 0
    if follows and tap_rows > 1 and load_integer(shifts, 1) - load_integer(shifts, 0) == args.DI:
        above = strip - simd.itemsize * args.strip
        for i in range(0, args.strip - simd.lanes, simd.lanes):
            store(simd, strip, i, load(simd, above, i + 1))
        first_new = tap_rows - 1
    for c in range(args.depth):
        for r in range(first_new, tap_rows):
            y = row * args.DI + load_integer(shifts, r)
            _fill_row(simd, args, n, c, y, strip + simd.itemsize * (c * tap_rows + r))


@inner
def _fill_row(simd, args, n, c, y, target):
    """Write row ``y`` of a channel's pixels to every ``depth * tap_rows``-th element of ``target``."""
    H, W, depth = args.H, args.W, args.depth
    first = load_integer(args.tap_offsets, args.tap_rows)
    wide = (args.J - 1) * args.DJ + args.tap_columns
    begin, end = min(wide, max(0, -first)), max(0, min(wide, W - first))
    if y < 0 or y >= H:
        end = 0
    if begin >= end:
        begin = end = 0
    step = depth * args.tap_rows
    pixels = args.source + simd.itemsize * (((n * depth + c) * H + y) * W + first)
    for w in range(begin):
        store_scalar(simd, target, w * step, zero(simd))
    for w in range(begin, end):
        store_scalar(simd, target, w * step, load_scalar(simd, pixels, w))
    for w in range(end, wide):
        store_scalar(simd, target, w * step, zero(simd))
