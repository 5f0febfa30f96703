"""Convolution as one matrix product: unfold, multiply, fold.

    forward          y[k, (n p q)]      = w[k, (d r s)]     @ columns[(d r s), (n p q)]
    adjoint for x    columns[(d r s), (n p q)] = w.T        @ grad[k, (n p q)], then scattered
    adjoint for w    w[k, (d r s)]      = grad[k, (n p q)]  @ columns.T

once a group, the images of a slice side by side so that small ones still make one large product (Chellapilla, Puri
and Simard, 2006; Jia, "Learning semantic image representations at a large scale", 2014). The columns take R * S times
the image's memory, so the batch goes through in slices of at most `column_bytes`, and an image too large for that in
slices of rows.

Pooling goes tap by tap: one vector operation over all windows for each of the R * S elements of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from fastconv.backends.base import Backend
from fastconv.backends.columns import gather, scatter
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, PoolGeometry

COLUMN_BYTES = 256 << 20


class Im2col(Backend):
    """Unfold + one GEMM a group + fold, in NumPy; ``column_bytes`` bounds the column matrix."""

    summary: ClassVar[str] = "unfold, one matrix product a group, fold (NumPy and its BLAS)"

    def __init__(self, name: str = "im2col", column_bytes: int = COLUMN_BYTES) -> None:
        self.name = name
        self.column_bytes = column_bytes

    @QUIET
    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        y = np.empty(g.output_shape, x.dtype)
        weight = w.reshape(g.groups, g.K // g.groups, -1)
        for images, first, rows in self._slices(g, x.itemsize):
            columns = self._columns(x[images], g, first, rows)
            product = weight @ columns  # (G, K / G, n * rows * Q)
            part = y[images, :, first : first + rows].transpose(1, 0, 2, 3)
            part[...] = product.reshape(part.shape)
            if b is not None:
                part += b[:, None, None, None]
        return y

    @QUIET
    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        x = np.zeros(g.input_shape, grad.dtype)
        turned = w.reshape(g.groups, g.K // g.groups, -1).transpose(0, 2, 1)
        for images, first, rows in self._slices(g, grad.itemsize):
            columns = turned @ self._rows_of(grad, g, images, first, rows)  # (G, C / G * R * S, n * rows * Q)
            image = x[images].transpose(1, 0, 2, 3)
            scatter_shape = (g.C, g.R, g.S, image.shape[1], rows, g.Q)
            scatter(image, columns.reshape(scatter_shape).transpose(0, 3, 1, 2, 4, 5), g, first)
        return x

    @QUIET
    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        w = np.zeros((g.groups, g.K // g.groups, g.C // g.groups * g.R * g.S), x.dtype)
        for images, first, rows in self._slices(g, x.itemsize):
            columns = self._columns(x[images], g, first, rows)
            w += self._rows_of(grad, g, images, first, rows) @ columns.transpose(0, 2, 1)
        return w.reshape(g.weight_shape)

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        g = geometry
        values = np.full(g.output_shape, -np.inf, x.dtype)
        indices = np.full(g.output_shape, -1, np.int64)
        rows, columns = np.arange(g.H)[:, None] * g.W, np.arange(g.W)
        for tap in g.taps():
            best, at = values[..., *tap.windows], indices[..., *tap.windows]
            pixels = x[..., *tap.pixels]
            wins = (pixels > best) | np.isnan(pixels) | (at < 0)
            np.copyto(best, pixels, where=wins)
            np.copyto(at, rows[tap.pixels[0]] + columns[tap.pixels[1]], where=wins)
        return values, indices

    @QUIET
    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        N, C = grad.shape[:2]
        H, W = size
        x = np.zeros(N * C * H * W, grad.dtype)
        planes = np.arange(N * C).reshape(N, C, 1, 1) * (H * W)
        touched = indices >= 0
        np.add.at(x, (planes + indices)[touched], grad[touched])
        return x.reshape(N, C, H, W)

    @QUIET
    def avg_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        g = geometry
        y = np.zeros(g.output_shape, x.dtype)
        for tap in g.taps():
            y[..., *tap.windows] += x[..., *tap.pixels]
        y /= g.divisors.astype(x.dtype)
        return y

    @QUIET
    def avg_pool2d_backward(self, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        g = geometry
        x = np.zeros(g.input_shape, grad.dtype)
        share = grad / g.divisors.astype(grad.dtype)
        for tap in g.taps():
            x[..., *tap.pixels] += share[..., *tap.windows]
        return x

    def _slices(self, g: ConvGeometry, itemsize: int) -> Iterator[tuple[slice, int, int]]:
        """(images, first output row, rows): whole images as many as fit, or single images in runs of rows.

        Without channels there is nothing to multiply, and no result.
        """
        row_bytes = max(1, g.C * g.R * g.S * g.Q * itemsize)
        images = self.column_bytes // (row_bytes * g.P)
        rows = g.P if images else max(1, self.column_bytes // row_bytes)
        for n in range(0, g.N if g.C else 0, max(1, images)):
            for first in range(0, g.P, rows):
                yield slice(n, min(n + max(1, images), g.N)), first, min(rows, g.P - first)

    @staticmethod
    def _columns(x: np.ndarray, g: ConvGeometry, first: int, rows: int) -> np.ndarray:
        """(G, C / G * R * S, n * rows * Q) from x (n, C, H, W)."""
        n = x.shape[0]
        columns = np.empty((g.C, g.R, g.S, n, rows, g.Q), x.dtype)
        gather(columns.transpose(0, 3, 1, 2, 4, 5), x.transpose(1, 0, 2, 3), g, first)
        return columns.reshape(g.groups, g.C // g.groups * g.R * g.S, n * rows * g.Q)

    @staticmethod
    def _rows_of(grad: np.ndarray, g: ConvGeometry, images: slice, first: int, rows: int) -> np.ndarray:
        """(G, K / G, n * rows * Q) from grad (N, K, P, Q)."""
        part = grad[images, :, first : first + rows].transpose(1, 0, 2, 3)  # (K, n, rows, Q)
        return part.reshape(g.groups, g.K // g.groups, -1)
