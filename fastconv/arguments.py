"""Checks of arguments, made once, on plain numbers and shapes: the same for every kind of array and every backend.

What torch refuses is refused here, with torch's type of exception. Geometries are kept, so a layer's second call
looks its geometry up instead of checking and computing again.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.errors import ArgumentError, ArgumentTypeError, ArgumentValueError
from fastconv.geometry import (
    ConvGeometry,
    ConvParameters,
    Pair,
    PoolGeometry,
    PoolParameters,
    Sides,
    same_padding,
    transposed_size,
)

Shape = tuple[int, ...]
IntOrPair = int | Sequence[int]
G = TypeVar("G", ConvGeometry, PoolGeometry, AdaptiveGeometry)
Padding = int | str | Sequence[int]


MOST = 2**31 - 1
"""Largest value of a parameter in pixels; sizes of arrays may be larger."""

MOST_ELEMENTS = 2**60 - 1
"""Size limit of an array, in elements: more of float64 cannot be addressed."""


WINDOW_BYTES = 128
"""What tables of adaptive pooling's windows along one axis take for each window, in bytes, while they are made."""


def integer(name: str, value: Any, at_least: int, at_most: int = MOST) -> int:
    """Returns ``value`` as an int; raises TypeError if it is no integer, ArgumentError if it is out of range."""
    number = value
    if not isinstance(value, int) or isinstance(value, bool):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ArgumentTypeError(name, f"{value!r} of type {type(value).__name__}", "it must be an integer")
        try:
            number = operator.index(value)
        except TypeError:  # arrays have the method, and all but single integers fail in it; so have classes
            raise ArgumentTypeError(name, repr(value), "it must be an integer") from None
    if number < at_least:
        raise ArgumentError(name, number, f"it must be at least {at_least}")
    if number > at_most:
        raise ArgumentError(name, number, f"it must be at most {at_most}")
    return number


def integers(name: str, value: IntOrPair, count: int, at_least: int) -> tuple[int, ...]:
    """Returns ``count`` integers, given one for all of them, a 1-sequence, or one each."""
    if not isinstance(value, (tuple, list)):
        return (integer(name, value, at_least),) * count
    elements = tuple([integer(name, element, at_least) for element in value])
    if len(elements) not in (1, count):
        raise ArgumentError(name, elements, f"it must be an integer or a sequence of {count}")
    return elements * (count if len(elements) == 1 else 1)


def pair(name: str, value: IntOrPair, at_least: int) -> Pair:
    """Height and width, from an integer for both, a 1-sequence or a 2-sequence."""
    if (
        type(value) is tuple
        and len(value) == 2
        and type(value[0]) is type(value[1]) is int
        and at_least <= min(value) <= max(value) <= MOST
    ):
        return value  # as layers have it: a third of the time that the general way takes
    height, width = integers(name, value, 2, at_least)
    return height, width


