"""The layers of a network, as `summary` counts them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fastconv.models.cli import app
from fastconv.models.errors import ModelsError
from fastconv.models.summary import Layer, layers


def test_lenet5_is_counted_as_in_the_paper() -> None:
    """Multiply-adds by hand: pixels before pooling times products of each."""
    assert layers("lenet5", (1, 28, 28)) == [
        Layer("conv1", "ConvBlock2d", (6, 14, 14), 156, 28 * 28 * 6 * 25),
        Layer("conv2", "ConvBlock2d", (16, 5, 5), 2416, 10 * 10 * 16 * 6 * 25),
        Layer("conv3", "ConvBlock2d", (120, 1, 1), 48_120, 120 * 16 * 25),
        Layer("flatten", "Flatten", (120,), 0, 0),
        Layer("dense1", "Linear", (84,), 10_164, 120 * 84),
        Layer("tanh", "Tanh", (84,), 0, 0),
        Layer("dense2", "Linear", (10,), 850, 84 * 10),
    ]


def test_groups_strides_and_layers_inside_layers() -> None:
    found = {layer.name: layer for layer in layers("alexnet", (3, 224, 224))}
    assert found["convs.0"].result == (96, 55, 55)
    assert found["convs.0"].multiply_adds == 55 * 55 * 96 * 3 * 121
    assert found["convs.3"].multiply_adds == 27 * 27 * 256 * 48 * 25
    assert found["convs.1"].multiply_adds == 0
    assert {layer.kind for layer in layers("inception", (1, 28, 28))} == {
        "ConvBlock2d",
        "Conv2d",
        "AvgPool2d",
        "Linear",
    }


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "140"})
    return result.exit_code, result.output


def test_command() -> None:
    code, shown = run("summary", "small_cnn")
    assert code == 0
    assert "8,490" in shown
    assert "20 x 4 x 4" in shown
    code, shown = run("summary", "vgg", "--shape", "3x32x32")
    assert code == 0
    assert "3 x 32 x 32" in shown


@pytest.mark.parametrize("shape", ["28", "1x28", "1x28xwide", "0x28x28", "1x-3x4"])
def test_a_shape_that_is_none_costs_one_line(shape: str) -> None:
    code, shown = run("summary", "mlp", "--shape", shape)
    assert code == ModelsError.exit_code
    assert "channels x height x width" in shown
