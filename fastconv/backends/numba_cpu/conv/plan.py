"""A job made ready to run: the frame that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; to run it takes the arrays' addresses and some memory. Each algorithm has
two kinds of plan, a `Convolution` and a `WeightGradient`, in the file plan.py of its folder. A kind says how it would
cut a problem into tiles, what that should cost, and how many tasks there are; the planner compares them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np

from fastconv.backends.numba_cpu.gemm import fields as F
from fastconv.backends.numba_cpu.gemm import reduce
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.launch import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.runtime.program import Place, Recorder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd

_PAGE = 4096

_PLAN_BYTES, _TAP_BYTES = 4096, 128
"""Sizes of a plan's objects besides its tables, and of a tap in its problem, in bytes."""


class Cut(Protocol):
    """How a problem is cut up."""

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        ...

    @property
    def splits(self) -> int:
        """Parts of a reduction that are added up at the end."""
        ...

    @property
    def cycles(self) -> float:
        """Predicted cycles of all tasks together, on a processor that does a vector of multiply-adds in each."""
        ...


class Plan:
    """What is to be run for a job: two steps of tasks, and the memory they need."""

    fallback: ClassVar[Any] = None
    """The kind of plan whose sums have no terms but those of the definition, where this one's have more."""

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
        self._exact: Any = None

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Any:
        """Return the cheapest `Cut` of a problem, or None where the algorithm can't do it."""
        raise NotImplementedError

    @staticmethod
    def tasks(p: Problem, cut: Any) -> int:
        """Return the number of tasks that share the multiply-adds of a problem cut up so."""
        raise NotImplementedError

    def _execute(self, *arrays: np.ndarray | None) -> bool:
        """Run it; return False if a kernel saw a NaN or infinity where it looks for them."""
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
        """Return the plan of the same job by the ``fallback``, which is made at the first call."""
        if self._exact is None:
            self._exact = self.fallback(self.simd, self.job, self.fallback.tiling(self.simd, self.job.problem))
        return self._exact


class Convolution(Plan):
    """Every target pixel of a lattice from the same taps of the source: a forward pass or an input gradient."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PANELS, F.WORKSPACE)

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; return whether the weight was finite."""
        finite = self._execute(source, weight, bias, target)
        if finite or self.fallback is None:
            return finite
        return bool(self.exact().run(source, weight, bias, target))


class WeightGradient(Plan):
    """A weight's gradient, perhaps in several parts that are added up."""

    _FIELDS: tuple[tuple[int, ...], tuple[int, int]] = (F.SOURCE, F.WEIGHT, F.TARGET), (F.PARTIAL, F.WORKSPACE)

    def __init__(self, simd: Simd, job: Job, cut: Cut, slot_bytes: int, shared_bytes: int = 0) -> None:
        p = job.problem
        self.numbers = p.groups * p.rows * p.channels * len(p.taps)
        parts = cut.splits if cut.splits > 1 else 0
        shared_bytes = shared_bytes or parts * self.numbers * simd.itemsize
        super().__init__(simd, job, cut, slot_bytes, shared_bytes, self._FIELDS)
        if parts:
            self._second = reduce.add_task(simd), reduce.add_tasks(self.numbers)

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        if not self._execute(source, grad, target) and self.fallback is not None:
            self.exact().run(source, grad, target)


def panel_bytes(simd: Simd, p: Problem, cut: Any) -> int:
    """Return the size of the whole weight, packed in panels of ``cut.tile_rows`` rows, in bytes."""
    return int(p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps) * simd.itemsize)


def describe_grid(frame: np.ndarray, p: Problem) -> np.ndarray:
    """Put into the frame where the taps are, row by row and column by column; return the table that it refers to."""
    rows, columns = p.grid
    offsets = np.array([*rows, *columns], np.int64)
    frame[F.TAP_ROWS], frame[F.TAP_COLUMNS], frame[F.OFFSETS] = len(rows), len(columns), offsets.ctypes.data
    return offsets


def describe_extent(frame: np.ndarray, p: Problem) -> None:
    """Put into the frame how far the taps go."""
    rows, columns = p.grid
    frame[F.TOP], frame[F.LEFT], frame[F.REACH] = rows[0], columns[0], rows[-1] - rows[0]


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@cache
def _limits(simd: Simd, floor: float) -> np.ndarray:
    return np.array([-np.inf, floor], simd.dtype)


def _frame(simd: Simd, cut: Cut, job: Job, slot_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame, addresses of operands left out, and the table of taps that it refers to."""
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
