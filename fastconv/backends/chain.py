"""Blocks one behind another, done in one step forwards and one backwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.block import Block


class Chain(ABC):
    """The steps of some blocks, each of which takes the one before's result as its input, on images of one shape.

    Everything is given by addresses, of C-contiguous memory; 0 is a bias that isn't there, or a gradient that isn't
    wanted. Parameters are each block's weight and bias, in turn.
    """

    blocks: tuple[Block, ...]

    kept_bytes: int
    """What `forward` keeps for `backward`."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Memory for results, its content undefined."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(self, x: int, parameters: Sequence[int], result: int, kept: int) -> None:
        """Fill ``result`` with the last block's, and ``kept``, unless that is 0."""

    @abstractmethod
    def backward(
        self,
        grad: int,
        x: int,
        parameters: Sequence[int],
        result: int,
        kept: int,
        for_x: int,
        gradients: Sequence[int],
    ) -> None:
        """Fill the gradients of x and of the parameters, from that of the result."""
