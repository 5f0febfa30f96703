"""Jobs made ready to run: the frames that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; to run it takes the arrays' addresses and some memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu import (
    batch,
    batch_weight,
    buffers,
    depthwise,
    depthwise_weight,
    direct,
    direct_weight,
    elementwise,
    implicit_gemm,
    matrix,
    microkernel,
    panels,
    weight_gemm,
    winograd,
    winograd_weight,
)
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.batch_tiles import BatchTiling
from fastconv.backends.numba_cpu.jobs import Job
from fastconv.backends.numba_cpu.matrix_tiles import MatrixTiling
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.plane_rows import shape_of, workspace_bytes
from fastconv.backends.numba_cpu.plane_tiles import PlaneTiling
from fastconv.backends.numba_cpu.planner import Cut, choose
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.program import Place, Recorder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import DirectTiling, Tiling

_PAGE = 4096


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@cache
def _limits(simd: Simd, floor: float) -> np.ndarray:
    return np.array([-np.inf, floor], simd.dtype)


def _frame(simd: Simd, cut: Cut, job: Job, slot_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """The frame, addresses of operands left out, and the table of taps that it refers to."""
    p = job.problem
    table = np.array(p.taps, np.int64).reshape(-1)
    values = {
        F.TAPS: table.ctypes.data,
        F.LIMITS: _limits(simd, job.floor).ctypes.data,
        F.SLOT_BYTES: _page_after(slot_bytes),
        F.N: p.images,
        F.GROUPS: p.groups,
        F.DEPTH: p.channels,
        F.ROWS: p.rows,
        F.H: job.source[2],
        F.W: job.source[3],
        F.TARGET_H: job.target[2],
        F.TARGET_W: job.target[3],
        F.I: p.lattice[0],
        F.J: p.lattice[1],
        F.DI: p.source_step[0],
        F.DJ: p.source_step[1],
        F.Y0: job.first[0],
        F.YI: p.target_step[0],
        F.X0: job.first[1],
        F.XJ: p.target_step[1],
        F.TAP_COUNT: len(p.taps),
        F.IN_ORDER: job.in_order,
        F.WEIGHT_ROW: job.weight[0],
        F.WEIGHT_DEPTH: job.weight[1],
        F.WEIGHT_GROUP: job.weight[2],
        F.FIRST_Y: p.first[0],
        F.FIRST_X: p.first[1],
        **cut.fields,
    }
    frame = np.zeros(F.COUNT, np.int64)
    for field, value in values.items():
        frame[field] = value
    return frame, table


class Plan:
    """What is to be run for a job: two steps of tasks, and the memory they need."""

    _SPREADS = False
    """Whether a number that isn't finite may show where by the definition it has no part, and is told by a flag."""

    def __init__(
        self,
        simd: Simd,
        job: Job,
        cut: Cut,
        slot_bytes: int,
        shared_bytes: int,
        fields: tuple[tuple[int, ...], tuple[int, int]],
    ) -> None:
        """A plan that needs so much memory for a slot, and for all of them together.

        ``fields`` are those of the frame for the operands' addresses, and for that of shared memory and slot 0's.
        """
        self.simd = simd
        self.job = job
        self.cut = cut
        self.frame, self._table = _frame(simd, cut, job, slot_bytes)
        self.slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._flops = job.problem.flops
        self._start = _page_after(FRAME_BYTES + shared_bytes)
        self._shared_bytes = _page_after(shared_bytes)
        self._operands, self._parts = fields
        self._first = self._second = (0, 0)

    def _execute(self, *arrays: np.ndarray | None) -> bool:
        """Run it; whether all numbers were finite that it had a look at."""
        threads = workers.threads_for(self._flops)
        memory = buffers.scratch(self._start + threads * self.slot_bytes)
        offsets = (FRAME_BYTES, self._start)
        execute(self.frame, memory, self._operands, arrays, self._parts, offsets, self._first, self._second, threads)
        infinite = memory[8 * F.INFINITE]  # the number's lowest byte
        buffers.give_back(memory)
        return not infinite

    def record(self, program: Recorder, *places: Place | None, watch: bool = False) -> None:
        """Let a program run it, with operands in these places.

        The program's flag goes up where numbers that aren't finite may have spread further than they should: by
        ``watch`` for any that the plan had a look at.
        """
        threads = workers.threads_for(self._flops)
        shared, slots = self._parts
        parts = (shared, 0), (slots, self._shared_bytes)
        workspace = Workspace(self._shared_bytes + threads * self.slot_bytes, parts)
        steps = [Step(task, count, threads) for task, count in (self._first, self._second)]
        flag = F.INFINITE if watch or self._SPREADS else None
        program.add(self.frame, zip(self._operands, places, strict=True), steps, workspace, flag, self)

    @cache  # noqa: B019, plans are few and are kept anyway
    def exact(self) -> Any:
        """The plan for the same job whose sums have no terms but those of the definition."""
        return plan(self.simd, self.job, "gemm")


