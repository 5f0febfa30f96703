"""Compares backends by the same training: from one seed, on the same batches, each for the same time."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count
from time import perf_counter

from rich.console import Console
from torch import nn
from torch.autograd import backward
from torch.nn.functional import cross_entropy

import fastconv
from fastconv.models.backends import parse
from fastconv.models.data.dataset import Dataset
from fastconv.models.training.batches import Batches
from fastconv.models.training.loop import Step, begin, epoch_steps
from fastconv.models.training.progress import TrainingProgress
from fastconv.models.training.settings import Settings

REFERENCE = "torch"
CHOOSER = "auto"
"""The backend that picks another for each problem, so it is no contestant."""


@dataclass(frozen=True)
class Contestant:
    """A choice of backends and the steps it trained; ``trouble`` says why it has none, or stopped."""

    backend: str
    steps: Sequence[Step] = field(default_factory=list)
    trouble: str | None = None

    @property
    def images_per_second(self) -> float:
        """Returns images a second over all steps but the first, which warms the caches, or over it if there is no
        other."""
        timed = self.steps[1:] or self.steps
        return sum(step.images for step in timed) / sum(step.seconds for step in timed)


def compare(
    settings: Settings, dataset: Dataset, seconds: float, console: Console, backends: Sequence[str] = ()
) -> list[Contestant]:
    """Train ``settings`` on each of ``backends`` in turn, or on every backend, torch first, for about ``seconds`` each.

    ``backends`` are texts as :mod:`fastconv.models.backends` reads them. The clock is read after each step, so that a
    backend makes one at least, however long that takes; kernels are compiled before it starts. A backend that fails is
    listed with its error; the others still run. Raises ModelsError, before the first step, for a text that is none.
    """
    named = [replace(settings, backend=str(parse(text))) for text in backends]
    for each in named:  # a mistake in the last is found before the first has taken its time
        begin(each, dataset.shape, len(dataset.classes))
    if named:
        return [_contestant(each, dataset, seconds, console) for each in named]
    known = [backend for backend in fastconv.backends() if backend.name != CHOOSER]
    known.sort(key=lambda backend: backend.name != REFERENCE)  # stable: the others keep their order
    return [
        _contestant(replace(settings, backend=backend.name), dataset, seconds, console)
        if backend.available
        else Contestant(backend.name, trouble=backend.reason)
        for backend in known
    ]


def shared_steps(contestants: Sequence[Contestant]) -> int:
    """Returns the number of steps that all of them made."""
    return min((len(contestant.steps) for contestant in contestants), default=0)


def disagreement(one: Contestant, other: Contestant) -> float:
    """Returns the largest relative difference between the two losses of each step that both made."""
    return max(
        abs(mine.loss - yours.loss) / (abs(yours.loss) or 1.0)
        for mine, yours in zip(one.steps, other.steps, strict=False)
    )


def _contestant(settings: Settings, dataset: Dataset, seconds: float, console: Console) -> Contestant:
    name = settings.backend
    settings = replace(settings, recipe=replace(settings.recipe, schedule="constant"))  # none without an end
    training, batches = begin(settings, dataset.shape, len(dataset.classes)), Batches(settings, dataset)
    steps: list[Step] = []
    try:
        with TrainingProgress(console, name, None) as progress:
            _warm_up(training.model, dataset)
            start = perf_counter()
            for epoch in count(1):
                for step in epoch_steps(training, batches, epoch):
                    steps.append(step)
                    progress.advance(step.images, step.loss)
                    if perf_counter() - start >= seconds:
                        return Contestant(name, steps)
    except Exception as error:  # an error of one backend is its result, and doesn't end the comparison
        return Contestant(name, steps, trouble=f"{type(error).__name__}: {error}")
    raise AssertionError("unreachable")


def _warm_up(model: nn.Module, dataset: Dataset) -> None:
    """Compile all kernels that the first step would compile, on one image and a copy of the model."""
    logits = deepcopy(model)(dataset.train_images[:1])
    backward(cross_entropy(logits, dataset.train_labels[:1]))
