"""Random networks, compiled and trained: results, all gradients and running statistics are torch's.

Each network is a list of calls on values that earlier ones made, so that values are read never, once, or often, whole
or in parts, and several are results.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fuzz.effort import examples
from tests.torch.graphs.compiling import assert_alike, compiled

ACTIVATIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "gelu": F.gelu,
}


class Call(NamedTuple):
    """A call on some of the values so far; numbers are taken modulo how many there are."""

    kind: str
    values: tuple[int, int]
    number: int


KINDS = (
    "conv",
    "depthwise",
    "point",
    "norm",
    "norm+",
    "activation",
    "sum",
    "cat",
    "part",
    "shuffle",
    "gate",
    "max",
    "avg",
)
CALLS = st.lists(
    st.builds(Call, st.sampled_from(KINDS), st.tuples(st.integers(0, 50), st.integers(0, 50)), st.integers(0, 50)),
    min_size=2,
    max_size=9,
)


class Network(nn.Module):
    """Runs calls, whose layers it makes for images of (channels, height, width)."""

    def __init__(self, calls: list[Call], shape: tuple[int, int, int], results: int) -> None:
        super().__init__()
        self.layers, self.calls, self.results = nn.ModuleList(), calls, results
        with torch.no_grad():
            self._run(torch.zeros(2, *shape), makes=True)
        for layer in self.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()

    def _run(self, x: Tensor, *, makes: bool) -> list[Tensor]:
        values, at = [x], 0
        for call in self.calls:
            value, other = (values[each % len(values)] for each in call.values)
            N, C, H, W = value.shape
            if call.kind in ("conv", "depthwise", "point", "norm", "norm+"):
                if makes:
                    self.layers.append(_made(call, C))
                y = self.layers[at](value)
                at += 1
                if call.kind == "norm+":
                    y = F.relu(y + other) if other.shape == y.shape else F.relu(y)
            elif call.kind == "activation":
                y = list(ACTIVATIONS.values())[call.number % len(ACTIVATIONS)](value)
            elif call.kind == "sum":
                y = value + other if value.shape == other.shape and value is not other else value * 1.0
            elif call.kind == "cat":
                y = torch.cat([value, other], 1) if value.shape[2:] == other.shape[2:] and C < 40 else F.relu(value)
            elif call.kind == "part":
                y = value[:, call.number % C : call.number % C + 1 + C // 2] if C > 1 else F.silu(value)
            elif call.kind == "shuffle":
                y = (
                    value.view(N, 2, C // 2, H, W).transpose(1, 2).contiguous().view(N, C, H, W)
                    if C % 2 == 0
                    else -value
                )
            elif call.kind == "gate":
                y = value * torch.sigmoid(F.adaptive_avg_pool2d(value, 1))
            elif min(H, W) < 3:
                y = F.tanh(value)
            elif call.kind == "max":
                y = F.max_pool2d(value, *[(2, 2, 0), (3, 2, 1), (3, 1, 1)][call.number % 3])
            else:
                y = F.avg_pool2d(value, *[(2, 2), (3, 3), (2, 1)][call.number % 3])
            values.append(y)
        return values

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._run(x, makes=False)[-self.results :])


def _made(call: Call, channels: int) -> nn.Module:
    if call.kind == "conv":
        return nn.Conv2d(channels, 2 + call.number % 7, 3, 1 + call.number % 2, 1)
    if call.kind == "depthwise":
        return nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=call.number % 2 == 0)
    if call.kind == "point":
        return nn.Conv2d(channels, 2 + call.number % 7, 1, bias=call.number % 2 == 0)
    return nn.BatchNorm2d(channels, affine=call.number % 3 > 0)


def _trained(model: Any, forward: Any, x: Tensor, which: int) -> list[Any]:
    """Returns results, gradients and buffers after a pass; only some results have a gradient."""
    model.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_(which % 2 == 0)
    results = forward(x)
    taken = [result for at, result in enumerate(results) if at != which % 5 and result.requires_grad] or list(results)
    loss = sum(
        (result * torch.linspace(-1, 1, result.numel(), dtype=x.dtype).view_as(result)).sum() for result in taken
    )
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    gradients = [p.grad for p in (x, *model.parameters())]
    there = [grad is not None for grad in gradients]
    return [list(results), there, [grad for grad in gradients if grad is not None], list(model.buffers())]


@examples(25)
@given(CALLS, st.sampled_from([(3, 8, 7), (4, 5, 5), (6, 1, 1), (2, 9, 12)]), st.integers(1, 3), st.integers(0, 9))
def test_random_networks(calls: list[Call], shape: tuple[int, int, int], results: int, which: int) -> None:
    torch.manual_seed(which)
    theirs = Network(calls, shape, results).double().train()
    mine = copy.deepcopy(theirs)
    torch._dynamo.reset()
    forward = compiled(mine)
    for n in (2, 3):
        x = torch.randn(n, *shape, dtype=torch.float64)
        found, expected = _trained(mine, forward, x, which), _trained(theirs, theirs, x, which)
        assert found.pop(1) == expected.pop(1), "the same gradients are None"
        assert_alike(found, expected)
