"""Where contestants compute: the processor and an NVIDIA GPU.

The modules `cpu` and `cuda` have their operands, clocks and switches; `cpu_limits` and `cuda_limits` measure what they
can do; `events` is the GPU's clock.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from fastconv.bench.contestants import Call, Entry
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


class Device(Protocol):
    """What a contest needs of a device."""

    name: str
    """As `fastconv.bench.contestants.entries` knows it."""

    def operands(self, problem: Problem) -> Operands:
        """The operands of a problem, where contestants of this device take them from."""

    def switches(self, entry: Entry) -> AbstractContextManager[object]:
        """Within it libraries are set as a contestant wants them."""

    def captured(self, call: Call) -> tuple[Call, int]:
        """A call as one that is replayed without being called, and the number of calls that it replays."""

    def burst(self, call: Call, seconds: float) -> float:
        """The device's clock: the seconds of a call, the median of as many as fit in ``seconds``, of one at least."""

    def settle(self) -> None:
        """Wait for all work; raises RuntimeError if the device is lost."""
