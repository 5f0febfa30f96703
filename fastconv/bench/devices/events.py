"""The GPU's clock: its own events, and calls captured in a CUDA graph.

An event's time has a resolution of half a microsecond, so a lap is of many launches, divided by their number. One call
follows another as fast as the processor can make them: what a short call takes is then the time to make it, which a
graph leaves out. The caches are as the call before left them, so that what fits into the L2 cache is read from there.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from statistics import median
from typing import Any, Protocol

import torch

from fastconv.bench.contestants import Call

CAPTURED = 8
"""Calls in a graph: its launch takes some microseconds, longer than the smallest kernels."""

LAPS = 5
"""Laps of a burst, whose median counts."""

_TRIALS = 10
"""Calls by which a lap's number of them is found; of one alone most is waiting."""

_WARM = 3
"""Calls before a capture, in which nothing may be compiled or tried out any more."""


class Clock(Protocol):
    """What times and captures calls on a GPU, and what stands in for it where there is none."""

    def laps(self, call: Call, laps: int, launches: int) -> list[float]:
        """Seconds of one of a lap's ``launches`` calls, for each lap."""

    def capture(self, call: Call) -> Call:
        """``CAPTURED`` of these calls as one, which gives the last one's result."""

    def settle(self) -> None:
        """Wait for all work; raises RuntimeError if the device is lost."""


def burst(clock: Clock, call: Call, seconds: float) -> float:
    """The median of a burst's laps, which take ``seconds`` together; a call that takes longer than that is made once.

    The first call wakes the GPU up.
    """
    alone = clock.laps(call, 1, 1)[0]
    if alone > seconds:
        return alone
    lap = seconds / LAPS
    each = alone if alone > lap else clock.laps(call, 1, _TRIALS)[0]
    return median(clock.laps(call, LAPS, max(1, ceil(lap / max(each, 1e-6)))))


class Events:
    """The current GPU's clock."""

    def laps(self, call: Call, laps: int, launches: int) -> list[float]:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(laps + 1)]
        events[0].record()
        for event in events[1:]:
            for _ in range(launches):
                call()
            event.record()
        events[-1].synchronize()
        return [before.elapsed_time(after) / 1e3 / launches for before, after in pairwise(events)]

    def capture(self, call: Call) -> Call:
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM):
                call()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CAPTURED):
                result = call()

        def replay() -> Any:
            graph.replay()
            return result

        return replay

    def settle(self) -> None:
        torch.cuda.synchronize()
