"""Adaptive pooling: the size of the result is given, the windows follow from it (`fastconv.adaptive_geometry`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.arguments import adaptive_size, image_dims, truth
from fastconv.arrays import A, ArrayOps, taken
from fastconv.errors import ArgumentError, ArgumentValueError
from fastconv.functional.lifting import lift_lines, lower_lines
from fastconv.geometry import Pair

OutputSize = int | Sequence[int | None] | None


def adaptive_avg_pool2d(input: A, output_size: OutputSize, *, backend: str | None = None) -> A:
    """Returns the two-dimensional adaptive average pooling, as `torch.nn.functional.adaptive_avg_pool2d`.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched; float32 or float64 (float16 is computed in float32).
        output_size: the result's (P, Q), or one integer for both; None keeps the image's own size.
        backend: one of `fastconv.backends`; None for the current choice.

    Returns:
        (N, C, P, Q), or (C, P, Q) unbatched. Element (p, q) averages the pixels from row floor(p * H / P) up to row
        ceil((p + 1) * H / P), and likewise columns.

    It raises what `fastconv.max_pool2d` raises.
    """
    ops, input = taken("input", input)
    size = _size(input, output_size)
    images = input[None] if input.ndim == 3 else input
    pooled = _sized(ops, ops.adaptive_avg_pool2d(images, _some(size), backend), size)
    return pooled[0] if input.ndim == 3 else pooled


def adaptive_max_pool2d(
    input: A, output_size: OutputSize, return_indices: bool = False, *, backend: str | None = None
) -> Any:
    """Returns the two-dimensional adaptive max pooling, as `torch.nn.functional.adaptive_max_pool2d`.

    Args:
        input, output_size, backend: as in `adaptive_avg_pool2d`.
        return_indices: whether to give the indices too.

    Returns:
        (N, C, P, Q), or (C, P, Q) unbatched; with ``return_indices`` also where each element was found, int64,
        counted h * W + w in its plane.

    It raises what `fastconv.max_pool2d` raises.
    """
    ops, input = taken("input", input)
    size = _size(input, output_size)
    images = input[None] if input.ndim == 3 else input
    if not truth("return_indices", return_indices):
        values = _sized(ops, ops.adaptive_max_pool2d_values(images, _some(size), backend), size)
        return values[0] if input.ndim == 3 else values
    values, indices = [_sized(ops, part, size) for part in ops.adaptive_max_pool2d(images, _some(size), backend)]
    return (values[0], indices[0]) if input.ndim == 3 else (values, indices)


def adaptive_avg_pool1d(input: A, output_size: OutputSize, *, backend: str | None = None) -> A:
    """Returns the one-dimensional adaptive average pooling, as `torch.nn.functional.adaptive_avg_pool1d`.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        output_size: the result's Q, an integer or a 1-sequence.
        backend: as in `adaptive_avg_pool2d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched.

    It raises what `adaptive_avg_pool2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    (windows,) = adaptive_size(output_size, input.shape[-1:])
    return lower_lines(adaptive_avg_pool2d(lift_lines(input), (1, windows), backend=backend))


def adaptive_max_pool1d(
    input: A, output_size: OutputSize, return_indices: bool = False, *, backend: str | None = None
) -> Any:
    """Returns the one-dimensional adaptive max pooling, as `torch.nn.functional.adaptive_max_pool1d`.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        output_size: the result's Q, an integer or a 1-sequence.
        return_indices, backend: as in `adaptive_max_pool2d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched; with ``return_indices`` also the positions on the line, int64.

    It raises what `adaptive_max_pool2d` raises.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    (windows,) = adaptive_size(output_size, input.shape[-1:])
    pooled = adaptive_max_pool2d(lift_lines(input), (1, windows), return_indices, backend=backend)
    return tuple(lower_lines(part) for part in pooled) if return_indices else lower_lines(pooled)


def _size(input: Any, output_size: OutputSize) -> Pair:
    """The result's (P, Q)."""
    if isinstance(output_size, (tuple, list)) and input.ndim <= len(output_size):
        allowed = f"output_size {tuple(output_size)} needs {len(output_size) + 1} axes or more"
        raise ArgumentValueError("input", f"shape {tuple(input.shape)}", allowed)
    image_dims("input", input.shape, 2)
    sizes = input.shape[-2:]
    if min(sizes) < 1:
        raise ArgumentError("input", f"shape {tuple(input.shape)}", "only N may be 0")
    P, Q = adaptive_size(output_size, sizes)
    return P, Q


def _some(size: Pair) -> Pair:
    """The size to pool to: one pixel where the result has none."""
    return (1, 1) if 0 in size else size


def _sized(ops: ArrayOps, pooled: Any, size: Pair) -> Any:
    """The pooled image in the size that was asked for, which may be of no pixels."""
    if 0 not in size:
        return pooled
    P, Q = size
    # Older versions of torch, such as 2.9, can't pad an image of no pixels: it is cut afterwards.
    return ops.pad(pooled, max(P, 1) - 1, max(Q, 1) - 1)[..., :P, :Q]
