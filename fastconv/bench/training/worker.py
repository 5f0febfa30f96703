"""A contestant's own process: it trains some steps when asked, and waits while others train."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from fastconv.bench.process import keep_to, trouble
from fastconv.bench.training import contestants
from fastconv.models.data import load
from fastconv.models.training.batches import Batches
from fastconv.models.training.loop import Step, epoch_steps

FORMS = {"four_layer_cnn": {"size": 64}, "sequential_cnn": {"channels": 3}}
"""What MNIST is made into for networks that aren't for 28 x 28 grey pixels."""


def serve(pipe: Connection, name: str, threads: int) -> None:
    """Answer commands, each with ("done", value) or ("trouble", why).

    ("prepare", network, dataset, folder) gives the steps of an epoch; its first step is done then, which compiles.
    ("burst", seconds) trains for about so long and gives each step's loss and seconds.
    """
    keep_to(threads)
    steps: Iterator[Step] = iter(())
    while True:
        command, *arguments = pipe.recv()
        if command == "stop":
            return
        try:
            if command == "prepare":
                total, steps = _begin(name, threads, *arguments)
                next(steps)
                pipe.send(("done", total))
            else:
                pipe.send(("done", _burst(steps, *arguments)))
        except Exception as error:  # whatever a contestant does wrong is its result
            pipe.send(("trouble", trouble(error)))


def _begin(name: str, threads: int, network: str, dataset: str, folder: Path | None) -> tuple[int, Iterator[Step]]:
    data = load(dataset, folder, Console(quiet=True), **FORMS.get(network, {}))
    training = contestants.training(name, network, data.shape, len(data.classes), threads)
    batches = Batches(training.settings, data)
    return len(batches), (step for epoch in count(1) for step in epoch_steps(training, batches, epoch))


def _burst(steps: Iterator[Step], seconds: float) -> list[tuple[float, float]]:
    """Loss and seconds of each step, of one step at least."""
    made: list[tuple[float, float]] = []
    spent = 0.0
    for step in steps:
        made.append((step.loss, step.seconds))
        spent += step.seconds
        if spent >= seconds:
            break
    return made


def answer(pipe: Connection, *command: Any) -> Any:
    """What a contestant's process says to a command; raises RuntimeError for trouble."""
    pipe.send(command)
    verdict, value = pipe.recv()
    if verdict != "done":
        raise RuntimeError(value)
    return value
