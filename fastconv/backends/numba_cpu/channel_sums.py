"""The gradient of a convolution's bias: the sum over each channel's pixels in all images.

    b[k]  =  sum over n, u of grad[n, k, u]

Four vectors of sums go along a plane, so that no addition waits for the one before, and each plane's total is added to
its channel's in float64: a float32 sum of a whole batch would lose digits that a matrix product keeps. Memory-bound. A
task is a channel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import buffers
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.program import Place, Recorder, Step, Workspace
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_scalar,
    zeros,
)
from fastconv.threads import get_num_threads

SHORT = 16
"""Pixels of a plane that aren't worth a vector."""

_ALONE = 1 << 16
"""Numbers that are summed in less time than it takes to wake a helper."""


@inner
def _sum_channel(simd, frame, channel, slot):
    """One channel; a vector of the slot's workspace is for adding lanes up."""
    images, channels = load_integer(frame, F.N), load_integer(frame, F.ROWS)
    plane = load_integer(frame, F.J)
    source = load_integer(frame, F.SOURCE)
    scratch = load_integer(frame, F.WORKSPACE) + 64 * slot
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
    store_scalar(simd, load_integer(frame, F.TARGET), channel, total)


@inner
def _sum_short(simd, frame, channel):
    """One channel whose planes aren't worth a vector."""
    images, channels = load_integer(frame, F.N), load_integer(frame, F.ROWS)
    plane, source = load_integer(frame, F.J), load_integer(frame, F.SOURCE)
    total = 0.0
    for n in range(images):
        begin = (n * channels + channel) * plane
        for u in range(begin, begin + plane):
            total += load_scalar(simd, source, u)
    store_scalar(simd, load_integer(frame, F.TARGET), channel, total)


@once
def _task(simd: Simd) -> int:
    def sum_channel(frame, task, slot):
        _sum_channel(simd, frame, task, slot)

    return address_of(sum_channel, 3)


@once
def _short_task(simd: Simd) -> int:
    def sum_short(frame, task, slot):
        _sum_short(simd, frame, task)

    return address_of(sum_short, 3)


@lru_cache(maxsize=4096)
def _frame(images: int, channels: int, plane: int) -> np.ndarray:
    frame = np.zeros(F.COUNT, np.int64)
    frame[F.N], frame[F.ROWS], frame[F.J] = images, channels, plane
    return frame


def channel_sum(simd: Simd, grad: np.ndarray) -> np.ndarray:
    """(K,) from grad (N, K, P, Q), C-contiguous."""
    N, K, P, Q = grad.shape
    sums = np.empty(K, grad.dtype)
    threads = get_num_threads() if grad.size > _ALONE else 1
    memory = buffers.scratch(FRAME_BYTES + 64 * threads)
    parts, offsets = (F.PANELS, F.WORKSPACE), (FRAME_BYTES, FRAME_BYTES)
    frame = _frame(N, K, P * Q)
    execute(frame, memory, (F.SOURCE, F.TARGET), (grad, sums), parts, offsets, (_task(simd), K), (0, 0), threads)
    buffers.give_back(memory)
    return sums


def record(program: Recorder, simd: Simd, grad: Place, sums: Place, shape: tuple[int, int, int]) -> None:
    """Let a program do the same for grad (N, K, P * Q), which ``shape`` gives."""
    threads = get_num_threads() if math.prod(shape) > _ALONE else 1
    task = _short_task(simd) if shape[2] < SHORT else _task(simd)
    workspace = Workspace(64 * threads, ((F.WORKSPACE, 0),))
    program.add(_frame(*shape), [(F.SOURCE, grad), (F.TARGET, sums)], [Step(task, shape[1], threads)], workspace)
