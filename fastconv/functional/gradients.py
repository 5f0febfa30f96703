"""The gradients of convolution and pooling, for those who write their own backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import known
from fastconv.arguments import (
    IntOrPair,
    Padding,
    flag,
    image_dims,
    integer,
    make_conv_geometry,
    pair,
    same_shape,
    sides,
    size,
    weight_dims,
)
from fastconv.arrays import A, taken
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.functional.pooling import avg_parameters
from fastconv.geometry import ConvParameters
from fastconv.remembering import remember_avg_pool2d_backward, remember_conv2d_input, remember_conv2d_weight


def conv2d_input(
    input_size: Sequence[int],
    weight: A,
    grad_output: A,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the gradient of `fastconv.conv2d` with respect to its input, as `torch.nn.grad.conv2d_input`.

    Args:
        input_size: the input's shape, (N, C, H, W), or (C, H, W) unbatched.
        weight: (K, C / groups, R, S).
        grad_output: (N, K, P, Q), or (K, P, Q) unbatched, the gradient with respect to the result.
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.

    Returns:
        of ``input_size``.

    It raises what `fastconv.conv2d` raises.
    """
    arguments = grad_output, weight, input_size, stride, padding, dilation, groups, backend
    found: Any = NotImplemented
    if type(grad_output) is np.ndarray:
        found = known.conv2d_input(*arguments)
    elif known.tensors is not None and type(grad_output) is known.tensors.kind:
        found = known.tensors.conv2d_input(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, grad_output = taken("grad_output", grad_output)
    how = _parameters_for(weight, stride, padding, dilation, groups)
    shape = _image_size(input_size, grad_output)
    if len(shape) == 3:
        result = ops.conv2d_input((1, *shape), weight, grad_output[None], how, backend)[0]
    else:
        result = ops.conv2d_input(shape, weight, grad_output, how, backend)
    if found is None:
        remember_conv2d_input(arguments, how)
    return result


def conv2d_weight(
    input: A,
    weight_size: Sequence[int],
    grad_output: A,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the gradient of `fastconv.conv2d` with respect to its weight, as `torch.nn.grad.conv2d_weight`.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched.
        weight_size: the weight's shape, (K, C / groups, R, S).
        grad_output: (N, K, P, Q), or (K, P, Q) unbatched, the gradient with respect to the result.
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.

    Returns:
        (K, C / groups, R, S).

    It raises what `fastconv.conv2d` raises.
    """
    arguments = input, grad_output, weight_size, stride, padding, dilation, groups, backend
    found: Any = NotImplemented
    if type(input) is np.ndarray:
        found = known.conv2d_weight(*arguments)
    elif known.tensors is not None and type(input) is known.tensors.kind:
        found = known.tensors.conv2d_weight(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, input = taken("input", input)
    _, grad_output = taken("grad_output", grad_output)
    shape = size("weight_size", weight_size, 4)
    image_dims("input", input.shape, 2)
    _both_batched("grad_output", grad_output.shape, input.shape, "input")
    how = _conv_parameters(shape[2:], stride, padding, dilation, groups)
    if input.ndim == 3:
        input, grad_output = input[None], grad_output[None]
    result = ops.conv2d_weight(input, shape, grad_output, how, backend)
    if found is None:
        remember_conv2d_weight(arguments, how)
    return result


def conv2d_backward(
    grad_output: A,
    input: A,
    weight: A,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    output_mask: tuple[bool, bool, bool] = (True, True, True),
    *,
    backend: str | None = None,
) -> tuple[A | None, A | None, A | None]:
    """Returns all gradients of `fastconv.conv2d`.

    Args:
        grad_output: (N, K, P, Q), or (K, P, Q) unbatched, the gradient with respect to the result.
        input: (N, C, H, W), or (C, H, W) unbatched.
        weight: (K, C / groups, R, S).
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.
        output_mask: which of the three gradients are wanted.

    Returns:
        The gradients with respect to input, weight and bias; None for those not wanted.

    It raises what `fastconv.conv2d` raises.
    """
    ops, grad_output = taken("grad_output", grad_output)
    _, input = taken("input", input)
    image_dims("input", input.shape, 2)
    how = _parameters_for(weight, stride, padding, dilation, groups)
    _both_batched("grad_output", grad_output.shape, input.shape, "input")
    for_input, for_weight, for_bias = _mask(output_mask)
    images, grad = (input[None], grad_output[None]) if input.ndim == 3 else (input, grad_output)
    result = make_conv_geometry(images.shape, weight.shape, None, how).output_shape
    same_shape("grad_output", grad.shape, result, "the convolution's result")
    dx = ops.conv2d_input(tuple(images.shape), weight, grad, how, backend) if for_input else None
    return (
        dx[0] if dx is not None and input.ndim == 3 else dx,
        ops.conv2d_weight(images, tuple(weight.shape), grad, how, backend) if for_weight else None,
        ops.channel_sum(grad, weight.shape[0], backend) if for_bias else None,
    )


def max_pool2d_backward(grad_output: A, indices: A, input_size: Sequence[int], *, backend: str | None = None) -> A:
    """Returns the gradient of `fastconv.max_pool2d`: each element added where its maximum was found.

    Args:
        grad_output: (N, C, P, Q), or (C, P, Q) unbatched, the gradient with respect to the result.
        indices: int64 of the same shape, as `max_pool2d` gives them; -1 is left out.
        input_size: the input's shape, (N, C, H, W), or (C, H, W) unbatched.
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        of ``input_size``.

    Raises:
        RuntimeError: shapes that don't belong together, an index outside the plane.
        TypeError: an argument of the wrong type.
    """
    ops, grad_output = taken("grad_output", grad_output)
    _, indices = taken("indices", indices)
    shape = _image_size(input_size, grad_output)
    same_shape("indices", indices.shape, grad_output.shape, "grad_output")
    expected = (*shape[:-2], *grad_output.shape[-2:])
    same_shape("grad_output", grad_output.shape, expected, "a pooling of input_size")
    plane = (shape[-2], shape[-1])
    if len(shape) == 3:
        return ops.max_pool2d_backward(grad_output[None], indices[None], plane, backend)[0]
    return ops.max_pool2d_backward(grad_output, indices, plane, backend)


def avg_pool2d_backward(
    grad_output: A,
    input_size: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    backend: str | None = None,
) -> A:
    """Returns the gradient of `fastconv.avg_pool2d`.

    Args:
        grad_output: (N, C, P, Q), or (C, P, Q) unbatched, the gradient with respect to the result.
        input_size: the input's shape, (N, C, H, W), or (C, H, W) unbatched.
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, backend: as in
            `fastconv.avg_pool2d`.

    Returns:
        of ``input_size``.

    It raises what `fastconv.max_pool2d` raises.
    """
    windows = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    arguments = grad_output, input_size, *windows, backend
    found: Any = NotImplemented
    if type(grad_output) is np.ndarray:
        found = known.avg_pool2d_backward(*arguments)
    elif known.tensors is not None and type(grad_output) is known.tensors.kind:
        found = known.tensors.avg_pool2d_backward(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, grad_output = taken("grad_output", grad_output)
    how = avg_parameters(*windows)
    shape = _image_size(input_size, grad_output)
    if len(shape) == 3:
        result = ops.avg_pool2d_backward(grad_output[None], (1, *shape), how, backend)[0]
    else:
        result = ops.avg_pool2d_backward(grad_output, shape, how, backend)
    if found is None:
        remember_avg_pool2d_backward(arguments, how)
    return result


def _image_size(input_size: Sequence[int], grad_output: A) -> tuple[int, ...]:
    """Returns ``input_size`` as (N, C, H, W), or as (C, H, W) where ``grad_output`` is unbatched too."""
    unbatched = isinstance(input_size, (tuple, list)) and len(input_size) == 3
    shape = size("input_size", input_size, 3 if unbatched else 4)
    _both_batched("input_size", shape, grad_output.shape, "grad_output")
    return shape


def _both_batched(name: str, given: Sequence[int], other: Sequence[int], of: str) -> None:
    """Refuse a shape with a batch beside one without."""
    if len(given) != len(other):
        allowed = f"it must have as many axes as {of}, whose shape is {tuple(other)}: both a batch, or neither"
        raise ArgumentError(name, f"shape {tuple(given)}", allowed)


def _mask(output_mask: Sequence[bool]) -> tuple[bool, bool, bool]:
    allowed = "it must have three elements, True or False: for input, weight and bias"
    if not isinstance(output_mask, (tuple, list)):
        raise ArgumentTypeError("output_mask", repr(output_mask), allowed)
    if len(output_mask) != 3:
        raise ArgumentError("output_mask", output_mask, allowed)
    for_input, for_weight, for_bias = (flag("output_mask", wanted) for wanted in output_mask)
    return for_input, for_weight, for_bias


def _parameters_for(weight: A, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int) -> ConvParameters:
    _, weight = taken("weight", weight)
    weight_dims(weight.shape, 2)
    return _conv_parameters(weight.shape[2:], stride, padding, dilation, groups)


def _conv_parameters(
    kernel: Sequence[int], stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int
) -> ConvParameters:
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    R, S = kernel
    return ConvParameters(steps, sides(padding, (R, S), steps, spread), spread, integer("groups", groups, 1))
