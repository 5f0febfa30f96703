"""A chain is blocks one behind another, computed in one step in the forward pass and one in the backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.block import Block


class Operands(NamedTuple):
    """These are a chain's arrays: C-contiguous NumPy arrays, or torch tensors on the CPU."""

    x: Any
    parameters: Sequence[Any]
    """Each block's weight and bias, in turn; a bias may be None."""
    result: Any
    """The last block's result."""
    saved: Any
    """Memory of `Chain.saved_bytes` bytes for what the gradients need, or None where no gradient will be asked for."""
    residuals: Sequence[Any] = ()
    """The residuals of the blocks that have one."""


class Gradients(NamedTuple):
    """These are the gradients of a chain's arrays; those that aren't wanted are None."""

    result: Any
    x: Any
    parameters: Sequence[Any]
    residuals: Sequence[Any] = ()


class Chain(ABC):
    """A chain has the steps of some blocks, each of which takes the result of the block before, for one image shape."""

    blocks: tuple[Block, ...]

    saved_bytes: int
    """Size of what `forward` saves for `backward`, in bytes."""

    reads_result: bool
    """True if `backward` reads the last block's result."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(self, at: Operands) -> bool:
        """Fill the result, and the saved memory if there is one.

        Returns False where numbers that aren't finite may have spread to results that don't depend on them; the
        primitives must then compute all of it.
        """

    @abstractmethod
    def backward(self, at: Operands, gradients: Gradients) -> bool:
        """Fill the gradients of x, the parameters and the residuals, as far as they are wanted, from the result's.

        Returns False as `forward` does.
        """
