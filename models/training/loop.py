"""The training loop: from settings to a model, from a model to its steps, and the test of what it learned.

The order of the images depends on the seed and the epoch alone, so every backend sees the same batches, and
any epoch can be entered afresh.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

import fastconv
from models import networks
from models.backends import assign, parse
from models.data.dataset import Dataset
from models.data.images import Images
from models.errors import TrainingError
from models.recipes import ImageShape, Recipe
from models.training.settings import Settings

TEST_BATCH = 100
"""Of images: what VGG-11's first convolution gives for so many of 224 x 224 pixels is 1.3 GB already."""


class Step(NamedTuple):
    """One optimiser step: the mean loss of its batch before the step, its images, and the seconds it took."""

    loss: float
    images: int
    seconds: float


def begin(settings: Settings, shape: ImageShape, classes: int) -> tuple[nn.Module, Optimizer]:
    """The network with its initial weights, on its backends, and the optimiser, on the settings' threads.

    Raises ModelsError for images the network isn't made for, and for a backend of a layer that it doesn't have.
    """
    _use_threads(settings.threads)
    torch.manual_seed(settings.seed)
    choice = parse(settings.backend)
    model = networks.load(settings.network).build(shape, classes, choice.rest)
    assign(model, choice)
    return model, _optimizer(settings.recipe, model)


def epoch_steps(
    model: nn.Module, optimizer: Optimizer, dataset: Dataset, batch_size: int, seed: int, epoch: int
) -> Iterator[Step]:
    """Train one epoch (the first is number 1), a step at each turn; the last batch may be smaller.

    Raises TrainingError when the loss is no longer a finite number.
    """
    model.train()
    images, labels = dataset.train_images, dataset.train_labels
    order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(len(labels)))
    for number, batch in enumerate(torch.split(order, batch_size), start=1):
        start = perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(model(images[batch]), labels[batch])
        backward(loss)
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            at = f"in step {number} of epoch {epoch}"
            raise TrainingError(f"the loss is {value} {at}; try a smaller --learning-rate")
        yield Step(value, len(batch), perf_counter() - start)


@torch.no_grad()
def score(model: nn.Module, images: Images, labels: Tensor) -> tuple[float, float]:
    """The share of ``images`` that ``model`` recognises, 0..1, and its mean loss on them."""
    model.eval()
    correct, loss = 0, 0.0
    for start in range(0, len(labels), TEST_BATCH):
        batch = slice(start, start + TEST_BATCH)
        logits, wanted = model(images[batch]), labels[batch]
        correct += int((logits.argmax(1) == wanted).sum())
        loss += cross_entropy(logits, wanted, reduction="sum").item()
    return correct / len(labels), loss / len(labels)


def _use_threads(count: int | None) -> None:
    """torch and fastconv on ``count`` threads, None being their own choice; NumPy's OpenBLAS on one.

    Two pools of threads that wait by spinning, in turn on the same cores, hold each other up: both at two
    threads on two busy cores, a LeNet-5 step through im2col took 170 to 600 ms; with OpenBLAS at one, 20.
    """
    if count is not None:
        torch.set_num_threads(count)
        fastconv.set_num_threads(count)
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def _optimizer(recipe: Recipe, model: nn.Module) -> Optimizer:
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    return Adam(model.parameters(), lr=recipe.learning_rate)
