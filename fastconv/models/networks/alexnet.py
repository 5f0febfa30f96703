"""AlexNet, which won ImageNet in 2012: as it was for 224 x 224 pixels, and cut down for 28 to 64.

Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
2012: five convolutions, local response normalisation after the first two, overlapping pooling of 3 x 3, dropout in the
dense layers. The small one keeps that order, with kernels, strides and widths for images a fifth as wide.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.response_norm import LocalResponseNorm
from fastconv.models.sizes import check_square
from fastconv.torch import ConvBlock2d, MaxPool2d, Sequential

SMALL = range(28, 65)
ORIGINAL = 224


@dataclass(frozen=True)
class Sizes:
    """Kernel, stride and padding of the first convolution; the filters of all five; the hidden units."""

    kernel: int
    stride: int
    padding: int
    filters: tuple[int, int, int, int, int]
    groups: int
    hidden: int


ORIGINAL_SIZES = Sizes(11, 4, 2, (96, 256, 384, 384, 256), 2, 4096)
SMALL_SIZES = Sizes(5, 1, 2, (32, 64, 96, 96, 64), 1, 256)


class AlexNet(nn.Module):
    """(N, channels, height, width) images to (N, classes) logits.

    Groups, where the original has them, are in the second, fourth and fifth convolution: its two GPUs' halves.
    """

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = ORIGINAL_SIZES if height == ORIGINAL else SMALL_SIZES
        first, second, third, fourth, fifth = sizes.filters

        def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> ConvBlock2d:
            padding = kernel // 2
            return ConvBlock2d(inputs, outputs, kernel, 1, padding, groups=groups, activation="relu", backend=backend)

        self.convs = Sequential(
            ConvBlock2d(channels, first, sizes.kernel, sizes.stride, sizes.padding, activation="relu", backend=backend),
            LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, backend=backend),
            MaxPool2d(3, 2, backend=backend),
            conv(first, second, 5, sizes.groups),
            LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, backend=backend),
            MaxPool2d(3, 2, backend=backend),
            conv(second, third, 3),
            conv(third, fourth, 3, sizes.groups),
            conv(fourth, fifth, 3, sizes.groups),
            MaxPool2d(3, 2, backend=backend),
        )
        pixels = _side(height, sizes) * _side(width, sizes)
        self.dense = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(fifth * pixels, sizes.hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(sizes.hidden, sizes.hidden),
            nn.ReLU(),
            nn.Linear(sizes.hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of a batch."""
        logits: Tensor = self.dense(self.convs(x).flatten(1))
        return logits


def _side(size: int, sizes: Sizes) -> int:
    """Returns the pixels along an axis after the convolutions and the three poolings."""
    size = (size + 2 * sizes.padding - sizes.kernel) // sizes.stride + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size


def build(shape: ImageShape, classes: int, backend: str) -> AlexNet:
    """Returns AlexNet for square images of 224 pixels, or the small one for 28 to 64."""
    check_square("alexnet", shape, (*SMALL, ORIGINAL), "28 to 64 pixels or of 224")
    return AlexNet(shape, classes, backend)


NETWORK = Network(
    summary="five convolutions, local response normalisation, 3x3 pooling, dropout; small, or the original at 224",
    source="Krizhevsky, Sutskever, Hinton 2012",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5, schedule="cosine"),
)
