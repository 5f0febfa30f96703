"""The tensors that a network keeps: parameters as they are, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fastconv.torch.graphs import folding
from fastconv.torch.memory import is_alike, layout_of

Tensor = torch.Tensor


class Source(NamedTuple):
    """What one or two constants are made of, by positions among a call's operands; -1 stands for None.

    One position is a tensor as it is. Four are a batch normalisation's mean, variance, gamma and beta, which make a
    factor and a summand for each channel; six are a convolution's weight and bias before them, which make folded ones.
    """

    operands: tuple[int, ...]
    eps: float = 0.0


class Constants:
    """Makes a network's parameters of a call's operands."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._places: dict[Source, int] = {}
        self._count = 0

    def place(self, source: Source) -> int:
        """Return the number of the first constant that is made of a source, which is added where it is new."""
        if source not in self._places:
            self._places[source] = self._count
            self._sources.append(source)
            self._count += 1 if len(source.operands) == 1 else 2
        return self._places[source]

    @property
    def operands(self) -> list[int]:
        """The positions of all operands that constants are made of, each once."""
        return list(dict.fromkeys(at for source in self._sources for at in source.operands if at >= 0))

    def make(self, like: Tensor, operands: Sequence[Any]) -> list[Tensor] | None:
        """Return the constants, for images of the type of ``like``; None where compiled code can't use them."""
        found: list[Tensor] = []
        for source in self._sources:
            of: list[Any] = [operands[at] if at >= 0 else None for at in source.operands]
            if len(of) == 1:
                made: Sequence[Tensor] | None = [of[0].detach()]
            elif len(of) == 4:
                made = folding.scale_and_shift(of, source.eps, like.dtype)
            else:
                made = folding.folded(of, source.eps) if of[0].dtype is like.dtype else None
            if made is None or not all(map(is_usable, made, [like] * len(made))):
                return None
            found += made
        return found


def is_usable(constant: Tensor, like: Tensor) -> bool:
    """Returns True if compiled code may read a parameter beside images ``like``."""
    contiguous = constant.ndim != 4 or layout_of(constant) is torch.contiguous_format
    return contiguous and is_alike(constant, like)
