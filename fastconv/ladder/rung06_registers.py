"""Rung 06: a tile of sums that stays in registers.

Sums of `rows` filters by `width` pixels are made together. They are loaded once, all D R S products are added to them,
and they are stored once; in between they never leave the registers:

    for t in tiles of pixels, o in panels of filters:            registers, at 8 filters x 32 pixels, AVX-512:
        sums = y[o, t]                                             16 vectors of sums, 2 of pixels;
        for d, r, s:                                               a weight comes from memory to all lanes at once
            sums[i, j] += w[o, d, r, s, i] * x[d, p + r, q + s, j]   L1: the panel's weights, in the order of use
        y[o, t] = sums                                             L2: the tile's pixels, while all filters pass by

    one step of the depth:   2 loads of vectors and 8 of weights, for 16 multiply-adds of vectors
    flops per byte of L1:    16 x 32 / (2 x 64 + 8 x 4) = 3.2, where rung 05 had 0.55

A multiply-add takes 4 cycles and two can begin in each: with fewer than 8 vectors of sums the units wait, however few
loads there are. So one filter by 16 pixels, one accumulator, is slower than rung 05; and with more sums than registers
hold, they go to memory and back. Between lies the tile's shape: ``make(8, 32)``, two literal numbers.

The image with its border is one long row: pixel (p, q) stands at t = p * pitch + q, and under the tap (d, r, s) is what
stands ``at[d, r, s]`` further on, for every t. So all rows are one loop over t, and the sums at the ends of rows, over
the border, are thrown away. That needs neighbouring pixels to be neighbours in memory: stride 1.

Exercise: 1 x 1 kernels on 7 x 7 pixels. How much of the tiles is thrown away, and what could fill it?
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded
from fastconv.ladder.tile import packed, started, tile, tile_shape

IDEA = "a tile of sums in registers"


def refuses(g: ConvGeometry) -> str | None:
    """Returns why it can't do a layer, or None."""
    return None if g.stride == (1, 1) else "a tile's pixels are neighbours: strides other than 1 need ladder:09"


@cache
def make(rows: int, width: int) -> Any:
    """Returns the loops over tiles of ``rows`` filters by ``width`` pixels."""
    add_products = tile(rows, width)

    def loops(x, at, w, y, points, image, group):
        """Adds the products to y (N, G, filters, points); image and group are steps in x, w is `packed`."""
        N, G, filters, _ = y.shape
        panels = filters // rows
        for n in range(N):
            for t in range(0, points, width):
                for o in range(G * panels):
                    i = o % panels * rows
                    add_products(x, at, n * image + o // panels * group + t, w[o], y[n, o // panels, i : i + rows], t)

    return jit(loops, straight_lines=True, error_model="numpy")


def taps_at(g: ConvGeometry, pitch: int, plane: int) -> np.ndarray:
    """Returns how far from a window's first pixel the pixel under each tap (d, r, s) is, in elements."""
    d, r, s = np.ogrid[: g.C // g.groups, : g.R, : g.S]
    at: np.ndarray = (d * plane + r * g.dilation[0] * pitch + s * g.dilation[1]).ravel()
    return at


def conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry, shape: tuple[int, int] | None = None
) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,), by tiles of a shape."""
    rows, width = shape or tile_shape(x.dtype)
    image, row = padded(x, g, beyond=width)
    _, C, height, pitch = image.shape
    points = (g.P - 1) * pitch + g.Q
    y = started(b, g.groups, rows, g.N, g.P * pitch + width)
    plane = height * pitch
    at = taps_at(g, pitch, plane)
    make(rows, width)(row, at, packed(w, g.groups, rows), y, points, C * plane, C // g.groups * plane)
    sums = y[..., : g.P * pitch].reshape(g.N, g.groups, -1, g.P, pitch)[:, :, : g.K // g.groups, :, : g.Q]
    return sums.reshape(g.output_shape)


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
