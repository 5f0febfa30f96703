"""Where a pixel of a result is, in the terms of `Correlation`: arithmetic that every kernel does once a thread."""

from __future__ import annotations

from fastconv.backends.numba_cuda.target import device


@device
def place(pixel, f):
    """(n, i, j) of a pixel counted through all images."""
    n = pixel // (f.I * f.J)
    rest = pixel - n * (f.I * f.J)
    i = rest // f.J
    return n, i, rest - i * f.J


@device
def target(n, g, i, j, f):
    """The index in y of the pixel's first channel in group g; the next channel is P Q further."""
    return ((n * f.G + g) * f.M * f.P + f.to_row + i * f.by_row) * f.Q + f.to_column + j * f.by_column


@device
def source(n, g, f):
    """The index in x of the first channel's plane in group g; the next plane is H W further."""
    return (n * f.G + g) * f.D * f.H * f.W


@device
def term(at, f):
    """(d, r, s) of a product counted through a sum, taps innermost."""
    d = at // (f.R * f.S)
    rest = at - d * (f.R * f.S)
    r = rest // f.S
    return d, r, rest - r * f.S
