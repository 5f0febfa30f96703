"""A planned convolution has its weight packed once, if its algorithm packs it; a short one is called directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.compiler import Kernel, compiled, inner
from fastconv.backends.compiler.builtin import builtin
from fastconv.backends.numba_cpu.calls import entry, short, table, tensors
from fastconv.backends.numba_cpu.calls.objects import DATA, DTYPE, FLAGS, LOW, PLAIN, RANK, SIZES, TYPE, WRITEABLE
from fastconv.backends.numba_cpu.calls.record import DIMS, ITEM_BYTES, KEY, KEY_WORDS, SHAPE, STATE, Record, compute
from fastconv.backends.numba_cpu.calls.record import DTYPE as RESULT_DTYPE
from fastconv.backends.numba_cpu.conv.plan import Convolution
from fastconv.backends.numba_cpu.runtime.program import Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers
from fastconv.backends.planned import Planned, Primitive
from fastconv.backends.short import ABSENT, RESULT
from fastconv.geometry import ConvGeometry
from fastconv.known import TensorInterface
from fastconv.threads import get_num_threads


class PlannedConvolution(Planned):
    """Runs a program whose steps are those of the plans without the packing of the weight."""

    def __init__(self, backend: Primitive, w: Any, b: Any, geometry: ConvGeometry, plans: list[Any]) -> None:
        """Pack the weight for each plan that packs it; without a bias, plans may take the operands exchanged."""
        super().__init__(backend, w, b, geometry)
        self._parts = [_packed(plan, w) for plan in plans]
        self._panels = tuple([panels for _, panels in self._parts if panels is not None])
        self._programs: dict[int, Program] = {}
        self._records: list[Record] = []

    def compute(self, x: Any, y: Any) -> None:
        if not self._program().run((x, self.w, self.b, y, *self._panels)):
            super().compute(x, y)

    def known(self, shape: tuple[int, ...], result: tuple[int, ...]) -> Callable[[Any, Any], Any] | None:
        record = self._recorded(table.array_key(self.w.dtype, shape), result, table.new_state)
        if record is None:
            return None
        call: Callable[[Any, Any], Any] = builtin("plan", planned_call(), record.words)
        return call

    def known_of_tensor(
        self, words: Sequence[int], result: tuple[int, ...], interface: TensorInterface
    ) -> Callable[[Any], Any] | None:
        record = self._recorded(words, result, lambda: table.tensor_state(interface, 1))
        if record is None:
            return None
        call: Callable[[Any], Any] = builtin("plan", tensors.planned_call(), record.words)
        return call

    def _recorded(
        self, key: Sequence[int], result: tuple[int, ...], new_state: Callable[[], np.ndarray]
    ) -> Record | None:
        """Return the record for calls with a key, if the program is short."""
        operands = 0, self.w, ABSENT if self.b is None else self.b, RESULT, *self._panels
        found = short.planned(self._program(), operands, self.geometry, self.w.dtype)
        if found is None or not table.probe():
            return None
        state, record = new_state(), Record(key, found.program, found.operands, result, self.w.dtype)
        record.words[STATE] = state.ctypes.data
        record.keep(state)
        self._records.append(record)
        return record

    def _program(self) -> Program:
        """Return the program for the number of threads that is set now."""
        threads = get_num_threads()
        if threads not in self._programs:
            builder = ProgramBuilder()
            x, w, b, y = [builder.operand() for _ in range(4)]
            for plan, panels in self._parts:
                if panels is not None:
                    plan.record_packed(builder, x, builder.operand(), b, y)
                elif plan.job.exchanged:
                    plan.emit(builder, w, x, y, watch=False)
                else:
                    plan.emit(builder, x, w, b, y, watch=False)
            self._programs[threads] = builder.finish()
        return self._programs[threads]


def _packed(plan: Any, w: Any) -> tuple[Any, Any]:
    """Return a plan and its packed weight, None if it packs none; the fallback where the weight asks for it."""
    if not isinstance(plan, Convolution) or not plan.packs:
        return plan, None
    panels = plan.pack(w)
    return (plan, panels) if panels is not None else _packed(plan.exact(), w)


@inner
def _count(sizes, dims):
    count = 1
    for dim in range(dims):
        count *= load_integer(sizes, dim)
    return count


@inner
def _takes(state, record, x, out):
    """Return True if ``out`` is an array for the record's result that shares no memory with ``x``."""
    if load_integer(out, TYPE) != load_integer(state, entry.NDARRAY):
        return False
    dims, wanted = load_integer(record, DIMS), PLAIN | WRITEABLE
    alike = load_integer(out, DTYPE) == load_integer(record, RESULT_DTYPE) and load_integer(out, RANK) & LOW == dims
    if not alike or load_integer(out, FLAGS) & wanted != wanted:
        return False
    if not entry.is_same(load_integer(out, SIZES), load_integer(record, SHAPE), dims):
        return False
    size, read, written = load_integer(record, ITEM_BYTES), load_integer(x, DATA), load_integer(out, DATA)
    read_end = read + size * _count(load_integer(x, SIZES), load_integer(x, RANK) & LOW)
    return read_end <= written or written + size * _count(load_integer(out, SIZES), dims) <= read


def _planned_call(owner, arguments, count):
    record = load_integer(owner, DATA)
    state, x, out = load_integer(record, STATE), load_integer(arguments, 0), load_integer(arguments, 1)
    missed, key = load_integer(state, entry.MISSED), stack_integers()
    if load_integer(x, TYPE) != load_integer(state, entry.NDARRAY):
        return entry.shared(state, missed)
    words = entry.write_array(x, key)
    if words != load_integer(record, KEY_WORDS) or not entry.is_same(key, load_integer(record, KEY), words):
        return entry.shared(state, missed)
    if out == load_integer(state, entry.NONE):
        return entry.answer(state, record, arguments)
    fine = _takes(state, record, x, out) and compute(record, arguments, out, 0)
    return entry.shared(state, out if fine else missed)


@compiled
def planned_call() -> Kernel:
    """Return the address of the function that computes a planned convolution, whose record is its owner."""
    return Kernel(_planned_call, (int, int, int), returns=True)