def flag(name: str, value: Any) -> bool:
    """Returns a value that must be True or False itself; raises TypeError for what merely counts as one of them."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(name, repr(value), "it must be True or False")
    return bool(value)


def truth(name: str, value: Any) -> bool:
    """Returns True if Python takes ``value`` for true; raises TypeError for an array of several elements."""
    try:
        return bool(value)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentTypeError(name, repr(value), "it must be True or False") from None


def size(name: str, value: Sequence[int], dims: int) -> Shape:
    """Returns a shape of ``dims`` sizes."""
    if not isinstance(value, (tuple, list)):
        raise ArgumentTypeError(name, f"{value!r}", f"it must be a sequence of {dims} integers")
    if len(value) != dims:
        raise ArgumentError(name, tuple(value), f"it must be a sequence of {dims} integers")
    return tuple([integer(name, element, 0, 2**63 - 1) for element in value])


def sides(padding: Padding, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
    """Returns four sides of padding, given an integer, a pair, (top, bottom, left, right), "same" or "valid"."""
    if isinstance(padding, str):
        if padding == "valid":
            return 0, 0, 0, 0
        if padding != "same":
            raise ArgumentError("padding", repr(padding), 'it must be "same", "valid", or integers')
        if stride != (1, 1):
            raise ArgumentError("padding", "'same'", f"that needs a stride of 1, and stride is {stride}")
        return same_padding(kernel, dilation)
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        top, bottom, left, right = integers("padding", padding, 4, 0)
        return top, bottom, left, right
    if isinstance(padding, (tuple, list)) and len(padding) not in (1, 2):
        allowed = "it must be an integer, a sequence of 2, or of 4: top, bottom, left, right"
        raise ArgumentError("padding", tuple(padding), allowed)
    height, width = pair("padding", padding, 0)
    return height, height, width, width


def conv_parameters(
    kernel: Pair, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int
) -> ConvParameters:
    """Returns the parameters of a convolution by ``kernel`` (R, S), given the arguments that the API takes."""
    if type(stride) is type(padding) is type(dilation) is type(groups) is int:
        return _plain_parameters(stride, padding, dilation, groups)
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    return ConvParameters(steps, sides(padding, kernel, steps, spread), spread, integer("groups", groups, 1))


@lru_cache(maxsize=512)
def _plain_parameters(stride: int, padding: int, dilation: int, groups: int) -> ConvParameters:
    """Those of four integers, which most calls have: kept, since to look at each takes 2 us."""
    steps, (height, width), spread = (
        pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
    )
    return ConvParameters(steps, (height, height, width, width), spread, integer("groups", groups, 1))


def image_dims(name: str, shape: Shape, spatial: int) -> None:
    """Refuse anything but (C, *spatial) and (N, C, *spatial)."""
    if len(shape) not in (spatial + 1, spatial + 2):
        axes = "H, W" if spatial == 2 else "L"
        raise ArgumentError(name, f"shape {tuple(shape)}", f"it must be (N, C, {axes}), or (C, {axes}) unbatched")


def weight_dims(shape: Shape, spatial: int) -> None:
    """Refuse anything but (K, C / G, *kernel)."""
    if len(shape) != spatial + 2:
        axes = "R, S" if spatial == 2 else "S"
        raise ArgumentError("weight", f"shape {tuple(shape)}", f"it must be (K, C / groups, {axes})")


def make_conv_geometry(x: Shape, w: Shape, b: Shape | None, how: ConvParameters) -> ConvGeometry:
    """Returns the checked geometry of a convolution of ``x`` (N, C, H, W) by ``w`` (K, C / G, R, S), bias ``b``."""
    _check_steps(how.stride, how.dilation, how.padding)
    if len(how.padding) != 4:
        raise ArgumentError("padding", how.padding, "it must be four sides")
    _check_weight(w, how.groups)
    if x[1] != w[1] * how.groups:
        allowed = f"weight {tuple(w)} with groups={how.groups} needs {w[1] * how.groups} channels, and it has {x[1]}"
        raise ArgumentError("input", f"shape {tuple(x)}", allowed)
    if x[2] < 1 or x[3] < 1:
        raise ArgumentError("input", f"shape {tuple(x)}", "only N and C may be 0, height and width may not")
    check_bias(b, w[0])
    geometry = ConvGeometry(x[0], x[1], x[2], x[3], w[0], w[2], w[3], *how)
    if geometry.P < 1 or geometry.Q < 1:
        top, bottom, left, right = how.padding
        reach = (how.dilation[0] * (w[2] - 1) + 1, how.dilation[1] * (w[3] - 1) + 1)
        padded = (x[2] + top + bottom, x[3] + left + right)
        allowed = f"the kernel covers {reach} pixels with its dilation and must fit in the padded input, {padded}"
        raise ArgumentError("weight", f"shape {tuple(w)}", allowed)
    return geometry


def transposed_input_size(x: Shape, w: Shape, b: Shape | None, how: ConvParameters, output_padding: Pair) -> Shape:
    """Returns the checked result shape (N, C, H, W) of a transposed convolution of ``x`` by ``w``, (K, C / G, R, S)."""
    _check_weight(w, how.groups)
    if x[1] != w[0]:
        allowed = f"weight {tuple(w)} needs {w[0]} channels, and it has {x[1]}"
        raise ArgumentError("input", f"shape {tuple(x)}", allowed)
    if x[2] < 1 or x[3] < 1:
        raise ArgumentError("input", f"shape {tuple(x)}", "only N may be 0, height and width may not")
    if w[1] < 1:
        raise ArgumentError("weight", f"shape {tuple(w)}", "every size must be at least 1")
    check_bias(b, w[1] * how.groups)
    for extra, step, spread in zip(output_padding, how.stride, how.dilation, strict=True):
        if extra >= max(step, spread):
            allowed = f"it must be smaller than either stride {how.stride} or dilation {how.dilation}"
            raise ArgumentError("output_padding", output_padding, allowed)
    H, W = transposed_size((x[2], x[3]), (w[2], w[3]), how, output_padding)
    if H < 1 or W < 1:
        allowed = f"the result would be of {(H, W)} pixels: use a larger input or less padding"
        raise ArgumentError("input", f"shape {tuple(x)}", allowed)
    return x[0], w[1] * how.groups, H, W


def unfold_geometry(
    x: Shape, kernel: Sequence[int], how: ConvParameters, make: Callable[..., ConvGeometry]
) -> ConvGeometry:
    """Returns the checked geometry of the windows of ``x`` (N, C, H, W); ``make`` is as in `fold_geometry`."""
    if x[1] < 1:
        raise ArgumentError("input", f"shape {tuple(x)}", "only N may be 0")
    return make(x, (1, x[1], *kernel), None, how)


def fold_geometry(
    columns: Shape, size: Sequence[int], kernel: Sequence[int], how: ConvParameters, make: Callable[..., ConvGeometry]
) -> ConvGeometry:
    """Returns the checked geometry of images of ``size`` whose windows are the ``columns`` (N, C * R * S, P * Q).

    ``make`` is `conv_geometry` or `make_conv_geometry`.
    """
    taps = kernel[0] * kernel[1]
    if columns[1] % taps or columns[1] == 0:
        allowed = f"its second axis must be a multiple of {taps}, the kernel's elements"
        raise ArgumentError("input", f"shape {tuple(columns)}", allowed)
    channels = columns[1] // taps
    geometry = make((columns[0], channels, *size), (1, channels, *kernel), None, how)
    if columns[2] != geometry.P * geometry.Q:
        allowed = f"an image of {size} pixels has {geometry.P} x {geometry.Q} windows of {kernel}"
        raise ArgumentError("input", f"shape {tuple(columns)}", allowed)
    return geometry


def make_pool_geometry(x: Shape, how: PoolParameters) -> PoolGeometry:
    """Returns the checked geometry of a pooling of ``x`` (N, C, H, W)."""
    _check_steps(how.stride, how.dilation, how.padding)
    _check_steps(how.kernel, how.kernel, ())
    for padding, kernel in zip(how.padding, how.kernel, strict=True):
        if padding > kernel // 2:
            raise ArgumentError("padding", how.padding, f"it must be at most half the kernel, {how.kernel}")
    if x[1] < 1 or x[2] < 1 or x[3] < 1:
        raise ArgumentError("input", f"shape {tuple(x)}", "only N may be 0")
    geometry = PoolGeometry(
        x[0],
        x[1],
        x[2],
        x[3],
        *how.kernel,
        how.stride,
        how.padding,
        how.dilation,
        how.ceil_mode,
        how.count_include_pad,
        how.divisor_override,
    )
    if geometry.P < 1 or geometry.Q < 1:
        allowed = f"a window of {how.kernel} with dilation {how.dilation} must fit in the input padded by {how.padding}"
        raise ArgumentError("input", f"shape {tuple(x)}", allowed)
    return geometry


def adaptive_size(value: int | Sequence[int | None] | None, sizes: Sequence[int]) -> Shape:
    """Returns the result's size of an adaptive pooling, given one integer or one for each axis; None keeps an axis."""
    wanted = value if isinstance(value, (tuple, list)) else (value,) * len(sizes)
    elements = tuple([size if size is None else integer("output_size", size, 0) for size in wanted])
    if len(elements) != len(sizes):
        raise ArgumentError("output_size", elements, f"it must be an integer or a sequence of {len(sizes)}")
    return tuple([own if size is None else size for size, own in zip(elements, sizes, strict=True)])


