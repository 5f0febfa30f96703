"""Sums over a channel, by vectors of sums whose lanes are added up in float64.

Four vectors take turns, so that no addition waits for the one before. After `RUN` numbers their lanes are added to a
total in float64: sums of float32 over a whole batch would lose digits.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.simd import (
    add,
    broadcast,
    fused,
    lanes_between,
    load,
    load_scalar,
    load_where,
    store,
    zeros,
)

RUN = 4096
"""Numbers that are summed before the lanes are: 64 for each lane of four vectors of 16, which costs no digits."""

AHEAD = 512
"""Numbers between what is prefetched and what is read: two streams at a time leave the processor's own prefetches 10%
behind."""


@inner
def lane_sum(simd, scratch, vector):
    """Return the sum of a vector's lanes, in float64; ``scratch`` is the address of memory for one vector."""
    store(simd, scratch, 0, vector)
    total = 0.0
    for lane in range(simd.lanes):
        total += load_scalar(simd, scratch, lane)
    return total


@inner
def sum_of(simd, x, sizes, channel, scratch):
    """Return the sum of a channel of an array (N, C, plane), in float64; ``sizes`` are these three."""
    images, channels, plane = sizes
    step = 4 * simd.lanes
    whole = plane // step * step
    total, run = 0.0, 0
    a, b, c, d = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
    for n in range(images):
        begin = (n * channels + channel) * plane
        for u in range(begin, begin + whole, step):
            a = add(simd, a, load(simd, x, u))
            b = add(simd, b, load(simd, x, u + simd.lanes))
            c = add(simd, c, load(simd, x, u + 2 * simd.lanes))
            d = add(simd, d, load(simd, x, u + 3 * simd.lanes))
        for u in range(whole, plane, simd.lanes):
            some = load_where(simd, x, begin + u, lanes_between(simd, 0, plane - u), zeros(simd))
            a, b, c, d = b, c, d, add(simd, a, some)
        run += plane
        if run >= RUN or n == images - 1:
            total += lane_sum(simd, scratch, add(simd, add(simd, a, b), add(simd, c, d)))
            a, b, c, d, run = zeros(simd), zeros(simd), zeros(simd), zeros(simd), 0
    return total


@inner
def mean_of(simd, args, channel, scratch):
    """Return the mean of a channel, in float64."""
    return sum_of(simd, args.x, (args.N, args.C, args.plane), channel, scratch) / (args.N * args.plane)


@inner
def _square(simd, x, at, minus_mean, sums):
    away = add(simd, load(simd, x, at), minus_mean)
    return fused(simd, away, away, sums)


@inner
def squares_about(simd, args, channel, mean, scratch):
    """Return the sum of the squared distances of a channel's numbers from ``mean``, in float64."""
    x, plane = args.x, args.plane
    step = 4 * simd.lanes
    whole = plane // step * step
    minus_mean, mean_there = broadcast(simd, -mean), broadcast(simd, mean)
    total, run = 0.0, 0
    a, b, c, d = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
    for n in range(args.N):
        begin = (n * args.C + channel) * plane
        for u in range(begin, begin + whole, step):
            a = _square(simd, x, u, minus_mean, a)
            b = _square(simd, x, u + simd.lanes, minus_mean, b)
            c = _square(simd, x, u + 2 * simd.lanes, minus_mean, c)
            d = _square(simd, x, u + 3 * simd.lanes, minus_mean, d)
        for u in range(whole, plane, simd.lanes):
            value = load_where(simd, x, begin + u, lanes_between(simd, 0, plane - u), mean_there)
            away = add(simd, value, minus_mean)
            a = fused(simd, away, away, a)
        run += plane
        if run >= RUN or n == args.N - 1:
            total += lane_sum(simd, scratch, add(simd, add(simd, a, b), add(simd, c, d)))
            a, b, c, d, run = zeros(simd), zeros(simd), zeros(simd), zeros(simd), 0
    return total
