"""What happens to tensors between the passes: gradients are torch's, or the error is a RuntimeError as torch's is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import fastconv
import fastconv.torch as fct
from fastconv.torch import ConvBlock2d, Sequential
from fastconv.torch.known import TENSORS, TensorCalls
from tests.probes import by_fast_way, needs_fast_way

Change = Callable[[nn.Module, torch.Tensor], Any]


def _images() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _convolution() -> nn.Module:
    return nn.Conv2d(4, 4, 3, padding=1)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": _convolution,
    "strided, grouped, no bias": lambda: nn.Conv2d(4, 6, (3, 2), 2, groups=2, bias=False),
    "1 x 1": lambda: nn.Conv2d(4, 6, 1),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 3, 2),
    "max pooling": lambda: nn.MaxPool2d(2),
    "average pooling": lambda: nn.AvgPool2d(3, 2),
    "run that ends in an average": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.AvgPool2d(2)),
    "run that ends in a maximum": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "run that ends in a maximum of tanh": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Tanh(), nn.MaxPool2d(2)),
    "run that ends in a linear layer": lambda: nn.Sequential(
        nn.Conv2d(4, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 5)
    ),
    "run that ends in an activation": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Tanh()),
    "in-place ReLUs": lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.Conv2d(4, 4, 3), nn.ReLU6(True), nn.MaxPool2d(2)
    ),
}


@pytest.fixture(params=["chains", "known calls"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way that a small convolution with gradients takes: the first of a process are chains of one block."""
    if request.param == "chains":
        monkeypatch.setattr(TensorCalls, "answers", False)
    else:
        for _ in range(65):
            fastconv.max_pool2d(torch.ones(1, 1, 4, 4), 2)
        if not TENSORS.answers:
            pytest.skip("the interface of torch isn't there")
    return request.param


