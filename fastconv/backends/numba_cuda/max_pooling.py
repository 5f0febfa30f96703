"""Max pooling and its adjoint: one thread an element, at the speed of memory.

Of equal elements the first wins, of several NaN the last, as torch has it.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, primitives, types
from fastconv.backends.numba_cuda.windows import Windows

THREADS = 128

INDEX = types.int64

_NOBODY = 2**31 - 1


@family
def pool(stored: Storage, with_indices: bool) -> Kernel:
    """``(x, y, indices, f)``: one thread a window of a `windows.Windows`."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed
    lowest = float("-inf")

    def max_pool(x, y, indices, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane = at // (f.P * f.Q)
        if plane >= f.planes:
            return
        rest = at - plane * (f.P * f.Q)
        p = rest // f.Q
        q = rest - p * f.Q
        first = plane * f.H * f.W
        best = dtype(lowest)
        found = -1
        for r in range(f.R):
            h = p * f.stride_row - f.pad_row + r * f.tap_row
            if 0 <= h < f.H:
                for s in range(f.S):
                    w = q * f.stride_column - f.pad_column + s * f.tap_column
                    if 0 <= w < f.W:
                        value = load(x, first + h * f.W + w)
                        if value > best or value != value or found < 0:
                            best = value
                            found = h * f.W + w
        store(y, at, best)
        if with_indices:
            indices[at] = found

    return Kernel(max_pool, THREADS, stored.memory, stored.memory, INDEX, Windows)


@family
def gather_backward(stored: Storage) -> Kernel:
    """``(grad, indices, dx, f)``: one thread a pixel, which adds up the windows that took it, in order."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def max_pool_backward(grad, indices, dx, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane = at // (f.H * f.W)
        if plane >= f.planes:
            return
        pixel = at - plane * (f.H * f.W)
        h = pixel // f.W
        w = pixel - h * f.W
        # the windows that reach so far: p * stride - pad <= h <= p * stride - pad + (R - 1) * tap
        first_p = max(0, (h + f.pad_row - (f.R - 1) * f.tap_row + f.stride_row - 1) // f.stride_row)
        last_p = min(f.P - 1, (h + f.pad_row) // f.stride_row)
        first_q = max(0, (w + f.pad_column - (f.S - 1) * f.tap_column + f.stride_column - 1) // f.stride_column)
        last_q = min(f.Q - 1, (w + f.pad_column) // f.stride_column)
        total = dtype(0)
        for p in range(first_p, last_p + 1):
            for q in range(first_q, last_q + 1):
                window = (plane * f.P + p) * f.Q + q
                if indices[window] == pixel:
                    total += load(grad, window)
        store(dx, at, total)

    return Kernel(max_pool_backward, THREADS, stored.memory, INDEX, stored.memory, Windows)


@family
def scatter_backward(stored: Storage) -> Kernel:
    """``(grad, indices, dx, turns, windows, pixels)``: one block a plane, for indices from anywhere.

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
