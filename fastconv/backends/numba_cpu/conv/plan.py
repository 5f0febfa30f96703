"""A job made ready to run: the arguments that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; to run it takes the arrays' addresses and some memory. Each algorithm has
two kinds of plan, a `Convolution` and a `WeightGradient`, in the file plan.py of its folder. A kind says how it would
cut a problem into tiles, what that should cost, and how many tasks there are; the planner compares them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np

from fastconv.backends.numba_cpu.gemm import reduce
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.launch import ARGUMENTS_BYTES, execute
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd

_PAGE = 4096

_PLAN_BYTES, _TAP_BYTES = 4096, 128
"""Sizes of a plan's objects besides its tables, and of a tap in its problem, in bytes."""


class Cut(Protocol):
    """How a problem is cut up."""

    @property
    def fields(self) -> dict[str, int]:
        """The arguments that say so."""
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

    arguments: ClassVar[type[ConvArguments]] = ConvArguments
    """The arguments of its tasks."""

    fallback: ClassVar[Any] = None
    """The kind of plan whose sums have no terms but those of the definition, where this one's have more."""

    _INFINITE = ConvArguments.words["infinite"]

    _SPREADS = False
    """Whether a number that isn't finite may show where by the definition it has no part, and is told by a flag."""

    def __init__(
        self,
        simd: Simd,
        job: Job,
        cut: Cut,
        thread_bytes: int,
        shared_bytes: int,
        operands: tuple[str, ...],
        shared: str,
    ) -> None:
        """A plan that needs so much memory for each thread, and for all of them together.

        ``operands`` are the arguments for the operands' addresses, ``shared`` is that for the address of the memory
        that all threads share.
        """
        self.simd = simd
        self.job = job
        self.cut = cut
        self.thread_bytes = _page_after(thread_bytes)
        self._table = np.array(job.problem.taps, np.int64).reshape(-1)
        self.args = self.arguments.new(
            **job_arguments(simd, job, self._table), **cut.fields, thread_bytes=self.thread_bytes
        )
        self._flops = job.problem.flops
        self._operands = self.arguments.positions(*operands)
        self._share(shared_bytes, shared)
        self._first = self._second = (0, 0)
        self._exact: Any = None

    def _share(self, size: int, argument: str) -> None:
        """Have ``size`` bytes that all threads share, and their address in an ``argument``."""
        self._start, self._shared_bytes = _page_after(ARGUMENTS_BYTES + size), _page_after(size)
        self._parts = self.arguments.positions(argument, "workspace")

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
        memory = buffers.scratch(self._start + threads * self.thread_bytes)
        offsets = (ARGUMENTS_BYTES, self._start)
        execute(self.args, memory, self._operands, arrays, self._parts, offsets, self._first, self._second, threads)
        infinite = memory[8 * self._INFINITE]  # the number's lowest byte
        buffers.give_back(memory)
        return not infinite

    def record(self, program: ProgramBuilder, *places: Place | None, watch: bool = False) -> None:
        """Let a program run it, with operands in these places.

        The program's flag goes up where numbers that aren't finite may have spread further than they should: by
        ``watch`` for any that the plan had a look at.
        """
        threads = workers.threads_for(self._flops)
        shared, own = self._parts
        parts = (shared, 0), (own, self._shared_bytes)
        workspace = Workspace(self._shared_bytes + threads * self.thread_bytes, parts)
        steps = [Step(task, count, threads) for task, count in (self._first, self._second)]
        flag = self._INFINITE if watch or self._SPREADS else None
        program.add(self.args, zip(self._operands, places, strict=True), steps, workspace, flag, self)

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

    def __init__(self, simd: Simd, job: Job, cut: Cut, thread_bytes: int, shared_bytes: int) -> None:
        operands = "source", "weight", "bias", "target"
        super().__init__(simd, job, cut, thread_bytes, shared_bytes, operands, "panels")

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; return whether the weight was finite."""
        finite = self._execute(source, weight, bias, target)
        if finite or self.fallback is None:
            return finite
        return bool(self.exact().run(source, weight, bias, target))


class WeightGradient(Plan):
    """A weight's gradient, perhaps in several parts that are added up."""

    def __init__(
        self,
        simd: Simd,
        job: Job,
        cut: Cut,
        thread_bytes: int,
        operands: tuple[str, ...] = ("source", "grad", "target"),
    ) -> None:
        p = job.problem
        self.numbers = p.groups * p.rows * p.channels * len(p.taps)
        parts = cut.splits if cut.splits > 1 else 0
        super().__init__(simd, job, cut, thread_bytes, parts * self.numbers * simd.itemsize, operands, "partial")
        if parts:
            self._second = reduce.add_parts(simd), reduce.tasks(self.numbers)

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        if not self._execute(source, grad, target) and self.fallback is not None:
            self.exact().run(source, grad, target)


def job_arguments(simd: Simd, job: Job, table: np.ndarray) -> dict[str, int]:
    """Return the arguments that a job alone determines; ``table`` is that of its taps."""
    p = job.problem
    return {
        "taps": table.ctypes.data,
        "limits": _limits(simd, job.floor).ctypes.data,
        "N": p.images,
        "groups": p.groups,
        "depth": p.channels,
        "rows": p.rows,
        "H": job.source[2],
        "W": job.source[3],
        "target_h": job.target[2],
        "target_w": job.target[3],
        "I": p.lattice[0],
        "J": p.lattice[1],
        "DI": p.source_step[0],
        "DJ": p.source_step[1],
        "Y0": job.first[0],
        "YI": p.target_step[0],
        "X0": job.first[1],
        "XJ": p.target_step[1],
        "tap_count": len(p.taps),
        "in_order": job.in_order,
        "by_taps": job.by_taps,
        "weight_row": job.weight[0],
        "weight_depth": job.weight[1],
        "weight_group": job.weight[2],
    }


def panel_bytes(simd: Simd, p: Problem, cut: Any) -> int:
    """Return the size of the whole weight, packed in panels of ``cut.tile_rows`` rows, in bytes."""
    return int(p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps) * simd.itemsize)


def extent(p: Problem) -> dict[str, int]:
    """Return the arguments that say how far the taps go."""
    rows, columns = p.grid
    return {"top": rows[0], "left": columns[0], "reach": rows[-1] - rows[0]}


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@cache
def _limits(simd: Simd, floor: float) -> np.ndarray:
    return np.array([-np.inf, floor], simd.dtype)
