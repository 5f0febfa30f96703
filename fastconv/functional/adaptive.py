"""Adaptive pooling: the size of the result is given, the windows follow from it.

Where the result's size divides the image's, the windows are uniform and this is plain pooling. Elsewhere
they overlap and differ in length, so the pixels of each are listed one window after another (`AdaptiveAxis`), short
windows filled up, and plain pooling of that list does the rest: for a maximum the filler is the window's own last
pixel, which changes nothing; for an average it is zero.

One axis goes after the other, so that only the first list is as large as the image, or twice as large. Averages begin
with the rows, which are copied whole. Maxima begin with the columns: of equal pixels a window's first row has the
first, and of several NaN its last row the last, so what wins in its row and then among rows wins in row-major order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.arguments import adaptive_size, image_dims, truth
from fastconv.arrays import A, taken
from fastconv.errors import ArgumentError, ArgumentValueError
from fastconv.functional.lifting import lift_lines, lower_lines
from fastconv.functional.pooling import avg_pool2d, max_pool2d
from fastconv.geometry import AdaptiveAxis

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

    Raises:
        as `fastconv.max_pool2d`.
    """
    ops, input = taken("input", input)
    rows, columns = _axes(input, output_size)
    if rows.windows == 0 or columns.windows == 0:
        return _cut(avg_pool2d(_few(input, rows, columns), 1, backend=backend), rows, columns)
    if rows.divides and columns.divides:
        return avg_pool2d(input, (rows.kernel, columns.kernel), backend=backend)
    (sums,), dtype = ops.operands(input=input)
    if not rows.divides:
        sums = ops.take(sums, -2, rows.pixels, rows.fillers)
    sums = avg_pool2d(sums, (rows.kernel, 1), divisor_override=1, backend=backend)
    if not columns.divides:
        sums = ops.take(sums, -1, columns.pixels, columns.fillers)
    sums = avg_pool2d(sums, (1, columns.kernel), divisor_override=1, backend=backend)
    counts = ops.table((rows.lengths[:, None] * columns.lengths).astype(np.float64), sums)
    return ops.cast(sums / counts, dtype)


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

    Raises:
        as `fastconv.max_pool2d`.
    """
    ops, input = taken("input", input)
    return_indices = truth("return_indices", return_indices)
    rows, columns = _axes(input, output_size)
    if rows.windows == 0 or columns.windows == 0:
        values, indices = max_pool2d(_few(input, rows, columns), 1, return_indices=True, backend=backend)
        empty = _cut(values, rows, columns)
        return (empty, _cut(indices, rows, columns)) if return_indices else empty
    if rows.divides and columns.divides:
        return max_pool2d(input, (rows.kernel, columns.kernel), return_indices=return_indices, backend=backend)
    listed = input if columns.divides else ops.take(input, -1, columns.pixels)
    pooled = max_pool2d(listed, (1, columns.kernel), return_indices=return_indices, backend=backend)
    best, places = pooled if return_indices else (pooled, None)
    listed = best if rows.divides else ops.take(best, -2, rows.pixels)
    pooled = max_pool2d(listed, (rows.kernel, 1), return_indices=return_indices, backend=backend)
    if places is None:
        return pooled
    values, indices = pooled
    row, column = indices // columns.windows, places % (columns.windows * columns.kernel)
    if not rows.divides:
        row = ops.table(rows.pixels, indices)[row]
    if not columns.divides:
        column = ops.table(columns.pixels, indices)[column]
    # The column that won in the row that won.
    *planes, _, across = [ops.table(grid, indices) for grid in np.ix_(*map(np.arange, indices.shape))]
    return values, row * columns.size + column[(*planes, row, across)]


def adaptive_avg_pool1d(input: A, output_size: OutputSize, *, backend: str | None = None) -> A:
    """Returns the one-dimensional adaptive average pooling, as `torch.nn.functional.adaptive_avg_pool1d`.

    Args:
        input: (N, C, L), or (C, L) unbatched.
        output_size: the result's Q, an integer or a 1-sequence.
        backend: as in `adaptive_avg_pool2d`.

    Returns:
        (N, C, Q), or (C, Q) unbatched.

    Raises:
        as `adaptive_avg_pool2d`.
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

    Raises:
        as `adaptive_max_pool2d`.
    """
    _, input = taken("input", input)
    image_dims("input", input.shape, 1)
    (windows,) = adaptive_size(output_size, input.shape[-1:])
    pooled = adaptive_max_pool2d(lift_lines(input), (1, windows), return_indices, backend=backend)
    return tuple(lower_lines(part) for part in pooled) if return_indices else lower_lines(pooled)


def _axes(input: Any, output_size: OutputSize) -> tuple[AdaptiveAxis, AdaptiveAxis]:
    if isinstance(output_size, (tuple, list)) and input.ndim <= len(output_size):
        allowed = f"output_size {tuple(output_size)} needs {len(output_size) + 1} axes or more"
        raise ArgumentValueError("input", f"shape {tuple(input.shape)}", allowed)
    image_dims("input", input.shape, 2)
    sizes = input.shape[-2:]
    if min(sizes) < 1:
        raise ArgumentError("input", f"shape {tuple(input.shape)}", "only N may be 0")
    P, Q = adaptive_size(output_size, sizes)
    return AdaptiveAxis(sizes[0], P), AdaptiveAxis(sizes[1], Q)


def _few(input: Any, rows: AdaptiveAxis, columns: AdaptiveAxis) -> Any:
    """As many pixels as there are windows, one at least along each axis."""
    ops, _ = taken("input", input)
    wide = ops.take(input, -1, np.zeros(max(1, columns.windows), np.int64))
    return ops.take(wide, -2, np.zeros(max(1, rows.windows), np.int64))


def _cut(pooled: Any, rows: AdaptiveAxis, columns: AdaptiveAxis) -> Any:
    """The pooled image of one pixel at least, of the size that was asked for, which is 0."""
    return pooled[..., : rows.windows, : columns.windows]
