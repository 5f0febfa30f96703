"""Which of the ways to an input gradient is taken: by lattices (jobs.py) or by its column matrix (column_plan.py)."""

from __future__ import annotations

import math

from fastconv.backends.numba_cpu.column_plan import FOLD_CYCLES, column_job
from fastconv.backends.numba_cpu.jobs import Job, jobs
from fastconv.backends.numba_cpu.planner import choose
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry

PACK_CYCLES = 2
"""Of an element of the weight that a lattice packs: its neighbours in the panel lie a whole kernel apart."""

_MUCH = 2
"""Times the multiply-adds of the definition. Below that a single lattice needs no other way: Winograd's is shorter, and
to look at one more takes time at each new size."""


def chosen_jobs(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None) -> tuple[list[Job], bool]:
    """As `jobs`, by the cheaper way; by lattices if an ``algorithm`` is asked for, since that is what it is to do."""
    found, complete = jobs(operation, g)
    if operation != "conv2d_input" or algorithm is not None or not found or found[0].exchanged:
        return found, complete
    if len(found) == 1 and found[0].problem.flops < _MUCH * g.flops:
        return found, complete
    product = column_job(g, simd.itemsize)
    if product is None or _cycles(simd, found) <= _cycles(simd, [product]):
        return found, complete
    return [product], True


def _cycles(simd: Simd, found: list[Job]) -> float:
    """Predicted for all of them, and for what one way has beside its product and the other hasn't."""
    total = 0.0
    for job in found:
        p = job.problem
        candidate = choose(simd, p, None, weight=job.along_rows)
        assert candidate is not None
        total += candidate.cycles
        if job.columns is not None:
            total += FOLD_CYCLES * math.prod(job.target)
        elif candidate.algorithm not in ("winograd", "depthwise"):
            total += PACK_CYCLES * p.groups * p.rows * p.channels * len(p.taps)
    return total
