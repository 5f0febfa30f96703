"""This file says which kinds of array the API takes, and what it needs of each.

The functions in `fastconv.functional` are written once, for every kind: they check arguments, lift one dimension
and unbatched images to batches of planes, and leave all that touches elements to an `ArrayOps`. NumPy's is built in;
importing `fastconv.torch` adds that of torch tensors, whose operations record gradients; `fastconv.cuda_ops` adds that
of all arrays that show GPU memory by a ``__cuda_array_interface__``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

from fastconv.errors import ArgumentTypeError
from fastconv.geometry import ConvParameters, Pair, PoolParameters

Shape = tuple[int, ...]


class Array(Protocol):
    """What NumPy arrays and torch tensors have in common, as far as the API uses it."""

    @property
    def shape(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: Any, /) -> Any: ...


A = TypeVar("A", bound=Array)


class ArrayOps(Protocol):
    """Operations on one kind of array, images being (N, C, H, W); ``backend`` is a name, or None for the current one.

    The first thirteen are primitives of `fastconv.backends.base`; they check shapes and data types. The others are
    the little that the API needs besides.
    """

    def conv2d(self, x: Any, w: Any, b: Any, how: ConvParameters, backend: str | None) -> Any: ...

    def plan_conv2d(self, shape: Shape, w: Any, b: Any, how: ConvParameters, backend: str | None) -> Any:
        """Returns the `fastconv.planning.Conv2dPlan` of images of this shape, which may be unbatched."""

    def conv2d_input(self, size: Shape, w: Any, grad: Any, how: ConvParameters, backend: str | None) -> Any: ...

    def conv2d_weight(self, x: Any, size: Shape, grad: Any, how: ConvParameters, backend: str | None) -> Any: ...

    def max_pool2d(self, x: Any, how: PoolParameters, backend: str | None) -> tuple[Any, Any]: ...

    def max_pool2d_values(self, x: Any, how: PoolParameters, backend: str | None) -> Any: ...

    def max_pool2d_backward(self, grad: Any, indices: Any, size: Pair, backend: str | None) -> Any: ...

    def avg_pool2d(self, x: Any, how: PoolParameters, backend: str | None) -> Any: ...

    def avg_pool2d_backward(self, grad: Any, size: Shape, how: PoolParameters, backend: str | None) -> Any: ...

    def adaptive_max_pool2d(self, x: Any, size: Pair, backend: str | None) -> tuple[Any, Any]: ...

    def adaptive_max_pool2d_values(self, x: Any, size: Pair, backend: str | None) -> Any: ...

    def adaptive_avg_pool2d(self, x: Any, size: Pair, backend: str | None) -> Any: ...

    def unfold(self, x: Any, kernel: Pair, how: ConvParameters, backend: str | None) -> Any: ...

    def fold(self, columns: Any, size: Pair, kernel: Pair, how: ConvParameters, backend: str | None) -> Any: ...

    def pad(self, x: Any, rows: int, columns: int) -> Any:
        """Returns x with ``rows`` rows of zeros below and ``columns`` columns of zeros to the right."""

    def scatter(self, x: Any, indices: Any, size: Pair) -> Any:
        """Returns zeros (N, C, H, W) with each element of x put at its index; the last of several stays."""

    def channel_sum(self, x: Any, channels: int, backend: str | None) -> Any:
        """Returns the sum of x over images and pixels, (``channels``,); x has ``channels`` channels, or none."""

    def add_bias(self, x: Any, b: Any) -> Any:
        """Returns x with b (C,) added to each pixel; x may be overwritten."""

    def power(self, x: Any, exponent: float) -> Any:
        """Returns each element of x to the power of ``exponent``."""

    def root(self, x: Any, count: int, degree: float) -> Any:
        """Returns (x * ``count``) to the power of 1 / ``degree``; its gradient where x is 0 is 0."""

    def operands(self, **arrays: Any) -> tuple[list[Any], Any]:
        """Returns the checked operands of a composition, all of one kind and data type, and the data type of its
        result.

        Half-precision operands come back as float32, so that the composition rounds once, at its end, by `cast`. None
        stays None.
        """

    def cast(self, x: Any, dtype: Any) -> Any:
        """Returns x in the data type; x itself if it has it."""


_TENSORS = ("torch.Tensor", "torch.nn.parameter.Parameter")

_kinds: dict[type, ArrayOps] = {}
_interfaces: dict[str, ArrayOps] = {}


def register_kind(cls: type, ops: ArrayOps) -> None:
    """Let the API take arrays of ``cls`` and its subclasses."""
    _kinds[cls] = ops


def register_interface(attribute: str, ops: ArrayOps) -> None:
    """Let the API take arrays of every other class that has the attribute."""
    _interfaces[attribute] = ops


def taken(name: str, array: A) -> tuple[ArrayOps, A]:
    """Returns the operations for ``array``, as `ops_of`, and the array to apply them to.

    A subclass of numpy.ndarray may index, add up and take absolute values in a way of its own (numpy.matrix always
    has two axes), so what is taken is a view of its memory as a plain array.
    """
    ops = ops_of(name, array)
    if isinstance(array, np.ndarray) and type(array) is not np.ndarray:
        return ops, np.asarray(array)  # type: ignore[return-value]
    return ops, array


def ops_of(name: str, array: Any) -> ArrayOps:
    """Returns the operations for ``array``; raises a TypeError that names the argument if its kind is unknown."""
    ops = _kinds.get(type(array))
    if ops is not None:
        return ops
    for cls, ops in _kinds.items():
        if isinstance(array, cls) and not isinstance(array, np.ma.MaskedArray):
            return ops
    given = f"{type(array).__module__}.{type(array).__qualname__}"
    for attribute, ops in _interfaces.items():
        if given not in _TENSORS and hasattr(array, attribute):
            register_kind(type(array), ops)
            return ops
    allowed = f"it must be a {' or a '.join(_names())} or an array with {' or '.join(_interfaces)}"
    if given in _TENSORS:
        allowed = "tensors are taken once fastconv.torch is imported"
    elif isinstance(array, np.ma.MaskedArray):
        allowed = "masks are not understood: fill them in first, with array.filled(...)"
    raise ArgumentTypeError(name, given, allowed)


def _names() -> list[str]:
    """Returns the names of the kinds that users are told about."""
    return [f"{cls.__module__}.{cls.__name__}" for cls in _kinds if cls.__module__ in ("numpy", "torch")]
