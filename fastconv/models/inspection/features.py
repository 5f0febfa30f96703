"""Hooks record what every layer of a network makes of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fastconv.torch import ConvBlock2d

SILENT = (nn.Dropout, nn.Flatten)
"""Layers that change no value outside of training."""
KINDS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.MaxPool2d, "max pooling"),
    (nn.AvgPool2d, "average pooling"),
    (nn.Linear, "dense"),
    (nn.ReLU, "ReLU"),
    (nn.Tanh, "tanh"),
    (nn.LocalResponseNorm, "local response normalisation"),
)
PARTS = {"relu": "ReLU", "tanh": "tanh", "max": "max pooling", "avg": "average pooling"}


@dataclass(frozen=True)
class Feature:
    """A layer's name, what it does, and its result for one image: float32, (C, H, W) or (values,)."""

    name: str
    kind: str
    values: npt.NDArray[np.float32]


@torch.no_grad()
def features(model: nn.Module, image: Tensor) -> list[Feature]:
    """Returns the results of the layers of ``model`` for ``image`` (1, C, H, W), in the order in which they are made.

    A function called between layers, as a ReLU in a network's ``forward``, shows in the next layer only.
    """
    found: list[Feature] = []

    def listen(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, given: object, result: Tensor) -> None:
            found.append(Feature(name, kind(layer), result[0].numpy().copy()))  # a ReLU may write over it

        return layer.register_forward_hook(hook)

    layers = [(name, layer) for name, layer in model.named_modules() if not any(layer.children())]
    handles = [listen(name, layer) for name, layer in layers if not isinstance(layer, SILENT)]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    return found


def kind(layer: nn.Module) -> str:
    """Returns a short text that says what ``layer`` does."""
    if isinstance(layer, nn.Conv2d):
        words = [f"convolution {layer.kernel_size[0]} x {layer.kernel_size[1]}"]
        if isinstance(layer, ConvBlock2d):
            words += [PARTS[part] for part in (layer.activation, layer.pool) if part]
        return ", ".join(words)
    return next((words for cls, words in KINDS if isinstance(layer, cls)), type(layer).__name__)
