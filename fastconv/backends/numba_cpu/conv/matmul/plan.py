"""These plans are products of matrices that are read in place."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.numba_cpu.conv.matmul import columns, kernel
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.conv.matmul.tiling import MatrixTiling, matrix_tiling, matrix_weight_tiling
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class MatrixConvolution(Convolution):
    """This plan is a product of the weight by the pixels: those of each image in place, or all of them gathered."""

    arguments = MatrixArguments

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        if not cut.piece:
            super().__init__(simd, job, cut, 0, 0)
            self._set({"row_step": job.weight[0], "depth_step": job.weight[1]})
            self._first = kernel.convolve(simd), self.tasks(p, cut)
        else:
            depth, panels = p.channels * len(p.taps), -(-p.rows // cut.tile_rows)
            steps = _weight_steps(job) or (1, cut.tile_rows)
            packed = 0 if _weight_steps(job) else p.groups * panels
            before = packed * cut.tile_rows * depth * simd.itemsize
            own = columns.workspace_bytes(simd, cut.tile_rows, cut.tile_vectors)
            super().__init__(simd, job, cut, own, before + p.groups * depth * cut.width * simd.itemsize)
            self._set({"row_step": steps[0], "depth_step": steps[1], "pack_tasks": packed, "columns": before})
            self.args["panel_step"] = cut.tile_rows * (depth if packed else steps[0])
            self._first = columns.prepare(simd), packed + p.groups * -(-p.channels // cut.piece)
            self._second = columns.multiply_columns(simd), self.tasks(p, cut)
        self._kernels = _kernels(self.args, simd, cut, p.rows)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> MatrixTiling | None:
        """Return the cheapest tiling, or None if the pixels must be gathered and take too much memory."""
        return matrix_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: MatrixTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return (1 if cut.piece else p.images) * p.groups * cut.blocks * cut.panel_blocks


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


def _weight_steps(job: Job) -> tuple[int, int] | None:
    """Return the distances between rows and steps of the weight if it can be read in place, else None.

    A single tap that reads padding needs the weight packed: only then is it searched for infinite numbers.
    """
    p = job.problem
    if job.in_order and job.weight[1] == len(p.taps):
        return job.weight[0], 1
    if len(p.taps) > 1:
        return None
    ends = zip(p.taps[0], p.lattice, p.source_step, p.size, strict=False)
    inside = all(tap >= 0 and tap + (points - 1) * step < size for tap, points, step, size in ends)
    return job.weight[:2] if inside else None


def _kernels(args: np.ndarray, simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Put a table of four kernels into the arguments: for whole tiles, fewer columns, fewer rows, and fewer of both."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    rest = cut.columns % (cut.tile_vectors * simd.lanes) or cut.tile_vectors * simd.lanes
    widths = (cut.tile_vectors, True), (-(-rest // simd.lanes), rest % simd.lanes == 0)
    kernels = np.array([kernel.kernel(simd, height, *width) for height in heights for width in widths], np.int64)
    args["kernel"] = kernels.ctypes.data
    return kernels
