"""One training step of each network of `fastconv.models`, batch 100: forward, backward, optimiser."""

from __future__ import annotations

import math

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from fastconv.models import networks
from fastconv.models.recipes import CLASSES
from fastconv.models.training.batches import Batch
from fastconv.models.training.loop import begin
from fastconv.models.training.settings import settings

pytestmark = [pytest.mark.operation("training_step"), pytest.mark.benchmark(max_time=0.5)]

SHAPE = (1, 28, 28)
LARGER = {"four_layer_cnn": (1, 64, 64)}


@pytest.mark.parametrize("network", networks.names())
def test_training_step(network: str, backend: str, threads: int, benchmark: BenchmarkFixture) -> None:
    chosen = settings(network, backend, threads=threads)
    shape = LARGER.get(network, SHAPE)
    training = begin(chosen, shape, CLASSES)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(chosen.recipe.batch_size, *shape, generator=generator)
    labels = torch.randint(CLASSES, (chosen.recipe.batch_size,), generator=generator)
    batch = Batch(images, labels, len(labels), seed=0)
    losses: list[float] = []

    def step() -> None:
        losses.append(training.learn(batch).item())

    benchmark.group = f"training step, {network}"
    benchmark.extra_info.update(backend=backend, threads=threads, images=len(labels))
    benchmark(step)
    assert math.isfinite(losses[-1])
