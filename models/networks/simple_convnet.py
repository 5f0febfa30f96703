"""SimpleConvNet: one convolution, one pooling, two dense layers.

Source: K. Saito, "Deep Learning from Scratch", O'Reilly Japan 2016, chapter 7 (``simple_convnet.py``). As
there, weights start from a normal distribution of deviation 0.01 and biases from zero, and Adam trains them.
"""

from functools import partial

from torch import Tensor, nn

from fastconv.torch import ConvBlock2d
from models.errors import ModelsError
from models.initial import initialise
from models.recipes import ImageShape, Network, Recipe

CLASSES = 10
FILTERS = 30
KERNEL = 5
HIDDEN = 100
WEIGHT_DEVIATION = 0.01


class SimpleConvNet(nn.Module):
    """(N, channels, height, width) images to (N, 10) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        pooled = FILTERS * ((height - KERNEL + 1) // 2) * ((width - KERNEL + 1) // 2)
        self.conv1 = ConvBlock2d(channels, FILTERS, KERNEL, activation="relu", pool="max", backend=backend)
        self.dense1 = nn.Linear(pooled, HIDDEN)
        self.dense2 = nn.Linear(HIDDEN, CLASSES)
        initialise(self, partial(nn.init.normal_, std=WEIGHT_DEVIATION))

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch."""
        x = self.conv1(x).flatten(1)  # (N, 30 * 12 * 12) for 28 x 28
        logits: Tensor = self.dense2(self.dense1(x).relu())
        return logits


def build(shape: ImageShape, backend: str) -> SimpleConvNet:
    """SimpleConvNet for images of ``shape``, 6 x 6 at least."""
    _, height, width = shape
    if min(height, width) < KERNEL + 1:
        raise ModelsError(f"simple_convnet reads images of 6 x 6 or more, not {height} x {width}")
    return SimpleConvNet(shape, backend)


NETWORK = Network(
    summary="conv 30 of 5x5, ReLU, 2x2 max pooling, dense 100-10; initial deviation 0.01",
    source='Saito, "Deep Learning from Scratch" 2016',
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5),
)
