"""These functions make short programs: those that one thread runs in some microseconds, the lock of Python held.

To let the lock go and take it again costs little, but a program that other threads may run at the same time needs
memory of its own, and a thread that waits for the lock may wait for milliseconds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.calls.record import WORKSPACE_BYTES
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.pooling.plan import average_backward, forward, max_backward
from fastconv.backends.numba_cpu.pooling.windows.state import PLACES
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.program import Operation, Program, ProgramBuilder
from fastconv.backends.numba_cpu.runtime.thread_pool import is_short
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.short import ABSENT, INDICES, RESULT, Short
from fastconv.geometry import ConvGeometry, PoolGeometry

_POOLED_BYTES = 96 << 10
"""Size limit of a short pooling's input and result, in bytes: it takes up to 10 us. Indices count as a result."""


def convolution(plans: list[Any], jobs: list[Job], g: ConvGeometry, dtype: np.dtype, biased: bool) -> Short | None:
    """Return the short program of a forward pass, given its plans; None if it has none."""
    if not is_short(g.flops) or jobs[0].left_out or (jobs[0].exchanged and biased):
        return None
    builder = ProgramBuilder()
    operands: tuple[Any, ...] = 1, 0, RESULT
    if jobs[0].exchanged:
        plans[0].record(builder, *[builder.operand() for _ in operands])
    else:
        operands = 0, 1, 2 if biased else ABSENT, RESULT
        places = [builder.operand() for _ in operands]
        for each in plans:
            each.record(builder, *places)
    return _short(builder.finish(), operands, g.output_shape, dtype)


def input_gradient(found: tuple[list[Any], list[Job], bool], g: ConvGeometry, dtype: np.dtype) -> Short | None:
    """Return the short program of an input gradient, whose call has gradient and weight first; None if it has none."""
    plans, jobs, complete = found
    if not complete or not is_short(g.flops):
        return None
    builder = ProgramBuilder()
    grad, weight, target = (builder.operand() for _ in range(3))
    for plan, job in zip(plans, jobs, strict=True):
        # As a convolution it multiplies an infinite weight by zeros beyond the gradient's edges: watched.
        plan.record(builder, *((weight, grad) if job.exchanged else (grad, weight)), None, target, watch=True)
    return _short(builder.finish(), (0, 1, RESULT), g.input_shape, dtype)


def weight_gradient(plans: list[Any], jobs: list[Job], g: ConvGeometry, dtype: np.dtype) -> Short | None:
    """Return the short program of a weight gradient, whose call has input and gradient first; None if it has none."""
    (plan,), (job,) = plans, jobs
    if job.left_out or job.parts or not is_short(g.flops):
        return None
    builder = ProgramBuilder()
    image, grad, target = (builder.operand() for _ in range(3))
    if job.along_rows:
        plan.record(builder, image, grad, target)
    else:
        plan.record(builder, image, grad, None, target)
    return _short(builder.finish(), (0, 1, RESULT), g.weight_shape, dtype)


def pooling(simd: Simd, g: PoolGeometry, kind: str) -> Short | None:
    """Return the short program of a pooling; None if it has none."""
    indexed = kind == PLACES
    if g.dilation != (1, 1) or not _is_small(simd, g, indexed):
        return None
    operation: Operation = forward(simd, g, kind)
    builder = ProgramBuilder()
    places = builder.operand(), builder.operand(), builder.operand() if indexed else None
    operation.record(builder, *places, watch=True)
    return _short(builder.finish(), (0, RESULT, INDICES)[: 2 + indexed], g.output_shape, np.dtype(simd.dtype))


def average_gradient(simd: Simd, g: PoolGeometry) -> Short | None:
    """Return the short program of an average pooling's gradient; None if it has none."""
    if not _is_small(simd, g):
        return None
    operation, divisors = average_backward(simd, g)
    if divisors is not None:  # NumPy divides the gradient first
        return None
    builder = ProgramBuilder()
    operation.record(builder, builder.operand(), builder.operand(), None, watch=True)
    return _short(builder.finish(), (RESULT, 0), g.input_shape, np.dtype(simd.dtype))


def max_gradient(simd: Simd, g: PoolGeometry) -> Short | None:
    """Return the short program of a max pooling's gradient, whose call has gradient and indices first, or None."""
    if not _is_small(simd, g, indexed=True):
        return None
    builder = ProgramBuilder()
    target, grad, indices = (builder.operand() for _ in range(3))
    max_backward(simd, g.N * g.C, (g.H, g.W), (g.P, g.Q)).record(builder, target, grad, indices, watch=True)
    return _short(builder.finish(), (RESULT, 0, 1), g.input_shape, np.dtype(simd.dtype))


def _is_small(simd: Simd, g: PoolGeometry, indexed: bool = False) -> bool:
    """Return True for a pooling that takes some microseconds, and has something to do."""
    indices = 8 * math.prod(g.output_shape) if indexed else 0
    return g.N != 0 and g.bytes(simd.itemsize) + indices <= _POOLED_BYTES


def planned(program: Program, operands: tuple[Any, ...], g: ConvGeometry, dtype: np.dtype) -> Short | None:
    """Return the program of a planned convolution as a short one, if it is."""
    return _short(program, operands, g.output_shape, dtype) if is_short(g.flops) else None


def _short(program: Program, operands: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype) -> Short | None:
    fits = program.helpers == 0 and program.memory <= WORKSPACE_BYTES
    return Short(program, operands) if fits and math.prod(shape) * dtype.itemsize < buffers.SMALLEST else None
