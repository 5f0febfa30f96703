"""Channels in the lanes of vectors: a *plane* holds as many channels of an image as a vector has lanes, pixel by pixel.

    plane[y, x, lane]  =  source[n, first channel + lane, TOP + y, LEFT + x],      0 beyond the image or its channels

A pixel and its neighbours under a row of the kernel are vectors side by side, all of them aligned, whatever their
number of channels. A pixel has a place in the plane for each tap that it may be under, so nothing asks where it is.

The layout is that of oneDNN's blocked formats, nChw16c: E. Georganas and others, "Anatomy of high-performance deep
learning convolutions on SIMD architectures" (SC 2018).
"""

from __future__ import annotations

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.conv.image_lanes.interleave import clear, interleave, separate
from fastconv.backends.numba_cpu.gemm import fields as F
from fastconv.backends.numba_cpu.simd import load_integer


@inner
def fill_plane(simd, frame, n, channel, top, rows, plane):
    """``rows`` rows from ``top`` on, which may lie outside the image, and what a vector writes too far."""
    H, W, wide = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.PLANE_W)
    depth, leftmost = load_integer(frame, F.DEPTH), load_integer(frame, F.LEFT)
    begin = max(0, leftmost)
    left, count = begin - leftmost, max(0, min(W, leftmost + wide) - begin)
    source = load_integer(frame, F.SOURCE) + simd.itemsize * ((n * depth + channel) * H * W + begin)
    channels, vector = min(simd.lanes, depth - channel), simd.itemsize * simd.lanes
    for i in range(rows):
        y, row = top + i, plane + vector * i * wide
        if y < 0 or y >= H or count == 0:
            clear(simd, row, wide)
            continue
        clear(simd, row, left)
        interleave(simd, source + simd.itemsize * y * W, H * W, channels, count, row + vector * left)
        clear(simd, row + vector * (left + count), wide - left - count)


@inner
def write_plane(simd, frame, n, channel, plane):
    """The opposite, to the target, an image as large as H x W: of a plane that has all its rows and columns."""
    H, W, wide = load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.PLANE_W)
    depth, vector = load_integer(frame, F.DEPTH), simd.itemsize * simd.lanes
    corner = plane - vector * (load_integer(frame, F.TOP) * wide + load_integer(frame, F.LEFT))
    target = load_integer(frame, F.TARGET) + simd.itemsize * (n * depth + channel) * H * W
    channels = min(simd.lanes, depth - channel)
    for y in range(H):
        separate(simd, corner + vector * y * wide, W, target + simd.itemsize * y * W, 1, H * W, channels)
