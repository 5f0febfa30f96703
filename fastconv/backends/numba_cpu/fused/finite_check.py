"""This file tells whether an array holds infinities or NaN, with all threads: 4 bytes a cycle from memory, 64 from a
cache.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Program, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task

_CHUNK = 1 << 15
"""Length of the piece of an array that one task checks, in numbers."""


class FiniteArguments(Arguments):
    """Lists the arguments of a task that checks a piece of an array."""

    numbers: int
    """Address of the numbers."""
    count: int
    """Length of the array, in numbers."""
    infinite: int
    """Set to 1 by a task that finds an infinity or NaN."""


_NUMBERS, _INFINITE = FiniteArguments.positions("numbers", "infinite")


@task(FiniteArguments)
def _look_at_chunk(simd, args, task, thread):
    first = task * _CHUNK
    count = min(_CHUNK, args.count - first)
    if not is_finite(simd, args.numbers + simd.itemsize * first, count):
        args.infinite = 1


def all_finite(simd: Simd, numbers: np.ndarray) -> bool:
    """Return whether a contiguous array holds neither infinities nor NaN."""
    threads = workers.threads_for(8 * numbers.size)
    return _check(simd, numbers.size, threads).run((numbers,))


@lru_cache(maxsize=1024)
def _check(simd: Simd, count: int, threads: int) -> Program:
    """Return a program that looks at ``count`` numbers with at most ``threads`` threads."""
    program = ProgramBuilder()
    step = Step(_look_at_chunk(simd), -(-count // _CHUNK), threads)
    program.add(FiniteArguments.new(count=count), [(_NUMBERS, program.operand())], [step], flag=_INFINITE)
    return program.finish()
