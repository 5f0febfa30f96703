"""These functions split a job into parts."""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.numba_cpu.lowering import Job, split, split_by_taps
from fastconv.geometry import ConvGeometry

MOST_PARTS = 32
"""Largest number of parts of a weight gradient. Dilated kernels of 3 x 3 have at most 25; large kernels on small images
would have one for each pixel."""


def in_parts(job: Job) -> Job:
    """Return the convolution ``job`` with its parts, or unchanged if the same taps meet pixels everywhere."""
    taps = job.problem.taps
    numbers = {tap[2]: number for number, tap in enumerate(taps)}
    parts = []
    for part in split(job):
        numbered = tuple((dy, dx, numbers[place]) for dy, dx, place in part.problem.taps)
        parts.append(replace(part, problem=replace(part.problem, taps=numbered), by_taps=len(taps)))
    return replace(job, parts=tuple(parts), in_order=False, left_out=True) if len(parts) > 1 else job


def weight_in_parts(job: Job, g: ConvGeometry) -> Job:
    """Return the weight gradient ``job`` with its parts; unchanged if it has only one, or more than `MOST_PARTS`."""
    parts = split_by_taps(job)
    if not 1 < len(parts) <= MOST_PARTS:
        return job
    p = job.problem
    kernel = math.prod(g.weight_shape) // (p.groups * p.rows * p.channels)
    weight = p.channels * kernel, kernel, p.rows * p.channels * kernel
    return replace(job, parts=tuple(parts), weight=weight, left_out=True)
