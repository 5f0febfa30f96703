"""The time of training steps, part by part, as torch's profiler sees it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import cast

from rich.console import Console
from torch.autograd.profiler import record_function
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from fastconv.errors import UnsupportedError
from fastconv.models.backends import parse
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError, TrainingError
from fastconv.models.profiling.parts import DATA, PYTHON, Part, part
from fastconv.models.training.batches import Batch, Batches
from fastconv.models.training.loop import Step, Training, begin, epoch_steps
from fastconv.models.training.progress import TrainingProgress
from fastconv.models.training.settings import Settings

os.environ.setdefault("KINETO_LOG_LEVEL", "99")
# The profiler's engine prints a line at each start and end, unless it is told otherwise before a process's first.

WARM_UP_STEPS = 3
MOST_STEPS = 10_000
"""Most steps that are recorded; each leaves some hundred records in memory."""


@dataclass(frozen=True)
class Profile:
    """``seconds`` of a step by its parts, on a ``backend``; they add up to ``step``, the seconds of one left alone."""

    backend: str
    step: float
    seconds: dict[Part, float]


def profiles(
    settings: Settings,
    dataset: Dataset,
    steps: int,
    console: Console,
    backends: Sequence[str],
    *,
    separate: bool = False,
) -> list[Profile]:
    """Returns the profiles of ``steps`` training steps on each of ``backends``, texts as
    :mod:`fastconv.models.backends` reads them.

    With ``separate``, layers that would run together as one step are called one by one.

    Steps are timed first, then as many recorded; the parts of the recorded ones are scaled to the time of the others,
    so that what the recording costs is not in them. Raises ModelsError for a number of steps out of range, and as
    :func:`fastconv.models.training.loop.begin` does, and TrainingError where a backend can't do a layer.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ModelsError(f"the number of steps is {steps}; it must be at least 1 and at most {MOST_STEPS:,}")
    contestants = [replace(settings, backend=str(parse(text))) for text in backends]
    for each in contestants:  # a mistake in the last is found before the first has taken its time
        begin(each, dataset.shape, len(dataset.classes))
    try:
        return [_profile(each, dataset, steps, console, separate=separate) for each in contestants]
    except UnsupportedError as error:
        raise TrainingError(str(error)) from error


def by_part(events: Sequence[FunctionEvent]) -> dict[Part, float]:
    """Returns the seconds of the operators that were recorded on the training's own thread, each without those it
    called."""
    thread = next(event.thread for event in events if event.name == DATA)
    seconds: Counter[Part] = Counter()
    for event in events:
        if event.thread == thread:
            seconds[part(_names(event))] += event.self_cpu_time_total / 1e6
    return dict(seconds)


def _profile(settings: Settings, dataset: Dataset, steps: int, console: Console, *, separate: bool) -> Profile:
    begun = begin(settings, dataset.shape, len(dataset.classes))
    if separate:
        for layer in begun.model.modules():
            layer.register_forward_hook(lambda *_: None)  # a layer with a hook is called by itself
    training = _steps(begun, Batches(settings, dataset))
    with TrainingProgress(
        console, settings.backend, (WARM_UP_STEPS + 2 * steps) * settings.recipe.batch_size
    ) as progress:

        def seconds(number: int) -> float:
            total = 0.0
            for step in islice(training, number):
                total += step.seconds
                progress.advance(step.images, step.loss)
            return total

        seconds(WARM_UP_STEPS)
        alone = seconds(steps)
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            whole = seconds(steps)
        found = by_part(cast("Sequence[FunctionEvent]", recorded.events()))
    found[Part(PYTHON)] = whole - sum(found.values())
    return Profile(settings.backend, alone / steps, {of: its * alone / whole / steps for of, its in found.items()})


def _steps(training: Training, batches: Batches) -> Iterator[Step]:
    """Yields training steps without end, at the schedule's first rates; each fetch of a batch is recorded."""
    for _ in count():
        yield from epoch_steps(training, cast("Batches", _Watched(batches)), 1)


class _Watched:
    """Batches whose fetches are recorded under a name of their own."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, done: int = 0) -> Iterator[Batch]:
        """Yields what `Batches.epoch` does."""
        taken = self._batches.epoch(number, done)
        while True:
            with record_function(DATA):
                batch = next(taken, None)
            if batch is None:
                return
            yield batch


def _names(event: FunctionEvent) -> list[str]:
    names = []
    at: FunctionEvent | None = event
    while at is not None:
        names.append(at.name)
        at = at.cpu_parent
    return names
