"""The settings of one training run, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastconv.models import networks
from fastconv.models.backends import parse
from fastconv.models.recipes import Recipe
from fastconv.models.training import checks


@dataclass(frozen=True)
class Settings:
    """A run: the same settings on the same data give the same initial weights and batches on every backend.

    ``backend`` is a text as :mod:`fastconv.models.backends` reads it, with nothing left open.
    ``threads`` are torch's and fastconv's, None leaving their own numbers; NumPy's matrix product, im2col's, has one.
    ``validation`` is the share of the training images held out, ``patience`` the epochs without a better loss on
    those that end a training; None is no end but the last epoch. ``precision`` is one of
    :data:`fastconv.models.training.checks.PRECISIONS`, ``device`` one of
    :data:`fastconv.models.training.checks.DEVICES`.
    """

    network: str
    backend: str
    recipe: Recipe
    seed: int = 0
    threads: int | None = None
    validation: float = 0.0
    patience: int | None = None
    precision: str = "float32"
    device: str = "cpu"


def settings(
    network: str,
    backend: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    *,
    validation: float = 0.0,
    patience: int | None = None,
    precision: str = "float32",
    device: str = "cpu",
    **overrides: float | str | None,
) -> Settings:
    """Returns the network's own recipe with ``overrides`` (fields of Recipe; None keeps the recipe's) applied.

    ``backend`` is a text as :mod:`fastconv.models.backends` reads it; what it leaves open, None all, is fastconv's
    current choice: ``FASTCONV_BACKEND`` or else ``auto``.

    Raises ModelsError for a network, backend, optimizer, schedule, precision or device that isn't known or available,
    for more threads than cores, for numbers that can't be trained with, and for what would have no effect: momentum
    with Adam, patience without a validation split.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    recipe = replace(networks.load(network).recipe, **given)  # type: ignore[arg-type]
    if "momentum" in given:
        checks.check_momentum_counts(recipe)
    which = str(parse(backend))
    chosen = Settings(network, which, recipe, seed, threads, validation, patience, precision, device)
    check(chosen)
    return chosen


def check(chosen: Settings) -> None:
    """Raises ModelsError for what can't be trained with, or not here."""
    check_values(chosen)
    parse(chosen.backend)
    checks.check_threads(chosen.threads)
    checks.check_device(chosen.device)


def check_values(chosen: Settings) -> None:
    """Raises ModelsError for what can't be trained with on any machine."""
    networks.load(chosen.network)
    checks.check_recipe(chosen.recipe)
    checks.check_seed(chosen.seed)
    checks.check_validation(chosen.validation, chosen.patience)
    checks.check_precision(chosen.precision)
