"""Contestants together, as on a GPU: all in one process, which may die.

A GPU does one thing after another, so contestants don't disturb one another as threads do, and they share the operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from fastconv.bench import contestants
from fastconv.bench.child import Child, ChildError
from fastconv.bench.contestants import CUDA
from fastconv.bench.devices.cuda import Cuda
from fastconv.bench.entrant import Entrant
from fastconv.bench.event import Event, Rules, event, record
from fastconv.bench.problems import Problem
from fastconv.bench.results import Record

PATIENCE = 600.0
"""Seconds that an event may take, and the measuring of a GPU's limits."""


@contextmanager
def events(names: Sequence[str], rules: Rules) -> Iterator[Event]:
    """A process that is started afresh whenever a contestant has lost the GPU, and an event in it."""
    with Child() as child:

        def in_it(problem: Problem, operation: str) -> list[Record]:
            return survived(child, problem, operation, names, rules)

        yield in_it


def survived(child: Child, problem: Problem, operation: str, names: Sequence[str], rules: Rules) -> list[Record]:
    """An event's records; if it brings the process down, each contestant's alone, to see whose fault it is."""
    known = contestants.entries(CUDA)
    names = [name for name in names if known[name].joins(problem)]
    try:
        found: list[Record] = child.ask(on_gpu, problem, operation, names, rules, patience=PATIENCE)
        return found
    except ChildError as error:
        if len(names) == 1:
            return [record(problem, operation, names[0], trouble=str(error))]
        return [each for name in names for each in survived(child, problem, operation, [name], rules)]


def on_gpu(problem: Problem, operation: str, names: Sequence[str], rules: Rules) -> list[Record]:
    """An event on the current GPU, which is left as much memory as before."""
    try:
        return in_one_process(problem, operation, names, rules, Cuda())
    finally:
        torch.cuda.empty_cache()


def in_one_process(problem: Problem, operation: str, names: Sequence[str], rules: Rules, device: Cuda) -> list[Record]:
    """An event among contestants of this process."""
    entrants = [Entrant(name, device, rules.threads) for name in names]
    return event(problem, operation, entrants, rules, device)
