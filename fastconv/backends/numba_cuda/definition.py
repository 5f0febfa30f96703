"""Rung 1: the definition, one thread an element of the result.

Every product needs two loads, so a thread waits for memory most of its time; neighbouring threads make neighbouring
pixels, though, so their loads fall into the same cache lines, which is all that keeps this from being slower still.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import place, source, target
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, types

THREADS = 128


@family
def correlate(stored: Storage, guarded: bool) -> Kernel:
    """Returns the kernel ``(x, w, bias, y, f, biased, odd, flags)``: a thread an element, pixels innermost, then rows,
    groups, images.

    With fewer threads than elements each makes several. ``guarded``: the kernel does nothing unless one of ``flags``
    flags is set; so few blocks are enough to look at them, and what they do then may take its time.
    """
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def definition(x, w, bias, y, f, biased, odd, flags):
        if guarded:
            strange = 0
            for i in range(cuda.threadIdx.x, flags, THREADS):
                strange |= odd[i]
            if not cuda.syncthreads_or(strange):
                return
        area = f.I * f.J
        elements = f.N * f.G * f.M * area
        for at in range(cuda.blockIdx.x * THREADS + cuda.threadIdx.x, elements, cuda.gridDim.x * THREADS):
            m = at // area % f.M
            g = at // (area * f.M) % f.G
            n, i, j = place(at // (area * f.M * f.G) * area + at % area, f)
            value = dtype(0)
            for d in range(f.D):
                plane = source(n, g, f) + d * f.H * f.W
                for r in range(f.R):
                    h = i * f.step_row + f.first_row + r * f.tap_row
                    at_w = f.w_first + g * f.w_group + m * f.w_row + d * f.w_depth + r * f.w_tap_row
                    for s in range(f.S):
                        v = j * f.step_column + f.first_column + s * f.tap_column
                        weight = load(w, at_w + s * f.w_tap_column)
                        if 0 <= h < f.H and 0 <= v < f.W:
                            value += weight * load(x, plane + h * f.W + v)
                        elif not f.skips:
                            value += weight * dtype(0)
            if biased:
                value += load(bias, g * f.M + m)
            store(y, target(n, g, i, j, f) + m * f.P * f.Q, value)

    memory = stored.memory
    return Kernel(definition, THREADS, *[memory] * 4, Correlation, INTEGER, types.int32, INTEGER)


@family
def weigh(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, grad, dw, f)``: the weight gradient of a forward `Correlation`, one thread a weight."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def definition(x, grad, dw, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        s = at % f.S
        r = at // f.S % f.R
        d = at // (f.S * f.R) % f.D
        row = at // (f.S * f.R * f.D)
        g = row // f.M
        if g >= f.G:
            return
        value = dtype(0)
        for n in range(f.N):
            plane = source(n, g, f) + d * f.H * f.W
            change = (n * f.G * f.M + row) * f.P * f.Q
            for i in range(f.I):
                h = i * f.step_row + f.first_row + r * f.tap_row
                for j in range(f.J):
                    v = j * f.step_column + f.first_column + s * f.tap_column
                    seen = dtype(0)
                    if 0 <= h < f.H and 0 <= v < f.W:
                        seen = load(x, plane + h * f.W + v)
                    value += load(grad, change + i * f.J + j) * seen
        store(dw, at, value)

    return Kernel(definition, THREADS, *[stored.memory] * 3, Correlation)
