"""The adjoint of adaptive average pooling: a vector goes along the pixels of one window in a row.

    v[i, q]  =  sum over the rows p of windows that cover row i of share[p, q]
    x[i, j]  =  sum over the windows q that cover column j of v[i, q]

Windows go from left to right, each with the pixels behind the last one written; a window may share but one pixel with
those before it, whose value so far is at hand. Rows that the same windows cover are copies of the first of them: of 57
rows under 7 windows 13 are made. Shares come divided. Planes, and rows of large ones, are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, jit
from fastconv.backends.numba_cpu import pooling_fields as F
from fastconv.backends.numba_cpu.simd import Simd, load_integer, load_scalar, store_scalar, zero
from fastconv.backends.numba_cpu.spread_wide import copy_row, fill


@jit
def _spread(simd, frame, task):
    """A task's rows of its planes."""
    size, reach, spans = simd.itemsize, load_integer(frame, F.REACH), load_integer(frame, F.SPANS)
    H, W, P, Q = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.P), load_integer(frame, F.Q)
    blocks, rows, planes = (
        load_integer(frame, F.ROW_BLOCKS),
        load_integer(frame, F.TASK_ROWS),
        load_integer(frame, F.TASK_PLANES),
    )
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(load_integer(frame, F.PLANES), first_plane + planes), min(H, first + rows)
    for plane in range(first_plane, end_plane):
        grad = load_integer(frame, F.OUTPUT) + size * plane * P * Q
        made = 0
        for i in range(first, last):
            row = load_integer(frame, F.INPUT) + size * (plane * H + i) * W
            p, count = load_integer(reach, 2 * i), load_integer(reach, 2 * i + 1)
            if i > first and p == load_integer(reach, 2 * i - 2) and count == load_integer(reach, 2 * i - 1):
                copy_row(simd, row, made, W)
                continue
            made = row
            written, edge = 0, zero(simd)  # the pixels that are done, and the last one's value
            for q in range(Q):
                share = zero(simd)
                for r in range(count):
                    share += load_scalar(simd, grad, (p + r) * Q + q)
                begin, end = load_integer(spans, 2 * q), load_integer(spans, 2 * q + 1)
                if begin < written:
                    edge += share
                    store_scalar(simd, row, begin, edge)
                if written < end:
                    fill(simd, row, written, end, W, share)
                    written, edge = end, share


def spread_adaptive_task(simd: Simd) -> int:
    """The address of the task."""

    def spread_adaptive(frame, task, slot):
        _spread(simd, frame, task)

    return address_of(spread_adaptive, 3)
