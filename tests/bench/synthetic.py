"""Results made up by rule, so that tests know what a report of them must say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastconv.bench.problems import Problem, select
from fastconv.bench.results import Limit, Record, Results

ENVIRONMENT = {
    "python": "3.12.0",
    "processor": "Synthetic 9000",
    "instruction set": "avx512f",
    "cores": "2 usable of 2",
    "threads": "2",
    "contestants": "onnxruntime 1.27.0, torch 2.13.0",
    "commit": "0123abc",
    "date": "2026-01-02 03:04 UTC",
}
LIMIT = Limit(flops=400e9, bandwidth={2**16: 300e9, 2**20: 150e9, 2**24: 60e9, 2**28: 20e9})

SPEEDS = {"fastconv.numba": 0.8, "fastconv.im2col": 0.3, "fastconv.torch": 0.45, "torch": 0.5, "onnxruntime": 0.6}
"""The part of the limit that each contestant reaches on every problem."""

BURSTS = (1.10, 1.0, 1.04)
"""Each burst over the best one: the median is 4% above it."""


def record(problem: Problem, operation: str, contestant: str, best: float | None, trouble: str | None = None) -> Record:
    """A contestant whose best burst has ``best`` seconds a call; None for one that failed."""
    return Record(
        problem.name,
        sorted(problem.sets),
        problem.kind,
        operation,
        contestant,
        problem.flops(operation),
        problem.bytes(operation),
        [] if best is None else [best * burst for burst in BURSTS],
        trouble,
    )


def results(
    sets: Iterable[str] = ("smoke",),
    speeds: Mapping[str, float] = SPEEDS,
    environment: Mapping[str, str] = ENVIRONMENT,
    extra: Iterable[Record] = (),
) -> Results:
    """Every operation of every problem of ``sets``, each contestant at its part of the limit."""
    records = [
        record(problem, operation, contestant, _floor(problem, operation) / speed)
        for problem in select(sets)
        for operation in problem.operations
        for contestant, speed in speeds.items()
    ]
    return Results(dict(environment), LIMIT, [*records, *extra])


def _floor(problem: Problem, operation: str) -> float:
    return LIMIT.floor(problem.flops(operation), problem.bytes(operation))
