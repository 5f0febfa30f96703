"""The definition, as loops: what a convolution and a pooling are, one output element after another.

Read this first. The loops are compiled by Numba, since interpreted they would run some hundred times slower, but
nothing else is done to them: no blocking, no vectors, no threads. Sums run in float64, so this is the backend to
check the others against.

Layouts: x (N, C, H, W), w (K, D, R, S) with D = C / G channels a group, y (N, K, P, Q), all C-contiguous.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastconv.backends.base import Backend, lowest
from fastconv.backends.compiler import arrays
from fastconv.backends.compiler.arrays import jit
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, PoolGeometry


@jit
def conv2d(x, w, b, y, stride, padding, dilation, groups):
    """Writes y[n, k, p, q] = b[k] + the sum of w[k, d, r, s] * x[n, c, h, w], x being 0 outside the image."""
    N, K, P, Q = y.shape
    _, D, R, S = w.shape
    _, _, H, W = x.shape
    for n in range(N):
        for k in range(K):
            first = k // (K // groups) * D  # the first channel of k's group
            for p in range(P):
                for q in range(Q):
                    total = np.float64(b[k])
                    for d in range(D):
                        for r in range(R):
                            for s in range(S):
                                i = p * stride[0] - padding[0] + r * dilation[0]
                                j = q * stride[1] - padding[2] + s * dilation[1]
                                pixel = 0.0
                                if 0 <= i < H and 0 <= j < W:
                                    pixel = x[n, first + d, i, j]
                                total += pixel * w[k, d, r, s]
                    y[n, k, p, q] = total


@jit
def conv2d_input(grad, w, x, stride, padding, dilation, groups):
    """Adds to each x[n, c, i, j] (float64, zeros at first) w * grad of every output that it took part in."""
    N, K, P, Q = grad.shape
    _, D, R, S = w.shape
    _, _, H, W = x.shape
    for n in range(N):
        for k in range(K):
            first = k // (K // groups) * D
            for p in range(P):
                for q in range(Q):
                    for d in range(D):
                        for r in range(R):
                            for s in range(S):
                                i = p * stride[0] - padding[0] + r * dilation[0]
                                j = q * stride[1] - padding[2] + s * dilation[1]
                                if 0 <= i < H and 0 <= j < W:
                                    x[n, first + d, i, j] += np.float64(grad[n, k, p, q]) * w[k, d, r, s]


@jit
def conv2d_weight(x, grad, w, stride, padding, dilation, groups):
    """Writes w[k, d, r, s] = the sum over images and output pixels of the pixel under (r, s) times grad."""
    N, K, P, Q = grad.shape
    _, D, R, S = w.shape
    _, _, H, W = x.shape
    for k in range(K):
        first = k // (K // groups) * D
        for d in range(D):
            for r in range(R):
                for s in range(S):
                    total = 0.0
                    for n in range(N):
                        for p in range(P):
                            for q in range(Q):
                                i = p * stride[0] - padding[0] + r * dilation[0]
                                j = q * stride[1] - padding[2] + s * dilation[1]
                                pixel = 0.0
                                if 0 <= i < H and 0 <= j < W:
                                    pixel = x[n, first + d, i, j]
                                total += pixel * grad[n, k, p, q]
                    w[k, d, r, s] = total


@jit
def max_pool2d(x, y, indices, lowest, kernel, stride, padding, dilation):
    """Writes each window's largest pixel: the first of equal ones, the last NaN; lowest and -1 if it has no pixel."""
    N, C, P, Q = y.shape
    _, _, H, W = x.shape
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    best = lowest
                    at = -1
                    for r in range(kernel[0]):
                        for s in range(kernel[1]):
                            i = p * stride[0] - padding[0] + r * dilation[0]
                            j = q * stride[1] - padding[1] + s * dilation[1]
                            if 0 <= i < H and 0 <= j < W:
                                pixel = x[n, c, i, j]
                                if at < 0 or pixel > best or pixel != pixel:  # noqa: PLR0124, only NaN is not itself
                                    best = pixel
                                    at = i * W + j
                    y[n, c, p, q] = best
                    indices[n, c, p, q] = at


