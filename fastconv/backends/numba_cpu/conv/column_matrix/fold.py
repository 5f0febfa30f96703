"""This sum over taps computes an image from a column matrix: x[h, w] is the sum of the columns[r, s, p, q] with

    h = p * stride_h - pad_top  + r * dilation_h
    w = q * stride_w - pad_left + s * dilation_w

columns (N, C, R, S, P, Q), x (N, C, H, W). A plane of x is filled with 0 and then each tap is added in turn, while the
plane is in the L2 cache; its columns, R * S * P * Q numbers, are read once from first to last. Planes are the parallel
axis, and the order of additions is that of the taps. A row of windows is added to a row of pixels, by vectors if the
stride is 1, else in some 2 cycles a number; if there is only one column of windows, as with a kernel as wide as the
image, the runs go down the columns instead.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.column_matrix.arguments import FoldArguments
from fastconv.backends.numba_cpu.simd import (
    add,
    lanes_between,
    load,
    load_scalar,
    load_where,
    store,
    store_scalar,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


@inner
def _add_run(simd, image, columns, count, apart, distance):
    """Add ``count`` numbers of the columns, ``distance`` elements apart, to pixels ``apart`` elements apart."""
    if apart == 1 and distance == 1:
        whole = count // simd.lanes * simd.lanes
        for i in range(0, whole, simd.lanes):
            store(simd, image, i, add(simd, load(simd, image, i), load(simd, columns, i)))
        if whole < count:
            there = lanes_between(simd, 0, count - whole)
            before = load_where(simd, image, whole, there, zeros(simd))
            more = load_where(simd, columns, whole, there, zeros(simd))
            store_where(simd, image, whole, there, add(simd, before, more))
        return
    for i in range(count):
        value = load_scalar(simd, image, i * apart) + load_scalar(simd, columns, i * distance)
        store_scalar(simd, image, i * apart, value)


@task(FoldArguments)
def fold(simd, args, plane, thread):
    """Compute one plane of the image."""
    H, W = args.H, args.W
    P, Q = args.P, args.Q
    R, S = args.R, args.S
    down, right = args.down, args.right
    size = simd.itemsize
    image = args.image + size * plane * H * W
    columns = args.columns + size * plane * R * S * P * Q
    for i in range(0, H * W, simd.lanes):
        store_where(simd, image, i, lanes_between(simd, 0, H * W - i), zeros(simd))
    for r in range(R):
        y = r * args.DY - args.top
        first_p, end_p = max(0, -(y // down)), min(P, (H - 1 - y) // down + 1)
        if first_p >= end_p:
            continue
        for s in range(S):
            x = s * args.DX - args.left
            first_q, end_q = max(0, -(x // right)), min(Q, (W - 1 - x) // right + 1)
            if first_q >= end_q:
                continue
            pixel = image + size * ((first_p * down + y) * W + first_q * right + x)
            number = columns + size * (((r * S + s) * P + first_p) * Q + first_q)
            if end_q - first_q == 1:
                _add_run(simd, pixel, number, end_p - first_p, down * W, Q)
                continue
            for p in range(end_p - first_p):
                _add_run(simd, pixel + size * p * down * W, number + size * p * Q, end_q - first_q, right, 1)
