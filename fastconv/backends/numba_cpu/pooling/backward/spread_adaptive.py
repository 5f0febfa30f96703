"""In the input gradient of adaptive average pooling a vector goes along the pixels of one window in a row.

    v[i, q]  =  sum over the rows p of windows that cover row i of share[p, q]
    x[i, j]  =  sum over the windows q that cover column j of v[i, q]

Windows go from left to right, and each fills its pixels behind the last one written. A window shares at most one pixel
with those before it, whose sum so far is kept. Rows that the same windows cover are copies of the first of them: of 57
rows under 7 windows 13 are computed. Shares are divided before. Planes, and rows of large planes, are the parallel
axis.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.backward.spread_wide import copy_row, fill
from fastconv.backends.numba_cpu.simd import load_integer, load_scalar, store_scalar, zero
from fastconv.backends.numba_cpu.simd.task import task


@task(PoolingArguments)
def spread_adaptive(simd, args, task, thread):
    """Fill a task's rows of its planes."""
    size, reach, spans = simd.itemsize, args.reach, args.spans
    H, W, P, Q = args.H, args.W, args.P, args.Q
    blocks, rows, planes = (
        args.row_blocks,
        args.task_rows,
        args.task_planes,
    )
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(args.planes, first_plane + planes), min(H, first + rows)
    for plane in range(first_plane, end_plane):
        grad = args.output + size * plane * P * Q
        made = 0
        for i in range(first, last):
            row = args.input + size * (plane * H + i) * W
            p, count = load_integer(reach, 2 * i), load_integer(reach, 2 * i + 1)
            if i > first and p == load_integer(reach, 2 * i - 2) and count == load_integer(reach, 2 * i - 1):
                copy_row(simd, row, made, W)
                continue
            made = row
            written, edge = 0, zero(simd)  # the number of pixels written, and the last one's value
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
