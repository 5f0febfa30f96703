"""A backend without kernels for adaptive pooling does it by plain pooling, for NumPy arrays and torch tensors.

Where the windows are uniform this is plain pooling. Elsewhere the pixels of each window are listed, one window after
another (`fastconv.adaptive_geometry.AdaptiveAxis`), short windows filled up, and plain pooling of that list does the
rest: for a maximum the filler is the window's own last pixel, which changes nothing; for a sum it is zero.

One axis goes after the other, so that only the first list is as large as the image, or twice as large. Sums begin
with the rows, which are copied whole. Maxima begin with the columns: of equal pixels a window's first row has the
first, and of several NaN its last row the last, so what wins in its row and then among rows wins in row-major order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.adaptive_geometry import AdaptiveAxis, AdaptiveGeometry
from fastconv.backends.quiet import QUIET
from fastconv.geometry import Pair, PoolGeometry


def max_pool(backend: Any, x: Any, g: AdaptiveGeometry) -> tuple[Any, Any]:
    """Return the largest pixel of each window, and its index in the plane."""
    if g.uniform is not None:
        return backend.max_pool2d(x, g.uniform)
    rows, columns = g.rows, g.columns
    best, places = backend.max_pool2d(_listed(x, 3, columns), _by_windows(g, (g.H, columns), 1))
    values, indices = backend.max_pool2d(_listed(best, 2, rows), _by_windows(g, (rows, g.Q), 0))
    row = _table(rows.pixels, x)[indices // g.Q]
    column = _table(columns.pixels, x)[places % (g.Q * columns.kernel)]
    # The column that won in the row that won.
    won = np.take_along_axis(column, row, 2) if isinstance(column, np.ndarray) else column.gather(2, row)
    return values, row * g.W + won


@QUIET
def avg_pool(backend: Any, x: Any, g: AdaptiveGeometry) -> Any:
    """Return the average of each window."""
    if g.uniform is not None:
        return backend.avg_pool2d(x, g.uniform)
    return _rounded(_sums(backend, x, g) / _counts(g, x), x)


@QUIET
def avg_pool_backward(backend: Any, grad: Any, g: AdaptiveGeometry) -> Any:
    """Return the input gradient of `avg_pool`: each pixel gets the sum of its windows' shares."""
    if g.uniform is not None:
        return backend.avg_pool2d_backward(grad, g.uniform)
    return _rounded(_sums(backend, _single(grad) / _counts(g, grad), g.exchanged), grad)


def _sums(backend: Any, x: Any, g: AdaptiveGeometry) -> Any:
    rows, columns = g.rows, g.columns
    lines = _listed(_single(x), 2, rows, blank=True)
    sums = backend.avg_pool2d(lines, _by_windows(g, (rows, g.W), 0))
    return backend.avg_pool2d(_listed(sums, 3, columns, blank=True), _by_windows(g, (g.P, columns), 1))


def _by_windows(g: AdaptiveGeometry, sizes: tuple[Any, Any], axis: int) -> PoolGeometry:
    """Return the plain pooling along one axis, whose pixels are listed; the other axis has its size in ``sizes``."""
    listed: AdaptiveAxis = sizes[axis]
    H, W = (listed.windows * listed.kernel if each is listed else each for each in sizes)
    kernel: Pair = (listed.kernel, 1) if axis == 0 else (1, listed.kernel)
    return PoolGeometry(g.N, g.C, H, W, *kernel, kernel, divisor_override=1)


def _listed(x: Any, at: int, axis: AdaptiveAxis, blank: bool = False) -> Any:
    """Return the pixels of all windows along axis ``at`` of x; with ``blank`` the fillers are zeros."""
    pixels = _table(axis.pixels, x)
    taken = np.take(x, pixels, at) if isinstance(x, np.ndarray) else x.index_select(at, pixels)
    if blank:
        ends = taken[:, :, axis.kernel - 1 :: axis.kernel] if at == 2 else taken[..., axis.kernel - 1 :: axis.kernel]
        there = _table(axis.fillers, x)
        ends[(slice(None),) * at + (there,)] = 0
    return taken


def _counts(g: AdaptiveGeometry, like: Any) -> Any:
    """Return the number of pixels in each window, (P, Q), by which sums are divided."""
    counts = np.multiply.outer(*g.divisor_axes)
    return counts.astype(like.dtype) if isinstance(like, np.ndarray) else _table(counts, like).to(_single(like).dtype)


def _table(entries: np.ndarray, like: Any) -> Any:
    """Return a NumPy array as an array of the kind and on the device of ``like``."""
    if isinstance(like, np.ndarray):
        return entries
    import torch

    return torch.from_numpy(entries).to(like.device)


def _single(x: Any) -> Any:
    """Return x, in float32 if it is a tensor of 16-bit floats, so that only the result is rounded."""
    return x.float() if not isinstance(x, np.ndarray) and x.itemsize == 2 else x


def _rounded(result: Any, like: Any) -> Any:
    return result if isinstance(result, np.ndarray) else result.to(like.dtype)
