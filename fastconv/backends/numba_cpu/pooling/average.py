"""Average pooling and its input gradient implement two primitives of the contract (`fastconv.backends.base`).

    y[p, q]  =  (sum over r, s of x[p * DOWN - TOP + r, q * RIGHT - LEFT + s]) / divisors[p, q]

Pixels outside the image are 0. Each window is summed up by itself, so NaN and infinities stay in their windows.
Kernels: `pool_down`, `pool_rolling`, `pool_wide`, `pool_planes`; `spread_rows`, `spread_wide`, `spread_planes`. plan.py
chooses between them.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.pooling.plan import average_backward, forward
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.quiet import QUIET
from fastconv.geometry import PoolGeometry


def avg_pool2d(simd: Simd, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
    """Return the average of each window, (N, C, P, Q)."""
    y = buffers.empty(geometry.output_shape, x.dtype)
    if geometry.N:
        forward(simd, geometry, AVERAGES).execute(np.ascontiguousarray(x), y, None)
    return y


def avg_pool2d_backward(simd: Simd, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
    """Return the input gradient (N, C, H, W): each pixel gets its share of every window that it is in."""
    x = buffers.empty(geometry.input_shape, grad.dtype)
    if geometry.N:
        operation, divisors = average_backward(simd, geometry)
        shares = np.ascontiguousarray(grad) if divisors is None else divided(grad, divisors)
        operation.execute(x, shares, None)
    return x


@QUIET
def divided(grad: np.ndarray, divisors: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the gradient, C-contiguous, divided by the outer product of two vectors, for rows and columns."""
    return np.divide(grad, np.multiply.outer(*divisors), out=buffers.empty(grad.shape, grad.dtype))
