"""Jobs made ready to run: the frames that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; to run it takes the arrays' addresses and some memory.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from fastconv.backends.numba_cpu import buffers, direct, direct_weight, implicit_gemm, microkernel, panels, weight_gemm
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.jobs import Job
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.planner import Problem, choose
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import DirectTiling, Tiling

_PAGE = 4096


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@cache
def _limits(simd: Simd) -> np.ndarray:
    return np.array([-np.inf, -np.inf], simd.dtype)


def _frame(simd: Simd, cut: Tiling | DirectTiling, job: Job, slot_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """The frame, addresses of operands left out, and the table of taps that it refers to."""
    p = job.problem
    table = np.array(p.taps, np.int64).reshape(-1)
    values = {
        F.TAPS: table.ctypes.data,
        F.LIMITS: _limits(simd).ctypes.data,
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
        F.YI: job.step[0],
        F.X0: job.first[1],
        F.XJ: job.step[1],
        F.TAP_COUNT: len(p.taps),
        F.IN_ORDER: job.in_order,
        F.WEIGHT_ROW: job.weight[0],
        F.WEIGHT_DEPTH: job.weight[1],
        F.WEIGHT_GROUP: job.weight[2],
        F.TILE_ROWS: cut.tile_rows,
        F.TILE_VECTORS: cut.tile_vectors,
        F.BLOCKS: cut.blocks,
        F.BLOCK_PANELS: cut.block_panels,
        F.PANEL_BLOCKS: cut.panel_blocks,
    }
    if isinstance(cut, Tiling):
        values |= {F.STEPS: cut.steps, F.BLOCK_TILES: cut.block_tiles}
    frame = np.zeros(F.COUNT, np.int64)
    for field, value in values.items():
        frame[field] = value
    return frame, table


class Plan:
    """What is to be run for a job: two steps of tasks, and the memory they need."""

    def __init__(self, simd: Simd, frame: np.ndarray, job: Job, bytes_before_slots: int) -> None:
        self.simd = simd
        self.flops = job.problem.flops
        self.frame = frame
        self.slot_bytes = int(frame[F.SLOT_BYTES])
        self._start = _page_after(FRAME_BYTES + bytes_before_slots)
        self._operands: tuple[int, ...] = ()
        self._parts = (F.PANELS, F.WORKSPACE)
        self._first = self._second = (0, 0)

    def _execute(self, *arrays: np.ndarray | None) -> bool:
        """Run it; whether the weight was finite, as far as it was looked at."""
        threads = workers.threads_for(self.flops)
        memory = buffers.scratch(self._start + threads * self.slot_bytes)
        parts, offsets = self._parts, (FRAME_BYTES, self._start)
        execute(self.frame, memory, self._operands, arrays, parts, offsets, self._first, self._second, threads)
        infinite = memory[8 * F.INFINITE]  # the number's lowest byte
        buffers.give_back(memory)
        return not infinite


class Convolution(Plan):
    """Every target pixel of a lattice from the same taps of the source, by either algorithm."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling | DirectTiling) -> None:
        p = job.problem
        self.cut = cut
        depth = p.channels * len(p.taps)
        shape = cut.tile_rows, cut.tile_vectors
        if isinstance(cut, Tiling):
            slot = implicit_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, *shape)
        else:
            slot = direct.workspace_bytes(simd, p.channels, cut.channel, *shape, cut.pieces)
        frame, self._table = _frame(simd, cut, job, slot)
        panels_in_all = p.groups * cut.panels
        super().__init__(simd, frame, job, panels_in_all * cut.tile_rows * depth * simd.itemsize)
        self._operands = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET)
        self._first = panels.weight_task(simd), panels_in_all
        if isinstance(cut, Tiling):
            frame[F.KERNEL] = microkernel.packed(simd, *shape)
            self._second = implicit_gemm.multiply_task(simd), p.groups * cut.blocks * cut.panel_blocks
        else:
            frame[F.KERNEL] = microkernel.indirect(simd, *shape, cut.pieces)
            self._tables = _describe_planes(frame, cut, p)
            self._second = direct.convolve_task(simd), p.images * p.groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        return self._execute(source, weight, bias, target)


class WeightAdjoint(Plan):
    """The adjoint for the weight, by either algorithm."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling | DirectTiling) -> None:
        p = job.problem
        self.cut = cut
        self._job = job
        columns = p.channels * len(p.taps)
        if isinstance(cut, Tiling):
            slot = weight_gemm.workspace_bytes(
                simd, cut.steps, cut.block_tiles, cut.block_panels, cut.tile_rows, cut.tile_vectors
            )
        else:
            plane = -(-cut.block_rows * cut.plane_w // simd.lanes) * simd.lanes
            slot = direct_weight.workspace_bytes(simd, p.channels, cut.channel, cut.block_panels * cut.tile_rows, plane)
        frame, self._table = _frame(simd, cut, job, slot)
        numbers = p.groups * p.rows * columns
        parts = cut.splits if cut.splits > 1 else 0
        super().__init__(simd, frame, job, parts * numbers * simd.itemsize)
        self._operands = (F.SOURCE, F.WEIGHT, F.TARGET)
        self._parts = (F.PARTIAL, F.WORKSPACE)
        frame[F.SPLITS], frame[F.SPLIT_STEPS] = cut.splits, cut.split_steps
        if isinstance(cut, Tiling):
            frame[F.KERNEL] = microkernel.packed(simd, cut.tile_rows, cut.tile_vectors)
            tasks = p.groups * cut.blocks * cut.panel_blocks * cut.splits
            self._first = weight_gemm.multiply_task(simd), tasks
        else:
            self._tables = _describe_planes(frame, cut, p)
            heights = cut.tile_rows, p.rows % cut.tile_rows or cut.tile_rows
            widths = cut.tile_vectors, columns % cut.tile_vectors or cut.tile_vectors
            kernels = [direct_weight.kernel(simd, height, width) for height in heights for width in widths]
            self._kernels = np.array(kernels, np.int64)
            frame[F.KERNEL] = self._kernels.ctypes.data
            self._first = direct_weight.accumulate_task(simd), cut.splits * p.groups * cut.panel_blocks
        if parts:
            self._second = weight_gemm.add_task(simd), weight_gemm.add_tasks(numbers)

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        self._execute(source, grad, target)
        # The direct form multiplies pixels by zeros beyond the ends of rows, and an infinite one must not show.
        if isinstance(self.cut, DirectTiling) and np.isnan(target).any():
            self._exact().run(source, grad, target)

    @cache  # noqa: B019, plans are few and are kept anyway
    def _exact(self) -> WeightAdjoint:
        exact = plan(self.simd, self._job, "gemm")
        assert isinstance(exact, WeightAdjoint)
        return exact


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
        F.PLANE_W: cut.plane_w,
        F.FIRST_Y: first_y,
        F.FIRST_X: first_x,
        F.CHANNEL: cut.channel,
        F.BLOCK_ROWS: cut.block_rows,
        F.PIECES: cut.pieces,
    }
    for field, value in values.items():
        frame[field] = value
    return offsets, corners


def plan(simd: Simd, job: Job, algorithm: str | None) -> Convolution | WeightAdjoint:
    """The plan of a job, by the algorithm that is asked for or by the cheapest."""
    chosen = choose(simd, job.problem, algorithm, weight=job.along_rows)
    if chosen is None:
        raise ValueError(f"algorithm {algorithm!r} can't do {job.problem}")
    return (WeightAdjoint if job.along_rows else Convolution)(simd, job, chosen.cut)
