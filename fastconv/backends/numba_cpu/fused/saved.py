"""This file says what a block saves in the forward pass for its gradients, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv.backends.block import Block
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS


@dataclass(frozen=True)
class Saved:
    """Says what a block saves for its gradients, besides its result."""

    indices: bool
    """The indices of max pooling, int64."""
    numbers: bool
    """The activation's inputs, or its results before they are averaged, as its gradient reads them."""

    @classmethod
    def of(cls, block: Block) -> Saved:
        """Return what the gradients of ``block`` need."""
        reads_input = block.activation is not None and ACTIVATIONS[block.activation].reads_input
        averaged = block.pool == "avg" and block.activation is not None
        return cls(block.pool == "max", reads_input or averaged)

    def nbytes(self, block: Block, itemsize: int) -> int:
        """Return the size of what is saved, in bytes; the indices stand first."""
        return self.numbers_at(block) + (math.prod(block.geometry.output_shape) * itemsize if self.numbers else 0)

    def numbers_at(self, block: Block) -> int:
        """Return how far the numbers are from the beginning, in bytes."""
        return 8 * math.prod(block.result_shape) if self.indices else 0
