"""This file computes the bias gradient: for each channel, the sum of the gradient over all images and pixels.

    b[k]  =  sum over n, u of grad[n, k, u]

Four vectors of sums go along a plane, so that no addition waits for the one before. Each plane's total is added to its
channel's total in float64: a float32 sum of a whole batch would lose digits that a matrix product keeps. The pass is
bound by memory. A task does one channel.
"""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step, Workspace
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

_SHORT = 16
"""Planes of fewer pixels than this are summed number by number: they are too short for vectors."""

_ONE_THREAD = 1 << 16
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
    """Sum one channel number by number, where planes are shorter than `_SHORT`."""
    images, channels = args.N, args.K
    plane, source = args.plane, args.grad
    total = 0.0
    for n in range(images):
        begin = (n * channels + channel) * plane
        for u in range(begin, begin + plane):
            total += load_scalar(simd, source, u)
    store_scalar(simd, args.sums, channel, total)


class BiasGradient(Operation):
    """This operation writes the sums of a gradient's channels; its operands are the gradient and the sums."""

    def __init__(self, simd: Simd, N: int, K: int, plane: int) -> None:
        """Prepare the sums of a gradient (N, K, plane) into (K,)."""
        super().__init__()
        self._args = BiasArguments.new(N=N, K=K, plane=plane)
        self._task = _sum_short(simd) if plane < _SHORT else _sum_channel(simd)
        self._small = N * K * plane <= _ONE_THREAD

    @property
    def nbytes(self) -> int:
        return self._args.nbytes

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        threads = 1 if self._small else get_num_threads()
        step = Step(self._task, int(self._args["K"][0]), threads)
        workspace = Workspace(64 * threads, ((_WORKSPACE, 0),))
        program.add(self._args, zip(_OPERANDS, places, strict=True), [step], workspace)


@lru_cache(maxsize=4096)
def bias_gradient(simd: Simd, N: int, K: int, plane: int) -> BiasGradient:
    """Return the operation for a gradient (N, K, plane)."""
    return BiasGradient(simd, N, K, plane)
