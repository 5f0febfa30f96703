"""The initial weights of a network."""

from collections.abc import Callable

from torch import Tensor, nn


def initialise(model: nn.Module, weights: Callable[[Tensor], object]) -> None:
    """Set every weight of ``model``, in place, by the function ``weights``, and every bias to zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            weights(parameter)
