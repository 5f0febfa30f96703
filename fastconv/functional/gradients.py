"""The adjoints of convolution and pooling, for those who write their own backward passes."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.arguments import (
    IntOrPair,
    Padding,
    image_dims,
    integer,
    make_conv_geometry,
    pair,
    same_shape,
    sides,
    size,
    weight_dims,
)
from fastconv.arrays import A, ops_of
from fastconv.errors import ArgumentError
from fastconv.functional.pooling import avg_parameters
from fastconv.geometry import ConvParameters


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
    """The gradient of `fastconv.conv2d` with respect to its input, as `torch.nn.grad.conv2d_input`.

    Args:
        input_size: the input's shape, (N, C, H, W).
        weight: (K, C / groups, R, S).
        grad_output: (N, K, P, Q), the gradient with respect to the result.
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.

    Returns:
        (N, C, H, W).

    Raises:
        as `fastconv.conv2d`.
    """
    ops = ops_of("grad_output", grad_output)
    how = _parameters_for(weight, stride, padding, dilation, groups)
    return ops.conv2d_input(size("input_size", input_size, 4), weight, grad_output, how, backend)


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
    """The gradient of `fastconv.conv2d` with respect to its weight, as `torch.nn.grad.conv2d_weight`.

    Args:
        input: (N, C, H, W).
        weight_size: the weight's shape, (K, C / groups, R, S).
        grad_output: (N, K, P, Q), the gradient with respect to the result.
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.

    Returns:
        (K, C / groups, R, S).

    Raises:
        as `fastconv.conv2d`.
    """
    ops = ops_of("input", input)
    ops_of("grad_output", grad_output)
    shape = size("weight_size", weight_size, 4)
    image_dims("input", input.shape, 2)
    how = _conv_parameters(shape[2:], stride, padding, dilation, groups)
    return ops.conv2d_weight(input, shape, grad_output, how, backend)


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
    """All gradients of `fastconv.conv2d`.

    Args:
        grad_output: (N, K, P, Q), the gradient with respect to the result.
        input: (N, C, H, W).
        weight: (K, C / groups, R, S).
        stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.
        output_mask: which of the three gradients are wanted.

    Returns:
        The gradients with respect to input, weight and bias; None for those not wanted.

    Raises:
        as `fastconv.conv2d`.
    """
    ops = ops_of("grad_output", grad_output)
    ops_of("input", input)
    image_dims("input", input.shape, 2)
    how = _parameters_for(weight, stride, padding, dilation, groups)
    result = make_conv_geometry(input.shape, weight.shape, None, how).output_shape
    same_shape("grad_output", grad_output.shape, result, "the convolution's result")
    if len(output_mask) != 3:
        raise ArgumentError("output_mask", output_mask, "it must have three elements: for input, weight and bias")
    for_input, for_weight, for_bias = output_mask
    return (
        ops.conv2d_input(tuple(input.shape), weight, grad_output, how, backend) if for_input else None,
        ops.conv2d_weight(input, tuple(weight.shape), grad_output, how, backend) if for_weight else None,
        ops.channel_sum(grad_output, weight.shape[0], backend) if for_bias else None,
    )


def max_pool2d_backward(grad_output: A, indices: A, input_size: Sequence[int], *, backend: str | None = None) -> A:
    """The gradient of `fastconv.max_pool2d`: each element added where its maximum was found.

    Args:
        grad_output: (N, C, P, Q), the gradient with respect to the result.
        indices: int64 of the same shape, as `max_pool2d` gives them; -1 is left out.
        input_size: the input's shape, (N, C, H, W).
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, C, H, W).

    Raises:
        RuntimeError: shapes that don't belong together, an index outside the plane.
        TypeError: an argument of the wrong type.
    """
    ops = ops_of("grad_output", grad_output)
    ops_of("indices", indices)
    shape = size("input_size", input_size, 4)
    same_shape("indices", indices.shape, grad_output.shape, "grad_output")
    same_shape("grad_output", grad_output.shape, (*shape[:2], *grad_output.shape[2:]), "a pooling of input_size")
    return ops.max_pool2d_backward(grad_output, indices, (shape[2], shape[3]), backend)


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
    """The gradient of `fastconv.avg_pool2d`.

    Args:
        grad_output: (N, C, P, Q), the gradient with respect to the result.
        input_size: the input's shape, (N, C, H, W).
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, backend: as in
            `fastconv.avg_pool2d`.

    Returns:
        (N, C, H, W).

    Raises:
        as `fastconv.max_pool2d`.
    """
    ops = ops_of("grad_output", grad_output)
    how = avg_parameters(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return ops.avg_pool2d_backward(grad_output, size("input_size", input_size, 4), how, backend)


def _parameters_for(weight: A, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int) -> ConvParameters:
    ops_of("weight", weight)
    weight_dims(weight.shape, 2)
    return _conv_parameters(weight.shape[2:], stride, padding, dilation, groups)


def _conv_parameters(
    kernel: Sequence[int], stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int
) -> ConvParameters:
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    R, S = kernel
    return ConvParameters(steps, sides(padding, (R, S), steps, spread), spread, integer("groups", groups, 1))
