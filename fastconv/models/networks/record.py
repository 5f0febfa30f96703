"""The network that learns MNIST to 99% in the fewest seconds, here, on two cores.

LeNet-5's two convolutions of 5 x 5 with ReLU and max pooling and one linear layer behind them. What counts is the
product of steps and of what a step takes:

    widths     8 and 16 channels; 10 and 20 reach 99.2% in three epochs, and take a third more a step
    batch      300 images: a step takes some 0.6 ms in Python and in torch, for any number of images
    schedule   one cycle (L. Smith, N. Topin, "Super-convergence", 2018): Adam, at a rate too high to stay with, and
               down to nothing within four epochs; three take 6 s, and three seeds of five miss 99% by a few images
"""

from collections import OrderedDict

from torch import nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

LEAST = 12


class Record(Sequential):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        channels, height, width = shape
        super().__init__(
            OrderedDict(
                conv1=ConvBlock2d(channels, 8, 5, padding=2, activation="relu", pool="max", backend=backend),
                conv2=ConvBlock2d(8, 16, 5, activation="relu", pool="max", backend=backend),
                flatten=nn.Flatten(),  # to (N, 16 * 5 * 5) for 28 x 28
                dense1=nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), classes),
            )
        )


def build(shape: ImageShape, classes: int, backend: str) -> Record:
    """Returns the network for images of ``shape``, 12 x 12 at least."""
    check_least("record", shape, LEAST)
    return Record(shape, classes, backend)


NETWORK = Network(
    summary="convs 8 and 16 of 5x5, each ReLU and 2x2 max pooling, one linear layer: 99% of MNIST in seconds",
    source="after LeCun, Bottou, Bengio, Haffner 1998; Smith and Topin 2018 (schedule)",
    build=build,
    recipe=Recipe(learning_rate=0.02, batch_size=300, epochs=4, schedule="one-cycle"),
)
