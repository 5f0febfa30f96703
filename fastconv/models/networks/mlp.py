"""A multi-layer perceptron: what a network without convolutions reaches.

Source: S. Tokui et al., "Chainer: a next-generation open source framework for deep learning", 2015, and its example
``train_mnist.py``; here with one hidden layer as wide as the image and plain gradient descent.
"""

from torch import Tensor, nn

from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe


class Mlp(nn.Module):
    """(N, channels, height, width) images to (N, classes) logits, by as many hidden units as an image has pixels."""

    def __init__(self, shape: ImageShape = (1, 28, 28), classes: int = CLASSES) -> None:
        super().__init__()
        channels, height, width = shape
        pixels = channels * height * width
        self.dense1 = nn.Linear(pixels, pixels)
        self.dense2 = nn.Linear(pixels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of a batch."""
        logits: Tensor = self.dense2(self.dense1(x.flatten(1)).relu())
        return logits


def build(shape: ImageShape, classes: int, backend: str) -> Mlp:
    """Returns the perceptron for images of any shape; it has no layer that a backend computes."""
    return Mlp(shape, classes)


NETWORK = Network(
    summary="dense 784-10, ReLU: no convolution at all, for comparison",
    source="Chainer's train_mnist.py, 2015",
    build=build,
    recipe=Recipe(learning_rate=0.01, batch_size=100, epochs=5, optimizer="sgd", momentum=0.0),
)
