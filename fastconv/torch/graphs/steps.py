"""Steps of a graph: calls that run together, in the way that the tensors of the moment allow.

    as one step     contiguous images on the CPU and a backend that has such steps; batch normalisations are folded
    folded          no gradient is wanted: each call by itself, but without the batch normalisations
    as they stand   each call by itself

Each call by itself is fastconv's or torch's (either.py). Gradients of batch normalisation's parameters need the calls
as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NamedTuple

import torch

from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.torch import chain_autograd, chains
from fastconv.torch.chain_autograd import Run
from fastconv.torch.chains import Stage
from fastconv.torch.graphs.either import is_foldable
from fastconv.torch.graphs.folding import Folding
from fastconv.torch.memory import is_plain

Tensor = torch.Tensor


class Part(NamedTuple):
    """A convolution or a linear layer of a step, with what follows it.

    Numbers are positions among the step's operands; a tensor that is left out has the last one, which is None.
    """

    stage: Stage
    weight: int
    bias: int
    norm: tuple[int, ...]
    """A batch normalisation's mean, variance, gamma and beta; empty without one."""
    eps: float | None
    """What the normalisation adds to the variance; None without one."""
    residual: int | None = None
    """What is added before the activation."""


class _Last(NamedTuple):
    """The run of the last call, for another call with images of the same shape and the same folded weights."""

    shape: torch.Size
    backend: Backend
    parameters: list[Tensor | None]
    run: Run


class Step:
    """Calls that run together. The first operand is what the first call convolves."""

    def __init__(
        self, parts: Sequence[Part], flat: bool, separate: Callable[..., Tensor], folded: Callable[..., Tensor]
    ) -> None:
        """Make a step of parts.

        Args:
            flat: whether the result is (N, features).
            separate: runs the calls as they stand, given the operands.
            folded: the same without batch normalisations, given also the weight and the bias of each part.
        """
        self.flat, self._separate, self._folded = flat, separate, folded
        self.parts = tuple(parts)
        self._stages = tuple([part.stage for part in parts])
        self._residuals = [part.residual for part in parts if part.residual is not None]
        normalised = [part for part in parts if part.eps is not None]
        self._folding = Folding([part.eps for part in normalised if part.eps is not None])
        self._sources = [at for part in normalised for at in (part.weight, part.bias, *part.norm)]
        self._normalises, self._keeps_run = bool(normalised), len(normalised) == len(parts)
        self._last: _Last | None = None
        self.__name__ = "step"

    def __call__(self, *operands: Any) -> Tensor:
        """Returns the result of the last call."""
        x = operands[0]
        plain = is_plain(x)
        if not plain and not (self._normalises and is_foldable(x)):
            return self._separate(*operands)
        parameters = self._parameters(x.dtype, operands)
        if parameters is None:
            return self._separate(*operands)
        if plain:
            run = self._run(x, parameters, [operands[at] for at in self._residuals])
            if run is not None:
                return chain_autograd.apply(run, x)
        return self._folded(*operands, *parameters) if self._normalises else self._separate(*operands)

    def _parameters(self, dtype: torch.dtype, operands: Sequence[Any]) -> list[Tensor | None] | None:
        """Returns each part's weight and bias, normalisations folded in, or None if they can't be."""
        if self._normalises and torch.is_grad_enabled() and any(map(_is_recorded, operands)):
            return None
        operands = (*operands, None)
        if any(operands[part.weight].shape != part.stage.weight for part in self.parts):
            return None
        folded = self._folding.parameters(dtype, [operands[at] for at in self._sources]) if self._normalises else []
        if folded is None or self._keeps_run:
            return folded  # type: ignore[return-value]
        found: list[Tensor | None] = []
        pairs = iter(folded)
        for part in self.parts:
            found += [operands[part.weight], operands[part.bias]] if part.eps is None else [next(pairs), next(pairs)]
        return found

    def _run(self, x: Tensor, parameters: list[Tensor | None], residuals: list[Tensor]) -> Run | None:
        backend, last = registry.resolve(None), self._last
        if (
            last is not None
            and last.shape == x.shape
            and last.backend is backend
            and all(map(is_, last.parameters, parameters))
        ):
            return chains.with_residuals(last.run, x, residuals)
        layers = len(self._stages)
        run = chains.run_of(backend, x, self._stages, parameters, residuals, flat=self.flat, layers=layers)
        if run is not None and self._keeps_run:
            self._last = _Last(x.shape, backend, parameters, run._replace(parameters=parameters))
        return run


def _is_recorded(operand: Any) -> bool:
    return isinstance(operand, Tensor) and operand.requires_grad
