"""Plans of convolutions, and of their adjoints for the input, which are convolutions too: one for each algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastconv.backends.numba_cpu import batch, depthwise, direct, implicit_gemm, matrix, microkernel, panels, winograd
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.batch_tiles import BatchTiling
from fastconv.backends.numba_cpu.direct_tiles import DirectTiling
from fastconv.backends.numba_cpu.jobs import Job
from fastconv.backends.numba_cpu.matrix_tiles import MatrixTiling
from fastconv.backends.numba_cpu.plan import Plan, describe_extent, describe_grid, describe_planes, matrix_kernels
from fastconv.backends.numba_cpu.plane_rows import shape_of, workspace_bytes
from fastconv.backends.numba_cpu.plane_tiles import PlaneTiling
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import Tiling


class Convolution(Plan):
    """Every target pixel of a lattice from the same taps of the source."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PANELS, F.WORKSPACE)

    def _gemm(self) -> Callable[..., Plan]:
        return GemmConvolution

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        return self._execute(source, weight, bias, target)


class GemmConvolution(Convolution):
    """By a blocked matrix product."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        slot = implicit_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, *shape)
        super().__init__(simd, job, cut, slot, panel_bytes(simd, p, cut), self._FIELDS)
        self.frame[F.KERNEL] = microkernel.packed(simd, *shape)
        self._first = panels.weight_task(simd), p.groups * cut.panels
        self._second = implicit_gemm.multiply_task(simd), p.groups * cut.blocks * cut.panel_blocks


class DirectConvolution(Convolution):
    """Reading pixels in place."""

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        slot = direct.workspace_bytes(simd, p.channels, cut.channel, *shape, cut.pieces)
        super().__init__(simd, job, cut, slot, panel_bytes(simd, p, cut), self._FIELDS)
        self._tables = describe_planes(self.frame, cut, p)
        self.frame[F.KERNEL] = microkernel.indirect(simd, *shape, cut.pieces)
        self._first = panels.weight_task(simd), p.groups * cut.panels
        self._second = direct.convolve_task(simd), p.images * p.groups * cut.blocks * cut.panel_blocks


class WinogradConvolution(Convolution):
    """In fewer multiplications."""

    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        # By rows and columns: the adjoint's taps come backwards.
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        slot = winograd.workspace_bytes(simd, cut.steps, cut.tile_rows, cut.block_panels, cut.tile_vectors, len(p.taps))
        pieces = math.prod(p.pieces or ())
        numbers = p.groups * winograd.weight_numbers(simd, cut.panels, cut.tile_rows, p.channels, pieces)
        super().__init__(simd, job, cut, slot, numbers * simd.itemsize, self._FIELDS)
        self.frame[F.TAP_ROWS], self.frame[F.TAP_COLUMNS] = map(len, p.grid)
        self.frame[F.KERNEL] = microkernel.packed(simd, cut.tile_rows, cut.tile_vectors)
        self._first = winograd.weight_task(simd), p.groups * cut.panels
        self._second = winograd.multiply_task(simd), p.groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        # An infinite number, or one that overflows, spreads over its patch. So does a pixel's rounding, which must not
        # show under a row or column of taps that are all 0, as of a causal kernel.
        return self._execute(source, weight, bias, target) or self.exact().run(source, weight, bias, target)


class BatchConvolution(Convolution):
    """With images in the lanes."""

    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: BatchTiling) -> None:
        p = job.problem
        tiles = -(-p.lattice[1] // cut.tile_vectors)
        points = cut.block_rows * tiles * cut.tile_vectors
        slot = batch.workspace_bytes(simd, cut.steps, cut.channel, cut.tile_rows, cut.block_panels, points, len(p.taps))
        super().__init__(simd, job, cut, slot, panel_bytes(simd, p, cut), self._FIELDS)
        describe_extent(self.frame, p)
        self.frame[F.KERNEL] = microkernel.by_taps(simd, cut.tile_rows, cut.tile_vectors)
        self._first = batch.weight_task(simd), p.groups * cut.panels
        self._second = batch.convolve_task(simd), cut.batches * p.groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        # An infinite weight makes NaN of the zeros outside the image, which are left out here.
        return self._execute(source, weight, bias, target) or self.exact().run(source, weight, bias, target)


class MatrixConvolution(Convolution):
    """By a product of matrices that are read where they lie."""

    def __init__(self, simd: Simd, job: Job, cut: MatrixTiling) -> None:
        p = job.problem
        super().__init__(simd, job, cut, 0, 0, self._FIELDS)
        self._kernels = matrix_kernels(self.frame, simd, cut, p.rows)
        self._first = matrix.convolve_task(simd), p.images * p.groups * cut.blocks * cut.panel_blocks


class DepthwiseConvolution(Convolution):
    """From single channels."""

    def __init__(self, simd: Simd, job: Job, cut: PlaneTiling) -> None:
        p = job.problem
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        slot = workspace_bytes(simd, job.source[3], p.lattice[1], *map(len, p.grid))
        super().__init__(simd, job, cut, slot, 0, self._FIELDS)
        self._offsets = describe_grid(self.frame, p)
        self.frame[F.KERNEL] = depthwise.convolve_kernel(simd, shape_of(p.grid, p.source_step, p.target_step))
        self._first = depthwise.convolve_task(simd), cut.parts * cut.blocks


def panel_bytes(simd: Simd, p: Problem, cut: Tiling | DirectTiling | BatchTiling) -> int:
    """Of the whole weight, packed."""
    return p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps) * simd.itemsize
