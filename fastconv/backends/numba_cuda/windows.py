"""The integers that describe a pooling to kernels."""

from __future__ import annotations

from typing import NamedTuple

from fastconv.geometry import PoolGeometry


class Windows(NamedTuple):
    """A pooling's sizes, steps and divisor, integers of 64 bits; ``planes`` is N C."""

    planes: int
    H: int
    W: int
    R: int
    S: int
    P: int
    Q: int
    stride_row: int
    stride_column: int
    pad_row: int
    pad_column: int
    tap_row: int
    tap_column: int
    counts_padding: int
    divisor: int
    """The divisor of every sum, or 0 if each window has its own."""


def windows(g: PoolGeometry) -> Windows:
    """Returns the integers of a geometry."""
    return Windows(
        *(g.N * g.C, g.H, g.W, g.R, g.S, g.P, g.Q),
        *(*g.stride, *g.padding, *g.dilation),
        int(g.count_include_pad),
        g.divisor_override or 0,
    )
