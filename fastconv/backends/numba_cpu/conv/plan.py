"""A plan is a job that is ready to run: the arguments that compiled tasks read, the tasks, and the memory they need.

A plan is made once for a job and data type; a run needs only the arrays' addresses and some memory. Each algorithm has
two kinds of plan, a `Convolution` and a `WeightGradient`, in the file plan.py of its folder. A kind of plan gives the
tiling of a problem, its predicted cost, and the number of tasks; the planner compares these.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from fastconv.backends.numba_cpu.conv.epilogue import Epilogue
from fastconv.backends.numba_cpu.conv.job_arguments import job_arguments
from fastconv.backends.numba_cpu.gemm import elementwise, reduce
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd

_PAGE = 4096
"""Workspaces of threads, and shared memory, are rounded up to pages of this size, in bytes."""

_LINE = 64
"""Size of a cache line, at whose beginning a packed weight begins, in bytes."""

_PLAN_BYTES, _TAP_BYTES = 4096, 128
"""Approximate sizes of a plan's Python objects without its tables, and of a tap in its problem, in bytes."""


class Cut(Protocol):
    """A `Cut` is the tiling of a problem; each algorithm has a class of tilings with these attributes."""

    @property
    def fields(self) -> dict[str, int]:
        """Return the arguments of a job that describe this tiling."""
        ...

    @property
    def splits(self) -> int:
        """Return the number of parts of the reduction, whose results are added up at the end."""
        ...

    @property
    def cycles(self) -> float:
        """Return the predicted cycles of all tasks, on a processor that does one vector of multiply-adds a cycle."""
        ...


class Plan(Operation):
    """A `Plan` runs a job: it holds two steps of tasks, and the size of the memory they need.

    A third step, ``_packing``, packs the weight for the second one where a network keeps it so.
    """

    arguments: ClassVar[type[ConvArguments]] = ConvArguments
    """The class of its tasks' arguments."""

    fallback: ClassVar[Any] = None
    """The kind of plan that recomputes a result with infinity or NaN: its sums have only the terms of the definition.
    None if that holds for this kind of plan too."""

    packs: bool = False
    """True if a step packs the weight and does nothing else: ``_packing`` or, if that is None, the first one."""

    keeps: bool = True
    """False if what a plan that ``packs`` writes is too large for a network to keep it."""

    costs_weight: ClassVar[bool] = False
    """True if the predicted cycles of its tilings include what is done to the weight."""

    _INFINITE = ConvArguments.words["infinite"]

    _SPREADS = False
    """Whether a number that isn't finite may spread to results that don't depend on it by the definition; a task then
    sets the flag ``infinite``."""

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
        """Make a plan that needs ``thread_bytes`` bytes for each thread, and ``shared_bytes`` for all threads together.

        ``operands`` are the names of the arguments for the operands' addresses; ``shared`` is the name of the argument
        for the address of the memory that all threads share.
        """
        super().__init__()
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
        self._packing: tuple[int, int] | None = None
        self._exact: Any = None

    def _set(self, values: dict[str, int]) -> None:
        """Set arguments by name."""
        for name, value in values.items():
            self.args[name] = value

    @property
    def spreads(self) -> bool:
        """Return True if a number that isn't finite may spread to results that don't depend on it."""
        return self._SPREADS

    def _share(self, size: int, argument: str) -> None:
        """Reserve ``size`` bytes that all threads share; ``argument`` is the name of the argument for their address."""
        self._shared_bytes = _page_after(size)
        self._parts = self.arguments.positions(argument, "workspace")

    @classmethod
    def of(cls, simd: Simd, job: Job, cut: Any) -> Any:
        """Return the plan of a job, by a ``cut`` that `tiling` found for its problem."""
        return cls(simd, job, cut)  # type: ignore[call-arg]

    @staticmethod
    def tiling(simd: Simd, p: Problem) -> Any:
        """Return the cheapest `Cut` of a problem, or None where the algorithm can't do it."""
        raise NotImplementedError

    @staticmethod
    def tasks(p: Problem, cut: Any) -> int:
        """Return the number of tasks of the step that does the multiply-adds, for a problem and its tiling."""
        raise NotImplementedError

    @property
    def panels_bytes(self) -> int:
        """Return the size of the memory that a plan which ``packs`` writes the weight to, in bytes."""
        return self._shared_bytes

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        threads = workers.threads_for(self._flops)
        shared, own = self._parts
        parts = (shared, 0), (own, self._shared_bytes)
        workspace = Workspace(self._shared_bytes + threads * self.thread_bytes, parts)
        steps = [Step(task, count, threads) for task, count in (self._first, self._second)]
        flag = self._INFINITE if watch or self._SPREADS else None
        program.add(self.args, zip(self._operands, places, strict=True), steps, workspace, flag)

    @property
    def nbytes(self) -> int:
        """Return the approximate size of the plan and its tables, in bytes."""
        parts = [part for value in vars(self).values() for part in (value if isinstance(value, tuple) else (value,))]
        tables = sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
        return _PLAN_BYTES + _TAP_BYTES * len(self.job.problem.taps) + tables

    def exact(self) -> Any:
        """Return the ``fallback`` plan of the same job, which is made at the first call."""
        if self._exact is None:
            self._exact = self.fallback(self.simd, self.job, self.fallback.tiling(self.simd, self.job.problem))
        return self._exact