def make_adaptive_geometry(x: Shape, size: Shape) -> AdaptiveGeometry:
    """The geometry of an adaptive pooling of ``x`` (N, C, H, W) to ``size`` (P, Q), checked."""
    if x[1] < 1 or x[2] < 1 or x[3] < 1:
        raise ArgumentError("input", f"shape {tuple(x)}", "only N may be 0")
    if len(size) != 2 or min(size) < 1:
        raise ArgumentError("output_size", tuple(size), "it must be two integers of at least 1")
    return AdaptiveGeometry(x[0], x[1], x[2], x[3], size[0], size[1])


def unpooled_size(x: Shape, kernel: Pair, stride: Pair, padding: Pair, wanted: Sequence[int] | None) -> Pair:
    """Returns (H, W) of a max unpooling of ``x`` (..., P, Q): the ``wanted`` size, if that pools to that of ``x``."""
    usual = tuple([(x[a - 2] - 1) * stride[a] - 2 * padding[a] + kernel[a] for a in (0, 1)])
    if not isinstance(wanted, (tuple, list, NoneType)):
        raise ArgumentTypeError("output_size", repr(wanted), "it must be (H, W)")
    given = usual if wanted is None else tuple([integer("output_size", element, -(2**63)) for element in wanted])
    size = given[2:] if len(given) == 4 else given
    if math.prod((*x[:-2], *size)) > MOST_ELEMENTS:
        allowed = f"{size} pixels are more than any memory holds"
        raise ArgumentError("input", f"shape {tuple(x)}", allowed)
    if len(size) != 2 or not all(size[a] >= 0 and abs(size[a] - usual[a]) < stride[a] for a in (0, 1)):
        allowed = f"it must be (H, W), not negative, and within less than a stride {stride} of {usual}"
        raise ArgumentValueError("output_size", given, allowed)
    return size[0], size[1]


