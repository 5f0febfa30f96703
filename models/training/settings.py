"""What one training run is made of, checked before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from models import networks
from models.backends import parse
from models.errors import ModelsError
from models.recipes import Recipe

OPTIMIZERS = ("adam", "sgd")
MOST_LEARNING_RATE = 1e6
"""Beyond any use, and safely below what overflows a float32 weight at the first step."""
MOST_IMAGES = 10**9
"""Of a batch or epochs: beyond any use, and within every library's integers."""


@dataclass(frozen=True)
class Settings:
    """A run: the same settings on the same data give the same initial weights and batches on every backend.

    ``backend`` is a text as :mod:`models.backends` reads it, with nothing left open.
    ``threads`` are torch's and fastconv's, None leaving their own numbers; NumPy's matrix product, im2col's, has one.
    """

    network: str
    backend: str
    recipe: Recipe
    seed: int = 0
    threads: int | None = None


def settings(
    network: str,
    backend: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    **overrides: float | str | None,
) -> Settings:
    """The network's own recipe with ``overrides`` (fields of Recipe; None keeps the recipe's) applied.

    ``backend`` is a text as :mod:`models.backends` reads it; what it leaves open, None all, is fastconv's current
    choice: ``FASTCONV_BACKEND`` or else ``auto``.

    Raises ModelsError for a network, backend or optimizer that isn't known or available, for more threads than
    cores, and for a learning rate, momentum, batch size or number of epochs that can't be trained with.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    recipe = replace(networks.load(network).recipe, **given)  # type: ignore[arg-type]
    _check_recipe(recipe)
    chosen = str(parse(backend))
    cores = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= cores:
        raise ModelsError(f"the number of threads is {threads}; this machine has {cores} cores, so 1 to {cores}")
    return Settings(network, chosen, recipe, seed, threads)


def _check_recipe(recipe: Recipe) -> None:
    if recipe.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ModelsError(f"no optimizer is called {recipe.optimizer!r}; the optimizers are {known}")
    if not 0 < recipe.learning_rate <= MOST_LEARNING_RATE:
        allowed = f"it must be above 0 and at most {MOST_LEARNING_RATE:g}"
        raise ModelsError(f"the learning rate is {recipe.learning_rate}; {allowed}")
    if not 0 <= recipe.momentum < 1:
        raise ModelsError(f"the momentum is {recipe.momentum}; it must be at least 0 and below 1")
    for what, count in (("batch size", recipe.batch_size), ("number of epochs", recipe.epochs)):
        if not 1 <= count <= MOST_IMAGES:
            raise ModelsError(f"the {what} is {count}; it must be at least 1 and at most {MOST_IMAGES:,}")
