"""Which kernel does a pooling best, and the tables that it needs."""

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
from fastconv.backends.numba_cpu.pooling.launch import Job, arguments_of, parts
from fastconv.backends.numba_cpu.pooling.whole_planes import pool_planes, spread_planes
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, Windows
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import PoolGeometry

BLOCK_BYTES, ROLLING_BYTES = 4 << 10, 16 << 10
"""Read while a block of rows is gone through; more where each block begins with rows that the one before made too."""

AHEAD = 8 << 10
"""Bytes that the next block is asked for ahead of."""

CLOSE_BYTES = 1 << 20
"""Size limit of images and results that a core's own cache holds, in bytes: wide windows of those ask for nothing."""

SCATTER_AHEAD, CACHES = 2 << 10, 16 << 20
"""As many bytes of a gradient are asked for ahead where more than the second number is read and written: as much as
caches hold of it, at a guess."""


@dataclass(frozen=True)
class Axis:
    """Where the windows along one axis meet the image."""

    first: np.ndarray
    """The first pixel of each window that is in the image, or of the image where there is none."""
    count: np.ndarray
    """How many of the window's pixels are, or 1."""
    empty: np.ndarray
    """The windows that meet no pixel."""

    @classmethod
    def of(cls, windows: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        begin = np.arange(windows) * stride - padding
        before = np.maximum(0, -(begin // dilation))
        count = np.minimum(kernel, (size - 1 - begin) // dilation + 1) - before
        first = np.where(count > 0, begin + before * dilation, 0)
        return cls(first, np.maximum(count, 1), np.flatnonzero(count <= 0))


def axes(g: PoolGeometry) -> tuple[Axis, Axis]:
    """Of rows and columns."""
    return (
        Axis.of(g.P, g.H, g.R, g.stride[0], g.padding[0], g.dilation[0]),
        Axis.of(g.Q, g.W, g.S, g.stride[1], g.padding[1], g.dilation[1]),
    )


def _covers(g: PoolGeometry) -> bool:
    """Whether a plane has one window, all of it."""
    rows, columns = axes(g)
    return rows.count.tolist() == [g.H] and columns.count.tolist() == [g.W]


def _step(g: PoolGeometry) -> int:
    """Pixels from window to window in a row, if kernels are made for that which shuffle whole vectors; else 0."""
    return g.stride[1] if g.stride[1] <= 2 or (g.stride[1] <= 4 and g.S <= 4 and g.dilation[1] == 1) else 0


def _is_wide(g: PoolGeometry, lanes: int) -> bool:
    """Whether windows are better gone through one by one: counted in vectors, 12 for the merging of lanes."""
    if g.dilation != (1, 1):
        return False
    loads = _step(g) or lanes
    return g.Q * (g.R * -(-g.S // lanes) + 12) < -(-g.Q // lanes) * g.R * g.S * loads


def table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(windows, 2) int64: two numbers for each window along an axis."""
    return np.stack([first, second], 1).astype(np.int64)


def divisor_tables(simd: Simd, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of the divisors, the outer product of the two, and for each row of windows its row's address.

    Each has a vector of ones behind it, which masked-out lanes divide by.
    """
    distinct, which = np.unique(down, return_inverse=True)
    rows = np.ones((len(distinct), len(across) + simd.lanes), simd.dtype)
    rows[:, : len(across)] = np.multiply.outer(distinct, across)
    return rows, rows.ctypes.data + which.astype(np.int64) * rows.strides[0]


def wide_job(
    simd: Simd,
    g: PoolGeometry | AdaptiveGeometry,
    kind: str,
    rows: int,
    values: dict[str, int],
    *tables: np.ndarray,
) -> Job:
    """The job of `pool_wide`, whose tasks are runs of the windows of all planes; ``rows`` is the height of one."""
    lanes, windows = simd.lanes, g.N * g.C * g.P * g.Q
    task_windows = -(-windows // (values["tasks"] * lanes)) * lanes
    ahead = 0 if g.bytes(simd.itemsize) <= CLOSE_BYTES else min(AHEAD, rows * g.W * simd.itemsize)
    values = values | {"ahead": ahead, "task_windows": task_windows, "tasks": -(-windows // task_windows)}
    return Job.of(pool_wide, Windows(simd.instructions, simd.dtype, kind, 0, 0), values, *tables)


def _make_forward(simd: Simd, g: PoolGeometry, kind: str) -> Job:
    """As `forward`."""
    lanes, size = simd.lanes, simd.itemsize
    down, across = g.divisor_axes if kind == AVERAGES else (np.ones(g.P), np.ones(1))
    wide = _is_wide(g, lanes)
    if wide:
        # Which of two equal zeros in different lanes comes first can be told by their places alone.
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
        return Job.of(pool_planes, Windows(simd.instructions, simd.dtype, kind, 0, 0), values, *tables)
    if wide:
        return wide_job(simd, g, kind, g.R, values, *tables)
    step = _step(g)
    known = g.S if step and g.S <= 4 and g.dilation[1] == 1 else 0
    whole = known != 0 and not rolling and g.R <= 4 and g.padding[0] == 0 and bool((rows.count == g.R).all())
    if whole and g.P * g.stride[0] == g.H and kind != PLACES:
        # Windows go on from one plane to the next as they do from row to row.
        high = g.N * g.C
        values |= {"planes": 1, "H": high * g.H, "P": high * g.P, **parts(1, high * g.P, g.bytes(size))}
    windows = Windows(simd.instructions, simd.dtype, kind, known, step, g.R if whole else 0)
    return Job.of(pool_rolling if rolling else pool_down, windows, values, *tables)


def _make_average_backward(simd: Simd, g: PoolGeometry) -> tuple[Job, tuple[np.ndarray, np.ndarray] | None]:
    """As `average_backward`.

    Where windows overlap all is divided before, since a sum of undivided numbers may overflow.
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
        return Job.of(spread_planes, simd, values, reach, divisor), before
    if g.stride[1] > 2:
        return Job.of(spread_wide, simd, values, reach, divisor), before
    dense = same and g.padding[0] == 0 and g.H == g.P * g.R == g.P * g.stride[0] and g.R <= 3
    if dense:
        # Windows go on from one plane to the next as they do from row to row.
        high = g.N * g.C
        work = parts(1, high * g.P, g.bytes(simd.itemsize))
        values |= {"planes": 1, "H": high * g.H, "P": high * g.P, **work}
    known, rows_known = (g.S if g.S <= 3 else 0), (g.R if dense else 0)
    windows = Windows(simd.instructions, simd.dtype, AVERAGES, known, g.stride[1], rows_known)
    return Job.of(spread_rows, windows, values, reach, divisor), before


@lru_cache(maxsize=4096)
def max_backward(simd: Simd, planes: int, size: tuple[int, int], windows: tuple[int, int]) -> Job:
    """The job that scatters a gradient of (P, Q) windows into planes of (H, W)."""
    pixels, results = size[0] * size[1], windows[0] * windows[1]
    values = {"planes": planes, "H": size[0], "W": size[1], "P": windows[0], "Q": windows[1]}
    work = planes * (pixels * simd.itemsize + results * (8 + simd.itemsize))
    fits = work <= CACHES
    values |= {"ahead": 0 if fits else SCATTER_AHEAD, **parts(planes, 1, work)}
    pairs = fits and size == (2 * windows[0], 2 * windows[1])
    return Job.of(scatter, Windows(simd.instructions, simd.dtype, AVERAGES, 0, 2 if pairs else 1), values)


JOBS_BYTES = 32 << 20
"""Size limit of all jobs of each kind that are kept, in bytes; most take some kilobytes."""

_forward = Kept(_make_forward, lambda job: job.nbytes, JOBS_BYTES)
_average_backward = Kept(
    _make_average_backward,
    lambda made: made[0].nbytes + sum(axis.nbytes for axis in made[1] or ()),
    JOBS_BYTES,
)


def forward(simd: Simd, g: PoolGeometry, kind: str) -> Job:
    """The job that computes values, places or averages."""
    return _forward(simd, g, kind)


def average_backward(simd: Simd, g: PoolGeometry) -> tuple[Job, tuple[np.ndarray, np.ndarray] | None]:
    """The job that spreads a gradient, and what to divide the gradient by before: None if nothing.

    The divisors are the outer product of the two vectors, for rows and columns of windows.
    """
    return _average_backward(simd, g)
