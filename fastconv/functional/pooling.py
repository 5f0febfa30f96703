"""Max and average pooling in one and two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import known
from fastconv.arguments import IntOrPair, divisor, flag, image_dims, pair, truth
from fastconv.arrays import A, taken
from fastconv.functional.lifting import lift_line, lift_lines, lower_lines
from fastconv.geometry import Pair, PoolParameters
from fastconv.remembering import remember_avg_pool2d, remember_max_pool2d


def max_pool2d(
    input: A,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Returns the two-dimensional max pooling, as `torch.nn.functional.max_pool2d`.

    The first of equal elements in a window is taken, in row-major order, and the last of several NaN. Padding is minus
    infinity, or the smallest integer of the data type. A window of nothing but padding, which dilation makes possible,
    has the index -1.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched; float32 or float64 (float16 is computed in float32), or integers:
            uint8, int8, int16, int32 or int64.
        kernel_size: pixels of a window, one integer or (height, width).
        stride: pixels between windows; None, () and [] mean ``kernel_size``.
        padding: pixels around the image, at most half the kernel.
        dilation: pixels between a window's elements.
        ceil_mode: whether a last window that overhangs the padded image counts; one that would start beyond the
            image and its left padding never does.
        return_indices: whether to give the indices too.
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, C, P, Q), or (C, P, Q) unbatched; with ``return_indices`` also where each element was found, int64,
        counted h * W + w in its plane.

    Raises:
        RuntimeError: a shape or value that is not allowed.
        TypeError: an argument of the wrong type; arrays of another data type.
        UnsupportedError: the backend can't do this problem.
    """
    arguments = input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, backend
    found: Any = NotImplemented
    if type(input) is np.ndarray:
        found = known.max_pool2d(*arguments)
    elif known.tensors is not None and type(input) is known.tensors.kind:
        found = known.tensors.max_pool2d(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    kernel = pair("kernel_size", kernel_size, 1)
    how = PoolParameters(
        kernel,
        _steps(stride, kernel),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
        flag("ceil_mode", ceil_mode),
    )
    images = input[None] if input.ndim == 3 else input
    indexed = truth("return_indices", return_indices)
    result = (ops.max_pool2d if indexed else ops.max_pool2d_values)(images, how, backend)
    if found is None:
        remember_max_pool2d(arguments, how)
    if input.ndim == 4:
        return result
    return (result[0][0], result[1][0]) if indexed else result[0]


def max_pool1d(
    input: A,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Returns the one-dimensional max pooling, as `torch.nn.functional.max_pool1d`: `max_pool2d` on images of height 1.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        kernel_size, stride, padding, dilation: in pixels, an integer or a 1-sequence.
        ceil_mode, return_indices, backend: as in `max_pool2d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched; with ``return_indices`` also the positions on the line, int64.

    It raises what `max_pool2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    pooled = max_pool2d(
        lift_lines(input),
        lift_line("kernel_size", kernel_size, 1, 1),
        _line_steps(stride),
        lift_line("padding", padding, 0, 0),
        lift_line("dilation", dilation, 1, 1),
        ceil_mode,
        return_indices,
        backend=backend,
    )
    return tuple(lower_lines(part) for part in pooled) if return_indices else lower_lines(pooled)


def avg_pool2d(
    input: A,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    backend: str | None = None,
) -> A:
    """Returns the two-dimensional average pooling, as `torch.nn.functional.avg_pool2d`.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched; float32 or float64 (float16 is computed in float32).
        kernel_size: pixels of a window, one integer or (height, width).
        stride: pixels between windows; None, () and [] mean ``kernel_size``.
        padding: zero pixels around the image, at most half the kernel.
        ceil_mode: as in `max_pool2d`.
        count_include_pad: whether the divisor counts padding; it never counts what ``ceil_mode`` overhangs beyond.
        divisor_override: divide by this instead, any integer but 0.
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, C, P, Q), or (C, P, Q) unbatched.

    It raises what `max_pool2d` raises.
    """
    arguments = input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, backend
    found: Any = NotImplemented
    if type(input) is np.ndarray:
        found = known.avg_pool2d(*arguments)
    elif known.tensors is not None and type(input) is known.tensors.kind:
        found = known.tensors.avg_pool2d(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    how = avg_parameters(kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    averages = ops.avg_pool2d(input[None] if input.ndim == 3 else input, how, backend)
    if found is None:
        remember_avg_pool2d(arguments, how)
    return averages[0] if input.ndim == 3 else averages


def avg_pool1d(
    input: A,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    backend: str | None = None,
) -> A:
    """Returns the one-dimensional average pooling, as `torch.nn.functional.avg_pool1d`: `avg_pool2d` on images of
    height 1.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        kernel_size, stride, padding: in pixels, an integer or a 1-sequence.
        ceil_mode, count_include_pad, backend: as in `avg_pool2d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched.

    It raises what `max_pool2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    pooled = avg_pool2d(
        lift_lines(input),
        lift_line("kernel_size", kernel_size, 1, 1),
        _line_steps(stride),
        lift_line("padding", padding, 0, 0),
        ceil_mode,
        count_include_pad,
        backend=backend,
    )
    return lower_lines(pooled)


def avg_parameters(
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> PoolParameters:
    """Returns the normalised parameters of an average pooling, for it and its gradient."""
    kernel = pair("kernel_size", kernel_size, 1)
    return PoolParameters(
        kernel,
        _steps(stride, kernel),
        pair("padding", padding, 0),
        (1, 1),
        flag("ceil_mode", ceil_mode),
        flag("count_include_pad", count_include_pad),
        divisor(divisor_override),
    )


def _steps(stride: IntOrPair | None, kernel: Pair) -> Pair:
    """Returns the stride; None, () and [] mean the kernel."""
    return kernel if _is_default(stride) else pair("stride", stride, 1)  # type: ignore[arg-type]


def _line_steps(stride: IntOrPair | None) -> Pair | None:
    return None if _is_default(stride) else lift_line("stride", stride, 1, 1)  # type: ignore[arg-type]


def _is_default(stride: IntOrPair | None) -> bool:
    return stride is None or (isinstance(stride, (tuple, list)) and not stride)
