"""Four convolutions, each with twice the filters of the one before, for photographs of 64 x 64 pixels and more.

Source: the usual small network for two or ten classes of photographs, after F. Chollet, "Building powerful image
classification models using very little data", 2016; sizes are worked out from the images, and the result is the
logarithm of the classes' probabilities.
"""

from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, Sequential

FILTERS = 8
LEAST = 64
HIDDEN = 100
DROPPED = 0.25


class FourLayerCnn(nn.Module):
    """(N, channels, height, width) images to (N, classes) logarithms of probabilities."""

    def __init__(
        self, shape: ImageShape = (3, LEAST, LEAST), classes: int = CLASSES, backend: str | None = None
    ) -> None:
        super().__init__()
        channels, height, width = shape
        blocks = []
        for number in range(4):
            filters = FILTERS * 2**number
            blocks.append(ConvBlock2d(channels, filters, 3, activation="relu", pool="max", backend=backend))
            channels, height, width = filters, (height - 2) // 2, (width - 2) // 2
        self.convs = Sequential(*blocks)
        self.dense1 = nn.Linear(channels * height * width, HIDDEN)
        self.drop = nn.Dropout(DROPPED)
        self.dense2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logarithms of the classes' probabilities for a batch."""
        x = self.convs(x).flatten(1)  # (N, 64 * 2 * 2) for 64 x 64
        return self.dense2(self.drop(self.dense1(x).relu())).log_softmax(1)


def build(shape: ImageShape, classes: int, backend: str) -> FourLayerCnn:
    """Returns the network for images of ``shape``, 64 x 64 at least."""
    check_least("four_layer_cnn", shape, LEAST)
    return FourLayerCnn(shape, classes, backend)


NETWORK = Network(
    summary="convs 8-16-32-64 of 3x3, each ReLU and 2x2 max pooling, dense 100, dropout, 10; 64 x 64 and more",
    source="after Chollet 2016",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=3),
)
