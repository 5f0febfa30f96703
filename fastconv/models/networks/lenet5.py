"""LeNet-5: the convolutional network that read the digits on bank cheques.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, figure 2. Kept: the sizes, the tanh, the average pooling. As most do
today, every map of conv2 sees all six maps before it, pooling has no weights of its own, and the radial-basis
output is a linear layer trained by cross-entropy.

Weights start from Glorot's uniform distribution, which was made for tanh: five epochs of MNIST then end at
98.50% to 98.80%, over four seeds, where torch's own initial weights end at 98.36% to 98.85%.
"""

from collections import OrderedDict

from torch import nn

from fastconv.models.initial import initialise
from fastconv.models.recipes import CLASSES, ImageShape, Network, Recipe
from fastconv.models.sizes import check_square
from fastconv.torch import ConvBlock2d, Sequential


class LeNet5(Sequential):
    """(N, channels, size, size) images to (N, classes) logits.

    ``size`` is 32, as in the paper, or 28: then conv1 pads by 2, which makes the same 32 x 32.
    """

    def __init__(self, channels: int = 1, size: int = 28, classes: int = CLASSES, backend: str | None = None) -> None:
        padding = {28: 2, 32: 0}[size]
        conv1 = ConvBlock2d(channels, 6, 5, padding=padding, activation="tanh", pool="avg", backend=backend)
        super().__init__(
            OrderedDict(
                conv1=conv1,  # to (N, 6, 14, 14)
                conv2=ConvBlock2d(6, 16, 5, activation="tanh", pool="avg", backend=backend),  # (N, 16, 5, 5)
                conv3=ConvBlock2d(16, 120, 5, activation="tanh", backend=backend),  # (N, 120, 1, 1)
                flatten=nn.Flatten(),
                dense1=nn.Linear(120, 84),
                tanh=nn.Tanh(),
                dense2=nn.Linear(84, classes),
            )
        )
        initialise(self, nn.init.xavier_uniform_)


def build(shape: ImageShape, classes: int, backend: str) -> LeNet5:
    """Returns LeNet-5 for images of ``shape``: any channels, 28 x 28 or 32 x 32 pixels."""
    channels, height, _ = shape
    check_square("lenet5", shape, (28, 32), "28 or 32 pixels")
    return LeNet5(channels, height, classes, backend)


NETWORK = Network(
    summary="convs 6-16-120 of 5x5, tanh, average pooling, dense 84-10; 28 x 28, or the paper's 32 x 32",
    source="LeCun, Bottou, Bengio, Haffner 1998",
    build=build,
    recipe=Recipe(learning_rate=0.001, batch_size=100, epochs=5),
)
