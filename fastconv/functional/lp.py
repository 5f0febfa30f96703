"""L^p pooling in one and two dimensions: a root of an average of powers."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from fastconv.arguments import IntOrPair, image_dims, integers, pair
from fastconv.arrays import A, taken
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.functional.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d


def lp_pool2d(
    input: A,
    norm_type: float,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
    *,
    backend: str | None = None,
) -> A:
    """Returns the two-dimensional L^p pooling, as `torch.nn.functional.lp_pool2d`: (sum of x ** p over each window) **
    (1 / p).

    As in torch, x is not made positive first, and a window that overhangs the image counts as if its mean went on.
    The limits are the largest magnitude in each window, for p infinite, and the smallest, for p minus infinity.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched.
        norm_type: p, any number but 0.
        kernel_size, stride, ceil_mode, backend: as in `fastconv.avg_pool2d`.

    Returns:
        (N, C, P, Q), or (C, P, Q) unbatched.

    Raises:
        ZeroDivisionError: ``norm_type`` is 0.

    It also raises what `fastconv.max_pool2d` raises.
    """
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    height, width = pair("kernel_size", kernel_size, 1)
    (image,), dtype = ops.operands(input=input)
    norm = _number(norm_type)
    if norm in (math.inf, -math.inf):
        return _limit(max_pool2d, input, norm, (height, width), stride, ceil_mode, backend)
    powers = ops.power(image, norm)
    means = avg_pool2d(powers, (height, width), stride, 0, ceil_mode, backend=backend)
    return ops.cast(ops.root(means, height * width, norm), dtype)


def lp_pool1d(
    input: A,
    norm_type: float,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
    *,
    backend: str | None = None,
) -> A:
    """Returns the one-dimensional L^p pooling, as `torch.nn.functional.lp_pool1d`; see `lp_pool2d`.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        norm_type: p, any number but 0.
        kernel_size, stride, ceil_mode, backend: as in `fastconv.avg_pool1d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched.

    It raises what `lp_pool2d` raises.
    """
    ops, input = taken("input", input)
    image_dims("input", input.shape, 1)
    (width,) = integers("kernel_size", kernel_size, 1, 1)
    (image,), dtype = ops.operands(input=input)
    norm = _number(norm_type)
    if norm in (math.inf, -math.inf):
        return _limit(max_pool1d, input, norm, width, stride, ceil_mode, backend)
    powers = ops.power(image, norm)
    means = avg_pool1d(powers, width, stride, 0, ceil_mode, backend=backend)
    return ops.cast(ops.root(means, width, norm), dtype)


def _number(norm_type: float) -> float:
    if not isinstance(norm_type, Real):
        raise ArgumentTypeError("norm_type", repr(norm_type), "it must be a number")
    try:
        return float(norm_type)
    except OverflowError:
        raise ArgumentError("norm_type", norm_type, "it must be within the range of a float") from None


def _limit(
    pool: Callable[..., Any],
    input: Any,
    norm_type: float,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    ceil_mode: bool,
    backend: str | None,
) -> Any:
    sign = 1 if norm_type > 0 else -1
    return sign * pool(sign * abs(input), kernel_size, stride, 0, 1, ceil_mode, backend=backend)