def _drop(y: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(7)
    return nn.functional.dropout(y, inplace=True)


IN_PLACE: dict[str, Callable[[torch.Tensor], Any]] = {
    "relu_": lambda y: y.relu_(),
    "+=": lambda y: y.add_(torch.ones_like(y)),
    "mul_": lambda y: y.mul_(y.detach().clone()),
    "dropout": _drop,
    "an element": lambda y: y.__setitem__((0, 0), 0.0),
}


def _gradients(model: nn.Module, change: Change, **options: Any) -> list[torch.Tensor] | str:
    """Every gradient, or the name of the error."""
    model = copy.deepcopy(model)
    parameters = list(model.parameters())
    x = _images().requires_grad_()
    y = model(x)
    try:
        change(model, y)
        y.square().sum().backward(**options)
    except RuntimeError:
        return "RuntimeError"
    return [each.grad.to(torch.float64) for each in (x, *parameters) if each.grad is not None]


def _compare(layer: nn.Module, change: Change) -> list[torch.Tensor] | str:
    torch.manual_seed(0)
    theirs = _gradients(layer, change)
    for fuse in (False, True):
        mine = _gradients(fct.convert(copy.deepcopy(layer), "numba", fuse=fuse), change)
        if isinstance(theirs, str) or isinstance(mine, str):
            assert mine == theirs
        else:
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    return theirs


@pytest.mark.parametrize("change", IN_PLACE)
@pytest.mark.parametrize("layer", LAYERS)
def test_results_changed_in_place(layer: str, change: str, way: str) -> None:
    torch.manual_seed(0)
    _compare(LAYERS[layer]().double(), lambda _, y: IN_PLACE[change](y))


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_a_pooled_block_changed_in_place(activation: Any, pool: Any) -> None:
    torch.manual_seed(0)
    block = ConvBlock2d(4, 6, 3, activation=activation, pool=pool, backend="numba").double()
    x = _images()
    (expected,) = torch.autograd.grad(block(x).mul(3).sum(), block.weight)
    (found,) = torch.autograd.grad(block(x).mul_(3).sum(), block.weight)
    torch.testing.assert_close(found, expected)
    y = block(x)
    if by_fast_way(activation is not None and pool == "max"):  # then it is computed again, by the bias as it was
        with torch.no_grad():
            block.bias.add_(1)
        with pytest.raises(RuntimeError, match="bias"):
            y.mul_(3).sum().backward()


def _empty(model: nn.Module, _: torch.Tensor) -> None:
    model.weight.data = torch.empty(0, dtype=torch.float64)


def _fewer(model: nn.Module, _: torch.Tensor) -> None:
    model.weight.data = model.weight.data[:2].clone()


def _turned(model: nn.Module, _: torch.Tensor) -> None:
    model.weight.data = model.weight.data.transpose(2, 3)


def _negative(model: nn.Module, _: torch.Tensor) -> None:
    model.weight.data = torch._neg_view(model.weight.data)


def _biased(model: nn.Module, _: torch.Tensor) -> None:
    with torch.no_grad():
        model.bias.add_(1)


def _weighted(model: nn.Module, _: torch.Tensor) -> None:
    with torch.no_grad():
        model.weight.add_(1)


BETWEEN: dict[str, Change] = {
    "channels_last": lambda model, _: model.to(memory_format=torch.channels_last),
    "half": lambda model, _: model.half(),
    "an empty weight": _empty,
    "a smaller weight": _fewer,
    "a transposed weight": _turned,
    "a negative weight": _negative,
    "storage of no bytes": lambda model, _: model.weight.untyped_storage().resize_(0),
    "a bias in place": _biased,
    "a weight in place": _weighted,
}


@pytest.mark.parametrize("change", BETWEEN)
def test_parameters_changed_between_the_passes(change: str, way: str) -> None:
    torch.manual_seed(0)
    _compare(_convolution().double(), BETWEEN[change])


@needs_fast_way  # both are fast ways
def test_storage_that_was_cut_is_told(way: str) -> None:
    """torch reads beyond its end."""
    layer = fct.convert(_convolution().double(), "numba")
    y = layer(_images().requires_grad_())
    assert y.grad_fn is not None
    assert ("Conv2d" in y.grad_fn.name()) == (way == "known calls")
    layer.weight.untyped_storage().resize_(64)
    with pytest.raises(RuntimeError, match="storage holds 64 bytes"):
        y.sum().backward()
    with pytest.raises(RuntimeError, match="storage holds 64 bytes"):
        layer(_images())


HOOKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "channels_last": lambda t: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t,
    "negative": lambda t: torch._neg_view(-t) if t.is_floating_point() else t,
    "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    "double": lambda t: t.clone(),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("layer", LAYERS)
def test_saved_tensors_come_back_in_another_form(layer: str, hook: str) -> None:
    torch.manual_seed(0)
    plain = LAYERS[layer]().double()
    mine = fct.convert(copy.deepcopy(plain), "numba", fuse=True)
    expected = _gradients(plain, lambda *_: None)
    with saved_tensors_hooks(lambda t: t, HOOKS[hook]):
        found = _gradients(mine, lambda *_: None)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_zeros_that_are_not_written_down() -> None:
    plain = _convolution().double()
    mine = fct.convert(copy.deepcopy(plain), "numba")
    zeros = torch._efficientzerotensor((2, 4, 8, 8), dtype=torch.float64)
    torch.testing.assert_close(mine(zeros), plain(torch.zeros(2, 4, 8, 8, dtype=torch.float64)))
    weight = torch._efficientzerotensor((3, 4, 3, 3), dtype=torch.float64)
    assert not fct.functional.conv2d(_images(), weight, backend="numba").any()
    x = _images().requires_grad_()
    for found in torch.autograd.grad(mine(x), (x, mine.weight), zeros):
        assert not found.any()


@pytest.mark.parametrize("by", ["numba", "im2col"])
def test_a_negative_view_keeps_its_sign(by: str) -> None:
    layer = _convolution().double()
    expected = nn.functional.conv2d(_images(), -layer.weight, padding=1)
    weight = torch._neg_view(layer.weight.detach())
    torch.testing.assert_close(fct.functional.conv2d(_images(), weight, padding=1, backend=by), expected)


def _saved_bytes(model: nn.Module, x: torch.Tensor) -> int:
    """Bytes that are kept for the backward pass, parameters aside."""
    kept: dict[int, int] = {each.untyped_storage().data_ptr(): 0 for each in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with saved_tensors_hooks(pack, lambda t: t):
        y = model(x)
    del y
    return sum(kept.values())


@pytest.mark.parametrize("fuse", [False, True])
def test_no_more_is_kept_than_torch_keeps(fuse: bool) -> None:
    layers: list[nn.Module] = []
    for _ in range(6):
        layers += nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
    plain, x = nn.Sequential(*layers), torch.randn(4, 8, 32, 32)
    theirs = _saved_bytes(plain, x)
    assert _saved_bytes(fct.convert(copy.deepcopy(plain), "numba", fuse=fuse), x) <= 1.01 * theirs
    frozen = copy.deepcopy(plain).requires_grad_(False)
    theirs = _saved_bytes(frozen, x.requires_grad_())
    assert _saved_bytes(fct.convert(frozen, "numba", fuse=fuse), x) <= 1.01 * theirs


def test_a_convolution_saves_its_input_and_its_weight() -> None:
    """A small layer's passes take 3 us more with each tensor that is saved."""
    saved: list[torch.Size] = []
    with saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        fct.convert(_convolution().double(), "numba")(_images())
    assert saved == [(2, 4, 8, 8), (4, 4, 3, 3)]


@needs_fast_way  # the layers by themselves don't read the bias again
def test_a_bias_changed_before_gradients_of_gradients_is_told() -> None:
    run = Sequential(fct.Conv2d(4, 3, 3, backend="numba"), nn.Tanh()).double()
    x = _images().requires_grad_()
    y = run(x)
    with torch.no_grad():
        run[0].bias.add_(1)
    with pytest.raises(RuntimeError, match="bias: it has been modified by an inplace operation"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
