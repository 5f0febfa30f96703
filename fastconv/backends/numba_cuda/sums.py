"""Partial sums added up in a fixed order, so that every run gives the same bits."""

from __future__ import annotations

from typing import Any

from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda

THREADS = 128


@family
def add_splits(result: Storage) -> Kernel:
    """Returns the kernel ``(parts, bias, y, size, splits, plane, channels, biased)``: y = the sum of ``splits`` parts
    of ``size``.

    With ``biased`` the bias of each element's channel is added, ``plane`` elements being of one channel.
    """
    load, store = loader(result), storer(result)
    dtype = result.computed

    def adding(parts, bias, y, size, splits, plane, channels, biased):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if at < size:
            value = dtype(0)
            for split in range(splits):
                value += parts[split * size + at]
            if biased:
                value += load(bias, at // plane % channels)
            store(y, at, value)

    return Kernel(adding, THREADS, dtype, result.memory, result.memory, *[INTEGER] * 5)


@family
def add_bias(stored: Storage) -> Kernel:
    """Returns the kernel ``(x, bias, size, plane, channels)``: the bias of each element's channel is added to x, in
    place."""
    load, store = loader(stored), storer(stored)

    def adding(x, bias, size, plane, channels):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if at < size:
            store(x, at, load(x, at) + load(bias, at // plane % channels))

    return Kernel(adding, THREADS, stored.memory, stored.memory, *[INTEGER] * 3)


@family
def clear(dtype: Any) -> Kernel:
    """Returns the kernel ``(memory, size)``: the first ``size`` elements become 0."""

    def clearing(memory, size):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if at < size:
            memory[at] = dtype(0)

    return Kernel(clearing, THREADS, dtype, INTEGER)


@family
def channel_sum(stored: Storage) -> Kernel:
    """Returns the kernel ``(grad, sums, images, channels, plane)``: one block a channel; its threads' sums are added as
    a tree."""
    load, store = loader(stored), storer(stored)
    dtype = stored.computed

    def summing(grad, sums, images, channels, plane):
        shared = cuda.shared.array(THREADS, dtype)
        t = cuda.threadIdx.x
        channel = cuda.blockIdx.x
        value = dtype(0)
        for i in range(t, images * plane, THREADS):
            n = i // plane
            value += load(grad, (n * channels + channel) * plane + i - n * plane)
        shared[t] = value
        reach = THREADS // 2
        while reach:
            cuda.syncthreads()
            if t < reach:
                shared[t] += shared[t + reach]
            reach //= 2
        if t == 0:
            store(sums, channel, shared[0])

    return Kernel(summing, THREADS, stored.memory, stored.memory, *[INTEGER] * 3)
