"""Convolution and its transpose in one and two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import known
from fastconv.arguments import (
    IntOrPair,
    Padding,
    conv_parameters,
    image_dims,
    integer,
    pair,
    sides,
    transposed_input_size,
    weight_dims,
)
from fastconv.arrays import A, taken
from fastconv.errors import ArgumentTypeError
from fastconv.functional.lifting import lift_line, lift_lines, lift_sides, lower_lines
from fastconv.geometry import ConvParameters, transposed_size
from fastconv.remembering import remember_conv2d


def conv2d(
    input: A,
    weight: A,
    bias: A | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the two-dimensional convolution (cross-correlation), as `torch.nn.functional.conv2d`.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched; float32 or float64 (float16 is computed in float32).
        weight: (K, C / groups, R, S), of input's data type.
        bias: (K,), or None for no bias.
        stride: pixels between windows, one integer or (height, width).
        padding: zero pixels around the image: an integer, (height, width), four sides (top, bottom, left, right),
            "valid" for none, or "same" for as many as keep the image's size (stride 1 only).
        dilation: pixels between the kernel's elements, one integer or (height, width).
        groups: how many groups the channels fall into; it divides C and K. C groups make it depthwise.
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, K, P, Q), or (K, P, Q) unbatched, with P = (H + top + bottom - dilation * (R - 1) - 1) // stride + 1,
        and Q likewise.

    Raises:
        RuntimeError: a shape or value that is not allowed, or operands of different data types.
        TypeError: an argument of the wrong type; integer and complex arrays.
        UnsupportedError: the backend can't do this problem.

    Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016).
    """
    arguments = input, weight, bias, stride, padding, dilation, groups, backend
    found: Any = NotImplemented
    if type(input) is np.ndarray:
        found = known.conv2d(*arguments)
    elif known.tensors is not None and type(input) is known.tensors.kind:
        found = known.tensors.conv2d(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    _, weight = taken("weight", weight)
    weight_dims(weight.shape, 2)
    how = conv_parameters(tuple(weight.shape[2:]), stride, padding, dilation, groups)
    if input.ndim == 3:
        result = ops.conv2d(input[None], weight, bias, how, backend)[0]
    else:
        result = ops.conv2d(input, weight, bias, how, backend)
    if found is None:
        remember_conv2d(arguments, how)
    return result


def conv1d(
    input: A,
    weight: A,
    bias: A | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the one-dimensional convolution, as `torch.nn.functional.conv1d`: `conv2d` on images of height 1.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        weight: (K, C / groups, S).
        bias: (K,), or None.
        stride, dilation: in pixels, an integer or a 1-sequence.
        padding: an integer, a 1-sequence, two sides (left, right), "same" or "valid".
        groups, backend: as in `conv2d`.

    Returns:
        (N, K, Q), or (K, Q) unbatched.

    It raises what `conv2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    _, weight = taken("weight", weight)
    weight_dims(weight.shape, 1)
    steps, spread = lift_line("stride", stride, 1, 1), lift_line("dilation", dilation, 1, 1)
    lines = conv2d(
        lift_lines(input),
        lift_lines(weight),
        bias,
        steps,
        lift_sides(padding),
        spread,
        groups,
        backend=backend,
    )
    return lower_lines(lines)


def conv_transpose2d(
    input: A,
    weight: A,
    bias: A | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the transposed two-dimensional convolution, as `torch.nn.functional.conv_transpose2d`.

    It is the input gradient of `conv2d` used forwards, so every backend does it with that primitive.

    Args:
        input: (N, K, P, Q), or (K, P, Q) unbatched.
        weight: (K, C / groups, R, S).
        bias: (C,), or None.
        stride: pixels between the windows that are added up, one integer or (height, width).
        padding: pixels cut off around the result: an integer, (height, width), or (top, bottom, left, right).
        output_padding: pixels added at the result's bottom and right, fewer than stride or dilation.
        groups, dilation, backend: as in `conv2d`.

    Returns:
        (N, C, H, W), or (C, H, W) unbatched, with
        H = (P - 1) * stride - top - bottom + dilation * (R - 1) + output_padding + 1, and W likewise.

    It raises what `conv2d` raises.

    Reference: Zeiler et al., "Deconvolutional networks" (2010).
    """
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    _, weight = taken("weight", weight)
    weight_dims(weight.shape, 2)
    if isinstance(padding, str):
        raise ArgumentTypeError("padding", repr(padding), "a transposed convolution takes integers")
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    cut = sides(padding, tuple(weight.shape[2:]), steps, spread)
    how = ConvParameters(steps, cut, spread, integer("groups", groups, 1))
    extra = pair("output_padding", output_padding, 0)

    (image, kernel, offset), dtype = ops.operands(input=input, weight=weight, bias=bias)
    image = image[None] if input.ndim == 3 else image
    size = transposed_input_size(image.shape, weight.shape, None if bias is None else bias.shape, how, extra)
    if extra[0] < steps[0] and extra[1] < steps[1]:
        result = ops.conv2d_input(size, kernel, image, how, backend)
    else:
        # A whole stride or more would open windows that `input` has no pixel for: so it is added, and cut, afterwards.
        whole = how._replace(padding=(0, 0, 0, 0))
        uncut = (*size[:2], *transposed_size(image.shape[2:], weight.shape[2:], whole, (0, 0)))
        padded = ops.pad(ops.conv2d_input(uncut, kernel, image, whole, backend), *extra)
        result = padded[..., cut[0] : cut[0] + size[2], cut[2] : cut[2] + size[3]]
    if bias is not None:
        result = ops.add_bias(result, offset)
    result = ops.cast(result, dtype)
    return result[0] if input.ndim == 3 else result


def conv_transpose1d(
    input: A,
    weight: A,
    bias: A | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the transposed one-dimensional convolution, as `torch.nn.functional.conv_transpose1d`.

    Args:
        input: (N, K, Q), or (K, Q) unbatched.
        weight: (K, C / groups, S).
        bias: (C,), or None.
        stride, padding, output_padding, dilation: in pixels, an integer or a 1-sequence; padding also (left, right).
        groups, backend: as in `conv2d`.

    Returns:
        (N, C, L), or (C, L) unbatched.

    It raises what `conv2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    _, weight = taken("weight", weight)
    weight_dims(weight.shape, 1)
    if isinstance(padding, str):
        raise ArgumentTypeError("padding", repr(padding), "a transposed convolution takes integers")
    lines = conv_transpose2d(
        lift_lines(input),
        lift_lines(weight),
        bias,
        lift_line("stride", stride, 1, 1),
        lift_sides(padding),
        lift_line("output_padding", output_padding, 0, 0),
        groups,
        lift_line("dilation", dilation, 1, 1),
        backend=backend,
    )
    return lower_lines(lines)
