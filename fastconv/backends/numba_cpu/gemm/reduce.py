"""Parts of a reduction added up: a long sum that several tasks did a stretch of each, first part to last."""

from __future__ import annotations

from functools import cache

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu.gemm import fields as F
from fastconv.backends.numba_cpu.simd import Simd, load_integer, load_scalar, store_scalar

_CHUNK = 4096


@inner
def _add_parts(simd, frame, task):
    """Numbers task * `_CHUNK` and on of the result: the sum of the parts, first to last."""
    whole = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS)
    whole *= load_integer(frame, F.DEPTH) * load_integer(frame, F.TAP_COUNT)
    parts, target = load_integer(frame, F.PARTIAL), load_integer(frame, F.TARGET)
    for i in range(task * _CHUNK, min(whole, (task + 1) * _CHUNK)):
        total = load_scalar(simd, parts, i)
        for split in range(1, load_integer(frame, F.SPLITS)):
            total += load_scalar(simd, parts, split * whole + i)
        store_scalar(simd, target, i, total)


def add_tasks(numbers: int) -> int:
    """How many tasks add the parts of a result of so many numbers."""
    return -(-numbers // _CHUNK)


@cache
def add_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that adds the parts."""

    def add_parts(frame, task, slot):
        _add_parts(simd, frame, task)

    return address_of(add_parts, 3)
