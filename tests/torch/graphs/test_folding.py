"""Folded batch normalisations: they are kept between calls, and made anew when anything they are made of changes."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import fastconv
from fastconv.torch.graphs import folding
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, chained, compiled

INFINITE = float("inf")


def _normal(channels: int, **options: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, **options)
    norm.running_mean.normal_(0, 0.5)
    norm.running_var.uniform_(0.5, 2.0)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.normal_(norm.bias)
    return norm


def _network(bias: bool = True, **options: Any) -> nn.Module:
    layers = nn.Conv2d(3, 40, 3, bias=bias), _normal(40, **options), nn.ReLU(), nn.Conv2d(40, 4, 1), _normal(4)
    return nn.Sequential(*layers).double().eval()


def _images() -> Tensor:
    return torch.randn(2, 3, 9, 9, dtype=torch.float64)


@torch.no_grad()
def test_equal_and_kept() -> None:
    """One graph serves all sizes, in which a weight is folded once; the first size has a graph of its own."""
    model, x = _network(), torch.randn(4, 3, 9, 9, dtype=torch.float64)
    run = compiled(model)
    with chained() as runs, patch.object(folding, "folded", wraps=folding.folded) as folded:
        for n in (2, 3, 4, 4, 3):
            assert_alike(run(x[:n]), model(x[:n]), 1e-12)
    assert folded.call_count == by_fast_way(2 * 2)
    assert [len(each.chain.blocks) for each in runs] == by_fast_way([2] * 5)


@torch.no_grad()
def test_the_choice_of_a_backend_counts_at_each_call(ran: list[Any]) -> None:
    model, x = _network(), _images()
    run = compiled(model)
    for name in ("auto", "im2col", "numba"):
        ran.clear()
        with fastconv.use_backend(name):
            assert_alike(run(x), model(x), 1e-12)
        assert {backend for backend, _ in ran} == by_fast_way({"numba" if name == "auto" else name})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_forms(affine: bool, bias: bool, dtype: torch.dtype, layout: torch.memory_format) -> None:
    model = _network(bias, affine=affine, eps=0.1).to(dtype).to(memory_format=layout)
    x = _images().to(dtype).contiguous(memory_format=layout)
    with patch.object(folding, "folded", wraps=folding.folded) as folded:
        y = compiled(model)(x)
    assert folded.call_count == by_fast_way(2)
    assert_alike(y, model(x), 1e-12 if dtype is torch.float64 else 1e-5)


def _optimizer(kind: Any, **options: Any) -> Callable[[nn.Module], None]:
    def step(model: nn.Module) -> None:
        optimizer = kind(model.parameters(), lr=0.1, **options)
        with torch.enable_grad():
            model(_images()).square().sum().backward()
        optimizer.step()

    return step


def _load(assign: bool) -> Callable[[nn.Module], None]:
    return lambda model: (model.load_state_dict(_network().state_dict(), assign=assign), None)[1]


def _swap_twice(model: Any) -> None:
    """Memory that the weight gave up is where its last values come from, if nothing holds on to it."""
    for _ in range(2):
        model[0].weight.data = torch.randn_like(model[0].weight)


def _element_of(name: str) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        model.get_parameter(name).detach().numpy()[-1] *= 3

    return change


def _train(model: nn.Module) -> None:
    model.train()(_images())
    model.eval()


def _averaged(model: nn.Module) -> None:
    """A moving average of weights, as scripts write it."""
    for mine, other in zip(model.parameters(), _network().parameters(), strict=True):
        mine.data.mul_(0.9).add_(other.data, alpha=0.1)


def _replaced(model: Any) -> None:
    model[0].weight = nn.Parameter(torch.randn_like(model[0].weight))


def _swapped(model: Any) -> None:
    gc.collect()
    weight = model[0].weight
    if weakref.getweakrefcount(weight):
        pytest.skip("torch swaps no tensor with weak references, and what traced the model has one still")
    torch.utils.swap_tensors(weight, nn.Parameter(torch.randn_like(weight)))


def _reset(model: Any) -> None:
    model[1].reset_running_stats()


CHANGES: dict[str, Callable[[Any], Any]] = {
    "weight in place": lambda model: model[0].weight.mul_(1.5),
    "one weight in place": lambda model: model[0].weight[3, 1, 2].add_(5.0),
    "bias in place": lambda model: model[0].bias.add_(1.0),
    "gamma in place": lambda model: model[1].weight.sub_(0.3),
    "beta in place": lambda model: model[1].bias.add_(0.3),
    "mean in place": lambda model: model[1].running_mean.add_(1.0),
    "variance in place": lambda model: model[4].running_var.mul_(2.0),
    "load_state_dict": _load(assign=False),
    "load_state_dict, assigned": _load(assign=True),
    "SGD": _optimizer(torch.optim.SGD),
    "SGD, foreach": _optimizer(torch.optim.SGD, foreach=True),
    "SGD, fused": _optimizer(torch.optim.SGD, fused=True),
    "Adam": _optimizer(torch.optim.Adam),
    "Adam, fused": _optimizer(torch.optim.Adam, fused=True),
    ".data swapped": lambda model: setattr(model[0].weight, "data", torch.randn_like(model[0].weight)),
    ".data swapped twice": _swap_twice,
    ".data transposed": lambda model: setattr(model[0].weight, "data", model[0].weight.data.mT),
    ".data in place": lambda model: model[0].weight.data.mul_(0.5),
    ".data averaged": _averaged,
    ".data of gamma, one element": _element_of("1.weight"),
    ".data of beta, one element": _element_of("4.bias"),
    "running statistics in training": _train,
    "running statistics reset": _reset,
    "another parameter": _replaced,
    "swap_tensors": _swapped,
    "moved into shared memory": lambda model: model.share_memory()[0].weight.mul_(2.0),
    "float16 and back": lambda model: model.half().double(),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_changes_are_seen(change: str) -> None:
    model, x = _network(), _images()
    run = compiled(model)
    before = run(x)
    for again in (False, True):
        CHANGES[change](model)
        expected = model(x)
        assert again or float((expected - before).abs().max()) > 1e-9
        assert_alike(run(x), expected, 1e-12)


@pytest.mark.parametrize("tensor", ["1.weight", "1.bias", "1.running_mean", "1.running_var", "0.weight", "0.bias"])
@pytest.mark.parametrize("value", [INFINITE, -INFINITE, float("nan"), 0.0, 1e-40, 1e300])
@torch.no_grad()
def test_special_values(tensor: str, value: float) -> None:
    """What isn't finite, or leaves the range of the data type, is what it is in torch."""
    model, x = _network(), _images()
    model.state_dict()[tensor].view(-1)[:5] = value
    assert_alike(compiled(model)(x), model(x))


