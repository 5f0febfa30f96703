"""The processor: operands are NumPy arrays, and its clock is that of the system."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from statistics import median
from time import perf_counter

from fastconv.bench.contestants import CPU, Call, Entry
from fastconv.bench.operands import Operands, on_cpu
from fastconv.bench.problems import Problem


class Cpu:
    """The cores that this process may run on."""

    name = CPU

    def operands(self, problem: Problem) -> Operands:
        return on_cpu(problem)

    def switches(self, entry: Entry) -> AbstractContextManager[object]:
        return nullcontext()

    def captured(self, call: Call) -> tuple[Call, int]:
        return call, 1

    def burst(self, call: Call, seconds: float) -> float:
        return burst(call, seconds)

    def settle(self) -> None:
        """All work is done when a call returns."""


def burst(call: Call, seconds: float) -> float:
    """The median time, in seconds, of the calls that fit in ``seconds``; one call before them wakes the threads up."""
    call()
    times: list[float] = []
    start = perf_counter()
    while not times or perf_counter() - start < seconds:
        before = perf_counter()
        call()
        times.append(perf_counter() - before)
    return median(times)
