"""Max pooling of integers follows the definition: one thread, one pixel at a time.

    y[p, q]  =  max over r, s of x[p * DOWN - TOP + r * DY, q * RIGHT - LEFT + s * DX]

The vector kernels are for floats, and a float can't hold every int64.
Layouts: x (planes, H, W), y and indices (planes, P, Q).
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.base import lowest
from fastconv.backends.compiler.arrays import jit
from fastconv.geometry import PoolGeometry


@jit
def _pool(x, y, indices, worst, kernel, stride, padding, dilation):
    """Write the first of the largest pixels of each window and its index; ``worst`` and -1 if there is no pixel."""
    planes, P, Q = y.shape
    _, H, W = x.shape
    for plane in range(planes):
        for p in range(P):
            for q in range(Q):
                best, at = worst, -1
                for r in range(kernel[0]):
                    i = p * stride[0] - padding[0] + r * dilation[0]
                    if 0 <= i < H:
                        for s in range(kernel[1]):
                            j = q * stride[1] - padding[1] + s * dilation[1]
                            if 0 <= j < W and (at < 0 or x[plane, i, j] > best):
                                best, at = x[plane, i, j], i * W + j
                y[plane, p, q] = best
                indices[plane, p, q] = at


def max_pool2d(x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest pixel of each window, and its index in the plane."""
    g = geometry
    values, indices = np.empty(g.output_shape, x.dtype), np.empty(g.output_shape, np.int64)
    planes = np.require(x, requirements=("C", "W")).reshape(g.N * g.C, g.H, g.W)
    results = (g.N * g.C, g.P, g.Q)
    worst = x.dtype.type(lowest(x.dtype))
    _pool(planes, values.reshape(results), indices.reshape(results), worst, (g.R, g.S), g.stride, g.padding, g.dilation)
    return values, indices
