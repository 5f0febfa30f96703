"""The contest: every contestant in a process of its own, taking turns in short bursts, each verified first.

For a problem and an operation the contestants prepare one after another, and a result that differs from torch's in
float64 disqualifies. Then they burst in turns, another one first in each round, so that a disturbance hits all alike
and none always runs on cores that another has just heated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from bench import contestants, worker
from bench.arrays import Result, expected, fault, operands
from bench.problems import Problem
from bench.racers import Racer, start
from bench.results import Record

PATIENCE = 1.0
"""Seconds: whose call takes longer is timed in one burst only."""


@dataclass(frozen=True)
class Rules:
    """How the contest goes: threads of each contestant, bursts, and seconds of a burst."""

    threads: int
    bursts: int = 9
    seconds: float = 0.05


def hold(
    problems: Sequence[Problem],
    operations: Sequence[str],
    names: Sequence[str],
    rules: Rules,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[Record]:
    """Let the contestants ``names`` run every operation of every problem; ``tell`` hears what is going on.

    Records come as they are made, so that a contest that is broken off leaves those it has.

    Raises:
        KeyError: a name that `bench.contestants.entries` doesn't list.
    """
    with started(names, rules.threads) as racers:
        for problem in problems:
            for operation in (o for o in operations if o in problem.operations):
                tell(f"{problem.name} {operation}")
                yield from event(problem, operation, racers, rules)


def event(problem: Problem, operation: str, racers: Sequence[Racer], rules: Rules) -> list[Record]:
    """One operation of one problem: verify everyone, then burst in turns."""
    record = Record(
        problem.name,
        sorted(problem.sets),
        problem.kind,
        operation,
        "",
        problem.flops(operation),
        problem.bytes(operation),
    )
    try:
        right = expected(problem, operation, operands(problem))
    except (MemoryError, RuntimeError) as error:  # torch's allocator raises a RuntimeError
        why = f"what is right can't be computed here: {str(error).partition(chr(10))[0]}"
        return [replace(record, contestant=racer.name, bursts=[], trouble=why, way=None) for racer in racers]
    troubles, ways = {}, {}
    for racer in racers:
        troubles[racer.name], ways[racer.name] = _ready(racer, problem, operation, right)
    times: dict[str, list[float]] = {racer.name: [] for racer in racers}
    for turn in range(rules.bursts):
        first = turn % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            bursts = times[racer.name]
            if troubles[racer.name] is None and not (bursts and bursts[0] > PATIENCE):
                seconds, troubles[racer.name] = racer.ask("burst", rules.seconds)
                bursts += [] if seconds is None else [seconds]
    return [
        replace(record, contestant=name, bursts=times[name], trouble=troubles[name], way=ways[name])
        for name in (racer.name for racer in racers)
    ]


@contextmanager
def started(names: Sequence[str], threads: int) -> Iterator[list[Racer]]:
    """The contestants' processes, ended with the block."""
    known = contestants.entries()
    for name in names:
        if name not in known:
            raise KeyError(f"no contestant is called {name!r}; here are {', '.join(known)}")
    with ExitStack() as stack:
        yield [start(name, worker.serve, threads, stack) for name in names]


def _ready(racer: Racer, problem: Problem, operation: str, right: Result) -> tuple[str | None, str | None]:
    """Why it may not run - too slow by far, no such operation, an error, or a wrong result - or how it will."""
    most = contestants.entries()[racer.name].most_flops
    if most is not None and problem.flops(operation) > most:
        return f"left out above {most / 1e9:g} GFLOP: a call would take seconds", None
    answer, trouble = racer.ask("prepare", problem, operation)
    if trouble is not None:
        return trouble, None
    arrays, way = answer
    wrong = fault(arrays, right)
    return (None, way) if wrong is None else (f"WRONG RESULT: {wrong}", None)
