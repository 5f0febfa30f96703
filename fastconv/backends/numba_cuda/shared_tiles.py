"""Rung 2: tiles in shared memory, still one sum a thread.

A block makes a 16 x 16 tile of the product that rung 3 explains. It loads each element of A and B once for 16 threads
instead of once for each, which divides the traffic by 16; what is left is that every multiply-add reads its operands
from shared memory, which gives one warp's in a cycle where four could be multiplied.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import place, source, target, term
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda

EDGE = 16
THREADS = EDGE * EDGE

PITCH = EDGE + 1
"""Elements from row to row of tiles that are written along their columns: one more than a row has, so that a column
falls on different banks."""


@family
def correlate(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, w, bias, y, f, biased)``: each block makes a tile of rows by pixels; the depth is (d, r,
    s)."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def shared_tiles(x, w, bias, y, f, biased):
        a = cuda.shared.array((EDGE, PITCH), dtype)
        b = cuda.shared.array((EDGE, EDGE), dtype)
        counts = cuda.shared.array((EDGE, EDGE), dtype)
        column, row = cuda.threadIdx.x % EDGE, cuda.threadIdx.x // EDGE
        row_tiles = (f.M + EDGE - 1) // EDGE
        block = cuda.blockIdx.x // row_tiles
        m = cuda.blockIdx.x % row_tiles * EDGE + row
        g = block % f.G
        n, i, j = place(block // f.G * EDGE + column, f)
        value = dtype(0)
        for first in range(0, f.D * f.R * f.S, EDGE):
            # A: depth along the row's threads, as memory has it; B: pixels along them
            d, r, s = term(first + column, f)
            weight = dtype(0)
            if m < f.M and d < f.D:
                weight = load(
                    w,
                    f.w_first + g * f.w_group + m * f.w_row + d * f.w_depth + r * f.w_tap_row + s * f.w_tap_column,
                )
            a[column, row] = weight
            d, r, s = term(first + row, f)
            h = i * f.step_row + f.first_row + r * f.tap_row
            v = j * f.step_column + f.first_column + s * f.tap_column
            inside = n < f.N and d < f.D and 0 <= h < f.H and 0 <= v < f.W
            seen = dtype(0)
            if inside:
                seen = load(x, source(n, g, f) + (d * f.H + h) * f.W + v)
            b[row, column] = seen
            counts[row, column] = dtype(1) if inside or not f.skips else dtype(0)
            cuda.syncthreads()
            for k in range(EDGE):
                if counts[k, column] != 0:
                    value += a[k, row] * b[k, column]
            cuda.syncthreads()
        if n < f.N and m < f.M:
            if biased:
                value += load(bias, g * f.M + m)
            store(y, target(n, g, i, j, f) + m * f.P * f.Q, value)

    return Kernel(shared_tiles, THREADS, *[stored.memory] * 4, Correlation, INTEGER)


@family
def weigh(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, grad, parts, f, splits, steps)``: a tile of rows by (d, r, s) a block, the depth being
    the pixels.

    The blocks of split z add up ``steps`` times 16 pixels from z * steps * 16 on, into the part z of ``parts``.
    """
    load = loader(stored)
    dtype = stored.computed

    def shared_tiles(x, grad, parts, f, splits, steps):
        a = cuda.shared.array((EDGE, PITCH), dtype)
        b = cuda.shared.array((EDGE, PITCH), dtype)
        column, row = cuda.threadIdx.x % EDGE, cuda.threadIdx.x // EDGE
        terms = f.D * f.R * f.S
        row_tiles, column_tiles = (f.M + EDGE - 1) // EDGE, (terms + EDGE - 1) // EDGE
        block = cuda.blockIdx.x
        first_m = block % row_tiles * EDGE
        block //= row_tiles
        first_term = block % column_tiles * EDGE
        block //= column_tiles
        g = block % f.G
        split = block // f.G
        d, r, s = term(first_term + row, f)
        value = dtype(0)
        for step in range(split * steps, (split + 1) * steps):
            # pixels along the row's threads, as memory has them, in both
            n, i, j = place(step * EDGE + column, f)
            change = dtype(0)
            if n < f.N and first_m + row < f.M:
                change = load(grad, ((n * f.G + g) * f.M + first_m + row) * f.P * f.Q + i * f.J + j)
            a[column, row] = change
            h = i * f.step_row + f.first_row + r * f.tap_row
            v = j * f.step_column + f.first_column + s * f.tap_column
            seen = dtype(0)
            if n < f.N and d < f.D and 0 <= h < f.H and 0 <= v < f.W:
                seen = load(x, source(n, g, f) + (d * f.H + h) * f.W + v)
            b[column, row] = seen
            cuda.syncthreads()
            for k in range(EDGE):
                value += a[k, row] * b[k, column]
            cuda.syncthreads()
        if first_m + row < f.M and first_term + column < terms:
            size = f.G * f.M * terms
            parts[split * size + (g * f.M + first_m + row) * terms + first_term + column] = value

    return Kernel(shared_tiles, THREADS, stored.memory, stored.memory, dtype, Correlation, INTEGER, INTEGER)
