"""One event of the contest: an operation of a problem, every contestant verified first, then timed in turns.

Contestants prepare one after another, and a result that differs from torch's in float64 disqualifies. Then they burst
in turns, another one first in each round, so that a disturbance hits all alike and none always runs on cores that
another has just heated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fastconv.bench import contestants, truth
from fastconv.bench.contestants import Entry
from fastconv.bench.devices import Device
from fastconv.bench.problems import Problem
from fastconv.bench.results import Record

WRONG = "WRONG RESULT"

Event = Callable[[Problem, str], list[Record]]
"""What an event is to the contest: an operation of a problem in, the contestants' records out."""


@dataclass(frozen=True)
class Rules:
    """How a contest goes: threads of each contestant, bursts, and seconds of a burst.

    Whose call takes more than ``patience`` seconds is timed in one burst only.
    """

    threads: int
    bursts: int = 9
    seconds: float = 0.05
    patience: float = 1.0


class Racer(Protocol):
    """A contestant, in this process or in one of its own."""

    @property
    def name(self) -> str:
        """As in the table of contestants."""

    def ask(self, command: str, *arguments: Any) -> tuple[Any, str | None]:
        """The answer to a command of `fastconv.bench.entrant.Entrant`, or why there is none."""


def event(problem: Problem, operation: str, racers: Sequence[Racer], rules: Rules, device: Device) -> list[Record]:
    """A record of each contestant that the problem makes a difference to.

    Raises RuntimeError if the device is lost; a contestant that merely fails has its error for a record.
    """
    known = contestants.entries(device.name)
    racers = [racer for racer in racers if known[racer.name].joins(problem)]
    try:
        right = truth.expected(problem, operation, device.operands(problem))
    except (MemoryError, RuntimeError) as error:  # torch's allocator raises a RuntimeError
        device.settle()
        why = f"what is right can't be computed here: {str(error).partition(chr(10))[0]}"
        return [record(problem, operation, racer.name, trouble=why) for racer in racers]
    troubles, ways = {}, {}
    for racer in racers:
        found = _ready(racer, known[racer.name], problem, operation, right)
        troubles[racer.name], ways[racer.name] = found
    times: dict[str, list[float]] = {racer.name: [] for racer in racers}
    for turn in range(rules.bursts if racers else 0):
        first = turn % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            bursts = times[racer.name]
            if troubles[racer.name] is None and not (bursts and bursts[0] > rules.patience):
                seconds, troubles[racer.name] = racer.ask("burst", rules.seconds)
                bursts += [] if seconds is None else [seconds]
    return [record(problem, operation, name, times[name], troubles[name], ways[name]) for name in times]


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
    made = (problem.name, sets, problem.kind, operation, name, *figures, list(bursts), trouble, way)
    return Record(*made, dtype=problem.dtype)


def _ready(
    racer: Racer, entry: Entry, problem: Problem, operation: str, right: Sequence[Tensor]
) -> tuple[str | None, str | None]:
    """Why a contestant may not run (too slow by far, no such operation, an error, a wrong result), or how it will."""
    if entry.most_flops is not None and problem.flops(operation) > entry.most_flops:
        return f"left out above {entry.most_flops / 1e9:g} GFLOP: a call would take seconds", None
    answer, trouble = racer.ask("prepare", problem, operation)
    if trouble is not None:
        return trouble, None
    arrays, way = answer
    wrong = truth.fault(arrays, right, truth.allowed(problem, operation, entry.tf32))
    return (None, way) if wrong is None else (f"{WRONG}: {wrong}", None)
