"""Positions of pixels and products in the terms of `Correlation`: arithmetic that every kernel does once a thread."""

from __future__ import annotations

from fastconv.backends.numba_cuda.target import device, types

int32, uint32, uint64 = types.int32, types.uint32, types.uint64


@device
def divided(a, b):
    """Returns a // b of two numbers that aren't negative: without a sign there is nothing to round down."""
    return types.int64(uint64(a) // uint64(b))


@device
def divided32(a, b):
    """Returns a // b of two numbers below 2**32, in a third of the instructions."""
    return int32(uint32(a) // uint32(b))


@device
def in_plane(at, rows, columns):
    """Returns (plane, row, column) of an element counted through planes of ``rows`` rows and ``columns`` columns."""
    plane = divided(at, rows * columns)
    rest = int32(at - plane * rows * columns)
    row = divided32(rest, columns)
    return plane, row, int32(rest - row * columns)


@device
def place(pixel, f):
    """Returns (n, i, j) of a pixel counted through all images."""
    n = divided(pixel, f.I * f.J)
    rest = pixel - n * (f.I * f.J)
    i = divided(rest, f.J)
    return n, i, rest - i * f.J


@device
def target(n, g, i, j, f):
    """Returns the index in y of the pixel's first channel in group g; the next channel is P Q further."""
    return ((n * f.G + g) * f.M * f.P + f.to_row + i * f.by_row) * f.Q + f.to_column + j * f.by_column


@device
def source(n, g, f):
    """Returns the index in x of the first channel's plane in group g; the next plane is H W further."""
    return (n * f.G + g) * f.D * f.H * f.W


@device
def term(at, f):
    """Returns (d, r, s) of a product counted through a sum, taps innermost."""
    d = divided32(at, f.R * f.S)
    rest = int32(at - d * f.R * f.S)
    r = divided32(rest, f.S)
    return d, r, int32(rest - r * f.S)


@device
def span(place, reach, stride, windows):
    """Returns the windows (first, beyond) that cover pixel ``place``; they are ``stride`` apart and ``reach`` pixels
    long.

    ``place`` counts the padding before the image.
    """
    before = int32(place - reach)
    first = divided32(before + stride - 1, stride) if before > 0 else int32(0)
    return first, int32(min(divided32(place, stride) + 1, windows))
