"""The contest: for each network, batch and mode every contestant in a process of its own, verified, then in turns.

A result that differs from plain torch's in float64 disqualifies: outputs in inference, the loss and every parameter's
gradient in training. All begin with the same weights and the same batch. Then they burst in turns, another one first
in each round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from fastconv.bench.event import Rules
from fastconv.bench.networks import passes, worker, zoo
from fastconv.bench.networks.passes import INFERENCE, Material
from fastconv.bench.networks.results import Event, Record
from fastconv.bench.networks.zoo import Subject
from fastconv.bench.process import trouble
from fastconv.bench.racers import Racer, start

Tell = Callable[[str], None]


def hold(
    events: Sequence[tuple[Event, Subject, Sequence[str]]], rules: Rules, tell: Tell = lambda what: None
) -> Iterator[list[Record]]:
    """Each event's records, a contestant each; ``tell`` hears what is going on. A failure is told in its record."""
    for event, subject, names in events:
        yield _held(event, subject, names, rules, tell)


def _held(event: Event, subject: Subject, names: Sequence[str], rules: Rules, tell: Tell) -> list[Record]:
    title = f"{event.network}, {event.mode}, batch {event.batch}"
    with tempfile.TemporaryDirectory(prefix="fastconv-networks-") as folder, ExitStack() as stack:
        try:
            tell(f"{title}: what is right, in float64")
            worker.save(material(subject, event.mode, event.batch), Path(folder))
        except Exception as error:  # a network of one's own may raise anything, and so may one without enough memory
            why = f"plain torch can't run it: {trouble(error)}"
            return [Record(event.mode, event.batch, event.network, name, trouble=why) for name in names]
        racers = [start(name, worker.serve, rules.threads, stack) for name in names]
        found, troubles = {}, {}
        for racer in racers:
            tell(f"{title}: {racer.name} gets ready")
            found[racer.name], troubles[racer.name] = racer.ask("prepare", subject, event.mode, Path(folder))
        times = _turns(racers, troubles, rules, lambda turn: tell(f"{title}: round {turn} of {rules.bursts}"))
    records = []
    for name in names:
        off, memory = found[name] or (None, None)
        failed = troubles[name]
        bursts = [] if failed else times[name]
        records.append(Record(event.mode, event.batch, event.network, name, bursts, failed, off, memory))
    return records


def _turns(
    racers: Sequence[Racer], troubles: dict[str, str | None], rules: Rules, tell: Callable[[int], None]
) -> dict[str, list[float]]:
    """Seconds of a call in each burst; who fails in one is out."""
    times: dict[str, list[float]] = {racer.name: [] for racer in racers}
    for turn in range(rules.bursts):
        tell(turn + 1)
        first = turn % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            if troubles[racer.name] is None:
                seconds, troubles[racer.name] = racer.ask("burst", rules.seconds)
                times[racer.name] += [] if seconds is None else [seconds]
    return times


def material(subject: Subject, mode: str, batch: int) -> Material:
    """Weights, a batch with labels, and what is right, by torch's own layers in float64."""
    model = zoo.build(subject)
    generator = torch.Generator().manual_seed(zoo.SEED)
    x = torch.randn(batch, *subject.shape, generator=generator)
    labels = torch.randint(2**31 - 1, (batch,), generator=generator)
    zoo.calibrate(model, torch.randn(max(8, batch), *subject.shape, generator=generator))
    state = deepcopy(model.state_dict())  # with the versions of its layers, which MNASNet asks for
    model.train(mode != INFERENCE)
    try:
        expected = _right(deepcopy(model).double(), x.double(), labels, mode)
    except RuntimeError:  # a network may make constants in float32 that don't mix with float64
        expected = _right(model, x, labels, mode)
    return Material(state, x, labels, [each.detach().float() for each in expected])


def _right(model: nn.Module, x: torch.Tensor, labels: torch.Tensor, mode: str) -> list[torch.Tensor]:
    made = passes.inference(model, x) if mode == INFERENCE else passes.training(model, model, x, labels)
    return made.results()
