"""To the trainer a network is a way to build it, and the recipe that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

ImageShape = tuple[int, int, int]
"""(channels, height, width) of one image."""
MOST_VALUES = 10**8
"""Most values of an image: beyond any use, and few enough that no count of weights overflows."""

CLASSES = 10
"""Number of classes of digits, which networks have by default."""


@dataclass(frozen=True)
class Recipe:
    """The settings a network's source trains it with; each can be overridden on the command line.

    ``optimizer`` is ``"adam"`` or ``"sgd"``; ``momentum`` counts for SGD only, and ``weight_decay`` is decoupled from
    the gradient for Adam and part of it for SGD. ``schedule`` is one of :mod:`fastconv.models.training.schedules`.
    ``shift`` (whole pixels along each axis) and ``rotation`` (degrees) are the most by which an image is moved, by
    chance, each time it is seen.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    optimizer: str = "adam"
    momentum: float = 0.9
    schedule: str = "constant"
    weight_decay: float = 0.0
    shift: int = 0
    rotation: float = 0.0


@dataclass(frozen=True)
class Network:
    """One trainable network.

    ``build(shape, classes, backend)`` makes the module for images of ``shape`` (channels, height, width), which it
    tells apart as ``classes`` classes, its convolutions and poolings on ``backend``. It takes its initial weights from
    torch's global generator and raises ModelsError for a shape it isn't made for.
    """

    summary: str
    source: str
    build: Callable[[ImageShape, int, str], nn.Module]
    recipe: Recipe
