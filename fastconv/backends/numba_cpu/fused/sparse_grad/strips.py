"""This file copies pixels into strips, in which all pixels under the kernel are side by side: a *patch*.

A *strip* belongs to a row of output pixels. It holds the source rows under the kernel's taps, interleaved:

    strip[(w C + c) R + r]  =  source[c, y_r, first column + w],      y_r the row under the kernel's row r

so the patch of output pixel j is the S C R numbers from (j * step) C R on, with columns first: no shuffling, and
neighbours share all but a column of it. The columns of taps must have no gaps between them; the rows may. A strip of
LeNet's first layer, 32 columns of 5 rows, has 640 bytes; to write it costs a load and a store for each number, a fifth
of what six output channels then compute with it.

The last vector of a patch may have lanes beyond the patch. They hold the numbers that follow in memory, and the results
in these lanes are not used.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, load_integer, load_scalar, store_scalar, zero


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
def fill_strip(simd, args, n, row, strip):
    """Fill the strip of lattice row ``row`` of image ``n``."""
    H, W = args.H, args.W
    depth, tap_rows = args.depth, args.tap_rows
    shifts = args.tap_offsets
    first = load_integer(shifts, tap_rows)
    wide = (args.J - 1) * args.DJ + args.tap_columns
    begin, end = min(wide, max(0, -first)), max(0, min(wide, W - first))
    step = depth * tap_rows
    source = args.source
    for c in range(depth):
        for r in range(tap_rows):
            y = row * args.DI + load_integer(shifts, r)
            target = strip + simd.itemsize * (c * tap_rows + r)
            if y < 0 or y >= H or begin >= end:
                for w in range(wide):
                    store_scalar(simd, target, w * step, zero(simd))
                continue
            pixels = source + simd.itemsize * (((n * depth + c) * H + y) * W + first)
            for w in range(begin):
                store_scalar(simd, target, w * step, zero(simd))
            for w in range(begin, end):
                store_scalar(simd, target, w * step, load_scalar(simd, pixels, w))
            for w in range(end, wide):
                store_scalar(simd, target, w * step, zero(simd))
