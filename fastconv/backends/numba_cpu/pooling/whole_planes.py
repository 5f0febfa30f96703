"""Pooling where one window covers the whole plane, and the adjoint of averages: a plane is one row, however high.

As `pool_wide` and `spread_wide` without all that can differ from window to window, since global pooling follows many a
network's last convolution: 7 x 7 pixels take 12 cycles and not 24. Planes are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, jit
from fastconv.backends.numba_cpu.pooling import fields as F
from fastconv.backends.numba_cpu.pooling.windows.lanes import deliver_desk, desk, no_pixels, pixels, put_on_desk
from fastconv.backends.numba_cpu.pooling.windows.state import Windows, merge
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast,
    lanes_between,
    load_integer,
    load_scalar,
    store,
    store_where,
)


@jit
def _pool(w, frame, task):
    size, lanes, W = w.itemsize, w.lanes, load_integer(frame, F.W)
    out, indices = load_integer(frame, F.OUTPUT), load_integer(frame, F.INDICES)
    divisor = load_integer(load_integer(frame, F.DIVISORS), 0)
    first = task * load_integer(frame, F.TASK_PLANES)
    last = min(load_integer(frame, F.PLANES), first + load_integer(frame, F.TASK_PLANES))
    plane = load_integer(frame, F.INPUT) + size * first * W
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


@jit
def _spread(simd, frame, task):
    size, lanes, W = simd.itemsize, simd.lanes, load_integer(frame, F.W)
    first = task * load_integer(frame, F.TASK_PLANES)
    last = min(load_integer(frame, F.PLANES), first + load_integer(frame, F.TASK_PLANES))
    grad, divisor = load_integer(frame, F.OUTPUT), load_scalar(simd, load_integer(frame, F.DIVISORS), 0)
    plane = load_integer(frame, F.INPUT) + size * first * W
    whole = W // lanes * lanes
    rest = lanes_between(simd, 0, W - whole)
    for u in range(first, last):
        share = broadcast(simd, load_scalar(simd, grad, u) / divisor)
        for c in range(0, whole, lanes):
            store(simd, plane, c, share)
        store_where(simd, plane, whole, rest, share)
        plane += size * W


def pool_planes_task(w: Windows) -> int:
    """The address of the task."""

    def pool_planes(frame, task, slot):
        _pool(w, frame, task)

    return address_of(pool_planes, 3)


def spread_planes_task(simd: Simd) -> int:
    """The address of the adjoint's task."""

    def spread_planes(frame, task, slot):
        _spread(simd, frame, task)

    return address_of(spread_planes, 3)
