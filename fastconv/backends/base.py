"""The contract between the API and a backend is a set of primitives over checked arguments.

The API has done every check before a primitive is called, so a backend checks nothing again:

- arrays are NumPy arrays, float32 or float64, all of one type, in native byte order and aligned; of any strides
  (negative and zero ones too), and perhaps read-only. `max_pool2d` and `max_pool2d_values` also get the types
  `INTEGERS`. A backend that sets `tensors` gets torch tensors as they are, on any device, when the caller has tensors;
- a geometry is valid, and the arrays have the shapes it says. N may be 0, and so may C in a convolution, whose
  result then has no channels;
- the result is a new C-contiguous array, of the operands' type (indices int64), that shares no memory with them.

To add a backend, subclass `Backend`, fill in the primitives and register it (`fastconv.register_backend`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.backends import adaptive
from fastconv.backends.batch_norm import BatchNorm
from fastconv.backends.block import Activation, Block
from fastconv.backends.chain import Chain
from fastconv.backends.columns import fold, unfold
from fastconv.backends.explanation import Explanation
from fastconv.backends.network import HeldTensors, Network, Outline
from fastconv.backends.planned import Planned
from fastconv.backends.quiet import QUIET
from fastconv.backends.short import Short
from fastconv.backends.trainable import TrainableNetwork
from fastconv.errors import UnknownBackendError, UnsupportedError
from fastconv.geometry import ConvGeometry, PoolGeometry

Array = Any
Geometry = ConvGeometry | PoolGeometry | AdaptiveGeometry

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
"""The data types that max pooling takes besides floats, as torch's does."""

OPERATIONS = (
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "max_pool2d",
    "max_pool2d_values",
    "max_pool2d_backward",
    "max_pool2d_gradient",
    "avg_pool2d",
    "avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_values",
    "adaptive_max_pool2d_gradient",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "unfold",
    "fold",
)
"""The primitives' names."""


def lowest(dtype: np.dtype[Any]) -> Any:
    """Returns the value of the padding in max pooling: minus infinity, or the smallest integer of the data type."""
    return dtype.type(-np.inf) if dtype.kind == "f" else np.iinfo(dtype).min


