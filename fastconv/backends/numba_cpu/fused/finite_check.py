"""This file tells whether an array holds infinities or NaN, with all threads: 4 bytes a cycle from memory, 64 from a
cache.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.launch import ARGUMENTS_BYTES, execute
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task

_CHUNK = 1 << 15
"""Length of the piece of an array that one task checks, in numbers."""


class FiniteArguments(Arguments):
    """Lists the arguments of a task that checks a piece of an array."""

    numbers: int
    """Address of the numbers."""
    workspace: int
    """Address of the workspace, which these tasks don't use."""
    count: int
    """Length of the array, in numbers."""
    infinite: int
    """Set to 1 by a task that finds an infinity or NaN."""


_NUMBERS, _WORKSPACE, _INFINITE = FiniteArguments.positions("numbers", "workspace", "infinite")


@task(FiniteArguments)
def _look_at_chunk(simd, args, task, thread):
    first = task * _CHUNK
    count = min(_CHUNK, args.count - first)
    if not is_finite(simd, args.numbers + simd.itemsize * first, count):
        args.infinite = 1


def all_finite(simd: Simd, numbers: np.ndarray) -> bool:
    """Return whether a contiguous array holds neither infinities nor NaN."""
    args = FiniteArguments.new(count=numbers.size)
    memory = buffers.scratch(ARGUMENTS_BYTES)
    step = _look_at_chunk(simd), -(-numbers.size // _CHUNK)
    threads = workers.threads_for(8 * numbers.size)
    execute(args, memory, (_NUMBERS,), (numbers,), (_WORKSPACE, _WORKSPACE), (0, 0), step, (0, 0), threads)
    finite = not memory[8 * _INFINITE]
    buffers.give_back(memory)
    return finite
