"""Blocks one behind another, done in one step forwards and one backwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.block import Block


class Operands(NamedTuple):
    """Where a chain's numbers are: addresses of C-contiguous memory, 0 for what isn't there or isn't wanted."""

    x: int
    parameters: Sequence[int]
    """Each block's weight and bias, in turn."""
    result: int
    """The last block's."""
    kept: int
    """What the gradients need besides."""


class Gradients(NamedTuple):
    """Where the gradients are, as `Operands`."""

    result: int
    x: int
    parameters: Sequence[int]


class Chain(ABC):
    """The steps of some blocks, each of which takes the one before's result as its input, on images of one shape."""

    blocks: tuple[Block, ...]

    kept_bytes: int
    """What `forward` keeps for `backward`."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Memory for results, its content undefined."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(self, at: Operands) -> None:
        """Fill the result, and what is kept, if it is wanted."""

    @abstractmethod
    def backward(self, at: Operands, gradients: Gradients) -> None:
        """Fill the gradients of x and of the parameters, as far as they are wanted, from that of the result."""
