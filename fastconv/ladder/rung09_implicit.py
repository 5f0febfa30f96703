"""Rung 09: the product without the matrix of windows.

Rung 08 writes the columns, 9 times the image for 3x3, and reads them again to pack them. But an element of the matrix
is just a pixel of the image, and where it stands is the sum of two small tables:

    columns[k, t] = row[at[k] + start[t]]        at[d, r, s] = d * plane + r * dilation * pitch + s * dilation
                                                 start[p, q] = p * stride * pitch + q * stride

So a panel is packed straight from the image with its border, and the matrix exists 32 columns at a time, in L1:

    for k in depth, 192 at a time:                    memory:  the image once for each k block, weights, results
        for t in pixels, 32 at a time:                L1:      the panel, 24 KB, never written further than that
            pack: panel[k, j] = row[at[k] + start[t + j]]
            for o in panels of 8 filters: tile += 192 products for each of 8 x 32 sums

Packing goes along rows: as long as t stays in one row of the result, its pixels are ``stride`` apart, and with stride 1
a run is copied by vectors. It costs a load and a store for each number that the tile then uses K times.

Any stride, dilation and number of groups is the same two tables: this is the first fast rung that does every layer.
cuDNN calls it "implicit precomp GEMM".

Exercise: with stride 2 a run's pixels are 8 bytes apart. What does the copy become, and how much slower is the rung?
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded
from fastconv.ladder.rung06_registers import taps_at
from fastconv.ladder.rung08_own_gemm import DEPTH
from fastconv.ladder.tile import packed, started, tile, tile_shape

IDEA = "the same product, no matrix of windows"


@cache
def make(rows: int, width: int) -> Any:
    """Returns the product for tiles of ``rows`` by ``width``, for the pixels from ``first`` to ``last``."""
    add_products = tile(rows, width)

    def multiply(row, at, w, y, Q, down, across, first, last, panel, steps_at):
        """Adds products to y (panels * rows, last - first and beyond); row begins at the group's first pixel."""
        for k in range(0, at.size, DEPTH):
            steps = min(DEPTH, at.size - k)
            for t in range(first, last, width):
                j = 0
                while j < width and t + j < last:
                    p, q = (t + j) // Q, (t + j) % Q
                    run = min(width - j, last - t - j, Q - q)
                    for step in range(steps):
                        line = row[at[k + step] + p * down + q * across :]
                        into = panel[step * width + j :]
                        if across == 1:  # neighbours, so that the compiler copies vectors
                            for i in range(run):
                                into[i] = line[i]
                        else:
                            for i in range(run):
                                into[i] = line[i * across]
                    j += run
                for o in range(len(w)):
                    sums = y[o * rows : (o + 1) * rows]
                    add_products(panel, steps_at[:steps], 0, w[o, k : k + steps], sums, t - first)

    return jit(multiply, straight_lines=True, error_model="numpy")


def some_pixels(
    x: np.ndarray, weights: np.ndarray, b: np.ndarray, g: ConvGeometry, first: int, last: int
) -> np.ndarray:
    """Returns the results from ``first`` to ``last`` of one image x (C, H, W), all filters; weights are `packed`."""
    rows, width = tile_shape(x.dtype)
    image, row = padded(x[None], replace(g, N=1))
    pitch, plane = image.shape[3], image.shape[2] * image.shape[3]
    at, group, filters = taps_at(g, pitch, plane), g.C // g.groups * plane, g.K // g.groups
    y = started(b, g.groups, rows, 1, -(-(last - first) // width) * width)[0]
    panel, steps_at = np.zeros(DEPTH * width, x.dtype), np.arange(DEPTH) * width
    multiply, each = make(rows, width), weights.reshape(g.groups, -1, *weights.shape[1:])
    for i in range(g.groups):
        step = g.stride[0] * pitch, g.stride[1]
        multiply(row[i * group :], at, each[i], y[i], g.Q, *step, first, last, panel, steps_at)
    return y[:, :filters, : last - first].reshape(g.K, last - first)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    y = np.empty(g.output_shape, x.dtype)
    weights = packed(w, g.groups, tile_shape(x.dtype)[0])
    for n in range(g.N):
        y[n] = some_pixels(x[n], weights, b, g, 0, g.P * g.Q).reshape(g.K, g.P, g.Q)
    return y


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
