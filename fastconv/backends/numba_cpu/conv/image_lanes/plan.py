"""These plans have images in the lanes of vectors."""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.conv.image_lanes import forward, weight_grad
from fastconv.backends.numba_cpu.conv.image_lanes.arguments import BatchArguments
from fastconv.backends.numba_cpu.conv.image_lanes.tiling import BatchTiling, batch_tiling, batch_weight_tiling
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution, GemmWeightGradient
from fastconv.backends.numba_cpu.conv.job_arguments import extent, panel_bytes
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class BatchConvolution(Convolution):
    """This plan convolves as many images at once as a vector has lanes.

    It leaves out the zeros outside the image. An infinite weight times such a zero is NaN, so the fallback computes
    these cases.
    """

    arguments = BatchArguments
    fallback = GemmConvolution
    packs = True
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: BatchTiling) -> None:
        p = job.problem
        tiles = -(-p.lattice[1] // cut.tile_vectors)
        points = cut.block_rows * tiles * cut.tile_vectors
        thread_bytes = forward.workspace_bytes(
            simd, cut.steps, cut.channel, cut.tile_rows, cut.block_panels, points, len(p.taps)
        )
        super().__init__(simd, job, cut, thread_bytes, panel_bytes(simd, p, cut))
        self._set(extent(p))
        self.args["kernel"] = micro_kernel.by_taps(simd, cut.tile_rows, cut.tile_vectors)
        self._first = forward.pack_weight(simd), p.groups * cut.panels
        self._second = forward.convolve(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> BatchTiling | None:
        """Return the cheapest tiling, or None if the rows under a kernel take too much memory."""
        return batch_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: BatchTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.batches * p.groups * cut.blocks * cut.panel_blocks


class BatchWeightGradient(WeightGradient):
    """This plan is a weight gradient whose lanes are added up at the end.

    It leaves out the zeros in the padding. An infinite gradient times such a zero is NaN, so the fallback computes
    these cases.
    """

    arguments = BatchArguments
    fallback = GemmWeightGradient
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: BatchTiling) -> None:
        p = job.problem
        rows = cut.block_panels * cut.tile_rows
        thread_bytes = weight_grad.workspace_bytes(simd, p.channels, cut.channel, rows, cut.block_rows * p.lattice[1])
        super().__init__(simd, job, cut, thread_bytes)
        self._set(extent(p))
        tap_rows, tap_columns = p.grid
        in_row = len(tap_columns) * p.channels
        columns = []
        for r, dy in enumerate(tap_rows):
            for s, dx in enumerate(tap_columns):
                for c in range(p.channels):
                    begin = c * cut.channel + (dy * cut.plane_w + dx - tap_columns[0]) * simd.lanes
                    place = (c * len(tap_rows) + r) * len(tap_columns) + s
                    columns.append((begin, place, dy, dx, in_row - s * p.channels - c))
        self._columns = np.array(columns, np.int64)
        self.args["columns"] = self._columns.ctypes.data
        heights = cut.tile_rows, p.rows % cut.tile_rows or cut.tile_rows
        widths = {cut.tile_vectors, in_row % cut.tile_vectors or cut.tile_vectors}
        self._kernels = np.zeros((2, cut.tile_vectors), np.int64)
        for which, height in enumerate(heights):
            for width in widths:
                self._kernels[which, width - 1] = weight_grad.kernel(simd, height, width)
        self.args["kernel"] = self._kernels.ctypes.data
        self._first = weight_grad.accumulate(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> BatchTiling | None:
        """Return the cheapest tiling, or None if the rows under a kernel take too much memory."""
        return batch_weight_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: BatchTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.splits * p.groups * cut.panel_blocks
