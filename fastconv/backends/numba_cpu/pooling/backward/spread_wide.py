"""In the input gradient of average pooling by wide windows, a vector goes along the pixels of one window in a row.

    v[i, q]  =  sum over the rows p of windows that cover row i of grad[p, q] / divisor

If windows don't overlap in a row, v or 0 is written from left to right in whole vectors. A vector may cover pixels of
the next window, which are then written again. Otherwise the row is cleared and each window's v is added to its pixels,
from left to right. A row that the same windows cover as the row above is a copy of that row: 3 x 3 windows side by side
then take half the time. Planes, and rows of large planes, are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.simd import (
    add,
    broadcast,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_scalar,
    store_where,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


@inner
def fill(simd, row, first, end, width, value):
    """Write ``value`` to pixels ``first`` up to ``end``, and to at most a vector more, of a row of ``width`` pixels."""
    lanes, vector = simd.lanes, broadcast(simd, value)
    for c in range(first, end, lanes):
        if c + lanes <= width:
            store(simd, row, c, vector)
        else:
            store_where(simd, row, c, lanes_between(simd, 0, width - c), vector)


@inner
def copy_row(simd, row, above, width):
    """Copy the row at address ``above``, ``width`` pixels, to ``row``."""
    lanes = simd.lanes
    whole = width // lanes * lanes
    for c in range(0, whole, lanes):
        store(simd, row, c, load(simd, above, c))
    if whole < width:
        there = lanes_between(simd, 0, width - whole)
        store_where(simd, row, whole, there, load_where(simd, above, whole, there, zeros(simd)))


@inner
def _add_to(simd, row, first, end, value):
    """Add ``value`` to pixels ``first`` up to ``end``."""
    if end - first <= simd.lanes:
        # A vector load would wait for the stores of the window before.
        for c in range(first, end):
            store_scalar(simd, row, c, load_scalar(simd, row, c) + value)
        return
    vector = broadcast(simd, value)
    for c in range(first, end - simd.lanes + 1, simd.lanes):
        store(simd, row, c, add(simd, load(simd, row, c), vector))
    rest = max(0, end - first) % simd.lanes
    if rest:
        there = lanes_between(simd, 0, rest)
        before = load_where(simd, row, end - rest, there, zeros(simd))
        store_where(simd, row, end - rest, there, add(simd, before, vector))


@task(PoolingArguments)
def spread_wide(simd, args, task, thread):
    """Fill a task's rows of its planes."""
    size, S = simd.itemsize, args.S
    H, W, P, Q = args.H, args.W, args.P, args.Q
    step, left = args.right, args.left
    reach, divisor = args.reach, load_scalar(simd, args.divisors, 0)
    blocks, rows, planes = (
        args.row_blocks,
        args.task_rows,
        args.task_planes,
    )
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(args.planes, first_plane + planes), min(H, first + rows)
    for plane in range(first_plane, end_plane):
        grad = args.output + size * plane * P * Q
        for i in range(first, last):
            row = args.input + size * (plane * H + i) * W
            p, count = load_integer(reach, 2 * i), load_integer(reach, 2 * i + 1)
            if i > first and p == load_integer(reach, 2 * i - 2) and count == load_integer(reach, 2 * i - 1):
                copy_row(simd, row, row - size * W, W)
                continue
            written = 0
            if step < S:
                fill(simd, row, 0, W, W, zero(simd))
                written = W
            for q in range(Q):
                share = zero(simd)
                for r in range(count):
                    share += load_scalar(simd, grad, (p + r) * Q + q)
                share /= divisor
                begin, end = max(0, q * step - left), min(W, q * step - left + S)
                if step < S:
                    _add_to(simd, row, begin, end, share)
                else:
                    if written < begin:
                        fill(simd, row, written, begin, W, zero(simd))
                    fill(simd, row, begin, end, W, share)
                    written = end
            if written < W:
                fill(simd, row, written, W, W, zero(simd))
