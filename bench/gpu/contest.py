"""One event of the contest: every contestant verified, then timed in turns, in bursts, all in one process.

A burst is the median of some laps, a lap many calls; the caches are as the call before left them, so that what fits
into the L2 cache is read from there, for all alike. Another contestant is first in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median

import torch
from torch import Tensor

from bench.gpu.calls import Call, Operands, operands, parts
from bench.gpu.clock import CAPTURED, Clock, Events
from bench.gpu.contestants import CONTESTANTS, Contestant
from bench.gpu.truth import allowed, expected, fault
from bench.problems import Problem
from bench.results import Record

WRONG = "WRONG RESULT"

_TRIALS = 10
"""Calls by which a lap's number of them is found; of one alone most is waiting."""


@dataclass(frozen=True)
class Rules:
    """Bursts of each contestant, laps of a burst, and seconds that a lap takes at least.

    Whose call takes more than ``patience`` seconds has one burst of one call.
    """

    bursts: int = 9
    laps: int = 5
    lap: float = 2e-3
    patience: float = 0.05


@dataclass
class _Racer:
    """A contestant at one event."""

    contestant: Contestant
    call: Call | None = None
    launches: int = 1
    slow: bool = False
    bursts: list[float] = field(default_factory=list)
    way: str | None = None
    trouble: str | None = None

    @property
    def calls(self) -> int:
        """What a launch comes to."""
        return CAPTURED if self.contestant.graph else 1


def on_gpu(problem: Problem, operation: str, names: Sequence[str], rules: Rules) -> list[Record]:
    """`event` on the current GPU, which is left as much memory as before."""
    try:
        return event(problem, operation, names, rules, "cuda", Events())
    finally:
        torch.cuda.empty_cache()


@torch.no_grad()
def event(
    problem: Problem, operation: str, names: Sequence[str], rules: Rules, device: str, clock: Clock
) -> list[Record]:
    """A record of each contestant that an operation of a problem makes a difference to.

    Raises RuntimeError if the device is lost; a contestant that merely fails has its error for a record.
    """
    given = operands(problem, device)
    right = expected(problem, operation, given)
    racers = [_Racer(CONTESTANTS[name]) for name in names if CONTESTANTS[name].joins(problem)]
    for racer in racers:
        _ready(racer, problem, operation, given, right, rules, clock)
    for turn in range(rules.bursts):
        first = turn % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            if racer.trouble is None and not (racer.slow and racer.bursts):
                _burst(racer, rules, clock)
    return [record(problem, operation, r.contestant.name, r.bursts, r.trouble, r.way) for r in racers]


def record(
    problem: Problem,
    operation: str,
    name: str,
    bursts: Sequence[float] = (),
    trouble: str | None = None,
    way: str | None = None,
) -> Record:
    """A contestant's record of an event."""
    figures = problem.flops(operation), problem.bytes(operation)
    sets = sorted(problem.sets)
    return Record(problem.name, sets, problem.kind, operation, name, *figures, list(bursts), trouble, way)


def _ready(
    racer: _Racer,
    problem: Problem,
    operation: str,
    given: Operands,
    right: list[Tensor],
    rules: Rules,
    clock: Clock,
) -> None:
    """Verify a contestant and see how long it takes, or note why it can't run."""
    entrant = racer.contestant
    try:
        with entrant.switches():
            call = entrant.call(problem, operation, given)
            racer.way = entrant.way(problem, operation)
            result = parts(call())
            if entrant.graph:
                call = clock.capture(call)
                result = parts(call())
                for part in result:
                    part.fill_(torch.nan)  # a replay that does nothing is found out
                call()
            wrong = fault(result, right, allowed(problem, operation, entrant.tf32))
            if wrong is not None:
                racer.trouble = f"{WRONG}: {wrong}"
                return
            seconds = clock.laps(call, 1, 1)[0]
            racer.slow = seconds > rules.patience * racer.calls
            if not racer.slow:
                seconds = clock.laps(call, 1, _TRIALS)[0]
    except Exception as error:  # whatever a library raises is its result
        racer.trouble = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        clock.settle()
        return
    racer.call = call
    racer.launches = 1 if racer.slow else max(1, ceil(rules.lap / max(seconds, 1e-6)))


def _burst(racer: _Racer, rules: Rules, clock: Clock) -> None:
    assert racer.call is not None
    with racer.contestant.switches():
        if racer.slow:
            laps = clock.laps(racer.call, 1, 1)
        else:
            racer.call()
            laps = clock.laps(racer.call, rules.laps, racer.launches)
    racer.bursts.append(median(laps) / racer.calls)
