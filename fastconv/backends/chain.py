"""A chain is blocks one behind another, done in one step forwards and one backwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.block import Block


class Operands(NamedTuple):
    """Addresses of a chain's arrays in C-contiguous memory; 0 for an array that isn't there or isn't wanted."""

    x: int
    parameters: Sequence[int]
    """Addresses of each block's weight and bias, in turn."""
    result: int
    """Address of the last block's result."""
    kept: int
    """Address of what the gradients need besides."""


class Gradients(NamedTuple):
    """Addresses of the gradients, as in `Operands`."""

    result: int
    x: int
    parameters: Sequence[int]


class Chain(ABC):
    """The steps of some blocks, each of which takes the result of the block before, on images of one shape."""

    blocks: tuple[Block, ...]

    kept_bytes: int
    """Bytes that `forward` keeps for `backward`."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(self, at: Operands) -> None:
        """Fill the result, and what is kept, if it is wanted."""

    @abstractmethod
    def backward(self, at: Operands, gradients: Gradients) -> None:
        """Fill the gradients of x and of the parameters, as far as they are wanted, from that of the result."""
