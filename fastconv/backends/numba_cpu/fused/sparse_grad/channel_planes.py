"""This file copies images into planes: a *plane* holds as many channels as a vector has lanes, pixel by pixel.

    plane[y, x, lane]  =  source[n, first channel + lane, TOP + y, LEFT + x],      0 beyond the image or its channels

A pixel and its neighbours under a row of the kernel are vectors side by side, all of them aligned, whatever their
number of channels. The plane has zeros for the pixels beyond the image that a tap may read, so kernels check no bounds.

The layout is that of oneDNN's blocked formats, nChw16c: E. Georganas and others, "Anatomy of high-performance deep
learning convolutions on SIMD architectures" (SC 2018).
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.image_lanes.interleave import clear, interleave, separate


@inner
def fill_plane(simd, args, n, channel, top, rows, plane):
    """Fill ``rows`` rows of a plane from row ``top`` of image ``n`` on, which may lie outside the image.

    The last vector of a row may write beyond the plane.
    """
    H, W, wide = args.H, args.W, args.plane_w
    depth, leftmost = args.depth, args.left
    begin = max(0, leftmost)
    left, count = begin - leftmost, max(0, min(W, leftmost + wide) - begin)
    source = args.source + simd.itemsize * ((n * depth + channel) * H * W + begin)
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
def write_plane(simd, args, n, channel, plane):
    """Write a plane that has all rows and columns of an image, H x W, to the target."""
    H, W, wide = args.H, args.W, args.plane_w
    depth, vector = args.depth, simd.itemsize * simd.lanes
    corner = plane - vector * (args.top * wide + args.left)
    target = args.target + simd.itemsize * (n * depth + channel) * H * W
    channels = min(simd.lanes, depth - channel)
    for y in range(H):
        separate(simd, corner + vector * y * wide, W, target + simd.itemsize * y * W, 1, H * W, channels)
