"""The arguments of the sum over taps that makes an image of a column matrix."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class FoldArguments(Arguments):
    """Names are those of `fastconv.geometry`."""

    columns: int
    """Address of the column matrix, (planes, R, S, P, Q)."""
    image: int
    """Address of the image, (planes, H, W)."""
    workspace: int
    """Address of memory that the sum doesn't need."""
    H: int
    W: int
    P: int
    Q: int
    R: int
    S: int
    down: int
    """Stride along a column."""
    right: int
    """Stride along a row."""
    DY: int
    """Dilation along a column."""
    DX: int
    """Dilation along a row."""
    top: int
    """Padding above."""
    left: int
    """Padding on the left."""
