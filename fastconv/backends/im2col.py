"""Convolution as one matrix product: unfold, multiply, fold.

    forward          y[k, (n p q)]      = w[k, (d r s)]     @ columns[(d r s), (n p q)]
    input gradient   columns[(d r s), (n p q)] = w.T     @ grad[k, (n p q)], then scattered
    weight gradient  w[k, (d r s)]      = grad[k, (n p q)]  @ columns.T

once a group, the images of a slice side by side so that small ones still make one large product (Chellapilla, Puri
and Simard, 2006; Jia, "Learning semantic image representations at a large scale", 2014). The columns take R * S times
the image's memory, so the batch goes through in parts of at most `column_bytes`: whole images, and where one is too
large for that, some of its rows, or of one row's pixels.

Pooling goes tap by tap: one vector operation over all windows for each of the R * S elements of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np

from fastconv.backends.base import Backend, lowest
from fastconv.backends.columns import gather, scatter
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, Pair, PoolGeometry

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
        for part in self._parts(g, x.itemsize):
            product = weight @ self._columns(x, g, part)  # (G, K / G, n * rows * columns)
            target = _of(y, part)
            target[...] = product.reshape(target.shape)
            if b is not None:
                target += b[:, None, None, None]
        return y

    @QUIET
    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        x = np.zeros(g.input_shape, grad.dtype)
        turned = w.reshape(g.groups, g.K // g.groups, -1).transpose(0, 2, 1)
        for part in self._parts(g, grad.itemsize):
            pixels = _of(grad, part)  # (K, n, rows, columns)
            columns = turned @ pixels.reshape(g.groups, g.K // g.groups, -1)
            scatter(
                x[part.images].transpose(1, 0, 2, 3),
                columns.reshape(g.C, g.R, g.S, *pixels.shape[1:]).transpose(0, 3, 1, 2, 4, 5),
                g,
                part.first,
            )
        return x

    @QUIET
    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        w = np.zeros((g.groups, g.K // g.groups, g.C // g.groups * g.R * g.S), x.dtype)
        for part in self._parts(g, x.itemsize):
            pixels = _of(grad, part).reshape(g.groups, g.K // g.groups, -1)
            w += pixels @ self._columns(x, g, part).transpose(0, 2, 1)
        return w.reshape(g.weight_shape)

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        g = geometry
        values = np.full(g.output_shape, lowest(x.dtype), x.dtype)
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

    def _parts(self, g: ConvGeometry, itemsize: int) -> Iterator[_Part]:
        """The work in parts within the bound: whole images, or rows of one image, or pixels of one row.

        Without channels there is nothing to multiply, and no result.
        """
        if g.C == 0:
            return
        # The product has K numbers where the columns have C * R * S: the larger of the two is bounded.
        pixels = max(1, self.column_bytes // (max(g.C * g.R * g.S, g.K) * itemsize))
        columns = min(g.Q, pixels)
        rows = min(g.P, max(1, pixels // g.Q))
        images = max(1, pixels // (g.P * g.Q))
        for n in range(0, g.N, images):
            for p in range(0, g.P, rows):
                for q in range(0, g.Q, columns):
                    yield _Part(slice(n, n + images), slice(p, p + rows), slice(q, q + columns))

    @staticmethod
    def _columns(x: np.ndarray, g: ConvGeometry, part: _Part) -> np.ndarray:
        """Returns the columns (G, C / G * R * S, n * rows * columns) of a part of x (N, C, H, W)."""
        images = x[part.images]
        rows, width = (len(range(*s.indices(size))) for s, size in ((part.rows, g.P), (part.columns, g.Q)))
        columns = np.empty((g.C, g.R, g.S, len(images), rows, width), x.dtype)
        gather(columns.transpose(0, 3, 1, 2, 4, 5), images.transpose(1, 0, 2, 3), g, part.first)
        return columns.reshape(g.groups, g.C // g.groups * g.R * g.S, -1)


class _Part(NamedTuple):
    """Some images' output rows and columns."""

    images: slice
    rows: slice
    columns: slice

    @property
    def first(self) -> Pair:
        """Returns the first output row and column."""
        return self.rows.start, self.columns.start


def _of(pixels: np.ndarray, part: _Part) -> np.ndarray:
    """Returns the part of an array (N, K, P, Q), as a view (K, n, rows, columns)."""
    return pixels[part.images, :, part.rows, part.columns].transpose(1, 0, 2, 3)
