"""Adaptive pooling and its input gradients implement primitives of the contract (`fastconv.backends.base`).

If windows are uniform it is plain pooling. Otherwise windows differ in size, and `pool_wide` goes through each of them
by itself; `spread_adaptive` computes the input gradient of averages.
"""

from __future__ import annotations

import numpy as np

from fastconv.adaptive_geometry import AdaptiveAxis, AdaptiveGeometry
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.pooling import average as average_pooling
from fastconv.backends.numba_cpu.pooling import max as max_pooling
from fastconv.backends.numba_cpu.pooling.backward.spread_adaptive import spread_adaptive
from fastconv.backends.numba_cpu.pooling.operation import PoolingOperation, parts
from fastconv.backends.numba_cpu.pooling.plan import OPERATIONS_BYTES, divisor_tables, table, wide_operation
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.simd import Simd


def max_pool2d(simd: Simd, x: np.ndarray, g: AdaptiveGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest pixel of each window, and its index in the plane."""
    if g.uniform is not None:
        return max_pooling.max_pool2d(simd, x, g.uniform)
    values, indices = buffers.empty(g.output_shape, x.dtype), buffers.empty(g.output_shape, np.int64)
    if g.N:
        _forward(simd, g, PLACES).execute(np.ascontiguousarray(x), values, indices)
    return values, indices


def max_pool2d_values(simd: Simd, x: np.ndarray, g: AdaptiveGeometry) -> np.ndarray:
    """Return the values of `max_pool2d` alone, the same to the bit."""
    if g.uniform is not None:
        return max_pooling.max_pool2d_values(simd, x, g.uniform)
    values = buffers.empty(g.output_shape, x.dtype)
    if g.N:
        # Only their places tell which of 0 and -0 in different lanes comes first.
        _forward(simd, g, PLACES).execute(np.ascontiguousarray(x), values, None)
    return values


def avg_pool2d(simd: Simd, x: np.ndarray, g: AdaptiveGeometry) -> np.ndarray:
    """Return the average of each window, (N, C, P, Q)."""
    if g.uniform is not None:
        return average_pooling.avg_pool2d(simd, x, g.uniform)
    y = buffers.empty(g.output_shape, x.dtype)
    if g.N:
        _forward(simd, g, AVERAGES).execute(np.ascontiguousarray(x), y, None)
    return y


def avg_pool2d_backward(simd: Simd, grad: np.ndarray, g: AdaptiveGeometry) -> np.ndarray:
    """Return the input gradient (N, C, H, W): each pixel gets its share of every window that it is in."""
    if g.uniform is not None:
        return average_pooling.avg_pool2d_backward(simd, grad, g.uniform)
    x = buffers.empty(g.input_shape, grad.dtype)
    if g.N:
        operation, divisors = _average_backward(simd, g)
        operation.execute(x, average_pooling.divided(grad, divisors), None)
    return x


def _spans(axis: AdaptiveAxis) -> np.ndarray:
    return table(axis.starts, axis.starts + axis.lengths)


def _reach(axis: AdaptiveAxis) -> np.ndarray:
    return table(axis.starts, axis.lengths)


def _arguments(simd: Simd, g: AdaptiveGeometry, rows: int, reach: np.ndarray, spans: np.ndarray) -> dict[str, int]:
    sizes = {"planes": g.N * g.C, "H": g.H, "W": g.W, "P": g.P, "Q": g.Q}
    tables = {"reach": reach.ctypes.data, "spans": spans.ctypes.data}
    return sizes | tables | parts(g.N * g.C, rows, g.bytes(simd.itemsize))


def _make_forward(simd: Simd, g: AdaptiveGeometry, kind: str) -> PoolingOperation:
    reach, spans = _reach(g.rows), _spans(g.columns)
    divisors, addresses = divisor_tables(simd, *g.divisor_axes)
    values = _arguments(simd, g, g.P, reach, spans) | {"divisors": addresses.ctypes.data}
    return wide_operation(simd, g, kind, g.rows.kernel, values, reach, spans, divisors, addresses)


def _make_average_backward(simd: Simd, g: AdaptiveGeometry) -> tuple[PoolingOperation, tuple[np.ndarray, np.ndarray]]:
    """Return the operation of the input gradient, and the divisors of ``grad`` along rows and columns of windows."""
    reach, spans = _reach(g.exchanged.rows), _spans(g.columns)
    operation = PoolingOperation(spread_adaptive, simd, _arguments(simd, g, g.H, reach, spans), reach, spans)
    down, across = g.divisor_axes
    return operation, (down.astype(simd.dtype), across.astype(simd.dtype))


_forward = Kept(_make_forward, lambda operation: operation.nbytes, OPERATIONS_BYTES)
_average_backward = Kept(
    _make_average_backward, lambda made: made[0].nbytes + sum(axis.nbytes for axis in made[1]), OPERATIONS_BYTES
)
