"""`unfold` makes the column matrix of an image, and `fold` adds columns up to an image.

Each column is one window: the lowering of Chellapilla, Puri and Simard, "High performance convolutional neural
networks for document processing" (2006). It is filled and emptied one tap at a time: within a tap every copy is a plain
strided one and the padding needs no copy at all.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, Pair


def gather(columns: np.ndarray, x: np.ndarray, geometry: ConvGeometry, first: Pair = (0, 0)) -> None:
    """Fill columns (..., R, S, P', Q') from x (..., H, W), output pixels from ``first`` on; padding as zeros."""
    if any(geometry.padding):
        columns[...] = 0
    for tap in geometry.taps(first, columns.shape[-2:]):
        columns[..., tap.r, tap.s, *tap.windows] = x[..., *tap.pixels]


@QUIET
def scatter(x: np.ndarray, columns: np.ndarray, geometry: ConvGeometry, first: Pair = (0, 0)) -> None:
    """Add columns (..., R, S, P', Q') to x (..., H, W): the transpose of `gather`."""
    for tap in geometry.taps(first, columns.shape[-2:]):
        x[..., *tap.pixels] += columns[..., tap.r, tap.s, *tap.windows]


def unfold(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Returns the column matrix (N, C * R * S, P * Q) of x (N, C, H, W)."""
    g = geometry
    columns = np.empty((g.N, g.C, g.R, g.S, g.P, g.Q), x.dtype)
    gather(columns, x, g)
    return columns.reshape(g.columns_shape)


def fold(columns: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Returns images (N, C, H, W), to which columns (N, C * R * S, P * Q) are added up."""
    g = geometry
    x = np.zeros(g.input_shape, columns.dtype)
    scatter(x, columns.reshape(g.N, g.C, g.R, g.S, g.P, g.Q), g)
    return x
