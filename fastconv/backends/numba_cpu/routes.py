"""A convolution or a gradient takes one of several routes: whole, in parts, or by the column matrix.

    whole        a job for each lattice                                              (lowering.py)
    apart        jobs for parts of each lattice, so that taps are left out where they meet only padding
    in parts     a weight gradient by groups of taps, each with the pixels that they meet            (conv/tap_parts)
    by columns   the input gradient as a product and a sum                                       (conv/column_matrix)

The other routes are compared only if the first multiplies much padding, or packs the weight for many lattices: each
further comparison takes time at every new size.
"""

from __future__ import annotations

import math

from fastconv.backends.numba_cpu.conv.column_matrix.plan import column_job
from fastconv.backends.numba_cpu.conv.tap_parts.split import MOST_PARTS, weight_in_parts
from fastconv.backends.numba_cpu.conv.tap_parts.tiling import part_cycles
from fastconv.backends.numba_cpu.lowering import Job, is_dense, jobs, split
from fastconv.backends.numba_cpu.planner import Candidate, choose
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.geometry import ConvGeometry

_MUCH = 1.25
"""Ratio of a whole job's multiply-adds to those that meet a pixel, up to which it is done whole; most jobs are."""


def chosen_jobs(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None) -> tuple[list[Job], bool]:
    """Return the jobs of the cheapest route, and True if they write all of the result.

    If an ``algorithm`` is asked for, the route is whole, since all of the work is for that algorithm.
    """
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
            ways.append((parts, complete))
    if operation == "conv2d_input" and (wasteful or len(found) > 1):
        product = column_job(g, simd.itemsize)
        if product is not None:
            ways.append(([product], True))
    return min(ways, key=lambda way: _cycles(simd, way[0])) if len(ways) > 1 else ways[0]


def _flops(g: ConvGeometry) -> int:
    """Return the number of floating-point operations in multiply-adds that meet a pixel."""
    rows = _met(g.R, g.dilation[0], g.padding[0], g.stride[0], g.P, g.H)
    columns = _met(g.S, g.dilation[1], g.padding[2], g.stride[1], g.Q, g.W)
    return 2 * g.N * g.K * (g.C // g.groups) * rows * columns


def _met(kernel: int, dilation: int, before: int, stride: int, windows: int, size: int) -> int:
    """Return, along one axis, the number of pairs of a tap and a window in which the tap meets a pixel."""
    offsets = range(-before, -before + kernel * dilation, dilation)
    return sum(max(0, min(windows, -((o - size) // stride)) - max(0, -(o // stride))) for o in offsets)


def _cycles(simd: Simd, found: list[Job]) -> float:
    """Return the predicted cycles of a route's jobs, with the work besides products in which routes differ."""
    total = float(CPU.routes.job * len(found))
    for job in found:
        p = job.problem
        total += job_cycles(simd, job)
        if job.columns is not None:
            total += CPU.routes.fold * math.prod(job.target)
        elif not job.parts and not job.along_rows and not _cheapest(simd, job).kind.costs_weight:
            total += CPU.routes.pack * p.groups * p.rows * p.channels * len(p.taps)
    return total


def job_cycles(simd: Simd, job: Job) -> float:
    """Return the predicted cycles of a job's products, by the cheapest algorithm or in parts."""
    return part_cycles(simd, job) if job.parts else _cheapest(simd, job).cycles


def _cheapest(simd: Simd, job: Job) -> Candidate:
    candidate = choose(simd, job.problem, None, weight=job.along_rows)
    assert candidate is not None
    return candidate