@torch.no_grad()
def test_negative_variance_and_infinite_images() -> None:
    model, x = _network(), _images()
    model[1].running_var[2] = -1.0
    x[0, 0, 4, 4] = INFINITE
    x[1, 0, 4, 4] = float("nan")
    assert_alike(compiled(model)(x), model(x))


@torch.no_grad()
def test_tensors_whose_changes_are_not_counted() -> None:
    """Weights made in inference mode have no version, so they are never folded."""
    with torch.inference_mode():
        model = _network()
    x = _images()
    with torch.inference_mode(), patch.object(folding, "folded", wraps=folding.folded) as folded:
        run = compiled(model)
        assert_alike(run(x), model(x), 1e-12)
        model[0].weight.mul_(2.0)
        assert_alike(run(x), model(x), 1e-12)
    assert folded.call_count == 0


@torch.no_grad()
def test_weights_that_are_computed_in_each_call() -> None:
    model, x = _network(), _images()
    nn.utils.parametrizations.weight_norm(model[0])
    with patch.object(folding, "folded", wraps=folding.folded) as folded:
        run = compiled(model)
        for _ in range(2):
            assert_alike(run(x), model(x), 1e-12)
            model[0].parametrizations.weight.original0.mul_(2.0)
    assert folded.call_count == by_fast_way(1)


def test_kept_across_modes() -> None:
    """A weight that was folded in inference mode serves outside of it."""
    model, x = _network().requires_grad_(False), _images()
    run = compiled(model)
    with torch.inference_mode():
        run(x)
    assert_alike(run(x), model(x), 1e-12)
    x.requires_grad_()
    assert_alike(*(torch.autograd.grad(forward(x).sum(), x) for forward in (run, model)), 1e-9)


def test_gradients_reach_what_would_be_folded() -> None:
    theirs = _network()
    mine, x = copy.deepcopy(theirs), _images()
    for forward in (theirs, compiled(mine)):
        forward(x).square().sum().backward()
    assert_alike(*([p.grad for p in model.parameters()] for model in (mine, theirs)))


def test_memory_goes_with_the_model() -> None:
    model = _network()
    run = compiled(model)
    with torch.no_grad():
        run(_images())
    weight = weakref.ref(model[0].weight)
    del model, run
    torch._dynamo.reset()
    gc.collect()
    assert weight() is None
