"""Who trains: torch as it is, torch with its fused optimiser, and the trainer on a backend; all on the same batches.

    torch         torch's own layers, and its optimiser as it comes: what a torch program that was never touched does
    torch-fused   the same with ``fused=True``, which the trainer uses too: what fastconv's layers alone bring
    others        the trainer on the backend of that name

Each begins with the same weights, from the same seed, and goes through the same loop.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from fastconv.models.plain import plain
from fastconv.models.recipes import ImageShape, Recipe
from fastconv.models.training.loop import Training, begin
from fastconv.models.training.settings import settings

PLAIN, FUSED = "torch", "torch-fused"
DEFAULT = ("numba", PLAIN, FUSED)


def training(contestant: str, network: str, shape: ImageShape, classes: int, threads: int) -> Training:
    """The network ready to train, with its initial weights.

    Raises ModelsError for a network or a backend that isn't known, and for images the network isn't made for.
    """
    if contestant not in (PLAIN, FUSED):
        return begin(settings(network, contestant, threads=threads), shape, classes)
    started = begin(settings(network, "torch", threads=threads), shape, classes)
    model = plain(started.model)
    optimizer = _optimizer(started.settings.recipe, model, fused=contestant == FUSED)
    return replace(started, model=model, forward=model, optimizer=optimizer)


def _optimizer(recipe: Recipe, model: nn.Module, *, fused: bool) -> Optimizer:
    rate, how = recipe.learning_rate, True if fused else None
    if recipe.optimizer == "sgd":
        return SGD(model.parameters(), lr=rate, momentum=recipe.momentum, fused=how)
    return Adam(model.parameters(), lr=rate, fused=how)