class Convolution(Plan):
    """Every target pixel of a lattice from the same taps of the source."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PANELS, F.WORKSPACE)

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        return self._execute(source, weight, bias, target)


class GemmConvolution(Convolution):
    """By a blocked matrix product."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        slot = implicit_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, *shape)
        super().__init__(simd, job, cut, slot, _panel_bytes(simd, p, cut), self._FIELDS)
        self.frame[F.KERNEL] = microkernel.packed(simd, *shape)
        self._first = panels.weight_task(simd), p.groups * cut.panels
        self._second = implicit_gemm.multiply_task(simd), p.groups * cut.blocks * cut.panel_blocks


class DirectConvolution(Convolution):
    """Reading pixels in place."""

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        shape = cut.tile_rows, cut.tile_vectors
        slot = direct.workspace_bytes(simd, p.channels, cut.channel, *shape, cut.pieces)
        super().__init__(simd, job, cut, slot, _panel_bytes(simd, p, cut), self._FIELDS)
        self._tables = _describe_planes(self.frame, cut, p)
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
        # An infinite number, or one that overflows, spreads over its patch.
        return self._execute(source, weight, bias, target) or self.exact().run(source, weight, bias, target)


class BatchConvolution(Convolution):
    """With images in the lanes."""

    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: BatchTiling) -> None:
        p = job.problem
        tiles = -(-p.lattice[1] // cut.tile_vectors)
        points = cut.block_rows * tiles * cut.tile_vectors
        slot = batch.workspace_bytes(simd, cut.steps, cut.channel, cut.tile_rows, cut.block_panels, points, len(p.taps))
        super().__init__(simd, job, cut, slot, _panel_bytes(simd, p, cut), self._FIELDS)
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
        self._kernels = _matrix_kernels(self.frame, simd, cut, p.rows)
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

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        self._execute(source, grad, target)


class GemmWeightAdjoint(WeightAdjoint):
    """By a blocked matrix product."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        slot = weight_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, slot)
        self.frame[F.KERNEL] = microkernel.packed(simd, *shape)
        tasks = job.problem.groups * cut.blocks * cut.panel_blocks * cut.splits
        self._first = weight_gemm.multiply_task(simd), tasks


class DirectWeightAdjoint(WeightAdjoint):
    """Reading pixels in place."""

    def __init__(self, simd: Simd, job: Job, cut: DirectTiling) -> None:
        p = job.problem
        plane = -(-cut.block_rows * cut.plane_w // simd.lanes) * simd.lanes
        slot = direct_weight.workspace_bytes(simd, p.channels, cut.channel, cut.block_panels * cut.tile_rows, plane)
        super().__init__(simd, job, cut, slot)
        self._tables = _describe_planes(self.frame, cut, p)
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
        self.frame[F.KERNEL] = microkernel.packed(simd, *shape)
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
        self.frame[F.STRIP] = self.frame[F.WEIGHT_ROW] = pixels
        self.frame[F.WEIGHT_DEPTH] = 1
        self._kernels = _matrix_kernels(self.frame, simd, cut, p.rows)
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


def describe_grid(frame: np.ndarray, p: Problem) -> np.ndarray:
    """Put into the frame where the taps are, row by row and column by column; the table that it refers to."""
    rows, columns = p.grid
    offsets = np.array([*rows, *columns], np.int64)
    frame[F.TAP_ROWS], frame[F.TAP_COLUMNS], frame[F.OFFSETS] = len(rows), len(columns), offsets.ctypes.data
    return offsets


def describe_extent(frame: np.ndarray, p: Problem) -> None:
    """Put into the frame how far the taps go."""
    rows, columns = p.grid
    frame[F.TOP], frame[F.LEFT], frame[F.REACH] = rows[0], columns[0], rows[-1] - rows[0]


def _panel_bytes(simd: Simd, p: Problem, cut: Tiling | DirectTiling | BatchTiling) -> int:
    """Of the whole weight, packed."""
    return p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps) * simd.itemsize


def _matrix_kernels(frame: np.ndarray, simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Put into the frame a table of four kernels: for whole tiles, fewer columns, fewer rows, and fewer of both."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    rest = cut.columns % (cut.tile_vectors * simd.lanes) or cut.tile_vectors * simd.lanes
    widths = (cut.tile_vectors, True), (-(-rest // simd.lanes), rest % simd.lanes == 0)
    kernels = np.array([matrix.kernel(simd, height, *width) for height in heights for width in widths], np.int64)
    frame[F.KERNEL] = kernels.ctypes.data
    return kernels


def _describe_planes(frame: np.ndarray, cut: DirectTiling, p: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Put into the frame how the source's planes are laid out; the tables that it refers to."""
    (down, right), (first_y, first_x), phases = p.source_step, p.first, p.phases
    plane_rows = cut.block_rows + p.reach[0]
    within = []
    for dy, dx, _ in p.taps:
        row = phases.index((dy % down, dx % right)) * plane_rows + dy // down - first_y
        within.append(row * cut.plane_w + dx // right - first_x)
    offsets = (np.arange(p.channels)[:, None] * cut.channel + np.array(within)).astype(np.int64).reshape(-1)
    corners = np.array(phases, np.int64).reshape(-1)
    values = {
        F.OFFSETS: offsets.ctypes.data,
        F.PHASES: corners.ctypes.data,
        F.PHASE_COUNT: len(phases),
        F.PLANE_ROWS: plane_rows,
    }
    for field, value in values.items():
        frame[field] = value
    return offsets, corners


_CONVOLUTION: dict[str, Callable[..., Convolution]] = {
    "gemm": GemmConvolution,
    "direct": DirectConvolution,
    "winograd": WinogradConvolution,
    "batch": BatchConvolution,
    "matrix": MatrixConvolution,
    "depthwise": DepthwiseConvolution,
}
_WEIGHT: dict[str, Callable[..., WeightAdjoint]] = {
    "gemm": GemmWeightAdjoint,
    "direct": DirectWeightAdjoint,
    "winograd": WinogradWeightAdjoint,
    "batch": BatchWeightAdjoint,
    "matrix": MatrixWeightAdjoint,
    "depthwise": DepthwiseWeightAdjoint,
}


def plan(simd: Simd, job: Job, algorithm: str | None) -> Any:
    """The plan of a job, a `Convolution` or a `WeightAdjoint`, by the algorithm asked for or else by the cheapest."""
    chosen = choose(simd, job.problem, algorithm, weight=job.along_rows)
    if chosen is None:
        raise ValueError(f"algorithm {algorithm!r} can't do {job.problem}")
    kinds = _WEIGHT if job.along_rows else _CONVOLUTION
    return kinds[chosen.algorithm](simd, job, chosen.cut)
