"""This file decides which calls compiled code may know again (`fastconv.known`).

A function for each operation lets a call that has just been computed be known, if it can. It gets the call's arguments
in the order of `fastconv.known`, and ``how``, the fields of its `ConvParameters` or `PoolParameters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import known, registry
from fastconv.arguments import conv_geometry, pool_geometry
from fastconv.geometry import ConvGeometry, ConvParameters, PoolGeometry, PoolParameters

_COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))
"""Data types of a known call's first array; only indices have another, int64."""
_VALUES = (type(None), bool, int, str)
"""Types of arguments besides arrays that a call may have, and tuples of integers: their values never change."""


def remember_conv2d(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `conv2d` again."""
    if all(map(_is_known, arguments)):
        x, w, b = (None if each is None else tuple(each.shape) for each in arguments[:3])
        assert x is not None
        assert w is not None
        g = conv_geometry((1, *x)[-4:], w, b, ConvParameters(*how))
        _remember("conv2d", "conv2d", arguments, g, g.output_shape[-len(x) :])


def remember_conv2d_input(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `conv2d_input` again."""
    if all(map(_is_known, arguments)):
        _, weight, size, *_ = arguments
        g = conv_geometry((1, *size)[-4:], tuple(weight.shape), None, ConvParameters(*how))
        _remember("conv2d_input", "conv2d_input", arguments, g, g.input_shape[-len(size) :])


def remember_conv2d_weight(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `conv2d_weight` again."""
    if all(map(_is_known, arguments)):
        x, _, size, *_ = arguments
        g = conv_geometry((1, *x.shape)[-4:], size, None, ConvParameters(*how))
        _remember("conv2d_weight", "conv2d_weight", arguments, g, g.weight_shape)


def remember_max_pool2d(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `max_pool2d` again."""
    return_indices = arguments[6]
    _remember_pooling("max_pool2d", "max_pool2d" if return_indices else "max_pool2d_values", arguments, how)


def remember_avg_pool2d(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `avg_pool2d` again."""
    _remember_pooling("avg_pool2d", "avg_pool2d", arguments, how)


def remember_max_pool2d_gradient(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `max_pool2d_gradient` again."""
    _remember_pooling_gradient("max_pool2d_gradient", arguments, arguments[2], how)


def remember_avg_pool2d_backward(arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let compiled code know a call of `avg_pool2d_backward` again."""
    _remember_pooling_gradient("avg_pool2d_backward", arguments, arguments[1], how)


def _remember_pooling(operation: str, primitive: str, arguments: Sequence[Any], how: Sequence[Any]) -> None:
    """Let a call be known that a backend's ``primitive`` has computed."""
    if all(map(_is_known, arguments)):
        g = pool_geometry((1, *arguments[0].shape)[-4:], PoolParameters(*how))
        _remember(operation, primitive, arguments, g, g.output_shape[-arguments[0].ndim :])


def _remember_pooling_gradient(
    operation: str, arguments: Sequence[Any], size: Sequence[int], how: Sequence[Any]
) -> None:
    """Let a call be known whose result is of this ``size``."""
    if all(map(_is_known, arguments)):
        g = pool_geometry((1, *size)[-4:], PoolParameters(*how))
        _remember(operation, operation, arguments, g, g.input_shape[-len(size) :])


def _dtype(argument: Any) -> np.dtype[Any] | None:
    """Return the data type of an array that a known call may have; None for what isn't one."""
    if type(argument) is not np.ndarray:
        return None if known.tensors is None else known.tensors.described(argument)
    flags = argument.flags
    fits = any(argument.dtype is each for each in _COMPUTED) and flags.c_contiguous and flags.aligned
    return argument.dtype if fits else None


def _is_known(argument: Any) -> bool:
    """Return True if the key of a call can say all about an argument that a backend needs to know."""
    kind = type(argument)
    if kind is tuple:
        return all(type(each) is int for each in argument)
    return kind in _VALUES or _dtype(argument) is not None


def _remember(
    operation: str,
    primitive: str,
    arguments: Sequence[Any],
    geometry: ConvGeometry | PoolGeometry,
    shape: tuple[int, ...],
) -> None:
    """Let a call be known whose result has this ``shape``."""
    dtype = _dtype(arguments[0])
    if dtype not in _COMPUTED:
        return
    arrays = sum(type(each) not in (*_VALUES, tuple) for each in arguments)
    short = registry.resolve(arguments[-1]).select(primitive, geometry, dtype).short(primitive, geometry, dtype, arrays)
    if short is not None:
        known.learn(operation, arguments, short, shape, dtype)
