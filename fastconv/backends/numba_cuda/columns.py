"""`unfold` and `fold`: the column matrix of an image, and columns added up to images; one thread an element."""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda

THREADS = 128


@family
def unfold(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, columns, f)``: ``f`` is the forward `Correlation` of a geometry with one group."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def unfolding(x, columns, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        area = f.I * f.J
        j = at % f.J
        i = at % area // f.J
        row = at // area
        s = row % f.S
        r = row // f.S % f.R
        plane = row // (f.S * f.R)
        if plane >= f.N * f.D:
            return
        h = i * f.step_row + f.first_row + r * f.tap_row
        w = j * f.step_column + f.first_column + s * f.tap_column
        value = dtype(0)
        if 0 <= h < f.H and 0 <= w < f.W:
            value = load(x, (plane * f.H + h) * f.W + w)
        store(columns, at, value)

    return Kernel(unfolding, THREADS, stored.memory, stored.memory, Correlation)


@family
def fold(stored: Storage) -> Kernel:
    """Returns the kernel ``(columns, x, f)``: each pixel adds up the columns' elements that came from it, taps in
    order."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def folding(columns, x, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        plane = at // (f.H * f.W)
        if plane >= f.N * f.D:
            return
        h = at // f.W % f.H
        w = at % f.W
        total = dtype(0)
        for r in range(f.R):
            rows = h - f.first_row - r * f.tap_row
            i = rows // f.step_row
            if rows >= 0 and i < f.I and i * f.step_row == rows:
                for s in range(f.S):
                    along = w - f.first_column - s * f.tap_column
                    j = along // f.step_column
                    if along >= 0 and j < f.J and j * f.step_column == along:
                        total += load(columns, ((plane * f.R + r) * f.S + s) * f.I * f.J + i * f.J + j)
        store(x, at, total)

    return Kernel(folding, THREADS, stored.memory, stored.memory, Correlation)
