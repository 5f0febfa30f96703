"""The network that the tests of torch's tools convert, and torch's results for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fastconv.torch import convert

CONVERSIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "converted": lambda model: convert(model, "im2col"),
    "fused": lambda model: convert(model, "numba", fuse=True),
}

conversions = pytest.mark.parametrize("conversion", CONVERSIONS)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 9, 4),
    )
    return layers.double().eval()


def converted(conversion: str) -> Any:
    return CONVERSIONS[conversion](network())


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_as_torch(result: torch.Tensor) -> None:
    """Passes if a tool's result is what torch's layers give for `images`."""
    torch.testing.assert_close(result, network()(images()), rtol=1e-9, atol=1e-11)
