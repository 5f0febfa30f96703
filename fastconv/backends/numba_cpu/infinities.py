"""These functions correct results where numbers aren't finite and a plan's terms differ from the definition's.

Jobs don't multiply taps that meet only padding (see lowering.py). By the definition such a tap adds weight * 0 to an
output pixel in the forward pass, and its own gradient is the sum of grad * 0: both are 0, unless the number is infinite
or NaN. An input gradient, computed as a convolution, adds weight * 0 at pixels beyond the edges of ``grad``; the
definition doesn't have these terms.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.columns import scatter
from fastconv.backends.numba_cpu.fused.finite_check import all_finite
from fastconv.backends.numba_cpu.lowering import live_taps
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry

_LINE = 4096
"""Pixels of a row of ``grad`` whose columns `input_gradient_of_infinities` computes at a time."""


def add_padding(simd: Simd, y: np.ndarray, w: np.ndarray, g: ConvGeometry) -> None:
    """Set pixels of ``y`` (N, K, P, Q) to NaN where a weight that isn't finite meets the padding."""
    if all_finite(simd, w):
        return
    within = {(tap.r, tap.s): tap.windows for tap in g.taps()}
    infinite = ~np.isfinite(w).all(1)
    for r, s in np.argwhere(infinite.any(0)):
        padding = np.ones((g.P, g.Q), bool)
        if (r, s) in within:
            padding[within[r, s]] = False
        y[:, infinite[:, r, s, None, None] & padding] = np.nan


def add_padding_to_weight(simd: Simd, w: np.ndarray, grad: np.ndarray, g: ConvGeometry) -> None:
    """Set taps of ``w``, the weight gradient, to NaN where a number of ``grad`` that isn't finite meets the padding."""
    if all_finite(simd, grad):
        return
    within = {(tap.r, tap.s): tap.windows for tap in g.taps()}
    infinite = ~np.isfinite(grad).all(0)
    for r, s in np.ndindex(g.R, g.S):
        padding = infinite.copy()
        if (r, s) in within:
            padding[:, *within[r, s]] = False
        w[padding.any((1, 2)), :, r, s] = np.nan


def spread_taps(taps: np.ndarray, w: np.ndarray, g: ConvGeometry) -> None:
    """Fill ``w``, the weight gradient, from ``taps`` (K, C / G, taps); taps that were left out get 0."""
    rows, columns = live_taps(g)
    w.fill(0)
    for place, (r, s) in enumerate((r, s) for r in rows for s in columns):
        w[:, :, r, s] = taps[:, :, place]


@QUIET
def input_gradient_of_infinities(grad: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Return the input gradient by way of the column matrix, which has no terms but those of the definition.

    Computed as a convolution, an infinite weight would meet zeros beyond the edges of ``grad``. At most `_LINE` pixels
    are computed at a time, so that the columns take a few megabytes.
    """
    x = np.zeros(g.input_shape, grad.dtype)
    turned = w.reshape(g.groups, g.K // g.groups, -1).transpose(0, 2, 1)
    for n in range(g.N):
        for p in range(g.P):
            for q in range(0, g.Q, _LINE):
                pixels = grad[n, :, p : p + 1, q : q + _LINE]
                columns = turned @ pixels.reshape(g.groups, g.K // g.groups, -1)
                scatter(x[n], columns.reshape(g.C, g.R, g.S, *pixels.shape[1:]), g, (p, q))
    return x