class Backend(ABC):
    """A backend is one way to compute the primitives. To import its module and make an instance must be quick."""

    name: str
    """The name by which users choose the backend: ``backend="..."``."""

    summary: ClassVar[str]
    """One line that describes the backend in the table of backends."""

    tensors: ClassVar[bool] = False
    """True if primitives take torch tensors too, on any of ``devices``, and then give tensors on the same one."""

    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    """The kinds of device, as torch calls them, whose tensors the primitives take."""

    differentiable: ClassVar[bool] = False
    """True if torch itself records the gradients of what primitives do with tensors."""

    options: ClassVar[tuple[str, ...]] = ()
    """The options that `variant` takes, each a way of computing that ``backend="<name>:<option>"`` forces."""

    def takes_halves(self, device: str) -> bool:
        """Returns True if primitives take float16 and bfloat16 tensors on a ``device``, to compute in float32."""
        return False

    def unavailable(self) -> str | None:
        """Returns why this backend can't run here and what to do about it, or None where it can."""
        return None

    def refuses(self, operation: str, geometry: Geometry | None, dtype: Any) -> str | None:
        """Returns why it can't do ``operation`` on ``geometry`` (None for `max_pool2d_backward`), or None if it can."""
        return None

    def select(self, operation: str, geometry: Geometry | None, dtype: Any, device: str = "cpu") -> Backend:
        """Returns the backend that runs ``operation`` on a ``device``: this one, unless it raises UnsupportedError."""
        if device not in self.devices:
            raise UnsupportedError(
                f"backend {self.name!r} computes on {' and '.join(self.devices)}, and the operands are on {device}: "
                f"move them with tensor.cpu(), or choose a backend for that device"
            )
        reason = self.refuses(operation, geometry, dtype)
        if reason is not None:
            raise UnsupportedError(
                f"backend {self.name!r} can't do {operation}: {reason}. "
                f"Choose another with backend=..., or backend='auto'; fastconv.backends() lists them"
            )
        return self

    def variant(self, option: str) -> Backend:
        """Returns the backend that ``backend="<name>:<option>"`` asks for: this one, forced to compute in one way."""
        raise UnknownBackendError(f"backend: {self.name!r} has no options, and {self.name}:{option} asks for one")

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        """Returns how it would do ``operation``."""
        return Explanation(self.name, None, f"{operation} by backend {self.name!r}: {self.summary}")

    def plan_conv2d(self, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> Planned:
        """Returns `conv2d` by this weight and bias, which are C-contiguous and belong to what is returned."""
        return Planned(self, w, b, geometry)

    def short(self, operation: str, geometry: Geometry, dtype: np.dtype[Any], arrays: int) -> Short | None:
        """Returns the short program of an operation on ``arrays`` contiguous arrays; None if it has none.

        A backend that has one has a table too that takes it (`fastconv.known`).
        """
        return None

    def warmup(self) -> None:  # noqa: B027, doing nothing is right for most
        """Compile ahead of time what the first calls would otherwise compile."""

    @abstractmethod
    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: ConvGeometry) -> Array:
        """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / G, R, S) and b (K,).

        y[n, k, p, q] = b[k] + sum over d, r, s of w[k, d, r, s] * x[n, g * C / G + d, h, w] with g the group of k
        and (h, w) as in `fastconv.geometry`; x is 0 outside the image, so an infinite weight there gives NaN.
        """

    def chain(self, blocks: tuple[Block, ...], dtype: np.dtype[Any]) -> Chain | None:
        """Returns the blocks, one behind another, as one step forward and one backward; None if it has no such steps.

        Arrays are of ``dtype``. The results equal those of the primitives and activations up to rounding.
        """
        return None

    def network(
        self,
        outline: Outline,
        dtype: np.dtype[Any],
        parameters: Sequence[Array],
        watched: Sequence[np.ndarray] = (),
        held: HeldTensors | None = None,
    ) -> Network | None:
        """Returns the network of an outline, which keeps what it makes of the parameters; None if it can't do one.

        Arrays are of ``dtype``, C-contiguous, and the parameters must not change. Each run looks whether the numbers of
        the arrays ``watched`` have changed: one-dimensional ones of float32 or float64, with any stride. It also looks
        whether its operands are the tensors ``held``, where these are given.
        """
        return None

    def trainable(self, outline: Outline, dtype: np.dtype[Any]) -> TrainableNetwork | None:
        """Returns the network of an outline with a backward pass; None if it can't do one of its operations."""
        return None

    def batch_norm(
        self, shape: tuple[int, ...], activation: Activation | None, dtype: np.dtype[Any]
    ) -> BatchNorm | None:
        """Returns a normalisation of images of ``shape`` (N, C, H, W) by their own statistics; None if it has none."""
        return None

    @abstractmethod
    def conv2d_input(self, grad: Array, w: Array, geometry: ConvGeometry) -> Array:
        """Returns the input gradient (N, C, H, W) from grad (N, K, P, Q) and w, also the transposed convolution."""

    @abstractmethod
    def conv2d_weight(self, x: Array, grad: Array, geometry: ConvGeometry) -> Array:
        """Returns the weight gradient (K, C / G, R, S) from x and grad (N, K, P, Q)."""

    @abstractmethod
    def max_pool2d(self, x: Array, geometry: PoolGeometry) -> tuple[Array, Array]:
        """Returns the largest element of each window and its index h * W + w in the plane, both (N, C, P, Q).

        The first of equal elements is taken, in row-major order, and the last of several NaN. A window that touches
        no pixel, which dilation makes possible, gives `lowest` of the data type and the index -1.
        """

    def max_pool2d_values(self, x: Array, geometry: PoolGeometry) -> Array:
        """Returns the values alone, for callers who don't need the indices; by default those of `max_pool2d`."""
        return self.max_pool2d(x, geometry)[0]

    @abstractmethod
    def max_pool2d_backward(self, grad: Array, indices: Array, size: tuple[int, int]) -> Array:
        """Returns zeros (N, C, *size) with each element of grad added at its index; -1 is left out."""

    def max_pool2d_gradient(self, grad: Array, indices: Array, geometry: PoolGeometry) -> Array:
        """Returns the result of `max_pool2d_backward`, for callers who know which pooling made the indices."""
        return self.max_pool2d_backward(grad, indices, (geometry.H, geometry.W))

    @abstractmethod
    def avg_pool2d(self, x: Array, geometry: PoolGeometry) -> Array:
        """Returns the sum over each window's pixels divided by ``geometry.divisors``, (N, C, P, Q)."""

    @abstractmethod
    def avg_pool2d_backward(self, grad: Array, geometry: PoolGeometry) -> Array:
        """Returns the input gradient of `avg_pool2d`, (N, C, H, W), from grad (N, C, P, Q)."""

    def adaptive_max_pool2d(self, x: Array, geometry: AdaptiveGeometry) -> tuple[Array, Array]:
        """Returns values and indices as `max_pool2d`, for the windows of the geometry; by default by plain pooling."""
        return adaptive.max_pool(self, x, geometry)

    def adaptive_max_pool2d_values(self, x: Array, geometry: AdaptiveGeometry) -> Array:
        """Returns the values alone; by default those of `adaptive_max_pool2d`."""
        return self.adaptive_max_pool2d(x, geometry)[0]

    def adaptive_max_pool2d_gradient(self, grad: Array, indices: Array, geometry: AdaptiveGeometry) -> Array:
        """Returns the result of `max_pool2d_backward` for the indices of an adaptive pooling."""
        return self.max_pool2d_backward(grad, indices, (geometry.H, geometry.W))

    def adaptive_avg_pool2d(self, x: Array, geometry: AdaptiveGeometry) -> Array:
        """Returns the average of each window's pixels, (N, C, P, Q); by default by plain pooling."""
        return adaptive.avg_pool(self, x, geometry)

    def adaptive_avg_pool2d_backward(self, grad: Array, geometry: AdaptiveGeometry) -> Array:
        """Returns the input gradient of `adaptive_avg_pool2d`, (N, C, H, W), from grad (N, C, P, Q)."""
        return adaptive.avg_pool_backward(self, grad, geometry)

    @QUIET
    def channel_sum(self, grad: Array) -> Array:
        """Returns the gradient of a convolution's bias, (K,), from grad (N, K, P, Q)."""
        if not isinstance(grad, np.ndarray):
            return grad.sum((0, 2, 3))
        # In float64: a float32 sum over a batch of images would lose digits that a matrix product keeps.
        return grad.sum(axis=(0, 2, 3), dtype=np.float64).astype(grad.dtype)

    def unfold(self, x: Array, geometry: ConvGeometry) -> Array:
        """Returns the column matrix (N, C * R * S, P * Q): each column is one window of x, padding as zeros.

        The geometry has one group and equal padding on opposite sides; its K is without meaning.
        """
        return unfold(x, geometry)

    def fold(self, columns: Array, geometry: ConvGeometry) -> Array:
        """Returns the transpose of `unfold`: images (N, C, H, W), overlapping windows added."""
        return fold(columns, geometry)
