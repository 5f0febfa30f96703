"""Steps of a graph: calls that run together, in the way that the tensors of the moment allow.

    as one step     contiguous images on the CPU and a backend that has such steps; batch normalisations are folded
    folded          no gradient is wanted: each call by itself, but without the batch normalisations
    as they stand   each call by itself

Each call by itself is fastconv's or torch's (either.py). Gradients of batch normalisation's parameters need the calls
as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from fastconv import registry
from fastconv.torch import chains
from fastconv.torch.chains import Stage
from fastconv.torch.graphs.either import is_foldable
from fastconv.torch.graphs.folding import Folding, Norm
from fastconv.torch.recording import recorded

Tensor = torch.Tensor


class Part(NamedTuple):
    """A convolution or a linear layer of a step, with what follows it."""

    stage: Stage
    weight: int
    """Position among the step's operands, as the next two."""
    bias: int | None
    norm: tuple[int | None, ...]
    """A batch normalisation's mean, variance, gamma and beta; empty without one."""
    folding: Folding | None


class Step:
    """Calls that run together. The first operand is what the first call convolves."""

    def __init__(
        self, parts: Sequence[Part], flat: bool, separate: Callable[..., Tensor], folded: Callable[..., Tensor]
    ) -> None:
        """Make a step of parts.

        Args:
            flat: whether the result is (N, features).
            separate: runs the calls as they stand, given the operands.
            folded: the same without batch normalisations, given also the folded weight and bias of each part.
        """
        self._parts, self._flat = parts, flat
        self._separate, self._folded = separate, folded
        self._stages = tuple([part.stage for part in parts])
        self._normalises = any(part.folding is not None for part in parts)
        self.__name__ = "step"

    def __call__(self, *operands: Any) -> Tensor:
        """Returns the result of the last call."""
        x = operands[0]
        plain = chains.is_plain(x)
        if not plain and not (self._normalises and is_foldable(x)):
            return self._separate(*operands)
        parameters = self._parameters(x, operands)
        if parameters is None:
            return self._separate(*operands)
        if plain:
            backend = registry.resolve(None)
            run = chains.run_of(backend, x, self._stages, parameters, flat=self._flat, layers=len(self._stages))
            if run is not None:
                return chains.apply(run, x)
        return self._folded(*operands, *parameters) if self._normalises else self._separate(*operands)

    def _parameters(self, x: Tensor, operands: Sequence[Any]) -> list[Tensor | None] | None:
        """Returns each part's weight and bias, normalisations folded in, or None if they can't be."""
        if self._normalises and recorded(*[each for each in operands if isinstance(each, Tensor)]):
            return None
        found: list[Tensor | None] = []
        for part in self._parts:
            w, b = operands[part.weight], _at(operands, part.bias)
            if w.shape != part.stage.weight:
                return None
            if part.folding is not None:
                mean, var, gamma, beta = (_at(operands, position) for position in part.norm)
                both = part.folding.parameters(w, b, Norm(mean, var, gamma, beta)) if w.dtype is x.dtype else None
                if both is None:
                    return None
                w, b = both
            found += w, b
        return found


def _at(operands: Sequence[Any], position: int | None) -> Any:
    return None if position is None else operands[position]
