"""Two convolutions of 3 x 3 and one linear layer.

Source: the blocks of K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image
recognition", 2014, two of them; weights start from the distribution of X. Glorot and Y. Bengio, "Understanding the
difficulty of training deep feedforward neural networks", 2010.
"""

from collections import OrderedDict

from torch import nn

from fastconv.models.initial import initialise
from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

FILTERS = (32, 64)


class TwoLayerCnn(Sequential):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        channels, height, width = shape
        first, second = FILTERS
        super().__init__(
            OrderedDict(
                conv1=ConvBlock2d(channels, first, 3, padding=1, activation="relu", pool="max", backend=backend),
                conv2=ConvBlock2d(first, second, 3, padding=1, activation="relu", pool="max", backend=backend),
                flatten=nn.Flatten(),  # to (N, 64 * 7 * 7) for 28 x 28
                dense1=nn.Linear(second * (height // 4) * (width // 4), classes),
            )
        )
        initialise(self, nn.init.xavier_uniform_)


def build(shape: ImageShape, classes: int, backend: str) -> TwoLayerCnn:
    """Returns the network for images of ``shape``, 4 x 4 at least."""
    check_least("two_layer_cnn", shape, 4)
    return TwoLayerCnn(shape, classes, backend)


NETWORK = Network(
    summary="convs 32 and 64 of 3x3, each ReLU and 2x2 max pooling, one linear layer; Glorot's initial weights",
    source="Simonyan and Zisserman 2014 (blocks), Glorot and Bengio 2010 (weights)",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=15),
)
