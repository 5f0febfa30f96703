"""The networks: their sizes, their initial weights, and that their layers run on the backend asked for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

import fastconv.torch
from fastconv.models import networks
from fastconv.models.errors import ModelsError
from fastconv.models.recipes import ImageShape

SMALL: ImageShape = (1, 28, 28)

PARAMETERS: dict[tuple[str, ImageShape], int] = {
    ("lenet5", SMALL): 61_706,
    ("lenet5", (1, 32, 32)): 61_706,
    ("simple_convnet", SMALL): 433_890,
    ("mlp", SMALL): 784 * 784 + 784 + 784 * 10 + 10,
    ("dropout_cnn", SMALL): 260 + 7290 * 128 + 128 + 1290,
    ("two_layer_cnn", SMALL): 320 + 18_496 + 31_370,
    ("four_layer_cnn", (1, 64, 64)): 80 + 1168 + 4640 + 18_496 + 256 * 100 + 100 + 1010,
    ("four_layer_cnn", (3, 96, 80)): 224 + 1168 + 4640 + 18_496 + 64 * 4 * 3 * 100 + 100 + 1010,
    ("small_cnn", SMALL): 260 + 5020 + 3210,
    ("inception", SMALL): 260 + 19_104 + 44_020 + 19_824 + 14_090,
    ("record", SMALL): 208 + 3216 + 4010,
    ("sequential_cnn", (3, 28, 28)): 280 + 1820 + 5430 + 270 * 50 + 50 + 1530 + 310,
    ("alexnet", SMALL): 832 + 51_264 + 55_392 + 83_040 + 55_360 + 64 * 4 * 256 + 256 + 65_792 + 2570,
    ("alexnet", (3, 224, 224)): 34_944 + 307_456 + 885_120 + 663_936 + 442_624 + 37_752_832 + 16_781_312 + 40_970,
    ("vgg", (1, 32, 32)): 160 + 4640 + 18_496 + 36_928 + 73_856 + 3 * 147_584 + 128 * 256 + 256 + 65_792 + 2570,
    ("vgg", (3, 224, 224)): 128_807_306,
}
"""By hand; VGG-11's as its authors count it, with ten classes."""

SHAPES = dict(reversed(PARAMETERS))
"""For each network the images that it was made for."""


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_every_file_is_a_network() -> None:
    assert set(networks.names()) == set(SHAPES)
    for name in networks.names():
        network = networks.load(name)
        assert network.summary
        assert network.source


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelsError, match=r"'lenet6'; the networks are alexnet, dropout_cnn, .*lenet5, mlp"):
        networks.load("lenet6")


@pytest.mark.parametrize("name", ["../cli", "__init__", "", "lenet5.py", "models"])
def test_only_networks_are_loaded(name: str) -> None:
    with pytest.raises(ModelsError, match="no network"):
        networks.load(name)


@pytest.mark.parametrize(("name", "shape"), PARAMETERS, ids=str)
def test_size_and_output(name: str, shape: ImageShape) -> None:
    with torch.device("meta"):  # the originals have half a gigabyte of weights
        model = networks.load(name).build(shape, 10, "torch").eval()
        assert parameters(model) == PARAMETERS[name, shape]
    if shape[1] < 224:
        result = networks.load(name).build(shape, 10, "torch").eval()(torch.zeros(3, *shape))
        assert result.shape == (3, 10)


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("classes", [2, 37])
def test_any_number_of_classes(name: str, classes: int) -> None:
    """It changes the last layer's size and nothing else."""
    with torch.device("meta"):
        ten, other = (networks.load(name).build(SHAPES[name], count, "torch") for count in (10, classes))
    (*_, last) = [layer for layer in ten.modules() if isinstance(layer, nn.Linear)]
    assert last.out_features == 10
    assert parameters(other) == parameters(ten) + (classes - 10) * (last.in_features + 1)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_network_learns(name: str) -> None:
    """A batch by heart: its loss falls to half of what guessing gives, the logarithm of 10, dropout and all."""
    torch.manual_seed(0)
    model = networks.load(name).build(SHAPES[name], 10, "numba")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    images, labels = torch.randn(16, *SHAPES[name]), torch.arange(16) % 10
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        if loss < 1.15:
            return
    pytest.fail(f"the loss is still {loss:.2f}")


