"""This plan has target channels in the lanes of vectors."""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.conv.channel_lanes import forward
from fastconv.backends.numba_cpu.conv.channel_lanes.arguments import ChannelsArguments
from fastconv.backends.numba_cpu.conv.channel_lanes.tiling import ChannelsTiling, channels_tiling, runs_of
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution
from fastconv.backends.numba_cpu.conv.job_arguments import extent
from fastconv.backends.numba_cpu.conv.matmul.kernel import kernel
from fastconv.backends.numba_cpu.conv.plan import Convolution
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


class ChannelsConvolution(Convolution):
    """This plan multiplies vectors of target channels by one source channel after another.

    It leaves out zeros outside the image, and multiplies others by the weight. If that is infinite, the fallback
    computes these cases.
    """

    arguments = ChannelsArguments
    fallback = GemmConvolution
    packs = True
    costs_weight = True
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: ChannelsTiling) -> None:
        p, taps = job.problem, len(job.problem.taps)
        width = cut.tile_rows
        panels, points = -(-p.rows // width), cut.block_rows * p.lattice[1]
        row = cut.wide * cut.channels
        kept = cut.block_panels if cut.channels < p.channels else 1
        own = forward.workspace_bytes(simd, row, cut.slots, points, width, kept, taps)
        super().__init__(simd, job, cut, own, p.groups * panels * width * taps * p.channels * simd.itemsize)
        self._table = np.array(sorted(p.taps), np.int64).reshape(-1)
        self._runs = np.array(runs_of(p), np.int64)
        in_order = job.in_order and tuple(sorted(p.taps)) == p.taps
        self._set(extent(p) | {"left": cut.left} | {"taps": self._table.ctypes.data, "in_order": int(in_order)})
        self._set({"runs": self._runs.ctypes.data, "run_count": len(self._runs)})
        last = -(-(p.rows - (panels - 1) * width) // simd.lanes)
        rest = p.lattice[1] % cut.tile_pixels or cut.tile_pixels
        shapes = [(height, vectors) for height in (cut.tile_pixels, rest) for vectors in (cut.tile_vectors, last)]
        self._kernels = np.array([kernel(simd, *shape, True) for shape in shapes], np.int64)
        self.args["kernel"] = self._kernels.ctypes.data
        self._first = forward.pack_weight(simd), p.groups * panels
        self._second = forward.convolve(simd), self.tasks(p, cut)

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> ChannelsTiling | None:
        """Return the cheapest tiling, or None where the rows of a block take too much memory."""
        return channels_tiling(simd, p)

    @staticmethod
    def tasks(p: Problem, cut: ChannelsTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        return p.images * p.groups * cut.blocks * cut.panel_blocks
