"""Max pooling and its input gradient implement primitives of the contract (`fastconv.backends.base`).

    y[p, q]  =  max over r, s of x[p * DOWN - TOP + r * DY, q * RIGHT - LEFT + s * DX]

Pixels outside the image are minus infinity; of equal pixels the first in row-major order is taken, of NaN the last.
Kernels: `pool_down`, `pool_rolling`, `pool_wide`, `pool_planes`; `scatter`, with `place_pairs`. plan.py chooses between
them.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.pooling.plan import axes, forward, max_backward
from fastconv.backends.numba_cpu.pooling.windows.state import PLACES, VALUES
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import PoolGeometry


def max_pool2d(simd: Simd, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest pixel of each window, and its index in the plane."""
    g = geometry
    values, indices = buffers.empty(g.output_shape, x.dtype), buffers.empty(g.output_shape, np.int64)
    if g.N:
        forward(simd, g, PLACES).execute(np.ascontiguousarray(x), values, indices)
        if g.dilation != (1, 1):
            _clear(values, indices, g)
    return values, indices


def max_pool2d_values(simd: Simd, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
    """Return the values of `max_pool2d` alone, the same to the bit."""
    g = geometry
    values = buffers.empty(g.output_shape, x.dtype)
    if g.N:
        forward(simd, g, VALUES).execute(np.ascontiguousarray(x), values, None)
        if g.dilation != (1, 1):
            _clear(values, None, g)
    return values


def _clear(values: np.ndarray, indices: np.ndarray | None, g: PoolGeometry) -> None:
    """Fill the windows that touch no pixel, which dilation makes possible; kernels leave undefined results there."""
    rows, columns = axes(g)
    for at in (np.s_[:, :, rows.empty], np.s_[..., columns.empty]):
        values[at] = -np.inf
        if indices is not None:
            indices[at] = -1


def max_pool2d_backward(simd: Simd, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the input gradient (N, C, H, W): each number of ``grad`` is added at its index; -1 is left out."""
    N, C, P, Q = grad.shape
    x = buffers.empty((N, C, *size), grad.dtype)
    if N:
        grad, indices = np.ascontiguousarray(grad), np.ascontiguousarray(indices)
        max_backward(simd, N * C, size, (P, Q)).execute(x, grad, indices)
    return x
