"""Three convolutions in a row, for small colour images.

Source: the plain stack that follows LeCun et al. 1998 in most courses; 28 x 28 images of 3 channels by default.
"""

from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

LEAST = 8


class SequentialCnn(nn.Module):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (3, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        self.layers = Sequential(
            ConvBlock2d(channels, 10, 3, padding=1, activation="relu", pool="max", backend=backend),
            ConvBlock2d(10, 20, 3, padding=1, activation="relu", pool="max", backend=backend),
            ConvBlock2d(20, 30, 3, padding=1, activation="relu", pool="max", backend=backend),
            nn.Flatten(),
            nn.Linear(30 * (height // 8) * (width // 8), 50),
            nn.ReLU(),
            nn.Linear(50, 30),
            nn.ReLU(),
            nn.Linear(30, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of a batch."""
        logits: Tensor = self.layers(x)
        return logits


def build(shape: ImageShape, classes: int, backend: str) -> SequentialCnn:
    """Returns the network for images of ``shape``, 8 x 8 at least."""
    check_least("sequential_cnn", shape, LEAST)
    return SequentialCnn(shape, classes, backend)


NETWORK = Network(
    summary="convs 10-20-30 of 3x3, each ReLU and 2x2 max pooling, dense 50-30-10; made for 3 channels",
    source="after LeCun, Bottou, Bengio, Haffner 1998",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5),
)
