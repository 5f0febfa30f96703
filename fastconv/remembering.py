"""This file decides which calls on NumPy arrays compiled code may know again (`fastconv.known`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import known, registry
from fastconv.arguments import conv_geometry, pool_geometry
from fastconv.geometry import ConvGeometry, ConvParameters, PoolGeometry, PoolParameters

_COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))
_VALUES = (type(None), bool, int, str)
"""Types of arguments besides arrays that a call may have, and tuples of integers: their values never change."""


def remember_conv2d(arguments: Sequence[Any], how: ConvParameters) -> None:
    """Let compiled code know a call of `conv2d` again, which has just been computed, if it can."""
    if all(map(_is_known, arguments)):
        x, w, b = arguments[:3]
        image = x.shape if x.ndim == 4 else (1, *x.shape)
        _remember("conv2d", arguments, conv_geometry(image, w.shape, None if b is None else b.shape, how))


def remember_pooling(operation: str, primitive: str, arguments: Sequence[Any], how: PoolParameters) -> None:
    """Let compiled code know a call of a pooling again, which the backend's ``primitive`` has just computed."""
    if all(map(_is_known, arguments)):
        x = arguments[0]
        _remember(operation, arguments, pool_geometry(x.shape if x.ndim == 4 else (1, *x.shape), how), primitive)


def _is_known(argument: Any) -> bool:
    """Return True if the key of a call can say all about an argument that a backend needs to know."""
    kind = type(argument)
    if kind is np.ndarray:
        flags = argument.flags
        return any(argument.dtype is each for each in _COMPUTED) and flags.c_contiguous and flags.aligned
    return kind in _VALUES or (kind is tuple and all(type(each) is int for each in argument))


def _remember(
    operation: str, arguments: Sequence[Any], geometry: ConvGeometry | PoolGeometry, primitive: str = ""
) -> None:
    x = arguments[0]
    backend = registry.resolve(arguments[-1]).select(primitive or operation, geometry, x.dtype)
    arrays = sum(isinstance(each, np.ndarray) for each in arguments)
    short = backend.short(primitive or operation, geometry, x.dtype, arrays)
    if short is not None:
        shape = geometry.output_shape
        known.learn(operation, arguments, short, shape if x.ndim == 4 else shape[1:])
