"""Passes over numbers between the jobs of a program: clearing, a bias for each column, a look for NaN, parts added up.

They are for what is small beside a convolution, so one task does it all.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fastconv.backends.jit import address_of, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import weight_gemm
from fastconv.backends.numba_cpu.program import Place, Recorder, Step
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    lanes_between,
    load_integer,
    load_scalar,
    load_where,
    not_below,
    store_integer,
    store_where,
    zeros,
)


@lru_cache(maxsize=4096)
def _frame(rows: int, columns: int, parts: int = 0) -> np.ndarray:
    frame = np.zeros(F.COUNT, np.int64)
    frame[F.GROUPS] = frame[F.DEPTH] = frame[F.TAP_COUNT] = 1
    frame[F.ROWS], frame[F.J], frame[F.SPLITS] = rows, columns, parts
    return frame


@once
def _clear_task(simd: Simd) -> int:
    def clear(frame, task, slot):
        target, count = load_integer(frame, F.TARGET), load_integer(frame, F.J)
        for i in range(0, count, simd.lanes):
            store_where(simd, target, i, lanes_between(simd, 0, count - i), zeros(simd))

    return address_of(clear, 3)


@once
def _bias_task(simd: Simd, relu: bool) -> int:
    def add_bias(frame, task, slot):
        target, bias = load_integer(frame, F.TARGET), load_integer(frame, F.BIAS)
        rows, columns = load_integer(frame, F.ROWS), load_integer(frame, F.J)
        for first in range(0, columns, simd.lanes):
            there = lanes_between(simd, 0, columns - first)
            more = zeros(simd)
            if bias != 0:
                more = load_where(simd, bias, first, there, more)
            for row in range(rows):
                value = add(simd, load_where(simd, target, row * columns + first, there, zeros(simd)), more)
                if relu:
                    value = not_below(simd, value, zeros(simd))
                store_where(simd, target, row * columns + first, there, value)

    return address_of(add_bias, 3)


@once
def _look_task(simd: Simd) -> int:
    def look(frame, task, slot):
        source = load_integer(frame, F.SOURCE)
        for i in range(load_integer(frame, F.J)):
            if math.isnan(load_scalar(simd, source, i)):
                store_integer(frame, F.INFINITE, 1)

    return address_of(look, 3)


def record_clear(program: Recorder, simd: Simd, target: Place, count: int) -> None:
    """Let a program put 0 into so many numbers."""
    program.add(_frame(1, count), [(F.TARGET, target)], [Step(_clear_task(simd), 1, 1)])


def record_bias(
    program: Recorder, simd: Simd, target: Place, bias: Place | None, shape: tuple[int, int], relu: bool
) -> None:
    """Let a program add ``bias`` to each row of a matrix, and then raise what is below 0 if it is for a ReLU."""
    places = [(F.TARGET, target), (F.BIAS, bias)]
    program.add(_frame(*shape), places, [Step(_bias_task(simd, relu), 1, 1)])


def record_look(program: Recorder, simd: Simd, source: Place, count: int) -> None:
    """Let a program's flag go up where there is NaN among so many numbers."""
    program.add(_frame(1, count), [(F.SOURCE, source)], [Step(_look_task(simd), 1, 1)], flag=F.INFINITE)


def record_total(program: Recorder, simd: Simd, parts: Place, target: Place, count: int, number: int) -> None:
    """Let a program add up ``number`` parts of ``count`` numbers each, the first to the last."""
    step = Step(weight_gemm.add_task(simd), weight_gemm.add_tasks(count), 1)
    program.add(_frame(count, 0, number), [(F.PARTIAL, parts), (F.TARGET, target)], [step])
