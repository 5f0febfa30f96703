"""A look at an array for infinite numbers and NaN, by all threads: 4 bytes a cycle from memory, 64 from a cache."""

from __future__ import annotations

import numpy as np

from fastconv.backends.jit import address_of, once
from fastconv.backends.numba_cpu import buffers
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.panels import is_finite
from fastconv.backends.numba_cpu.simd import Simd, load_integer, store_integer

_CHUNK = 1 << 15
"""Numbers that a task looks at."""


@once
def _look_task(simd: Simd) -> int:
    def look_at_chunk(frame, task, slot):
        first = task * _CHUNK
        count = min(_CHUNK, load_integer(frame, F.J) - first)
        if not is_finite(simd, load_integer(frame, F.SOURCE) + simd.itemsize * first, count):
            store_integer(frame, F.INFINITE, 1)

    return address_of(look_at_chunk, 3)


def all_finite(simd: Simd, numbers: np.ndarray) -> bool:
    """Whether a contiguous array has neither infinite numbers nor NaN."""
    template = np.zeros(F.COUNT, np.int64)
    template[F.J] = numbers.size
    memory = buffers.scratch(FRAME_BYTES)
    step = _look_task(simd), -(-numbers.size // _CHUNK)
    threads = workers.threads_for(8 * numbers.size)
    execute(template, memory, (F.SOURCE,), (numbers,), (F.PANELS, F.WORKSPACE), (0, 0), step, (0, 0), threads)
    finite = not memory[8 * F.INFINITE]
    buffers.give_back(memory)
    return finite
