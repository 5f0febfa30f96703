"""A job made ready to run: the frame that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; to run it takes the arrays' addresses and some memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu import buffers, matrix
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.direct_tiles import DirectTiling
from fastconv.backends.numba_cpu.jobs import Job
from fastconv.backends.numba_cpu.matrix_tiles import MatrixTiling
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.planner import Cut, choose
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.program import Place, Recorder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd

_PAGE = 4096

_PLAN_BYTES, _TAP_BYTES = 4096, 128
"""Sizes of a plan's objects besides its tables, and of a tap in its problem, in bytes."""


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@cache
def _limits(simd: Simd, floor: float) -> np.ndarray:
    return np.array([-np.inf, floor], simd.dtype)


def make_frame(simd: Simd, cut: Cut, job: Job, slot_bytes: int) -> tuple[np.ndarray, np.ndarray]:
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
        F.BY_TAPS: job.by_taps,
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
        self.frame, self._table = make_frame(simd, cut, job, slot_bytes)
        self.slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._flops = job.problem.flops
        self._start = _page_after(FRAME_BYTES + shared_bytes)
        self._shared_bytes = _page_after(shared_bytes)
        self._operands, self._parts = fields
        self._first = self._second = (0, 0)
        self._exact: Plan | None = None

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

    @property
    def nbytes(self) -> int:
        """Bytes of the plan and its tables, about."""
        parts = [part for value in vars(self).values() for part in (value if isinstance(value, tuple) else (value,))]
        tables = sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
        return _PLAN_BYTES + _TAP_BYTES * len(self.job.problem.taps) + tables

    def exact(self) -> Any:
        """The plan for the same job whose sums have no terms but those of the definition."""
        if self._exact is None:
            chosen = choose(self.simd, self.job.problem, "gemm", weight=self.job.along_rows)
            assert chosen is not None
            self._exact = self._gemm()(self.simd, self.job, chosen.cut)
        return self._exact

    def _gemm(self) -> Callable[..., Plan]:
        """The kind of plan that does the same by a blocked matrix product."""
        raise NotImplementedError


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


def matrix_kernels(frame: np.ndarray, simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Put into the frame a table of four kernels: for whole tiles, fewer columns, fewer rows, and fewer of both."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    rest = cut.columns % (cut.tile_vectors * simd.lanes) or cut.tile_vectors * simd.lanes
    widths = (cut.tile_vectors, True), (-(-rest // simd.lanes), rest % simd.lanes == 0)
    kernels = np.array([matrix.kernel(simd, height, *width) for height in heights for width in widths], np.int64)
    frame[F.KERNEL] = kernels.ctypes.data
    return kernels


def describe_planes(frame: np.ndarray, cut: DirectTiling, p: Problem) -> tuple[np.ndarray, np.ndarray]:
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
