"""This plan runs a weight gradient that is split into parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastconv.backends.numba_cpu.conv.implicit_gemm import weight_grad
from fastconv.backends.numba_cpu.conv.job_arguments import job_arguments
from fastconv.backends.numba_cpu.conv.plan import WeightGradient
from fastconv.backends.numba_cpu.conv.tap_parts.arguments import PartsArguments
from fastconv.backends.numba_cpu.conv.tap_parts.tasks import (
    PAIRS,
    TABLE_WORDS,
    correlate_part,
    put_in_place,
)
from fastconv.backends.numba_cpu.conv.tap_parts.tiling import part_tasks, part_tilings
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.arguments import ARGUMENTS_BYTES
from fastconv.backends.numba_cpu.tuning.splitting import ceil


class _Parts:
    """This class holds the arguments of all parts, one after another, without the operands' addresses."""

    def __init__(self, simd: Simd, parts: list[Job], cuts: list[Tiling]) -> None:
        self._tables = [np.array(part.problem.taps, np.int64).reshape(-1) for part in parts]
        self.args = np.zeros(len(parts), ConvArguments.dtype)
        for number, (part, cut, table) in enumerate(zip(parts, cuts, self._tables, strict=True)):
            kernel = micro_kernel.packed(simd, cut.tile_rows, cut.tile_vectors)
            values = ConvArguments.new(**job_arguments(simd, part, table), **cut.fields, kernel=kernel)
            self.args[number] = values[0]

    @property
    def nbytes(self) -> int:
        """Return the size of the arguments and of the tables that they refer to, in bytes."""
        return self.args.nbytes + sum(table.nbytes for table in self._tables)


class WeightGradientInParts(WeightGradient):
    """This plan computes a weight gradient, split into groups of taps."""

    arguments = PartsArguments

    def __init__(self, simd: Simd, job: Job) -> None:
        cuts, kernel, p = part_tilings(simd, job), job.weight[1], job.problem
        needed = max(
            weight_grad.workspace_bytes(simd, c.steps, c.block_tiles, c.block_panels, c.tile_rows, c.tile_vectors)
            for c in cuts
        )
        super().__init__(simd, job, replace(cuts[0], splits=1), ARGUMENTS_BYTES + needed)
        self._own = _Parts(simd, list(job.parts), cuts)
        pairs = p.groups * p.rows * p.channels
        self._places, total = np.zeros((kernel, TABLE_WORDS), np.int64), 0
        for number, (part, cut) in enumerate(zip(job.parts, cuts, strict=True)):
            taps = part.problem.taps
            for tap, (_, _, place) in enumerate(taps):
                self._places[place] = total + tap, len(taps), cut.splits
            self._own.args["partial"][number] = total * simd.itemsize
            total += pairs * len(taps) * cut.splits
        self._share(total * simd.itemsize, "partial")
        self.args["templates"], self.args["parts"] = self._own.args.ctypes.data, len(cuts)
        self.args["places"], self.args["tap_count"] = self._places.ctypes.data, kernel
        self._first = correlate_part(simd), part_tasks(job, cuts)
        self._second = put_in_place(simd), ceil(pairs, PAIRS)

    @property
    def nbytes(self) -> int:
        """Return the approximate size of the plan, its parts and its tables, in bytes."""
        return super().nbytes + self._own.nbytes
