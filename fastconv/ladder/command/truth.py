"""The right results in float64: one product of matrices for each tap, by NumPy, with no code of the rungs."""

from __future__ import annotations

import numpy as np

from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry

TOLERANCE = 1e-5
"""Largest error of a float32 result, as a part of the largest right one: 2**-24 times the root of some thousand
products, times a few."""


def _grouped(array: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns an array (N, channels, ...) of float64 as (N, groups, channels a group, pixels)."""
    return array.astype(np.float64).reshape(len(array), g.groups, -1, array.shape[2] * array.shape[3])


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns the convolution's results."""
    y = np.zeros(g.output_shape)
    y += b[:, None, None]
    weights = w.astype(np.float64).reshape(g.groups, -1, *w.shape[1:])
    for tap in g.taps():
        seen = x[..., *tap.pixels]
        found = weights[..., tap.r, tap.s] @ _grouped(seen, g)
        y[..., *tap.windows] += found.reshape(g.N, g.K, *seen.shape[2:])
    return y


def backward(x: np.ndarray, w: np.ndarray, grad: np.ndarray, g: ConvGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Returns the input gradient and the weight gradient."""
    for_x, for_w = np.zeros(g.input_shape), np.zeros((g.groups, g.K // g.groups, *w.shape[1:]))
    weights = w.astype(np.float64).reshape(for_w.shape)
    for tap in g.taps():
        seen, change = x[..., *tap.pixels], _grouped(grad[..., *tap.windows], g)
        found = weights[..., tap.r, tap.s].transpose(0, 2, 1) @ change
        for_x[..., *tap.pixels] += found.reshape(seen.shape)
        for_w[..., tap.r, tap.s] = (change @ _grouped(seen, g).transpose(0, 1, 3, 2)).sum(0)
    return for_x, for_w.reshape(w.shape)


@QUIET
def relu_and_pool(y: np.ndarray) -> np.ndarray:
    """Returns the largest of each 2 x 2 results, or 0 if that is larger, in steps of their own over the whole array."""
    y = np.maximum(y, 0)
    high, wide = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    rows = np.maximum(y[:, :, :high:2, :wide], y[:, :, 1:high:2, :wide])
    pooled: np.ndarray = np.maximum(rows[..., ::2], rows[..., 1::2])
    return pooled


def error(found: np.ndarray, right: np.ndarray) -> float:
    """Returns the largest difference as a part of the largest right number; infinity for wrong shapes and NaN."""
    if found.shape != right.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - right).max() / (np.abs(right).max() or 1))
