"""Planes of pixels are transposed to rows of channels, for products that have the channels in their lanes."""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.simd import load_scalar, prefetch, store_scalar, transpose

AHEAD = 4
"""Distance of prefetches, in vectors. Planes are too far apart for the processor to see that each is read in order."""


@inner
def transpose_pixels(simd, source, plane, channels, count, target, width):
    """Write ``count`` pixels of ``channels`` planes, ``plane`` apart, as rows of channels, ``width`` apart.

    Up to a vector after the last row is overwritten.
    """
    lanes = simd.lanes
    if count < lanes:
        for p in range(count):
            for c in range(channels):
                store_scalar(simd, target, p * width + c, load_scalar(simd, source, c * plane + p))
        return
    # The last channels come first: their vectors reach into the next row, whose first channels are written later.
    for c in range((channels - 1) // lanes * lanes, -1, -lanes):
        there = min(lanes, channels - c)
        for p in range(0, count, lanes):
            # The last square has some pixels again, rather than what lies behind the block.
            first = min(p, count - lanes)
            corner = source + simd.itemsize * (c * plane + first)
            for i in range(there):
                prefetch(simd, corner, i * plane + AHEAD * lanes)
            transpose(simd, corner, plane, there, target + simd.itemsize * (first * width + c), width)
