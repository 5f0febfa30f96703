"""A clock that is told the time, small problems, and the results of a GPU that there is none of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastconv.bench import contestants
from fastconv.bench.contestants import CUDA
from fastconv.bench.event import record
from fastconv.bench.gpu import problems
from fastconv.bench.gpu.targets import EPOCH
from fastconv.bench.problems import parse, pool
from fastconv.bench.results import Limit, Results

CONV = parse("N=1 C=2 H=4 K=2 R=3 padding=1")
POOL = pool("tiny", "tiny", "max", 1, 2, 4, 2)

LIMIT = Limit(60e12, {2**24: 6e12, 2**31: 4e12})


class ToldClock:
    """Each call takes as long as its contestant was said to; who is timed is noted."""

    def __init__(self, seconds: float = 1e-4, lost: bool = False) -> None:
        self.seconds = seconds
        self.lost = lost
        self.timed: list[tuple[Callable[[], Any], int, int, bool]] = []

    def laps(self, call: Callable[[], Any], laps: int, launches: int) -> list[float]:
        self.timed.append((call, laps, launches, torch.backends.cudnn.allow_tf32))
        return [self.seconds] * laps

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        result = call()

        def replay() -> Any:
            for old, new in zip(_tensors(result), _tensors(call()), strict=True):
                old.copy_(new)
            return result

        return replay

    def settle(self) -> None:
        if self.lost:
            raise RuntimeError("the device is lost")


def _tensors(result: Any) -> list[torch.Tensor]:
    return [each for each in (result if isinstance(result, tuple) else (result,)) if each is not None]


def results(speeds: dict[str, float], leave_out: str = "", epoch: tuple[str, str] | None = None) -> Results:
    """Return the results of contestants, each at its speed of ``speeds`` in every operation: 1 is the limit's speed."""
    records = [
        record(problem, operation, name, [LIMIT.floor(problem.flops(operation), problem.bytes(operation)) / speed])
        for problem in problems.contest()
        for operation in problem.operations
        for name, speed in speeds.items()
        if contestants.entries(CUDA)[name].joins(problem) and problem.name != leave_out
    ]
    environment = {
        EPOCH.format(name): f"{time} s" for name, time in zip(("torch", "fastconv.cuda"), epoch or (), strict=False)
    }
    return Results({"processor": "Synthetic GPU", "commit": "0123abc", **environment}, LIMIT, records)


SPEEDS = {
    "torch": 0.8,
    "torch.graph": 0.8,
    "torch.tf32": 2.0,
    "fastconv.cuda": 0.72,
    "fastconv.cuda.graph": 0.9,
    "fastconv.cuda.tf32": 1.0,
    "fastconv.cuda:gemm": 0.7,
}