@jit
def max_pool2d_backward(grad, indices, x):
    """Adds each element of grad to x (float64, zeros at first) at its index in the plane."""
    N, C, P, Q = grad.shape
    W = x.shape[3]
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    at = indices[n, c, p, q]
                    if at >= 0:
                        x[n, c, at // W, at % W] += grad[n, c, p, q]


@jit
def avg_pool2d(x, divisors, y, kernel, stride, padding):
    """Writes the sum over each window's pixels divided by its divisor."""
    N, C, P, Q = y.shape
    _, _, H, W = x.shape
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    total = 0.0
                    for r in range(kernel[0]):
                        for s in range(kernel[1]):
                            i = p * stride[0] - padding[0] + r
                            j = q * stride[1] - padding[1] + s
                            if 0 <= i < H and 0 <= j < W:
                                total += x[n, c, i, j]
                    y[n, c, p, q] = total / divisors[p, q]


@jit
def avg_pool2d_backward(grad, divisors, x, kernel, stride, padding):
    """Adds to each pixel of a window, in x (float64, zeros at first), an equal share of its gradient."""
    N, C, P, Q = grad.shape
    _, _, H, W = x.shape
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    share = grad[n, c, p, q] / divisors[p, q]
                    for r in range(kernel[0]):
                        for s in range(kernel[1]):
                            i = p * stride[0] - padding[0] + r
                            j = q * stride[1] - padding[1] + s
                            if 0 <= i < H and 0 <= j < W:
                                x[n, c, i, j] += share


def _plain(array: np.ndarray) -> np.ndarray:
    """Returns the array C-contiguous and writable, so that the loops are compiled once for each data type."""
    return np.require(array, requirements=("C", "W"))


class Naive(Backend):
    """The loops above behind the contract."""

    name = "naive"
    summary: ClassVar[str] = "the definition as loops, summed in float64 (Numba, one thread)"

    def unavailable(self) -> str | None:
        return arrays.unavailable()

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        bias = np.zeros(g.K, x.dtype) if b is None else b
        y = np.empty(g.output_shape, x.dtype)
        conv2d(_plain(x), _plain(w), _plain(bias), y, g.stride, g.padding, g.dilation, g.groups)
        return y

    @QUIET
    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        x = np.zeros(g.input_shape)
        conv2d_input(_plain(grad), _plain(w), x, g.stride, g.padding, g.dilation, g.groups)
        return x.astype(grad.dtype, copy=False)

    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        w = np.empty(g.weight_shape, x.dtype)
        conv2d_weight(_plain(x), _plain(grad), w, g.stride, g.padding, g.dilation, g.groups)
        return w

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        g = geometry
        y, indices = np.empty(g.output_shape, x.dtype), np.empty(g.output_shape, np.int64)
        worst = x.dtype.type(lowest(x.dtype))
        max_pool2d(_plain(x), y, indices, worst, (g.R, g.S), g.stride, g.padding, g.dilation)
        return y, indices

    @QUIET
    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        x = np.zeros((*grad.shape[:2], *size))
        max_pool2d_backward(_plain(grad), _plain(indices), x)
        return x.astype(grad.dtype, copy=False)

    def avg_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        g = geometry
        y = np.empty(g.output_shape, x.dtype)
        avg_pool2d(_plain(x), _plain(g.divisors), y, (g.R, g.S), g.stride, g.padding)
        return y

    @QUIET
    def avg_pool2d_backward(self, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        g = geometry
        x = np.zeros(g.input_shape)
        avg_pool2d_backward(_plain(grad), _plain(g.divisors), x, (g.R, g.S), g.stride, g.padding)
        return x.astype(grad.dtype, copy=False)

    def warmup(self) -> None:
        for dtype in (np.float32, np.float64):
            x, w = np.ones((1, 1, 2, 2), dtype), np.ones((1, 1, 1, 1), dtype)
            conv, pool = ConvGeometry(1, 1, 2, 2, 1, 1, 1), PoolGeometry(1, 1, 2, 2, 1, 1, (1, 1))
            self.conv2d(x, w, None, conv)
            self.conv2d_input(x, w, conv)
            self.conv2d_weight(x, x, conv)
            values, indices = self.max_pool2d(x, pool)
            self.max_pool2d_backward(values, indices, (2, 2))
            self.avg_pool2d_backward(self.avg_pool2d(x, pool), pool)
