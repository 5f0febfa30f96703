"""Swapping a model's layers, and swapping them back."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fastconv
import fastconv.torch as fct

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(3, 4, 3, 2, 1, 2), (2, 3, 11)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2), (2, 4, 7, 6)),
    "Conv2d_reflect": (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (2, 4, 7, 6)),
    "Conv1d_circular": (lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular", bias=False), (2, 3, 11)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), (2, 3, 11)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (2, 4, 5, 6)),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 2, 1), (2, 3, 11)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 7, 8)),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 3, 11)),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 7, 8)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, None)), (2, 3, 7, 8)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(3), (2, 3, 7, 8)),
}


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def _x(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone(name: str, backend: str, ran) -> None:
    """The root itself is swapped; values and gradients are those of torch; revert gives the old class back."""
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = make(), _x(*shape).requires_grad_()
    expected = layer(x)
    wanted = torch.autograd.grad(expected.sum(), [x, *layer.parameters()])
    original, shown = type(layer), repr(layer)

    assert fct.convert(layer, backend) is layer
    assert type(layer) is getattr(fct, name.partition("_")[0])
    assert isinstance(layer, original)
    assert repr(layer) == f"{shown[:-1]}, backend='{backend}')"
    result = layer(x)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(result.sum(), [x, *layer.parameters()])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert {name for name, _ in ran} == {backend}

    assert fct.revert(layer) is layer
    assert type(layer) is original
    assert repr(layer) == shown
    assert not any(key in vars(layer) for key in ("backend", "_fastconv_original_class"))


def test_what_is_kept() -> None:
    """Parameters, keys, hooks, mode, data type; and classes and other models are not touched."""
    network, other = _network().double().eval(), _network()
    parameters, keys = list(network.parameters()), list(network.state_dict())
    calls: list[str] = []
    network[0].register_forward_hook(lambda *_: calls.append("forward"))
    network[0].register_forward_pre_hook(lambda *_: calls.append("pre"))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    fct.convert(network, "im2col")

    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
    assert list(network.state_dict()) == keys
    assert not any(module.training for module in network.modules())
    before = network[4][0].weight.detach().clone()
    y = network(_x(2, 1, 8, 8).double())
    assert y.dtype == torch.float64
    assert calls == ["pre", "forward"]
    y.sum().backward()
    optimizer.step()
    assert not torch.equal(before, network[4][0].weight)
    assert type(other[0]) is nn.Conv2d
    assert type(nn.Conv2d(1, 1, 1)) is nn.Conv2d
    other.load_state_dict(network.state_dict())


def test_filter_and_names() -> None:
    seen: list[str] = []

    def choose(name: str, layer: nn.Module) -> bool:
        seen.append(name)
        return isinstance(layer, nn.Conv2d) and name != "0"

    network = fct.convert(_network(), "im2col", filter=choose)
    assert seen == ["0", "3", "4.0", "5"]
    assert [type(network[i]) for i in (0, 3)] == [nn.Conv2d, nn.MaxPool2d]
    assert type(network[4][0]) is fct.Conv2d


def test_converting_again_changes_the_backend(ran) -> None:
    network = fct.convert(fct.convert(_network(), "naive"), "im2col")
    network(_x(2, 1, 8, 8))
    assert {name for name, _ in ran} == {"im2col"}
    fct.revert(network)
    assert type(network[0]) is nn.Conv2d


def test_no_backend_follows_the_current_choice(ran) -> None:
    network = fct.convert(_network())
    with fastconv.use_backend("naive"):
        network(_x(2, 1, 8, 8))
    assert {name for name, _ in ran} == {"naive"}


def test_unknown_backend_changes_nothing() -> None:
    network = _network()
    with pytest.raises(fastconv.UnknownBackendError, match="'nope'"):
        fct.convert(network, "nope")
    assert type(network[0]) is nn.Conv2d


@pytest.mark.parametrize(
    ("given", "said"),
    [(nn.Conv2d, "the class Conv2d"), ([nn.ReLU()], "list"), ({"weight": 1}, "dict"), (None, "NoneType")],
)
def test_what_is_no_model(given: Any, said: str) -> None:
    for function in (fct.convert, fct.revert):
        with pytest.raises(TypeError, match=f"model: got {said}, but it must be a torch.nn.Module"):
            function(given)


def test_a_filter_is_a_function() -> None:
    network = _network()
    with pytest.raises(TypeError, match=r"filter: got \['0'\], but it must be a function of a layer's name"):
        fct.convert(network, filter=["0"])  # type: ignore[arg-type]
    assert type(network[0]) is nn.Conv2d


def test_revert_leaves_own_layers() -> None:
    layer = fct.Conv2d(1, 2, 3, backend="naive")
    fct.revert(fct.convert(nn.Sequential(layer), "im2col"))
    assert type(layer) is fct.Conv2d


def test_lazy_layers_come_first() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LazyConv2d(3, 3))
    with pytest.raises(ValueError, match="run a batch through the model first"):
        fct.convert(network, "im2col")
    assert type(network[0]) is nn.Conv2d
    network(_x(1, 1, 8, 8))
    assert type(fct.convert(network, "im2col")[1]) is fct.Conv2d


class OwnForward(nn.Conv2d):
    """A layer that computes in a way of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 2


