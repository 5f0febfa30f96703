"""This file chooses the kernel for a pooling, and makes the tables that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.pooling.backward.scatter import scatter
from fastconv.backends.numba_cpu.pooling.backward.spread_rows import spread_rows
from fastconv.backends.numba_cpu.pooling.backward.spread_wide import spread_wide
from fastconv.backends.numba_cpu.pooling.forward.rows import pool_down, pool_rolling
from fastconv.backends.numba_cpu.pooling.forward.wide import pool_wide
from fastconv.backends.numba_cpu.pooling.operation import PoolingOperation, arguments_of, parts
from fastconv.backends.numba_cpu.pooling.whole_planes import pool_planes, spread_planes
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, Windows
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import PoolGeometry

BLOCK_BYTES, ROLLING_BYTES = 4 << 10, 16 << 10
"""Sizes of the input of a block of rows, in bytes. The second is for `pool_rolling`, where each block begins with rows
that the block before computed too."""

AHEAD = 8 << 10
"""Distance of a wide pooling's prefetches at most, in bytes."""

CLOSE_BYTES = 1 << 20
"""Size limit of images and results that a core's own cache holds, in bytes: up to it wide windows prefetch nothing."""

SCATTER_AHEAD, CACHES = 2 << 10, 16 << 20
"""Distance of prefetches in a gradient, in bytes, and the size of data read and written, in bytes, beyond which there
are prefetches. The second is a guess of what the caches hold."""


