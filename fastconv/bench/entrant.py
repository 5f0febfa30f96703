"""A contestant at work in this process: it prepares a problem, gives its result to be checked, and times bursts."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any

from fastconv.bench import contestants
from fastconv.bench.contestants import Call, Contestant, NotOfferedError
from fastconv.bench.devices import Device
from fastconv.bench.problems import Problem
from fastconv.bench.process import trouble

NOT_OFFERED = "not offered: "
"""Begins the trouble of a contestant that has no such operation, which is no failure."""


class Entrant:
    """A contestant on a device, by its row of the table."""

    def __init__(self, name: str, device: Device, threads: int) -> None:
        self.name = name
        self._device = device
        self._threads = threads
        self._entry = contestants.entries(device.name)[name]
        self._contestant: Contestant | None = None
        self._call: Call = _nothing
        self._calls = 1

    def ask(self, command: str, *arguments: Any) -> tuple[Any, str | None]:
        """The answer to a command, "prepare" or "burst" with its arguments, or why there is none.

        Raises RuntimeError if the device is lost.
        """
        commands: dict[str, Callable[..., Any]] = {"prepare": self.prepare, "burst": self.burst}
        try:
            with self._device.switches(self._entry):
                return commands[command](*arguments), None
        except NotOfferedError as error:
            why = f"{NOT_OFFERED}{error}"
        except Exception as error:  # another library may raise anything, and that is its result
            why = trouble(error)
        self._device.settle()
        return None, why

    def prepare(self, problem: Problem, operation: str) -> tuple[tuple[Any, ...], str | None]:
        """The arrays of the result, and the algorithm where the contestant has a choice."""
        device = self._device
        if self._entry.common and not problem.common:
            raise NotOfferedError("float32, contiguous and plain poolings are what it is compared in")
        self._contestant = contestant = self._contestant or contestants.make(self.name, self._threads, device.name)
        self._call, self._calls = contestant.prepare(problem, operation, device.operands(problem)), 1
        way = contestants.way(contestant, problem, operation)
        arrays = contestant.arrays(self._call())
        if self._entry.graph:
            self._call, self._calls = device.captured(self._call)
            arrays = contestant.arrays(self._call())
            for array in arrays:
                array[...] = nan  # a replay that does nothing is found out
            self._call()
        return arrays, way

    def burst(self, seconds: float) -> float:
        """The seconds of a call in a burst of ``seconds``."""
        return self._device.burst(self._call, seconds) / self._calls


def _nothing() -> None:
    raise RuntimeError("nothing is prepared")
