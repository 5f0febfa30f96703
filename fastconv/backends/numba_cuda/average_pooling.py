"""Average pooling and its gradient: one thread an element, at the speed of memory. Its windows aren't dilated."""

from __future__ import annotations

from fastconv.backends.numba_cuda.kernels import Kernel, family
from fastconv.backends.numba_cuda.pixels import in_plane, int32, span
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, device, types
from fastconv.backends.numba_cuda.windows import Windows

THREADS = 128


@device
def _counted(start, kernel, size, pad, counts_padding):
    """Returns how many pixels of a window count along one axis."""
    end = int32(min(start + kernel, size + pad))
    if not counts_padding:
        start, end = int32(max(start, 0)), int32(min(end, size))
    return int32(end - start)


@device
def _divisor(p, q, f):
    """Returns the divisor of window (p, q), in pixels: padding counts if asked for, what overhangs it never does."""
    if f.divisor != 0:
        return f.divisor
    rows = _counted(int32(p * f.stride_row - f.pad_row), int32(f.R), int32(f.H), int32(f.pad_row), f.counts_padding)
    columns = _counted(
        int32(q * f.stride_column - f.pad_column), int32(f.S), int32(f.W), int32(f.pad_column), f.counts_padding
    )
    return types.int64(rows * columns)


@family
def pool(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, y, f)``: one thread a window of a `windows.Windows`."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def avg_pool(x, y, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane, p, q = in_plane(at, f.P, f.Q)
        if plane >= f.planes:
            return
        top, left = int32(p * f.stride_row - f.pad_row), int32(q * f.stride_column - f.pad_column)
        right = int32(min(left + f.S, f.W))
        first = plane * f.H * f.W
        total = dtype(0)
        for h in range(int32(max(top, 0)), int32(min(top + f.R, f.H))):
            for w in range(int32(max(left, 0)), right):
                total += load(x, first + int32(h * f.W + w))
        store(y, at, total / dtype(_divisor(p, q, f)))

    return Kernel(avg_pool, THREADS, stored.memory, stored.memory, Windows)


@family
def backward(stored: Storage) -> Kernel:
    """Returns the kernel ``(grad, dx, f)``: one thread a pixel, which adds up in order the windows that it lies in."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def avg_pool_backward(grad, dx, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane, h, w = in_plane(at, f.H, f.W)
        if plane >= f.planes:
            return
        first_p, last_p = span(int32(h + f.pad_row), f.R - 1, f.stride_row, f.P)
        first_q, last_q = span(int32(w + f.pad_column), f.S - 1, f.stride_column, f.Q)
        windows = plane * f.P * f.Q
        total = dtype(0)
        for p in range(first_p, last_p):
            for q in range(first_q, last_q):
                total += load(grad, windows + int32(p * f.Q + q)) / dtype(_divisor(p, q, f))
        store(dx, at, total)

    return Kernel(avg_pool_backward, THREADS, stored.memory, stored.memory, Windows)
