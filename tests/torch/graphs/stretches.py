"""Models of one function each, for tests of stretches of a graph that run as one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork


@contextmanager
def ran() -> Iterator[list[bool]]:
    """Collects, for each run of a network, whether it gave the result."""
    found: list[bool] = []
    genuine = NumbaNetwork.run

    def run(self: NumbaNetwork, *arrays: Any) -> bool:
        found.append(genuine(self, *arrays))
        return found[-1]

    with patch.object(NumbaNetwork, "run", run):
        yield found


class Layers(nn.Module):
    """Layers that the functions below use, each as often as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, bias=False)
        self.third = nn.Conv2d(16, 8, 3, padding=1)
        self.down, self.deep = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.up, self.grouped = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 16, 3, 2, 1, 1, 4, False, 2)
        self.norm, self.wide = nn.BatchNorm2d(8), nn.BatchNorm2d(16)
        self.linear, self.head = nn.Linear(8, 21), nn.Linear(21, 5, bias=False)
        for norm in (self.norm, self.wide):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)


def _excited(m: Any, x: Tensor) -> Tensor:
    y = F.hardswish(m.norm(m.first(x)))
    factors = F.hardsigmoid(m.excite(F.relu(m.squeeze(F.adaptive_avg_pool2d(y, 1)))))
    return m.second(factors * y)


def _excited_in_place(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    y *= torch.sigmoid(m.excite(F.silu(m.squeeze(y.mean((2, 3), keepdim=True)))))
    return m.second(y)


def _joined(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    return m.third(torch.cat([F.relu(m.second(y)), m.deep(y)], 1))


def _dense(m: Any, x: Tensor) -> Tensor:
    one = m.first(x)
    two = m.second(F.relu(m.norm(torch.cat([one], 1)), inplace=True))
    three = m.third(F.relu(m.wide(torch.cat([one, two], 1)), inplace=True))
    return torch.cat([one, two, three], 1)


def _shuffled(m: Any, x: Tensor) -> Tensor:
    left, right = m.third(torch.cat([x, m.first(x)], 1)).chunk(2, dim=1)
    y = torch.cat((left, right, F.relu(right)), dim=1)
    N, C, H, W = y.shape
    y = y.view(N, 2, C // 2, H, W).transpose(1, 2).contiguous().view(N, C, H, W)
    return m.third(torch.cat([y, left], 1)) + m.first(torch.cat([right, left], 1))


def _pooled(m: Any, x: Tensor) -> Tensor:
    y = F.max_pool2d(m.first(x), 3, 2, ceil_mode=True)
    z = F.avg_pool2d(m.second(y), 3, 1, 1, count_include_pad=False)
    return F.adaptive_avg_pool2d(F.leaky_relu(z), (1, None))


def _enlarged(m: Any, x: Tensor) -> Tensor:
    """With a bias and without, in groups, with a normalisation and activations behind them."""
    y = F.relu(m.wide(m.grouped(m.second(x))))
    return m.up(F.leaky_relu(m.up(F.gelu(m.third(y)))))


def _split(m: Any, x: Tensor) -> Tensor:
    y = m.third(torch.cat([x, m.first(x)], 1))
    few, more = y.split([3, 5], 1)
    a, b, c = torch.split(y, [2, 2, 4], dim=-3)
    return m.third(torch.cat([torch.tanh(more), few, a, F.gelu(c, approximate="tanh"), b], 1))


def _sliced(m: Any, x: Tensor) -> Tensor:
    """ReXNet's sum with the first channels, and the other ways to write parts."""
    y = m.third(torch.cat([x[:, :8], m.first(x)], 1))
    z = torch.cat([y[:, 0:5] + m.second(y)[:, 3:, :], y[:, 5:, ..., :]], dim=1)
    return m.third(torch.cat([F.relu(z[:, -6:-2]), z[:, :, :, :], z[:, 6:100], z[:, 1:3]], 1))


def _classified(m: Any, x: Tensor) -> Tensor:
    y = F.dropout(torch.flatten(F.adaptive_avg_pool2d(m.down(x), (1, 1)), 1), 0.5, False)
    return m.head(F.relu(m.linear(y), inplace=True))


def _residual(m: Any, x: Tensor) -> Tensor:
    y = m.norm(m.first(x))
    y += m.second(x)
    z = F.max_pool2d(F.relu(y), 2)
    return F.relu(m.deep(z) + z)


def _activated_alone(m: Any, x: Tensor) -> Any:
    """The pooling gives its argument, and so does the flattening; each is activated where the argument is read too."""
    y = m.first(x)
    z = F.relu(F.adaptive_avg_pool2d(y, y.shape[2:]))
    small = F.adaptive_avg_pool2d(z, 1)
    return m.second(y), z, F.relu(small.flatten(1)), small * 2.0


def _several(m: Any, x: Tensor) -> Any:
    y = m.first(x)
    return F.relu(m.second(y)), y, m.deep(y).mean((2, 3))


ONE: dict[str, Callable[[Any, Tensor], Any]] = {
    "squeeze and excite": _excited,
    "squeeze and excite in place": _excited_in_place,
    "concatenation": _joined,
    "concatenations of concatenations": _dense,
    "channel shuffle": _shuffled,
    "poolings": _pooled,
    "transposed convolutions": _enlarged,
    "channels in several parts": _split,
    "slices of channels": _sliced,
    "linear layers": _classified,
    "residuals": _residual,
    "several results": _several,
}
"""Functions that are one network each."""


class Model(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.layers, self.function = Layers(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.layers, x)


def model_of(name: str) -> nn.Module:
    return Model({**ONE, "same": _activated_alone}[name]).double().eval()


def images(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 8, 11, 9, dtype=dtype)
