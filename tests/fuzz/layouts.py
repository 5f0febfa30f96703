"""The same values in every kind of memory that NumPy knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Layout = Callable[[np.ndarray], np.ndarray]


def contiguous(values: np.ndarray) -> np.ndarray:
    return values.copy()


def transposed(values: np.ndarray) -> np.ndarray:
    return np.asfortranarray(values)


def sliced(values: np.ndarray) -> np.ndarray:
    """Every other element of a larger array, NaN or the largest integer between them."""
    poison = np.nan if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    storage = np.full([2 * size + 1 for size in values.shape], poison, values.dtype)
    view = storage[(slice(1, None, 2),) * values.ndim]
    view[...] = values
    return view


def reversed_axes(values: np.ndarray) -> np.ndarray:
    backwards = (slice(None, None, -1),) * values.ndim
    return values[backwards].copy()[backwards]


def channels_last(values: np.ndarray) -> np.ndarray:
    """The axis of the channels innermost in memory, with a batch and without."""
    axis = 1 if values.ndim > 3 else 0
    return np.moveaxis(np.moveaxis(values, axis, -1).copy(), -1, axis)


def repeated(values: np.ndarray) -> np.ndarray:
    """Stride 0 along the last axis: other values than those given, the first column again and again."""
    return np.broadcast_to(values[..., :1], values.shape)


def repeated_first(values: np.ndarray) -> np.ndarray:
    """Stride 0 along the first axis."""
    return np.broadcast_to(values[:1], values.shape)


def read_only(values: np.ndarray) -> np.ndarray:
    frozen = values.copy()
    frozen.flags.writeable = False
    return frozen


def unaligned(values: np.ndarray) -> np.ndarray:
    """One byte past where the processor would like it."""
    storage = np.zeros(values.nbytes + 1, np.uint8)
    array = storage[1:].view(values.dtype).reshape(values.shape)
    array[...] = values
    return array


def foreign(values: np.ndarray) -> np.ndarray:
    """In the other byte order."""
    return values.astype(values.dtype.newbyteorder())


TENSOR_LAYOUTS: tuple[Layout, ...] = (contiguous, transposed, sliced, channels_last, repeated, repeated_first)
"""Those that torch tensors can have too."""

LAYOUTS: tuple[Layout, ...] = (*TENSOR_LAYOUTS, reversed_axes, read_only, unaligned, foreign)


def owner(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
