"""This plan is a convolution of small planes from single channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fastconv.backends.numba_cpu.conv.depthwise.rows import tap_offsets
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution
from fastconv.backends.numba_cpu.conv.plan import Convolution
from fastconv.backends.numba_cpu.conv.plane_lanes import forward
from fastconv.backends.numba_cpu.conv.plane_lanes.arguments import PlaneLanesArguments
from fastconv.backends.numba_cpu.conv.plane_lanes.row import row_kernel, row_of
from fastconv.backends.numba_cpu.conv.plane_lanes.tiling import COST, PlaneLanesTiling, plane_lanes_tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class PlaneLanesConvolution(Convolution):
    """This plan is a convolution of small planes."""

    arguments = PlaneLanesArguments
    fallback = GemmConvolution
    costs_weight = True

    def __init__(self, simd: Simd, job: Job, cut: PlaneLanesTiling) -> None:
        p, row = job.problem, row_of(job.problem)
        assert row is not None
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        pixels, points = math.prod(p.size), math.prod(p.lattice)
        thread_bytes = forward.workspace_bytes(simd, pixels, points, len(p.taps), job.weight[2])
        super().__init__(simd, job, cut, thread_bytes, 0)
        self._offsets = tap_offsets(self.args, p)
        self.args["kernel"] = row_kernel(simd, row)
        self._first = forward.convolve(simd), self.tasks(p, cut)
        # As for depthwise convolutions by rows: few products may take long.
        self._flops = max(self._flops, round(2 * simd.lanes * cut.cycles))

    def activated(self, function: Callable[[], int]) -> PlaneLanesConvolution | None:
        return self._with_activation(function)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> PlaneLanesTiling | None:
        """Return the tiling, or None if planes are too large or too few, rows too long, or results parts of planes."""
        row = row_of(p)
        single = p.channels == p.rows == 1 and p.is_grid and p.target_step == (1, 1) and not p.part
        sizes = math.prod(p.size), math.prod(p.lattice)
        if row is None or not single or p.groups < simd.lanes or min(sizes) < simd.lanes:
            return None
        if 2 * row.points > simd.lanes or max(sizes) * simd.lanes * simd.itemsize > COST.most_bytes:
            return None
        return plane_lanes_tiling(simd, p, row)

    @staticmethod
    def tasks(p: Problem, cut: PlaneLanesTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.parts * cut.blocks
