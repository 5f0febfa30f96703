"""Rung 5: the depthwise form, for groups of one channel or few: a pixel of the result is a handful of products.

With so little arithmetic memory sets the pace. A thread makes the same pixel of 4 images: it looks at the borders once,
loads each weight once, and goes over the image in whole cache lines with its neighbours, who have the neighbouring
pixels; what one tap loads, the next finds in the first-level cache.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, primitives, types

THREADS = 128


@family
def correlate(stored: Storage, images: int) -> Kernel:
    """Returns the kernel ``(x, w, bias, y, f, biased)``: one thread a pixel of a channel of ``images`` images, channels
    outside pixels."""
    dtype = stored.computed
    load, store = loader(stored), storer(stored)
    gather = primitives.gather(images, stored)
    zeros = primitives.zeros(images, dtype)
    outer = primitives.outer(1, images, dtype)
    put = primitives.store_vectors(images, 1, dtype)
    int32 = types.int32
    shared = images * THREADS

    def depthwise(x, w, bias, y, f, biased):
        memory = cuda.shared.array(shared, dtype)
        t = int32(cuda.threadIdx.x)
        channels, area = f.G * f.M, f.I * f.J
        at = cuda.blockIdx.x * THREADS + t
        n = at // (area * channels) * images
        if n >= f.N:
            return
        at %= area * channels
        channel = int32(at // area)
        g = int32(channel // int32(f.M))
        i = int32(at % area // f.J)
        j = int32(at % f.J)
        image, plane = f.G * f.D * f.H * f.W, f.H * f.W
        H, W = int32(f.H), int32(f.W)
        h0 = int32(i * f.step_row + f.first_row)
        v0 = int32(j * f.step_column + f.first_column)
        weights = f.w_first + g * f.w_group + (channel - g * f.M) * f.w_row
        first = n * image + g * f.D * plane
        sums = zeros()
        for d in range(f.D):
            for r in range(f.R):
                h = int32(h0 + r * f.tap_row)
                at_w = weights + d * f.w_depth + r * f.w_tap_row
                row = first + d * plane + h * f.W
                for s in range(f.S):
                    v = int32(v0 + s * f.tap_column)
                    weight = load(w, at_w)
                    at_w += f.w_tap_column
                    if 0 <= h < H and 0 <= v < W:
                        sums = outer(sums, (weight,), gather(x, row + v, image, f.N - n))
                    elif not f.skips and weight - weight != 0:
                        sums = outer(sums, (weight,), zeros())
        put(memory, t, THREADS, sums)
        offset = dtype(0)
        if biased:
            offset = load(bias, channel)
        at = ((n * channels + channel) * f.P + f.to_row + i * f.by_row) * f.Q + f.to_column + j * f.by_column
        for q in range(min(images, f.N - n)):
            store(y, at, memory[q * THREADS + t] + offset)
            at += channels * f.P * f.Q

    return Kernel(depthwise, THREADS, *[stored.memory] * 4, Correlation, INTEGER)
