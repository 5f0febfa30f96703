"""These plans are products of matrices that are read in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastconv.backends.numba_cpu.conv.direct import weight_grad as correlate
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmWeightGradient
from fastconv.backends.numba_cpu.conv.matmul import kernel, product, weight_grad
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.conv.matmul.tiling import LAST_ROWS, MatrixTiling, is_product, matrix_tiling
from fastconv.backends.numba_cpu.conv.matmul.weight_tiling import WeightTiling, matrix_weight_tiling
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import LARGE_BYTES

COST = CPU.matmul


class MatrixConvolution(Convolution):
    """This plan is a product of the weight by the pixels: those of each image in place, or all of them gathered."""

    arguments = MatrixArguments

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        depth, panels = p.channels * len(p.taps), p.groups * -(-p.rows // cut.tile_rows)
        steps = None if cut.pack else _weight_steps(job)
        packed = panels if steps is None else 0
        row_step, depth_step = steps or (1, cut.tile_rows)
        alone = int(cut.alone and packed == 0 and depth_step == 1)
        before = packed * cut.tile_rows * depth * simd.itemsize
        gathered = p.groups * depth * cut.width * simd.itemsize if cut.piece else 0
        super().__init__(simd, job, cut, product.workspace_bytes(simd, cut, depth), before + gathered)
        values = {"row_step": row_step, "depth_step": depth_step, "pack_tasks": packed, "columns": before}
        self._set(values | {"panel_step": cut.tile_rows * (depth if packed else row_step)})
        large = max(depth, p.rows) * cut.columns * simd.itemsize > LARGE_BYTES
        self._set({"columns_first": int(large)})
        block = (cut.split_steps or cut.steps) * cut.block_tiles * cut.tile_vectors * simd.lanes * simd.itemsize
        by_rows = int(block <= COST.block_bytes and not alone)
        self._set({"alone": alone, "points": cut.columns - alone, "by_rows": by_rows})
        if cut.columns > alone:
            self._kernels = _kernels(self.args, simd, kernel.kernel, replace(cut, columns=cut.columns - alone), p.rows)
        if alone:
            self._dots = _dots(self.args, simd, cut, p.rows)
        if cut.piece:
            spans = -(-p.points // (cut.span * simd.lanes))
            self._first = product.prepare(simd), packed + p.groups * spans * -(-p.channels // cut.piece)
        self._second = product.convolve(simd), self.tasks(p, cut)

    def adding(self) -> MatrixConvolution:
        return self._with_residual()

    def activated(self, function: Callable[[], int]) -> MatrixConvolution | None:
        return self._with_activation(function)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> MatrixTiling | None:
        """Return the cheapest tiling, or None if the pixels must be gathered and take too much memory."""
        return matrix_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: MatrixTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return (1 if cut.piece else p.images) * p.groups * cut.blocks * cut.panel_blocks


class MatrixWeightGradient(WeightGradient):
    """This plan is a weight gradient as a product of two matrices for each tap; the source is transposed."""

    arguments = MatrixArguments
    fallback = GemmWeightGradient

    def __init__(self, simd: Simd, job: Job, cut: WeightTiling) -> None:
        p, taps = job.problem, len(job.problem.taps)
        rows = (cut.block_rows - 1) * cut.step + cut.reach + 1
        points = cut.block_rows * cut.lattice[1]
        plain = is_product(p)
        own = weight_grad.workspace_bytes(simd, p.channels, rows * cut.size[1], cut.width, points, taps)
        super().__init__(simd, job, cut, own)
        axes = zip(p.grid, p.lattice, p.source_step, p.size, strict=True)
        self._inside = all(tap[0] >= 0 and tap[-1] + (points - 1) * step < size for tap, points, step, size in axes)
        (height, width), (I, J) = cut.size, cut.lattice
        self._set({"H": height, "W": width, "I": I, "J": J, "DI": cut.step, "plain": int(plain)})
        self._kernels = _kernels(self.args, simd, kernel.kernel if plain else kernel.scattered, cut, p.rows)
        self._first = weight_grad.correlate(simd), self.tasks(p, cut)
        if taps > 1:
            self._share(cut.splits * self.numbers * simd.itemsize, "partial")
            self._second = weight_grad.add_taps(simd), p.groups * p.rows

    @property
    def multiplies_zeros(self) -> bool:
        """Return True if a tap meets padding."""
        return not self._inside

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> WeightTiling | None:
        """Return the cheapest tiling, or None if the lattice is a part, or the rows of a block take too much memory."""
        return matrix_weight_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: WeightTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return p.groups * cut.splits * cut.blocks * cut.panel_blocks


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


def _dots(args: np.ndarray, simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Put a table of kernels for the last column into the arguments: for most rows, at the end, and between tasks."""
    task = cut.block_panels * cut.tile_rows
    counts = LAST_ROWS, (rows % task or task) % LAST_ROWS, task % LAST_ROWS
    dots = np.array([correlate.kernel(simd, count or LAST_ROWS, 1) for count in counts], np.int64)
    args["dots"] = dots.ctypes.data
    return dots


def _kernels(
    args: np.ndarray, simd: Simd, kind: Callable[..., int], cut: MatrixTiling | WeightTiling, rows: int
) -> np.ndarray:
    """Put a table of four kernels into the arguments: for whole tiles, fewer columns, fewer rows, and fewer of both."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    rest = cut.columns % (cut.tile_vectors * simd.lanes) or cut.tile_vectors * simd.lanes
    widths = (cut.tile_vectors, True), (-(-rest // simd.lanes), rest % simd.lanes == 0)
    kernels = np.array([kind(simd, height, *width) for height in heights for width in widths], np.int64)
    args["kernel"] = kernels.ctypes.data
    return kernels
