"""A pooling's numbers as kernels get them."""

from __future__ import annotations

from typing import NamedTuple

from fastconv.geometry import PoolGeometry


class Windows(NamedTuple):
    """All integers of 64 bits; ``planes`` is N C."""

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
    """What every sum is divided by, or 0 where each window has its own."""


def windows(g: PoolGeometry) -> Windows:
    """Those of a geometry."""
    return Windows(
        *(g.N * g.C, g.H, g.W, g.R, g.S, g.P, g.Q),
        *(*g.stride, *g.padding, *g.dilation),
        int(g.count_include_pad),
        g.divisor_override or 0,
    )
