"""What decides at each call who computes: modes, data types, layouts, autocast, transforms, threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.torch.graphs.compiling import assert_alike, compiled, twins
from tests.torch.graphs.networks import MODELS, Residual, sequential


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_modes_and_types(mode: Any, dtype: torch.dtype) -> None:
    model = Residual().eval().to(dtype)
    x = torch.randn(2, 1, 16, 16).to(dtype)
    with mode():
        y, expected = compiled(model)(x), model(x)
    assert y.is_inference() == expected.is_inference()
    assert y.requires_grad == expected.requires_grad
    rounding = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 2e-2, torch.bfloat16: 5e-2}[dtype]
    assert_alike(y.detach(), expected.detach(), rounding)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("model", ["Tutorial", "Residual"])
def test_autocast(model: str, inside: bool, ran: list[Any]) -> None:
    """It is torch that computes under autocast: the bits are the same."""
    layers = MODELS[model]().eval()

    def forward(x: Tensor) -> Any:
        if not inside:
            return layers(x)
        with torch.autocast("cpu", torch.bfloat16):
            return layers(x)

    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=not inside):
        y, expected = compiled(forward)(x), forward(x)
        assert y.dtype == expected.dtype
        assert torch.equal(y, expected)
    assert not ran


def test_gradients_switched_off_inside() -> None:
    theirs, mine = twins(Residual().eval())

    def run(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            with torch.no_grad():
                fixed = model(x)
            return fixed + model(x)

        return forward

    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    y, expected = compiled(run(mine))(x), run(theirs)(x)
    assert_alike(y, expected)
    weights = list(mine.parameters()), list(theirs.parameters())
    assert_alike(torch.autograd.grad(y.sum(), weights[0]), torch.autograd.grad(expected.sum(), weights[1]))


@pytest.mark.parametrize("which", ["images", "weights"])
@torch.no_grad()
def test_channels_last(which: str, ran: list[Any]) -> None:
    """Such images are torch's, with the normalisations folded, and stay in that layout."""
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()
    x = torch.randn(2, 3, 16, 16)
    if which == "images":
        x = x.to(memory_format=torch.channels_last)
    else:
        conv.to(memory_format=torch.channels_last)

    def forward(x: Tensor) -> Any:
        y = norm(conv(x))
        return y, F.max_pool2d(y, 3), conv(x)

    found, expected = compiled(forward)(x), forward(x)
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in (*found, *expected))
    assert_alike(found, expected, 1e-5)
    assert not ran


@pytest.mark.parametrize("model", ["Tutorial", "Residual"])
def test_transforms(model: str, ran: list[Any]) -> None:
    """Inside torch.func's transforms the graph is torch's."""
    layers = MODELS[model]().double().eval()
    x = torch.randn(3, 2, 1, 16, 16, dtype=torch.float64)

    def forward(x: Tensor) -> Tensor:
        return torch.vmap(layers.forward)(x)

    def derived(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: layers(x).sum())(x)

    with torch.no_grad():
        assert_alike(compiled(forward)(x), forward(x))
        assert_alike(compiled(derived)(x[0]), derived(x[0]))
    assert not ran


@pytest.mark.parametrize("model", ["Sequential", "Residual", "Shared"])
def test_no_images(model: str) -> None:
    theirs, mine = twins(MODELS[model]().eval())
    x = torch.randn(0, 1, 16, 16, dtype=torch.float64)
    found, expected = compiled(mine)(x), theirs(x)
    assert_alike(found, expected)
    weights = list(mine.parameters()), list(theirs.parameters())
    assert_alike(torch.autograd.grad(found.sum(), weights[0]), torch.autograd.grad(expected.sum(), weights[1]))
    with torch.no_grad():
        assert_alike(compiled(mine)(x), expected)


@torch.no_grad()
def test_several_threads() -> None:
    """They share a graph, while a weight changes between their calls."""
    model = sequential().eval()
    run, xs = compiled(model), [torch.randn(2, 1, 16, 16) for _ in range(8)]
    run(xs[0])
    for _ in range(3):
        model[1].weight.add_(0.5)
        with ThreadPoolExecutor(4) as pool:
            for y, x in zip(pool.map(torch.no_grad()(run), xs), xs, strict=True):
                assert_alike(y, model(x), 1e-5)
