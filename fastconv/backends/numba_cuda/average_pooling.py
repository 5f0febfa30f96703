"""Average pooling and its adjoint: one thread an element, at the speed of memory. Its windows aren't dilated."""

from __future__ import annotations

from fastconv.backends.numba_cuda.kernels import Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, device
from fastconv.backends.numba_cuda.windows import Windows

THREADS = 128


@device
def _divisor(p, q, f):
    """How many pixels the window (p, q) is divided by: padding counts if asked for, what overhangs it never does."""
    if f.divisor != 0:
        return f.divisor
    top, left = p * f.stride_row - f.pad_row, q * f.stride_column - f.pad_column
    bottom, right = min(top + f.R, f.H + f.pad_row), min(left + f.S, f.W + f.pad_column)
    if not f.counts_padding:
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, f.H), min(right, f.W)
    return (bottom - top) * (right - left)


@family
def pool(stored: Storage) -> Kernel:
    """``(x, y, f)``: one thread a window of a `windows.Windows`."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def avg_pool(x, y, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane = at // (f.P * f.Q)
        if plane >= f.planes:
            return
        rest = at - plane * (f.P * f.Q)
        p = rest // f.Q
        q = rest - p * f.Q
        top, left = p * f.stride_row - f.pad_row, q * f.stride_column - f.pad_column
        total = dtype(0)
        for h in range(max(top, 0), min(top + f.R, f.H)):
            for w in range(max(left, 0), min(left + f.S, f.W)):
                total += load(x, (plane * f.H + h) * f.W + w)
        store(y, at, total / dtype(_divisor(p, q, f)))

    return Kernel(avg_pool, THREADS, stored.memory, stored.memory, Windows)


@family
def backward(stored: Storage) -> Kernel:
    """``(grad, dx, f)``: one thread a pixel, which adds up the windows it lies in, in order."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def avg_pool_backward(grad, dx, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane = at // (f.H * f.W)
        if plane >= f.planes:
            return
        rest = at - plane * (f.H * f.W)
        h = rest // f.W
        w = rest - h * f.W
        first_p = max(0, (h + f.pad_row - f.R) // f.stride_row + 1)
        last_p = min(f.P - 1, (h + f.pad_row) // f.stride_row)
        first_q = max(0, (w + f.pad_column - f.S) // f.stride_column + 1)
        last_q = min(f.Q - 1, (w + f.pad_column) // f.stride_column)
        total = dtype(0)
        for p in range(first_p, last_p + 1):
            for q in range(first_q, last_q + 1):
                total += load(grad, (plane * f.P + p) * f.Q + q) / dtype(_divisor(p, q, f))
        store(dx, at, total)

    return Kernel(avg_pool_backward, THREADS, stored.memory, stored.memory, Windows)
