"""The training loop makes a network of settings, and steps of batches, and tests what the network learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.autograd import backward
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer

import fastconv
from fastconv.models import networks
from fastconv.models.backends import assign, parse
from fastconv.models.data.images import Images
from fastconv.models.errors import TrainingError
from fastconv.models.recipes import ImageShape
from fastconv.models.training import precision
from fastconv.models.training.batches import Batch, Batches
from fastconv.models.training.direct_step import loss_and_gradients
from fastconv.models.training.distributed import ALONE, Group
from fastconv.models.training.fused_step import FusedStep
from fastconv.models.training.schedules import factor
from fastconv.models.training.settings import Settings
from fastconv.models.training.stopping import StopWish

TEST_BATCH = 100
"""Images of a test batch; at 224 x 224 pixels VGG-11's first convolution makes 1.3 GB of them.
"""


class Step(NamedTuple):
    """One optimiser step: the mean loss of its batch before the step, its images, and the seconds it took."""

    loss: float
    images: int
    seconds: float


@dataclass(frozen=True)
class Training:
    """A network in training. ``forward`` is ``model``, or what wraps it so that processes share their gradients."""

    settings: Settings
    model: nn.Module
    forward: nn.Module
    optimizer: Optimizer
    scaler: GradScaler | None
    computing: AbstractContextManager[object]
    group: Group
    step: FusedStep = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", FusedStep(self.optimizer))

    def learn(self, batch: Batch) -> Tensor:
        """Returns the loss after one step at the present learning rate; its mean over the processes is the batch's
        loss."""
        self.step.clear()
        alone = self.scaler is None and self.forward is self.model
        with self.computing:
            direct = loss_and_gradients(self.model, batch.images, batch.labels) if alone else None
            if direct is not None:
                self.step()
                return direct
            logits = self.forward(batch.images)
        loss = self._loss(logits.to(batch.images.dtype), batch)
        if self.scaler is None:
            backward(loss)
            self.step()
        else:
            backward(self.scaler.scale(loss))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.group.size == 1:
            return cross_entropy(logits, batch.labels)
        # Processes may have different numbers of images, or none: each counts for what it has.
        return cross_entropy(logits, batch.labels, reduction="sum") * (self.group.size / batch.joint)


def begin(settings: Settings, shape: ImageShape, classes: int, group: Group = ALONE) -> Training:
    """Returns the network with its initial weights, on its backends, and the optimiser, on the settings' device and
    threads.

    Raises ModelsError for images the network isn't made for, and for a backend of a layer that it doesn't have.
    """
    _use_threads(settings.threads or group.threads)
    torch.manual_seed(settings.seed)
    choice = parse(settings.backend)
    model = networks.load(settings.network).build(shape, classes, choice.rest)
    assign(model, choice)
    model = model.to(settings.device, precision.weight_type(settings.precision))
    return Training(
        settings,
        model,
        group.wrap(model),
        _optimizer(settings, model),
        precision.scaler(settings.precision, settings.device),
        precision.computing(settings.precision, settings.device),
        group,
    )


def epoch_steps(
    training: Training, batches: Batches, epoch: int, done: int = 0, wish: StopWish | None = None
) -> Iterator[Step]:
    """Train one epoch (the first is number 1) but for its first ``done`` steps; yields after each step.

    After each step ``wish`` is told whether any process was asked to stop.

    Raises TrainingError when the loss is no longer a finite number.
    """
    recipe, optimizer, group = training.settings.recipe, training.optimizer, training.group
    wish = wish or StopWish()
    generator = _generator(training.settings.device)
    total = recipe.epochs * len(batches)
    training.model.train()
    start = perf_counter()
    for number, batch in enumerate(batches.epoch(epoch, done), start=done + 1):
        at = (epoch - 1) * len(batches) + number - 1
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * factor(recipe.schedule, at, total)
        generator.manual_seed(batch.seed)
        total_loss, wishes = group.total(training.learn(batch).item(), wish.here)
        wish.agreed = wishes > 0
        loss = total_loss / group.size
        if not math.isfinite(loss):
            where = f"in step {number} of epoch {epoch}"
            raise TrainingError(f"the loss is {loss} {where}; try a smaller --learning-rate")
        yield Step(loss, batch.joint, perf_counter() - start)
        start = perf_counter()


@torch.no_grad()
def score(model: nn.Module, images: Images, labels: Tensor, group: Group = ALONE) -> tuple[float, float]:
    """Returns the share of ``images`` that ``model`` recognises, 0..1, and its mean loss on them, in the weights' own
    type."""
    model.eval()
    correct, loss = 0, 0.0
    mine = group.share(torch.arange(len(labels), device=labels.device))
    for batch in torch.split(mine, TEST_BATCH):
        logits, wanted = model(images[batch]), labels[batch]
        correct += int((logits.argmax(1) == wanted).sum())
        loss += cross_entropy(logits, wanted, reduction="sum").item()
    all_correct, all_loss = group.total(correct, loss)
    return all_correct / len(labels), all_loss / len(labels)


def _use_threads(count: int | None) -> None:
    """Let torch and fastconv use ``count`` threads, or their own choice for None, and NumPy's OpenBLAS one.

    Two pools of threads that wait by spinning, in turn on the same cores, hold each other up: both at two
    threads on two busy cores, a LeNet-5 step through im2col took 170 to 600 ms; with OpenBLAS at one, 20.
    """
    if count is not None:
        torch.set_num_threads(count)
        fastconv.set_num_threads(count)
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def _generator(device: str) -> torch.Generator:
    """Returns the random generator that dropout draws from."""
    return torch.cuda.default_generators[torch.cuda.current_device()] if device == "cuda" else torch.default_generator


def _optimizer(settings: Settings, model: nn.Module) -> Optimizer:
    """Returns the optimizer, in one kernel but for float16: fused SGD loses its momentum if step 1 overflows."""
    recipe, fused = settings.recipe, settings.precision != "float16"
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), rate, recipe.momentum, weight_decay=decay, fused=fused)
    return AdamW(model.parameters(), rate, weight_decay=decay, fused=fused)  # Adam, where nothing decays
