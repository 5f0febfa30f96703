"""Two convolutions of 5 x 5 and a linear layer: the first network of many courses.

Source: the convolutional network of PyTorch's ``examples/mnist`` before 2019 without its dropout and hidden layer.
"""

from collections import OrderedDict

from torch import nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

LEAST = 16


class SmallCnn(Sequential):
    """(N, channels, height, width) images to (N, classes) logarithms of probabilities."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        channels, height, width = shape
        pooled = 20 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        super().__init__(
            OrderedDict(
                conv1=ConvBlock2d(channels, 10, 5, activation="relu", pool="max", backend=backend),
                conv2=ConvBlock2d(10, 20, 5, activation="relu", pool="max", backend=backend),
                flatten=nn.Flatten(),  # to (N, 20 * 4 * 4) for 28 x 28
                dense1=nn.Linear(pooled, classes),
                log_softmax=nn.LogSoftmax(1),
            )
        )


def build(shape: ImageShape, classes: int, backend: str) -> SmallCnn:
    """Returns the network for images of ``shape``, 16 x 16 at least."""
    check_least("small_cnn", shape, LEAST)
    return SmallCnn(shape, classes, backend)


NETWORK = Network(
    summary="convs 10 and 20 of 5x5, each ReLU and 2x2 max pooling, one linear layer, log-softmax",
    source="after PyTorch's examples/mnist",
    build=build,
    recipe=Recipe(learning_rate=0.01, batch_size=64, epochs=5, optimizer="sgd", momentum=0.5),
)
