"""Local response normalisation through fastconv's average pooling."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastconv.torch import functional
from fastconv.torch.modules import Layer


class LocalResponseNorm(Layer, nn.LocalResponseNorm):
    """`torch.nn.LocalResponseNorm` of an odd ``size``, with a ``backend``; input (N, C, H, W).

    Each element is divided by (k + alpha * mean of squares)^beta, the mean being that of ``size`` neighbouring channels
    at its place, zeros beyond the first and the last (A. Krizhevsky, I. Sutskever, G. Hinton, 2012, section 3.3). That
    mean is an average pooling of windows ``size`` high and one wide, over planes of C x HW.
    """

    def __init__(self, size: int, *args: Any, **kwargs: Any) -> None:
        assert size % 2 == 1, size
        super().__init__(size, *args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        squares = (input * input).flatten(2).unsqueeze(1)  # (N, 1, C, HW)
        window, padding = (self.size, 1), (self.size // 2, 0)
        means = functional.avg_pool2d(squares, window, 1, padding, backend=self.backend).view(input.shape)
        return input * means.mul(self.alpha).add(self.k).pow(-self.beta)
