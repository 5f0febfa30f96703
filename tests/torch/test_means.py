"""The mean over pixels: torch's values and gradients, and a gradient without memory of an image's size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastconv.torch.graphs import backend
from fastconv.torch.means import mean_of_pixels
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import without_networks

SHAPE = (2, 3, 4, 5)


def is_own(result: Tensor) -> bool:
    return type(result.grad_fn).__name__ == "_MeanBackward"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_torch(dtype: torch.dtype) -> None:
    x = torch.randn(SHAPE, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, 3, 1, 1, dtype=dtype)
    y, expected = mean_of_pixels(x), F.adaptive_avg_pool2d(x, 1)
    assert is_own(y) == by_fast_way(True)
    assert torch.equal(y, expected)
    found = torch.autograd.grad(y, x, weights)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, weights)[0])
    assert (found.stride() == (3, 1, 0, 0)) == by_fast_way(True)


def test_gradients_of_gradients() -> None:
    x = torch.randn(SHAPE, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return mean_of_pixels(x).exp()

    assert torch.autograd.gradcheck(run, x)
    assert torch.autograd.gradgradcheck(run, x)


def test_a_leaf_gets_a_gradient_with_memory_of_its_own() -> None:
    x = torch.randn(SHAPE, requires_grad=True)
    mean_of_pixels(x).sum().backward()
    assert x.grad is not None
    assert x.grad.is_contiguous()
    assert x.grad.add_(1).sum() > 0


def test_where_torch_computes() -> None:
    x = torch.randn(SHAPE, requires_grad=True)
    for odd in (x.detach(), x.bfloat16(), x.to(memory_format=torch.channels_last), x[:0], x[0]):
        y = mean_of_pixels(odd)
        assert not is_own(y)
        assert torch.equal(y, F.adaptive_avg_pool2d(odd, 1))
    with torch.no_grad():
        assert not is_own(mean_of_pixels(x))
    found = torch.func.vmap(torch.func.grad(lambda x: mean_of_pixels(x).sum()))(torch.ones(2, *SHAPE))
    torch.testing.assert_close(found, torch.full((2, *SHAPE), 1 / 20))


class Excited(nn.Module):
    """Squeeze and excite, as torchvision's networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.pool = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Any:
        y = self.first(x).relu()
        return torch.sigmoid(self.gate(self.pool(y))) * y


def test_a_compiled_model_has_it_in_training() -> None:
    torch.manual_seed(0)
    model = Excited()
    compiled = torch.compile(model, backend=backend)
    exact = Excited().double()
    exact.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 9, 8)
    with without_networks():
        y, expected = compiled(x), exact(x.double())
    names, nodes = set(), [y.grad_fn]
    for node in nodes:
        names.add(type(node).__name__)
        nodes += [each for each, _ in node.next_functions if each is not None]
    assert ("_MeanBackward" in names) == by_fast_way(True)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    for mine, right in zip(model.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), right.grad, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
