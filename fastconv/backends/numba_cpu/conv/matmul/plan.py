"""These plans are products of matrices that are read in place."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.numba_cpu.conv.matmul import kernel
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.conv.matmul.tiling import MatrixTiling, matrix_tiling, matrix_weight_tiling
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class MatrixConvolution(Convolution):
    """This plan is a 1 x 1 convolution, or a dense layer, as a product of the weight by the pixels."""

    arguments = MatrixArguments

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        super().__init__(simd, job, cut, 0, 0)
        self.args["row_step"], self.args["depth_step"], _ = job.weight
        self._kernels = _kernels(self.args, simd, cut, p.rows)
        self._first = kernel.convolve(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> MatrixTiling | None:
        """Return the cheapest tiling, or None if a tap reads another place than the output pixel's."""
        return matrix_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: MatrixTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return p.images * p.groups * cut.blocks * cut.panel_blocks


class MatrixWeightGradient(WeightGradient):
    """This plan is a weight gradient as a product of two matrices; the source is transposed first."""

    arguments = MatrixArguments

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        pixels = math.prod(p.lattice)
        super().__init__(simd, job, cut, 0)
        self._share(pixels * cut.width * simd.itemsize, "transposed")
        self.args["pixels"] = self.args["row_step"] = pixels
        self.args["depth_step"] = 1
        self._kernels = _kernels(self.args, simd, cut, p.rows)
        self._first = kernel.transpose_block(simd), -(-pixels // simd.lanes)
        self._second = kernel.correlate(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> MatrixTiling | None:
        """Return the cheapest tiling, or None if a tap reads another place than the output pixel's."""
        return matrix_weight_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: MatrixTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return cut.blocks * cut.panel_blocks


def _kernels(args: np.ndarray, simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Put a table of four kernels into the arguments: for whole tiles, fewer columns, fewer rows, and fewer of both."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    rest = cut.columns % (cut.tile_vectors * simd.lanes) or cut.tile_vectors * simd.lanes
    widths = (cut.tile_vectors, True), (-(-rest // simd.lanes), rest % simd.lanes == 0)
    kernels = np.array([kernel.kernel(simd, height, *width) for height in heights for width in widths], np.int64)
    args["kernel"] = kernels.ctypes.data
    return kernels
