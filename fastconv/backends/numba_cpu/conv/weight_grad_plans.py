"""Plans of adjoints for the weight: one for each algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv.backends.numba_cpu.conv.depthwise import weight_grad as depthwise_weight
from fastconv.backends.numba_cpu.conv.depthwise.rows import shape_of, workspace_bytes
from fastconv.backends.numba_cpu.conv.depthwise.tiling import PlaneTiling
from fastconv.backends.numba_cpu.conv.direct import weight_grad as direct_weight
from fastconv.backends.numba_cpu.conv.direct.tiling import DirectTiling
from fastconv.backends.numba_cpu.conv.image_lanes import weight_grad as batch_weight
from fastconv.backends.numba_cpu.conv.image_lanes.tiling import BatchTiling
from fastconv.backends.numba_cpu.conv.implicit_gemm import weight_grad as weight_gemm
from fastconv.backends.numba_cpu.conv.matmul import kernel as matrix
from fastconv.backends.numba_cpu.conv.matmul.tiling import MatrixTiling
from fastconv.backends.numba_cpu.conv.plan import Plan, describe_extent, describe_grid, describe_planes, matrix_kernels
from fastconv.backends.numba_cpu.conv.winograd import weight_grad as winograd_weight
from fastconv.backends.numba_cpu.gemm import elementwise, micro_kernel
from fastconv.backends.numba_cpu.gemm import fields as F
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.planner import Cut
from fastconv.backends.numba_cpu.runtime.program import Place, Recorder
from fastconv.backends.numba_cpu.simd import Simd


class WeightAdjoint(Plan):
    """The adjoint for the weight, perhaps in several parts that are added up."""

    _FIELDS: tuple[tuple[int, ...], tuple[int, int]] = (F.SOURCE, F.WEIGHT, F.TARGET), (F.PARTIAL, F.WORKSPACE)

    def __init__(self, simd: Simd, job: Job, cut: Cut, slot_bytes: int, shared_bytes: int = 0) -> None:
        p = job.problem
        self.numbers = p.groups * p.rows * p.channels * len(p.taps)
        parts = cut.splits if cut.splits > 1 else 0
        shared_bytes = shared_bytes or parts * self.numbers * simd.itemsize
        super().__init__(simd, job, cut, slot_bytes, shared_bytes, self._FIELDS)
        if parts:
            self._second = weight_gemm.add_task(simd), weight_gemm.add_tasks(self.numbers)

    def _gemm(self) -> Callable[..., Plan]:
        return GemmWeightAdjoint

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        self._execute(source, grad, target)


class GemmWeightAdjoint(WeightAdjoint):
    """By a blocked matrix product."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        slot = weight_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, slot)
        self.frame[F.KERNEL] = micro_kernel.packed(simd, *shape)
        tasks = job.problem.groups * cut.blocks * cut.panel_blocks * cut.splits
        self._first = weight_gemm.multiply_task(simd), tasks


class DirectWeightAdjoint(WeightAdjoint):
    """Reading pixels in place."""

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        plane = -(-cut.block_rows * cut.plane_w // simd.lanes) * simd.lanes
        slot = direct_weight.workspace_bytes(simd, p.channels, cut.channel, cut.block_panels * cut.tile_rows, plane)
        super().__init__(simd, job, cut, slot)
        self._tables = describe_planes(self.frame, cut, p)
        heights = cut.tile_rows, p.rows % cut.tile_rows or cut.tile_rows
        columns = p.channels * len(p.taps)
        widths = cut.tile_vectors, columns % cut.tile_vectors or cut.tile_vectors
        kernels = [direct_weight.kernel(simd, height, width) for height in heights for width in widths]
        self._kernels = np.array(kernels, np.int64)
        self.frame[F.KERNEL] = self._kernels.ctypes.data
        self._first = direct_weight.accumulate_task(simd), cut.splits * p.groups * cut.panel_blocks

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        self._execute(source, grad, target)
        # Pixels are multiplied by zeros beyond the ends of rows, and an infinite one must not show.
        if np.isnan(target).any():
            self.exact().run(source, grad, target)

    def record(self, program: Recorder, *places: Place | None, watch: bool = False) -> None:
        """Let a program run it; its flag goes up where the gradient has NaN."""
        super().record(program, *places, watch=watch)
        *_, target = places
        assert target is not None
        elementwise.record_look(program, self.simd, target, self.numbers)


class WinogradWeightAdjoint(WeightAdjoint):
    """In fewer multiplications."""

    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        slot = winograd_weight.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, slot)
        p = job.problem
        self.frame[F.TAP_ROWS], self.frame[F.TAP_COLUMNS] = map(len, p.grid)
        self.frame[F.KERNEL] = micro_kernel.packed(simd, *shape)
        tasks = p.groups * cut.blocks * cut.panel_blocks * cut.splits * math.prod(p.pieces or ())
        self._first = winograd_weight.multiply_task(simd), tasks

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        # An infinite number, or one that overflows, spreads over all taps.
        if not self._execute(source, grad, target):
            self.exact().run(source, grad, target)


class BatchWeightAdjoint(WeightAdjoint):
    """With images in the lanes."""

    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: BatchTiling) -> None:
        p = job.problem
        rows = cut.block_panels * cut.tile_rows
        slot = batch_weight.workspace_bytes(simd, p.channels, cut.channel, rows, cut.block_rows * p.lattice[1])
        super().__init__(simd, job, cut, slot)
        describe_extent(self.frame, p)
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
        self.frame[F.OFFSETS] = self._columns.ctypes.data
        heights = cut.tile_rows, p.rows % cut.tile_rows or cut.tile_rows
        widths = {cut.tile_vectors, in_row % cut.tile_vectors or cut.tile_vectors}
        self._kernels = np.zeros((2, cut.tile_vectors), np.int64)
        for which, height in enumerate(heights):
            for width in widths:
                self._kernels[which, width - 1] = batch_weight.kernel(simd, height, width)
        self.frame[F.KERNEL] = self._kernels.ctypes.data
        self._first = batch_weight.accumulate_task(simd), cut.splits * p.groups * cut.panel_blocks

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        # An infinite gradient makes NaN of the zeros that it meets in the padding, which are left out here.
        if not self._execute(source, grad, target):
            self.exact().run(source, grad, target)


class MatrixWeightAdjoint(WeightAdjoint):
    """By a product of matrices, of which the source is transposed first."""

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        pixels = math.prod(p.lattice)
        super().__init__(simd, job, cut, 0, pixels * cut.width * simd.itemsize)
        self.frame[F.WEIGHT_ROW] = pixels
        self.frame[F.WEIGHT_DEPTH] = 1
        self._kernels = matrix_kernels(self.frame, simd, cut, p.rows)
        self._first = matrix.transpose_task(simd), -(-pixels // simd.lanes)
        self._second = matrix.correlate_task(simd), cut.blocks * cut.panel_blocks


class DepthwiseWeightAdjoint(WeightAdjoint):
    """From single channels."""

    def __init__(self, simd: Simd, job: Job, cut: PlaneTiling) -> None:
        p = job.problem
        slot = workspace_bytes(simd, job.source[3], p.lattice[1], *map(len, p.grid))
        super().__init__(simd, job, cut, slot)
        self._offsets = describe_grid(self.frame, p)
        self.frame[F.KERNEL] = depthwise_weight.correlate_kernel(simd, shape_of(p.grid, p.source_step, p.target_step))
        self._first = depthwise_weight.correlate_task(simd), cut.parts * cut.splits
