"""Which of several ways a convolution or an adjoint goes: whole, in parts, or by the column matrix.

    whole        a job for each lattice                                              (jobs.py)
    apart        jobs for parts of each lattice, so that taps are left out where they meet nothing
    in parts     the same with one packed weight for them all, and adjoints for the weight by taps   (tap_parts.py)
    by columns   the input gradient as a product and a sum                           (column_plan.py)

The other ways are looked at only where the whole way multiplies much more than there is, or packs the weight in many
steps: to look at one more takes time at each new size.
"""

from __future__ import annotations

import math

from fastconv.backends.numba_cpu.column_plan import FOLD_CYCLES, column_job
from fastconv.backends.numba_cpu.jobs import Job, is_dense, jobs, split
from fastconv.backends.numba_cpu.planner import Candidate, choose
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tap_parts import MOST_PARTS, PACK_CYCLES, in_parts, part_cycles, weight_in_parts
from fastconv.geometry import ConvGeometry

JOB_CYCLES = 20_000
"""Cycles of a job: a call into compiled code, helpers that come and go, 5 us."""

_MUCH = 1.25
"""Times the multiply-adds that meet a pixel. Below that a convolution is done whole; most of them are."""


def chosen_jobs(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None) -> tuple[list[Job], bool]:
    """As `jobs`, by the cheapest way; whole if an ``algorithm`` is asked for, since that is what it is to do."""
    found, complete = jobs(operation, g)
    if algorithm is not None or not found or is_dense(g):
        return found, complete
    ways = [(found, complete)]
    wasteful = sum(job.problem.flops for job in found) > _MUCH * _flops(g)
    if wasteful and operation == "conv2d_weight":
        ways.append(([weight_in_parts(found[0], g)], complete))
    elif wasteful:
        parts = [part for job in found for part in split(job)]
        if len(parts) <= MOST_PARTS:
            ways += [(parts, complete), ([in_parts(job) for job in found], complete)]
    if operation == "conv2d_input" and (wasteful or len(found) > 1):
        product = column_job(g, simd.itemsize)
        if product is not None:
            ways.append(([product], True))
    return min(ways, key=lambda way: _cycles(simd, way[0])) if len(ways) > 1 else ways[0]


def _flops(g: ConvGeometry) -> int:
    """Returns the floating-point operations of the multiply-adds that meet a pixel."""
    rows = _met(g.R, g.dilation[0], g.padding[0], g.stride[0], g.P, g.H)
    columns = _met(g.S, g.dilation[1], g.padding[2], g.stride[1], g.Q, g.W)
    return 2 * g.N * g.K * (g.C // g.groups) * rows * columns


def _met(kernel: int, dilation: int, before: int, stride: int, windows: int, size: int) -> int:
    """Along one axis, the pairs of a tap and a window in which the tap meets a pixel."""
    offsets = range(-before, -before + kernel * dilation, dilation)
    return sum(max(0, min(windows, -((o - size) // stride)) - max(0, -(o // stride))) for o in offsets)


def _cycles(simd: Simd, found: list[Job]) -> float:
    """Predicted for all of them, and for what one way has beside its product and the other hasn't."""
    total = float(JOB_CYCLES * len(found))
    for job in found:
        p = job.problem
        total += job_cycles(simd, job)
        if job.columns is not None:
            total += FOLD_CYCLES * math.prod(job.target)
        elif not job.parts and not job.along_rows and _cheapest(simd, job).algorithm not in ("winograd", "depthwise"):
            total += PACK_CYCLES * p.groups * p.rows * p.channels * len(p.taps)
    return total


def job_cycles(simd: Simd, job: Job) -> float:
    """Predicted for the products of a job, by the cheapest algorithm or in parts."""
    return part_cycles(simd, job) if job.parts else _cheapest(simd, job).cycles


def _cheapest(simd: Simd, job: Job) -> Candidate:
    candidate = choose(simd, job.problem, None, weight=job.along_rows)
    assert candidate is not None
    return candidate
