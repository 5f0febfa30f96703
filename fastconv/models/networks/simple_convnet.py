"""SimpleConvNet: one convolution, one pooling, two dense layers.

Source: K. Saito, "Deep Learning from Scratch", O'Reilly Japan 2016, chapter 7 (``simple_convnet.py``). As
there, weights start from a normal distribution of deviation 0.01 and biases from zero, and Adam trains them.
"""

from collections import OrderedDict
from functools import partial

from torch import nn

from fastconv.models.initial import initialise
from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

FILTERS = 30
KERNEL = 5
HIDDEN = 100
WEIGHT_DEVIATION = 0.01


class SimpleConvNet(Sequential):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        channels, height, width = shape
        pooled = FILTERS * ((height - KERNEL + 1) // 2) * ((width - KERNEL + 1) // 2)
        super().__init__(
            OrderedDict(
                conv1=ConvBlock2d(channels, FILTERS, KERNEL, activation="relu", pool="max", backend=backend),
                flatten=nn.Flatten(),  # to (N, 30 * 12 * 12) for 28 x 28
                dense1=nn.Linear(pooled, HIDDEN),
                relu=nn.ReLU(),
                dense2=nn.Linear(HIDDEN, classes),
            )
        )
        initialise(self, partial(nn.init.normal_, std=WEIGHT_DEVIATION))


def build(shape: ImageShape, classes: int, backend: str) -> SimpleConvNet:
    """Returns SimpleConvNet for images of ``shape``, 6 x 6 at least."""
    check_least("simple_convnet", shape, KERNEL + 1)
    return SimpleConvNet(shape, classes, backend)


NETWORK = Network(
    summary="conv 30 of 5x5, ReLU, 2x2 max pooling, dense 100-10; initial deviation 0.01",
    source='Saito, "Deep Learning from Scratch" 2016',
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5),
)
