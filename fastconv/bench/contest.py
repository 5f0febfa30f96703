"""The contest: every contestant on every operation of every problem, on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fastconv.bench import apart, contestants, environment, together
from fastconv.bench.child import Child
from fastconv.bench.contestants import CPU, CUDA
from fastconv.bench.devices import cpu_limits, cuda_limits
from fastconv.bench.event import Rules
from fastconv.bench.problems import Problem
from fastconv.bench.results import Limit, Record

_EVENTS = {CPU: apart.events, CUDA: together.events}


def hold(
    problems: Sequence[Problem],
    operations: Sequence[str],
    names: Sequence[str],
    rules: Rules,
    tell: Callable[[str], None] = lambda what: None,
    device: str = CPU,
) -> Iterator[Record]:
    """Let the contestants ``names`` run every operation of every problem; ``tell`` hears what is going on.

    Records come as they are made, so that a contest that is broken off leaves those it has.

    Raises:
        KeyError: a name that `fastconv.bench.contestants.entries` doesn't list for the device.
    """
    known = contestants.entries(device)
    for name in names:
        if name not in known:
            raise KeyError(f"no contestant is called {name!r}; here are {', '.join(known)}")
    with _EVENTS[device](names, rules) as event:
        for problem in problems:
            for operation in (o for o in operations if o in problem.operations):
                tell(f"{problem.name} {operation}")
                yield from event(problem, operation)


def surroundings(names: Sequence[str], threads: int, device: str = CPU) -> tuple[Limit, dict[str, str]]:
    """A device's limits, measured in some 15 s, and the environment of a run on it with these contestants."""
    if device == CPU:
        return cpu_limits.measure(threads), environment.describe(names, threads)
    with Child() as child:
        found: tuple[Limit, dict[str, str]] = child.ask(cuda_limits.measure, patience=together.PATIENCE)
    return found