@dataclass(frozen=True)
class Axis:
    """An axis says where the windows along it meet the image."""

    first: np.ndarray
    """The first pixel of each window in the image, or 0 for a window that meets no pixel."""
    count: np.ndarray
    """Number of each window's pixels in the image, or 1 for a window that meets no pixel."""
    empty: np.ndarray
    """Indices of the windows that meet no pixel."""

    @classmethod
    def of(cls, windows: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        begin = np.arange(windows) * stride - padding
        before = np.maximum(0, -(begin // dilation))
        count = np.minimum(kernel, (size - 1 - begin) // dilation + 1) - before
        first = np.where(count > 0, begin + before * dilation, 0)
        return cls(first, np.maximum(count, 1), np.flatnonzero(count <= 0))


def axes(g: PoolGeometry) -> tuple[Axis, Axis]:
    """Return the axis of rows and that of columns."""
    return (
        Axis.of(g.P, g.H, g.R, g.stride[0], g.padding[0], g.dilation[0]),
        Axis.of(g.Q, g.W, g.S, g.stride[1], g.padding[1], g.dilation[1]),
    )


def _covers(g: PoolGeometry) -> bool:
    """Return True if a plane has a single window that covers it all."""
    rows, columns = axes(g)
    return rows.count.tolist() == [g.H] and columns.count.tolist() == [g.W]


def _step(g: PoolGeometry) -> int:
    """Return the columns from window to window, if there is a kernel for it that shuffles whole vectors; else 0."""
    return g.stride[1] if g.stride[1] <= 2 or (g.stride[1] <= 4 and g.S <= 4 and g.dilation[1] == 1) else 0


def _is_wide(g: PoolGeometry, lanes: int) -> bool:
    """Return True if it takes fewer vector operations to go through windows one by one; to merge lanes counts as 12."""
    if g.dilation != (1, 1):
        return False
    loads = _step(g) or lanes
    return g.Q * (g.R * -(-g.S // lanes) + 12) < -(-g.Q // lanes) * g.R * g.S * loads


def table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a table (windows, 2) of int64: two numbers for each window along an axis."""
    return np.stack([first, second], 1).astype(np.int64)


def divisor_tables(simd: Simd, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of the divisors, and the address of each row of windows' divisors among them.

    The divisors are the outer product of ``down`` and ``across``. Each row ends with a vector of ones, by which
    masked-out lanes divide.
    """
    distinct, which = np.unique(down, return_inverse=True)
    rows = np.ones((len(distinct), len(across) + simd.lanes), simd.dtype)
    rows[:, : len(across)] = np.multiply.outer(distinct, across)
    return rows, rows.ctypes.data + which.astype(np.int64) * rows.strides[0]


def wide_operation(
    simd: Simd,
    g: PoolGeometry | AdaptiveGeometry,
    kind: str,
    rows: int,
    values: dict[str, int],
    *tables: np.ndarray,
) -> PoolingOperation:
    """Return the operation of `pool_wide`: tasks are runs of windows of all planes, ``rows`` is a window's height."""
    lanes, windows = simd.lanes, g.N * g.C * g.P * g.Q
    task_windows = -(-windows // (values["tasks"] * lanes)) * lanes
    ahead = 0 if g.bytes(simd.itemsize) <= CLOSE_BYTES else min(AHEAD, rows * g.W * simd.itemsize)
    values = values | {"ahead": ahead, "task_windows": task_windows, "tasks": -(-windows // task_windows)}
    return PoolingOperation(pool_wide, Windows(simd.instructions, simd.dtype, kind, 0, 0), values, *tables)


def _make_forward(simd: Simd, g: PoolGeometry, kind: str) -> PoolingOperation:
    """Make what `forward` returns."""
    lanes, size = simd.lanes, simd.itemsize
    down, across = g.divisor_axes if kind == AVERAGES else (np.ones(g.P), np.ones(1))
    wide = _is_wide(g, lanes)
    if wide:
        # Only their places tell which of 0 and -0 in different lanes comes first.
        kind = kind if kind == AVERAGES else PLACES
    rolling = (g.R, g.S, g.dilation) == (3, 3, (1, 1)) and g.stride in ((1, 1), (2, 2))
    rows, columns = axes(g)
    starts = np.zeros(g.Q + lanes, f"int{8 * size}")
    starts[: g.Q] = columns.first
    reach, spans = table(rows.first, rows.count), table(columns.first, columns.first + columns.count)
    divisor_rows, divisor_addresses = divisor_tables(simd, down, across)
    values = arguments_of(g) | {
        "starts": starts.ctypes.data,
        "reach": reach.ctypes.data,
        "spans": spans.ctypes.data,
        "divisors": divisor_addresses.ctypes.data,
        "block_rows": max(1, (ROLLING_BYTES if rolling else BLOCK_BYTES) // (g.stride[0] * g.W * size)),
        "ahead": AHEAD,
        **parts(g.N * g.C, g.P, g.bytes(size)),
    }
    tables = (starts, reach, spans, divisor_rows, divisor_addresses)
    if wide and _covers(g):
        values |= {"W": g.H * g.W, **parts(g.N * g.C, 1, g.bytes(size))}
        return PoolingOperation(pool_planes, Windows(simd.instructions, simd.dtype, kind, 0, 0), values, *tables)
    if wide:
        return wide_operation(simd, g, kind, g.R, values, *tables)
    step = _step(g)
    known = g.S if step and g.S <= 4 and g.dilation[1] == 1 else 0
    whole = known != 0 and not rolling and g.R <= 4 and g.padding[0] == 0 and bool((rows.count == g.R).all())
    if whole and g.P * g.stride[0] == g.H and kind != PLACES:
        # Windows go on from one plane to the next as they do from row to row.
        high = g.N * g.C
        values |= {"planes": 1, "H": high * g.H, "P": high * g.P, **parts(1, high * g.P, g.bytes(size))}
    windows = Windows(simd.instructions, simd.dtype, kind, known, step, g.R if whole else 0)
    return PoolingOperation(pool_rolling if rolling else pool_down, windows, values, *tables)


def _make_average_backward(
    simd: Simd, g: PoolGeometry
) -> tuple[PoolingOperation, tuple[np.ndarray, np.ndarray] | None]:
    """Make what `average_backward` returns.

    If windows overlap, the whole gradient is divided first, since a sum of undivided numbers may overflow.
    """
    down, across = g.divisor_axes
    disjoint = g.stride[0] >= g.R and g.stride[1] >= g.S
    same = (disjoint or g.P * g.Q == 1) and bool((down == down[0]).all() and (across == across[0]).all())
    rows = np.arange(g.H)
    first = np.maximum(0, -((g.R - 1 - rows - g.padding[0]) // g.stride[0]))
    last = np.minimum(g.P - 1, (rows + g.padding[0]) // g.stride[0])
    reach = np.stack([np.minimum(first, g.P - 1), np.maximum(0, last - first + 1)], 1).astype(np.int64)
    divisor = np.array([down[0] * across[0] if same else 1], simd.dtype)
    values = arguments_of(g) | {
        "reach": reach.ctypes.data,
        "divisors": divisor.ctypes.data,
        **parts(g.N * g.C, g.H, g.bytes(simd.itemsize)),
    }
    before = None if same else (down.astype(simd.dtype), across.astype(simd.dtype))
    if _covers(g):
        values |= {"W": g.H * g.W, **parts(g.N * g.C, 1, g.bytes(simd.itemsize))}
        return PoolingOperation(spread_planes, simd, values, reach, divisor), before
    if g.stride[1] > 2:
        return PoolingOperation(spread_wide, simd, values, reach, divisor), before
    dense = same and g.padding[0] == 0 and g.H == g.P * g.R == g.P * g.stride[0] and g.R <= 3
    if dense:
        # Windows go on from one plane to the next as they do from row to row.
        high = g.N * g.C
        work = parts(1, high * g.P, g.bytes(simd.itemsize))
        values |= {"planes": 1, "H": high * g.H, "P": high * g.P, **work}
    known, rows_known = (g.S if g.S <= 3 else 0), (g.R if dense else 0)
    windows = Windows(simd.instructions, simd.dtype, AVERAGES, known, g.stride[1], rows_known)
    return PoolingOperation(spread_rows, windows, values, reach, divisor), before


@lru_cache(maxsize=4096)
def max_backward(simd: Simd, planes: int, size: tuple[int, int], windows: tuple[int, int]) -> PoolingOperation:
    """Return the operation that scatters a gradient of (P, Q) windows into planes of (H, W)."""
    pixels, results = size[0] * size[1], windows[0] * windows[1]
    values = {"planes": planes, "H": size[0], "W": size[1], "P": windows[0], "Q": windows[1]}
    work = planes * (pixels * simd.itemsize + results * (8 + simd.itemsize))
    fits = work <= CACHES
    values |= {"ahead": 0 if fits else SCATTER_AHEAD, **parts(planes, 1, work)}
    pairs = fits and size == (2 * windows[0], 2 * windows[1])
    return PoolingOperation(scatter, Windows(simd.instructions, simd.dtype, AVERAGES, 0, 2 if pairs else 1), values)


OPERATIONS_BYTES = 32 << 20
"""Size limit of the kept operations of each kind, in bytes; most take some kilobytes."""

_forward = Kept(_make_forward, lambda operation: operation.nbytes, OPERATIONS_BYTES)
_average_backward = Kept(
    _make_average_backward,
    lambda made: made[0].nbytes + sum(axis.nbytes for axis in made[1] or ()),
    OPERATIONS_BYTES,
)


def forward(simd: Simd, g: PoolGeometry, kind: str) -> PoolingOperation:
    """Return the operation that computes values, places or averages, as ``kind`` says."""
    return _forward(simd, g, kind)


def average_backward(simd: Simd, g: PoolGeometry) -> tuple[PoolingOperation, tuple[np.ndarray, np.ndarray] | None]:
    """Return the operation of the input gradient, and the divisors of the gradient, or None if it divides by itself.

    The divisors are the outer product of the two vectors, for rows and columns of windows.
    """
    return _average_backward(simd, g)
