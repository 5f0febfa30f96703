"""This file computes the bias gradient: for each channel, the sum of the gradient over all images and pixels.

    b[k]  =  sum over n, u of grad[n, k, u]

Four vectors of sums go along a plane, so that no addition waits for the one before. Each plane's total is added to its
channel's total in float64: a float32 sum of a whole batch would lose digits that a matrix product keeps. The pass is
bound by memory. A task does one channel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.launch import ARGUMENTS_BYTES, execute
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    lanes_between,
    load,
    load_scalar,
    load_where,
    store,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task
from fastconv.threads import get_num_threads

SHORT = 16
"""Planes of fewer pixels than this are summed number by number: they are too short for vectors."""

_ALONE = 1 << 16
"""Length of the largest gradient that one thread sums alone, in numbers: waking a helper would take longer."""


class BiasArguments(Arguments):
    """Lists the arguments of a task that sums the channels of a gradient (N, K, plane) into (K,)."""

    grad: int
    """Address of the gradient."""
    sums: int
    """Address of the sums."""
    workspace: int
    """Address of 64 bytes for each thread."""
    N: int
    K: int
    plane: int


_new = lru_cache(maxsize=4096)(BiasArguments.new)
_OPERANDS = BiasArguments.positions("grad", "sums")
(_WORKSPACE,) = BiasArguments.positions("workspace")


@task(BiasArguments)
def _sum_channel(simd, args, channel, thread):
    """Sum one channel, in vectors; the thread's workspace holds the vector whose lanes are added up."""
    images, channels = args.N, args.K
    plane = args.plane
    source = args.grad
    scratch = args.workspace + 64 * thread
    lanes = simd.lanes
    total = 0.0
    for n in range(images):
        begin = (n * channels + channel) * plane
        a, b, c, d = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
        whole = plane // (4 * lanes) * (4 * lanes)
        for u in range(begin, begin + whole, 4 * lanes):
            a = add(simd, a, load(simd, source, u))
            b = add(simd, b, load(simd, source, u + lanes))
            c = add(simd, c, load(simd, source, u + 2 * lanes))
            d = add(simd, d, load(simd, source, u + 3 * lanes))
        for u in range(whole, plane, lanes):
            there = lanes_between(simd, 0, plane - u)
            a = add(simd, a, load_where(simd, source, begin + u, there, zeros(simd)))
        store(simd, scratch, 0, add(simd, add(simd, a, b), add(simd, c, d)))
        for lane in range(lanes):
            total += load_scalar(simd, scratch, lane)
    store_scalar(simd, args.sums, channel, total)


@task(BiasArguments)
def _sum_short(simd, args, channel, thread):
    """Sum one channel number by number, where planes are shorter than `SHORT`."""
    images, channels = args.N, args.K
    plane, source = args.plane, args.grad
    total = 0.0
    for n in range(images):
        begin = (n * channels + channel) * plane
        for u in range(begin, begin + plane):
            total += load_scalar(simd, source, u)
    store_scalar(simd, args.sums, channel, total)


def channel_sum(simd: Simd, grad: np.ndarray) -> np.ndarray:
    """Return the sum of each channel, (K,), of a C-contiguous ``grad`` (N, K, P, Q)."""
    N, K, P, Q = grad.shape
    sums = np.empty(K, grad.dtype)
    threads = get_num_threads() if grad.size > _ALONE else 1
    memory = buffers.scratch(ARGUMENTS_BYTES + 64 * threads)
    parts, offsets = (_WORKSPACE, _WORKSPACE), (ARGUMENTS_BYTES, ARGUMENTS_BYTES)
    args = _new(N=N, K=K, plane=P * Q)
    execute(args, memory, _OPERANDS, (grad, sums), parts, offsets, (_sum_channel(simd), K), (0, 0), threads)
    buffers.give_back(memory)
    return sums


def record(program: ProgramBuilder, simd: Simd, grad: Place, sums: Place, shape: tuple[int, int, int]) -> None:
    """Add a job to a program that does the same for a gradient of ``shape`` (N, K, P * Q)."""
    threads = get_num_threads() if math.prod(shape) > _ALONE else 1
    step = _sum_short(simd) if shape[2] < SHORT else _sum_channel(simd)
    workspace = Workspace(64 * threads, ((_WORKSPACE, 0),))
    N, K, plane = shape
    places = zip(_OPERANDS, (grad, sums), strict=True)
    program.add(_new(N=N, K=K, plane=plane), places, [Step(step, K, threads)], workspace)
