"""These kernels are for one window that covers the whole plane, which is read as a single row of any length.

They do the work of `pool_wide` and `spread_wide` without what differs from window to window, since global pooling
follows the last convolution of many networks: 7 x 7 pixels take 12 cycles and not 24. Planes are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.windows.lanes import deliver_desk, desk, no_pixels, pixels, put_on_desk
from fastconv.backends.numba_cpu.pooling.windows.state import merge
from fastconv.backends.numba_cpu.simd import (
    broadcast,
    lanes_between,
    load_integer,
    load_scalar,
    store,
    store_where,
)
from fastconv.backends.numba_cpu.simd.task import task


@task(PoolingArguments)
def pool_planes(w, args, task, thread):
    """Pool a task's planes, each of which is one window."""
    size, lanes, W = w.itemsize, w.lanes, args.W
    out, indices = args.output, args.indices
    divisor = load_integer(args.divisors, 0)
    first = task * args.task_planes
    last = min(args.planes, first + args.task_planes)
    plane = args.input + size * first * W
    whole = W // lanes * lanes
    room = desk(w)
    for u in range(first, last, lanes):
        count = min(lanes, last - u)
        for k in range(count):
            state = no_pixels(w)
            for c in range(0, whole, lanes):
                state = merge(w, state, pixels(w, plane, c, None, 0))
            state = merge(w, state, pixels(w, plane + size * whole, 0, W - whole, whole))
            put_on_desk(w, room, k, state, divisor, 0)
            plane += size * W
        deliver_desk(w, room, out + size * u, indices + 8 * u if indices != 0 else 0, count)


@task(PoolingArguments)
def spread_planes(simd, args, task, thread):
    """Fill each of a task's planes with its share of the gradient."""
    size, lanes, W = simd.itemsize, simd.lanes, args.W
    first = task * args.task_planes
    last = min(args.planes, first + args.task_planes)
    grad, divisor = args.output, load_scalar(simd, args.divisors, 0)
    plane = args.input + size * first * W
    whole = W // lanes * lanes
    rest = lanes_between(simd, 0, W - whole)
    for u in range(first, last):
        share = broadcast(simd, load_scalar(simd, grad, u) / divisor)
        for c in range(0, whole, lanes):
            store(simd, plane, c, share)
        store_where(simd, plane, whole, rest, share)
        plane += size * W
