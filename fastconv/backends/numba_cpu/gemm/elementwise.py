"""These are elementwise passes between the jobs of a program: fill with 0, add a bias to each column, search for NaN.

They are for arrays that are small compared with a convolution, so a single task does each pass.
"""

from __future__ import annotations

import math
from functools import lru_cache

from fastconv.backends.numba_cpu.gemm.arguments import NO_LIMITS, limits_of
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    broadcast,
    clamp,
    lanes_between,
    load_scalar,
    load_where,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task


class ElementwiseArguments(Arguments):
    """These arguments describe a row-major matrix, which may be a single row."""

    source: int
    """Address of the numbers that are read."""
    target: int
    """Address of the numbers that are written."""
    bias: int
    """Address of one number for each column, or 0 for no bias."""
    limits: int
    """Address of four numbers, as in `ConvArguments`."""
    rows: int
    columns: int
    infinite: int
    """The task sets this to 1 if it finds a NaN."""


_new = lru_cache(maxsize=4096)(ElementwiseArguments.new)
_SOURCE, _TARGET, _BIAS, _INFINITE = ElementwiseArguments.positions("source", "target", "bias", "infinite")


@task(ElementwiseArguments)
def _clear(simd, args, task, thread):
    target, count = args.target, args.columns
    for i in range(0, count, simd.lanes):
        store_where(simd, target, i, lanes_between(simd, 0, count - i), zeros(simd))


@task(ElementwiseArguments)
def _add_bias(simd, args, task, thread):
    target, bias, limits = args.target, args.bias, args.limits
    rows, columns = args.rows, args.columns
    lowest, highest = (broadcast(simd, load_scalar(simd, limits, 2)), broadcast(simd, load_scalar(simd, limits, 3)))
    for first in range(0, columns, simd.lanes):
        there = lanes_between(simd, 0, columns - first)
        more = zeros(simd)
        if bias != 0:
            more = load_where(simd, bias, first, there, more)
        for row in range(rows):
            value = add(simd, load_where(simd, target, row * columns + first, there, zeros(simd)), more)
            store_where(simd, target, row * columns + first, there, clamp(simd, value, lowest, highest))


@task(ElementwiseArguments)
def _look(simd, args, task, thread):
    source = args.source
    for i in range(args.columns):
        if math.isnan(load_scalar(simd, source, i)):
            args.infinite = 1


def record_clear(program: ProgramBuilder, simd: Simd, target: Place, count: int) -> None:
    """Record a step of a program that fills ``count`` numbers with 0."""
    program.add(_new(rows=1, columns=count), [(_TARGET, target)], [Step(_clear(simd), 1, 1)])


def record_bias(
    program: ProgramBuilder,
    simd: Simd,
    target: Place,
    bias: Place | None,
    shape: tuple[int, int],
    limits: tuple[float, float] = NO_LIMITS,
) -> None:
    """Record a step of a program that adds ``bias`` to each row of a matrix, and clamps the results to ``limits``."""
    rows, columns = shape
    args = _new(rows=rows, columns=columns, limits=limits_of(simd, limits).ctypes.data)
    program.add(args, [(_TARGET, target), (_BIAS, bias)], [Step(_add_bias(simd), 1, 1)])


def record_look(program: ProgramBuilder, simd: Simd, source: Place, count: int) -> None:
    """Record a step of a program that sets the program's flag if one of ``count`` numbers is NaN."""
    program.add(_new(rows=1, columns=count), [(_SOURCE, source)], [Step(_look(simd), 1, 1)], flag=_INFINITE)
