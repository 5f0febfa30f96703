"""What becomes of taps that meet nothing but padding, and that no job multiplies (see jobs.py).

Forwards they add weight * 0 to an output pixel, and to their own gradient goes the sum of grad * 0: nothing, unless
the number is infinite or NaN. Such numbers are looked for, and NaN is put where the definition has it.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba_cpu.finiteness import all_finite
from fastconv.backends.numba_cpu.jobs import live_taps
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry


def add_padding(simd: Simd, y: np.ndarray, w: np.ndarray, g: ConvGeometry) -> None:
    """Make NaN of the pixels of ``y`` (N, K, P, Q) at which a weight that isn't finite meets the padding."""
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
    """Make NaN of the taps in ``w``, the weight's gradient, whose padding a gradient that isn't finite meets."""
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
    """Fill ``w``, the weight's gradient, from that of the taps that are not left out, (K, C / G, taps)."""
    rows, columns = live_taps(g)
    w.fill(0)
    for place, (r, s) in enumerate((r, s) for r in rows for s in columns):
        w[:, :, r, s] = taps[:, :, place]
