"""Tuning finds which of a model's layers fastconv computes faster than torch, here, in this model.

    1. Each layer, and each nn.Sequential whose layers would run together, is raced against torch's on the shapes and
       layouts of a run of the model; a time that is known from before is not taken again (kept.py).
    2. Those that win by 5% are fastconv's. A Sequential that doesn't win is taken apart, and its layers decide alone.
    3. The model with them races the plain one, and one with all of fastconv's layers, which is taken if it is the
       fastest: between layers of one library, memory and threads are still warm.
    4. While the model with the winners is slower than the plain one, the half of them that gain least goes back to
       torch: each change between the two libraries' threads costs something that a layer alone doesn't show.

So the outcome is a model that was measured to be no slower than torch's, which in the end is torch's own.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from typing import Any

from torch import nn

from fastconv import registry
from fastconv.torch import measuring
from fastconv.torch.kept import Kept, Pair
from fastconv.torch.measuring import Progress, Work, works
from fastconv.torch.modules import Conv2d, Layer
from fastconv.torch.observing import Call, arguments, copied, observe, same_random_numbers
from fastconv.torch.sequential import Sequential
from fastconv.torch.swapping import revert, swap

MARGIN = 0.95
"""A layer of fastconv's must take less than this share of torch's time."""

WHOLE_SECONDS = 0.5
"""Seconds of timed calls of the whole model, for each of the two."""

logger = logging.getLogger("fastconv")


@same_random_numbers()
def faster(model: nn.Module, example: Any, backend: str | None, names: Iterable[str]) -> set[str]:
    """Returns the names of the layers and sequences that are to become fastconv's.

    Args:
        model: any module on the CPU. Training steps are measured if it is in training mode, else forward passes.
        example: a tensor, or a tuple or dict of arguments, to run the model with.
        backend: as for `convert`.
        names: those that may become fastconv's.

    Raises:
        TypeError, RuntimeError: a model or an example that can't be run or copied.
        RuntimeError: a layer whose values are not torch's.
    """
    plain, mine = revert(copied(model)), revert(copied(model))
    swappable = set(names)
    _swap(mine, swappable, backend)
    tuner = _Tuner(plain, mine, example, backend)
    try:
        gains = tuner.gains(swappable)
    finally:
        tuner.kept.save()
    chosen = _confirmed(model, plain, example, gains, swappable, backend)
    return {name for name in swappable if any(is_inside(name, unit) for unit in chosen)}


class _Tuner:
    """The races of single layers and of sequences."""

    def __init__(self, plain: nn.Module, mine: nn.Module, example: Any, backend: str | None) -> None:
        self.kept = Kept()
        self._plain, self._mine = dict(plain.named_modules()), dict(mine.named_modules())
        self._model, self._example = plain, example
        self._training = plain.training
        self._backend = registry.resolve(backend).name if backend is not None else f"default {registry.get_backend()}"

    def gains(self, names: set[str]) -> dict[str, float]:
        """Returns the seconds that each layer or sequence gains in a run of the model; only those that gain enough."""
        sequences = [name for name in self._plain if name in names and runs_together(self._mine[name])]
        layers = [name for name in self._plain if name in names and isinstance(self._mine[name], Layer)]
        found = observe(self._model, self._example, [*sequences, *layers], gradients=self._training, called="tune")
        calls: dict[str, list[Call]] = {}
        for call in found:
            calls.setdefault(call.name, []).append(call)
        gains: dict[str, float] = {}
        progress = Progress("tuning", len(sequences) + len(layers))
        for name in [*sequences, *layers]:
            progress.step(name)
            if name not in calls or any(is_inside(name, unit) for unit in gains):
                continue
            pairs = [(call.count, self._times(call)) for call in calls[name]]
            theirs, ours = (sum(count * pair[which] for count, pair in pairs) for which in (0, 1))
            wins = ours < MARGIN * theirs
            logger.info(
                "%s (%s): torch %.3f ms, fastconv %.3f ms, %s",
                name or "the model itself",
                type(self._plain[name]).__name__,
                1e3 * theirs,
                1e3 * ours,
                "fastconv's" if wins else "torch's",
            )
            if wins:
                gains[name] = theirs - ours
        progress.close()
        return gains

    def _times(self, call: Call) -> Pair:
        plain, mine = self._plain[call.name], self._mine[call.name]
        key = f"{self._backend}; {'training' if self._training else 'inference'}; {described(plain, call)}"
        pair = self.kept.get(key)
        if pair is None:
            contestants = works([plain, mine], call, self._training)
            pair = Pair(*measuring.race(contestants))
            self.kept.put(key, pair)
        return pair


def runs_together(module: nn.Module) -> bool:
    """Returns True if a module is a `Sequential` in which a convolution runs together with the layers after it."""
    if not isinstance(module, Sequential):
        return False
    layers = list(module)
    joined = (nn.ReLU, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, Conv2d)
    return any(isinstance(one, Conv2d) and isinstance(other, joined) for one, other in itertools.pairwise(layers))


def race_models(models: Iterable[nn.Module], example: Any, *, gradients: bool) -> list[float]:
    """Returns the seconds of each model's best call, or training step without its optimiser."""
    args, kwargs = arguments(example)
    entrants = [Work(model, args, kwargs, list(model.parameters()), gradients) for model in models]
    return measuring.race(entrants, seconds=WHOLE_SECONDS)


def _confirmed(
    model: nn.Module, plain: nn.Module, example: Any, gains: dict[str, float], names: set[str], backend: str | None
) -> list[str]:
    """Returns those layers and sequences that gain alone with which the whole model is no slower than torch's."""

    def swapped(units: Iterable[str]) -> nn.Module:
        tuned = revert(copied(model))
        _swap(tuned, {name for name in names if any(is_inside(name, unit) for unit in units)}, backend)
        return tuned

    chosen = sorted(gains, key=lambda unit: gains[unit], reverse=True)
    if not names <= set(chosen):
        *times, whole = race_models((plain, swapped(chosen), swapped(names)), example, gradients=plain.training)
        if whole < min(times):
            logger.info("with all %d layers by fastconv the model is fastest, %.3f ms", len(names), 1e3 * whole)
            return list(names)
    while chosen:
        count = sum(any(is_inside(name, unit) for unit in chosen) for name in names)
        theirs, ours = race_models((plain, swapped(chosen)), example, gradients=plain.training)
        wins = ours <= theirs
        logger.info(
            "with %d of %d layers by fastconv the model takes %.3f ms, by torch alone %.3f ms%s",
            count,
            len(names),
            1e3 * ours,
            1e3 * theirs,
            "" if wins else ": half of them go back to torch",
        )
        if wins:
            return chosen
        chosen = chosen[: len(chosen) // 2]
    logger.info("all %d layers stay torch's", len(names))
    return chosen


def _swap(model: nn.Module, names: set[str], backend: str | None) -> None:
    swap([layer for name, layer in model.named_modules() if name in names], backend)


def is_inside(name: str, unit: str) -> bool:
    return not unit or name == unit or name.startswith(f"{unit}.")


def described(layer: nn.Module, call: Call) -> str:
    """Returns a text of all that the time of a layer's call depends on."""
    weights = {name: (p.stride(), p.requires_grad, str(p.dtype)) for name, p in layer.named_parameters()}
    kind = f"{type(layer).__module__}.{layer!r}"
    return f"{' '.join(kind.split())} on {call.inputs}, weights {weights}, {'train' if layer.training else 'eval'}"
