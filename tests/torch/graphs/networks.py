"""Small networks, written in the ways that people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tutorial(nn.Module):
    """A network with functions in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(6 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pool(self.conv1(x)))
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return F.log_softmax(self.linear(x), dim=1)


class Residual(nn.Module):
    """Batch normalisations, a sum in place, a branch and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.short = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False))
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(x))
        y += self.short(x)
        return self.linear(self.relu(y).mean((2, 3)))


class Shared(nn.Module):
    """One layer twice, and its weight in a third call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = torch.relu(self.layer(torch.relu(self.layer(x))))
        return y + F.conv2d(x, self.layer.weight.flip(2), padding="same")


class Transposed(nn.Module):
    """A generator, with pools of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 4, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.adaptive = nn.AdaptiveAvgPool2d((5, None))

    def forward(self, x: Tensor) -> Any:
        x = F.leaky_relu(self.norm(self.up(x)), 0.2, inplace=True)
        y, where = F.max_pool2d(x, 3, 2, 1, return_indices=True)
        z = F.avg_pool2d(x, (2, 3), stride=[], count_include_pad=False)
        return y.sum((1, 2)) + where.sum() * 0.001 + self.adaptive(z).sum() + F.adaptive_max_pool2d(z, 2).sum()


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Dropout(0.0),
        nn.Flatten(),
        nn.Linear(6 * 4, 7),
        nn.ReLU(),
        nn.Linear(7, 5),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Sequential": sequential,
    "Tutorial": Tutorial,
    "Residual": Residual,
    "Shared": Shared,
    "Transposed": Transposed,
}
