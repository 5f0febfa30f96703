"""These plans are for convolutions from single channels, at the speed of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastconv.backends.numba_cpu.conv.depthwise import forward, weight_grad
from fastconv.backends.numba_cpu.conv.depthwise.arguments import PlaneArguments
from fastconv.backends.numba_cpu.conv.depthwise.rows import MOST_TAPS, WIDEST, shape_of, tap_offsets, workspace_bytes
from fastconv.backends.numba_cpu.conv.depthwise.tiling import PlaneTiling, plane_tiling
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class DepthwiseConvolution(Convolution):
    """This plan is a convolution from single channels."""

    arguments = PlaneArguments
    costs_weight = True

    def __init__(self, simd: Simd, job: Job, cut: PlaneTiling) -> None:
        p = job.problem
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        thread_bytes = workspace_bytes(simd, job.source[3], p.lattice[1], *map(len, p.grid))
        super().__init__(simd, job, cut, thread_bytes, 0)
        self._offsets = tap_offsets(self.args, p)
        self.args["kernel"] = forward.convolve_kernel(simd, shape_of(p.grid, p.source_step, p.target_step))
        self._first = forward.convolve(simd), self.tasks(p, cut)
        # 960 planes of 7 x 7 have few products, but take one thread 28 us.
        self._flops = max(self._flops, round(2 * simd.lanes * cut.cycles))

    def activated(self, function: Callable[[], int]) -> DepthwiseConvolution | None:
        return self._with_activation(function)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> PlaneTiling | None:
        """Return the cheapest tiling, or None if rows or kernels are too wide, or steps too long."""
        return _tiling(simd, p, weight=False)

    @staticmethod
    def tasks(p: Problem, cut: PlaneTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.parts * cut.blocks


class DepthwiseWeightGradient(WeightGradient):
    """This plan is the weight gradient of a convolution from single channels."""

    arguments = PlaneArguments
    costs_weight = True

    def __init__(self, simd: Simd, job: Job, cut: PlaneTiling) -> None:
        p = job.problem
        thread_bytes = workspace_bytes(simd, job.source[3], p.lattice[1], *map(len, p.grid))
        super().__init__(simd, job, cut, thread_bytes)
        self._offsets = tap_offsets(self.args, p)
        self.args["kernel"] = weight_grad.correlate_kernel(simd, shape_of(p.grid, p.source_step, p.target_step))
        self._first = weight_grad.correlate(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> PlaneTiling | None:
        """Return the cheapest tiling, or None if rows or kernels are too wide, or steps too long."""
        return _tiling(simd, p, weight=True)

    @staticmethod
    def tasks(p: Problem, cut: PlaneTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.parts * cut.splits


def _tiling(simd: Simd, p: Problem, weight: bool) -> PlaneTiling | None:
    fits = p.channels == 1 and len(p.taps) <= MOST_TAPS and p.is_grid and p.lattice[1] <= WIDEST
    if not fits or max(p.target_step[1], p.source_step[1]) > 2:
        return None
    shape = shape_of(p.grid, p.source_step, p.target_step)
    return plane_tiling(simd, p.images, p.groups, p.rows, p.lattice, shape, weight=weight)
