"""These plans use the direct algorithm: pixels are read from planes that hold a block of rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastconv.backends.numba_cpu.conv.direct import forward, weight_grad
from fastconv.backends.numba_cpu.conv.direct.arguments import DirectArguments
from fastconv.backends.numba_cpu.conv.direct.tiling import (
    DirectTiling,
    direct_tiling,
    direct_weight_tiling,
    pack_cycles,
)
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmWeightGradient
from fastconv.backends.numba_cpu.conv.job_arguments import panel_bytes
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.gemm import micro_kernel, packing
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class DirectConvolution(Convolution):
    """This plan computes a convolution; all taps read the same planes."""

    arguments = DirectArguments
    packs = True

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        thread_bytes = forward.workspace_bytes(simd, p.channels, cut.channel, *shape, cut.pieces)
        super().__init__(simd, job, cut, thread_bytes, panel_bytes(simd, p, cut))
        self._tables = _describe_planes(self.args, cut, p)
        self.args["kernel"] = micro_kernel.indirect(simd, *shape, cut.pieces)
        self._first = packing.pack_weight(simd), p.groups * cut.panels
        self._second = forward.convolve(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> DirectTiling | None:
        """Return the cheapest tiling of a problem, or None if a single row takes too much memory."""
        found = direct_tiling(
            simd, p.images, p.groups, p.rows, p.channels, p.lattice, p.reach, len(p.phases), len(p.taps)
        )
        if found is None or not p.kept:
            return found
        packed = pack_cycles(p.groups * found.panels * found.tile_rows * p.channels * len(p.taps))
        return replace(found, cycles=found.cycles - packed)

    @staticmethod
    def tasks(p: Problem, cut: DirectTiling) -> int:
        """Return the number of tasks; see `Plan.tasks`."""
        return p.images * p.groups * cut.blocks * cut.panel_blocks


class DirectWeightGradient(WeightGradient):
    """This plan computes a weight gradient with pixels in the lanes."""

    arguments = DirectArguments
    fallback = GemmWeightGradient

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        plane = -(-cut.block_rows * cut.plane_w // simd.lanes) * simd.lanes
        thread_bytes = weight_grad.workspace_bytes(
            simd, p.channels, cut.channel, cut.block_panels * cut.tile_rows, plane
        )
        super().__init__(simd, job, cut, thread_bytes)
        self._tables = _describe_planes(self.args, cut, p)
        heights = cut.tile_rows, p.rows % cut.tile_rows or cut.tile_rows
        columns = p.channels * len(p.taps)
        widths = cut.tile_vectors, columns % cut.tile_vectors or cut.tile_vectors
        kernels = [weight_grad.kernel(simd, height, width) for height in heights for width in widths]
        self._kernels = np.array(kernels, np.int64)
        self.args["kernel"] = self._kernels.ctypes.data
        self._first = weight_grad.accumulate(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> DirectTiling | None:
        """Return the cheapest tiling of a problem, or None if a single row takes too much memory."""
        return direct_weight_tiling(
            simd, p.images, p.groups, p.rows, p.channels, p.lattice, p.reach, len(p.phases), len(p.taps)
        )

    @staticmethod
    def tasks(p: Problem, cut: DirectTiling) -> int:
        """Return the number of tasks; see `Plan.tasks`."""
        return cut.splits * p.groups * cut.panel_blocks

    @property
    def multiplies_zeros(self) -> bool:
        """Return True: after the ends of rows pixels are multiplied by zeros."""
        return True


def _describe_planes(args: np.ndarray, cut: DirectTiling, p: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Write the layout of the source's planes to the arguments; return the tables whose addresses these hold."""
    (down, right), (first_y, first_x), phases = p.source_step, p.first, p.phases
    plane_rows = cut.block_rows + p.reach[0]
    within = []
    for dy, dx, _ in p.taps:
        row = phases.index((dy % down, dx % right)) * plane_rows + dy // down - first_y
        within.append(row * cut.plane_w + dx // right - first_x)
    offsets = (np.arange(p.channels)[:, None] * cut.channel + np.array(within)).astype(np.int64).reshape(-1)
    corners = np.array(phases, np.int64).reshape(-1)
    values = {
        "first_y": first_y,
        "first_x": first_x,
        "offsets": offsets.ctypes.data,
        "phases": corners.ctypes.data,
        "phase_count": len(phases),
        "plane_rows": plane_rows,
    }
    for field, value in values.items():
        args[field] = value
    return offsets, corners
