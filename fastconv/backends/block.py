"""A block is a convolution with what follows it: a residual that is added, an activation, and a pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fastconv.geometry import ConvGeometry, PoolGeometry

Activation = Literal[
    "relu", "relu6", "tanh", "silu", "hardswish", "sigmoid", "hardsigmoid", "leaky_relu", "gelu", "gelu_tanh"
]
"""Names of activations, as in `torch.nn.functional`, whose gelu with ``approximate="tanh"`` is "gelu_tanh"."""

Pooling = Literal["max", "avg"]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
POOLINGS: tuple[str, ...] = get_args(Pooling)


@dataclass(frozen=True)
class Block:
    """A block is a convolution, the activation of its results, and their pooling in windows of 2 x 2."""

    geometry: ConvGeometry
    activation: Activation | None
    pool: Pooling | None
    residual: bool = False
    """True if an array of the results' shape is added before the activation."""

    @property
    def result_shape(self) -> tuple[int, int, int, int]:
        """Returns the shape (N, K, P, Q), or with pooling (N, K, P // 2, Q // 2)."""
        return self.geometry.output_shape if self.pool is None else pairs_of(self.geometry).output_shape


def pairs_of(g: ConvGeometry) -> PoolGeometry:
    """Returns the pooling of a convolution's results in windows of 2 x 2, side by side."""
    return PoolGeometry(g.N, g.K, g.P, g.Q, 2, 2, (2, 2), (0, 0))
