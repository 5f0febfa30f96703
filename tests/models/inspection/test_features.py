"""Feature maps: each layer's result as it is computed, and a place for each in the picture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fastconv.models import networks
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.features import Feature, features
from fastconv.models.inspection.features_picture import features_picture
from fastconv.models.inspection.montage import montage
from fastconv.models.inspection.subject import chosen_image
from fastconv.models.inspection.trained import open_run

DIGITS = tuple("0123456789")
GREY = np.zeros((1, 28, 28), np.uint8)


def test_results_are_the_layers(run: Path) -> None:
    model = open_run(str(run)).model
    image = torch.randn(1, 1, 28, 28)
    found = {each.name: each for each in features(model, image)}
    assert list(found) == ["conv1", "conv2", "conv3", "dense1", "tanh", "dense2"]
    assert found["conv1"].kind == "convolution 5 x 5, tanh, average pooling"
    assert found["conv1"].values.shape == (6, 14, 14)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found["conv1"].values), model.conv1(image)[0])
        torch.testing.assert_close(torch.from_numpy(found["dense2"].values), model(image)[0])
    assert not model.conv1._forward_hooks


def test_what_happens_between_layers_and_what_does_nothing() -> None:
    found = features(networks.load("vgg").build((1, 28, 28), 10, "torch").eval(), torch.randn(1, 1, 28, 28))
    kinds = [each.kind for each in found if each.name.startswith("dense")]
    assert kinds == ["dense", "ReLU", "dense", "ReLU", "dense"]  # and no dropout


def test_results_stay_when_the_next_layer_writes_over_them() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 50), torch.nn.ReLU(inplace=True))
    first, second = features(model, torch.randn(1, 4))
    assert first.values.min() < 0 == second.values.min()


@pytest.mark.parametrize("name", networks.names())
def test_every_network_has_a_picture_of_all_its_layers(name: str) -> None:
    shape = (3, 64, 64) if name == "four_layer_cnn" else (3, 28, 28)
    model = networks.load(name).build(shape, 10, "torch").eval()
    layers = features(model, torch.randn(1, *shape))
    figure = features_picture(np.zeros(shape, np.uint8), layers, DIGITS, name)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["image", *(layer.name for layer in layers)]
    for axes, layer in zip(figure.axes[1:], layers, strict=True):
        shown = np.asarray(axes.images[0].get_array().compressed())  # type: ignore[union-attr]
        expected = layer.values[:64] if layer.values.ndim == 3 and layer.values.shape[1] > 1 else layer.values
        assert sorted(shown.tolist()) == sorted(expected.ravel().tolist())
    boxes = [axes.get_position() for axes in figure.axes]
    for above, below in pairwise(boxes):
        assert 0 < below.y0 < below.y1 < above.y0 < 1


def test_scales_are_black_or_white_at_zero() -> None:
    values = np.array([0, 1, 4], np.float32)
    for each, lowest in ((values, 0), (values - 3, -3), (values * 0, 0)):
        axes = features_picture(GREY, [Feature("layer", "dense", each)], DIGITS, "").axes[1]
        norm = axes.images[0].norm
        assert norm.vmin == lowest
        assert norm.vmax == (4 if lowest == 0 and each.any() else 3 if lowest else 1)


def test_the_last_layer_names_the_classes() -> None:
    figure = features_picture(GREY, [Feature("last", "dense", np.ones(3, np.float32))], ("cat", "dog", "emu"), "")
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["cat", "dog", "emu"]


def test_montage_by_hand() -> None:
    maps = np.arange(1, 13, dtype=np.float32).reshape(3, 2, 2)
    nan = np.nan
    expected = [
        [1, 2, nan, 5, 6],
        [3, 4, nan, 7, 8],
        [nan] * 5,
        [9, 10, nan, nan, nan],
        [11, 12, nan, nan, nan],
    ]
    np.testing.assert_array_equal(montage(maps, 2), expected)


def test_the_subject(run: Path, all_digits: Dataset, console: Console) -> None:
    opened = open_run(str(run))
    image, name = chosen_image(opened, None, None, None, None, False, console)
    torch.testing.assert_close(image, all_digits.test_images[:1])
    assert name == f"the first test image of digits, a {all_digits.test_labels[0]}"
    Image.fromarray(opened.pixels(image)[0, 0]).save("mine.png")
    mine, name = chosen_image(opened, Path("mine.png"), None, None, None, False, console)
    torch.testing.assert_close(mine, image)
    assert name == "mine.png"
    Image.new("L", (9, 9)).save("blank.png")
    with pytest.raises(ModelsError, match=r"blank.png: nothing stands out"):
        chosen_image(opened, Path("blank.png"), None, None, None, False, console)


def test_without_mnist_a_run_that_comes_along_takes_other_digits(run: Path, console: Console) -> None:
    _, name = chosen_image(open_run("lenet5", "torch"), None, None, None, None, False, console)
    assert "of digits" in name
    with pytest.raises(ModelsError, match="can't download"):
        chosen_image(open_run("lenet5", "torch"), None, "mnist", None, None, False, console)
