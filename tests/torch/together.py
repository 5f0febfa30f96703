"""Networks whose layers run together, and the same layers apart, for the tests of `fastconv.torch.Sequential`."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from fastconv.torch import AvgPool2d, Conv2d, ConvBlock2d, MaxPool2d, Sequential

Layers = Callable[[str], list[nn.Module]]

CASES: dict[str, tuple[tuple[int, ...], Layers]] = {
    "lenet5": (
        (3, 1, 28, 28),
        lambda b: [
            ConvBlock2d(1, 6, 5, padding=2, activation="tanh", pool="avg", backend=b),
            ConvBlock2d(6, 16, 5, activation="tanh", pool="avg", backend=b),
            ConvBlock2d(16, 12, 5, activation="tanh", backend=b),
            nn.Flatten(),
            nn.Linear(12, 8),
            nn.Tanh(),
            nn.Linear(8, 5),
        ],
    ),
    "max pooling, no bias": (
        (5, 2, 12, 10),
        lambda b: [
            ConvBlock2d(2, 8, 3, bias=False, activation="relu", pool="max", backend=b),
            ConvBlock2d(8, 5, 3, padding=1, bias=False, activation=None, pool="max", backend=b),
            nn.Flatten(),
            nn.Linear(5 * 2 * 2, 7, bias=False),
            nn.ReLU(),
        ],
    ),
    "single layers": (
        (2, 3, 13, 11),
        lambda b: [
            Conv2d(3, 4, 3, padding="same", backend=b),
            nn.ReLU(inplace=True),
            MaxPool2d(2, backend=b),
            Conv2d(4, 4, (1, 2), backend=b),
            AvgPool2d((2, 2), 2, backend=b),
            Conv2d(4, 6, 2, backend=b),
            nn.Tanh(),
            nn.Flatten(),
        ],
    ),
    "activations": (
        (2, 3, 7, 6),
        lambda b: [
            Conv2d(3, 4, 3, backend=b),
            nn.GELU(),
            Conv2d(4, 5, 2, backend=b),
            nn.GELU("tanh"),
            Conv2d(5, 4, 1, backend=b),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4 * 4 * 3, 6),
            nn.Hardswish(),
        ],
    ),
    "strides, groups, dilation": (
        (3, 4, 13, 14),
        lambda b: [
            ConvBlock2d(4, 8, 3, stride=(2, 1), padding=1, groups=2, activation="relu", backend=b),
            ConvBlock2d(8, 8, 3, dilation=(1, 2), padding=2, groups=8, activation="tanh", backend=b),
            ConvBlock2d(8, 3, 1, stride=3, activation="relu", backend=b),
        ],
    ),
    "one pixel": (
        (4, 6, 1, 1),
        lambda b: [ConvBlock2d(6, 5, 1, activation="relu", backend=b), nn.Flatten(), nn.Linear(5, 3)],
    ),
}


def model(case: str, backend: str, dtype: torch.dtype = torch.float64) -> Sequential:
    torch.manual_seed(1)
    return Sequential(*CASES[case][1](backend)).to(dtype)


def images(case: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(CASES[case][0], generator=torch.Generator().manual_seed(2), dtype=dtype)


def separate(of: nn.Module) -> nn.Sequential:
    """The same layers, in float64, each of them by im2col."""
    layers = copy.deepcopy(list(of.children()))
    for layer in layers:
        if hasattr(layer, "backend"):
            layer.backend = "im2col"
    return nn.Sequential(*layers).double()


def assert_near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
    tolerance = 1e-11 if actual.dtype == torch.float64 else 2e-5
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * scale)


def runs_together(y: torch.Tensor) -> bool:
    return type(y.grad_fn).__name__ == "_ChainedBackward"
