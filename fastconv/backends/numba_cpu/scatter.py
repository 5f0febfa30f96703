"""The adjoint of max pooling: each number of the gradient is added at its index.

A plane is cleared and then added to while it is in the cache, one number after another, so that the order of
additions at a pixel is that of the indices. They may be any, as far as this can know, so there are no vectors in it.
Planes are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, jit
from fastconv.backends.numba_cpu import pooling_fields as F
from fastconv.backends.numba_cpu.simd import (
    Simd,
    lanes_between,
    load_integer,
    load_scalar,
    store,
    store_scalar,
    store_where,
    zeros,
)


@jit
def _scatter(simd, frame, task):
    size, lanes = simd.itemsize, simd.lanes
    pixels, windows = (
        load_integer(frame, F.H) * load_integer(frame, F.W),
        load_integer(frame, F.P) * load_integer(frame, F.Q),
    )
    first = task * load_integer(frame, F.TASK_PLANES)
    end = min(load_integer(frame, F.PLANES), first + load_integer(frame, F.TASK_PLANES))
    for plane in range(first, end):
        image = load_integer(frame, F.INPUT) + size * plane * pixels
        grad = load_integer(frame, F.OUTPUT) + size * plane * windows
        indices = load_integer(frame, F.INDICES) + 8 * plane * windows
        whole = pixels // lanes * lanes
        for i in range(0, whole, lanes):
            store(simd, image, i, zeros(simd))
        store_where(simd, image, whole, lanes_between(simd, 0, pixels - whole), zeros(simd))
        for u in range(windows):
            at = load_integer(indices, u)
            if at >= 0:
                store_scalar(simd, image, at, load_scalar(simd, image, at) + load_scalar(simd, grad, u))


def scatter_task(simd: Simd) -> int:
    """The address of the task."""

    def scatter(frame, task, slot):
        _scatter(simd, frame, task)

    return address_of(scatter, 3)
