"""`write_run` writes a tile's numbers to target pixels in a row of the lattice, which are neighbours or have a stride.

With a stride of 2, as in the input gradient of a strided convolution, the numbers are spread over two vectors, of which
every second lane is written: 4 instructions a vector, where one by one it takes 2 cycles a number.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.simd import (
    add,
    bits_between,
    broadcast,
    clamp,
    lanes_between,
    load_scalar,
    load_where,
    mask_from,
    spread_high,
    spread_low,
    store_scalar,
    store_where,
    zero,
    zeros,
)

_EVEN = 0x5555_5555
"""Bit mask of the even lanes, which are written with a stride of 2."""


@inner
def every_second(simd, count):
    """Return the mask of the first ``count`` even lanes, or of all of them if there are fewer."""
    return mask_from(simd, bits_between(simd, 0, 2 * count - 1) & _EVEN)


@inner
def write_run(simd, tile, width, rows, lane, end, target, corner, plane, right, epilogue):
    """Write columns ``lane`` up to ``end`` of a tile, in ``rows`` channels, to pixels ``right`` apart, from ``corner``.

    ``epilogue`` is (bias, start, limits). The numbers at the address ``bias``, one for each channel, are added if that
    isn't 0, and those at ``start``, which are where the target's are from ``target`` on. ``limits`` is the address of
    the lower and the upper limit of results.
    """
    bias, start, limits = epilogue
    least, most = load_scalar(simd, limits, 0), load_scalar(simd, limits, 1)
    lowest, highest = broadcast(simd, least), broadcast(simd, most)
    if right == 1:
        for at in range(lane, end, simd.lanes):
            there = lanes_between(simd, 0, end - at)
            place = corner + at - lane
            for m in range(rows):
                value = load_where(simd, tile, m * width + at, there, zeros(simd))
                if bias != 0:
                    value = add(simd, value, broadcast(simd, load_scalar(simd, bias, m)))
                if start != 0:
                    value = add(simd, value, load_where(simd, start, place + m * plane, there, zeros(simd)))
                store_where(simd, target, place + m * plane, there, clamp(simd, value, lowest, highest))
    elif right == 2:
        for at in range(lane, end, simd.lanes):
            there = lanes_between(simd, 0, end - at)
            near, far = every_second(simd, end - at), every_second(simd, end - at - simd.lanes // 2)
            for m in range(rows):
                place = corner + m * plane + 2 * (at - lane)
                value = load_where(simd, tile, m * width + at, there, zeros(simd))
                if bias != 0:
                    value = add(simd, value, broadcast(simd, load_scalar(simd, bias, m)))
                before, after = spread_low(simd, value), spread_high(simd, value)
                if start != 0:
                    before = add(simd, before, load_where(simd, start, place, near, zeros(simd)))
                    after = add(simd, after, load_where(simd, start, place + simd.lanes, far, zeros(simd)))
                store_where(simd, target, place, near, clamp(simd, before, lowest, highest))
                store_where(simd, target, place + simd.lanes, far, clamp(simd, after, lowest, highest))
    else:
        for m in range(rows):
            place = corner + m * plane
            more = load_scalar(simd, bias, m) if bias != 0 else zero(simd)
            for at in range(lane, end):
                value = load_scalar(simd, tile, m * width + at) + more
                if start != 0:
                    value += load_scalar(simd, start, place + (at - lane) * right)
                value = min(max(value, least), most)  # a NaN that comes first stays
                store_scalar(simd, target, place + (at - lane) * right, value)
