"""What one training run is made of, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import fastconv
from models import networks
from models.errors import ModelsError
from models.recipes import Recipe

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Settings:
    """A run: the same settings on the same data give the same initial weights and batches on every backend.

    ``threads`` None leaves the libraries' own number.
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

    ``backend`` None is fastconv's current choice: ``FASTCONV_BACKEND`` or else ``auto``.

    Raises ModelsError for a network, backend or optimizer that isn't known or available, and for a learning
    rate, momentum, batch size or number of epochs that can't be trained with.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    recipe = replace(networks.load(network).recipe, **given)  # type: ignore[arg-type]
    _check_recipe(recipe)
    backend = backend or fastconv.get_backend()
    check_backend(backend)
    return Settings(network, backend, recipe, seed, threads)


def check_backend(name: str) -> None:
    """Raises ModelsError for a backend that isn't known, with those that are, or can't run here, with why."""
    known = {backend.name: backend for backend in fastconv.backends()}
    if name not in known:
        raise ModelsError(f"no backend is called {name!r}; the backends are {', '.join(known)}")
    if not known[name].available:
        raise ModelsError(f"backend {name} can't run here: {known[name].reason}")


def _check_recipe(recipe: Recipe) -> None:
    if recipe.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ModelsError(f"no optimizer is called {recipe.optimizer!r}; the optimizers are {known}")
    if not (math.isfinite(recipe.learning_rate) and recipe.learning_rate > 0):
        raise ModelsError(f"the learning rate is {recipe.learning_rate}; it must be a positive number")
    if not 0 <= recipe.momentum < 1:
        raise ModelsError(f"the momentum is {recipe.momentum}; it must be at least 0 and below 1")
    for what, count in (("batch size", recipe.batch_size), ("number of epochs", recipe.epochs)):
        if count < 1:
            raise ModelsError(f"the {what} is {count}; it must be at least 1")
