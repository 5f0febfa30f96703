"""These plans need fewer multiplications: F(2 x 2, 3 x 3) on 4 x 4 pixels, larger kernels in pieces of 3 x 3."""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution, GemmWeightGradient
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.conv.winograd import forward, kernels, weight_grad
from fastconv.backends.numba_cpu.conv.winograd.arguments import WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.tiling import winograd_tiling, winograd_weight_tiling
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class WinogradConvolution(Convolution):
    """This plan is a convolution of transformed patches.

    An infinite number, or one that overflows, spreads over its patch. So does the rounding error of a pixel, which must
    not show under a row or column of taps that are all 0, as in a causal kernel. The fallback computes these cases.
    """

    arguments = WinogradArguments
    fallback = GemmConvolution
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        # The kernels read taps by rows and columns; those of an input gradient come in reverse order.
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        thread_bytes = forward.workspace_bytes(
            simd, cut.steps, cut.tile_rows, cut.block_panels, cut.tile_vectors, len(p.taps)
        )
        pieces = math.prod(p.pieces or ())
        numbers = p.groups * kernels.weight_numbers(simd, cut.panels, cut.tile_rows, p.channels, pieces)
        super().__init__(simd, job, cut, thread_bytes, numbers * simd.itemsize)
        self.args["first_y"], self.args["first_x"] = p.first
        self.args["tap_rows"], self.args["tap_columns"] = map(len, p.grid)
        self.args["kernel"] = micro_kernel.packed(simd, cut.tile_rows, cut.tile_vectors)
        self._first = kernels.transform_weight(simd), p.groups * cut.panels
        self._second = forward.multiply(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling | None:
        """Return the cheapest tiling, or None if lattice points or taps aren't all neighbours."""
        if p.pieces is None:
            return None
        return winograd_tiling(simd, p.images, p.groups, p.rows, p.channels, p.lattice, math.prod(p.pieces))

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks


class WinogradWeightGradient(WeightGradient):
    """This plan is a weight gradient of transformed patches.

    An infinite number, or one that overflows, spreads over all taps: the fallback computes these cases.
    """

    arguments = WinogradArguments
    fallback = GemmWeightGradient
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = weight_grad.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, thread_bytes)
        p = job.problem
        self.args["first_y"], self.args["first_x"] = p.first
        self.args["tap_rows"], self.args["tap_columns"] = map(len, p.grid)
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = weight_grad.multiply(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Tiling | None:
        """Return the cheapest tiling, or None if lattice points or taps aren't all neighbours."""
        if p.pieces is None:
            return None
        pieces = math.prod(p.pieces)
        return winograd_weight_tiling(simd, p.images, p.groups, p.rows, p.channels, p.lattice, pieces, len(p.taps))

    @staticmethod
    def tasks(p: Problem, cut: Tiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return p.groups * cut.blocks * cut.panel_blocks * cut.splits * math.prod(p.pieces or ())