@pytest.mark.parametrize("name", [name for name in networks.names() if name != "mlp"])
def test_every_layer_has_the_backend(name: str) -> None:
    layers = [
        layer
        for layer in networks.load(name).build(SHAPES[name], 10, "im2col").modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    assert layers
    for layer in layers:
        assert isinstance(layer, fastconv.torch.Conv2d | fastconv.torch.MaxPool2d | fastconv.torch.AvgPool2d)
        assert layer.backend == "im2col"


def test_lenet5_of_the_paper_is_the_same_net() -> None:
    """28 x 28 with padding 2 computes what the 32 x 32 original does on the image with a frame of zeros."""
    torch.manual_seed(0)
    padded = networks.load("lenet5").build((1, 28, 28), 10, "torch")
    original = networks.load("lenet5").build((1, 32, 32), 10, "torch")
    original.load_state_dict(padded.state_dict())
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(original(nn.functional.pad(images, (2, 2, 2, 2))), padded(images))


def test_simple_convnet_starts_as_in_the_book() -> None:
    torch.manual_seed(0)
    model = networks.load("simple_convnet").build((1, 28, 28), 10, "torch")
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert (weight == 0).all()
        else:
            assert weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("lenet5", (1, 20, 20), "28 or 32 pixels, not 20 x 20; in training, --size 28"),
        ("lenet5", (1, 28, 32), "not 28 x 32"),
        ("simple_convnet", (1, 5, 28), "6 x 6 or more, not 5 x 28"),
        ("dropout_cnn", (1, 1, 28), "2 x 2 or more, not 1 x 28"),
        ("two_layer_cnn", (1, 28, 3), "4 x 4 or more, not 28 x 3"),
        ("four_layer_cnn", (1, 28, 28), "64 x 64 or more, not 28 x 28; in training, --size 64 enlarges"),
        ("small_cnn", (1, 15, 28), "16 x 16 or more, not 15 x 28"),
        ("inception", (1, 28, 15), "16 x 16 or more, not 28 x 15"),
        ("record", (1, 11, 28), "12 x 12 or more, not 11 x 28"),
        ("sequential_cnn", (3, 7, 7), "8 x 8 or more, not 7 x 7"),
        ("alexnet", (3, 100, 100), "28 to 64 pixels or of 224, not 100 x 100; in training, --size 64"),
        ("alexnet", (1, 28, 32), "square images"),
        ("alexnet", (3, 200, 200), "--size 224 makes"),
        ("vgg", (1, 27, 27), "28 x 28 or more, not 27 x 27"),
    ],
)
def test_images_of_another_size_are_refused(name: str, shape: ImageShape, says: str) -> None:
    with pytest.raises(ModelsError, match=says):
        networks.load(name).build(shape, 10, "torch")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[("simple_convnet", shape) for shape in ((3, 28, 28), (2, 13, 20), (1, 6, 6))],
        *[("dropout_cnn", (3, 2, 5)), ("two_layer_cnn", (2, 4, 9)), ("four_layer_cnn", (3, 64, 71))],
        *[("small_cnn", (3, 16, 21)), ("inception", (3, 17, 16)), ("sequential_cnn", (1, 8, 15))],
        *[("alexnet", (3, 28, 28)), ("alexnet", (1, 64, 64)), ("vgg", (3, 28, 64)), ("mlp", (3, 4, 5))],
    ],
    ids=str,
)
def test_networks_take_other_images(name: str, shape: ImageShape) -> None:
    assert networks.load(name).build(shape, 10, "torch")(torch.zeros(2, *shape)).shape == (2, 10)


def test_nothing_is_unpickled() -> None:
    """No file of the program calls what would run code out of a data or weight file."""
    for path in Path(networks.__file__).parent.parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"torch.load", "pickle.load", "pickle.loads", "np.load", "eval", "exec"}, path
