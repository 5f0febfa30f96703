"""The adjoint of average pooling by wide windows: a vector goes along the pixels of one window in a row.

    v[i, q]  =  sum over the rows p of windows that cover row i of grad[p, q] / divisor

Where windows don't overlap in a row each pixel is written once, v or 0. Otherwise the row is cleared and each window's
v is added to its pixels, from left to right. Planes, and rows of large ones, are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, jit
from fastconv.backends.numba_cpu import pooling_fields as F
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    broadcast,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_where,
    zero,
    zeros,
)


@jit
def _fill(simd, row, first, end, value):
    """Write pixels ``first`` up to ``end``."""
    lanes, vector = simd.lanes, broadcast(simd, value)
    for c in range(first, end - lanes + 1, lanes):
        store(simd, row, c, vector)
    if end - first >= lanes:
        store(simd, row, end - lanes, vector)
    else:
        store_where(simd, row, first, lanes_between(simd, 0, end - first), vector)


@jit
def _add_to(simd, row, first, end, value):
    """Add to pixels ``first`` up to ``end``."""
    vector = broadcast(simd, value)
    for c in range(first, end - simd.lanes + 1, simd.lanes):
        store(simd, row, c, add(simd, load(simd, row, c), vector))
    rest = max(0, end - first) % simd.lanes
    if rest:
        there = lanes_between(simd, 0, rest)
        before = load_where(simd, row, end - rest, there, zeros(simd))
        store_where(simd, row, end - rest, there, add(simd, before, vector))


@jit
def _spread(simd, frame, task):
    """A task's rows of its planes."""
    size, S = simd.itemsize, load_integer(frame, F.S)
    H, W, P, Q = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.P), load_integer(frame, F.Q)
    step, left = load_integer(frame, F.RIGHT), load_integer(frame, F.LEFT)
    reach, divisor = load_integer(frame, F.REACH), load_scalar(simd, load_integer(frame, F.DIVISORS), 0)
    blocks, rows, planes = (
        load_integer(frame, F.ROW_BLOCKS),
        load_integer(frame, F.TASK_ROWS),
        load_integer(frame, F.TASK_PLANES),
    )
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(load_integer(frame, F.PLANES), first_plane + planes), min(H, first + rows)
    for plane in range(first_plane, end_plane):
        grad = load_integer(frame, F.OUTPUT) + size * plane * P * Q
        for i in range(first, last):
            row = load_integer(frame, F.INPUT) + size * (plane * H + i) * W
            p, count = load_integer(reach, 2 * i), load_integer(reach, 2 * i + 1)
            written = 0
            if step < S:
                _fill(simd, row, 0, W, zero(simd))
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
                        _fill(simd, row, written, begin, zero(simd))
                    _fill(simd, row, begin, end, share)
                    written = end
            if written < W:
                _fill(simd, row, written, W, zero(simd))


def spread_wide_task(simd: Simd) -> int:
    """The address of the task."""

    def spread_wide(frame, task, slot):
        _spread(simd, frame, task)

    return address_of(spread_wide, 3)
