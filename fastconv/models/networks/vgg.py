"""VGG-11: nothing but convolutions of 3 x 3 and pooling, deep; at a quarter of its width for small images.

Source: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014,
configuration A. Images of less than 224 pixels have a quarter of the filters, and are pooled while there is anything
to pool; weights start from K. He et al., "Delving deep into rectifiers", 2015: from others so deep a network hardly
learns.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from fastconv.models.initial import initialise
from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

LEAST, ORIGINAL = 28, 224
CONFIGURATION_A = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""The filters of each stage; pooling follows each."""
HIDDEN = 4096
DROPPED = 0.5


class Vgg(nn.Module):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        narrower = 1 if min(height, width) >= ORIGINAL else 4
        layers = []
        for stage in CONFIGURATION_A:
            for number, wanted in enumerate(stage, 1):
                pooled = number == len(stage) and min(height, width) > 1
                filters = wanted // narrower
                layers.append(
                    ConvBlock2d(
                        *(channels, filters, 3),
                        padding=1,
                        activation="relu",
                        pool="max" if pooled else None,
                        backend=backend,
                    )
                )
                channels = filters
                if pooled:
                    height, width = height // 2, width // 2
        hidden = HIDDEN if narrower == 1 else 256
        self.convs = Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(channels * height * width, hidden),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(hidden, classes),
        )
        initialise(self, partial(nn.init.kaiming_normal_, nonlinearity="relu"))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of a batch."""
        logits: Tensor = self.dense(self.convs(x).flatten(1))
        return logits


def build(shape: ImageShape, classes: int, backend: str) -> Vgg:
    """Returns VGG-11 for images of ``shape``, 28 x 28 at least."""
    check_least("vgg", shape, LEAST)
    return Vgg(shape, classes, backend)


NETWORK = Network(
    summary="VGG-11: eight convolutions of 3x3 in five pooled stages, dense with dropout; a quarter as wide below 224",
    source="Simonyan and Zisserman 2014",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5, schedule="cosine"),
)
