"""A planned convolution knows its weight and the shape of its input, so that a call has nothing left to find out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastconv.geometry import ConvGeometry
from fastconv.known import TensorInterface


class Primitive(Protocol):
    """The part of a backend that a planned convolution needs."""

    def conv2d(self, x: Any, w: Any, b: Any, geometry: ConvGeometry) -> Any: ...


class Planned:
    """This is the planned convolution of a backend that prepares nothing; others derive a class from it."""

    def __init__(self, backend: Primitive, w: Any, b: Any, geometry: ConvGeometry) -> None:
        """Take the C-contiguous weight and bias, or None; both belong to this object."""
        self.backend, self.w, self.b, self.geometry = backend, w, b, geometry

    def compute(self, x: Any, y: Any) -> None:
        """Write the result for the C-contiguous ``x`` to the C-contiguous ``y``, which shares no memory with it."""
        y[...] = self.backend.conv2d(x, self.w, self.b, self.geometry)

    def known(self, shape: tuple[int, ...], result: tuple[int, ...]) -> Callable[[Any, Any], Any] | None:
        """Returns a function ``(x, out)`` in compiled code, or None.

        It returns the result for an array of this ``shape``, in a new array of the shape ``result`` if ``out`` is
        None, or `NotImplemented` where Python code must look at the arguments.
        """
        return None

    def known_of_tensor(
        self, words: Sequence[int], result: tuple[int, ...], tensors: TensorInterface
    ) -> Callable[[Any], Any] | None:
        """Returns the same for tensors, which always makes a new one; ``words`` are what a key has of its argument."""
        return None
