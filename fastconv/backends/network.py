"""A network is a list of operations on images, which a backend computes in one call, without gradients.

Values are images (N, C, H, W), numbered: first those that the network is given, then the result of each operation.
Features (N, C) are images of one pixel. Parameters (weights, biases, factors) are numbered for themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.block import Activation, Block, Pooling
from fastconv.geometry import ConvGeometry, PoolGeometry

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Convolved:
    """This operation is a block: a convolution with what follows it. A linear layer convolves images of one pixel."""

    block: Block
    source: int
    weight: int
    """The number of the parameter (K, C / G, R, S)."""
    bias: int | None
    """The number of the parameter (K,), or None."""
    residual: int | None = None
    """The value that is added before the activation."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return (self.source,) if self.residual is None else (self.source, self.residual)


@dataclass(frozen=True)
class Transposed:
    """This operation is a transposed convolution without bias: the input gradient of a convolution, used forwards."""

    geometry: ConvGeometry
    source: int
    weight: int
    """The number of the parameter (K, C / G, R, S), where the source has K channels and the result C."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return (self.source,)


@dataclass(frozen=True)
class Pooled:
    """This operation pools windows of images."""

    geometry: PoolGeometry
    kind: Pooling
    source: int

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return (self.source,)


@dataclass(frozen=True)
class Mapped:
    """This operation is f(x factor + shift + residual), number by number; what is None is left out."""

    source: int
    factors: int | None = None
    """A value (N, C, 1, 1), by which channels are multiplied."""
    scale: int | None = None
    """A parameter (C,), the factors of all images."""
    shift: int | None = None
    """A parameter (C,)."""
    residual: int | None = None
    """A value of the source's shape."""
    activation: Activation | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return tuple([each for each in (self.source, self.factors, self.residual) if each is not None])


@dataclass(frozen=True)
class Arranged:
    """This operation has channels of other values as its own: concatenation, a part of the channels, a shuffle."""

    channels: tuple[tuple[int, int, int], ...]
    """Runs of channels: a value, its first channel in the run, and the number of channels."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return tuple([value for value, _, _ in self.channels])


@dataclass(frozen=True)
class Reshaped:
    """This operation has the source's numbers in another shape, as flattening does."""

    source: int

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return (self.source,)


@dataclass(frozen=True)
class Normed:
    """This operation is a batch normalisation by the statistics of the batch, which a `TrainableNetwork` alone does.

    f((x - mean) / sqrt(var + eps) gamma + beta + residual)
    """

    source: int
    gamma: int | None
    """The number of the parameter (C,), or None for ones."""
    beta: int | None
    """The number of the parameter (C,), or None for zeros."""
    running: tuple[int, int] | None
    """The numbers of the running means and variances (C,), parameters that a forward pass updates; or None."""
    momentum: float
    eps: float
    residual: int | None = None
    """A value of the source's shape."""
    activation: Activation | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """Returns the values that the operation reads."""
        return (self.source,) if self.residual is None else (self.source, self.residual)


Operation = Convolved | Transposed | Pooled | Mapped | Arranged | Reshaped | Normed


@dataclass(frozen=True)
class Outline:
    """An outline describes a network for one size of its images."""

    shapes: tuple[Shape, ...]
    """The shape of each value."""
    given: int
    """The number of values that the network is given."""
    operations: tuple[Operation, ...]
    parameters: int
    """The number of parameters."""
    results: tuple[int, ...]
    """The values that are wanted; each is an operation's."""


class HeldTensors(NamedTuple):
    """What compiled code needs to see whether the operands of a call are still the torch tensors that they were.

    A *handle* is the address of torch's reference to a tensor, which stands in the tensor's Python object.
    """

    handle: int
    """Bytes of a tensor's object before its handle."""
    data: int
    """Address of a C function of a handle and an address, to which it writes that of the tensor's first element."""
    version: int
    """Address of a C++ function of a handle, which returns how often the tensor was changed in place."""
    rows: np.ndarray
    """Integers (tensors, 4): the tensor's place among the operands, torch's reference, the address of the first
    element, and the number of changes, or -1 where it doesn't matter."""


class Network(ABC):
    """A network computes the operations of an outline with parameters that stay as they are."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def run(self, images: Sequence[Any], results: Sequence[Any], operands: tuple[Any, ...] = ()) -> bool:
        """Fill the results from the images: C-contiguous NumPy arrays, or torch tensors on the CPU.

        Returns False where numbers that aren't finite may have spread to results that don't depend on them, so that the
        primitives must compute all of it; where a watched array has other numbers than when the network was made; and
        where the ``operands`` of the call aren't the tensors that it was made of.
        """
