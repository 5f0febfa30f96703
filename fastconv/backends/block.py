"""A block is a convolution with its activation and pooling; the activations here take arrays of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, PoolGeometry

Activation = Literal["relu", "tanh"]

Pooling = Literal["max", "avg"]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
POOLINGS: tuple[str, ...] = get_args(Pooling)


@dataclass(frozen=True)
class Block:
    """A block is a convolution, the activation of its results, and their pooling in windows of 2 x 2."""

    geometry: ConvGeometry
    activation: Activation | None
    pool: Pooling | None

    @property
    def result_shape(self) -> tuple[int, int, int, int]:
        """Returns the shape (N, K, P, Q), or with pooling (N, K, P // 2, Q // 2)."""
        return self.geometry.output_shape if self.pool is None else pairs_of(self.geometry).output_shape

    def kept(self, dtype: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Returns shape and type of the array kept for gradients: max pooling's indices, or what was averaged."""
        if self.pool is None:
            return (0,), np.dtype(dtype)
        if self.pool == "max":
            return self.result_shape, np.dtype(np.int64)
        return self.geometry.output_shape, np.dtype(dtype)


def pairs_of(g: ConvGeometry) -> PoolGeometry:
    """Returns the pooling of a convolution's results in windows of 2 x 2, side by side."""
    return PoolGeometry(g.N, g.K, g.P, g.Q, 2, 2, (2, 2), (0, 0))


@QUIET
def activate(y: Any, activation: Activation) -> Any:
    """Returns the activation of every element, in the array's own memory."""
    if not isinstance(y, np.ndarray):
        return getattr(y, f"{activation}_")()
    return np.maximum(y, 0, out=y) if activation == "relu" else np.tanh(y, out=y)


@QUIET
def activation_gradient(grad: Any, y: Any, activation: Activation) -> Any:
    """Returns the gradient before an activation, from the one after it and its result."""
    if activation == "tanh":
        return grad * (1 - y * y)
    return np.where(y <= 0, 0, grad).astype(grad.dtype) if isinstance(y, np.ndarray) else grad.masked_fill(y <= 0, 0)
