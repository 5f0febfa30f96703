"""Max pooling and its gradient: one thread an element, at the speed of memory.

The first of equal elements wins, and the last of several NaN, as in torch.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import in_plane, int32, span
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, primitives, types
from fastconv.backends.numba_cuda.windows import Windows

THREADS = 128

INDEX = types.int64

_NOBODY = 2**31 - 1


@family
def pool(stored: Storage, with_indices: bool) -> Kernel:
    """Returns the kernel ``(x, y, indices, f)``: one thread a window of a `windows.Windows`; planes are below 2**31
    pixels."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed
    lowest = float("-inf")

    def max_pool(x, y, indices, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane, p, q = in_plane(at, f.P, f.Q)
        if plane >= f.planes:
            return
        first = plane * f.H * f.W
        H, W = int32(f.H), int32(f.W)
        h = int32(p * f.stride_row - f.pad_row)
        left = int32(q * f.stride_column - f.pad_column)
        best = dtype(lowest)
        found = int32(-1)
        for _ in range(int32(f.R)):
            if 0 <= h < H:
                w = left
                for _ in range(int32(f.S)):
                    if 0 <= w < W:
                        here = int32(h * W + w)
                        value = load(x, first + here)
                        if value > best or value != value or found < 0:
                            best = value
                            found = here
                    w = int32(w + f.tap_column)
            h = int32(h + f.tap_row)
        store(y, at, best)
        if with_indices:
            indices[at] = found

    return Kernel(max_pool, THREADS, stored.memory, stored.memory, INDEX, Windows)


@family
def gather_backward(stored: Storage) -> Kernel:
    """Returns the kernel ``(grad, indices, dx, f)``: one thread a pixel, which adds up in order the windows that took
    it."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def max_pool_backward(grad, indices, dx, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane, h, w = in_plane(at, f.H, f.W)
        if plane >= f.planes:
            return
        pixel = int32(h * f.W + w)
        # the windows that reach so far: p * stride - pad <= h <= p * stride - pad + (R - 1) * tap
        above = int32(h + f.pad_row)
        beside = int32(w + f.pad_column)
        first_p, last_p = span(above, (f.R - 1) * f.tap_row, f.stride_row, f.P)
        first_q, last_q = span(beside, (f.S - 1) * f.tap_column, f.stride_column, f.Q)
        windows = plane * f.P * f.Q
        total = dtype(0)
        for p in range(first_p, last_p):
            for q in range(first_q, last_q):
                window = windows + int32(p * f.Q + q)
                if indices[window] == pixel:
                    total += load(grad, window)
        store(dx, at, total)

    return Kernel(max_pool_backward, THREADS, stored.memory, INDEX, stored.memory, Windows)


@family
def scatter_backward(stored: Storage) -> Kernel:
    """Returns the kernel ``(grad, indices, dx, turns, windows, pixels)``: one block a plane, for indices from anywhere.

    The windows that took the same pixel take turns, the first in order first, so the bits never change: in each round
    every window that waits asks for its pixel, and the least one that asked gets it. ``turns`` holds an int32 a pixel
    and a window: who asked, and the rounds' state; ``dx`` is 0 and in the type that is computed in.
    """
    load = loader(stored)
    atomic_min = primitives.atomic_min
    int32 = types.int32

    def max_pool_scatter(grad, indices, dx, turns, windows, pixels):
        plane = cuda.blockIdx.x
        t = cuda.threadIdx.x
        askers = plane * (windows + pixels)
        done = askers + pixels
        for at in range(t, pixels, THREADS):
            turns[askers + at] = int32(_NOBODY)
        for window in range(t, windows, THREADS):
            turns[done + window] = int32(0)
        while True:
            cuda.syncthreads()
            waiting = 0
            for window in range(t, windows, THREADS):
                pixel = indices[plane * windows + window]
                if 0 <= pixel < pixels and turns[done + window] == 0:
                    waiting = 1
                    atomic_min(turns, askers + pixel, int32(window))
            if not cuda.syncthreads_or(waiting):
                break
            for window in range(t, windows, THREADS):
                pixel = indices[plane * windows + window]
                if 0 <= pixel < pixels and turns[done + window] == 0 and turns[askers + pixel] == window:
                    dx[plane * pixels + pixel] += load(grad, plane * windows + window)
                    turns[done + window] = int32(1)
            cuda.syncthreads()
            for window in range(t, windows, THREADS):
                pixel = indices[plane * windows + window]
                if 0 <= pixel < pixels and turns[askers + pixel] == window:
                    turns[askers + pixel] = int32(_NOBODY)

    takes = stored.memory, INDEX, stored.computed, int32, INTEGER, INTEGER
    return Kernel(max_pool_scatter, THREADS, *takes)
