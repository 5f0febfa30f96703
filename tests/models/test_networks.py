"""The networks: their sizes, their initial weights, and that their layers run on the backend asked for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

import fastconv.torch
from models import networks
from models.errors import ModelsError
from models.recipes import ImageShape

PARAMETERS = {"lenet5": 61_706, "simple_convnet": 433_890}


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_every_file_is_a_network() -> None:
    assert set(networks.names()) >= {"lenet5", "simple_convnet"}
    for name in networks.names():
        network = networks.load(name)
        assert network.summary
        assert network.source


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelsError, match="'lenet6'; the networks are lenet5, simple_convnet"):
        networks.load("lenet6")


@pytest.mark.parametrize("name", ["../cli", "__init__", "", "lenet5.py", "models"])
def test_only_networks_are_loaded(name: str) -> None:
    with pytest.raises(ModelsError, match="no network"):
        networks.load(name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_size_and_output(name: str) -> None:
    model = networks.load(name).build((1, 28, 28), "torch")
    assert parameters(model) == PARAMETERS[name]
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", networks.names())
def test_every_layer_has_the_backend(name: str) -> None:
    layers = [
        layer
        for layer in networks.load(name).build((1, 28, 28), "im2col").modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    assert layers
    for layer in layers:
        assert isinstance(layer, fastconv.torch.Conv2d | fastconv.torch.MaxPool2d | fastconv.torch.AvgPool2d)
        assert layer.backend == "im2col"


def test_lenet5_of_the_paper_is_the_same_net() -> None:
    """28 x 28 with padding 2 computes what the 32 x 32 original does on the image with a frame of zeros."""
    torch.manual_seed(0)
    padded = networks.load("lenet5").build((1, 28, 28), "torch")
    original = networks.load("lenet5").build((1, 32, 32), "torch")
    original.load_state_dict(padded.state_dict())
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(original(nn.functional.pad(images, (2, 2, 2, 2))), padded(images))


def test_simple_convnet_starts_as_in_the_book() -> None:
    torch.manual_seed(0)
    model = networks.load("simple_convnet").build((1, 28, 28), "torch")
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert (weight == 0).all()
        else:
            assert weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("lenet5", (1, 20, 20), "28 x 28 or 32 x 32, not 20 x 20"),
        ("lenet5", (1, 28, 32), "not 28 x 32"),
        ("simple_convnet", (1, 5, 28), "6 x 6 or more, not 5 x 28"),
    ],
)
def test_images_of_another_size_are_refused(name: str, shape: ImageShape, says: str) -> None:
    with pytest.raises(ModelsError, match=says):
        networks.load(name).build(shape, "torch")


@pytest.mark.parametrize("shape", [(3, 28, 28), (2, 13, 20), (1, 6, 6)])
def test_simple_convnet_takes_other_images(shape: ImageShape) -> None:
    assert networks.load("simple_convnet").build(shape, "torch")(torch.zeros(2, *shape)).shape == (2, 10)


def test_nothing_is_unpickled() -> None:
    """No file of the program calls what would run code out of a data or weight file."""
    for path in Path(networks.__file__).parent.parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"torch.load", "pickle.load", "pickle.loads", "np.load", "eval", "exec"}, path
