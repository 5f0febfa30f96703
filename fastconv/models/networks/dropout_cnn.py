"""One convolution, overlapping pooling and dropout.

Source: F. Chollet's and others' first networks for MNIST, with dropout as in N. Srivastava et al., "Dropout: a simple
way to prevent neural networks from overfitting", JMLR 15, 2014. The pooling's windows of 2 x 2 are one pixel apart.

Adam's rate is high, 0.01, and falls along a cosine: kept as it is, five epochs of MNIST end at 97.2%.
"""

from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_least
from fastconv.torch import ConvBlock2d, MaxPool2d

FILTERS = 10
HIDDEN = 128
DROPPED = 0.2


class DropoutCnn(nn.Module):
    """(N, channels, height, width) images to (N, classes) logits."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES, backend: str | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1 = ConvBlock2d(channels, FILTERS, 5, padding=2, activation="relu", backend=backend)
        self.pool1 = MaxPool2d(2, 1, backend=backend)
        self.drop = nn.Dropout(DROPPED)
        self.dense1 = nn.Linear(FILTERS * (height - 1) * (width - 1), HIDDEN)
        self.dense2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of a batch."""
        x = self.drop(self.pool1(self.conv1(x))).flatten(1)  # (N, 10 * 27 * 27) for 28 x 28
        logits: Tensor = self.dense2(self.dense1(x).relu())
        return logits


def build(shape: ImageShape, classes: int, backend: str) -> DropoutCnn:
    """Returns the network for images of ``shape``, 2 x 2 at least."""
    check_least("dropout_cnn", shape, 2)
    return DropoutCnn(shape, classes, backend)


NETWORK = Network(
    summary="conv 10 of 5x5, ReLU, max pooling 2x2 with stride 1, dropout 0.2, dense 128-10",
    source="Srivastava et al. 2014 (dropout)",
    build=build,
    recipe=Recipe(learning_rate=0.01, batch_size=100, epochs=5, schedule="cosine"),
)
