"""This function splits a weight gradient into parts."""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.numba_cpu.lowering import Job, split_by_taps
from fastconv.geometry import ConvGeometry

MOST_PARTS = 32
"""Largest number of parts of a weight gradient. Dilated kernels of 3 x 3 have at most 25; large kernels on small images
would have one for each pixel."""


def weight_in_parts(job: Job, g: ConvGeometry) -> Job:
    """Return the weight gradient ``job`` with its parts; unchanged if it has only one, or more than `MOST_PARTS`."""
    parts = split_by_taps(job)
    if not 1 < len(parts) <= MOST_PARTS:
        return job
    p = job.problem
    kernel = math.prod(g.weight_shape) // (p.groups * p.rows * p.channels)
    weight = p.channels * kernel, kernel, p.rows * p.channels * kernel
    return replace(job, parts=tuple(parts), weight=weight, left_out=True)