def divisor(value: int | None) -> int | None:
    """Returns a checked ``divisor_override``: any integer but 0, or None."""
    if value is None:
        return None
    number = integer("divisor_override", value, -(2**63), 2**63 - 1)
    if number == 0:
        raise ArgumentError("divisor_override", 0, "it must not be 0")
    return number


def same_shape(name: str, given: Shape, expected: Shape, of: str) -> None:
    """Refuse ``given`` unless it is the ``expected`` shape ``of`` something."""
    if tuple(given) != tuple(expected):
        raise ArgumentError(name, f"shape {tuple(given)}", f"it must be {tuple(expected)}, the shape of {of}")


def check_bias(b: Shape | None, channels: int) -> None:
    """Refuse a bias that isn't (channels,)."""
    if b is not None and tuple(b) != (channels,):
        raise ArgumentError("bias", f"shape {tuple(b)}", f"it must be ({channels},), one number an output channel")


def _check_steps(stride: Shape, dilation: Shape, padding: Shape) -> None:
    """Refuse parameters that only a direct call of an operator can have: the functions have normalised these."""
    for name, steps in (("stride", stride), ("dilation", dilation)):
        if len(steps) != 2 or min(steps) < 1:
            raise ArgumentError(name, tuple(steps), "it must be two integers of at least 1")
    if min(padding, default=0) < 0:
        raise ArgumentError("padding", tuple(padding), "it must be at least 0")


def _check_weight(w: Shape, groups: int) -> None:
    if w[0] < 1 or w[2] < 1 or w[3] < 1:
        raise ArgumentError("weight", f"shape {tuple(w)}", "every size but that of the channels must be at least 1")
    if groups < 1 or w[0] % groups:
        raise ArgumentError("groups", groups, f"it must divide the first axis of weight {tuple(w)}")


# 16,384 geometries are some 15 MB; the largest networks have some hundred layers, and come at some tens of sizes.
@lru_cache(maxsize=16384)
def conv_geometry(x: Shape, w: Shape, b: Shape | None, how: ConvParameters) -> ConvGeometry:
    """Returns what `make_conv_geometry` does, and keeps it; refuses arrays that no memory could hold."""
    return _addressable(make_conv_geometry(x, w, b, how))


@lru_cache(maxsize=16384)
def pool_geometry(x: Shape, how: PoolParameters) -> PoolGeometry:
    """Returns what `make_pool_geometry` does, and keeps it; refuses arrays that no memory could hold."""
    return _addressable(make_pool_geometry(x, how))


@lru_cache(maxsize=16384)
def adaptive_geometry(x: Shape, size: Shape) -> AdaptiveGeometry:
    """`make_adaptive_geometry`, kept, likewise; results beyond this machine's memory are refused."""
    geometry = make_adaptive_geometry(x, size)
    least = math.prod(geometry.output_shape) + WINDOW_BYTES * (geometry.P + geometry.Q)
    try:
        # As one piece, which the system refuses at once: piece by piece it promises more memory than it has, and ends
        # the process that uses it.
        np.empty(least, np.uint8)
    except (MemoryError, ValueError):
        allowed = f"a result of shape {geometry.output_shape} takes {least:,} bytes at least, more than there are"
        raise ArgumentError("output_size", tuple(size), allowed) from None
    return _addressable(geometry)


def _addressable(geometry: G) -> G:
    for shape in (geometry.input_shape, geometry.output_shape):
        if math.prod(shape) > MOST_ELEMENTS:
            allowed = f"an array of shape {shape} is more than any memory holds"
            raise ArgumentError("input", f"shape {geometry.input_shape}", allowed)
    return geometry
