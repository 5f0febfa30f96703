"""In the input gradient of max pooling, each number of the gradient is added at its index.

A plane is cleared and then added to while it is in the cache, one number after another, so that the order of additions
at a pixel is that of the indices. Any indices are possible, so there are no vectors except in `scatter_pairs`, which is
tried first if the sizes suggest it. Planes are the parallel axis.

A number takes 1.4 cycles if windows lie side by side, 2.2 if they overlap and one pixel is added to again and again. On
memory beyond the caches the loop is slower, since it waits for stores: prefetched gradients and indices come in 3/4 of
the time. In the caches prefetching costs 4%, so it is left out there.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.backward.scatter_pairs import place_pairs
from fastconv.backends.numba_cpu.simd import (
    lanes_between,
    load_integer,
    load_scalar,
    prefetch,
    store,
    store_scalar,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

_BLOCK = 16
"""Windows between prefetches, each of one line of the gradient and two of indices, in float32."""


@inner
def _add(w, image, grad, indices, first, end):
    """Add the gradients of windows ``first`` up to ``end`` at their indices."""
    for u in range(first, end):
        at = load_integer(indices, u)
        if at >= 0:
            store_scalar(w, image, at, load_scalar(w, image, at) + load_scalar(w, grad, u))


@task(PoolingArguments)
def scatter(w, args, task, thread):
    """Fill a task's planes; `place_pairs` is tried first if ``w`` has windows two apart."""
    size, lanes, ahead = w.itemsize, w.lanes, args.ahead
    P, Q = args.P, args.Q
    pixels, windows = args.H * args.W, P * Q
    first = task * args.task_planes
    end = min(args.planes, first + args.task_planes)
    whole, blocks = pixels // lanes * lanes, windows // _BLOCK * _BLOCK
    for plane in range(first, end):
        image = args.input + size * plane * pixels
        grad = args.output + size * plane * windows
        indices = args.indices + 8 * plane * windows
        if w.step == 2 and place_pairs(w, image, grad, indices, P, Q):
            continue
        for i in range(0, whole, lanes):
            store(w, image, i, zeros(w))
        store_where(w, image, whole, lanes_between(w, 0, pixels - whole), zeros(w))
        for u in range(0, blocks, _BLOCK):
            if ahead != 0:
                prefetch(w, grad + ahead, u)
                prefetch(w, indices + 2 * ahead + 8 * u, 0)
                prefetch(w, indices + 2 * ahead + 8 * u + 64, 0)
            _add(w, image, grad, indices, u, u + _BLOCK)
        _add(w, image, grad, indices, blocks, windows)
