"""Sliding windows as columns, and columns added back to images."""

from __future__ import annotations

from fastconv.arguments import IntOrPair, image_dims, pair
from fastconv.arrays import A, taken
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters


def unfold(
    input: A,
    kernel_size: IntOrPair,
    dilation: IntOrPair = 1,
    padding: IntOrPair = 0,
    stride: IntOrPair = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns the windows of an image as columns (im2col), as `torch.nn.functional.unfold`.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched; float32 or float64 (float16 too).
        kernel_size, dilation, stride: in pixels, one integer or (height, width).
        padding: zero pixels around the image, one integer or (height, width).
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, C * R * S, P * Q), or without N unbatched.

    Raises:
        RuntimeError: a shape or value that is not allowed.
        TypeError: an argument of the wrong type; integer and complex arrays.

    Reference: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing"
    (2006).
    """
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    if input.shape[-3] < 1:
        raise ArgumentError("input", f"shape {tuple(input.shape)}", "only N may be 0")
    kernel, how = _parameters(kernel_size, dilation, padding, stride)
    if input.ndim == 3:
        return ops.unfold(input[None], kernel, how, backend)[0]
    return ops.unfold(input, kernel, how, backend)


def fold(
    input: A,
    output_size: IntOrPair,
    kernel_size: IntOrPair,
    dilation: IntOrPair = 1,
    padding: IntOrPair = 0,
    stride: IntOrPair = 1,
    *,
    backend: str | None = None,
) -> A:
    """Returns images, to which columns are added up (col2im), as `torch.nn.functional.fold`: the transpose of `unfold`.

    Args:
        input: (N, C * R * S, P * Q), or without N unbatched.
        output_size: the images' (H, W), or one integer for both.
        kernel_size, dilation, padding, stride, backend: as in `unfold`.

    Returns:
        (N, C, H, W), or (C, H, W) unbatched.

    It raises what `unfold` raises.
    """
    ops, input = taken("input", input)
    if input.ndim not in (2, 3):
        allowed = "it must be (N, C * R * S, P * Q), or without N unbatched"
        raise ArgumentError("input", f"shape {tuple(input.shape)}", allowed)
    kernel, how = _parameters(kernel_size, dilation, padding, stride)
    size = pair("output_size", output_size, 1)
    if input.ndim == 2:
        return ops.fold(input[None], size, kernel, how, backend)[0]
    return ops.fold(input, size, kernel, how, backend)


def _parameters(
    kernel_size: IntOrPair, dilation: IntOrPair, padding: IntOrPair, stride: IntOrPair
) -> tuple[tuple[int, int], ConvParameters]:
    kernel = pair("kernel_size", kernel_size, 1)
    height, width = pair("padding", padding, 0)
    sides = (height, height, width, width)
    return kernel, ConvParameters(pair("stride", stride, 1), sides, pair("dilation", dilation, 1))
