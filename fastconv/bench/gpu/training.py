"""An epoch of LeNet-5 wholly on the GPU: the backend `cuda` against torch's own layers.

Both start from the same weights and see the same batches of images made up for them, ten patterns under noise. They
train in turns, a block of steps each; an epoch's time is the median block's, times the blocks of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fastconv.bench.contestants import OURS_ON_CUDA as OURS
from fastconv.bench.results import REFERENCE
from fastconv.models import networks
from fastconv.models.plain import plain

IMAGES, BATCH, BLOCK = 60_000, 100, 50
"""Images of an epoch and of a batch, and steps of a block."""

NETWORK = "lenet5"

_APART = 1e-4
"""How far the outputs for the first batch may be from one another before training, relative to their size."""


def epoch(device: str = "cuda", backend: str = "cuda", images: int = IMAGES, block: int = BLOCK) -> dict[str, float]:
    """Seconds of an epoch by contestant.

    Raises RuntimeError where the two don't agree at the start, or don't learn.
    """
    batches = _batches(device, images)
    trainees = {name: _Trainee(model, device) for name, model in models_on(backend).items()}
    blocks = [batches[at : at + block] for at in range(0, len(batches), block)]
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False):
        apart = _apart(trainees[OURS].model, trainees[REFERENCE].model, batches[0][0])
        if not apart <= _APART:  # so that NaN fails
            raise RuntimeError(f"the networks differ before training, by {apart:.1e} of their outputs")
        first = {name: trainee.loss(*batches[0]) for name, trainee in trainees.items()}
        for trainee in trainees.values():
            trainee.train(blocks[0])  # compiles
        times: dict[str, list[float]] = {name: [] for name in trainees}
        for turn, some in enumerate(blocks):
            for name in (OURS, REFERENCE)[:: 1 if turn % 2 else -1]:
                times[name].append(trainees[name].train(some) / len(some))
        last = {name: trainee.loss(*batches[0]) for name, trainee in trainees.items()}
    for name, loss in last.items():
        if not loss < first[name]:
            raise RuntimeError(f"{name} did not learn: its loss went from {first[name]:.3f} to {loss:.3f}")
    return {name: median(found) * len(batches) for name, found in times.items()}


class _Trainee:
    """A model that trains."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self.model = model.to(device)
        rate = networks.load(NETWORK).recipe.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        self.settle: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None

    def train(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """A step a batch; seconds until the GPU has done them all."""
        self.settle()
        start = perf_counter()
        for images, labels in batches:
            self.optimizer.zero_grad()
            cross_entropy(self.model(images), labels).backward()
            self.optimizer.step()
        self.settle()
        return perf_counter() - start

    @torch.no_grad()
    def loss(self, images: Tensor, labels: Tensor) -> float:
        """Of a batch, now."""
        return cross_entropy(self.model(images), labels).item()


def models_on(backend: str) -> dict[str, nn.Module]:
    """The network on a backend, and in torch's own layers, with the same weights."""
    torch.manual_seed(0)
    ours = networks.load(NETWORK).build((1, 28, 28), 10, backend)
    return {OURS: ours, REFERENCE: plain(ours)}


@torch.no_grad()
def _apart(mine: nn.Module, other: nn.Module, images: Tensor) -> float:
    """How far their outputs are from one another, relative to their size."""
    wanted = other(images)
    return float((mine(images) - wanted).norm() / wanted.norm())


def _batches(device: str, images: int) -> list[tuple[Tensor, Tensor]]:
    """Batches on the device: patterns of 28 x 28, one a class, under as much noise."""
    generator = torch.Generator(device).manual_seed(0)
    labels = torch.randint(10, (images,), generator=generator, device=device)
    patterns = torch.randn(10, 1, 28, 28, generator=generator, device=device)
    noise = torch.randn(images, 1, 28, 28, generator=generator, device=device)
    return list(zip(torch.split(patterns[labels] + noise, BATCH), torch.split(labels, BATCH), strict=True))
