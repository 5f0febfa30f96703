"""These functions choose the tilings of a job's parts and predict their cost; see also gemm/tiling.py."""

from __future__ import annotations

from dataclasses import replace

from fastconv.backends.numba_cpu.gemm.tiling import Tiling, gather_cycles, weight_tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, ceil


def part_tilings(simd: Simd, job: Job) -> list[Tiling]:
    """Return the parts' tilings."""
    flops = sum(part.problem.flops for part in job.parts)

    def cut(part: Job) -> Tiling:
        p, taps = part.problem, len(part.problem.taps)
        row = p.lattice[1], p.source_step[1]
        tasks = ceil(TASKS * p.flops, flops)
        found = weight_tiling(simd, p.groups, p.rows, p.channels * taps, p.points, row, taps, tasks)
        # The gradient is gathered too.
        vectors = p.groups * p.rows * found.blocks * ceil(p.points, simd.lanes)
        return replace(found, cycles=found.cycles + vectors * gather_cycles(simd, p.lattice[1], p.rows, 1))

    return [cut(part) for part in job.parts]


def part_tasks(job: Job, cuts: list[Tiling]) -> int:
    """Return the number of tasks of all parts together."""
    parts = zip(job.parts, cuts, strict=True)
    return sum(part.problem.groups * cut.blocks * cut.panel_blocks * cut.splits for part, cut in parts)


def part_cycles(simd: Simd, job: Job) -> float:
    """Return the predicted cycles of all parts of a job, and of the step that they share."""
    p = job.problem
    return CPU.routes.place * p.groups * p.rows * p.channels * len(p.taps) + sum(
        cut.cycles for cut in part_tilings(simd, job)
    )