class OwnName(nn.Conv2d):
    """A layer that adds something and computes as torch does."""

    def double(self) -> str:
        return "doubled"


def test_subclasses(ran) -> None:
    own, named = OwnForward(1, 2, 3), OwnName(1, 2, 3)
    fct.convert(nn.Sequential(own), "im2col")
    assert type(own) is OwnForward
    fct.convert(named, "im2col")
    assert isinstance(named, OwnName)
    assert named.double() == "doubled"
    named(_x(1, 1, 5, 5))
    assert ran == [("im2col", "conv2d")]
    assert type(fct.revert(named)) is OwnName


def test_parametrised_layers(ran) -> None:
    layer = parametrizations.weight_norm(nn.Conv2d(2, 3, 3))
    x = _x(1, 2, 6, 6)
    expected = layer(x)
    torch.testing.assert_close(fct.convert(layer, "im2col")(x), expected, rtol=1e-4, atol=1e-5)
    assert ran == [("im2col", "conv2d")]


def test_parametrised_after_the_conversion() -> None:
    layer = parametrizations.weight_norm(fct.convert(nn.Conv2d(2, 3, 3), "im2col"))
    x = _x(1, 2, 6, 6)
    expected = layer(x)
    with pytest.raises(
        RuntimeError, match="became a ParametrizedConv2d after it was converted; undo that, then revert"
    ):
        fct.revert(layer)
    assert torch.equal(layer(x), expected)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(fct.revert(layer)) is nn.Conv2d
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_parametrisation_removed_after_the_conversion() -> None:
    layer = fct.convert(parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), "im2col")
    x = _x(1, 2, 6, 6)
    expected = layer(x)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(fct.revert(layer)) is nn.Conv2d
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_a_converted_subclass_can_be_pickled(ran) -> None:
    layer = fct.convert(OwnName(1, 2, 3), "im2col").eval()
    x = _x(1, 1, 5, 5)
    again = pickle.loads(pickle.dumps(layer))
    assert type(again) is type(layer)
    assert torch.equal(again(x), layer(x))
    assert not again.training
    assert type(fct.revert(again)) is OwnName


def test_a_layers_backend_must_exist() -> None:
    with pytest.raises(fastconv.UnknownBackendError, match="'nope'"):
        fct.Conv2d(1, 2, 3, backend="nope")
    with pytest.raises(TypeError, match="must be a string"):
        fct.MaxPool2d(2, backend=3)  # type: ignore[arg-type]


def test_copies_and_files() -> None:
    network = fct.convert(_network(), "im2col").eval()
    x = _x(2, 1, 8, 8)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x))
    assert type(fct.revert(twin)[0]) is nn.Conv2d
    assert type(network[0]) is fct.Conv2d
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(x), network(x))
    assert type(fct.revert(again)[0]) is nn.Conv2d


def test_a_transposed_layers_output_size(backend: str) -> None:
    layer = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)
    x = _x(1, 3, 5, 5)
    expected = layer(x, output_size=[10, 10])
    mine = fct.convert(layer, backend)(x, output_size=[10, 10])
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_layers_made_directly(backend: str, ran) -> None:
    torch.manual_seed(0)
    mine = fct.Conv2d(3, 4, 3, padding=1, dtype=torch.float64, backend=backend)
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64)
    assert torch.equal(mine.weight, theirs.weight)
    mine.load_state_dict(theirs.state_dict())
    x = _x(2, 3, 5, 5).double()
    torch.testing.assert_close(mine(x), theirs(x))
    assert ran == [(backend, "conv2d")]
    values, indices = fct.MaxPool2d(2, return_indices=True, backend=backend)(x)
    assert indices.dtype == torch.int64
    assert values.shape == indices.shape


def test_models_of_integers() -> None:
    """A layer that pools bytes, as cameras give them, before anything is a float."""
    model = nn.Sequential(nn.MaxPool2d(3, 2, 1), Scaled(), nn.Conv2d(3, 4, 3)).eval()
    x = torch.randint(0, 256, (2, 3, 20, 21), dtype=torch.uint8)
    for given in (x, x.to(memory_format=torch.channels_last), x[0]):
        expected = model(given.contiguous())
        torch.testing.assert_close(fct.convert(copy.deepcopy(model))(given), expected)


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 255
