"""Contestants apart, as on the processor: each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from fastconv.bench.devices.cpu import Cpu
from fastconv.bench.event import Event, Rules, event
from fastconv.bench.problems import Problem
from fastconv.bench.racers import start
from fastconv.bench.results import Record
from fastconv.bench.worker import serve


@contextmanager
def events(names: Sequence[str], rules: Rules) -> Iterator[Event]:
    """The contestants' processes, ended with the block, and an event among them."""
    device = Cpu()
    with ExitStack() as stack:
        racers = [start(name, serve, rules.threads, stack) for name in names]

        def among_them(problem: Problem, operation: str) -> list[Record]:
            return event(problem, operation, racers, rules, device)

        yield among_them
