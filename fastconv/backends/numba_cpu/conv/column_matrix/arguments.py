"""This module declares the arguments of the sum over taps that computes an image from a column matrix."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class FoldArguments(Arguments):
    """These arguments describe the column matrix and the image, with the names of `fastconv.geometry`."""

    columns: int
    """Address of the column matrix, (planes, R, S, P, Q)."""
    image: int
    """Address of the image, (planes, H, W)."""
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
