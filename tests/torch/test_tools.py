"""Converted models under torch's everyday tools: torch's values and gradients, and what the tools expect to see."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import graph
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from fastconv.torch import convert
from tests.torch.networks import CONVERSIONS, assert_as_torch, conversions, converted, images, network


def _gradients(model: nn.Module, run: Callable[[Any, torch.Tensor], torch.Tensor]) -> list[torch.Tensor | None]:
    x = images().requires_grad_()
    run(model, x).pow(2).sum().backward()
    return [x.grad, *(parameter.grad for parameter in model.parameters())]


def _saved_elsewhere(model: Any, x: torch.Tensor) -> torch.Tensor:
    with graph.saved_tensors_hooks(torch.clone, lambda saved: saved):
        return model(x)


def _saved_on_cpu(model: Any, x: torch.Tensor) -> torch.Tensor:
    with graph.save_on_cpu():
        return model(x)


RUNS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "checkpoint": lambda model, x: checkpoint(model, x, use_reentrant=False),
    "reentrant checkpoint": lambda model, x: checkpoint(model, x, use_reentrant=True),
    "checkpoint_sequential": lambda model, x: checkpoint_sequential(model, 2, x, use_reentrant=False),
    "save_on_cpu": _saved_on_cpu,
    "saved tensors that are copies": _saved_elsewhere,
    "DataParallel": lambda model, x: nn.DataParallel(model)(x),
    "channels_last": lambda model, x: model.to(memory_format=torch.channels_last)(x),
    "a slice of it": lambda model, x: model[3:](model[:3](x)),
}


@conversions
@pytest.mark.parametrize("run", RUNS)
def test_gradients_are_torchs(run: str, conversion: str) -> None:
    found, wanted = (_gradients(model, RUNS[run]) for model in (converted(conversion), network()))
    torch.testing.assert_close(found, wanted)


@conversions
def test_hooks_see_what_they_see_on_torchs_layers(conversion: str) -> None:
    def events(model: Any) -> list[Any]:
        seen: list[Any] = []
        model[0].register_forward_hook(lambda _layer, _x, y: seen.append(("forward", y.detach().clone())))
        model[0].register_full_backward_hook(lambda _layer, _x, g: seen.append(("backward", g[0].clone())))
        model[2].register_full_backward_pre_hook(lambda _layer, g: seen.append(("before", g[0].clone())))
        _gradients(model, lambda model, x: model(x))
        return seen

    found, wanted = events(converted(conversion)), events(network())
    assert [name for name, _ in found] == [name for name, _ in wanted] == ["forward", "before", "backward"]
    torch.testing.assert_close([value for _, value in found], [value for _, value in wanted])


@conversions
def test_inference_mode(conversion: str) -> None:
    model = converted(conversion)
    with torch.inference_mode():
        inside = model(images())
        kept = images()
    assert inside.is_inference()
    with torch.no_grad():
        assert_as_torch(inside.clone())
        assert_as_torch(model(kept))
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        model(kept)
    assert_as_torch(model(images()))


@conversions
def test_without_memory(conversion: str) -> None:
    """Sizes and types come out on the meta device and of fake tensors, gradients too."""
    model = converted(conversion).to("meta")
    result = model(images().to("meta").requires_grad_())
    result.sum().backward()
    assert (result.shape, result.is_meta) == ((2, 4), True)
    with FakeTensorMode():
        fake = CONVERSIONS[conversion](nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)))
        result = fake(torch.randn(2, 3, 16, 16))
        result.sum().backward()
    assert result.shape == (2, 8, 7, 7)


@conversions
def test_defaults_for_devices_and_types(conversion: str) -> None:
    """Scratch tensors of a converted model don't follow the defaults."""
    model = converted(conversion)
    try:
        torch.set_default_device("meta")
        on_meta = model(torch.zeros(2, 3, 16, 16, dtype=torch.float64, device="cpu"))
        on_meta.sum().backward()
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float64)
        made = CONVERSIONS[conversion](nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
        result = made(images())
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert on_meta.device.type == "cpu"
    assert result.dtype is torch.float64


@conversions
def test_autocast_on_the_cpu(conversion: str) -> None:
    mine, theirs = converted(conversion).float(), network().float()
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = mine(images().float()), theirs(images().float())
    assert found.dtype is wanted.dtype is torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02)
    found.float().sum().backward()
    assert mine[0].weight.grad.dtype is torch.float32


@conversions
def test_initialisation_by_class(conversion: str) -> None:
    """`isinstance` finds converted layers, as a function for `nn.Module.apply` asks."""
    model = converted(conversion)
    model.apply(lambda layer: nn.init.ones_(layer.weight) if isinstance(layer, nn.Conv2d) else None)
    assert [bool((model[number].weight == 1).all()) for number in (0, 3)] == [True, True]


def test_profiles_name_fastconvs_operators() -> None:
    model = convert(network(), "im2col")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        model(images()).sum().backward()
    names = {event.key for event in seen.key_averages()}
    assert {"fastconv::conv2d", "fastconv::conv2d_weight", "fastconv::max_pool2d", "fastconv::avg_pool2d"} <= names


@conversions
def test_shallow_and_deep_copies(conversion: str) -> None:
    model = converted(conversion)
    assert_as_torch(copy.copy(model)(images()))
    assert_as_torch(copy.deepcopy(model)(images()))
