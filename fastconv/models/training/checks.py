"""The bounds of each setting. Every function returns nothing, or raises a ModelsError that names what is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from fastconv.models.errors import ModelsError
from fastconv.models.recipes import Recipe
from fastconv.models.training.schedules import SCHEDULES

OPTIMIZERS = ("adam", "sgd")
PRECISIONS = ("float32", "float64", "bfloat16", "float16")
"""The 16-bit ones are what layers compute in; weights then are float32."""
DEVICES = ("cpu", "cuda")
MOST_LEARNING_RATE = 1e6
"""Largest learning rate: beyond any use, and safely below what overflows a float32 weight at the first step."""
MOST_WEIGHT_DECAY = 100.0
"""Beyond any use."""
MOST_SEED = 2**32 - 1
MOST_IMAGES = 10**9
"""Most images of a batch, and most epochs: beyond any use, and within every library's integers."""


def check_recipe(recipe: Recipe) -> None:
    """Raises ModelsError for a recipe's value out of bounds; ``shift`` is compared with the images later."""
    _check_known("optimizer", recipe.optimizer, OPTIMIZERS)
    _check_known("schedule", recipe.schedule, SCHEDULES)
    if not 0 < recipe.learning_rate <= MOST_LEARNING_RATE:
        allowed = f"it must be above 0 and at most {MOST_LEARNING_RATE:g}"
        raise ModelsError(f"the learning rate is {recipe.learning_rate}; {allowed}")
    if not 0 <= recipe.momentum < 1:
        raise ModelsError(f"the momentum is {recipe.momentum}; it must be at least 0 and below 1")
    if not 0 <= recipe.weight_decay <= MOST_WEIGHT_DECAY:
        raise ModelsError(f"the weight decay is {recipe.weight_decay}; it must be 0 to {MOST_WEIGHT_DECAY:g}")
    if recipe.shift < 0:
        raise ModelsError(f"the shift is {recipe.shift}; it must be a number of pixels, 0 or more")
    if not 0 <= recipe.rotation <= 180:
        raise ModelsError(f"the rotation is {recipe.rotation}; it must be 0 to 180 degrees")
    for what, count in (("batch size", recipe.batch_size), ("number of epochs", recipe.epochs)):
        if not 1 <= count <= MOST_IMAGES:
            raise ModelsError(f"the {what} is {count}; it must be at least 1 and at most {MOST_IMAGES:,}")


def check_momentum_counts(recipe: Recipe) -> None:
    """Raises ModelsError for a momentum that was asked for and that the optimizer doesn't have."""
    if recipe.optimizer != "sgd":
        raise ModelsError(
            f"momentum is SGD's, the optimizer is {recipe.optimizer}; leave it out or use --optimizer sgd"
        )


def check_seed(seed: int) -> None:
    """What torch and NumPy both take."""
    if not 0 <= seed <= MOST_SEED:
        raise ModelsError(f"the seed is {seed}; it must be 0 to {MOST_SEED}")


def check_threads(threads: int | None) -> None:
    """Raises ModelsError for a number of threads that can't be; None is allowed."""
    cores = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= cores:
        raise ModelsError(f"the number of threads is {threads}; this machine has {cores} cores, so 1 to {cores}")


def check_validation(share: float, patience: int | None) -> None:
    """Raises ModelsError for a share held out, or a number of epochs to wait, that can't be."""
    if not 0 <= share < 1:
        raise ModelsError(f"the share of images for validation is {share}; it must be at least 0 and below 1")
    if patience is None:
        return
    if patience < 1:
        raise ModelsError(f"the patience is {patience}; it must be 1 epoch or more")
    if share == 0:
        raise ModelsError("patience needs a validation split to look at; say --validation 0.1 or leave it out")


def check_precision(name: str) -> None:
    """Raises ModelsError for a precision that is not one of PRECISIONS."""
    _check_known("precision", name, PRECISIONS)


def check_device(name: str) -> None:
    """Raises ModelsError for a device that is not one of DEVICES, or not in this machine."""
    _check_known("device", name, DEVICES)
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ModelsError("device cuda can't be used here: torch finds no NVIDIA GPU; use --device cpu")


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ModelsError(f"no {what} is called {name!r}; the {what}s are {', '.join(known)}")
