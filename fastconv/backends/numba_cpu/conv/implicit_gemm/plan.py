"""Plans by a blocked matrix product: the algorithm for any convolution."""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.implicit_gemm import forward, weight_grad
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient, panel_bytes
from fastconv.backends.numba_cpu.gemm import micro_kernel, packing
from fastconv.backends.numba_cpu.gemm.tiling import Tiling, tiling, weight_tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class GemmConvolution(Convolution):
    """A convolution as a product of the weight's panels by gathered pixels."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = forward.workspace_bytes(simd, cut.steps, cut.block_tiles, *shape)
        super().__init__(simd, job, cut, thread_bytes, panel_bytes(simd, p, cut))
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = packing.pack_weight(simd), p.groups * cut.panels
        self._second = forward.multiply(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling:
        """As `Plan.tiling`; there is always one."""
        taps = len(p.taps)
        return tiling(simd, p.groups, p.rows, p.points, p.channels * taps, p.lattice[1], taps)

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """As `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks


class GemmWeightGradient(WeightGradient):
    """A weight gradient as a product along the pixels."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = weight_grad.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, thread_bytes)
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = weight_grad.multiply(simd), self.tasks(job.problem, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling:
        """As `Plan.tiling`; there is always one."""
        taps = len(p.taps)
        return weight_tiling(simd, p.groups, p.rows, p.channels * taps, p.points, p.lattice[1], taps)

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """As `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks * cut.splits
