"""A chain is blocks one behind another, computed in one step in the forward pass and one in the backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.block import Block


class Operands(NamedTuple):
    """These are the addresses of a chain's C-contiguous arrays; 0 stands for an array that is missing or not wanted."""

    x: int
    parameters: Sequence[int]
    """Addresses of each block's weight and bias, in turn."""
    result: int
    """Address of the last block's result."""
    kept: int
    """Address of the data that `Chain.forward` keeps for the gradients."""


class Gradients(NamedTuple):
    """These are the addresses of the gradients, as in `Operands`."""

    result: int
    x: int
    parameters: Sequence[int]


class Chain(ABC):
    """A chain has the steps of some blocks, each of which takes the result of the block before, for one image shape."""

    blocks: tuple[Block, ...]

    kept_bytes: int
    """Bytes that `forward` keeps for `backward`."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(self, at: Operands) -> None:
        """Fill the result, and the kept data if its address isn't 0."""

    @abstractmethod
    def backward(self, at: Operands, gradients: Gradients) -> None:
        """Fill the gradients of x and of the parameters, as far as they are wanted, from that of the result."""
