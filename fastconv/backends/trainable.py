"""A trainable network computes an outline's operations in one call, and all their gradients in another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.network import Convolved, Normed, Operation, Outline


class NetworkOperands(NamedTuple):
    """These are the arrays of a network: C-contiguous NumPy arrays, or torch tensors on the CPU."""

    images: Sequence[Any]
    """The values that the network is given."""
    parameters: Sequence[Any]
    results: Sequence[Any]
    saved: Any
    """Memory of `TrainableNetwork.saved_bytes` bytes for what the gradients need."""


class NetworkGradients(NamedTuple):
    """These are the gradients of a network's arrays; None stands for one that isn't there, or isn't wanted."""

    results: Sequence[Any]
    images: Sequence[Any]
    parameters: Sequence[Any]


class Reads(NamedTuple):
    """Says which images, parameters and results a backward pass reads."""

    images: tuple[bool, ...]
    parameters: tuple[bool, ...]
    results: tuple[bool, ...]


class TrainableNetwork(ABC):
    """A trainable network has a forward pass that saves what its backward pass needs, for one size of images."""

    saved_bytes: int
    """Size of what `forward` saves for `backward`, in bytes."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def reads(self, results: tuple[bool, ...], images: tuple[bool, ...], parameters: tuple[bool, ...]) -> Reads:
        """Returns what `backward` reads where these results have gradients, and these images and parameters want them.

        As in `backward`, they must be wanted only where they are there.
        """

    @abstractmethod
    def forward(self, at: NetworkOperands) -> bool:
        """Fill the results and the saved memory, and update running statistics.

        Returns False where numbers that aren't finite may have spread to results that don't depend on them; running
        statistics then are what they were, and the primitives must compute all of it.
        """

    @abstractmethod
    def backward(self, at: NetworkOperands, gradients: NetworkGradients) -> bool:
        """Fill the gradients of images and parameters, which must be wanted only where `reached` says they are there.

        Returns False where numbers that aren't finite may have spread.
        """


def trained(operation: Operation) -> tuple[int, ...]:
    """Returns the numbers of the parameters of an operation that have gradients."""
    found: tuple[int | None, ...] = ()
    if isinstance(operation, Convolved):
        found = operation.weight, operation.bias
    elif isinstance(operation, Normed):
        found = operation.gamma, operation.beta
    return tuple([each for each in found if each is not None])


def depending(outline: Outline, images: Sequence[bool], parameters: Sequence[bool]) -> set[int]:
    """Returns the values that depend on these images and parameters, the images included."""
    values = {number for number, there in enumerate(images) if there}
    for number, operation in enumerate(outline.operations, outline.given):
        if not values.isdisjoint(operation.sources) or any(parameters[each] for each in trained(operation)):
            values.add(number)
    return values


def reached(outline: Outline, results: Sequence[bool]) -> tuple[set[int], set[int]]:
    """Returns the values and the parameters that have a gradient where these ``results`` have one."""
    values = {value for value, there in zip(outline.results, results, strict=True) if there}
    parameters: set[int] = set()
    for number in reversed(range(outline.given, len(outline.shapes))):
        if number in values:
            operation = outline.operations[number - outline.given]
            values.update(operation.sources)
            parameters.update(trained(operation))
    return values, parameters