class Convolution(Epilogue, Plan):
    """This plan computes a forward pass or an input gradient: all lattice points read the same taps of the source."""

    def __init__(
        self, simd: Simd, job: Job, cut: Cut, thread_bytes: int, shared_bytes: int, shared: str = "panels"
    ) -> None:
        operands = "source", "weight", "bias", "target"
        super().__init__(simd, job, cut, thread_bytes, shared_bytes, operands, shared)

    def record_packing(self, program: ProgramBuilder, weight: Place, panels: Place) -> None:
        """Add the step that packs the weight to a program; the plan is one that ``packs``."""
        self._record_steps(program, [self._packing or self._first], {"weight": weight, "panels": panels})

    def record_packed(
        self,
        program: ProgramBuilder,
        source: Place,
        panels: Place,
        bias: Place | None,
        target: Place,
        residual: Place | None = None,
    ) -> None:
        """Add the convolution by a weight that `record_packing` packed to a program."""
        places = {"source": source, "panels": panels, "bias": bias, "target": target, "residual": residual}
        steps = [self._second] if self._packing is None else [self._first, self._second]
        self._record_steps(program, steps, places)

    def _record_steps(
        self, program: ProgramBuilder, steps: list[tuple[int, int]], places: dict[str, Place | None]
    ) -> None:
        threads = workers.threads_for(self._flops)
        # If the weight is packed by a step of its own, the others may share memory.
        before = self._shared_bytes if len(steps) > 1 else 0
        shared, own = self._parts
        parts = ((shared, 0), (own, before)) if before else ((own, 0),)
        workspace = Workspace(before + threads * self.thread_bytes, parts)
        there = zip(self.arguments.positions(*places), places.values(), strict=True)
        flag = self._INFINITE if self._SPREADS else None
        program.add(self.args, there, [Step(*step, threads) for step in steps], workspace, flag)
        program.keep(self)

    def among(self, channels: int) -> Self | None:
        return self._with(target_channels=channels)

    def _with(self, **values: int) -> Self:
        """Return a copy of the plan with other arguments."""
        plan = copy.copy(self)
        plan.args, plan._alone = self.args.copy(), {}
        plan._set(values)
        return plan

    def _with_activation(self, function: Callable[[], int]) -> Self | None:
        """Return a copy of the plan whose tasks activate their results, or None if these aren't all of the target."""
        p = self.job.problem
        whole = p.target_step == (1, 1) and p.lattice == self.job.target[2:]
        return self._with(activation=function()) if whole else None

    def _with_residual(self) -> Self:
        """Return a copy of the plan whose tasks read the argument ``residual``."""
        plan = self._with()
        plan._operands = (*self._operands, *self.arguments.positions("residual"))
        return plan

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; return False if the weight had NaN or infinity."""
        finite = self.execute(source, weight, bias, target)
        if finite or self.fallback is None:
            return finite
        return bool(self.exact().run(source, weight, bias, target))

    def pack(self, weight: np.ndarray) -> np.ndarray | None:
        """Return the weight as `record_packing` packs it; None if its numbers ask for the fallback."""
        program = ProgramBuilder()
        self.record_packing(program, program.operand(), program.operand())
        memory = np.empty(self.panels_bytes + _LINE, np.uint8)
        panels = memory[-memory.ctypes.data % _LINE :]
        return panels if program.finish().run((weight, panels)) else None


class WeightGradient(Plan):
    """This plan computes a weight gradient, in one part or in several that are added up."""

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

    @property
    def multiplies_zeros(self) -> bool:
        """Return True if numbers are multiplied by zeros besides the definition's products.

        An infinite number then gives a false NaN, for which the result is searched; the ``fallback`` computes it again.
        """
        return False

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target`` with the weight gradient."""
        finite = self.execute(source, grad, target)
        if self.multiplies_zeros:
            finite = not np.isnan(target).any()
        if not finite and self.fallback is not None:
            self.exact().run(source, grad, target)

    def record(self, program: ProgramBuilder, *places: Place | None, watch: bool = False) -> None:
        """Record the plan as a job of a program, whose flag is set if false NaN must be replaced by the fallback."""
        super().record(program, *places, watch=watch)
        if self.multiplies_zeros:
            *_, target = places
            assert target is not None
            elementwise.record_look(program, self.simd, target, self.numbers)


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
