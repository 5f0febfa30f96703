"""Layers that were changed by hand, before the conversion or after it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import fusion, parametrizations, prune, skip_init

import fastconv.torch as fct
from fastconv.torch import convert, revert
from tests.runs import lengths
from tests.torch.networks import assert_as_torch, conversions, converted, images, network

SIZES = ("kernel_size", "stride", "padding", "dilation")


def _lists(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple) else [value, value]


def _numbers(value: Any) -> int:
    return value[0] if isinstance(value, tuple) else value


@conversions
@pytest.mark.parametrize("write", [_lists, _numbers])
def test_sizes_that_became_lists_or_numbers(conversion: str, write: Callable[[Any], Any]) -> None:
    model = converted(conversion)
    before = lengths(model, images())
    for layer in model:
        for name in set(SIZES) & set(vars(layer)):
            setattr(layer, name, write(getattr(layer, name)))
    assert_as_torch(model(images()))
    assert lengths(model, images()) == before
    model(images()).sum().backward()


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
@pytest.mark.parametrize("fuse", [False, True])
def test_a_method_set_on_a_layer_is_called(method: str, fuse: bool) -> None:
    """Convert leaves such a layer alone, and no run takes one in that got the method later."""

    def doubled(model: nn.Sequential) -> nn.Sequential:
        own = getattr(model[0], method)
        setattr(model[0], method, lambda *arguments: own(*arguments) * 2)
        return model

    expected = doubled(network())(images())
    before = convert(doubled(network()), "numba", fuse=fuse)
    assert type(before[0]) is nn.Conv2d
    after = doubled(convert(network(), "numba", fuse=fuse))
    for model in (before, after):
        torch.testing.assert_close(model(images()), expected)


def test_a_sequence_with_an_order_of_its_own_is_left_alone() -> None:
    class Backwards(nn.Sequential):
        def __iter__(self) -> Any:
            return reversed(self._modules.values())

    assert type(convert(Backwards(nn.Conv2d(1, 1, 1), nn.ReLU()), "numba", fuse=True)) is Backwards


class OwnAttribute(nn.Conv2d):
    """A layer whose ``backend`` is something else."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.backend = "theirs"


class OwnProperty(nn.Conv2d):
    @property
    def backend(self) -> str:
        return "theirs"


@pytest.mark.parametrize("kind", [OwnAttribute, OwnProperty])
def test_a_layers_own_backend_stays_what_it_was(kind: Any, ran: list[tuple[str, str]]) -> None:
    layer = kind(1, 2, 3)
    x = torch.randn(1, 1, 5, 5)
    expected = layer(x)
    assert convert(layer, "im2col").backend == "theirs"
    torch.testing.assert_close(layer(x), expected)
    assert ran == [("im2col", "conv2d")]
    assert copy.deepcopy(layer).backend == "theirs"
    assert revert(layer).backend == "theirs"


def test_a_layers_backend_can_be_set(ran: list[tuple[str, str]]) -> None:
    layer: Any = convert(nn.Conv2d(1, 2, 3), "im2col")
    assert layer.backend == "im2col"
    layer.backend = "naive"
    layer(torch.randn(1, 1, 5, 5))
    assert ran == [("naive", "conv2d")]
    assert "backend='naive'" in repr(layer)


CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.3),  # type: ignore[no-untyped-call]
}


@conversions
@pytest.mark.parametrize("first", [True, False], ids=["changed first", "converted first"])
@pytest.mark.parametrize("name", CHANGES)
def test_reparametrised_layers(name: str, first: bool, conversion: str) -> None:
    def changed(model: nn.Sequential) -> nn.Sequential:
        torch.manual_seed(3)
        CHANGES[name](model[0])
        return model

    theirs = changed(network())
    mine: Any = convert(changed(network()), "numba", fuse=conversion == "fused") if first else None
    mine = mine or changed(converted(conversion))
    torch.testing.assert_close(mine(images()), theirs(images()))
    found, wanted = (model(images()).sum() for model in (mine, theirs))
    parameters = list(mine.parameters()), list(theirs.parameters())
    torch.testing.assert_close(torch.autograd.grad(found, parameters[0]), torch.autograd.grad(wanted, parameters[1]))


@pytest.mark.parametrize("kind", [fct.Conv1d, fct.Conv2d, fct.ConvTranspose1d, fct.ConvTranspose2d])
def test_layers_without_initial_values(kind: Any) -> None:
    layer = skip_init(kind, 3, 4, 3, backend="im2col", dtype=torch.float64)
    assert (layer.weight.device.type, layer.weight.dtype, layer.backend) == ("cpu", torch.float64, "im2col")
    by_place = kind(3, 4, 3, *(2, 0, 1, 1, True, "zeros") if "T" not in kind.__name__ else (), device="meta")
    assert by_place.weight.is_meta


@conversions
def test_a_batch_norm_folded_into_a_convolution(conversion: str) -> None:
    model = converted(conversion)
    model[3] = fusion.fuse_conv_bn_eval(model[3], model[4])
    model[4] = nn.Identity()
    assert isinstance(model[3], fct.Conv2d)
    assert_as_torch(model(images()))
