"""Without torch's private interfaces, fastconv's layers give the same results in a slower way, and say so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fastconv.torch as fc
from fastconv.torch import chains, internals


def _step(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """A result and the gradients of its sum of squares."""
    image = x.clone().requires_grad_()
    y = model(image)
    return [y, *torch.autograd.grad(y.square().sum(), [image, *model.parameters()])]


def test_the_slower_way_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = fc.ConvBlock2d(3, 4, 3, padding=1, pool="max"), nn.Flatten(), nn.Linear(64, 5)
    model = fc.Sequential(*layers).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert chains.is_plain(x)
    expected = _step(model, x)
    monkeypatch.setattr(internals, "_CAUTIOUS", True)
    assert not chains.is_plain(x)
    torch.testing.assert_close(_step(model, x), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch._dynamo")
def test_the_slower_way_is_compiled_to_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "_CAUTIOUS", True)
    torch._dynamo.reset()
    layer = fc.Conv2d(1, 2, 3).double()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(_step(compiled, x), _step(layer, x))


@pytest.mark.parametrize("name", ["_len_torch_dispatch_stack", "_are_functorch_transforms_active"])
def test_what_is_missing_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not internals._is_cautious()
    monkeypatch.delattr(torch._C, name)
    with pytest.warns(RuntimeWarning, match=rf"torch \d.* has no torch._C.{name}: .* slower"):
        assert internals._is_cautious()
