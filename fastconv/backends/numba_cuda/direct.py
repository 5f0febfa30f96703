"""Rung 4: the direct form, for few channels, where a tile of rung 3 would be mostly padding.

A thread keeps a column of sums for a pixel, one for each of up to 16 rows, for each of 4 images: all 4 see the same
taps, so one test at the borders serves them all and one vector of weights is multiplied by 4 pixels. The block's
weights lie in shared memory, where all threads read the same ones at the same time, which costs one access; pixels
come straight from the image, whose lines the first-level cache keeps for the next tap.

On LeNet-5's first layer (1 channel, 25 products a sum) the matrix of implicit GEMM would be 3 parts padding to 1 part
numbers, and its tile 122 rows of padding to 6.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import divided32, place, term
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, primitives, types

THREADS = 128

_WEIGHTS = 4096
"""Most elements of shared memory for weights."""


@family
def correlate(stored: Storage, rows: int, images: int, inside_all: bool) -> Kernel:
    """Returns the kernel ``(x, w, bias, y, f, biased)``: a block makes ``rows`` rows of 128 pixels of ``images``
    images.

    ``inside_all``: no product falls outside x, so nothing is checked.
    """
    dtype = stored.computed
    vector = min(stored.vector, rows)
    terms_at_once = _WEIGHTS // rows
    sums_count = rows * images
    shared = max(_WEIGHTS, sums_count * THREADS)
    load, store = loader(stored), storer(stored)
    gather = primitives.gather(images, stored)
    zeros = primitives.zeros(sums_count, dtype)
    nothing = primitives.zeros(images, dtype)
    outer = primitives.outer(rows, images, dtype)
    weights_of = primitives.load_vectors(rows // vector, vector, dtype)
    put = primitives.store_vectors(sums_count, 1, dtype)
    int32, int64 = types.int32, types.int64

    def direct(x, w, bias, y, f, biased):
        memory = cuda.shared.array(shared, dtype, alignment=16)
        t = int32(cuda.threadIdx.x)
        row_blocks = (f.M + rows - 1) // rows
        block = int64(cuda.blockIdx.x)
        first_m = block % row_blocks * rows
        block //= row_blocks
        g = block % f.G
        at = block // f.G * THREADS + t
        n, i, j = place(at, f)
        n *= images
        present = n < f.N
        image = f.G * f.D * f.H * f.W
        H, W, R, S, plane = int32(f.H), int32(f.W), int32(f.R), int32(f.S), f.H * f.W
        h0 = int32(i * f.step_row + f.first_row)
        w0 = int32(j * f.step_column + f.first_column)
        seen = n * image + g * f.D * plane + h0 * f.W + w0
        terms = f.D * f.R * f.S

        sums = zeros()
        for first in range(0, terms, terms_at_once):
            count = int32(min(terms_at_once, terms - first))
            strange = 0
            for e in range(t, count * rows, THREADS):
                m = first_m + int32(e % rows)
                d, r, s = term(first + divided32(e, rows), f)
                weight = dtype(0)
                if m < f.M:
                    weight = load(
                        w,
                        f.w_first + g * f.w_group + m * f.w_row + d * f.w_depth + r * f.w_tap_row + s * f.w_tap_column,
                    )
                if weight - weight != 0:
                    strange = 1
                memory[e] = weight
            # a weight that isn't finite meets even the zeros outside the image
            strange = 0 if f.skips else strange
            everywhere = cuda.syncthreads_or(strange)
            if present:
                d, r, s = term(first, f)
                h = int32(h0 + r * f.tap_row)
                v = int32(w0 + s * f.tap_column)
                at = seen + d * plane + r * f.tap_row * f.W + s * f.tap_column
                for k in range(count):
                    if inside_all or (0 <= h < H and 0 <= v < W):
                        sums = outer(sums, weights_of(memory, k * rows, vector), gather(x, at, image, f.N - n))
                    elif everywhere:
                        sums = outer(sums, weights_of(memory, k * rows, vector), nothing())
                    s = int32(s + 1)
                    v = int32(v + f.tap_column)
                    at += f.tap_column
                    if s == S:
                        s = int32(0)
                        v = w0
                        r = int32(r + 1)
                        h = int32(h + f.tap_row)
                        at += f.tap_row * f.W - f.S * f.tap_column
                        if r == R:
                            r = int32(0)
                            h = h0
                            at += plane - f.R * f.tap_row * f.W
            cuda.syncthreads()

        if present:
            put(memory, t, THREADS, sums)
            result = f.P * f.Q
            for m in range(min(rows, f.M - first_m)):
                offset = dtype(0)
                if biased:
                    offset = load(bias, g * f.M + first_m + m)
                at = ((n * f.G + g) * f.M + first_m + m) * result
                at += (f.to_row + i * f.by_row) * f.Q + f.to_column + j * f.by_column
                for q in range(min(images, f.N - n)):
                    store(y, at, memory[(m * images + q) * THREADS + t] + offset)
                    at += f.G * f.M * result

    return Kernel(direct, THREADS, *[stored.memory] * 4, Correlation, INTEGER, resident=4 if sums_count <= 16 else 3)
