"""A convolution with what follows it, run as the chain of one block that a layer of torch would make of it."""

from __future__ import annotations

import numpy as np

from fastconv.backends.block import Activation, Block, Pooling, pairs_of
from fastconv.backends.chain import Gradients, Operands
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.geometry import ConvGeometry


class OneBlock:
    """A block, forwards and backwards."""

    def __init__(
        self, numba: NumbaCpu, dtype: str, g: ConvGeometry, activation: Activation | None, pool: Pooling | None
    ) -> None:
        self.chain = numba.chain((Block(g, activation, pool),), np.dtype(dtype))
        shape = g.output_shape if pool is None else pairs_of(g).output_shape
        self.result = np.empty(shape, dtype)
        self.saved = np.empty(self.chain.saved_bytes, np.uint8)

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Returns the result."""
        self.operands = Operands(x, (w, b), self.result, self.saved)
        self.chain.forward(self.operands)
        return self.result

    def backward(self, grad: np.ndarray, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """Returns the gradients of x, w and b, which have these shapes."""
        found = [np.empty(shape, grad.dtype) for shape in shapes]
        self.chain.backward(self.operands, Gradients(grad, found[0], found[1:]))
        return found
