"""`small_cnn` with an Inception block after each convolution: four ways through the same images, side by side.

Source: C. Szegedy et al., "Going deeper with convolutions", 2014, and the factorised branches of "Rethinking the
Inception architecture for computer vision", 2015 (Inception-A).
"""

import torch
from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import AvgPool2d, Conv2d, ConvBlock2d, Sequential

LEAST = 16


class InceptionA(nn.Module):
    """(N, C, H, W) to (N, 88, H, W): 1x1; 1x1 and 5x5; 1x1, 3x3 and 3x3; average pooling and 1x1."""

    CHANNELS = 16 + 24 + 24 + 24

    def __init__(self, channels: int, backend: str | None = None) -> None:
        super().__init__()
        self.branch1x1 = Conv2d(channels, 16, 1, backend=backend)
        self.branch5x5 = Sequential(
            Conv2d(channels, 16, 1, backend=backend), Conv2d(16, 24, 5, padding=2, backend=backend)
        )
        self.branch3x3 = Sequential(
            Conv2d(channels, 16, 1, backend=backend),
            Conv2d(16, 24, 3, padding=1, backend=backend),
            Conv2d(24, 24, 3, padding=1, backend=backend),
        )
        self.branch_pool = Sequential(AvgPool2d(3, 1, 1, backend=backend), Conv2d(channels, 24, 1, backend=backend))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the channels of the four branches, one after another."""
        return torch.cat([self.branch1x1(x), self.branch5x5(x), self.branch3x3(x), self.branch_pool(x)], dim=1)


class Inception(nn.Module):
    """(N, channels, height, width) images to (N, classes) logarithms of probabilities."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        many = InceptionA.CHANNELS
        self.conv1 = ConvBlock2d(channels, 10, 5, activation="relu", pool="max", backend=backend)
        self.inception1 = InceptionA(10, backend)
        self.conv2 = ConvBlock2d(many, 20, 5, activation="relu", pool="max", backend=backend)
        self.inception2 = InceptionA(20, backend)
        self.dense1 = nn.Linear(many * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logarithms of the classes' probabilities for a batch."""
        x = self.inception1(self.conv1(x))  # (N, 88, 12, 12) for 28 x 28
        x = self.inception2(self.conv2(x))  # (N, 88, 4, 4)
        return self.dense1(x.flatten(1)).log_softmax(1)


def build(shape: ImageShape, classes: int, backend: str) -> Inception:
    """Returns the network for images of ``shape``, 16 x 16 at least."""
    check_least("inception", shape, LEAST)
    return Inception(shape, classes, backend)


NETWORK = Network(
    summary="convs 10 and 20 of 5x5, pooled, each followed by an Inception-A block of 88 channels, log-softmax",
    source="Szegedy et al. 2014 and 2015",
    build=build,
    recipe=Recipe(learning_rate=0.01, batch_size=64, epochs=5, optimizer="sgd", momentum=0.5),
)
