"""These plans use a blocked matrix product: the algorithm that can do every convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastconv.backends.numba_cpu.conv.implicit_gemm import forward, weight_grad
from fastconv.backends.numba_cpu.conv.job_arguments import panel_bytes
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.gemm import micro_kernel, packing
from fastconv.backends.numba_cpu.gemm.tiling import Tiling, tiling, weight_tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class GemmConvolution(Convolution):
    """This plan computes a convolution as a product of the weight's panels and gathered pixels."""

    packs = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = forward.workspace_bytes(simd, cut.split_steps, cut.block_tiles, *shape)
        super().__init__(simd, job, cut, thread_bytes, panel_bytes(simd, p, cut))
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = packing.pack_weight(simd), p.groups * cut.panels
        self._second = forward.multiply(simd), self.tasks(p, cut)

    def adding(self) -> GemmConvolution:
        return self._with_residual()

    def activated(self, function: Callable[[], int]) -> GemmConvolution | None:
        return self._with_activation(function)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling:
        """Return the cheapest tiling of a problem; there always is one."""
        taps = len(p.taps)
        row, apart = (p.lattice[1], p.source_step[1]), p.target_step != (1, 1)
        found = tiling(simd, p.groups, p.rows, p.points, p.channels * taps, row, taps, apart=apart)
        return replace(found, cycles=found.cycles - found.pack) if p.kept else found

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """Return the number of tasks; see `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks


class GemmWeightGradient(WeightGradient):
    """This plan computes a weight gradient as a product whose reduction runs over the pixels."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = weight_grad.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, thread_bytes)
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = weight_grad.multiply(simd), self.tasks(job.problem, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling:
        """Return the cheapest tiling of a problem; there always is one."""
        taps = len(p.taps)
        return weight_tiling(
            simd, p.groups, p.rows, p.channels * taps, p.points, (p.lattice[1], p.source_step[1]), taps
        )

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """Return the number of tasks; see `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks * cut.splits
