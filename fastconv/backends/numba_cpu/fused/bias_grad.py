"""This file computes the bias gradient: for each channel, the sum of the gradient over all images and pixels.

    b[k]  =  sum over n, u of grad[n, k, u]

A task does one channel, as the mean of a batch normalisation does (batch_norm/sums.py). Where a channel has one pixel,
channels lie side by side, and a task adds up a vector of them: first some images, then the sums of those, so that few
numbers follow one another in a sum and float32 keeps its digits.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from fastconv.backends.numba_cpu.fused.batch_norm.sums import sum_of
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd, add, load_most, store_most, store_scalar, zeros
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task
from fastconv.threads import get_num_threads

_ONE_THREAD = 1 << 16
"""Length of the largest gradient that one thread sums alone, in numbers: waking a helper would take longer."""

_LEAST_RUN = 64
"""Least number of images whose sum is taken before it is added to the others."""


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
    run: int
    """Images whose sum is taken first, where a channel has one pixel."""


_OPERANDS = BiasArguments.positions("grad", "sums")
(_WORKSPACE,) = BiasArguments.positions("workspace")


@task(BiasArguments)
def _sum_channel(simd, args, channel, thread):
    """Sum one channel."""
    sizes, scratch = (args.N, args.K, args.plane), args.workspace + 64 * thread
    store_scalar(simd, args.sums, channel, sum_of(simd, args.grad, sizes, channel, scratch))


@task(BiasArguments)
def _sum_side_by_side(simd, args, vector, thread):
    """Sum a vector of channels of one pixel each."""
    images, channels, grad, run = args.N, args.K, args.grad, args.run
    first = vector * simd.lanes
    left, total = channels - first, zeros(simd)
    for begin in range(0, images, run):
        some = zeros(simd)
        for n in range(begin, min(images, begin + run)):
            some = add(simd, some, load_most(simd, grad, n * channels + first, left, zeros(simd)))
        total = add(simd, total, some)
    store_most(simd, args.sums, first, left, total)


class BiasGradient(Operation):
    """This operation writes the sums of a gradient's channels; its operands are the gradient and the sums."""

    def __init__(self, simd: Simd, N: int, K: int, plane: int) -> None:
        """Prepare the sums of a gradient (N, K, plane) into (K,)."""
        super().__init__()
        self._args = BiasArguments.new(N=N, K=K, plane=plane, run=max(_LEAST_RUN, isqrt(N)))
        self._task = _sum_side_by_side(simd) if plane == 1 else _sum_channel(simd)
        self._tasks = -(-K // simd.lanes) if plane == 1 else K
        self._small = N * K * plane <= _ONE_THREAD

    @property
    def nbytes(self) -> int:
        return self._args.nbytes

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        threads = 1 if self._small else get_num_threads()
        workspace = Workspace(64 * threads, ((_WORKSPACE, 0),))
        step = Step(self._task, self._tasks, threads)
        program.add(self._args, zip(_OPERANDS, places, strict=True), [step], workspace)


@lru_cache(maxsize=4096)
def bias_gradient(simd: Simd, N: int, K: int, plane: int) -> BiasGradient:
    """Return the operation for a gradient (N, K, plane)."""
    return BiasGradient(simd, N, K, plane)
